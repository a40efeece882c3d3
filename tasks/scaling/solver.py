"""Levenberg-Marquardt for the loss law, for thousands of starts and data sets at once.

Each row of the batch is a problem of its own with its own damping; rows that have settled leave the
batch. Huber's loss is met by reweighting: the weighted quadratic touches it from above, so a step
that lowers one lowers the other. ``scipy.optimize.least_squares(loss="huber")`` finds the same
minimum one start at a time, some hundred times slower over a bootstrap.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BOUNDS = (0.01, 3.0)  # of both exponents; at 0 a term is a constant, as E is
FLOOR = 20.0  # E is at least exp(-20) of the lowest loss: a ladder may show no floor at all
MOST_STEPS = 400
SETTLED = 1e-12  # largest relative gain of a step that changes nothing any more
_DAMPING = (1e-12, 1e10)


@dataclass(frozen=True)
class Problem:
    """Centred log sizes and log tokens [points], their means, and Huber's delta (log units)."""

    x: np.ndarray
    y: np.ndarray
    x_mean: float
    y_mean: float
    delta: float

    def predict(self, raw: np.ndarray) -> np.ndarray:
        """log of the loss, [row, point], of rows (e, a, alpha, b, beta)."""
        return self._terms(raw)[0]

    def jacobian(self, raw: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """log of the loss [row, point], and its derivatives [row, point, 5]."""
        total, floor, size, tokens = self._terms(raw)
        return total, np.stack([floor, size, -size * self.x, tokens, -tokens * self.y], axis=2)

    def cost(self, residuals: np.ndarray) -> np.ndarray:
        """Sum of Huber's loss over the points, [row]."""
        size = np.abs(residuals)
        quadratic = np.minimum(size, self.delta)
        return np.sum(quadratic * (size - 0.5 * quadratic), axis=1)

    def _terms(self, raw: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """log of the sum, and the share of each of its three terms."""
        e, a, alpha, b, beta = (raw[:, [column]] for column in range(5))
        logs = np.stack(
            [np.broadcast_to(e, (len(raw), len(self.x))), a - alpha * self.x, b - beta * self.y]
        )
        top = logs.max(axis=0)
        shares = np.exp(logs - top)
        total = shares.sum(axis=0)
        shares /= total
        return top + np.log(total), shares[0], shares[1], shares[2]


def solve(
    problem: Problem, first: np.ndarray, log_losses: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Minimise from every start; returns the rows and their costs.

    first: [row, 5]. log_losses: what each row is fitted to, [row, point], or [1, point] for all.
    """
    data = np.broadcast_to(log_losses, (len(first), log_losses.shape[1]))
    lowest = data.min(axis=1) - FLOOR
    rows = _bounded(first.copy(), lowest)
    costs = problem.cost(problem.predict(rows) - data)
    damping = np.full(len(rows), 1e-2)
    quiet = np.zeros(len(rows), dtype=int)  # steps in a row that gained nothing
    active = np.arange(len(rows))
    for _ in range(MOST_STEPS):
        if not len(active):
            break
        step = _step(problem, rows[active], data[active], damping[active])
        tried = _bounded(rows[active] + step, lowest[active])
        cost = problem.cost(problem.predict(tried) - data[active])
        before = costs[active]
        better = cost < before
        gained = np.where(better, before - cost, 0.0)
        rows[active[better]] = tried[better]
        costs[active[better]] = cost[better]
        factor = np.where(better, 0.2, 5.0)
        damping[active] = np.clip(damping[active] * factor, *_DAMPING)
        still = gained <= SETTLED * before
        quiet[active] = np.where(still, quiet[active] + 1, 0)
        # Rejected steps raise the damping first; only when small steps fail too is it a minimum.
        active = active[(quiet[active] < 12) & (costs[active] > 1e-28)]
    return rows, costs


def _step(problem: Problem, rows: np.ndarray, data: np.ndarray, damping: np.ndarray) -> np.ndarray:
    predicted, jacobian = problem.jacobian(rows)
    residuals = predicted - data
    weights = problem.delta / np.maximum(np.abs(residuals), problem.delta)
    weighted = jacobian * weights[:, :, None]
    normal = np.einsum("rpi,rpj->rij", weighted, jacobian)
    slope = np.einsum("rpi,rp->ri", weighted, residuals)
    diagonal = np.einsum("rii->ri", normal)
    # The floor keeps the matrix regular where a term has vanished from the sum.
    added = damping[:, None] * np.maximum(diagonal, 1e-9 * diagonal.max(axis=1, keepdims=True))
    indices = np.arange(rows.shape[1])
    normal[:, indices, indices] += added + 1e-300
    step = -np.linalg.solve(normal, slope[:, :, None])[:, :, 0]
    return np.clip(step, -2.0, 2.0)


def _bounded(rows: np.ndarray, lowest: np.ndarray) -> np.ndarray:
    rows[:, 0] = np.maximum(rows[:, 0], lowest)
    rows[:, 1] = np.maximum(rows[:, 1], lowest)
    rows[:, 3] = np.maximum(rows[:, 3], lowest)
    rows[:, 2] = np.clip(rows[:, 2], *BOUNDS)
    rows[:, 4] = np.clip(rows[:, 4], *BOUNDS)
    return rows
