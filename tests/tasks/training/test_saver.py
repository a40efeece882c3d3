"""Checkpoints written while training goes on: when they count, and what a failing store costs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState

from tasks.training.engine import checkpoint
from tasks.training.engine.config import FAULTS_ALLOWED, EngineConfig
from tasks.training.engine.loop import Outcome, Session
from tasks.training.engine.saver import Saver
from tests.tasks.training.support import config_values, events, losses, write_tokens


class Gate:
    """A hook that waits at one point until it is opened, or raises there."""

    def __init__(self, point: str, error: BaseException | None = None) -> None:
        self.point, self.error, self.open = point, error, threading.Event()
        self.reached = threading.Event()

    def __call__(self, step: int) -> checkpoint.Hook:
        def hook(point: str) -> None:
            if point != self.point:
                return
            self.reached.set()
            if self.error is not None:
                raise self.error
            assert self.open.wait(30)

        return hook


def saver(root: Path, gate: Gate) -> Saver:
    return Saver(root, 0, 1, keep_last=2, keep_every=0, hook=gate)


def named(value: float) -> dict[str, dict[str, torch.Tensor]]:
    return {"model": {"w": torch.full((3, 4), value)}, "optimizer": {}}


def test_training_goes_on_and_may_change_the_weights(tmp_path: Path) -> None:
    gate = Gate("begun")
    saving, tensors = saver(tmp_path, gate), named(1.0)
    saving.begin(4, {"step": 4}, tensors, temporary=False)
    assert gate.reached.wait(30)
    tensors["model"]["w"].fill_(2.0)  # the next optimizer step
    assert saving.votes == (1.0, 0.0) and saving.settle(*saving.votes) is None
    assert saving.step == 4 and checkpoint.listed(tmp_path) == []
    gate.open.set()
    saving.wait()
    assert saving.votes == (0.0, 0.0)
    saved = saving.settle(*saving.votes)
    assert saved is not None and saved.reason is None and saving.step is None
    found, _ = checkpoint.newest_valid(tmp_path)
    assert found is not None
    assert torch.equal(checkpoint.Reader(found).read("model", "w"), torch.full((3, 4), 1.0))


def test_nothing_is_published_while_another_process_writes(tmp_path: Path) -> None:
    saving = saver(tmp_path, Gate(""))
    saving.begin(4, {"step": 4}, named(1.0), temporary=False)
    saving.wait()
    assert saving.settle(1.0, 0.0) is None and checkpoint.listed(tmp_path) == []
    assert saving.settle(0.0, 0.0) is not None and len(checkpoint.listed(tmp_path)) == 1


@pytest.mark.parametrize("point", ["begun", "file", "files", "manifest"])
def test_store_that_fails_costs_this_checkpoint_only(tmp_path: Path, point: str) -> None:
    working = saver(tmp_path, Gate(""))
    working.begin(4, {"step": 4}, named(1.0), temporary=False)
    working.wait()
    working.settle(*working.votes)
    failing = saver(tmp_path, Gate(point, OSError(28, "No space left on device")))
    failing.begin(8, {"step": 8}, named(2.0), temporary=False)
    failing.wait()
    saved = failing.settle(*failing.votes)
    assert saved is not None and saved.reason is not None and "No space left" in saved.reason
    assert [p.name for p in tmp_path.iterdir()] == [checkpoint.directory_name(4)]
    found, refused = checkpoint.newest_valid(tmp_path)
    assert found is not None and found.name.endswith("4") and refused == []


@pytest.mark.parametrize("point", ["prune", "pruned"])
def test_old_checkpoint_that_cannot_be_deleted_costs_nothing(tmp_path: Path, point: str) -> None:
    for step in (4, 8):
        saving = saver(tmp_path, Gate(""))
        saving.begin(step, {"step": step}, named(1.0), temporary=False)
        saving.wait()
        saving.settle(*saving.votes)
    failing = saver(tmp_path, Gate(point, OSError(39, "Directory not empty")))
    failing.begin(12, {"step": 12}, named(2.0), temporary=False)
    failing.wait()
    saved = failing.settle(*failing.votes)
    assert saved is not None and saved.reason is None
    found, refused = checkpoint.newest_valid(tmp_path)
    assert found is not None and found.name.endswith("12") and refused == []


def test_part_that_another_process_could_not_write_discards_all(tmp_path: Path) -> None:
    saving = saver(tmp_path, Gate(""))
    saving.begin(4, {"step": 4}, named(1.0), temporary=False)
    saving.wait()
    saved = saving.settle(0.0, 1.0)
    assert saved is not None and saved.reason == "another process"
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_fault_of_the_store_ends_the_run(tmp_path: Path) -> None:
    saving = saver(tmp_path, Gate("file", KeyError("a bug")))
    saving.begin(4, {"step": 4}, named(1.0), temporary=False)
    saving.wait()
    with pytest.raises(KeyError, match="a bug"):
        saving.settle(*saving.votes)


# ---- within a run --------------------------------------------------------------------------------


@pytest.fixture
def _clean_accelerator(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv(FAULTS_ALLOWED, "1")
    yield
    AcceleratorState._reset_state(True)


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokens(tmp_path_factory.mktemp("tokens") / "artifact")


def run(tokens: Path, work: Path, **changes: Any) -> Path:
    ticks = iter(range(1_000_000))
    config = EngineConfig(**config_values(tokens, work, **changes))
    assert Session(config, clock=lambda: float(next(ticks))).run() is Outcome.DONE
    AcceleratorState._reset_state(True)
    return work


@pytest.mark.parametrize("point", ["begun", "file", "files", "manifest"])
@pytest.mark.usefixtures("_clean_accelerator")
def test_full_disk_hurts_neither_run_nor_earlier_checkpoint(
    tokens: Path, tmp_path: Path, point: str
) -> None:
    whole = run(tokens, tmp_path / "whole")
    fault = {"kill_in_save": 8, "save_point": point, "fail_save": True}
    work = run(tokens, tmp_path / "full", fault=fault)
    assert losses(work) == losses(whole)
    final = "final/model.safetensors"
    assert (work / final).read_bytes() == (whole / final).read_bytes()
    told = {e["step"]: e for e in events(work) if e["event"].startswith("checkpoint")}
    assert told[8]["event"] == "checkpoint_failed" and "No space left" in told[8]["reason"]
    assert [told[s]["event"] for s in (4, 12)] == ["checkpoint"] * 2
    kept = [p.name[-2:] for p in checkpoint.listed(work / "checkpoints")]
    assert kept == ["04", "12"] and not list((work / "checkpoints").glob("tmp-*"))


@pytest.mark.usefixtures("_clean_accelerator")
def test_temporary_checkpoints_by_the_clock(tokens: Path, tmp_path: Path) -> None:
    """The clock ticks at every look, so one is due at nearly every step."""
    whole = run(tokens, tmp_path / "whole", checkpoint_every=6)
    work = run(tokens, tmp_path / "timed", checkpoint_every=6, checkpoint_seconds=1.0)
    steps = [e["step"] for e in events(work) if e["event"] == "checkpoint"]
    assert set(steps) > {6, 12} and len(steps) > 4
    assert [p.name[-2:] for p in checkpoint.listed(work / "checkpoints")] == ["06", "12"]
    final = "final/model.safetensors"
    assert (work / final).read_bytes() == (whole / final).read_bytes()


@pytest.mark.usefixtures("_clean_accelerator")
def test_roll_back_past_temporary_checkpoints_gives_the_same_weights(
    tokens: Path, tmp_path: Path
) -> None:
    fault = {"nan_at": [5, 7, 8, 9]}  # the first alone: its step is done again, or not
    plain = run(tokens, tmp_path / "plain", fault=fault)
    timed = run(tokens, tmp_path / "timed", fault=fault, checkpoint_seconds=1.0)
    final = "final/model.safetensors"
    assert (plain / final).read_bytes() == (timed / final).read_bytes()
    summaries = [(w / "final/summary.json").read_text() for w in (plain, timed)]
    assert summaries[0] == summaries[1]
