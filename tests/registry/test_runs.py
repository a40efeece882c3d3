"""Runs end once, attempts count on, lost ones are found, rows are validated."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from registry import runs
from registry.artifacts import ArtifactRef, Kind, Store
from registry.database import Registry
from registry.evaluations import checkpoints_without_evaluation

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
ROW = {"benchmark": "hellaswag", "metric": "acc_norm", "value": 0.5, "stderr": 0.05, "n": 20}


def test_start_and_finish(registry: Registry) -> None:
    parent = runs.start_run(registry, flow="pipeline", user="ada", parameters={"preset": "nano"})
    child = runs.start_run(
        registry, flow="pipeline", stage="tokens", recipe="k", parent_id=parent, git_commit="abc"
    )
    runs.link_run(registry, child, mlflow_run_id="m1")
    assert runs.finish_run(registry, child, "completed", artifact_key="k", clock=lambda: NOON)
    run = runs.get_run(registry, child)
    assert (run.status, run.ended_at, run.artifact_key) == ("completed", NOON, "k")
    assert (run.parent_id, run.git_commit, run.mlflow_run_id) == (parent, "abc", "m1")
    assert runs.get_run(registry, parent).parameters == {"preset": "nano"}
    assert [r.id for r in runs.list_runs(registry, top_level=True)] == [parent]
    assert [r.id for r in runs.list_runs(registry, status="running")] == [parent]


def test_a_run_ends_once(registry: Registry) -> None:
    run_id = runs.start_run(registry, flow="f")
    assert runs.finish_run(registry, run_id, "failed", error="boom") is True
    assert runs.finish_run(registry, run_id, "failed") is False
    assert runs.get_run(registry, run_id).error == "boom"
    with pytest.raises(runs.RunAlreadyEnded, match="ended as failed before"):
        runs.finish_run(registry, run_id, "completed")
    with pytest.raises(runs.UnknownRun):
        runs.finish_run(registry, "nobody", "completed")
    with pytest.raises(ValueError, match="cannot end as 'running'"):
        runs.finish_run(registry, run_id, "running")


def test_attempts_count_per_parent_and_recipe(registry: Registry) -> None:
    def attempt(parent: str, recipe: str) -> int:
        run_id = runs.start_run(registry, flow="f", stage="s", recipe=recipe, parent_id=parent)
        return runs.get_run(registry, run_id).attempt

    one, two = (runs.start_run(registry, flow="f") for _ in range(2))
    counted = [attempt(one, "a"), attempt(one, "a"), attempt(one, "b"), attempt(two, "a")]
    assert counted == [1, 2, 1, 1]


def test_lost_runs_are_ended_and_may_still_report(registry: Registry) -> None:
    dead = runs.start_run(registry, flow="f", stage="pretraining")
    alive = runs.start_run(registry, flow="f")
    ended = runs.start_run(registry, flow="f")
    runs.finish_run(registry, ended, "completed")
    assert runs.mark_lost(registry, is_alive=lambda run: run.id == alive) == [dead]
    assert runs.mark_lost(registry, is_alive=lambda run: run.id == alive) == []
    assert runs.get_run(registry, dead).status == "lost"
    assert runs.get_run(registry, alive).status == "running"
    assert [e.run_id for e in runs.list_events(registry, kind="run-lost")] == [dead]
    assert runs.finish_run(registry, dead, "completed") is True


def test_young_runs_are_given_time(registry: Registry) -> None:
    run_id = runs.start_run(registry, flow="f", clock=lambda: NOON)

    def lost(minutes: int) -> list[str]:
        return runs.mark_lost(
            registry,
            is_alive=lambda run: False,
            older_than=timedelta(minutes=5),
            clock=lambda: NOON + timedelta(minutes=minutes),
        )

    assert lost(4) == []
    assert lost(5) == [run_id]


def test_prefix_of_an_id(registry: Registry) -> None:
    for run_id in ("aa1", "aa2", "b%1"):
        runs.start_run(registry, flow="f", run_id=run_id)
    assert runs.get_run(registry, "aa2").id == "aa2"
    assert runs.get_run(registry, "b%").id == "b%1"
    with pytest.raises(runs.UnknownRun, match="more than one"):
        runs.get_run(registry, "aa")
    with pytest.raises(runs.UnknownRun, match="no run"):
        runs.get_run(registry, "%")


def test_metric_summaries_replace_by_name(registry: Registry) -> None:
    run_id = runs.start_run(registry, flow="f")
    row = runs.MetricRow(name="loss", last=2.0, min=1.5, max=9.0, count=10, last_step=10)
    runs.record_metric_summary(registry, run_id, [row])
    runs.record_metric_summary(registry, run_id, [row.model_copy(update={"last": 1.0})])
    (kept,) = runs.list_metrics(registry, run_id)
    assert (kept.name, kept.last, kept.max, kept.count) == ("loss", 1.0, 9.0, 10)
    with pytest.raises(ValidationError, match="finite number"):
        runs.MetricRow(name="loss", last=float("nan"), min=1, max=1, count=1, last_step=1)


def evaluate(registry: Registry, artifact: ArtifactRef, model: ArtifactRef, *rows: Any) -> int:
    with registry.session() as session:
        return runs.record_evaluations(session, artifact=artifact, model=model, rows=rows)


def test_evaluations_are_recorded_once(
    registry: Registry, chain: dict[str, ArtifactRef], put: Any
) -> None:
    model = chain["model"]
    with registry.reading() as session:
        assert runs.models_without_evaluation(session) == [model]
    artifact = put(Kind.EVALUATION, "evaluation", None, {"model": model})
    absent = {
        "benchmark": "humaneval",
        "metric": "pass@1",
        "status": "not run",
        "reason": "no bwrap",
    }
    assert evaluate(registry, artifact, model, ROW, absent) == 2
    assert evaluate(registry, artifact, model, ROW, absent, ROW | {"shots": 5}) == 1
    first, second, third = runs.list_evaluations(registry, model_key=model.key)
    assert (first.value, first.model_digest, first.sample) == (0.5, model.digest, False)
    assert (second.status, second.value, second.reason) == ("not run", None, "no bwrap")
    assert third.shots == 5
    with registry.reading() as session:
        assert runs.models_without_evaluation(session) == []


def test_models_of_one_content_each_have_the_rows_of_their_evaluation(
    registry: Registry, put: Any
) -> None:
    """The same weights exported by another recipe hit the evaluation's cache: one artifact."""
    first = put(Kind.MODEL, "export", {"m": "weights"}, seed=1)
    again = put(Kind.MODEL, "export", {"m": "weights"}, seed=2)
    assert first.digest == again.digest and first.key != again.key
    artifact = put(Kind.EVALUATION, "evaluation", None, {"model": first})
    assert evaluate(registry, artifact, first, ROW) == 1
    with registry.reading() as session:
        assert runs.models_without_evaluation(session) == []
    assert evaluate(registry, artifact, again, ROW) == 1
    assert evaluate(registry, artifact, again, ROW) == 0
    for model in (first, again):
        (row,) = runs.list_evaluations(registry, model_key=model.key)
        assert row.value == ROW["value"]


