"""The loss law of a ladder of runs: L(N, D) = E + A / N^alpha + B / D^beta.

Fitted as the third approach of Hoffmann et al. 2022 (arXiv:2203.15556, section 3.3): the Huber loss
of the difference of logarithms, from many starts. The starts are shares of the mean loss instead of
that paper's fixed grid, so that they fit any ladder; all of them are solved at once.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tasks.scaling.solver import BOUNDS, FLOOR, Problem, solve

PARAMETERS = 5
LEAST_DISTINCT = 3  # sizes and budgets: below, the exponent and E are not told apart


@dataclass(frozen=True)
class Point:
    """One run of the ladder. size: parameters; tokens: trained on; loss: nats per token."""

    size: float
    tokens: float
    loss: float


@dataclass(frozen=True)
class LossLaw:
    """E + A / N^alpha + B / D^beta, nats per token."""

    E: float
    A: float
    alpha: float
    B: float
    beta: float

    def loss(self, size: float, tokens: float) -> float:
        """Predicted loss of ``size`` parameters trained on ``tokens``."""
        return float(self.E + self.A / size**self.alpha + self.B / tokens**self.beta)

    def as_row(self) -> list[float]:
        """E, A, alpha, B, beta: a row of ``fit_uncertainty``'s draws."""
        return [self.E, self.A, self.alpha, self.B, self.beta]


@dataclass(frozen=True)
class Fit:
    """A law, and how the ladder lies around it.

    residuals: log(predicted) - log(measured), a point each. noise: their standard deviation with
    n - 5 degrees of freedom. objective: mean Huber loss. at_bounds: parameters that the ladder does
    not determine (their best value is a bound of the search).
    """

    law: LossLaw
    residuals: tuple[float, ...]
    noise: float
    objective: float
    at_bounds: tuple[str, ...]


def check_ladder(points: Sequence[Point]) -> None:
    """Refuse a ladder that no law can be fitted to.

    Raises:
        ValueError: all that is wrong.
    """
    problems = []
    for number, point in enumerate(points):
        for name in ("size", "tokens", "loss"):
            value = getattr(point, name)
            if not math.isfinite(value) or value <= 0:
                problems.append(f"point {number}: {name} {value} is not a positive number")
    if len(points) <= PARAMETERS:
        problems.append(
            f"{len(points)} points are too few: the law has {PARAMETERS} parameters, and its"
            f" uncertainty needs at least one point more"
        )
    for name, title in (("size", "sizes"), ("tokens", "token budgets")):
        distinct = len({getattr(point, name) for point in points})
        if distinct < LEAST_DISTINCT:
            problems.append(
                f"{distinct} distinct {title} are too few to tell an exponent from the"
                f" irreducible loss: at least {LEAST_DISTINCT} are needed"
            )
    if problems:
        raise ValueError("no loss law can be fitted to this ladder:\n- " + "\n- ".join(problems))


def fit(points: Sequence[Point], *, huber_delta: float = 1e-3) -> Fit:
    """The law with the least Huber loss over all starts; the same bits every time.

    Raises:
        ValueError: see ``check_ladder``.
    """
    check_ladder(points)
    problem = problem_of(points, huber_delta)
    log_losses = np.log([point.loss for point in points])
    solved, costs = solve(problem, starts(log_losses), log_losses[None, :])
    best = int(np.argmin(costs))
    raw = solved[best]
    residuals = problem.predict(raw[None, :])[0] - log_losses
    freedom = len(points) - PARAMETERS
    return Fit(
        law=LossLaw(*natural(problem, raw[None, :])[0].tolist()),
        residuals=tuple(residuals.tolist()),
        noise=float(np.sqrt(np.sum(residuals**2) / freedom)),
        objective=float(costs[best] / len(points)),
        at_bounds=_at_bounds(raw, log_losses),
    )


def problem_of(points: Sequence[Point], huber_delta: float) -> Problem:
    """The ladder as the solver takes it: centred logarithms, which decorrelates A and alpha."""
    x = np.log([point.size for point in points])
    y = np.log([point.tokens for point in points])
    return Problem(
        x=x - x.mean(), y=y - y.mean(), x_mean=x.mean(), y_mean=y.mean(), delta=huber_delta
    )


def starts(log_losses: np.ndarray) -> np.ndarray:
    """First guesses, [start, 5]: shares of the mean loss for E and the rest, and exponents."""
    level = float(log_losses.mean())
    rows = []
    for floor, share in itertools.product((0.1, 0.5, 0.9), (0.1, 0.5, 0.9)):
        e = level + math.log(floor)
        a = level + math.log((1 - floor) * share)
        b = level + math.log((1 - floor) * (1 - share))
        for alpha, beta in itertools.product((0.1, 0.3, 0.6, 1.0, 1.6), repeat=2):
            rows.append((e, a, alpha, b, beta))
    return np.array(rows)


def natural(problem: Problem, raw: np.ndarray) -> np.ndarray:
    """Rows of the solver as rows E, A, alpha, B, beta."""
    e, a, alpha, b, beta = raw.T
    return np.stack(
        [
            np.exp(e),
            np.exp(a + alpha * problem.x_mean),
            alpha,
            np.exp(b + beta * problem.y_mean),
            beta,
        ],
        axis=1,
    )


def centred(problem: Problem, law: LossLaw) -> np.ndarray:
    """The law as a row of the solver; the inverse of ``natural``."""
    return np.array(
        [
            math.log(law.E),
            math.log(law.A) - law.alpha * problem.x_mean,
            law.alpha,
            math.log(law.B) - law.beta * problem.y_mean,
            law.beta,
        ]
    )


def _at_bounds(raw: np.ndarray, log_losses: np.ndarray) -> tuple[str, ...]:
    found = [
        name
        for name, value in (("alpha", raw[2]), ("beta", raw[4]))
        if not BOUNDS[0] * 1.001 < value < BOUNDS[1] * 0.999
    ]
    if raw[0] < log_losses.min() - FLOOR + 1:
        found.append("E")
    return tuple(found)
