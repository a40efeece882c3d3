"""The stateless order of packed instruction rows; numpy only, imported by the training engine.

Row i of a run: epoch e = i // N, place i % N sent through the seeded bijection of (seed, e). The
same interface as ``tasks.tokens.order.TokenOrder``. Shapes: B rows per step, T tokens per row.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import numpy as np

from tasks.tokens.order import position_of_step, row_indices
from tasks.tokens.permutation import Permutation

FIELDS = ("input_ids", "segment_ids", "positions", "loss_mask")


class InstructionOrder:
    """Random access to the rows of an ``instructions`` artifact.

    split: ``train`` or ``validation``. skips: batch positions that are never trained on.
    Errors: ``ValueError`` names a missing file, unequal shapes or an empty split.
    """

    def __init__(
        self, instructions_dir: Path, seed: int, split: str = "train", skips: Iterable[int] = ()
    ) -> None:
        if split not in ("train", "validation"):
            raise ValueError(f"split must be train or validation, got {split!r}")
        self.seed, self.split, self.skips = seed, split, tuple(sorted(set(skips)))
        folder = Path(instructions_dir)
        self.folder = folder if split == "train" else folder / "validation"
        self._arrays = self._open()
        shapes = {name: array.shape for name, array in self._arrays.items()}
        if len(set(shapes.values())) != 1:
            raise ValueError(f"arrays of {self.folder} differ in shape: {shapes}")
        self.rows_per_epoch, self.context = self._arrays["input_ids"].shape
        if self.rows_per_epoch == 0:
            raise ValueError(f"the {split} split of {folder} has no rows")

    def _open(self) -> dict[str, np.ndarray]:
        missing = [name for name in FIELDS if not (self.folder / f"{name}.npy").is_file()]
        if missing:
            raise ValueError(
                f"{self.folder} is no instructions artifact: {', '.join(missing)} missing (.npy)"
            )
        return {
            name: np.load(self.folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
            for name in FIELDS
        }

    def __getstate__(self) -> dict[str, object]:
        # A memmap pickles as a full copy of the data; workers reopen the files instead.
        return {**self.__dict__, "_arrays": None}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self._arrays = self._open()

    def locate(self, i: int) -> tuple[int, int]:
        """(row of the files, epoch) of sample ``i``."""
        if i < 0:
            raise ValueError(f"sample index must not be negative, got {i}")
        epoch, place = divmod(i, self.rows_per_epoch)
        return _permutation(self.rows_per_epoch, self.seed, self.split, epoch)[place], epoch

    def sample(self, i: int) -> dict[str, np.ndarray]:
        """The four arrays [T] of sample ``i``."""
        row, _ = self.locate(i)
        return {name: np.array(array[row]) for name, array in self._arrays.items()}

    def position(self, step: int) -> int:
        """Batch position of ``step``, the skipped ones before it counted in."""
        return position_of_step(step, self.skips)

    def batch(self, step: int, global_batch: int) -> dict[str, np.ndarray]:
        """The four arrays [B, T] of a step."""
        return self.rows(step, global_batch)

    def rows(
        self,
        step: int,
        global_batch: int,
        rank: int = 0,
        world: int = 1,
        micro: int = 0,
        accumulation: int = 1,
    ) -> dict[str, np.ndarray]:
        """One rank's micro-batch: four arrays [B / world / accumulation, T]."""
        picked = row_indices(global_batch, rank, world, micro, accumulation)
        first = self.position(step) * global_batch
        rows = [self.locate(first + row)[0] for row in picked]
        return {name: array[rows] for name, array in self._arrays.items()}

    def epochs(self, step: int, global_batch: int) -> float:
        """Passes over the rows made by the first ``step`` steps."""
        return step * global_batch / self.rows_per_epoch


@lru_cache(maxsize=16)
def _permutation(rows: int, seed: int, split: str, epoch: int) -> Permutation:
    return Permutation(rows, seed, "instructions", split, epoch)
