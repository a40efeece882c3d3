"""Losses and gradients that leap: the step is skipped, and after several the run goes back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from accelerate.state import AcceleratorState

from tasks.training.engine.config import FAULTS_ALLOWED, EngineConfig
from tasks.training.engine.guards import WINDOW, Diverged, leaps, remember
from tasks.training.engine.loop import Outcome, Session
from tasks.training.launch import launch
from tests.tasks.training.support import (
    config_values,
    events,
    losses,
    write_config,
    write_tokens,
)

STEPS = 90
KNOWN = WINDOW // 2  # steps before anything is called a leap


@pytest.fixture(autouse=True)
def _clean_accelerator(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv(FAULTS_ALLOWED, "1")
    yield
    AcceleratorState._reset_state(True)


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokens(tmp_path_factory.mktemp("tokens") / "artifact")


def run(tokens: Path, work: Path, **changes: Any) -> Path:
    config = EngineConfig(**config_values(tokens, work, **{"steps": STEPS, **changes}))
    assert Session(config).run() is Outcome.DONE
    AcceleratorState._reset_state(True)
    return work


def weights(work: Path) -> bytes:
    return (work / "final" / "model.safetensors").read_bytes()


def test_leap_is_measured_in_deviations_of_the_last_steps() -> None:
    history = [1.0, 3.0] * (WINDOW // 4)  # mean 2, deviation 1
    assert not leaps(history, 7.9, 6.0) and leaps(history, 8.1, 6.0)
    assert not leaps(history, 1e9, 0.0)
    assert not leaps(history[1:], 1e9, 6.0)  # too little is known
    assert not leaps(history, -1e9, 6.0)
    assert len(remember([0.0] * WINDOW, 1.0)) == WINDOW


def test_single_spike_is_skipped_and_leaves_no_trace_in_the_weights(
    tokens: Path, tmp_path: Path
) -> None:
    work = run(tokens, tmp_path / "a", fault={"spike_at": [70]})
    skipped = [e for e in events(work) if e["event"] == "step_skipped"]
    assert [e["data_batch"] for e in skipped] == [70]
    assert skipped[0]["reason"].startswith("the gradient norm leaps to ")
    poisoned = run(tokens, tmp_path / "b", fault={"nan_at": [70]})
    assert weights(work) == weights(poisoned)  # however it was found to be bad


def test_guard_can_be_switched_off(tokens: Path, tmp_path: Path) -> None:
    work = run(tokens, tmp_path, fault={"spike_at": [70]}, spike_sigmas=0.0)
    assert json.loads((work / "final/summary.json").read_text())["bad_steps"] == 0


def test_lasting_spike_is_rolled_back_and_its_window_skipped(tokens: Path, tmp_path: Path) -> None:
    bad = [70, 71, 72]
    work = run(tokens, tmp_path / "a", fault={"spike_at": bad})
    summary = json.loads((work / "final/summary.json").read_text())
    assert summary["rollbacks"] == 1 and summary["skipped_batches"] == bad
    clean = run(tokens, tmp_path / "b", skip_batches=bad)
    assert weights(work) == weights(clean)


def test_run_that_only_leaps_ends_with_its_last_good_checkpoint(
    tokens: Path, tmp_path: Path
) -> None:
    fault = {"spike_at": list(range(70, 200))}
    config = EngineConfig(
        **config_values(tokens, tmp_path, steps=STEPS, fault=fault, max_rollbacks=2)
    )
    with pytest.raises(Diverged, match="after 2 roll-backs"):
        Session(config).run()
    kept = sorted(p.name for p in (tmp_path / "checkpoints").glob("step-*"))
    assert kept[-1] == "step-000000068"


@pytest.mark.parametrize("stop_at", [66, 71])
def test_stopped_run_judges_by_the_same_history(tokens: Path, tmp_path: Path, stop_at: int) -> None:
    fault = {"spike_at": [70, 71, 72]}
    whole = run(tokens, tmp_path / "whole", fault=fault)
    calls = iter(range(1000))
    config = EngineConfig(**config_values(tokens, tmp_path / "b", steps=STEPS, fault=fault))
    stopped = Session(config, stop_requested=lambda: next(calls) >= stop_at)
    assert stopped.run() is Outcome.PREEMPTED
    AcceleratorState._reset_state(True)
    assert weights(run(tokens, tmp_path / "b", fault=fault)) == weights(whole)


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["ddp", "fsdp"])
def test_spike_on_one_rank_is_skipped_by_both(tokens: Path, tmp_path: Path, layout: str) -> None:
    """A gradient that one process alone got wrong, after the reduction: both leave it."""
    config = write_config(
        tokens,
        tmp_path,
        **{"steps": 75, "world": 2, "micro_batch": 4, "strategy": layout},
        fault={"spike_at": [70], "nan_rank": 1},
    )
    launch(
        config,
        log_path=tmp_path / "log",
        poll_seconds=0.1,
        environment={FAULTS_ALLOWED: "1"},
    )
    skipped = [e["data_batch"] for e in events(tmp_path) if e["event"] == "step_skipped"]
    assert skipped == [70] and len(losses(tmp_path)) == 75
