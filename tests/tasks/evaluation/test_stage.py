"""The Prefect tasks, run without a server through their plain functions."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from prefect.states import State

from registry import runs
from registry.artifacts import ArtifactRef, Kind
from registry.database import upgrade
from registry.settings import load_settings
from tasks.context import StageContext, StageResult
from tasks.evaluation import sandbox
from tasks.evaluation.parameters import EvaluationParameters
from tasks.evaluation.stage import NoParameters, evaluate_model, fingerprint_bench
from tasks.runner import RunContext, Stage, open_workplace, run_stage, settled

MODEL = Stage(name="export", version=1, kind=Kind.MODEL)
PARAMETERS = EvaluationParameters(
    benchmarks=["hellaswag", "humaneval", "mmlu"], item_limit=3, max_new_tokens=4
)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunContext:
    monkeypatch.setenv("ARRIERO_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("ARRIERO_REGISTRY_URL", raising=False)
    monkeypatch.setattr(sandbox, "probe", lambda *limits: sandbox.Probe(None, "none here"))
    (tmp_path / "home").mkdir()
    upgrade(load_settings().registry_url)
    identity = runs.start_run(open_workplace().registry, flow="evaluation", stage="evaluation")
    return RunContext(run_id=identity, flow="evaluation")


@pytest.fixture
def data(tmp_path: Path, bench_root: Path) -> Path:
    shutil.copytree(bench_root, tmp_path / "data" / "bench")
    return tmp_path / "data"


def publish(model_folder: Path, run: RunContext) -> ArtifactRef:
    def copy(_: dict[str, Path], context: StageContext) -> StageResult:
        shutil.copytree(model_folder, context.out, dirs_exist_ok=True)
        return StageResult()

    return settled(run_stage(MODEL, NoParameters(), {}, run, copy))


def rows_of(ref: ArtifactRef) -> dict[str, dict[str, Any]]:
    rows = json.loads((open_workplace().store.path(ref) / "results.json").read_text())
    return {row["benchmark"]: row for row in rows}


def test_an_evaluation_is_cached_until_data_or_sandbox_change(
    model_folder: Path, data: Path, run: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = publish(model_folder, run)

    def evaluate(sample: bool = False) -> tuple[ArtifactRef, bool]:
        bench = settled(fingerprint_bench.fn(PARAMETERS, str(data), sample, run))
        made = evaluate_model.fn(PARAMETERS, model, bench, str(data), run)
        return settled(made), isinstance(made, State)

    first, cached = evaluate()
    assert not cached
    rows = rows_of(first)
    assert rows["hellaswag"]["status"] == "ok" and rows["hellaswag"]["sample"] is False
    assert "none here" in rows["humaneval"]["reason"] and "mmlu" in rows["mmlu"]["reason"]
    assert evaluate() == (first, True)
    (data / "bench" / "unrelated.txt").write_text("read by no benchmark")
    assert evaluate() == (first, True)

    flagged, cached = evaluate(sample=True)
    assert not cached and rows_of(flagged)["hellaswag"]["sample"] is True
    assert open_workplace().store.manifest(flagged).sample

    path = data / "bench" / "hellaswag" / "val_full_preprocessed.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:40]))
    second, cached = evaluate()
    assert not cached and second.key != first.key
    assert rows_of(second)["hellaswag"]["data_sha256"] != rows["hellaswag"]["data_sha256"]

    # A sandbox that has been installed since then is reason to run again.
    monkeypatch.setattr(sandbox, "probe", lambda *limits: sandbox.Probe("bwrap", "pretended"))
    monkeypatch.setattr(
        "tasks.evaluation.answering.run_program",
        lambda *arguments: sandbox.Outcome("failed"),
    )
    third, cached = evaluate()
    assert not cached and rows_of(third)["humaneval"]["value"] == 0.0
    assert third.key not in {first.key, second.key, flagged.key}


def test_another_batch_size_is_another_result(
    model_folder: Path, data: Path, run: RunContext
) -> None:
    """Batches of another size round otherwise, and an artifact is claimed to repeat bit for bit."""
    model = publish(model_folder, run)
    keys = []
    for budget in (2048, 4096):
        parameters = PARAMETERS.model_copy(update={"token_budget": budget})
        bench = settled(fingerprint_bench.fn(parameters, str(data), False, run))
        keys.append(settled(evaluate_model.fn(parameters, model, bench, str(data), run)).key)
    assert keys[0] != keys[1]


def test_files_that_changed_under_the_run_are_refused(
    model_folder: Path, data: Path, run: RunContext
) -> None:
    model = publish(model_folder, run)
    bench = settled(fingerprint_bench.fn(PARAMETERS, str(data), False, run))
    with (data / "bench" / "hellaswag" / "val_full_preprocessed.jsonl").open("a") as handle:
        handle.write("\n")
    with pytest.raises(ValueError, match=r"changed since.*hellaswag/val_full_preprocessed\.jsonl"):
        evaluate_model.fn(PARAMETERS, model, bench, str(data), run)


def test_a_data_folder_without_benchmarks_gives_rows_that_say_so(
    tmp_path: Path, model_folder: Path, run: RunContext
) -> None:
    model = publish(model_folder, run)
    bench = settled(fingerprint_bench.fn(PARAMETERS, str(tmp_path), False, run))
    rows = rows_of(settled(evaluate_model.fn(PARAMETERS, model, bench, str(tmp_path), run)))
    assert {row["status"] for row in rows.values()} == {"not run"}
