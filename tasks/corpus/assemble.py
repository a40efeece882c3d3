"""Joins the documents of all sources to a corpus: deduplication, split, mixture; plain code.

sign (each file) -> decide (once, by partitions of the hashes) -> write (each file). As with the
sources, every step's files lie in the work folder, and an attempt goes on where another ended.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tasks.context import StageContext, StageResult, atomic_write_json
from tasks.corpus import decontaminate
from tasks.corpus.assembly import FILTERS, Fate
from tasks.corpus.build import MissingSourceError
from tasks.corpus.chain import check_chain
from tasks.corpus.documents import document_files
from tasks.corpus.done import put_file
from tasks.corpus.execute import Executor, Job, kept
from tasks.corpus.executors import choose_executor
from tasks.corpus.fates import Part, decide
from tasks.corpus.funnel import Funnel
from tasks.corpus.mixture import SOURCES, mixture
from tasks.corpus.parameters import CorpusParameters
from tasks.corpus.rules.decontamination import DecontaminationRules
from tasks.corpus.steps import once

STEPS = "tasks.corpus.assembly"
DECONTAMINATE = "tasks.corpus.decontaminate"


def build_corpus(
    inputs: Mapping[str, Path],
    parameters: CorpusParameters,
    context: StageContext,
    executor: Executor | None = None,
    bench: Path | None = None,
) -> StageResult:
    """Join the sources: remove texts that an earlier source has, split, mix.

    Earlier means earlier in Table 1. A cluster of near-duplicates, over all sources, is on one side
    of the split as a whole. Writes ``train/<source>/*.parquet``,
    ``validation/<source>/*.parquet``, ``rejected/<source>/*.parquet``, ``funnel.json``,
    ``funnel_shards.json``, ``licenses.json`` and ``mixture.json``; with benchmarks to compare with
    ``contamination.json`` and ``contamination.parquet``.

    Args:
        inputs: artifact folder of each source's documents.
        executor: where files are worked on; by default what the parameters say.
        bench: folder of the benchmarks' files; None when there is none.

    Raises:
        MissingSourceError: a source is missing or empty and ``allow_missing_sources`` is not set.
    """
    parts = _parts(inputs, parameters)
    work = context.work
    with kept(executor or choose_executor(parameters, context)) as crew:
        _sign(parts, parameters, context, crew)
        checked = parameters.decontamination != "off" and bench is not None
        if checked:
            _flag(parts, parameters, str(bench), work, crew)
        decided = once(work / "decided", lambda out: decide(parts, parameters, work, checked, out))
        context.progress(0.55, "duplicates and split decided")
        written = _write(parts, decided, parameters.keep_rejected, context, crew)
    counts = written.counts
    rows = _funnel_rows(inputs, written.funnels, counts["train"])
    mix = mixture(name for name, documents in counts["train"].items() if documents)
    atomic_write_json(context.out / "funnel.json", rows)
    atomic_write_json(context.out / "funnel_shards.json", written.by_shard)
    atomic_write_json(context.out / "licenses.json", dict(sorted(written.licenses.items())))
    atomic_write_json(context.out / "mixture.json", mix)
    notes = _notes(mix, list(written.funnels), inputs, counts["validation"], decided["wanted"])
    if checked:
        for name in (decontaminate.REPORT, decontaminate.PAIRS):
            put_file(work / "decided" / name, context.out / name)
    elif parameters.decontamination != "off":
        notes.append(
            "the documents were not compared with the benchmarks: the data folder has no bench/."
        )
    return StageResult(
        counts={
            "documents": sum(counts["train"].values()),
            "validation_documents": sum(counts["validation"].values()),
            "sources": counts,
            "near_duplicates": decided["near_duplicates"],
            **decided["contamination"],
        },
        seeds={"validation": parameters.seed},
        notes=notes,
    )


def _parts(inputs: Mapping[str, Path], parameters: CorpusParameters) -> list[Part]:
    """Files of all sources in the order of Table 1; refuses when one is missing."""
    parts = [
        Part(name, path, int(pq.read_metadata(path).num_rows))
        for name in SOURCES
        if name in inputs
        for path in document_files(inputs[name])
    ]
    present = {part.source for part in parts}
    missing = [name for name in SOURCES if name not in present]
    if missing and not parameters.allow_missing_sources:
        raise MissingSourceError(
            f"no documents for {', '.join(missing)}: a corpus needs all seven sources of Table 1."
            " Add their files to the data folder, or set allow_missing_sources to renormalise the"
            " mixture over the others."
        )
    return parts


@dataclass
class _Written:
    """What the files of all parts say together; counts are documents by split and source."""

    funnels: dict[str, Funnel]
    counts: dict[str, dict[str, int]]
    licenses: Counter[str] = field(default_factory=Counter)
    by_shard: list[dict[str, Any]] = field(default_factory=list)


def _sign(
    parts: Sequence[Part], parameters: CorpusParameters, context: StageContext, crew: Executor
) -> None:
    jobs = (
        Job(
            f"{STEPS}:sign_documents",
            {
                "path": str(part.path),
                "seed": parameters.seed,
                "folder": str(context.work / "sign" / part.name),
            },
        )
        for part in parts
    )
    for done, _ in enumerate(crew.run(jobs), 1):
        context.progress(0.5 * done / len(parts), f"signed {done} of {len(parts)} files")


def _write(
    parts: Sequence[Part],
    decided: Mapping[str, Any],
    keep_rejected: bool,
    context: StageContext,
    crew: Executor,
) -> _Written:
    """Have every part's files written, and link them into the artifact."""
    filters = [FILTERS[Fate[name]][0] for name in decided["filters"]]
    jobs = (
        Job(
            f"{STEPS}:write_file",
            {
                "path": str(part.path),
                "source": part.source,
                "fates": str(context.work / "decided" / f"{part.name}.npy"),
                "filters": filters,
                "keep_rejected": keep_rejected,
                "folder": str(context.work / "write" / part.name),
            },
        )
        for part in parts
    )
    present = list(dict.fromkeys(part.source for part in parts))
    written = _Written(
        {name: Funnel(name) for name in present},
        {split: dict.fromkeys(present, 0) for split in ("train", "validation")},
    )
    for done, (part, said) in enumerate(zip(parts, crew.run(jobs), strict=True), 1):
        for split in ("train", "validation", "rejected"):
            if said[split]:
                place = context.out / split / part.source / part.path.name
                put_file(context.work / "write" / part.name / f"{split}.parquet", place)
        for split, documents in written.counts.items():
            documents[part.source] += said[split]
        written.licenses += Counter(said["licenses"])
        written.funnels[part.source].merge(Funnel.from_rows(part.source, said["funnel"]))
        written.by_shard += [{"shard": int(part.path.stem), **row} for row in said["funnel"]]
        context.progress(0.55 + 0.44 * done / len(parts), f"wrote {done} of {len(parts)} files")
    return written


def _flag(
    parts: Sequence[Part], parameters: CorpusParameters, bench: str, work: Path, crew: Executor
) -> None:
    """Index the benchmarks' items, and find the documents that hold some."""
    rules = {name: getattr(parameters, name) for name in DecontaminationRules.model_fields}
    index = str(work / "benchmarks")
    jobs = [
        Job(
            f"{DECONTAMINATE}:flag_file",
            {"path": str(part.path), "index": index, "folder": str(work / "flag" / part.name)},
        )
        for part in parts
    ]
    first = Job(
        f"{DECONTAMINATE}:index_benchmarks",
        {"bench": bench, "parameters": rules, "folder": index},
    )
    for step in ([first], jobs):
        for _ in crew.run(step):
            continue


def _funnel_rows(
    inputs: Mapping[str, Path], funnels: Mapping[str, Funnel], written: Mapping[str, int]
) -> list[dict[str, Any]]:
    """The sources' funnels, each with the filters of the corpus behind it."""
    found: list[dict[str, Any]] = []
    for name, funnel in funnels.items():
        rows = json.loads((inputs[name] / "funnel.json").read_text("utf-8"))
        rows += [row for row in funnel.rows() if row["filter"] != "read"]
        check_chain(rows, {"documents": written[name]})
        found += rows
    return found


def _notes(
    mix: Mapping[str, Any],
    present: Sequence[str],
    inputs: Mapping[str, Path],
    held: Mapping[str, int],
    wanted: Mapping[str, int],
) -> list[str]:
    notes = []
    if mix["renormalised"]:
        notes.append(
            f"sources missing: {', '.join(mix['missing'])}; Table 1's weights were renormalised"
            " over the others."
        )
    notes += [note for name in present if (note := _bad_files_note(name, inputs[name]))]
    notes += [
        f"{name}: {documents} documents held out, fewer than the {wanted[name]} wanted: its"
        " clusters of near-duplicates are too large."
        for name, documents in held.items()
        if documents < wanted[name]
    ]
    return notes


def _bad_files_note(source: str, documents: Path) -> str:
    """What of a source could not be read, or "" when all of it was."""
    path = documents / "bad_files.json"
    bad = Counter(row["reason"] for row in json.loads(path.read_text("utf-8")))
    if not bad:
        return ""
    reasons = ", ".join(f"{reason} ({count})" for reason, count in sorted(bad.items()))
    return f"{source}: files that could not be read to their end: {reasons}."
