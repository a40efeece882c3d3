"""Builds the documents of one source, shard by shard: plain code, no orchestrator.

survey (each shard) -> decide (once) -> read (each shard) -> merge. The first two only where a
source's shards must know of each other: lines repeated across files, editions of a book, the
largest sites. Every step's files lie in the work folder of the recipe, so an attempt goes on where
another one ended, whoever did the work.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from tasks.context import StageContext, StageResult, atomic_write_json
from tasks.corpus.chain import check_chain
from tasks.corpus.execute import Executor, Job, kept
from tasks.corpus.executors import choose_executor, tell_given_up
from tasks.corpus.funnel import Funnel
from tasks.corpus.guard import Guard, read_skips, write_skips
from tasks.corpus.merge import Merged, ReadShard, merge_shards
from tasks.corpus.parameters import CorpusParameters
from tasks.corpus.shards import Shard, plan_rows, plan_shards
from tasks.corpus.worker_ends import WorkerFailed

STEPS = "tasks.corpus.steps"
# Times that shards are surveyed again because reading one gave up a record that its survey had.
ROUNDS = 10


class MissingSourceError(ValueError):
    """A source has no files or no documents, and missing sources are not allowed."""


@dataclass(frozen=True)
class SourceWork:
    """One source's shards and where their steps' files lie: the same for every worker.

    root: data folder, or URL. folder: work folder of the recipe. hashes: sha256 of a URL's files.
    """

    source: str
    root: Path | str
    folder: Path
    shards: Sequence[Shard]
    parameters: CorpusParameters
    hashes: Mapping[str, str]

    @property
    def surveyed(self) -> bool:
        """Whether the shards must know of each other before they are read."""
        return hasattr(import_module(f"tasks.corpus.sources.{self.source}"), "survey")

    def survey_job(self, shard: Shard) -> Job:
        """What others must know of a shard."""
        folder = self.folder / "survey" / shard.name
        return self._job("survey_shard", shard, folder, self.skips(shard))

    def decide_job(self) -> Job:
        """What all surveys say together."""
        surveys = [str(self.folder / "survey" / shard.name) for shard in self.shards]
        arguments = {
            "source": self.source,
            "surveys": surveys,
            "parameters": self.parameters.model_dump(mode="json"),
            "folder": str(self.folder / "decided"),
        }
        return Job(f"{STEPS}:decide_source", arguments, bounded=False)

    def read_job(self, shard: Shard, whole: bool = False) -> Job:
        """The documents of a shard; ``whole``: whatever the source's cap."""
        decided = str(self.folder / "decided") if self.surveyed else None
        surveyed = str(self.folder / "survey" / shard.name) if self.surveyed else None
        folder = self.folder / _read_folder(whole) / shard.name
        job = self._job("read_shard", shard, folder, self.reading_skips(shard))
        job.arguments.update(decided=decided, surveyed=surveyed)
        if whole:
            caps = {name: cap for name, cap in self.parameters.caps.items() if name != self.source}
            uncapped = self.parameters.model_copy(update={"caps": caps})
            job.arguments.update(parameters=uncapped.model_dump(mode="json"))
        return job

    def skips(self, shard: Shard) -> Path:
        """File of a shard's records that were given up, and are told and surveyed without."""
        return self.folder / "skips" / f"{shard.name}.json"

    def reading_skips(self, shard: Shard) -> Path:
        """The same, with what reading gave up before it is known whether the shard counts."""
        return self.folder / "skips" / f"{shard.name}.reading.json"

    def _job(self, step: str, shard: Shard, folder: Path, skips: Path) -> Job:
        arguments = {
            "source": self.source,
            "root": str(self.root),
            "files": list(shard.files),
            "hashes": {name: self.hashes[name] for name in shard.files if name in self.hashes},
            "parameters": self.parameters.model_dump(mode="json"),
            "folder": str(folder),
        }
        return Job(f"{STEPS}:{step}", arguments, skips)


def _read_folder(whole: bool) -> str:
    return "whole" if whole else "read"


def source_work(
    source: str,
    root: Path | str,
    sizes: Mapping[str, int],
    parameters: CorpusParameters,
    folder: Path,
    hashes: Mapping[str, str],
) -> SourceWork:
    """The plan of a source's shards, noted in ``shards.json`` of its work folder.

    Args:
        sizes: the listed files in order, paths relative to ``root``, with their bytes.
    """
    reader = import_module(f"tasks.corpus.sources.{source}")
    shards = plan_shards(reader, list(sizes), sizes, parameters.shard_megabytes * 1_000_000)
    (folder / "skips").mkdir(parents=True, exist_ok=True)
    atomic_write_json(folder / "shards.json", plan_rows(shards))
    return SourceWork(source, root, folder, shards, parameters, hashes)


