"""The recorded run around a flow."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient
from pydantic import BaseModel

from flows.session import recorded, settle_lost
from registry import outbox, runs
from tasks import liveness, projection, tracking
from tasks.emissions import meter
from tasks.runner import Workplace


class Parameters(BaseModel):
    """A form."""

    text: str = "a llama"


def killed_run(place: Workplace, **fields: str) -> str:
    """A run whose process was there and is gone."""
    code = (
        "import sys; from pathlib import Path; from tasks import liveness;"
        "liveness.begin(Path(sys.argv[1]), sys.argv[2]); import os; os.kill(os.getpid(), 9)"
    )
    run_id = runs.start_run(place.registry, flow="pretraining", **fields)  # type: ignore[arg-type]
    home = str(place.settings.home)
    assert subprocess.run([sys.executable, "-c", code, home, run_id], check=False).returncode == -9
    return run_id


def test_a_killed_run_is_recorded_as_lost_and_ended_in_mlflow(
    place: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.sqlite'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    parent = killed_run(place)
    stage = killed_run(place, stage="pretraining", parent_id=parent, recipe="0f")
    alive = runs.start_run(place.registry, flow="evaluation")
    liveness.begin(place.settings.home, alive)
    client = MlflowClient(tracking_uri=uri)
    run_id = projection.ensure_stage_run(client, place, stage)  # its live curve had begun
    assert client.get_run(run_id).info.status == "RUNNING"

    assert sorted(settle_lost(place)) == sorted([parent, stage])
    assert settle_lost(place) == []
    assert runs.get_run(place.registry, stage).status == "lost"
    assert runs.get_run(place.registry, alive).status == "running"
    assert [p.stem for p in (place.settings.home / "running").iterdir()] == [alive]
    assert tracking.deliver(place) == 2
    assert client.get_run(run_id).info.status == "FAILED"
    assert client.get_run(run_id).data.tags["arriero.error"] == "its process is gone"
    parent_run = runs.get_run(place.registry, parent).mlflow_run_id
    assert client.get_run(str(parent_run)).info.status == "FAILED"


def test_a_kill_while_the_lost_are_settled_loses_no_message(
    place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = killed_run(place)
    with monkeypatch.context() as killing:

        def die(*arguments: object, **named: object) -> bool:
            raise KeyboardInterrupt

        killing.setattr(outbox, "enqueue", die)
        with pytest.raises(KeyboardInterrupt):
            settle_lost(place)
    assert outbox.pending(place.registry) == []
    assert runs.get_run(place.registry, run_id).status == "running"  # found again by the next flow
    assert settle_lost(place) == [run_id]
    (message,) = outbox.pending(place.registry)
    assert (message.topic, message.payload["run_id"]) == ("flow", run_id)


def test_a_flow_is_recorded_with_its_subflow_and_its_end(place: Workplace, no_meter: None) -> None:
    with recorded("pipeline", Parameters()) as outer:
        with recorded("preparation", Parameters(text="inner"), model_size="nano") as inner:
            assert inner.model_size == "nano"
        rows = runs.list_runs(place.registry)
        assert {r.flow: r.status for r in rows} == {
            "pipeline": "running",
            "preparation": "completed",
        }
    first = runs.get_run(place.registry, outer.run_id)
    second = runs.get_run(place.registry, inner.run_id)
    assert (first.status, second.parent_id) == ("completed", first.id)
    assert second.parameters == {"text": "inner"}
    messages = outbox.pending(place.registry)
    assert [m.payload["run_id"] for m in messages] == [second.id, first.id]
    assert list((place.settings.home / "running").iterdir()) == []


@pytest.mark.parametrize(
    ("error", "status"), [(ValueError("no data"), "failed"), (KeyboardInterrupt(), "cancelled")]
)
def test_a_flow_that_fails_says_why(
    place: Workplace, no_meter: None, error: BaseException, status: str
) -> None:
    with pytest.raises(type(error)), recorded("pipeline", Parameters()):
        raise error
    (row,) = runs.list_runs(place.registry)
    assert row.status == status
    assert (row.error or "").startswith(type(error).__name__)


def test_a_meter_that_cannot_start_ends_the_record(
    place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(meter, "ensure_meter", broken)
    with pytest.raises(OSError), recorded("pipeline", Parameters()):
        raise AssertionError("the flow began without its record in order")
    (row,) = runs.list_runs(place.registry)
    assert (row.status, row.error) == ("failed", "OSError: no space left")
