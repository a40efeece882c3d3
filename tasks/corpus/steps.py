"""The steps over shards of one source: survey, decide, read. Plain functions, called as jobs.

Each writes a folder and renames it into place: the folder is the record that the step is done for
that shard. Killed at any moment, a run goes on with the shards that are there.
"""

from __future__ import annotations

import shutil
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from importlib import import_module
from pathlib import Path
from typing import Any

from registry.files import hash_file, native_name
from tasks.context import atomic_write_json, fsync_directory
from tasks.corpus.dedup import SeenTexts, text_digest
from tasks.corpus.documents import REJECTED_SCHEMA, Document, ParquetFile
from tasks.corpus.done import DONE, read_done
from tasks.corpus.finish import Finish
from tasks.corpus.funnel import Funnel
from tasks.corpus.guard import Guard
from tasks.corpus.locate import readable_root
from tasks.corpus.parameters import CorpusParameters
from tasks.corpus.remote import fetched, is_url
from tasks.corpus.storable import encodable, encodable_name, storable

DUPLICATE = "exact duplicate"
SAME_TEXT = "same text in this source"


def survey_shard(
    guard: Guard,
    *,
    source: str,
    root: str,
    files: Sequence[str],
    hashes: Mapping[str, str],
    parameters: Mapping[str, Any],
    folder: str,
) -> dict[str, Any]:
    """What the shards must know of each other, of this one: the reader's ``survey``."""

    def make(out: Path) -> dict[str, Any]:
        funnel = _funnel(source, parameters, guard)
        with _opened(root, files, hashes, out.parent) as readable:
            reader = import_module(f"tasks.corpus.sources.{source}")
            reader.survey(readable, files, _parsed(parameters), funnel, out)
        return {"records": funnel.entries["read"].documents_in}

    return _once_of_files(Path(folder), make, root, files)


def decide_source(
    guard: Guard,
    *,
    source: str,
    surveys: Sequence[str],
    parameters: Mapping[str, Any],
    folder: str,
) -> dict[str, Any]:
    """Draw from all surveys what each shard must do: the reader's ``decide``."""

    def make(out: Path) -> dict[str, Any]:
        reader = import_module(f"tasks.corpus.sources.{source}")
        reader.decide([Path(name) for name in surveys], _parsed(parameters), out)
        return {"surveys": len(surveys)}

    return once(Path(folder), make)


def read_shard(
    guard: Guard,
    *,
    source: str,
    root: str,
    files: Sequence[str],
    hashes: Mapping[str, str],
    parameters: Mapping[str, Any],
    folder: str,
    decided: str | None,
    surveyed: str | None,
) -> dict[str, Any]:
    """Documents of one shard: ``documents.parquet``, ``rejected.parquet``, ``digests``.

    Returns:
        ``documents``, ``characters``, ``bytes``, ``funnel`` (rows), ``bad_files``, ``notes``,
        ``licenses``, ``capped``, ``seconds``.
    """

    def make(out: Path) -> dict[str, Any]:
        started = time.monotonic()
        given = _parsed(parameters)
        funnel = _funnel(source, parameters, guard)
        reader = import_module(f"tasks.corpus.sources.{source}")
        extra = (
            {"decided": Path(decided), "surveyed": Path(surveyed)} if decided and surveyed else {}
        )
        licenses: Counter[str] = Counter()
        size = {"characters": 0, "bytes": 0}
        cap = given.cap(source)
        capped = False
        with (
            _opened(root, files, hashes, out.parent) as readable,
            ParquetFile(out / "documents.parquet") as output,
            ParquetFile(out / "rejected.parquet", REJECTED_SCHEMA) as rejected,
            (out / "digests").open("wb") as digests,
        ):
            documents = reader.read(readable, files, given, funnel, **extra)
            finish = Finish(given, source)
            for document in _unique(documents, finish, funnel):
                output.write_document(document)
                digests.write(text_digest(document.text))
                licenses[document.license or "unknown"] += 1
                size["characters"] += len(document.text)
                size["bytes"] += len(document.text.encode())
                write_rejected(rejected, funnel)
                capped = cap.reached(output.documents, size["bytes"])
                if capped:
                    documents.close()
                    funnel.stop()
                    break
            funnel.between()
            # Also where no document came so far: the order is that of every other shard.
            funnel.declare(*finish.filters, DUPLICATE)
            write_rejected(rejected, funnel)
        return {
            "documents": output.documents,
            **size,
            "funnel": funnel.rows(),
            "bad_files": funnel.bad_files,
            "notes": funnel.notes,
            "licenses": dict(sorted(licenses.items())),
            "capped": capped,
            "seconds": round(time.monotonic() - started, 3),
        }

    return _once_of_files(Path(folder), make, root, files)