def build_source(
    source: str,
    root: Path | str,
    sizes: Mapping[str, int],
    parameters: CorpusParameters,
    context: StageContext,
    executor: Executor | None = None,
    hashes: Mapping[str, str] | None = None,
) -> StageResult:
    """Read the dumps of one source into ``context.out``.

    Writes ``documents/*.parquet``, ``rejected/*.parquet``, ``funnel.json``,
    ``funnel_shards.json``, ``licenses.json`` and ``bad_files.json``.

    Args:
        root: data folder, or a URL (see `tasks.corpus.remote`). sizes: the source's files in order,
            paths relative to it as `locate_sources` writes them, with their bytes.
        executor: where shards are read; by default what the parameters say.
        hashes: sha256 by file, needed where the root is a URL: files are compared as they come.

    Raises:
        BadFileError: a file cannot be read and ``strict`` is set.
        MissingSourceError: no document came out and ``allow_missing_sources`` is not set.
    """
    started = time.monotonic()
    chosen = executor or choose_executor(parameters, context)
    work = source_work(source, root, sizes, parameters, context.work, hashes or {})
    with kept(chosen) as crew:
        merged = _merged(work, crew, chosen, context)
    funnel = merged.funnel
    if merged.capped:
        funnel.note(f"{source}: stopped at its cap; what follows was not read.")
    # Of the shards that count, as with any number of workers ahead of a cap.
    for note in tell_given_up([work.skips(s) for s in work.shards[: merged.shards]], context):
        funnel.note(note)
    if not merged.documents:
        message = (
            f"source {source!r} gave no documents from {len(sizes)} files under"
            f" {root}/corpus/{source}"
        )
        if not parameters.allow_missing_sources:
            raise MissingSourceError(
                f"{message}; see what was rejected: {_reasons(funnel)}. Add files, or set"
                " allow_missing_sources to go on without the source."
            )
        funnel.note(f"{message}.")
    _write_reports(merged, context)
    seconds = round(time.monotonic() - started, 3)
    atomic_write_json(context.logs / "timing.json", {"seconds": seconds, "root": str(root)})
    return StageResult(
        counts={
            "documents": merged.documents,
            "characters": merged.characters,
            "bytes": merged.bytes,
            "files": len(sizes),
            "shards": len(work.shards),
            "bad_files": len(funnel.bad_files),
        },
        seeds={"corpus": parameters.seed},
        notes=funnel.notes,
    )


def _merged(work: SourceWork, crew: Executor, alone: Executor, context: StageContext) -> Merged:
    """The source's documents in ``context.out``.

    What a survey had counts in what was decided on other shards: their lines and books went in
    favour of it. So when reading gives up a record, its shard is surveyed again without it.

    Args:
        alone: runs a job while ``crew`` is at others.

    Raises:
        WorkerFailed: record after record is given up.
    """

    def whole(shard: ReadShard) -> ReadShard:
        job = work.read_job(work.shards[shard.number], whole=True)
        (said,) = alone.run([job])
        return ReadShard(shard.number, Path(job.arguments["folder"]), said)

    parameters = work.parameters
    for _ in range(ROUNDS):
        passed = _survey(work, crew, context) if work.surveyed else None
        with closing(_read(work, crew, context)) as shards:
            merged = merge_shards(
                work.source,
                shards,
                parameters.cap(work.source),
                context.out,
                work.folder / "merge",
                parameters.dedup_memory_mb,
                parameters.keep_rejected,
                whole,
            )
        # What was read ahead of a cap must not count: with fewer workers it would not have been.
        # Not in an attempt after this one either, so it is never where a survey would find it.
        for shard in work.shards[: merged.shards]:
            write_skips(work.skips(shard), read_skips(work.reading_skips(shard)))
        for shard in work.shards[merged.shards :]:
            write_skips(work.reading_skips(shard), read_skips(work.skips(shard)))
        if passed is None or passed == [_passed(work, shard) for shard in work.shards]:
            return merged
        for name in ("documents", "rejected"):
            shutil.rmtree(context.out / name, ignore_errors=True)
    raise WorkerFailed(
        f"{work.source}: {ROUNDS} times a record was given up when its shard was read that was none"
        " when it was surveyed. They are listed in skips/ of the work folder"
    )


def _passed(work: SourceWork, shard: Shard) -> list[list[Any]]:
    return Guard(None, read_skips(work.skips(shard))).passed


def _survey(work: SourceWork, executor: Executor, context: StageContext) -> list[list[list[Any]]]:
    """Survey all shards and decide; of each, the places that it was surveyed without."""
    passed: list[list[list[Any]]] = []
    for said in executor.run(work.survey_job(shard) for shard in work.shards):
        passed.append(said["passed"])
        done, count = len(passed), len(work.shards)
        context.progress(0.5 * done / count, f"{work.source}: {done} of {count} surveyed")
    for _ in executor.run([work.decide_job()]):
        context.progress(0.5, f"{work.source}: decided")
    return passed


def _read(work: SourceWork, executor: Executor, context: StageContext) -> Generator[ReadShard]:
    """Shards as they are read, in order; what a cap makes needless is not begun."""
    total = sum(shard.size for shard in work.shards) or 1
    start = 0.5 if work.surveyed else 0.0
    documents = done = 0

    def jobs() -> Iterator[Job]:
        for shard in work.shards:
            known = work.reading_skips(shard)
            write_skips(known, read_skips(known) | read_skips(work.skips(shard)))
            yield work.read_job(shard)

    results = executor.run(jobs())
    for shard, said in zip(work.shards, results, strict=True):
        documents += said["documents"]
        done += shard.size
        context.progress(
            min(0.99, start + (1 - start) * done / total), f"{work.source}: {documents:,} documents"
        )
        yield ReadShard(shard.number, work.folder / "read" / shard.name, said)


def _write_reports(merged: Merged, context: StageContext) -> None:
    rows = merged.funnel.rows()
    written = {
        "documents": merged.documents,
        "characters": merged.characters,
        "bytes": merged.bytes,
    }
    check_chain(rows, written)
    atomic_write_json(context.out / "funnel.json", rows)
    atomic_write_json(context.out / "funnel_shards.json", merged.by_shard)
    atomic_write_json(context.out / "licenses.json", dict(sorted(merged.licenses.items())))
    atomic_write_json(context.out / "bad_files.json", merged.funnel.bad_files)


def _reasons(funnel: Funnel) -> str:
    found = [
        f"{row['filter']}: {reason} ({count})"
        for row in funnel.rows()
        for reason, count in row["rejected"].items()
    ]
    return ", ".join(found[:12]) or "nothing was read"
