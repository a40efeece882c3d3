"""A scaling study for its page: ``law.json`` and ``ladder.json`` of its report, and the charts."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from dashboards.charts import log_log
from dashboards.contents import FROZEN, ContentError, parse
from registry.artifacts import ArtifactRef, Store

STAGE = "scaling"
COUNTS = {
    "without_embeddings": "parameters without the embedding matrices",
    "all": "all parameters",
}


class Figure(BaseModel):
    """A value and its interval; None: no bound on that side."""

    model_config = FROZEN

    value: float
    low: float | None
    high: float | None


class Cost(BaseModel):
    """GPU-hours of training or of serving."""

    model_config = FROZEN

    gpu_hours: float


class Answer(BaseModel):
    """Size and tokens that reach the target at least cost, for one number of served tokens."""

    model_config = FROZEN

    served_tokens: int = Field(ge=0)
    size: Figure
    tokens: Figure
    nearly: tuple[float, float]
    training: Cost
    serving: Cost
    gpu_hours: Figure
    kwh: Figure
    tco2eq: Figure


class LawCurve(BaseModel):
    """The fitted loss of one size over tokens."""

    model_config = FROZEN

    size: float
    tokens: list[float]
    loss: list[float]


class CostCurve(BaseModel):
    """GPU-hours to the target over the size."""

    model_config = FROZEN

    served_tokens: int
    sizes: list[float]
    gpu_hours: list[float]


class Charged(BaseModel):
    """What the costs rest on."""

    model_config = FROZEN

    training_formula: str
    serving_formula: str
    context: int
    gpu: str
    mfu: float
    serving_mfu: float
    gpu_watts: float
    pue: float
    intensity_kg_per_kwh: float
    intensity_source: str


class LadderRow(BaseModel):
    """One run: measured and fitted loss, nats per token."""

    model_config = FROZEN

    name: str
    size: int
    parameters: int
    tokens: int
    loss: float
    law_loss: float


class Law(BaseModel):
    """``law.json``."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    loss: str
    count: str
    confidence: float
    law: dict[str, Figure]
    noise: float
    target_loss: float
    charged: Charged
    answers: list[Answer]
    curves: list[LawCurve]
    costs: list[CostCurve]
    notes: list[str]


class Study(BaseModel):
    """One report as its page shows it; ``problems`` in place of what could not be read."""

    model_config = ConfigDict(frozen=True)

    ref: ArtifactRef
    law: Law | None
    ladder: list[LadderRow]
    problems: list[str]

    @property
    def counted(self) -> str:
        """What N counts."""
        return COUNTS.get(self.law.count, self.law.count) if self.law else ""


def study(store: Store, ref: ArtifactRef) -> Study:
    """The report of a scaling stage."""
    folder = store.path(ref)
    try:
        law = parse(folder / "law.json", TypeAdapter(Law))
        ladder = parse(folder / "ladder.json", TypeAdapter(list[LadderRow]))
    except ContentError as error:
        return Study(ref=ref, law=None, ladder=[], problems=[str(error)])
    return Study(ref=ref, law=law, ladder=ladder, problems=[])


def law_figure(law: Law, ladder: Sequence[LadderRow]) -> str:
    """The law's curve of every size with the measured losses on it, as JSON."""
    traces = []
    for curve in law.curves:
        measured = [row for row in ladder if math.isclose(row.size, curve.size)]
        traces.append(("lines", f"law, N {curve.size:,.0f}", curve.tokens, curve.loss))
        traces.append(
            (
                "markers",
                f"runs, N {curve.size:,.0f}",
                [float(row.tokens) for row in measured],
                [row.loss for row in measured],
            )
        )
    return log_log(traces, x="training tokens", y="validation loss, nats per token")


def cost_figure(law: Law) -> str:
    """GPU-hours to the target over the size, and each curve's lowest point, as JSON."""
    traces = []
    for curve in law.costs:
        name = f"{curve.served_tokens:,} served tokens"
        traces.append(("lines", name, curve.sizes, curve.gpu_hours))
    best = [(answer.size.value, answer.gpu_hours.value) for answer in law.answers]
    traces.append(("markers", "least cost", [x for x, _ in best], [y for _, y in best]))
    return log_log(traces, x="parameters N", y="GPU-hours, training and serving")
