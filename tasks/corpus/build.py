"""Builds the documents of one source: plain code, no orchestrator."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from tasks.context import StageContext, StageResult, atomic_write_json
from tasks.corpus.chain import check_chain
from tasks.corpus.dedup import (
    SeenTexts,
)
from tasks.corpus.documents import (
    REJECTED_SCHEMA,
    Document,
    Funnel,
    ParquetFile,
)
from tasks.corpus.locate import readable_root
from tasks.corpus.parameters import CorpusParameters
from tasks.corpus.storable import encodable, encodable_name, storable

REPORT_EVERY = 200


class MissingSourceError(ValueError):
    """A source has no files or no documents, and missing sources are not allowed."""


def build_source(
    source: str,
    root: Path,
    files: Sequence[str],
    parameters: CorpusParameters,
    context: StageContext,
) -> StageResult:
    """Read the dumps of one source into ``context.out``.

    Writes ``documents.parquet``, ``funnel.json``, ``licenses.json``, ``bad_files.json`` and, with
    ``keep_rejected``, ``rejected.parquet``.

    Args:
        root: data folder. files: paths of the source's files relative to it, sorted, as
            `locate_sources` writes them.

    Raises:
        BadFileError: a file cannot be read and ``strict`` is set.
        MissingSourceError: no document came out and ``allow_missing_sources`` is not set.
    """
    started = time.monotonic()
    funnel = Funnel(source, strict=parameters.strict, keep_rejected=parameters.keep_rejected)
    reader = import_module(f"tasks.corpus.sources.{source}")
    licenses: Counter[str] = Counter()
    totals: Counter[str] = Counter()
    rejected = _RejectedFile(context.out / "rejected.parquet", parameters.keep_rejected)
    with (
        readable_root(root, files, context.work) as readable,
        rejected,
        ParquetFile(context.out / "documents.parquet") as output,
    ):
        expected = _expected_bytes(readable, files, parameters, source)
        documents = reader.read(readable, files, parameters, funnel)
        for document in _unique(documents, funnel):
            output.write_document(document)
            licenses[document.license or "unknown"] += 1
            totals["characters"] += len(document.text)
            totals["bytes"] += len(document.text.encode())
            rejected.write(funnel)
            if output.documents % REPORT_EVERY == 0:
                context.progress(
                    min(0.99, totals["bytes"] / expected), f"{source}: {output.documents:,}"
                )
            if _cap_reached(parameters, source, output.documents, totals["bytes"]):
                documents.close()
                funnel.stop()
                funnel.note(f"{source}: stopped at its cap; what follows was not read.")
                break
        rejected.write(funnel)
    if not output.documents:
        message = (
            f"source {source!r} gave no documents from {len(files)} files under"
            f" {root / 'corpus' / source}"
        )
        if not parameters.allow_missing_sources:
            raise MissingSourceError(
                f"{message}; see what was rejected: {_reasons(funnel)}. Add files, or set"
                " allow_missing_sources to go on without the source."
            )
        funnel.note(f"{message}.")
    check_chain(funnel.rows(), {"documents": output.documents, **totals})
    atomic_write_json(context.out / "funnel.json", funnel.rows())
    atomic_write_json(context.out / "licenses.json", dict(sorted(licenses.items())))
    atomic_write_json(context.out / "bad_files.json", funnel.bad_files)
    seconds = round(time.monotonic() - started, 3)
    atomic_write_json(context.logs / "timing.json", {"seconds": seconds, "root": str(root)})
    return StageResult(
        counts={
            "documents": output.documents,
            "characters": totals["characters"],
            "bytes": totals["bytes"],
            "files": len(files),
            "bad_files": len(funnel.bad_files),
        },
        seeds={"corpus": parameters.seed},
        notes=funnel.notes,
    )


class _RejectedFile:
    """Writes what the filters removed, when that is wanted."""

    def __init__(self, path: Path, wanted: bool) -> None:
        self._file = ParquetFile(path, REJECTED_SCHEMA) if wanted else None

    def write(self, funnel: Funnel) -> None:
        rows = funnel.take_rejected()
        if self._file is not None:
            for rejected in rows:
                row = rejected._asdict() | {"id": encodable_name(rejected.id)}
                self._file.write(row | {"text": encodable(rejected.text or "")})

    def __enter__(self) -> _RejectedFile:
        return self

    def __exit__(self, *error: Any) -> None:
        if self._file is not None:
            self._file.__exit__(*error)


def _unique(documents: Iterator[Document], funnel: Funnel) -> Iterator[Document]:
    """Documents whose text was not seen before in this source."""
    seen = SeenTexts()
    for document in documents:
        raw, document.text = document.text, encodable(document.text)
        if seen.is_new(document.text):
            funnel.keep("exact duplicate", raw, document.text)
            yield storable(document)
        else:
            funnel.reject("exact duplicate", "same text in this source", raw, document.id)


def _cap_reached(parameters: CorpusParameters, source: str, documents: int, size: int) -> bool:
    cap = parameters.cap(source)
    too_many = cap.max_documents is not None and documents >= cap.max_documents
    return too_many or (cap.max_bytes is not None and size >= cap.max_bytes)


def _expected_bytes(
    root: Path, files: Sequence[str], parameters: CorpusParameters, source: str
) -> int:
    """A rough size of the result, for progress alone."""
    cap = parameters.cap(source).max_bytes
    return cap or max(1, sum((root / name).stat().st_size for name in files))


def _reasons(funnel: Funnel) -> str:
    found = [
        f"{row['filter']}: {reason} ({count})"
        for row in funnel.rows()
        for reason, count in row["rejected"].items()
    ]
    return ", ".join(found[:12]) or "nothing was read"
