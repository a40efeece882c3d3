"""How a model lies over GPUs so that a step fits: sharding, recomputation, micro-batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from model.config import ModelConfig
from model.gpus import GPUS
from model.memory import GIB, Recompute, TrainingMemory, training_memory
from tasks.planning.parameters import PlanParameters

USABLE = 0.92  # of a GPU's nominal memory: the rest is the driver's, and holes between tensors

Sharding = Literal["ddp", "hsdp", "fsdp"]


@dataclass(frozen=True)
class Layout:
    """shard: GPUs that share one copy. micro_batch: sequences of a forward pass. accumulation:
    forward passes of one GPU in a step."""

    sharding: Sharding
    shard: int
    recompute: Recompute
    micro_batch: int
    accumulation: int
    memory: TrainingMemory


def sequences_per_gpu(parameters: PlanParameters, context: int) -> int:
    """Of one step, rounded up."""
    return max(1, -(-parameters.batch_tokens // (context * parameters.gpus)))


def room(parameters: PlanParameters) -> float:
    """Bytes of one GPU that a run may use."""
    return USABLE * GPUS[parameters.gpu].memory_gib * GIB


def choose_layout(shape: ModelConfig, parameters: PlanParameters, context: int) -> Layout:
    """The first layout that fits: as little recomputed as possible, then as little to communicate
    (a copy on each GPU, in each node, over all), then the largest micro-batch. What the parameters
    fix is kept. If none fits, the one that needs the least."""
    recomputes = _wished(parameters.recompute, get_args(Recompute))
    found = [
        _layout(shape, parameters, context, sharding, recompute, micro_batch)
        for recompute in recomputes
        for sharding in _shardings(parameters)
        for micro_batch in _micro_batches(parameters, context)
    ]
    fitting = [layout for layout in found if layout.memory.total <= room(parameters)]
    return fitting[0] if fitting else min(found, key=lambda layout: layout.memory.total)


def alternatives(
    shape: ModelConfig, parameters: PlanParameters, context: int, chosen: Layout
) -> dict[Recompute, float]:
    """GiB of the chosen layout with each kind of recomputation."""
    return {
        recompute: _layout(
            shape, parameters, context, chosen.sharding, recompute, chosen.micro_batch
        ).memory.total
        / GIB
        for recompute in get_args(Recompute)
    }


def _wished(wish: str, order: tuple[Recompute, ...]) -> list[Recompute]:
    return [name for name in order if wish in ("auto", name)]


def _shardings(parameters: PlanParameters) -> list[Sharding]:
    gpus, node = parameters.gpus, parameters.gpus_per_node
    possible: list[Sharding] = ["ddp"]
    if gpus > node and gpus % node == 0:
        possible.append("hsdp")
    possible.append("fsdp")
    return [name for name in possible if parameters.sharding in ("auto", name)]


def _micro_batches(parameters: PlanParameters, context: int) -> list[int]:
    """Divisors of the sequences of one GPU, the largest first."""
    if parameters.micro_batch is not None:
        return [parameters.micro_batch]
    sequences = sequences_per_gpu(parameters, context)
    small = [n for n in range(1, int(sequences**0.5) + 1) if sequences % n == 0]
    return sorted({*small, *(sequences // n for n in small)}, reverse=True)


def _layout(
    shape: ModelConfig,
    parameters: PlanParameters,
    context: int,
    sharding: Sharding,
    recompute: Recompute,
    micro_batch: int,
) -> Layout:
    shards = {"ddp": 1, "hsdp": parameters.gpus_per_node, "fsdp": parameters.gpus}
    accumulation = -(-sequences_per_gpu(parameters, context) // micro_batch)
    memory = training_memory(
        shape,
        tokens=micro_batch * context,
        context=context,
        bf16=parameters.number_format != "fp32",
        masked=False,
        gradients_stay=parameters.gpus > 1 or accumulation > 1,
        shard=shards[sharding],
        recompute=recompute,
        accumulates=accumulation > 1,
    )
    return Layout(sharding, shards[sharding], recompute, micro_batch, accumulation, memory)
