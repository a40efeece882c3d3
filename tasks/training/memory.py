"""Refuse a run that cannot fit, before its trainer starts and the kernel or CUDA ends it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from model.memory import GIB, TrainingMemory, training_memory
from tasks.training.engine.config import ConfigError, EngineConfig

CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
# A process of its own asks: torch would leave a CUDA context in this one for as long as it lives.
ASK_CUDA = """
import json, torch
count = torch.cuda.device_count()
print(json.dumps([torch.cuda.get_device_properties(i).total_memory for i in range(count)]))
"""


class NotEnoughMemory(ValueError):
    """Other processes hold the memory that this run needs; it may fit later."""


@dataclass(frozen=True)
class Room:
    """Bytes of the place that processes run in: all of them, and those that are free."""

    name: str
    total: int
    free: int


def needed(config: EngineConfig) -> TrainingMemory:
    """Memory of one process of the run."""
    shards = {"ddp": 1, "hsdp": config.shard, "fsdp": config.world}
    return training_memory(
        config.model,
        tokens=config.micro_batch * config.context,
        context=config.context,
        bf16=config.precision == "bf16",
        masked=config.mask_documents or config.mode == "finetune",
        gradients_stay=config.world > 1 or config.accumulation > 1,
        shard=shards[config.strategy],
        recompute=config.recompute,
        accumulates=config.accumulation > 1,
    )


def snapshot(config: EngineConfig) -> int:
    """Bytes of one process's copy of weights and moments, from which a checkpoint is written."""
    shares = config.shard if config.strategy == "hsdp" else config.world
    return 12 * config.model.parameters // shares


def main_memory() -> Room:
    """Of this machine, or of the container where that is less."""
    memory = psutil.virtual_memory()
    limit = CGROUP_LIMIT.read_text().strip() if CGROUP_LIMIT.exists() else "max"
    total = memory.total if limit == "max" else min(memory.total, int(limit))
    return Room("this machine", total, min(memory.available, total))


def cuda_memory(world: int) -> list[Room]:
    """Of the GPUs of the local ranks, all of it counted as free: a trainer waits for its GPU until
    the one before it is done. Empty when torch finds no GPU, which the trainer reports."""
    asked = subprocess.run(
        [sys.executable, "-c", ASK_CUDA], capture_output=True, text=True, check=True
    )
    sizes = json.loads(asked.stdout.splitlines()[-1])[:world]
    return [Room(f"GPU {i}", size, size) for i, size in enumerate(sizes)]


def check_memory(
    config: EngineConfig,
    *,
    main: Callable[[], Room] | None = None,
    cuda: Callable[[int], list[Room]] | None = None,
) -> None:
    """Return when the run fits.

    Raises:
        ConfigError: it does not fit into all the memory there is.
        NotEnoughMemory: it does not fit into what other processes leave free.
    """
    one = needed(config)
    copy = snapshot(config) if config.device == "cpu" else 0
    total = one.total + copy
    if config.device == "cuda":
        shares = [(room, 1) for room in (cuda or cuda_memory)(config.local_world)]
    else:
        shares = [((main or main_memory)(), config.local_world)]
    for room, processes in shares:
        if total * processes <= room.free:
            continue
        short = total * processes > room.total
        message = (
            f"the run needs about {total * processes / GIB:.3g} GiB of memory but {room.name}"
            f" has {room.total / GIB:.3g} GiB, {room.free / GIB:.3g} GiB of it free. {processes}"
            f" process(es) hold, each in GiB: {one}, copy for checkpoints {copy / GIB:.3g}."
            f" {advice(config, one)}"
        )
        raise ConfigError(message) if short else NotEnoughMemory(message)


def advice(config: EngineConfig, one: TrainingMemory) -> str:
    """What to change, the largest part first."""
    fewer = []
    if one.activations > one.weights and config.micro_batch > 1:
        fewer.append(f"a micro_batch below {config.micro_batch}")
    if one.activations > one.weights:
        fewer.append(f"a context below {config.context}")
    if config.device == "cpu" and config.world > 1:
        fewer.append(f"fewer processes than {config.world}")
    fewer.append(f"a smaller model than {config.model.parameters:,} parameters")
    return f"Choose {', or '.join(fewer)}, or a machine with more memory."
