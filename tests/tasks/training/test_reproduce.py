"""A stretch of a run is trained again: the same losses, whatever it begins from."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from accelerate.state import AcceleratorState

from tasks.training.engine.config import read_config
from tasks.training.engine.loop import Outcome, Session
from tasks.training.reproduce import Compared, bound_of, reproduce
from tests.tasks.training.support import losses, write_config, write_tokens


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokens(tmp_path_factory.mktemp("tokens") / "artifact")


def here(run_json: Path, **_: Any) -> None:
    """The trainer in this process."""
    assert Session(read_config(run_json)).run() is Outcome.DONE
    AcceleratorState._reset_state(True)


@pytest.fixture(autouse=True)
def _clean_accelerator() -> Iterator[None]:
    yield
    AcceleratorState._reset_state(True)


@pytest.fixture(scope="module")
def run(tokens: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that kept every fourth checkpoint."""
    work = tmp_path_factory.mktemp("run")
    here(write_config(tokens, work, keep_every=4))
    return work


def again(run: Path, tokens: Path, work: Path, first: int, last: int, **changes: Any) -> Compared:
    moved = shutil.copytree(tokens, work / "moved")  # the store may lie elsewhere by now
    options: dict[str, Any] = {"checkpoints": None, "bound": 0.0, "init_from": None, **changes}
    work = work / "again"
    return reproduce(run, work, data=moved, first=first, last=last, start=here, **options)


@pytest.mark.parametrize(("first", "began_at"), [(1, 0), (4, 0), (5, 4), (10, 8)])
def test_stretch_from_the_newest_checkpoint_before_it(
    run: Path, tokens: Path, tmp_path: Path, first: int, began_at: int
) -> None:
    found = again(run, tokens, tmp_path, first, 11, checkpoints=run / "checkpoints")
    assert found.began_at == began_at and found.same and found.furthest == 0.0
    assert [(step, then) for step, then, _ in found.rows] == [
        (step, losses(run)[step]) for step in range(first, 12)
    ]
    assert not (tmp_path / "again" / "final").exists()
    kept = sorted(path.name for path in (run / "checkpoints").iterdir())
    assert kept == [f"step-{step:09d}" for step in (4, 8, 12)]  # theirs are as they were


def test_without_checkpoints_it_begins_at_the_initial_weights(
    run: Path, tokens: Path, tmp_path: Path
) -> None:
    found = again(run, tokens, tmp_path, 9, 10)
    assert found.began_at == 0 and found.same and len(found.rows) == 2


def test_damaged_checkpoint_is_not_begun_from(run: Path, tokens: Path, tmp_path: Path) -> None:
    damaged = shutil.copytree(run / "checkpoints", tmp_path / "checkpoints")
    path = damaged / "step-000000008" / "model-00000.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    found = again(run, tokens, tmp_path, 10, 10, checkpoints=damaged)
    assert found.began_at == 4 and found.same


def test_other_losses_are_told(run: Path, tokens: Path, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    shutil.copyfile(run / "run.json", logs / "run.json")
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        if line.get("loss") is not None and line["step"] == 3:
            line["loss"] += 1e-6
    (logs / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = again(logs, tokens, tmp_path, 1, 4)
    assert not found.same and found.furthest == pytest.approx(1e-6, rel=1e-3)
    assert Compared(0, 2e-6, found.rows).same


def test_step_that_is_not_finite_now_is_told(run: Path, tokens: Path, tmp_path: Path) -> None:
    def broken(run_json: Path, **_: Any) -> None:
        here(run_json)
        path = run_json.parent / "metrics.jsonl"
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        lines[2]["loss"] = None
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))

    found = reproduce(run, tmp_path, data=tokens, init_from=None, checkpoints=None, first=1,
                      last=4, bound=1.0, start=broken)  # fmt: skip
    assert not found.same and [row[0] for row in found.rows] == [1, 2, 3, 4]


def test_changed_layout_is_only_compared_over_the_steps_that_are_promised(
    run: Path, tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.training.reproduce.MOVED_STEPS", 3)
    kept = {"checkpoints": run / "checkpoints", "moved": True}
    with pytest.raises(ValueError, match=r"from step 4, .* up to 7"):
        again(run, tokens, tmp_path / "a", 5, 8, **kept)
    assert again(run, tokens, tmp_path / "b", 5, 7, **kept).same


@pytest.mark.parametrize("stretch", [(0, 3), (3, 2), (1, 13)])
def test_steps_that_are_not_of_the_run_are_refused(
    run: Path, tokens: Path, tmp_path: Path, stretch: tuple[int, int]
) -> None:
    with pytest.raises(ValueError, match="the run has steps 1 to 12"):
        again(run, tokens, tmp_path, *stretch)


def test_bounds_are_read_from_the_class() -> None:
    assert bound_of("bit") == 0.0
    assert bound_of("numeric: loss within 1e-2") == 1e-2
    assert bound_of("numeric: loss within 2e-6 over 20 steps of each change") == 2e-6
    with pytest.raises(ValueError, match="no bound"):
        bound_of("somehow")
