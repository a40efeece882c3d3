"""Packing examples into rows of T tokens, offline, so that the order of finetuning is stateless.

First fit decreasing: the longest example first, each into the first row that still has room.
Attention never crosses examples (segment ids, positions from 0 in each) and the loss is on the
targets only.

Shapes: N rows, T tokens per row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Encoded:
    """One example as tokens. target_start: ids before it are prompt; key orders equal lengths."""

    ids: tuple[int, ...]
    target_start: int
    key: bytes


@dataclass(frozen=True)
class Packed:
    """Rows [N, T] and where each example went: placement[i] = (row, segment from 1)."""

    input_ids_NT: np.ndarray
    segment_ids_NT: np.ndarray
    positions_NT: np.ndarray
    loss_mask_NT: np.ndarray
    placement: list[tuple[int, int]]

    def arrays(self) -> dict[str, np.ndarray]:
        """File name without suffix to array."""
        return {
            "input_ids": self.input_ids_NT,
            "segment_ids": self.segment_ids_NT,
            "positions": self.positions_NT,
            "loss_mask": self.loss_mask_NT,
        }


class _FirstFit:
    """First row with at least n free tokens, in O(log rows): a tree of maxima over free space."""

    def __init__(self, rows: int, free: int) -> None:
        self._leaves = 1
        while self._leaves < max(1, rows):
            self._leaves *= 2
        self._tree = [free] * (2 * self._leaves)

    def take(self, size: int) -> int:
        """Number of the row; its free space shrinks by ``size``."""
        assert self._tree[1] >= size, "as many rows as examples, so one is free"
        node = 1
        while node < self._leaves:
            node = 2 * node if self._tree[2 * node] >= size else 2 * node + 1
        row = node - self._leaves
        self._tree[node] -= size
        node //= 2
        while node:
            self._tree[node] = max(self._tree[2 * node], self._tree[2 * node + 1])
            node //= 2
        return row


def pack(examples: Sequence[Encoded], context: int) -> Packed:
    """Pack examples of at most ``context`` tokens; the result does not depend on their order.

    Arrays: input_ids, segment_ids (0 = padding), positions int32 [N, T]; loss_mask uint8 [N, T], 1
    where the token at this position is a target. Padding is 0 everywhere.
    Errors: ``ValueError`` for an example that does not fit a row.
    """
    for example in examples:
        if len(example.ids) > context:
            raise ValueError(f"example of {len(example.ids)} tokens in rows of {context}")
    order = sorted(range(len(examples)), key=lambda i: (-len(examples[i].ids), examples[i].key))
    fit = _FirstFit(len(examples), context)
    rows: list[list[int]] = []
    for i in order:
        row = fit.take(len(examples[i].ids))
        if row == len(rows):
            rows.append([])
        rows[row].append(i)
    shape = (len(rows), context)
    packed = Packed(
        np.zeros(shape, np.int32),
        np.zeros(shape, np.int32),
        np.zeros(shape, np.int32),
        np.zeros(shape, np.uint8),
        [(0, 0)] * len(examples),
    )
    for row, members in enumerate(rows):
        start = 0
        for segment, i in enumerate(members, start=1):
            example = examples[i]
            stop = start + len(example.ids)
            packed.input_ids_NT[row, start:stop] = example.ids
            packed.segment_ids_NT[row, start:stop] = segment
            packed.positions_NT[row, start:stop] = np.arange(stop - start)
            packed.loss_mask_NT[row, start + example.target_start : stop] = 1
            packed.placement[i] = (row, segment)
            start = stop
    return packed
