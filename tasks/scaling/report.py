"""What a scaling study says: the law with its intervals, and the cheapest way to the loss."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import numpy as np
from pydantic import BaseModel, ConfigDict

from model.gpus import GPUS
from tasks.emissions.forecast import gpu_hours
from tasks.emissions.methods import paper_carbon, paper_energy
from tasks.emissions.parameters import EmissionsParameters
from tasks.scaling.family import ShapeFamily
from tasks.scaling.law import LossLaw, Point
from tasks.scaling.optimum import Optimum, Work, best, compute
from tasks.scaling.parameters import ScalingParameters
from tasks.scaling.uncertainty import interval

FLAT = 1.05  # total compute up to this multiple of the least counts as nearly as good


class Figure(BaseModel):
    """A figure of the fitted law, and its interval over the draws; None: no upper bound."""

    model_config = ConfigDict(frozen=True)

    value: float
    low: float | None
    high: float | None


class Cost(BaseModel):
    """What the FLOPs of training or serving take."""

    model_config = ConfigDict(frozen=True)

    flops: float
    gpu_hours: float
    kwh: float
    tco2eq: float


class Answer(BaseModel):
    """The cheapest size and tokens that reach the target, for one number of served tokens.

    nearly: least and largest size whose total compute is within 5 % of the least. unreachable:
    share of the draws in which no size reaches the target; they count as infinite in the
    intervals. beyond: how many times outside the ladder's range size and tokens lie (1: inside).
    """

    model_config = ConfigDict(frozen=True)

    served_tokens: int
    size: Figure
    parameters: float
    tokens: Figure
    nearly: tuple[float, float]
    training: Cost
    serving: Cost
    gpu_hours: Figure
    kwh: Figure
    tco2eq: Figure
    unreachable: float
    beyond: dict[str, float]


def answer(
    law: LossLaw,
    draws: np.ndarray,
    points: Sequence[Point],
    shapes: ShapeFamily,
    target: float,
    served: int,
    parameters: ScalingParameters,
    emissions: EmissionsParameters,
) -> Answer:
    """One answer with the uncertainty of the law in every figure.

    Raises:
        ValueError: the law's irreducible loss is not below the target.
    """
    if target <= law.E:
        raise ValueError(
            f"no size and no number of tokens reach a loss of {target:g}: the fitted law ends at"
            f" E = {law.E:.4g} nats per token; choose a higher target"
        )
    cost = parameters.cost
    work = Work(shapes.training, shapes.serving, cost.mfu, cost.serving_mfu)
    row = np.array([law.as_row()])
    chosen = best(row, target, served, work)
    drawn = best(draws, target, served, work)

    def figure(value: float, values: np.ndarray) -> Figure:
        low, high = interval(values, parameters.confidence)
        return Figure(value=value, low=_finite(low), high=_finite(high))

    size, tokens = float(chosen.size[0]), float(chosen.tokens[0])
    training = charge(float(chosen.training[0]), cost.mfu, parameters, emissions)
    serving = charge(float(chosen.serving[0]), cost.serving_mfu, parameters, emissions)
    hours = training.gpu_hours + serving.gpu_hours
    drawn_hours = _hours(drawn, parameters)
    # Energy and carbon are proportional to the hours, and so are their intervals.
    per_hour = charge_hours(1.0, parameters, emissions)
    return Answer(
        served_tokens=served,
        size=figure(size, drawn.size),
        parameters=float(shapes.parameters(np.array(size))),
        tokens=figure(tokens, drawn.tokens),
        nearly=_nearly(row, size, target, served, work),
        training=training,
        serving=serving,
        gpu_hours=figure(hours, drawn_hours),
        kwh=figure(training.kwh + serving.kwh, drawn_hours * per_hour[0]),
        tco2eq=figure(training.tco2eq + serving.tco2eq, drawn_hours * per_hour[1]),
        unreachable=float(np.mean(~np.isfinite(drawn.size))),
        beyond={
            "size": _beyond(size, [point.size for point in points]),
            "tokens": _beyond(tokens, [point.tokens for point in points]),
        },
    )


def charge(
    flops: float, mfu: float, parameters: ScalingParameters, emissions: EmissionsParameters
) -> Cost:
    """GPU-hours of FLOPs, and energy and carbon by the paper's formula (section 6)."""
    hours = gpu_hours(flops, GPUS[parameters.cost.gpu].peak, mfu)
    kwh, tco2eq = charge_hours(hours, parameters, emissions)
    return Cost(flops=flops, gpu_hours=hours, kwh=kwh, tco2eq=tco2eq)


def charge_hours(
    hours: float, parameters: ScalingParameters, emissions: EmissionsParameters
) -> tuple[float, float]:
    """kWh and t CO2eq of GPU-hours."""
    watts, pue = gpu_watts(parameters.cost.gpu, emissions), emissions.pue
    energy = paper_energy(Decimal(hours), watts, pue)
    return float(energy * 1000), float(
        paper_carbon(Decimal(hours), watts, pue, emissions.intensity)
    )


def gpu_watts(gpu: str, emissions: EmissionsParameters) -> float:
    """W of a GPU: the emissions' TDP is that of an A100, others have their data sheet's."""
    return emissions.gpu_tdp if gpu.startswith("A100") else GPUS[gpu].tdp


def extrapolations(answers: Sequence[Answer], target: float, points: Sequence[Point]) -> list[str]:
    """A sentence for everything that lies outside what the ladder has measured."""
    notes = []
    lowest = min(point.loss for point in points)
    if target < lowest:
        notes.append(
            f"The target loss {target:.4g} is {lowest - target:.3g} nats below the lowest that a"
            f" run of the ladder reached ({lowest:.4g}): the law is extrapolated."
        )
    for found in answers:
        far = {name: factor for name, factor in found.beyond.items() if factor > 1}
        if far:
            named = ", ".join(f"{name} {factor:.3g} times" for name, factor in far.items())
            notes.append(
                f"With {found.served_tokens:,} served tokens the answer lies beyond the ladder's"
                f" range ({named}): the law is extrapolated."
            )
    share = max(found.unreachable for found in answers)
    if share:
        notes.append(
            f"{100 * share:.3g} % of the drawn laws reach the target at no size; the intervals"
            " count them as infinite."
        )
    return notes


def _hours(optimum: Optimum, parameters: ScalingParameters) -> np.ndarray:
    cost = parameters.cost
    full = optimum.training / cost.mfu + optimum.serving / cost.serving_mfu
    return full / GPUS[cost.gpu].peak / 3600


def _nearly(
    row: np.ndarray, size: float, target: float, served: float, work: Work
) -> tuple[float, float]:
    """Least and largest size on a fine grid around the best whose compute is within ``FLAT``."""
    sizes = size * np.exp(np.linspace(-np.log(100), np.log(100), 4001))
    total = compute(row, sizes[None, :], target, served, work)[0]
    good = sizes[total <= FLAT * total.min()]
    return float(good[0]), float(good[-1])


def _beyond(value: float, ladder: Sequence[float]) -> float:
    return max(1.0, value / max(ladder), min(ladder) / value)


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
