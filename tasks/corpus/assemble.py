"""Joins the documents of all sources to a corpus: deduplication, split, mixture; plain code."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tasks.context import StageContext, StageResult, atomic_write_json
from tasks.corpus.build import MissingSourceError
from tasks.corpus.chain import check_chain
from tasks.corpus.clusters import Clusters
from tasks.corpus.dedup import first_occurrences, leading_digests, text_digest, write_digests
from tasks.corpus.documents import ParquetFile, document_files, read_documents
from tasks.corpus.funnel import Funnel
from tasks.corpus.mixture import SOURCES, mixture
from tasks.corpus.parameters import CorpusParameters
from tasks.corpus.split import choose_validation, cluster_keys, split_key


def build_corpus(
    inputs: Mapping[str, Path], parameters: CorpusParameters, context: StageContext
) -> StageResult:
    """Join the sources: remove texts that an earlier source has, split, mix.

    Earlier means earlier in Table 1. A cluster of near-duplicates, over all sources, is on one side
    of the split as a whole. Writes ``train/<source>/*.parquet``,
    ``validation/<source>/*.parquet``, ``funnel.json``, ``licenses.json`` and ``mixture.json``.

    Args:
        inputs: artifact folder of each source's documents.

    Raises:
        MissingSourceError: a source is missing or empty and ``allow_missing_sources`` is not set.
    """
    present = {
        name: files
        for name in SOURCES
        if name in inputs and (files := document_files(inputs[name]))
    }
    missing = [name for name in SOURCES if name not in present]
    if missing and not parameters.allow_missing_sources:
        raise MissingSourceError(
            f"no documents for {', '.join(missing)}: a corpus needs all seven sources of Table 1."
            " Add their files to the data folder, or set allow_missing_sources to renormalise the"
            " mixture over the others."
        )
    digests = {name: context.work / f"{name}.digests" for name in present}
    keys: dict[str, NDArray[np.uint64]] = {}
    total = sum(_rows(path) for files in present.values() for path in files)
    with Clusters(context.work, total, parameters.seed) as clusters:
        for number, (name, files) in enumerate(present.items()):
            keys[name] = _hash_source(files, digests[name], parameters.seed, clusters)
            context.progress(0.5 * (number + 1) / len(present), f"hashed {name}")
        label_N = clusters.labels()
    keep = first_occurrences(digests)
    held = _held_out(keys, digests, keep, label_N, parameters)
    funnel_rows: list[dict[str, Any]] = []
    licenses: Counter[str] = Counter()
    counts: dict[str, dict[str, int]] = {"train": {}, "validation": {}}
    for number, (name, files) in enumerate(present.items()):
        funnel = Funnel(name)
        written = _write_source(name, files, keep[name], held[name], context.out, funnel, licenses)
        for split, documents in written.items():
            counts[split][name] = documents
        source_rows = json.loads((inputs[name] / "funnel.json").read_text("utf-8"))
        source_rows += [row for row in funnel.rows() if row["filter"] != "read"]
        check_chain(source_rows, {"documents": written["train"]})
        funnel_rows += source_rows
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
    notes += [
        f"{name}: {documents} documents held out, fewer than the {wanted} wanted: its clusters of"
        " near-duplicates are too large."
        for name, documents in counts["validation"].items()
        if documents < (wanted := min(parameters.validation_minimum, int(keep[name].sum()) // 2))
    ]
    return StageResult(
        counts={
            "documents": sum(counts["train"].values()),
            "validation_documents": sum(counts["validation"].values()),
            "sources": counts,
            "near_duplicates": _cluster_counts(label_N, np.concatenate(list(keep.values()))),
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


def _hash_source(
    files: Sequence[Path], digests: Path, seed: int, clusters: Clusters
) -> NDArray[np.uint64]:
    """Write a source's text digests, sign its texts; return their split keys (8 bytes each)."""
    key_N = np.empty(sum(map(_rows, files)), dtype=np.uint64)

    def rows() -> Iterator[bytes]:
        for index, row in enumerate(_all_rows(files, ["text"])):
            digest = text_digest(row["text"])
            key_N[index] = split_key(digest, seed)
            clusters.add(row["text"])
            yield digest

    write_digests(digests, rows())
    return key_N


def _held_out(
    keys: Mapping[str, NDArray[np.uint64]],
    digests: Mapping[str, Path],
    keep: Mapping[str, NDArray[np.bool_]],
    label_N: NDArray[np.int64],
    parameters: CorpusParameters,
) -> dict[str, NDArray[np.bool_]]:
    """Which of the documents kept are validation, decided by cluster over all sources."""
    digest_N = np.concatenate([leading_digests(path) for path in digests.values()])
    key_N = cluster_keys(np.concatenate(list(keys.values())), digest_N, label_N)
    bounds = np.cumsum([len(own) for own in keys.values()])[:-1]
    by_source = dict(zip(keys, np.split(key_N, bounds), strict=True))
    chosen = choose_validation(
        {name: own[keep[name]] for name, own in by_source.items()},
        parameters.validation_fraction,
        parameters.validation_minimum,
    )
    held = {name: np.zeros(len(own), dtype=np.bool_) for name, own in keep.items()}
    for name, own in held.items():
        own[keep[name]] = chosen[name]
    return held


def _cluster_counts(label_N: NDArray[np.int64], keep_N: NDArray[np.bool_]) -> dict[str, int]:
    """How many clusters hold more than one of the documents kept, and how many documents."""
    sizes = np.bincount(label_N[keep_N])
    several = sizes[sizes > 1]
    largest = int(several.max(initial=1))
    return {"clusters": len(several), "documents": int(several.sum()), "largest": largest}


def _all_rows(
    files: Sequence[Path], columns: Sequence[str] | None = None
) -> Iterator[dict[str, Any]]:
    for path in files:
        yield from read_documents(path, columns)


def _write_source(
    name: str,
    files: Sequence[Path],
    keep_N: NDArray[np.bool_],
    held_N: NDArray[np.bool_],
    out: Path,
    funnel: Funnel,
    licenses: Counter[str],
) -> dict[str, int]:
    """Write a source's files; counts into ``funnel`` and ``licenses``."""
    funnel.declare("cross-source duplicate", "validation split")
    written = {"train": 0, "validation": 0}
    start = 0
    for path in files:
        stop = start + _rows(path)
        one = _write_file(path, keep_N[start:stop], held_N[start:stop], out, name, funnel, licenses)
        for split, documents in one.items():
            written[split] += documents
        start = stop
    return written


def _write_file(
    path: Path,
    keep_N: NDArray[np.bool_],
    held_N: NDArray[np.bool_],
    out: Path,
    name: str,
    funnel: Funnel,
    licenses: Counter[str],
) -> dict[str, int]:
    """One file's documents to the two splits; a split without documents has no file."""
    with (
        ParquetFile(out / "train" / name / path.name) as train,
        ParquetFile(out / "validation" / name / path.name) as validation,
    ):
        for row, keep, held in zip(read_documents(path), keep_N, held_N, strict=True):
            text = row["text"]
            if not keep:
                funnel.reject(
                    "cross-source duplicate", "same text in an earlier source", text, row["id"]
                )
                continue
            funnel.keep("cross-source duplicate", text)
            licenses[row["license"] or "unknown"] += 1
            if held:
                funnel.reject("validation split", "validation", text, row["id"])
                validation.write(row)
            else:
                funnel.keep("validation split", text)
                train.write(row)
        funnel.take_rejected()
    for file in (train, validation):
        if not file.documents:
            file.path.unlink()
    return {"train": train.documents, "validation": validation.documents}
