"""The tasks of this package: fingerprint the benchmark files, evaluate a model on them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from pydantic import BaseModel, ConfigDict

from registry.artifacts import ArtifactRef, Kind
from tasks.context import StageContext, StageResult, atomic_write_text
from tasks.evaluation.parameters import EvaluationParameters
from tasks.runner import RunContext, Stage, open_workplace, run_stage

FOLDER = "bench"
BENCH = Stage(name="raw.bench", version=1, kind=Kind.RAW)
EVALUATION = Stage(
    name="evaluation",
    version=3,  # 3: rows say how long answers could be; items a model cannot read are wrong
    kind=Kind.EVALUATION,
    libraries=("torch", "sentencepiece", "numpy"),
)


class NoParameters(BaseModel):
    """A listing of files has nothing to choose."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Benchmark files")


def bench_files(parameters: EvaluationParameters) -> list[str]:
    """Files, relative to the bench folder, that the chosen benchmarks read; sorted."""
    from tasks.evaluation.benchmarks.registry import benchmark

    return sorted({path for name in parameters.benchmarks for path in benchmark(name).read_files()})


@task(name="raw.bench", task_run_name="raw.bench", cache_policy=NO_CACHE, persist_result=True)
def fingerprint_bench(
    parameters: EvaluationParameters, root: str, sample: bool, run: RunContext
) -> Any:
    """List and hash the files of the chosen benchmarks; returns the raw ``ArtifactRef``.

    root: data folder with ``bench/`` in it. Absent files are left out: their benchmarks give rows
    ``not run``. sample: the items are the generated sample.
    """
    from registry.fingerprints import fingerprint

    wanted = {f"{FOLDER}/{name}" for name in bench_files(parameters)}
    folder = Path(root) / FOLDER
    found = fingerprint(folder, open_workplace().registry) if folder.is_dir() else []
    rows = [{**row.model_dump(), "path": f"{FOLDER}/{row.path}"} for row in found]
    rows = sorted((row for row in rows if row["path"] in wanted), key=lambda row: row["path"])
    listing = "".join(json.dumps(row, sort_keys=True) + "\n" for row in rows)

    def write(_: dict[str, Path], context: StageContext) -> StageResult:
        atomic_write_text(context.out / "files.jsonl", listing)
        size = sum(row["size"] for row in rows)
        return StageResult(counts={"files": len(rows), "bytes": size})

    digest = hashlib.sha256(listing.encode()).hexdigest()
    # Only the listing decides, not which benchmarks asked for it.
    return run_stage(
        BENCH,
        NoParameters(),
        {},
        run,
        write,
        sample=sample,
        extra_recipe={"listing": digest, "sample": sample},
    )


@task(name="evaluation", task_run_name="evaluation", cache_policy=NO_CACHE, persist_result=True)
def evaluate_model(
    parameters: EvaluationParameters,
    model: ArtifactRef,
    bench: ArtifactRef,
    root: str,
    run: RunContext,
) -> Any:
    """Evaluate a model or checkpoint; returns the ``ArtifactRef`` of the evaluation.

    bench: artifact of :func:`fingerprint_bench`; the files under ``root`` are checked against it.
    """
    from tasks.evaluation import sandbox
    from tasks.evaluation.benchmarks.base import CodeBenchmark
    from tasks.evaluation.benchmarks.registry import benchmark

    sample = open_workplace().store.manifest(bench).sample
    chosen = [benchmark(name) for name in parameters.benchmarks]
    # A protocol's version decides the result; so does the sandbox, without which nothing is run.
    # The sample flag is in every row, and two listings that differ only in it have one digest.
    facts: dict[str, Any] = {
        "protocols": {found.name: found.protocol_version for found in chosen},
        "sample": sample,
    }
    if any(isinstance(found, CodeBenchmark) for found in chosen):
        facts["sandbox_available"] = sandbox.probe(parameters.sandbox.limits()).mode is not None

    def build(inputs: dict[str, Path], context: StageContext) -> StageResult:
        from tasks.evaluation.evaluate import build_evaluation

        check_files(parameters, Path(root), inputs["bench"] / "files.jsonl")
        return build_evaluation(parameters, inputs["model"], Path(root) / FOLDER, sample, context)

    return run_stage(
        EVALUATION,
        parameters,
        {"model": model, "bench": bench},
        run,
        build,
        extra_recipe=facts,
        raw_root=Path(root),
    )


def check_files(parameters: EvaluationParameters, root: Path, listing: Path) -> None:
    """Raise ValueError unless the benchmark files are still those that were fingerprinted."""
    rows = [json.loads(line) for line in listing.read_text(encoding="utf-8").splitlines()]
    expected = {row["path"]: row["sha256"] for row in rows}
    changed = []
    for name in (f"{FOLDER}/{file}" for file in bench_files(parameters)):
        digest = None
        if (root / name).is_file():
            with (root / name).open("rb") as handle:
                digest = hashlib.file_digest(handle, "sha256").hexdigest()
        if digest != expected.get(name):
            changed.append(name)
    if changed:
        raise ValueError(
            f"benchmark files changed since they were fingerprinted: {', '.join(changed)}; "
            "start the flow again"
        )
