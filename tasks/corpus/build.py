"""Builds the documents of one source, and the corpus of all: plain code, no orchestrator."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tasks.context import StageContext, StageResult, atomic_write_json
from tasks.corpus.dedup import SeenTexts, first_occurrences, text_digest, write_digests
from tasks.corpus.documents import (
    REJECTED_SCHEMA,
    Document,
    Funnel,
    ParquetFile,
    encodable,
    read_documents,
)
from tasks.corpus.mixture import SOURCES, mixture
from tasks.corpus.parameters import CorpusParameters
from tasks.corpus.split import choose_validation, split_key

REPORT_EVERY = 200
READ_COLUMNS = ["text", "meta"]


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
        root: data folder. files: paths of the source's files relative to it, sorted.

    Raises:
        BadFileError: a file cannot be read and ``strict`` is set.
        MissingSourceError: no document came out and ``allow_missing_sources`` is not set.
    """
    started = time.monotonic()
    funnel = Funnel(source, strict=parameters.strict, keep_rejected=parameters.keep_rejected)
    reader = import_module(f"tasks.corpus.sources.{source}")
    licenses: Counter[str] = Counter()
    totals: Counter[str] = Counter()
    expected = _expected_bytes(root, files, parameters, source)
    rejected = _RejectedFile(context.out / "rejected.parquet", parameters.keep_rejected)
    with rejected, ParquetFile(context.out / "documents.parquet") as output:
        documents = reader.read(root, files, parameters, funnel)
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
            for identity, name, reason, text in rows:
                self._file.write(
                    {"id": identity, "filter": name, "reason": reason, "text": encodable(text)}
                )

    def __enter__(self) -> _RejectedFile:
        return self

    def __exit__(self, *error: Any) -> None:
        if self._file is not None:
            self._file.__exit__(*error)


def _unique(documents: Iterator[Document], funnel: Funnel) -> Iterator[Document]:
    """Documents whose text was not seen before in this source."""
    seen = SeenTexts()
    for document in documents:
        document.text = encodable(document.text)
        document.uri = encodable(document.uri)
        if seen.is_new(document.text):
            funnel.keep("exact duplicate", document.text)
            yield document
        else:
            funnel.reject("exact duplicate", "same text in this source", document.text, document.id)


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


def build_corpus(
    inputs: Mapping[str, Path], parameters: CorpusParameters, context: StageContext
) -> StageResult:
    """Join the sources: remove texts that an earlier source has, split, mix.

    Earlier means earlier in Table 1. Writes ``train/<source>.parquet``,
    ``validation/<source>.parquet``, ``funnel.json``, ``licenses.json`` and ``mixture.json``.

    Args:
        inputs: artifact folder of each source's documents.

    Raises:
        MissingSourceError: a source is missing or empty and ``allow_missing_sources`` is not set.
    """
    present = {
        name: inputs[name] / "documents.parquet"
        for name in SOURCES
        if name in inputs and _rows(inputs[name] / "documents.parquet")
    }
    missing = [name for name in SOURCES if name not in present]
    if missing and not parameters.allow_missing_sources:
        raise MissingSourceError(
            f"no documents for {', '.join(missing)}: a corpus needs all seven sources of Table 1."
            " Add their files to the data folder, or set allow_missing_sources to renormalise the"
            " mixture over the others."
        )
    digests: dict[str, Path] = {}
    keys: dict[str, NDArray[np.uint64]] = {}
    for number, (name, path) in enumerate(present.items()):
        digests[name] = context.work / f"{name}.digests"
        keys[name] = _hash_source(path, digests[name], parameters.seed)
        context.progress(0.5 * (number + 1) / len(present), f"hashed {name}")
    keep = first_occurrences(digests)
    funnel_rows: list[dict[str, Any]] = []
    licenses: Counter[str] = Counter()
    counts: dict[str, dict[str, int]] = {"train": {}, "validation": {}}
    for number, (name, path) in enumerate(present.items()):
        held = np.zeros(len(keep[name]), dtype=np.bool_)
        chosen = np.flatnonzero(keep[name])
        held[chosen] = choose_validation(
            keys[name][chosen], parameters.validation_fraction, parameters.validation_minimum
        )
        funnel = Funnel(name)
        written = _write_source(name, path, keep[name], held, context.out, funnel, licenses)
        for split, documents in written.items():
            counts[split][name] = documents
        source_rows = json.loads((inputs[name] / "funnel.json").read_text("utf-8"))
        funnel_rows += source_rows + [row for row in funnel.rows() if row["filter"] != "read"]
        context.progress(0.5 + 0.5 * (number + 1) / len(present), f"wrote {name}")
    for path in digests.values():
        path.unlink()
    mix = mixture(name for name, documents in counts["train"].items() if documents)
    atomic_write_json(context.out / "funnel.json", funnel_rows)
    atomic_write_json(context.out / "licenses.json", dict(sorted(licenses.items())))
    atomic_write_json(context.out / "mixture.json", mix)
    notes = []
    if mix["renormalised"]:
        notes.append(
            f"sources missing: {', '.join(mix['missing'])}; Table 1's weights were renormalised"
            " over the others."
        )
    notes += [note for name in present if (note := _bad_files_note(name, inputs[name]))]
    return StageResult(
        counts={
            "documents": sum(counts["train"].values()),
            "validation_documents": sum(counts["validation"].values()),
            "sources": counts,
        },
        seeds={"validation": parameters.seed},
        notes=notes,
    )


def _bad_files_note(source: str, documents: Path) -> str:
    """What of a source could not be read, or "" when all of it was."""
    path = documents / "bad_files.json"
    bad = Counter(row["reason"] for row in json.loads(path.read_text("utf-8")))
    if not bad:
        return ""
    reasons = ", ".join(f"{reason} ({count})" for reason, count in sorted(bad.items()))
    return f"{source}: files that could not be read to their end: {reasons}."


def _rows(path: Path) -> int:
    return int(pq.read_metadata(path).num_rows)


def _hash_source(path: Path, digests: Path, seed: int) -> NDArray[np.uint64]:
    """Write a source's text digests; return its documents' split keys (8 bytes each)."""
    key_N = np.empty(_rows(path), dtype=np.uint64)

    def rows() -> Iterator[bytes]:
        for index, row in enumerate(read_documents(path, READ_COLUMNS)):
            digest = text_digest(row["text"])
            key_N[index] = split_key(digest, json.loads(row["meta"]).get("cluster"), seed)
            yield digest

    write_digests(digests, rows())
    return key_N


def _write_source(
    name: str,
    path: Path,
    keep_N: NDArray[np.bool_],
    held_N: NDArray[np.bool_],
    out: Path,
    funnel: Funnel,
    licenses: Counter[str],
) -> dict[str, int]:
    """Write a source's two files; counts into ``funnel`` and ``licenses``."""
    funnel.declare("cross-source duplicate", "validation split")
    with (
        ParquetFile(out / "train" / f"{name}.parquet") as train,
        ParquetFile(out / "validation" / f"{name}.parquet") as validation,
    ):
        for row, keep, held in zip(read_documents(path), keep_N, held_N, strict=True):
            text = row["text"]
            if not keep:
                funnel.reject("cross-source duplicate", "same text in an earlier source", text)
                continue
            funnel.keep("cross-source duplicate", text)
            licenses[row["license"] or "unknown"] += 1
            if held:
                funnel.reject("validation split", "validation", text)
                validation.write(row)
            else:
                funnel.keep("validation split", text)
                train.write(row)
    return {"train": train.documents, "validation": validation.documents}
