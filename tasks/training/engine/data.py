"""From the stateless order to the tensors of one micro-batch.

Legend: B sequences, T positions. Which sequences a step trains on depends on the step alone;
world size and accumulation only decide which process and which pass handles each of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from tasks.training.engine.config import EngineConfig


@dataclass(frozen=True)
class Batch:
    """What one forward pass needs. mask_BT is 1 where the target counts in the loss."""

    tokens_BT: torch.Tensor
    targets_BT: torch.Tensor
    mask_BT: torch.Tensor
    segment_ids_BT: torch.Tensor | None = None
    positions_BT: torch.Tensor | None = None

    def rows(self, chosen: slice) -> Batch:
        """A part of the batch."""
        parts = (
            None if tensor is None else tensor[chosen]
            for tensor in (
                self.tokens_BT,
                self.targets_BT,
                self.mask_BT,
                self.segment_ids_BT,
                self.positions_BT,
            )
        )
        return Batch(*parts)  # type: ignore[arg-type]

    def to(self, device: torch.device) -> Batch:
        """The batch on ``device``."""
        parts = (
            None if tensor is None else tensor.to(device, non_blocking=True)
            for tensor in (
                self.tokens_BT,
                self.targets_BT,
                self.mask_BT,
                self.segment_ids_BT,
                self.positions_BT,
            )
        )
        return Batch(*parts)  # type: ignore[arg-type]


class Order(Protocol):
    """What training needs of an order: batch ``number`` of the run, as a function of the number.

    Pretraining: integers [B, context + 1]. Finetuning: a dict of ``input_ids``, ``segment_ids``,
    ``positions``, ``loss_mask``, each [B, T].
    """

    def batch(self, step: int, global_batch: int) -> Any: ...


def open_order(config: EngineConfig) -> Order:
    """The order of the run's training data."""
    order: Order
    if config.mode == "pretrain":
        from tasks.tokens.order import TokenOrder

        order = TokenOrder(config.data, "train", seed=config.seed, context=config.context)
    else:
        from tasks.training.instructions.order import InstructionOrder

        order = InstructionOrder(config.data, seed=config.seed)
    return order


def make_batch(raw: Any, config: EngineConfig, bos_id: int | None) -> Batch:
    """Tensors of the whole or a part of a global batch as an order returned it."""
    if config.mode == "pretrain":
        return token_batch(raw, bos_id if config.mask_documents else None)
    return instruction_batch(raw, config.context)


def token_batch(ids_BT1: np.ndarray, mask_bos_id: int | None = None) -> Batch:
    """Every token but the first is a target; with ``mask_bos_id`` attention stays in a document.

    The BOS after an EOS remains a target (predicted from the EOS), so the count of valid tokens
    does not depend on where documents end.
    """
    ids = torch.from_numpy(np.ascontiguousarray(ids_BT1, dtype=np.int64))
    tokens_BT, targets_BT = ids[:, :-1].contiguous(), ids[:, 1:].contiguous()
    mask_BT = torch.ones_like(targets_BT, dtype=torch.bool)
    if mask_bos_id is None:
        return Batch(tokens_BT, targets_BT, mask_BT)
    starts_BT = tokens_BT == mask_bos_id
    segment_ids_BT = (
        starts_BT.long().cumsum(dim=1) + 1
    )  # a document that began before the window: 1
    index_BT = torch.arange(tokens_BT.shape[1]).expand_as(tokens_BT)
    begin_BT = torch.where(starts_BT, index_BT, 0).cummax(dim=1).values
    return Batch(tokens_BT, targets_BT, mask_BT, segment_ids_BT, index_BT - begin_BT)


def instruction_batch(raw: dict[str, np.ndarray], context: int) -> Batch:
    """Shift packed rows by one; the loss mask of position t+1 is the mask of target t.

    Raises:
        ValueError: the rows are longer than the run's context.
    """
    named = {
        name: torch.from_numpy(np.ascontiguousarray(values, dtype=np.int64))
        for name, values in raw.items()
    }
    ids_BT, segments_BT = named["input_ids"], named["segment_ids"]
    if ids_BT.shape[1] > context + 1:
        raise ValueError(
            f"instruction rows have {ids_BT.shape[1]} tokens, the run's context is {context}: "
            "pack them again for this context"
        )
    # A target is never predicted across the border of two examples.
    same_BT = segments_BT[:, 1:] == segments_BT[:, :-1]
    return Batch(
        tokens_BT=ids_BT[:, :-1].contiguous(),
        targets_BT=ids_BT[:, 1:].contiguous(),
        mask_BT=(named["loss_mask"][:, 1:] != 0) & same_BT & (segments_BT[:, 1:] != 0),
        segment_ids_BT=segments_BT[:, :-1].contiguous(),
        positions_BT=named["positions"][:, :-1].contiguous(),
    )


def micro_batches(batch: Batch, config: EngineConfig, rank: int) -> list[Batch]:
    """The micro-batches of one rank: pass m of rank r takes block m * world + r."""
    size = config.micro_batch
    return [
        batch.rows(slice(block * size, (block + 1) * size))
        for block in (m * config.world + rank for m in range(config.accumulation))
    ]
