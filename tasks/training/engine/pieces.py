"""Which part of each tensor a process holds, writes and reads: rows of its first dimension.

A replicated tensor (one process, DDP) is whole in every process, and each writes an equal share of
its rows, so that all disks and cores work on a checkpoint. A sharded one (FSDP2, HSDP) lies in rows
over the processes of its shard group; of an HSDP group's replicas the first one writes. Pieces are
named by rows of the whole tensor, so any other layout can read them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.distributed.tensor import DTensor, Replicate, Shard

SPLIT_BYTES = 1 << 20  # smaller replicated tensors are written whole, by the first process


@dataclass(frozen=True)
class Piece:
    """Rows [start, start + rows) of a tensor of ``shape``; a scalar counts as one row."""

    shape: tuple[int, ...]
    start: int
    rows: int


def chunk(rows: int, parts: int, index: int) -> tuple[int, int]:
    """(start, number of rows) of part ``index``; all but the last have ceil(rows / parts), as
    ``torch.chunk`` and FSDP2 cut."""
    size = -(-rows // parts)
    start = min(index * size, rows)
    return start, min(size, rows - start)


def local(tensor: torch.Tensor) -> tuple[torch.Tensor, Piece]:
    """What this process holds of ``tensor``, without a copy, and which piece of it that is."""
    shape = tuple(tensor.shape)
    if not isinstance(tensor, DTensor):
        return tensor, Piece(shape, 0, shape[0] if shape else 1)
    start, rows = 0, shape[0]
    for dimension, placement in enumerate(tensor.placements):
        if isinstance(placement, Replicate):
            continue
        assert placement == Shard(0), f"{placement}: FSDP2 cuts the first dimension, once"
        mesh = tensor.device_mesh
        start, rows = chunk(shape[0], mesh.size(dimension), mesh.get_local_rank(dimension))
    held = tensor.to_local()
    assert held.shape[0] == rows, "torch holds other rows of a tensor than was computed"
    return held, Piece(shape, start, rows)


def share(tensor: torch.Tensor, rank: int, world: int) -> tuple[torch.Tensor, Piece] | None:
    """What this process writes of ``tensor``, without a copy; None where others write all of it."""
    held, piece = local(tensor)
    if isinstance(tensor, DTensor):
        mesh, spread = tensor.device_mesh, enumerate(tensor.placements)
        copies = [mesh.get_local_rank(d) for d, p in spread if isinstance(p, Replicate)]
        return (held, piece) if piece.rows and not any(copies) else None
    if held.dim() == 0 or held.nbytes < SPLIT_BYTES or world == 1:
        return (held, piece) if rank == 0 else None
    start, rows = chunk(piece.rows, world, rank)
    return (held[start : start + rows], Piece(piece.shape, start, rows)) if rows else None


def like(parameter: torch.Tensor, held: torch.Tensor) -> torch.Tensor:
    """``held`` as the part that this process has of a tensor laid out as ``parameter`` is."""
    if not isinstance(parameter, DTensor):
        return held
    return DTensor.from_local(
        held,
        parameter.device_mesh,
        parameter.placements,
        run_check=False,
        shape=parameter.shape,
        stride=parameter.stride(),
    )