@pytest.mark.parametrize(
    "change", [{"sample": True}, {"status": "not run", "value": None, "reason": "no files"}]
)
def test_a_row_without_a_figure_for_it_leaves_a_model_unevaluated(
    registry: Registry, put: Any, change: dict[str, Any]
) -> None:
    model = put(Kind.MODEL, "export")
    artifact = put(Kind.EVALUATION, "evaluation", None, {"model": model})
    evaluate(registry, artifact, model, ROW | change)
    with registry.reading() as session:
        assert runs.models_without_evaluation(session) == [model]
    evaluate(registry, artifact, model, ROW | {"metric": "other"})
    with registry.reading() as session:
        assert runs.models_without_evaluation(session) == []


def test_checkpoints_without_figure_or_export(
    registry: Registry, chain: dict[str, ArtifactRef], put: Any
) -> None:
    alone = put(Kind.CHECKPOINT, "finetuning", None, {"base": chain["checkpoint"]})
    with registry.reading() as session:  # the chain's checkpoint was exported
        assert checkpoints_without_evaluation(session) == [alone]
    artifact = put(Kind.EVALUATION, "evaluation", None, {"model": alone})
    evaluate(registry, artifact, alone, ROW)
    with registry.reading() as session:
        assert checkpoints_without_evaluation(session) == []


