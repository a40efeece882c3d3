"""What a training run would cost, before it starts: hours, energy, carbon, memory.

FLOPs = (6 N + 12 L d T) x tokens; GPU-hours = FLOPs / (peak x MFU) / 3600; kWh = GPU-hours x TDP x
PUE; t CO2eq = kWh x intensity (paper section 6). With the one prior MFU of 50 % the paper's own
GPU-hours are met within -6.2 to +9.4 % (Table 15).
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, field_validator
from rich.table import Table

from model.config import ModelConfig
from model.flops import flops_per_token
from model.memory import GIB, STATE_BYTES, training_memory
from model.presets import preset, preset_name
from tasks.emissions.parameters import EmissionsParameters
from tasks.emissions.published import GPUS, PAPER_BATCH_TOKENS, RECIPES, UNPUBLISHED

PRIOR_MFU = 0.5
# P5 and P95 of the ratio actual / forecast: Student t (3 degrees of freedom, 2.35) x the standard
# deviation of the four log ratios of Table 15 (0.067) x sqrt(1 + 1/4), as a factor.
BAND = 1.19


class BudgetExceeded(ValueError):
    """A run is refused because its P95 forecast does not fit what is left of the budget."""


class PlanParameters(BaseModel):
    """What to forecast: the form of the ``planning`` flow and of ``arriero plan``."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Plan")

    preset: str = Field(
        "7B",
        title="Preset",
        description="Model shape by name (nano, 7B, 13B, 33B, 65B, Llama-2-7B, ...).",
    )
    tokens: int | None = Field(
        None,
        title="Training tokens",
        description="Tokens. Empty: the published number (1.0T for 7B and 13B, 1.4T for 33B, 65B).",
        ge=1,
        le=10**15,
    )
    gpus: int = Field(
        2048,
        title="GPUs",
        description="Number of GPUs. Source: paper section 2.4 (2048).",
        ge=1,
        le=1_000_000,
    )
    gpu: str = Field(
        "A100-80GB",
        title="GPU",
        description=f"Kind of GPU: {', '.join(GPUS)}. Source: paper section 2.4.",
    )
    mfu: float = Field(
        PRIOR_MFU,
        title="Model FLOPs use",
        description="Part of the dense bf16 peak that is reached, no unit. Prior from Table 15.",
        gt=0,
        le=1,
    )
    context: int | None = Field(
        None,
        title="Sequence length",
        description="Tokens per training sequence. Empty: the preset's context, at most 8192.",
        ge=1,
        le=1 << 20,
    )
    batch_tokens: int = Field(
        PAPER_BATCH_TOKENS,
        title="Tokens per batch",
        description="Tokens of the global batch. Source: paper, Table 2 (4M = 4,194,304).",
        ge=1,
        le=1 << 30,
    )
    warmup_steps: int = Field(
        2000,
        title="Warm-up steps",
        description="Steps. Source: paper section 2.3.",
        ge=0,
        le=1_000_000,
    )
    emissions: EmissionsParameters = Field(
        EmissionsParameters(),
        title="Emissions",
        description="PUE, intensity and budget. Its GPU TDP is used for A100 GPUs only.",
    )

    @field_validator("preset")
    @classmethod
    def _known_preset(cls, value: str) -> str:
        return preset_name(value)

    @field_validator("gpu")
    @classmethod
    def _known_gpu(cls, value: str) -> str:
        if value not in GPUS:
            raise ValueError(f"unknown GPU {value!r}; known: {', '.join(GPUS)}")
        return value


class Range(BaseModel):
    """P5 and P95 of a forecast quantity."""

    model_config = ConfigDict(frozen=True)

    p5: float
    p95: float


