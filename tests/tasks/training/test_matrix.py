"""Losses over 20 steps do not depend on processes and accumulation, with ragged targets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tasks.training.launch import launch
from tests.tasks.training.support import losses, write_config, write_instructions
from tests.tasks.training.test_ragged import base, finetuning

__all__ = ["base"]  # the fixture

pytestmark = pytest.mark.slow
BOUND = {"fp32": 2e-6, "fp64": 1e-12}  # nats
GLOBAL = 16


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Packed rows of which more than half have no target."""
    folder = write_instructions(tmp_path_factory.mktemp("rows") / "artifact", rows=48)
    generator = np.random.default_rng(23)
    mask = np.load(folder / "loss_mask.npy")
    for row in mask:
        row[:] = 0
        if generator.random() < 0.45:
            row[: generator.integers(1, 13)] = 1
    np.save(folder / "loss_mask.npy", mask)
    return folder


def curve(
    rows: Path, base: Path, work: Path, precision: str, world: int, passes: int
) -> np.ndarray:
    changes = finetuning(
        base,
        precision=precision,
        global_batch=GLOBAL,
        world=world,
        micro_batch=GLOBAL // (world * passes),
    )
    launch(write_config(rows, work, **changes), log_path=work / "log", poll_seconds=0.1)
    found = losses(work)
    assert sorted(found) == list(range(1, 21))
    return np.array([found[step] for step in sorted(found)])


@pytest.mark.parametrize("precision", ["fp32", "fp64"])
def test_world_and_accumulation_do_not_matter(
    rows: Path, base: Path, tmp_path: Path, precision: str
) -> None:
    alone = curve(rows, base, tmp_path / "1x1", precision, 1, 1)
    assert np.isfinite(alone).all() and alone[-1] < alone[0]
    for world in (1, 2, 4):
        for passes in (1, 2, 4):
            if (world, passes) == (1, 1):
                continue
            other = curve(rows, base, tmp_path / f"{world}x{passes}", precision, world, passes)
            furthest = np.abs(other - alone).max()
            assert furthest < BOUND[precision], (world, passes)
