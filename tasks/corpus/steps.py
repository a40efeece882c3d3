"""The steps over shards of one source: survey, decide, read. Plain functions, called as jobs.

Each writes a folder and renames it into place: the folder is the record that the step is done for
that shard. Killed at any moment, a run goes on with the shards that are there.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from importlib import import_module
from pathlib import Path
from typing import Any

from registry.files import canonical_json, hash_file, native_name
from tasks.context import atomic_write_json, fsync_directory
from tasks.corpus.dedup import SeenTexts, text_digest
from tasks.corpus.documents import REJECTED_SCHEMA, Document, ParquetFile
from tasks.corpus.done import DONE, read_done
from tasks.corpus.finish import Finish
from tasks.corpus.funnel import Funnel
from tasks.corpus.guard import Guard
from tasks.corpus.leftovers import LOCKS, owned, sweep
from tasks.corpus.locate import readable_root
from tasks.corpus.parameters import CorpusParameters
from tasks.corpus.remote import fetched, is_url
from tasks.corpus.sources.packages import PACKAGE, require_listed
from tasks.corpus.storable import encodable, encodable_name, storable
from tasks.locks import exclusive

_log = logging.getLogger("arriero")
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
    """What the shards must know of each other, of this one: the reader's ``survey``.

    Returns:
        ``records``, and ``passed``: the places of records given up that it was made without.
    """

    def make(out: Path) -> dict[str, Any]:
        funnel = _funnel(source, parameters, guard)
        with _opened(root, files, hashes, out) as readable:
            reader = import_module(f"tasks.corpus.sources.{source}")
            reader.survey(readable, files, _parsed(parameters), funnel, out)
        return {"records": funnel.entries["read"].documents_in, "passed": guard.passed}

    return _once_of_files(Path(folder), make, root, files, {"passed": guard.passed})


def decide_source(
    guard: Guard,
    *,
    source: str,
    surveys: Sequence[str],
    parameters: Mapping[str, Any],
    folder: str,
) -> dict[str, Any]:
    """Draw from all surveys what each shard must do: the reader's ``decide``.

    Renewed when a survey was. A file that is named after a shard says what that one must do;
    the others are read with every shard.
    """
    contents = [_content(Path(name)) for name in surveys]
    of = hashlib.sha256(canonical_json(contents)).hexdigest()

    def make(out: Path) -> dict[str, Any]:
        reader = import_module(f"tasks.corpus.sources.{source}")
        reader.decide([Path(name) for name in surveys], _parsed(parameters), out)
        return {"surveys": len(surveys), "of": of}

    return once(Path(folder), make, still=lambda done: done.get("of") == of)


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

    Renewed when its survey was, or what was decided on it, or when it must pass another record.

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
            _opened(root, files, hashes, out) as readable,
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

    of: dict[str, Any] = {"passed": guard.passed}
    if decided and surveyed:
        shard = Path(surveyed).name
        of |= {"decided": _content(Path(decided), shard), "surveyed": _content(Path(surveyed))}
    return _once_of_files(Path(folder), make, root, files, of)


def _content(folder: Path, shard: str | None = None) -> dict[str, str]:
    """sha256 of each file of a folder of :func:`once`; without other shards' when one is given."""
    found: dict[str, str] = json.loads((folder / DONE).read_text("utf-8"))["files"]
    names = {name: name.split(".")[0] for name in found}
    return {
        name: digest
        for name, digest in found.items()
        if shard is None or not names[name].isdigit() or names[name] == shard
    }


def _once_of_files(
    folder: Path,
    make: Callable[[Path], dict[str, Any]],
    root: str,
    files: Sequence[str],
    of: Mapping[str, Any],
) -> dict[str, Any]:
    """:func:`once`, for files that must be the same when the folder is used as when it was made.

    of: what else it is made of, as JSON, that must be the same.

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
        return said | {"stamps": before, "of": of}

    said = once(
        folder,
        stamped,
        still=lambda done: done["stamps"] == _stamps(root, files) and done.get("of") == of,
    )
    return {name: value for name, value in said.items() if name not in ("stamps", "of")}


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

    def found() -> dict[str, Any] | None:
        """What is there and holds; what does not is moved out of the way."""
        done = read_done(folder)
        if done is not None and still(done):
            return done
        if folder.exists():
            folder.rename(stale)
        return None

    folder.parent.mkdir(parents=True, exist_ok=True)
    # Held while one looks and renames, never while one makes: what another worker has put in place
    # since one looked is never taken for what was there before.
    lock = folder.parent / LOCKS / folder.name
    with owned(folder) as (temporary, stale):
        with exclusive(lock, what=folder.name, log=_log):
            done = found()
        if done is not None:
            return done
        sweep(folder.parent)
        shutil.rmtree(stale, ignore_errors=True)
        temporary.mkdir()
        said = make(temporary)
        names = sorted(p.relative_to(temporary) for p in temporary.rglob("*") if p.is_file())
        hashes = {
            name.as_posix(): hash_file(temporary / name, durable=True).sha256 for name in names
        }
        atomic_write_json(temporary / DONE, {"said": said, "files": hashes})
        with exclusive(lock, what=folder.name, log=_log):
            other = found()
            if other is not None:
                return other
            temporary.rename(folder)
        fsync_directory(folder.parent)
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
    listed = {name: sha256 for name, sha256 in hashes.items() if name.startswith(PACKAGE)}
    if listed:
        require_listed(listed)
    if is_url(root):
        return fetched(root, files, hashes, work)
    return readable_root(Path(root), files, work)


def _parsed(parameters: Mapping[str, Any]) -> CorpusParameters:
    return CorpusParameters.model_validate(parameters)
