"""The key/value cache of generation and scoring.

Shape suffixes as in `model/llama.py`: L layers, B rows, K key/value heads, S slots, E head width,
T tokens of this call.
"""

from __future__ import annotations

import torch
from torch import Tensor

from model.config import ModelConfig


class KVCache:
    """Keys and values of all layers in one buffer, allocated once.

    Slot number = position of the token, for every row by itself. So a row needs no padding on the
    left: what a shorter row's padding wrote on the right of its prompt lies beyond its position,
    is masked, and is overwritten by its next tokens.
    """

    def __init__(
        self,
        config: ModelConfig,
        rows: int,
        slots: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ):
        shape = (config.layers, 2, rows, config.kv_heads, slots, config.head_dim)
        self.buffer_L2BKSE = torch.zeros(shape, device=device, dtype=dtype)
        # Next position of each row. After a ragged prompt the caller sets the true lengths.
        self.lengths_B = torch.zeros(rows, dtype=torch.long, device=device)
        # Slots below this number were written; those above are left out of the attention.
        self.used = 0

    @property
    def slots(self) -> int:
        return self.buffer_L2BKSE.shape[4]

    def select(self, rows: Tensor) -> KVCache:
        """A copy with the given rows (long indices; a row may be repeated)."""
        copy = object.__new__(KVCache)
        copy.buffer_L2BKSE = self.buffer_L2BKSE.index_select(2, rows)
        copy.lengths_B = self.lengths_B.index_select(0, rows)
        copy.used = self.used
        return copy

    def keep(self, rows: list[int]) -> list[int]:
        """Forget all other rows, in place. Gives the order in which the kept rows now lie: the
        first ones stay, the others move into freed places, so only few are copied."""
        order = list(range(len(rows)))
        free = [place for place in order if place not in set(rows)]
        for place, row in zip(free, (row for row in rows if row >= len(rows)), strict=True):
            order[place] = row
            self.buffer_L2BKSE[:, :, place, :, : self.used] = self.buffer_L2BKSE[
                :, :, row, :, : self.used
            ]
        self.buffer_L2BKSE = self.buffer_L2BKSE[:, :, : len(rows)]
        self.lengths_B = self.lengths_B[torch.tensor(order, device=self.lengths_B.device)]
        return order

    def reserve(self, positions_BT: Tensor) -> None:
        """Note that these positions are about to be written; ValueError if there is no room."""
        if torch.is_grad_enabled():
            raise ValueError("a KV cache is for inference: call the model under torch.no_grad()")
        needed = int(positions_BT.max()) + 1
        if needed > self.slots:
            raise ValueError(f"the KV cache has {self.slots} slots, position {needed - 1} has none")
        self.used = max(self.used, needed)
        self.lengths_B = positions_BT[:, -1] + 1

    def update(
        self, layer: int, positions_BT: Tensor, k_BKTE: Tensor, v_BKTE: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Write the new tokens' keys and values; give back all slots in use, [B, K, S, E] each."""
        index_BKTE = positions_BT[:, None, :, None].expand_as(k_BKTE)
        keys_BKSE, values_BKSE = self.buffer_L2BKSE[layer, 0], self.buffer_L2BKSE[layer, 1]
        keys_BKSE.scatter_(2, index_BKTE, k_BKTE.to(keys_BKSE.dtype))
        values_BKSE.scatter_(2, index_BKTE, v_BKTE.to(values_BKSE.dtype))
        return keys_BKSE[:, :, : self.used], values_BKSE[:, :, : self.used]
