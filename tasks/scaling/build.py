"""Builder of the scaling stage: read the ladder, fit the law, answer, write the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from model.gpus import GPUS
from tasks.context import StageContext, StageResult, atomic_write_json, atomic_write_text
from tasks.emissions.parameters import EmissionsParameters
from tasks.scaling.family import SERVING_FORMULA, TRAINING_FORMULA, ShapeFamily, family
from tasks.scaling.ladder import LadderRun, read_ladder
from tasks.scaling.law import Fit, LossLaw, Point, fit
from tasks.scaling.optimum import Work, compute
from tasks.scaling.parameters import ScalingParameters
from tasks.scaling.report import Answer, Figure, answer, extrapolations, gpu_watts
from tasks.scaling.text import markdown
from tasks.scaling.uncertainty import draw_laws, interval

NAMES = ("E", "A", "alpha", "B", "beta")
LOSS = "validation loss at the end of each run, nats per token, mean over the sources' tokens"
CURVE_POINTS = 41


def build_report(
    parameters: ScalingParameters,
    emissions: EmissionsParameters,
    folders: Mapping[str, Path],
    context: StageContext,
) -> StageResult:
    """Fit the ladder in ``folders`` (checkpoint artifacts by name) and write the report.

    ``law.json`` (law, answers, curves), ``ladder.json`` (the runs), ``draws.npy`` (rows E, A,
    alpha, B, beta), ``report.md``.

    Raises:
        ValueError: the ladder cannot be fitted or not be compared, or the target is out of reach.
    """
    runs = read_ladder(folders)
    points = [run.point(parameters.count) for run in runs]
    fitted = fit(points, huber_delta=parameters.huber_delta)
    context.progress(0.2, "fitted")
    draws = draw_laws(
        points,
        fitted,
        huber_delta=parameters.huber_delta,
        draws=parameters.draws,
        seed=parameters.seed,
    )
    context.progress(0.7, f"{parameters.draws} laws drawn")
    shapes = family(
        list({run.shape.model_dump_json(): run.shape for run in runs}.values()),
        parameters.count,
        parameters.cost.context or runs[0].context,
    )
    target = parameters.target_loss or min(point.loss for point in points)
    answers = [
        answer(fitted.law, draws, points, shapes, target, served, parameters, emissions)
        for served in parameters.served_tokens
    ]
    notes = [
        *extrapolations(answers, target, points),
        *doubts(fitted, draws, runs, shapes, parameters),
    ]
    report = {
        "loss": LOSS,
        "count": parameters.count,
        "confidence": parameters.confidence,
        "law": law_figures(fitted.law, draws, parameters.confidence),
        "noise": fitted.noise,
        "objective": fitted.objective,
        "target_loss": target,
        "ladder": {
            "runs": len(runs),
            "sizes": [min(p.size for p in points), max(p.size for p in points)],
            "tokens": [min(p.tokens for p in points), max(p.tokens for p in points)],
            "losses": [min(p.loss for p in points), max(p.loss for p in points)],
            "flops": sum(run.flops for run in runs),
        },
        "charged": charged(parameters, emissions, shapes),
        "answers": [found.model_dump(mode="json") for found in answers],
        "curves": curves(fitted.law, points),
        "costs": costs(fitted.law, answers, shapes, target, parameters),
        "notes": notes,
    }
    rows = [
        _row(run, point, fitted.law, residual)
        for run, point, residual in zip(runs, points, fitted.residuals, strict=True)
    ]
    atomic_write_json(context.out / "law.json", report)
    atomic_write_json(context.out / "ladder.json", rows)
    atomic_write_text(context.out / "report.md", markdown(report, rows))
    np.save(context.out / "draws.npy", draws, allow_pickle=False)
    return StageResult(
        counts={
            "runs": len(runs),
            "noise": fitted.noise,
            "target_loss": target,
            **dict(zip(NAMES, fitted.law.as_row(), strict=True)),
            **{f"best_size.{found.served_tokens}": found.size.value for found in answers},
            **{f"gpu_hours.{found.served_tokens}": found.gpu_hours.value for found in answers},
            **{f"kwh.{found.served_tokens}": found.kwh.value for found in answers},
            **{f"tco2eq.{found.served_tokens}": found.tco2eq.value for found in answers},
        },
        seeds={"seed": parameters.seed},
        reproducibility="numeric: parameters of the law within 1e-6",
        notes=notes,
    )


def law_figures(law: LossLaw, draws: np.ndarray, confidence: float) -> dict[str, Any]:
    """The five parameters and the exponents of the best size and tokens over training compute."""
    row = law.as_row()
    columns = [draws[:, place] for place in range(len(NAMES))]
    alpha, beta = columns[2], columns[4]
    values = dict(zip(NAMES, zip(row, columns, strict=True), strict=True))
    values["size_exponent"] = (law.beta / (law.alpha + law.beta), beta / (alpha + beta))
    values["tokens_exponent"] = (law.alpha / (law.alpha + law.beta), alpha / (alpha + beta))
    return {name: _figure(value, drawn, confidence) for name, (value, drawn) in values.items()}


def charged(
    parameters: ScalingParameters, emissions: EmissionsParameters, shapes: ShapeFamily
) -> dict[str, Any]:
    """What FLOPs, hours, energy and carbon rest on."""
    cost = parameters.cost
    return {
        "training_formula": TRAINING_FORMULA,
        "serving_formula": SERVING_FORMULA,
        "context": shapes.context,
        "family_error": shapes.error,
        "gpu": cost.gpu,
        "peak_flops": GPUS[cost.gpu].peak,
        "mfu": cost.mfu,
        "serving_mfu": cost.serving_mfu,
        "gpu_watts": gpu_watts(cost.gpu, emissions),
        "pue": emissions.pue,
        "intensity_kg_per_kwh": emissions.intensity,
        "intensity_source": emissions.intensity_source,
    }


def doubts(
    fitted: Fit,
    draws: np.ndarray,
    runs: Sequence[LadderRun],
    shapes: ShapeFamily,
    parameters: ScalingParameters,
) -> list[str]:
    """Sentences on what the fit does not determine and what bends it."""
    notes = []
    if fitted.at_bounds:
        notes.append(
            f"The ladder does not determine {', '.join(fitted.at_bounds)}: the best value is a"
            " bound of the search."
        )
    low, high = interval(draws[:, 0], parameters.confidence)
    if low < 0.05 * fitted.law.E or high > 0.95 * min(run.loss for run in runs):
        notes.append(
            f"The irreducible loss E is hardly determined ({low:.3g} to {high:.3g}): wider ranges"
            " of sizes and tokens would be needed."
        )
    most = max(run.epochs for run in runs)
    if most > 1:
        notes.append(
            f"A source was passed {most:.3g} times by the longest run: repeated tokens count as"
            " new ones here, and are worth less beyond about 4 epochs (Muennighoff et al. 2023)."
        )
    if shapes.error > 0.05:
        notes.append(
            f"FLOPs between the ladder's shapes are interpolated with up to"
            f" {100 * shapes.error:.2g} % of error at the shapes themselves."
        )
    return notes


def curves(law: LossLaw, points: Sequence[Point]) -> list[dict[str, Any]]:
    """The law over tokens, a curve for each size of the ladder."""
    tokens = [point.tokens for point in points]
    grid = np.geomspace(min(tokens) / 2, max(tokens) * 2, CURVE_POINTS)
    return [
        {
            "size": size,
            "tokens": grid.tolist(),
            "loss": [law.loss(size, number) for number in grid.tolist()],
        }
        for size in sorted({point.size for point in points})
    ]


def costs(
    law: LossLaw,
    answers: Sequence[Answer],
    shapes: ShapeFamily,
    target: float,
    parameters: ScalingParameters,
) -> list[dict[str, Any]]:
    """GPU-hours to reach the target over the size, a curve for each number of served tokens."""
    cost = parameters.cost
    work = Work(shapes.training, shapes.serving, cost.mfu, cost.serving_mfu)
    best_sizes = [found.size.value for found in answers]
    sizes = np.geomspace(min(best_sizes) / 8, max(best_sizes) * 8, 2 * CURVE_POINTS - 1)
    peak_hours = GPUS[cost.gpu].peak * 3600
    found = []
    for item in answers:
        row = np.array([law.as_row()])
        hours = compute(row, sizes[None, :], target, item.served_tokens, work)[0] / peak_hours
        kept = np.isfinite(hours) & (hours < 1000 * item.gpu_hours.value)
        found.append(
            {
                "served_tokens": item.served_tokens,
                "sizes": sizes[kept].tolist(),
                "gpu_hours": hours[kept].tolist(),
            }
        )
    return found


def _row(run: LadderRun, point: Point, law: LossLaw, residual: float) -> dict[str, Any]:
    return {
        **run.model_dump(mode="json"),
        "size": point.size,
        "law_loss": law.loss(point.size, point.tokens),
        "residual": residual,
    }


def _figure(value: float, drawn: np.ndarray, confidence: float) -> dict[str, Any]:
    low, high = interval(drawn, confidence)
    return Figure(value=value, low=low, high=high).model_dump(mode="json")
