"""Finetuning rows hold different numbers of targets; how they are dealt out must not matter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from accelerate.state import AcceleratorState

from model.config import ModelConfig
from model.llama import Llama
from model.weights import save_native
from tasks.training.engine.config import EngineConfig
from tasks.training.engine.data import instruction_batch, micro_batches, open_order
from tasks.training.engine.loop import Outcome, Session
from tasks.training.launch import launch
from tests.tasks.training.support import (
    TINY_MODEL,
    config_values,
    losses,
    write_config,
    write_instructions,
)

STEPS = 20
SPLITS = [(2, 2), (2, 4), (2, 1)]  # processes, micro-batch


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model to start from."""
    folder = tmp_path_factory.mktemp("base")
    model = Llama(ModelConfig.model_validate(TINY_MODEL))
    model.init_weights(11)
    save_native(model, folder)
    return folder


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Packed rows with 0 to 13 targets, most of them with none."""
    folder = write_instructions(tmp_path_factory.mktemp("rows") / "artifact", rows=40)
    generator = np.random.default_rng(17)
    mask = np.load(folder / "loss_mask.npy")
    for row in mask:
        if generator.random() < 0.6:
            row[:] = 0
        else:
            row[: generator.integers(0, 13)] = 1
    np.save(folder / "loss_mask.npy", mask)
    return folder


def finetuning(base: Path, **changes: Any) -> dict[str, Any]:
    run = {"mode": "finetune", "init_from": str(base), "context": 15, "steps": STEPS}
    return {**run, "schedule": {"warmup_steps": 3}, **changes}


def train(rows: Path, base: Path, work: Path, **changes: Any) -> dict[int, float]:
    config = write_config(rows, work, **finetuning(base, **changes))
    launch(config, log_path=work / "trainer.log", poll_seconds=0.1)
    return losses(work)


def in_process(rows: Path, base: Path, work: Path) -> dict[int, float]:
    config = EngineConfig.model_validate(config_values(rows, work, **finetuning(base)))
    assert Session(config).run() is Outcome.DONE
    AcceleratorState._reset_state(True)
    return losses(work)


@pytest.fixture(scope="module")
def alone(rows: Path, base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, float]:
    return in_process(rows, base, tmp_path_factory.mktemp("alone"))


def targets(rows: Path, base: Path, world: int, micro: int) -> np.ndarray:
    """Valid targets [step, rank, micro-batch]."""
    changes = finetuning(base, world=world, micro_batch=micro)
    config = EngineConfig.model_validate(config_values(rows, rows, **changes))
    order = open_order(config)
    counts = [
        [
            [int(part.mask_BT.sum()) for part in micro_batches(whole, config, rank)]
            for rank in range(world)
        ]
        for step in range(STEPS)
        for whole in [instruction_batch(order.batch(step, config.global_batch), config.context)]
    ]
    return np.array(counts)


@pytest.mark.parametrize(("world", "micro"), SPLITS)
def test_the_rows_are_as_ragged_as_they_come(
    rows: Path, base: Path, world: int, micro: int
) -> None:
    counts = targets(rows, base, world, micro)
    empty = counts == 0
    assert (counts.sum(axis=2)[:, 0] != counts.sum(axis=2)[:, 1]).sum() > STEPS // 2
    # One rank's pass has no target while the other's has; in both ranks, and in the last pass too,
    # where the gradients are reduced.
    for rank in range(world):
        assert (empty[:, rank] & ~empty[:, 1 - rank]).any()
    assert (empty[:, :, -1].any(axis=1) & ~empty[:, :, -1].all(axis=1)).any()


@pytest.mark.parametrize(
    ("world", "micro"),
    [SPLITS[0], *(pytest.param(*split, marks=pytest.mark.slow) for split in SPLITS[1:])],
)
def test_two_processes_agree_with_one_on_ragged_targets(
    rows: Path, base: Path, alone: dict[int, float], tmp_path: Path, world: int, micro: int
) -> None:
    together = train(rows, base, tmp_path, world=world, micro_batch=micro)
    assert together.keys() == alone.keys() and len(alone) == STEPS
    assert all(np.isfinite(value) for value in alone.values())
    assert max(abs(together[s] - alone[s]) for s in alone) < 2e-6


@pytest.mark.slow
def test_two_processes_agree_when_one_of_them_has_no_target_at_all(
    base: Path, tmp_path: Path
) -> None:
    data = write_instructions(tmp_path / "rows", rows=8)
    mask = np.load(data / "loss_mask.npy")
    mask[1:] = 0  # one row of eight has targets: in each step one rank has none
    np.save(data / "loss_mask.npy", mask)
    one = in_process(data, base, tmp_path / "one")
    two = train(data, base, tmp_path / "two", world=2, micro_batch=4)
    assert max(abs(two[s] - one[s]) for s in one) < 2e-6
