"""Whether a model runs on one GPU: weights, key/value cache, and how fast at most."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from model.config import ModelConfig
from model.flops import kv_cache_bytes
from model.gpus import GPUS
from model.memory import GIB, RUNTIME, inference_weights, inference_working
from model.presets import preset
from tasks.planning.layout import room
from tasks.planning.parameters import PlanParameters

Format = Literal["fp16", "int8"]
BATCHES = (1, 4, 16)


class ServingCell(BaseModel):
    """GiB of the cache and of everything, for so many rows of so many tokens."""

    model_config = ConfigDict(frozen=True)

    context: int
    batch: int
    cache_gib: float
    total_gib: float
    fits: bool


class ServingFormat(BaseModel):
    """A model in one number format. largest_batch: rows at the whole context. tokens_per_second:
    bounds from the memory's bandwidth, of one row with an empty cache and of the largest batch
    with a full one."""

    model_config = ConfigDict(frozen=True)

    weights_gib: float
    prefill_gib: float
    decoding_gib: float
    fits: bool
    largest_batch: int
    tokens_per_second_bound_one_row: float
    tokens_per_second_bound_largest_batch: float
    cells: list[ServingCell]


class ServeReport(BaseModel):
    """Whether a model runs on one GPU. Cache in fp16; attention without scores in memory."""

    model_config = ConfigDict(frozen=True)

    preset: str
    parameters: int
    gpu: str
    gpu_memory_gib: float
    usable_gib: float
    bandwidth_gb_per_s: float
    context: int
    cache_mib_per_token: float
    formats: dict[Format, ServingFormat]
    fits: bool
    notes: list[str]


def plan_serving(parameters: PlanParameters) -> ServeReport:
    """Memory of the model on one GPU of the kind; nothing is loaded or started."""
    shape = preset(parameters.preset)
    context = parameters.context or shape.context
    gpu = GPUS[parameters.gpu]
    notes = [
        "Prefill: one prompt of the whole context at a time. The bounds have weights and cache read"
        " once a token and nothing else: real figures are lower."
    ]
    if context > shape.context:
        notes.append(f"The model was made for {shape.context:,} tokens, not {context:,}.")
    names: tuple[Format, ...] = ("fp16", "int8")
    formats = {name: _format(shape, parameters, name, context) for name in names}
    return ServeReport(
        preset=parameters.preset,
        parameters=shape.parameters,
        gpu=parameters.gpu,
        gpu_memory_gib=gpu.memory_gib,
        usable_gib=room(parameters) / GIB,
        bandwidth_gb_per_s=gpu.bandwidth / 1e9,
        context=context,
        cache_mib_per_token=kv_cache_bytes(shape, 1, 1) / 2**20,
        formats=formats,
        fits=any(found.fits for found in formats.values()),
        notes=notes,
    )


def serving_bytes(shape: ModelConfig, int8: bool, rows: int, context: int) -> int:
    """Weights, cache, the larger of prefill and decoding, and the runtime."""
    working = inference_working(shape, rows, context)
    cache = kv_cache_bytes(shape, rows, context)
    return inference_weights(shape, int8) + cache + working + RUNTIME


def largest_batch(shape: ModelConfig, int8: bool, context: int, available: float) -> int:
    """Rows at the whole context, 0 if not even one fits."""
    low, high = 0, 1
    while serving_bytes(shape, int8, high, context) <= available:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if serving_bytes(shape, int8, middle, context) <= available:
            low = middle
        else:
            high = middle
    return low


def _format(
    shape: ModelConfig, parameters: PlanParameters, name: Format, context: int
) -> ServingFormat:
    int8, available = name == "int8", room(parameters)
    weights = inference_weights(shape, int8)
    rows = largest_batch(shape, int8, context, available)
    # The embedding is looked up, not read through, unless it is the head as well.
    looked_up = 0 if shape.tied_embeddings else 2 * shape.vocab_size * shape.dim
    bandwidth = GPUS[parameters.gpu].bandwidth
    contexts = sorted({max(1, context // 4), max(1, context // 2), context})
    cells = []
    for length in contexts:
        for batch in BATCHES:
            total = serving_bytes(shape, int8, batch, length)
            cells.append(
                ServingCell(
                    context=length,
                    batch=batch,
                    cache_gib=kv_cache_bytes(shape, batch, length) / GIB,
                    total_gib=total / GIB,
                    fits=total <= available,
                )
            )

    def bound(batch: int, cached: int) -> float:
        read = weights - looked_up + kv_cache_bytes(shape, batch, cached)
        return batch * bandwidth / read

    return ServingFormat(
        weights_gib=weights / GIB,
        prefill_gib=inference_working(shape, 0, context) / GIB,
        decoding_gib=inference_working(shape, max(rows, 1), 0) / GIB,
        fits=rows > 0,
        largest_batch=rows,
        tokens_per_second_bound_one_row=bound(1, 0) if rows else 0.0,
        tokens_per_second_bound_largest_batch=bound(rows, context) if rows else 0.0,
        cells=cells,
    )
