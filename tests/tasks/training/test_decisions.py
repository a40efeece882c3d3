"""What the guards decide is an event of the registry: tied to its attempt, each once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from registry import runs
from registry.artifacts import Kind
from tasks.context import StageContext, StageResult
from tasks.runner import RunContext, Stage, Workplace, run_stage
from tasks.training import build
from tasks.training.engine.config import FAULTS_ALLOWED, EngineConfig
from tasks.training.launch import TrainerDiverged, TrainerFailed
from tests.tasks.training.support import config_values, write_tokens

STAGE = Stage(name="pretraining", version=1, kind=Kind.CHECKPOINT)


class Recipe(BaseModel):
    """One training; the faults are no part of its recipe."""

    model_config = ConfigDict(frozen=True)

    seed: int = 5


@pytest.fixture
def train(place: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """``train(**changes)`` is one attempt of the same recipe."""
    monkeypatch.setenv(FAULTS_ALLOWED, "1")
    tokens = write_tokens(tmp_path / "tokens")
    tokenizer = tmp_path / "tokenizer.model"
    tokenizer.write_bytes(b"a tokenizer is only copied here")
    flow = RunContext(run_id=runs.start_run(place.registry, flow="pretraining"), flow="pretraining")

    def attempt(**changes: Any) -> None:
        def make(inputs: dict[str, Path], context: StageContext) -> StageResult:
            config = EngineConfig.model_validate(config_values(tokens, context.work, **changes))
            return build.train(config, tokenizer, context, [])

        run_stage(STAGE, Recipe(), {}, flow, make)

    return attempt


def recorded(place: Workplace) -> list[tuple[str, int, list[int]]]:
    """(kind, number of the attempt, step or data batches) in the order they were recorded."""
    found = []
    for event in reversed(runs.list_events(place.registry)):
        if event.run_id is None:
            continue
        run = runs.get_run(place.registry, event.run_id)
        told = event.payload.get("data_batches", event.payload.get("skipped"))
        batch = event.payload.get("data_batch", event.payload["step"])
        found.append((event.kind, run.attempt, told or [batch]))
    return found


def test_decisions_of_a_failed_and_of_the_next_attempt(train: Any, place: Workplace) -> None:
    with pytest.raises(TrainerFailed):
        train(fault={"nan_at": [2], "kill_at_step": 5})
    assert recorded(place) == [("step-skipped", 1, [2])]
    train(fault={"nan_at": [5, 6, 7]})
    assert recorded(place) == [
        ("step-skipped", 1, [2]),
        *(("step-skipped", 2, [batch]) for batch in (5, 6, 7)),
        ("rolling-back", 2, [5, 6, 7]),
        ("rolled-back", 2, [5, 6, 7]),
    ]
    assert all(event.payload["at"] > 0 for event in runs.list_events(place.registry))


def test_giving_up_is_recorded_although_the_attempt_fails(train: Any, place: Workplace) -> None:
    with pytest.raises(TrainerDiverged):
        train(fault={"nan_at": list(range(40))}, max_rollbacks=0)
    kinds = [kind for kind, _, _ in recorded(place)]
    assert kinds == ["step-skipped"] * 3 + ["rolling-back", "gave-up"]