def test_the_figures_of_a_lost_export_speak_for_its_checkpoint(
    registry: Registry, store: Store, chain: dict[str, ArtifactRef], put: Any
) -> None:
    checkpoint, model = chain["checkpoint"], chain["model"]
    store.quarantine(model, "damaged")
    with registry.reading() as session:
        assert checkpoints_without_evaluation(session) == [checkpoint]
    artifact = put(Kind.EVALUATION, "evaluation", None, {"checkpoint": checkpoint})
    evaluate(registry, artifact, model, ROW)
    with registry.reading() as session:
        assert checkpoints_without_evaluation(session) == []


def test_rows_of_a_sample_model_are_sample_rows(registry: Registry, put: Any) -> None:
    model = put(Kind.MODEL, "export", sample=True)
    artifact = put(Kind.EVALUATION, "evaluation", None, {"model": model})
    evaluate(registry, artifact, model, ROW)
    assert [row.sample for row in runs.list_evaluations(registry)] == [True]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"value": None}, "a row that is ok has a value"),
        ({"status": "not run", "reason": "x"}, "a row that is ok has a value"),
        ({"status": "not run", "value": None}, "say why it was not run"),
        ({"value": float("nan")}, "finite number"),
        ({"benchmark": ""}, "at least 1 character"),
        ({"score": 1}, "Extra inputs"),
    ],
)
def test_bad_evaluation_rows_are_refused_whole(
    registry: Registry,
    chain: dict[str, ArtifactRef],
    put: Any,
    change: dict[str, Any],
    message: str,
) -> None:
    artifact = put(Kind.EVALUATION, "evaluation", None, {"model": chain["model"]})
    with pytest.raises(ValidationError, match=message):
        evaluate(registry, artifact, chain["model"], ROW, ROW | {"shots": 1} | change)
    assert runs.list_evaluations(registry) == []


def test_evaluation_of_an_unknown_model_is_refused(registry: Registry, put: Any) -> None:
    artifact = put(Kind.EVALUATION, "evaluation")
    stranger = artifact.model_copy(update={"key": "0" * 64})
    with pytest.raises(ValueError, match="to attach evaluations to"):
        evaluate(registry, artifact, stranger, ROW)


def test_events_of_a_log_are_recorded_once_however_many_attempts_read_it(
    registry: Registry,
) -> None:
    first = runs.start_run(registry, flow="pretraining", stage="pretraining", recipe="ab")
    lines = [("step-skipped", {"step": 3, "at": 1700000000.25}), ("gave-up", {"step": 3, "at": 2})]
    assert runs.record_events_once(registry, first, lines[:1]) == 1
    assert runs.record_events_once(registry, first, lines[:1]) == 0
    second = runs.start_run(registry, flow="pretraining", stage="pretraining", recipe="ab")
    assert runs.record_events_once(registry, second, lines) == 1
    other = runs.start_run(registry, flow="pretraining", stage="pretraining", recipe="cd")
    assert runs.record_events_once(registry, other, lines) == 2
    assert runs.record_events_once(registry, other, []) == 0
    told = [(event.run_id, event.kind) for event in reversed(runs.list_events(registry))]
    assert told == [
        (first, "step-skipped"),
        (second, "gave-up"),
        (other, "step-skipped"),
        (other, "gave-up"),
    ]
    with pytest.raises(runs.UnknownRun):
        runs.record_events_once(registry, "nobody", lines)
