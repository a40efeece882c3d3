"""What MLflow shows of the registry's records; a second delivery adds nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run as MlflowRun

from registry import outbox, runs
from registry.artifacts import ArtifactRef, Kind
from registry.promotion import Facts, GatePolicy, promote
from tasks import projection
from tasks.projection import RUN_TAG, project
from tasks.runner import Workplace
from tests.tasks.conftest import Attempt, jsonl

METRICS = [
    {"step": 1, "time": 100.0, "loss": 3.5, "lr": 1e-4, "skipped": False},
    {"step": 2, "time": 101.0, "loss": 3.0, "lr": 2e-4, "skipped": False},
    {"step": 2, "time": 101.5, "validation_loss": 3.25},
]


@pytest.fixture
def client(mlflow_uri: str) -> MlflowClient:
    return MlflowClient(tracking_uri=mlflow_uri)


def shown(client: MlflowClient) -> list[MlflowRun]:
    return list(client.search_runs([projection.experiment_id(client)], max_results=100))


def only(client: MlflowClient, record_id: str) -> MlflowRun:
    (run,) = [r for r in shown(client) if r.data.tags.get(RUN_TAG) == record_id]
    return run


def stage_payload(record: str, ref: ArtifactRef | None) -> dict[str, Any]:
    return {"run_id": record, "artifact": ref.model_dump(mode="json") if ref else None}


def files_of(client: MlflowClient, run_id: str, folder: str | None = None) -> set[str]:
    found: set[str] = set()
    for entry in client.list_artifacts(run_id, folder):
        found |= files_of(client, run_id, entry.path) if entry.is_dir else {entry.path}
    return found


def everything(client: MlflowClient) -> dict[str, Any]:
    """All that a second delivery could double."""
    found: dict[str, Any] = {}
    for run in shown(client):
        run_id = run.info.run_id
        found[run_id] = {
            "tags": dict(run.data.tags),
            "params": dict(run.data.params),
            "history": {
                name: [
                    (m.step, m.value, m.timestamp) for m in client.get_metric_history(run_id, name)
                ]
                for name in run.data.metrics
            },
            "datasets": [d.dataset.digest for d in run.inputs.dataset_inputs],
            "files": {
                name: Path(client.download_artifacts(run_id, name)).read_bytes()
                for name in files_of(client, run_id)
            },
        }
    found["models"] = sorted(
        m.model_id for m in client.search_logged_models([projection.experiment_id(client)])
    )
    return found


def test_a_stage_is_a_child_run_with_all_that_is_known(
    place: Workplace, client: MlflowClient, attempt: Attempt
) -> None:
    record, ref = attempt(
        Kind.TOKENS,
        "tokens",
        {"tokens.json": '{"vocab_size": 512}', "train/c4.bin": "not shown"},
        parameters={"seed": 3, "nested": {"rate": 0.5, "names": ["a", "b"]}},
        counts={"tokens": 42, "split": {"train": 40}, "complete": True},
        sample=True,
    )
    project(client, place, "stage", stage_payload(record, ref))
    child = only(client, record)
    parent_record = runs.get_run(place.registry, record).parent_id
    assert parent_record is not None
    parent = only(client, parent_record)
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert runs.get_run(place.registry, record).mlflow_run_id == child.info.run_id
    assert runs.get_run(place.registry, parent_record).mlflow_run_id == parent.info.run_id
    assert child.info.run_name == "tokens" and child.info.status == "FINISHED"
    assert child.data.params == {
        "seed": "3",
        "nested.rate": "0.5",
        "nested.names": '["a", "b"]',
    }
    # A truth value is no number: it is in the manifest, not among the metrics.
    assert child.data.metrics == {"counts.tokens": 42.0, "counts.split.train": 40.0}
    assert child.data.tags["arriero.digest"] == ref.digest
    assert child.data.tags["arriero.sample"] == "true"
    (dataset,) = [d.dataset for d in child.inputs.dataset_inputs]
    assert (dataset.name, dataset.digest) == ("tokens", ref.digest[:36])
    assert json.loads(dataset.source)["digest"] == ref.digest
    assert files_of(client, child.info.run_id) == {"manifest.json", "tokens.json"}
    assert files_of(client, parent.info.run_id) == {"configuration.json"}


def test_large_and_binary_files_are_referenced_not_copied(
    place: Workplace, client: MlflowClient, attempt: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(projection, "LARGEST_UPLOAD", 10)
    record, ref = attempt(
        Kind.CHECKPOINT,
        "pretraining",
        {"model.safetensors": "weights", "small.json": "{}", "large.json": '{"a": "0123456789"}'},
    )
    project(client, place, "stage", stage_payload(record, ref))
    run = only(client, record)
    assert files_of(client, run.info.run_id) == {"manifest.json", "small.json"}
    (model,) = client.search_logged_models([projection.experiment_id(client)])
    assert model.name == f"pretraining-{ref.digest[:12]}"
    sha256 = place.store.manifest(ref).files["model.safetensors"].sha256
    assert model.tags["arriero.sha256"] == sha256
    assert model.tags["arriero.uri"] == ref.uri


def test_metrics_are_sent_by_step_and_only_those_that_lack(
    place: Workplace, client: MlflowClient, attempt: Attempt
) -> None:
    record, ref = attempt(
        Kind.CHECKPOINT,
        "pretraining",
        {"model.safetensors": "w", "logs/metrics.jsonl": jsonl(METRICS)},
    )
    run_id = projection.ensure_stage_run(client, place, record)
    client.log_metric(run_id, "loss", 3.5, timestamp=100_000, step=1)  # came live
    project(client, place, "stage", stage_payload(record, ref))
    loss = client.get_metric_history(run_id, "loss")
    assert [(m.step, m.value, m.timestamp) for m in loss] == [(1, 3.5, 100_000), (2, 3.0, 101_000)]
    assert [m.step for m in client.get_metric_history(run_id, "validation_loss")] == [2]
    assert client.get_metric_history(run_id, "skipped") == []


def test_gaps_of_the_live_curve_are_filled_and_nothing_is_sent_twice(
    place: Workplace, client: MlflowClient, attempt: Attempt
) -> None:
    rows = [{"step": n, "time": float(n), "loss": 4.0 - n, "rate": 0.5} for n in range(1, 5)]
    rows[-1]["loss"] = None  # not finite: the step shows by its other metrics alone
    record, ref = attempt(
        Kind.CHECKPOINT,
        "pretraining",
        {"model.safetensors": "w", "logs/metrics.jsonl": jsonl(rows)},
    )
    run_id = projection.ensure_stage_run(client, place, record)
    for step in (1, 3, 4):
        client.log_metric(run_id, "rate", 0.5, timestamp=7, step=step)
    client.log_metric(run_id, "loss", 3.0, timestamp=7, step=1)
    project(client, place, "stage", stage_payload(record, ref))
    rate, loss = (client.get_metric_history(run_id, name) for name in ("rate", "loss"))
    assert sorted((m.step, m.timestamp) for m in rate) == [(1, 7), (2, 2000), (3, 7), (4, 7)]
    assert sorted((m.step, m.value) for m in loss) == [(1, 3.0), (2, 2.0), (3, 1.0)]


def test_a_validation_that_the_live_curve_lacks_is_sent(
    place: Workplace, client: MlflowClient, attempt: Attempt
) -> None:
    record, ref = attempt(
        Kind.CHECKPOINT,
        "pretraining",
        {"model.safetensors": "w", "logs/metrics.jsonl": jsonl(METRICS)},
    )
    run_id = projection.ensure_stage_run(client, place, record)
    for step, loss in ((1, 3.5), (2, 3.0)):
        client.log_metric(run_id, "loss", loss, timestamp=7, step=step)
    project(client, place, "stage", stage_payload(record, ref))
    assert [m.timestamp for m in client.get_metric_history(run_id, "loss")] == [7, 7]
    assert [m.value for m in client.get_metric_history(run_id, "validation_loss")] == [3.25]


@pytest.mark.parametrize("kind", [Kind.RAW, Kind.CHECKPOINT, Kind.EVALUATION])
def test_a_second_delivery_changes_nothing(
    place: Workplace, client: MlflowClient, attempt: Attempt, kind: Kind
) -> None:
    rows = [
        {"benchmark": "mmlu", "metric": "acc", "value": 0.25, "status": "ok", "n": 4},
        {"benchmark": "humaneval", "metric": "pass@1", "value": None, "status": "not run", "n": 0},
    ]
    record, ref = attempt(
        kind,
        kind.value,
        {
            "results.json": json.dumps(rows),
            "model.safetensors": "w",
            "logs/metrics.jsonl": jsonl(METRICS),
        },
        counts={"files": 3},
    )
    payload = stage_payload(record, ref)
    project(client, place, "stage", payload)
    once = everything(client)
    project(client, place, "stage", payload)
    assert everything(client) == once
    assert len(shown(client)) == 2


def test_an_evaluation_is_a_table_and_metrics(
    place: Workplace, client: MlflowClient, attempt: Attempt
) -> None:
    rows = [
        {"benchmark": "mmlu", "metric": "acc", "value": 0.25, "status": "ok", "n": 4},
        {"benchmark": "humaneval", "metric": "pass@1", "value": None, "status": "not run", "n": 0},
    ]
    record, ref = attempt(Kind.EVALUATION, "evaluation", {"results.json": json.dumps(rows)})
    project(client, place, "stage", stage_payload(record, ref))
    run = only(client, record)
    assert run.data.metrics == {"mmlu.acc": 0.25}
    table = json.loads(
        Path(client.download_artifacts(run.info.run_id, "evaluation.json")).read_text()
    )
    columns = table["columns"]
    assert [dict(zip(columns, row, strict=True)) for row in table["data"]] == rows
    # MLflow shows it as a table because of this tag.
    assert "evaluation.json" in run.data.tags["mlflow.loggedArtifacts"]


def test_a_funnel_is_a_table(place: Workplace, client: MlflowClient, attempt: Attempt) -> None:
    units = ("documents", "characters", "bytes")
    counts = {f"{unit}_{side}": 7 for unit in units for side in ("in", "out")}
    row = {"source": "c4", "filter": "read", "joined": 0, "rejected": {"a": 1, "b": 2}, **counts}
    record, ref = attempt(Kind.DOCUMENTS, "corpus", {"funnel.json": json.dumps([row])})
    project(client, place, "stage", stage_payload(record, ref))
    run = only(client, record)
    path = client.download_artifacts(run.info.run_id, "funnel_table.json")
    table = json.loads(Path(path).read_text())
    shown_row = dict(zip(table["columns"], table["data"][0], strict=True))
    assert shown_row == {"source": "c4", "filter": "read", "rejected": "b (2), a (1)", **counts}
    assert "funnel_table.json" in run.data.tags["mlflow.loggedArtifacts"]


def test_a_failed_attempt_is_shown_with_its_error(place: Workplace, client: MlflowClient) -> None:
    parent = runs.start_run(place.registry, flow="pipeline")
    for attempt, status in ((1, "failed"), (2, "preempted")):
        record = runs.start_run(
            place.registry,
            flow="pipeline",
            stage="pretraining",
            recipe="0f",
            parent_id=parent,
            parameters={"long": "x" * 7000},
        )
        runs.finish_run(place.registry, record, status, error="RuntimeError: " + "e" * 9000)
        project(client, place, "stage", stage_payload(record, None))
        run = only(client, record)
        assert run.info.status == {"failed": "FAILED", "preempted": "KILLED"}[status]
        assert run.data.tags["arriero.error"].startswith("RuntimeError: eee")
        assert run.data.params["long"].endswith("[cut]")
        assert run.info.run_name == "pretraining" + (" (attempt 2)" if attempt == 2 else "")


def test_a_flow_ends_and_a_subflow_makes_no_run(place: Workplace, client: MlflowClient) -> None:
    parent = runs.start_run(place.registry, flow="pipeline", parameters={"preset": "nano"})
    child = runs.start_run(place.registry, flow="preparation", parent_id=parent)
    for record in (child, parent):
        runs.finish_run(place.registry, record, "completed")
        project(client, place, "flow", {"run_id": record})
    (run,) = shown(client)
    assert run.data.tags[RUN_TAG] == parent and run.info.status == "FINISHED"
    assert run.data.tags["arriero.flow"] == "pipeline"


def test_stages_of_a_subflow_hang_on_the_outermost_flow(
    place: Workplace, client: MlflowClient, attempt: Attempt
) -> None:
    outer = runs.start_run(place.registry, flow="pipeline")
    inner = runs.start_run(place.registry, flow="preparation", parent_id=outer)
    record, ref = attempt(Kind.RAW, "raw.c4", {"files.jsonl": ""}, parent=inner)
    project(client, place, "stage", stage_payload(record, ref))
    parent = only(client, record).data.tags["mlflow.parentRunId"]
    assert parent == only(client, outer).info.run_id
    assert len(shown(client)) == 2


def test_a_report_brings_its_files_and_totals(place: Workplace, client: MlflowClient) -> None:
    record = runs.start_run(place.registry, flow="pipeline")
    folder = place.settings.home / "reports" / record
    folder.mkdir(parents=True)
    (folder / "card.html").write_text("<p>card</p>", encoding="utf-8")
    payload = {
        "run_id": record,
        "files": {"card.html": f"reports/{record}/card.html"},
        "metrics": {"emissions": {"kwh": 0.5}},
    }
    project(client, place, "report", payload)
    once = everything(client)
    project(client, place, "report", payload)
    assert everything(client) == once
    run = only(client, record)
    assert run.data.metrics == {"emissions.kwh": 0.5}
    assert files_of(client, run.info.run_id) == {"configuration.json", "card.html"}


@pytest.mark.parametrize("broken", ["log_parameters", "log_dict"])
def test_a_delivery_cut_short_is_completed_in_the_same_run(
    place: Workplace,
    client: MlflowClient,
    attempt: Attempt,
    monkeypatch: pytest.MonkeyPatch,
    broken: str,
) -> None:
    """A kill between MLflow's answer and our record must not make a second run."""
    record, ref = attempt(Kind.RAW, "raw.c4", {"files.jsonl": ""})

    def cut(*arguments: Any) -> None:
        raise ConnectionError("the line is dead")

    with monkeypatch.context() as patch:
        patch.setattr(client if broken == "log_dict" else projection, broken, cut)
        with pytest.raises(ConnectionError):
            project(client, place, "stage", stage_payload(record, ref))
    project(client, place, "stage", stage_payload(record, ref))
    assert len(shown(client)) == 2
    child = only(client, record)
    assert child.data.params == {"seed": "3"} and child.info.status == "FINISHED"
    parent = child.data.tags["mlflow.parentRunId"]
    assert files_of(client, parent) == {"configuration.json"}


