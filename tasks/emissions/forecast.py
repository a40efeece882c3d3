"""What a training run would cost, before it starts: hours, energy, carbon, memory.

FLOPs = (6 N + 12 L d T) x tokens; GPU-hours = FLOPs / (peak x MFU) / 3600; kWh = GPU-hours x TDP x
PUE; t CO2eq = kWh x intensity (paper section 6). With the one prior MFU of 50 % the paper's own
GPU-hours are met within -6.2 to +9.4 % (Table 15).
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from model.config import ModelConfig
from model.flops import flops_per_token
from model.gpus import GPUS
from model.memory import GIB, RUNTIME, Recompute
from model.presets import preset
from tasks.emissions.published import RECIPES, UNPUBLISHED, paper_cost
from tasks.planning.layout import (
    Layout,
    Sharding,
    alternatives,
    choose_layout,
    room,
    sequences_per_gpu,
)
from tasks.planning.parameters import PRIOR_MFU, PlanParameters

# P5 and P95 of the ratio actual / forecast: Student t (3 degrees of freedom, 2.35) x the standard
# deviation of the four log ratios of Table 15 (0.067) x sqrt(1 + 1/4), as a factor.
BAND = 1.19


class BudgetExceeded(ValueError):
    """A run is refused because its P95 forecast does not fit what is left of the budget."""


class Range(BaseModel):
    """P5 and P95 of a forecast quantity."""

    model_config = ConfigDict(frozen=True)

    p5: float
    p95: float


class MemoryPlan(BaseModel):
    """GiB of one GPU by what they hold. Loss and recomputed block are not there at once."""

    model_config = ConfigDict(frozen=True)

    parameters: float
    cast_weights: float
    gradients: float
    optimizer: float
    activations: float
    recomputed: float
    loss: float
    gathered: float
    communication: float
    runtime: float


class PaperPlan(BaseModel):
    """What the paper says (Table 15), and the forecast's GPU-hours over the paper's less 1."""

    model_config = ConfigDict(frozen=True)

    gpu_hours: float
    days: float
    mwh: float
    tco2eq: float
    gpu_hours_difference: float


class PlanReport(BaseModel):
    """The forecast."""

    model_config = ConfigDict(frozen=True)

    preset: str
    parameters: int
    tokens: int
    context: int
    flops_per_token: int
    flops_formula: str
    flops: float
    gpu: str
    gpus: int
    precision: str
    peak_flops_per_gpu: float
    peak_flops_source: str
    mfu: float
    gpu_hours: float
    gpu_hours_range: Range
    days: float
    days_range: Range
    tokens_per_second_per_gpu: float
    gpu_watts: float
    pue: float
    intensity_kg_per_kwh: float
    intensity_source: str
    kwh: float
    kwh_range: Range
    tco2eq: float
    tco2eq_range: Range
    paper: PaperPlan | None
    batch_tokens: int
    steps: int
    learning_rate: float
    warmup_steps: int
    recipe_source: str
    sharding: Sharding
    shard: int
    recompute: Recompute
    micro_batch: int
    accumulation: int
    memory: MemoryPlan
    memory_by_recompute_gib: dict[Recompute, float]
    memory_states_gib: float
    memory_activations_gib: float
    memory_per_gpu_gib: float
    gpu_memory_gib: float
    fits: bool
    notes: list[str]


def training_flops(parameters: float, layers: int, dim: int, context: int, tokens: float) -> float:
    """(6 N + 12 L d T) x tokens, in FLOP."""
    return (6 * parameters + 12 * layers * dim * context) * tokens


def gpu_hours(flops: float, peak: float, mfu: float = PRIOR_MFU) -> float:
    """GPU-hours of ``flops`` at ``mfu`` of ``peak`` FLOP/s."""
    return flops / (peak * mfu) / 3600


def plan(parameters: PlanParameters, own_shape: ModelConfig | None = None) -> PlanReport:
    """Forecast one training run; nothing is loaded or started.

    own_shape: takes the place of the preset's shape, of which no recipe is published.
    """
    shape = own_shape or preset(parameters.preset)
    gpu = GPUS[parameters.gpu]
    emissions = parameters.emissions
    context = parameters.context or min(shape.context, 8192)
    recipe = None if own_shape else RECIPES.get(parameters.preset)
    tokens = parameters.tokens or (int(recipe.tokens) if recipe else 20 * shape.parameters)
    per_token = flops_per_token(shape, context)
    flops = float(per_token.value) * tokens
    peak = gpu.peak_fp32 if parameters.number_format == "fp32" else gpu.peak
    hours = gpu_hours(flops, peak, parameters.mfu)
    watts = emissions.gpu_tdp if parameters.gpu.startswith("A100") else gpu.tdp
    kwh = hours * watts / 1000 * emissions.pue
    tco2eq = kwh * emissions.intensity / 1000
    days = hours / parameters.gpus / 24
    layout = choose_layout(shape, parameters, context)
    memory = layout.memory
    published = None if own_shape else paper_cost(parameters.preset)
    return PlanReport(
        preset="own shape" if own_shape else parameters.preset,
        parameters=shape.parameters,
        tokens=tokens,
        context=context,
        flops_per_token=per_token.value,
        flops_formula=per_token.formula,
        flops=flops,
        gpu=parameters.gpu,
        gpus=parameters.gpus,
        precision=parameters.number_format,
        peak_flops_per_gpu=peak,
        peak_flops_source=gpu.source,
        mfu=parameters.mfu,
        gpu_hours=hours,
        gpu_hours_range=_range(hours),
        days=days,
        days_range=_range(days),
        tokens_per_second_per_gpu=tokens / hours / 3600,
        gpu_watts=watts,
        pue=emissions.pue,
        intensity_kg_per_kwh=emissions.intensity,
        intensity_source=emissions.intensity_source,
        kwh=kwh,
        kwh_range=_range(kwh),
        tco2eq=tco2eq,
        tco2eq_range=_range(tco2eq),
        paper=published
        and PaperPlan(
            gpu_hours=published.gpu_hours,
            days=published.gpu_hours / parameters.gpus / 24,
            mwh=published.mwh,
            tco2eq=published.tco2eq,
            gpu_hours_difference=hours / published.gpu_hours - 1,
        ),
        batch_tokens=parameters.batch_tokens,
        steps=max(1, round(tokens / parameters.batch_tokens)),
        learning_rate=recipe.learning_rate if recipe else 3.0e-4,
        warmup_steps=parameters.warmup_steps,
        recipe_source=recipe.source if recipe else UNPUBLISHED,
        sharding=layout.sharding,
        shard=layout.shard,
        recompute=layout.recompute,
        micro_batch=layout.micro_batch,
        accumulation=layout.accumulation,
        memory=MemoryPlan(
            parameters=(memory.weights - memory.cast) / GIB,
            cast_weights=memory.cast / GIB,
            gradients=memory.gradients / GIB,
            optimizer=memory.optimizer / GIB,
            activations=memory.activations / GIB,
            recomputed=memory.recomputed / GIB,
            loss=memory.loss / GIB,
            gathered=memory.gathered / GIB,
            communication=memory.communication / GIB,
            runtime=RUNTIME / GIB,
        ),
        memory_by_recompute_gib=alternatives(shape, parameters, context, layout),
        memory_states_gib=(memory.weights - memory.cast + memory.gradients + memory.optimizer)
        / GIB,
        memory_activations_gib=memory.activations / GIB,
        memory_per_gpu_gib=memory.total / GIB,
        gpu_memory_gib=gpu.memory_gib,
        fits=memory.total <= room(parameters),
        notes=_notes(parameters, context, layout, published=recipe is not None),
    )


def _notes(
    parameters: PlanParameters, context: int, layout: Layout, *, published: bool
) -> list[str]:
    """What a reader of the figures must know."""
    notes = []
    gpu = GPUS[parameters.gpu]
    if not published:
        notes.append(f"Tokens and learning rate: {UNPUBLISHED}.")
    if not parameters.gpu.startswith("A100"):
        notes.append("The band was made on A100; on other GPUs the prior MFU is a guess.")
    if not gpu.bf16:
        notes.append(
            f"{parameters.gpu} has no bf16: planned in {parameters.number_format}."
            + (
                " The trainer offers bf16 and fp32 only; fp16 needs a loss scale besides."
                if parameters.number_format == "fp16"
                else ""
            )
        )
    if layout.shard > 1 and layout.accumulation > 1:
        notes.append(
            "While micro-batches add up, the gradients are whole on each GPU; a larger micro-batch"
            " or more GPUs avoid it."
        )
    if parameters.gpus > parameters.batch_tokens // context:
        notes.append("More GPUs than sequences in the batch: some would have nothing to do.")
    elif sequences_per_gpu(parameters, context) * parameters.gpus * context != (
        parameters.batch_tokens
    ):
        notes.append("The batch is no multiple of GPUs x sequence length: the last ones idle.")
    return notes


def check_budget(report: PlanReport, spent_tco2eq: float, budget_tco2eq: float | None) -> None:
    """Refuse a run whose P95 forecast does not fit.

    Raises:
        BudgetExceeded: names the budget, what is spent and what the run may need.
    """
    if budget_tco2eq is None:
        return
    if spent_tco2eq + report.tco2eq_range.p95 > budget_tco2eq:
        raise BudgetExceeded(
            f"the budget of {budget_tco2eq:g} t CO2eq does not hold this run: {spent_tco2eq:.3g} t"
            f" are spent and it may need {report.tco2eq_range.p95:.3g} t (P95). Raise the budget,"
            " or train a smaller model or fewer tokens."
        )


def _range(value: float) -> Range:
    return Range(p5=value / BAND, p95=value * BAND)
