"""The processes of a run: start them up, add over them, take them down."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist

from tasks.training.engine.config import ConfigError, EngineConfig

if TYPE_CHECKING:
    from accelerate import Accelerator


# The launcher ends a run that makes no progress, by the heartbeat. The group's own limit (10 or 30
# minutes) must not: ranks wait in a collective for as long as rank 0 writes a checkpoint.
GROUP_TIMEOUT = timedelta(days=2)


def start(config: EngineConfig) -> Accelerator:
    """Accelerate's view of the processes, checked against what was asked for.

    Raises:
        ConfigError: another number of processes runs than requested (Accelerate's own CPU
            launcher starts one process whatever it is told), or the device is absent.
    """
    from accelerate import Accelerator
    from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs

    running = int(os.environ.get("WORLD_SIZE", "1"))
    if running != config.world:
        raise ConfigError(
            f"{config.world} processes were requested but {running} are running: "
            "start the trainer through tasks.training.launch"
        )
    if config.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device cuda was requested but torch finds no CUDA device")
    torch.set_num_threads(config.threads)
    accelerator = Accelerator(
        cpu=config.device == "cpu",
        mixed_precision="bf16" if config.precision == "bf16" else "no",
        gradient_accumulation_steps=config.accumulation,
        kwargs_handlers=[
            DistributedDataParallelKwargs(broadcast_buffers=False, gradient_as_bucket_view=True),
            InitProcessGroupKwargs(timeout=GROUP_TIMEOUT),
        ],
    )
    if accelerator.num_processes != config.world:
        raise ConfigError(
            f"{config.world} processes were requested, Accelerate sees {accelerator.num_processes}"
        )
    if accelerator.gradient_accumulation_steps != config.accumulation:
        raise ConfigError(
            f"Accelerate accumulates {accelerator.gradient_accumulation_steps} micro-batches, the"
            f" run {config.accumulation}: unset ACCELERATE_GRADIENT_ACCUMULATION_STEPS"
        )
    return accelerator


def sum_over_ranks(values: torch.Tensor) -> torch.Tensor:
    """Element-wise sum over all processes, in place; every rank gets the same bits."""
    if dist.is_initialized():
        dist.all_reduce(values)
    return values


class StopRequested(Exception):
    """A rank was asked to stop; raised on all ranks together."""


def stop_together(mine: bool, device: torch.device) -> None:
    """Return when no rank was asked to stop.

    Raises:
        StopRequested: on every rank, when one was.
    """
    if sum_over_ranks(torch.tensor([float(mine)], device=device)).item() > 0:
        raise StopRequested


def from_first_rank(value: int) -> int:
    """The integer that rank 0 holds, on all ranks."""
    if not dist.is_initialized():
        return value
    box = torch.tensor([value], dtype=torch.int64)
    if dist.get_backend() == "nccl":
        box = box.cuda()
    dist.broadcast(box, src=0)
    return int(box.item())


def meet() -> None:
    """Return when every rank is here.

    A rank that leaves while rank 0 still writes looks dead to the launcher, and torchrun ends the
    others when one leaves with another code than 0.
    """
    if dist.is_initialized():
        here = torch.zeros(1)
        dist.all_reduce(here.cuda() if dist.get_backend() == "nccl" else here)
        if dist.get_backend() == "nccl":
            torch.cuda.synchronize()


def stop() -> None:
    """Leave the process group; a gloo rank that exits without this aborts."""
    if dist.is_initialized():
        dist.destroy_process_group()