def _once_of_files(
    folder: Path, make: Callable[[Path], dict[str, Any]], root: str, files: Sequence[str]
) -> dict[str, Any]:
    """:func:`once`, for files that must be the same when the folder is used as when it was made.

    The stage compares its files with their listing before and after all its work; a shard made of a
    file that was another one in between must not outlive that.
    """

    def stamped(out: Path) -> dict[str, Any]:
        before = _stamps(root, files)
        said = make(out)
        if _stamps(root, files) != before:
            raise ValueError(
                f"a raw file of {', '.join(files[:3])} ... changed while it was read. Nothing was"
                " kept of this shard; start the flow again when the dumps are at rest."
            )
        return said | {"stamps": before}

    said = once(folder, stamped, still=lambda done: done["stamps"] == _stamps(root, files))
    return {name: value for name, value in said.items() if name != "stamps"}


def _stamps(root: str, files: Sequence[str]) -> list[list[int]]:
    """Size and time of each file; of none behind a URL, which are hashed as they come."""
    if is_url(root):
        return []
    paths = [Path(root) / native_name(name) for name in files]
    found = [path.stat() for path in paths if path.is_file()]
    return [[stat.st_size, stat.st_mtime_ns] for stat in found]


def once(
    folder: Path,
    make: Callable[[Path], dict[str, Any]],
    still: Callable[[dict[str, Any]], bool] = lambda done: True,
) -> dict[str, Any]:
    """What ``make`` says of the folder it filled; made only when it is not there, and whole.

    ``make`` writes into a folder under another name, renamed when it is done. Two workers that make
    the same: both give the same bytes, the first stays.

    Args:
        still: whether what was made still holds.
    """
    done = read_done(folder)
    if done is not None and still(done):
        return done
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.tmp")
    temporary.mkdir()
    try:
        said = make(temporary)
        names = sorted(p.relative_to(temporary) for p in temporary.rglob("*") if p.is_file())
        hashes = {
            name.as_posix(): hash_file(temporary / name, durable=True).sha256 for name in names
        }
        atomic_write_json(temporary / DONE, {"said": said, "files": hashes})
        try:
            temporary.rename(folder)
        except OSError:
            other = read_done(folder)
            if other is None:
                raise
            return other
        fsync_directory(folder.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return said


def write_rejected(file: ParquetFile, funnel: Funnel) -> None:
    """Write what was rejected since the last call."""
    for rejected in funnel.take_rejected():
        text = None if rejected.text is None else encodable(rejected.text)
        names = {"id": encodable_name(rejected.id), "file": encodable_name(rejected.file)}
        file.write(rejected._asdict() | names | {"text": text})


def _unique(documents: Iterator[Document], finish: Finish, funnel: Funnel) -> Iterator[Document]:
    """Documents, finished, whose text was not seen before in this shard."""
    seen = SeenTexts()
    for document in documents:
        finish.apply(document, funnel)
        raw, document.text = document.text, encodable(document.text)
        if seen.is_new(document.text):
            funnel.keep(DUPLICATE, raw, document.text)
            yield storable(document)
        else:
            funnel.reject(DUPLICATE, SAME_TEXT, raw, document.id)


def _funnel(source: str, parameters: Mapping[str, Any], guard: Guard) -> Funnel:
    funnel = Funnel(source, strict=parameters["strict"], keep_rejected=parameters["keep_rejected"])
    funnel.watch = guard
    return funnel


def _opened(
    root: str, files: Sequence[str], hashes: Mapping[str, str], work: Path
) -> AbstractContextManager[Path]:
    """The folder that a shard's files are read from; those of a URL are fetched first."""
    if is_url(root):
        return fetched(root, files, hashes, work)
    return readable_root(Path(root), files, work)


def _parsed(parameters: Mapping[str, Any]) -> CorpusParameters:
    return CorpusParameters.model_validate(parameters)
