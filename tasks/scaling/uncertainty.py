"""How sure a ladder makes one of its law: draws of the law, and intervals from them.

A parametric bootstrap in the logarithm of the loss. Each draw takes its own noise from the scaled
inverse chi-square with n - 5 degrees of freedom and refits the whole law; for a linear law and
normal noise the intervals are Student's, so that a ladder of 12 runs is not taken for a large one.
The residuals of so few runs are no sample to draw from: five of twelve are used up by the fit.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tasks.scaling.law import (
    PARAMETERS,
    Fit,
    Point,
    centred,
    natural,
    problem_of,
    starts,
)
from tasks.scaling.solver import solve

EVERY_START = 32  # of the grid of starts, every so-maniest is tried for a draw


def draw_laws(
    points: Sequence[Point], fitted: Fit, *, huber_delta: float, draws: int, seed: int
) -> np.ndarray:
    """Rows E, A, alpha, B, beta, [draw, 5]; a function of the arguments alone."""
    problem = problem_of(points, huber_delta)
    random = np.random.default_rng(seed)
    freedom = len(points) - PARAMETERS
    noise = fitted.noise * np.sqrt(freedom / random.chisquare(freedom, draws))
    log_losses = np.log([point.loss for point in points]) + np.array(fitted.residuals)
    data = log_losses + noise[:, None] * random.standard_normal((draws, len(points)))
    guesses = [centred(problem, fitted.law), *starts(log_losses)[::EVERY_START]]
    first = np.repeat(np.array(guesses)[None, :, :], draws, axis=0).reshape(-1, PARAMETERS)
    solved, costs = solve(problem, first, np.repeat(data, len(guesses), axis=0))
    best = np.argmin(costs.reshape(draws, -1), axis=1)
    chosen = solved.reshape(draws, len(guesses), PARAMETERS)[np.arange(draws), best]
    return natural(problem, chosen)


def interval(values: np.ndarray, confidence: float) -> tuple[float, float]:
    """Central interval of the draws; infinite values count as such."""
    tail = (1 - confidence) / 2
    # Nearest ranks: interpolation between a number and infinity would give no number.
    low, high = np.quantile(values, [tail, 1 - tail], method="inverted_cdf")
    return float(low), float(high)
