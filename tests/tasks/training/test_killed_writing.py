"""Kills while the final model is written and while old checkpoints are deleted.

Whatever the moment, the next start gives the bytes of a run that was never killed, and nobody sees
half a result in between.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from accelerate.state import AcceleratorState

from model.weights import load_model
from tasks.training.engine import checkpoint
from tasks.training.engine.config import FAULTS_ALLOWED, EngineConfig
from tasks.training.engine.faults import Faults
from tasks.training.engine.loop import Outcome, Session
from tasks.training.launch import TrainerFailed, launch
from tests.tasks.training.support import config_values, losses, write_config, write_tokens

FINAL = ("config.json", "model.safetensors", "summary.json")


class Killed(BaseException):
    """Stands for the end of the process."""


def killed() -> None:
    raise Killed


@pytest.fixture(autouse=True)
def _clean_accelerator(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv(FAULTS_ALLOWED, "1")
    yield
    AcceleratorState._reset_state(True)


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokens(tmp_path_factory.mktemp("tokens") / "artifact")


@pytest.fixture(scope="module")
def undisturbed(tokens: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(tokens, tmp_path_factory.mktemp("undisturbed"))


def run(tokens: Path, work: Path, **changes: Any) -> Path:
    """One start of the trainer, in this process; a kill is raised as ``Killed``."""
    config = EngineConfig.model_validate(config_values(tokens, work, **changes))
    session = Session(config)
    session.faults = Faults(config, kill=killed)
    try:
        assert session.run() is Outcome.DONE
    finally:
        AcceleratorState._reset_state(True)
    return work


def final(work: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((work / "final").iterdir())}


def leftovers(work: Path) -> list[Path]:
    return [*work.glob("tmp-*"), *(work / "checkpoints").glob("tmp-*")]


def check_whole(work: Path, undisturbed: Path) -> None:
    """As if it had never been killed."""
    assert final(work) == final(undisturbed) and tuple(final(work)) == FINAL
    assert losses(work) == losses(undisturbed)
    assert leftovers(work) == []
    kept = checkpoint.listed(work / "checkpoints")
    assert [path.name[-2:] for path in kept] == ["08", "12"]
    assert all(checkpoint.problems(path) == [] for path in kept)


@pytest.mark.parametrize("point", ["weights", "summary", "rename"])
def test_killed_in_the_final_model_and_started_again(
    tokens: Path, tmp_path: Path, undisturbed: Path, point: str
) -> None:
    with pytest.raises(Killed):
        run(tokens, tmp_path, fault={"kill_in_final": point})
    if point == "rename":
        assert final(tmp_path) == final(undisturbed)
    else:
        assert not (tmp_path / "final").exists() and leftovers(tmp_path)
    run(tokens, tmp_path)
    check_whole(tmp_path, undisturbed)


@pytest.mark.parametrize("point", ["summary", "aside", "rename"])
@pytest.mark.parametrize("spoilt", ["summary.json", "model.safetensors"])
def test_killed_while_another_final_model_is_replaced(
    tokens: Path, tmp_path: Path, undisturbed: Path, point: str, spoilt: str
) -> None:
    run(tokens, tmp_path)
    (tmp_path / "final" / spoilt).write_bytes(b"of another number of processes")
    before = final(tmp_path)
    with pytest.raises(Killed):
        run(tokens, tmp_path, fault={"kill_in_final": point})
    # The old one, none, or the new one: never a part.
    there = final(tmp_path) if (tmp_path / "final").exists() else None
    assert there == {"summary": before, "aside": None, "rename": final(undisturbed)}[point]
    run(tokens, tmp_path)
    check_whole(tmp_path, undisturbed)


@pytest.mark.parametrize("point", ["prune", "pruned"])
def test_killed_while_an_old_checkpoint_is_deleted(
    tokens: Path, tmp_path: Path, undisturbed: Path, point: str
) -> None:
    with pytest.raises(Killed):
        run(tokens, tmp_path, fault={"kill_in_save": 12, "save_point": point})
    names = [path.name[-2:] for path in checkpoint.listed(tmp_path / "checkpoints")]
    assert names == ["08", "12"]
    assert len(leftovers(tmp_path)) == (1 if point == "prune" else 0)
    run(tokens, tmp_path)
    check_whole(tmp_path, undisturbed)


def test_half_deleted_checkpoint_is_none(
    tokens: Path, tmp_path: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(path: Path) -> None:
        (path / "model-00000.safetensors").unlink()
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(checkpoint.shutil, "rmtree", half)
        run(tokens, tmp_path)
    found, refused = checkpoint.newest_valid(tmp_path / "checkpoints")
    assert found is not None and found.name.endswith("12") and refused == []
    run(tokens, tmp_path)
    check_whole(tmp_path, undisturbed)


@pytest.mark.parametrize(
    "fault",
    [
        {"kill_in_final": "summary"},
        pytest.param(
            {"kill_in_save": 12, "save_point": "prune"},
            marks=[pytest.mark.slow, pytest.mark.faults],
        ),
    ],
)
def test_sigkill_in_writing(
    tokens: Path, tmp_path: Path, undisturbed: Path, fault: dict[str, Any]
) -> None:
    config = write_config(tokens, tmp_path, fault=fault)
    with pytest.raises(TrainerFailed, match="exit code -9"):
        launch(config, log_path=tmp_path / "log", environment={FAULTS_ALLOWED: "1"})
    assert not (tmp_path / "final").exists()
    run(tokens, tmp_path)
    check_whole(tmp_path, undisturbed)
    assert load_model(tmp_path / "final").config.vocab_size == 64