class PlanReport(BaseModel):
    """The forecast. Memory is for fully sharded training in bf16 with fp32 AdamW states."""

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
    peak_flops_per_gpu: float
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
    batch_tokens: int
    steps: int
    learning_rate: float
    warmup_steps: int
    recipe_source: str
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
    hours = gpu_hours(flops, gpu.peak, parameters.mfu)
    watts = emissions.gpu_tdp if parameters.gpu.startswith("A100") else gpu.tdp
    kwh = hours * watts / 1000 * emissions.pue
    tco2eq = kwh * emissions.intensity / 1000
    days = hours / parameters.gpus / 24
    states = STATE_BYTES * shape.parameters / parameters.gpus / GIB
    activations = activation_gib(
        shape.dim, shape.layers, shape.ffn_hidden or 0, shape.vocab_size, context
    )
    memory = states + activations + gathered_gib(shape.parameters, shape.layers)
    notes = []
    if recipe is None:
        notes.append(f"Tokens and learning rate: {UNPUBLISHED}.")
    if not parameters.gpu.startswith("A100"):
        notes.append("The band was made on A100; on other GPUs the prior MFU is a guess.")
    replica = training_memory(
        shape, tokens=context, context=context, bf16=True, masked=False, gradients_stay=True
    )
    if replica.total / GIB > 0.92 * gpu.memory_gib:
        notes.append(
            f"Memory is that of fully sharded training. This version's engine keeps a replica on"
            f" every GPU ({replica.total / GIB:.0f} GiB), which does not fit: it cannot train this"
            " model yet."
        )
    if parameters.gpus > parameters.batch_tokens // context:
        notes.append("More GPUs than sequences in the batch: some would have nothing to do.")
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
        peak_flops_per_gpu=gpu.peak,
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
        batch_tokens=parameters.batch_tokens,
        steps=max(1, round(tokens / parameters.batch_tokens)),
        learning_rate=recipe.learning_rate if recipe else 3.0e-4,
        warmup_steps=parameters.warmup_steps,
        recipe_source=recipe.source if recipe else UNPUBLISHED,
        memory_states_gib=states,
        memory_activations_gib=activations,
        memory_per_gpu_gib=memory,
        gpu_memory_gib=gpu.memory_gib,
        fits=memory <= 0.92 * gpu.memory_gib,
        notes=notes,
    )


def activation_gib(dim: int, layers: int, hidden: int, vocabulary: int, context: int) -> float:
    """Activations of one sequence in GiB: a checkpoint per layer (bf16), one layer recomputed
    (about 8 d + 3 h values a token, bf16), logits in bf16 and their loss in fp32."""
    checkpoints = 2 * layers * dim
    layer = 2 * (8 * dim + 3 * hidden)
    logits = (2 + 4) * vocabulary
    return context * (checkpoints + layer + logits) / GIB


def gathered_gib(parameters: int, layers: int) -> float:
    """Two layers gathered in bf16 at a time (the one that runs and the one fetched ahead)."""
    return 2 * 2 * parameters / layers / GIB


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


def render_plan(report: PlanReport) -> Table:
    """The forecast as a table for people."""
    table = Table(title=f"Plan: {report.preset} on {report.gpus} x {report.gpu}", show_header=False)
    fits = "fits" if report.fits else "does NOT fit"

    def band(value: float, spread: Range, unit: str = "") -> str:
        return f"{_short(value)}{unit} (P5-P95 {_short(spread.p5)} to {_short(spread.p95)})"

    rows = {
        "Parameters": f"{report.parameters:,}",
        "Tokens": f"{report.tokens:,} ({report.recipe_source})",
        "Steps": f"{report.steps:,} of {report.batch_tokens:,} tokens",
        "Learning rate": f"{report.learning_rate:g}, {report.warmup_steps:,} warm-up steps",
        "FLOPs per token": f"{report.flops_per_token:,} ({report.flops_formula})",
        "GPU-hours": f"{band(report.gpu_hours, report.gpu_hours_range)}, MFU {report.mfu:.0%}",
        "Days": band(report.days, report.days_range),
        "Energy": f"{band(report.kwh, report.kwh_range, ' kWh')}, {report.gpu_watts:g} W,"
        f" PUE {report.pue:g}",
        "Carbon": f"{band(report.tco2eq, report.tco2eq_range, ' t CO2eq')} at"
        f" {report.intensity_kg_per_kwh:g} kg/kWh ({report.intensity_source})",
        "Memory per GPU": f"{report.memory_per_gpu_gib:.3g} GiB, {fits} in"
        f" {report.gpu_memory_gib:g} GiB (states {report.memory_states_gib:.3g}, activations of"
        f" one sequence {report.memory_activations_gib:.3g})",
    }
    for name, value in rows.items():
        table.add_row(name, value)
    for note in report.notes:
        table.add_row("Note", note)
    return table


def _short(value: float) -> str:
    """Three significant digits, or whole numbers with separators."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _range(value: float) -> Range:
    return Range(p5=value / BAND, p95=value * BAND)