def test_an_unknown_topic_is_refused(place: Workplace, client: MlflowClient) -> None:
    with pytest.raises(ValueError, match="topic 'hologram' is unknown here; update arriero"):
        project(client, place, "hologram", {})


def test_the_champion_follows_its_version(
    place: Workplace, client: MlflowClient, attempt: Attempt
) -> None:
    record, ref = attempt(
        Kind.MODEL, "export", {"model.safetensors": "w", "config.json": "{}"}, sample=True
    )
    promote(
        place.registry,
        name="llama-i-sample",
        model=ref,
        policy=GatePolicy(),
        facts=Facts(lineage_problems=()),
        decided_by="ada",
        force_reason="no figures",
    )
    told = {message.topic: message.payload for message in outbox.pending(place.registry)}
    version, champion = told["model-version"], told["champion"]
    with pytest.raises(ValueError, match="not registered yet"):
        project(client, place, "champion", champion)
    project(client, place, "stage", stage_payload(record, ref))
    for _ in range(2):
        project(client, place, "model-version", version)
        project(client, place, "champion", champion)
    (shown_version,) = client.search_model_versions("name = 'llama-i-sample'")
    assert shown_version.tags["arriero.digest"] == ref.digest
    assert shown_version.tags["arriero.sample"] == "true"
    by_alias = client.get_model_version_by_alias("llama-i-sample", "champion")
    assert by_alias.version == shown_version.version
    assert shown_version.run_id == only(client, record).info.run_id
    # The weights stay in the store.
    (logged,) = [
        m
        for m in client.search_logged_models([projection.experiment_id(client)])
        if m.name == "llama-i-sample"
    ]
    copied = client.list_logged_model_artifacts(logged.model_id)
    assert not any("safetensors" in entry.path for entry in copied)
