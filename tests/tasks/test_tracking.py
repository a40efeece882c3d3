"""MLflow is delivered to from the outbox, each thing once; a dead MLflow costs delay only."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import PERMISSION_DENIED, RESOURCE_DOES_NOT_EXIST
from sqlalchemy import select, update

from registry import outbox, runs
from registry.artifacts import Kind
from registry.schema import Outbox, now
from tasks import projection, tracking
from tasks.runner import RunContext, Workplace, open_metrics_sink
from tests.tasks.conftest import Attempt, jsonl


def waiting(place: Workplace) -> list[Outbox]:
    with place.registry.reading() as session:
        return list(session.scalars(select(Outbox).where(Outbox.delivered_at.is_(None))))


def due_now(place: Workplace) -> None:
    """Let the back-off pass."""
    with place.registry.session() as session:
        session.execute(update(Outbox).values(next_attempt_at=now()))


def test_the_outbox_is_delivered_once(place: Workplace, mlflow_uri: str, attempt: Attempt) -> None:
    parent = runs.start_run(place.registry, flow="pipeline")
    for stage in ("raw.c4", "raw.books"):
        attempt(Kind.RAW, stage, {"files.jsonl": stage}, parent=parent)
    assert tracking.deliver(place) == 2
    assert waiting(place) == []
    assert tracking.deliver(place) == 0
    client = MlflowClient(tracking_uri=mlflow_uri)
    names = [r.info.run_name for r in client.search_runs([projection.experiment_id(client)])]
    assert len(names) == 3 and {"raw.c4", "raw.books"} < set(names)


def test_one_bad_entry_stops_no_other_and_is_tried_again(
    place: Workplace, mlflow_uri: str, attempt: Attempt
) -> None:
    with place.registry.session() as session:
        outbox.enqueue(session, "hologram", "hologram:1", {})
    attempt(Kind.RAW, "raw.c4", {"files.jsonl": ""})
    assert tracking.deliver(place) == 1
    (bad,) = waiting(place)
    assert bad.topic == "hologram" and bad.attempts == 1
    assert "ValueError: outbox topic 'hologram'" in (bad.last_error or "")
    assert bad.next_attempt_at > now()
    assert tracking.deliver(place) == 0  # it waits for its time
    due_now(place)
    assert tracking.deliver(place) == 0
    assert waiting(place)[0].attempts == 2


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A server that accepts connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(8)
        yield listener.getsockname()[1]


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("kind_of_dead", ["closed_port", "silent_port"])
def test_a_dead_mlflow_costs_delay_and_nothing_else(
    place: Workplace,
    mlflow_uri: str,
    attempt: Attempt,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    kind_of_dead: str,
) -> None:
    record, _ = attempt(Kind.RAW, "raw.c4", {"files.jsonl": ""})
    port = request.getfixturevalue(kind_of_dead)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    began = time.monotonic()
    tracking.install(place, RunContext(run_id=record, flow="pipeline"))
    assert time.monotonic() - began < 4
    began = time.monotonic()
    assert tracking.deliver(place) == 0
    assert time.monotonic() - began < 4
    assert open_metrics_sink.get() is None
    (message,) = waiting(place)
    assert message.attempts == 0, "an attempt was counted, so its back-off would grow"

    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_uri)
    assert tracking.deliver(place) == 1
    assert waiting(place) == []


def test_no_mlflow_at_all_is_no_error(
    place: Workplace, attempt: Attempt, caplog: pytest.LogCaptureFixture
) -> None:
    record, _ = attempt(Kind.RAW, "raw.c4", {"files.jsonl": ""})
    tracking.install(place, RunContext(run_id=record, flow="pipeline"))
    assert tracking.deliver(place) == 0
    assert len(waiting(place)) == 1
    assert "delivered later" in caplog.text


def test_the_settings_name_mlflow_before_the_environment(
    place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks.runner import open_workplace

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    assert tracking.tracking_uri(place) == "http://127.0.0.1:1"
    monkeypatch.setenv("ARRIERO_MLFLOW_TRACKING_URI", "http://127.0.0.1:2")
    assert tracking.tracking_uri(open_workplace()) == "http://127.0.0.1:2"


def test_live_metrics_arrive_in_batches_and_are_completed_once(
    place: Workplace, mlflow_uri: str, attempt: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "FLUSH_S", 0.05)
    lines = [{"step": step, "time": float(step), "loss": 4.0 - step / 100} for step in range(1, 31)]
    record, _ = attempt(
        Kind.CHECKPOINT,
        "pretraining",
        {"model.safetensors": "w", "logs/metrics.jsonl": jsonl(lines)},
    )
    live = tracking.LiveMetrics(place, record)
    for line in lines[:20]:
        live({"loss": line["loss"], "time": line["time"]}, int(line["step"]))
    live.close()
    client = MlflowClient(tracking_uri=mlflow_uri)
    run_id = tracking.mlflow_run_of(place, record)
    assert run_id is not None
    arrived = [(m.step, m.timestamp) for m in client.get_metric_history(run_id, "loss")]
    assert arrived == [(step, 1000 * step) for step in range(1, 21)]
    assert client.get_metric_history(run_id, "time") == []
    # The outbox completes what came after the live curve ended.
    assert tracking.deliver(place) == 1
    history = sorted(client.get_metric_history(run_id, "loss"), key=lambda m: m.step)
    assert [(m.step, m.value) for m in history] == [(r["step"], r["loss"]) for r in lines]


def test_a_live_sink_never_blocks_or_raises(
    place: Workplace,
    attempt: Attempt,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    record, _ = attempt(Kind.CHECKPOINT, "pretraining", {"model.safetensors": "w"})

    class Broken:
        def __getattr__(self, name: str) -> Any:
            raise ConnectionError("MLflow is gone")

    monkeypatch.setattr(tracking, "make_client", lambda uri: Broken())
    live = tracking.LiveMetrics(place, record)
    began = time.monotonic()
    for step in range(10_000):
        live({"loss": 1.0, "note": "text"}, step)  # type: ignore[dict-item]
    assert time.monotonic() - began < 2
    live.close()
    assert "live metrics stop, delivered later: MLflow is gone" in caplog.text
    assert threading.active_count() < 20


def test_an_unused_live_sink_starts_nothing(place: Workplace) -> None:
    before = threading.active_count()
    tracking.LiveMetrics(place, "0f").close()
    assert threading.active_count() == before


def test_a_torn_last_line_of_metrics_is_left_out() -> None:
    assert tracking.read_metric_lines('{"step": 1}\n{"step": 2}\n{"ste') == [
        {"step": 1},
        {"step": 2},
    ]


@pytest.mark.parametrize(
    ("failure", "delivered"),
    [
        (ValueError("a bad entry"), 1),
        (FileNotFoundError("its report is gone"), 1),
        (MlflowException("no such run", error_code=RESOURCE_DOES_NOT_EXIST), 1),
        (ConnectionError("refused"), 0),
        (TimeoutError("too slow"), 0),
        (requests.ConnectionError("reset"), 0),
        (MlflowException("no answer"), 0),
        (MlflowException("who are you", error_code=PERMISSION_DENIED), 0),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_only_failures_of_mlflow_itself_end_a_delivery(
    place: Workplace,
    mlflow_uri: str,
    monkeypatch: pytest.MonkeyPatch,
    failure: Exception,
    delivered: int,
) -> None:
    with place.registry.session() as session:
        for number in range(3):
            outbox.enqueue(session, "bad" if number < 2 else "good", f"m:{number}", {})

    def project(client: Any, place: Workplace, topic: str, payload: Any) -> None:
        if topic == "bad":
            raise failure

    monkeypatch.setattr(projection, "project", project)
    assert tracking.deliver(place) == delivered
    attempts = {message.dedupe_key: message.attempts for message in waiting(place)}
    assert attempts == {"m:0": 1, "m:1": 1} | ({} if delivered else {"m:2": 0})
