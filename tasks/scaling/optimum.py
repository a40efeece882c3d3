"""The size and tokens that reach a loss at least total compute: training, then serving.

``compute(N) = training FLOPs(N) x D(N) / training MFU + serving FLOPs(N) x served / serving MFU``
with D(N) the tokens at which the law gives the target. More tokens served move the best size down:
a smaller model trained for longer costs less to serve, which is the paper's opening argument.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

PerToken = Callable[[np.ndarray], np.ndarray]
_GRID = 400
_ZOOMS = 6
# N over the least size that can reach the target (or one parameter), minus 1.
_SEARCHED = (1e-9, 1e12)


@dataclass(frozen=True)
class Work:
    """What compute is needed for. training, serving: FLOPs of a token as functions of N."""

    training: PerToken
    serving: PerToken
    mfu: float
    serving_mfu: float


@dataclass(frozen=True)
class Optimum:
    """The best size of each law; infinite where the law never reaches the target.

    training, serving: FLOPs, not yet divided by the MFU.
    """

    size: np.ndarray
    tokens: np.ndarray
    training: np.ndarray
    serving: np.ndarray


def least_size(laws: np.ndarray, target: float) -> np.ndarray:
    """Size below which no number of tokens reaches the target; infinite when none does.

    laws: rows E, A, alpha, B, beta.
    """
    floor, a, alpha = laws[:, 0], laws[:, 1], laws[:, 2]
    gap = target - floor
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return np.where(gap > 0, (a / np.where(gap > 0, gap, 1.0)) ** (1 / alpha), np.inf)


def tokens_for(laws: np.ndarray, size: np.ndarray, target: float) -> np.ndarray:
    """Tokens that bring ``size`` to the target; infinite where it is not reached."""
    floor, a, alpha, b, beta = (laws[:, [column]] for column in range(5))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        rest = target - floor - a / size**alpha
        return np.where(rest > 0, (b / np.where(rest > 0, rest, 1.0)) ** (1 / beta), np.inf)


def best(laws: np.ndarray, target: float, served: float, work: Work) -> Optimum:
    """The optimum of each law (rows E, A, alpha, B, beta), to a relative 1e-7 of the size."""
    smallest = np.maximum(least_size(laws, target), 1.0)
    size, tokens, training, serving = (np.full(len(laws), np.inf) for _ in range(4))
    found = np.flatnonzero(np.isfinite(smallest))
    if len(found):
        sizes = _search(laws[found], smallest[found], target, served, work)
        total = compute(laws[found], sizes[:, None], target, served, work)[:, 0]
        # A law with a vanishing exponent may ask for more tokens than a number holds.
        kept = np.isfinite(total)
        found, sizes = found[kept], sizes[kept]
        size[found] = sizes
        tokens[found] = tokens_for(laws[found], sizes[:, None], target)[:, 0]
        training[found] = work.training(sizes) * tokens[found]
        serving[found] = work.serving(sizes) * served
    return Optimum(size, tokens, training, serving)


def compute(
    laws: np.ndarray, size: np.ndarray, target: float, served: float, work: Work
) -> np.ndarray:
    """FLOPs at full use of the peak, [law, size], for sizes [law, size]."""
    with np.errstate(invalid="ignore", over="ignore"):
        training = work.training(size) * tokens_for(laws, size, target) / work.mfu
        total = training + work.serving(size) * served / work.serving_mfu
    return np.where(np.isnan(total), np.inf, total)


def _search(
    laws: np.ndarray, smallest: np.ndarray, target: float, served: float, work: Work
) -> np.ndarray:
    """A grid in the logarithm of N / smallest - 1, then finer ones around its best place."""
    low = np.full(len(laws), np.log(_SEARCHED[0]))
    high = np.full(len(laws), np.log(_SEARCHED[1]))
    share = np.linspace(0.0, 1.0, _GRID)
    place = low
    for _ in range(_ZOOMS):
        grid = low[:, None] + (high - low)[:, None] * share
        sizes = smallest[:, None] * (1 + np.exp(grid))
        index = np.argmin(compute(laws, sizes, target, served, work), axis=1)
        rows = np.arange(len(laws))
        place = grid[rows, index]
        low = grid[rows, np.maximum(index - 1, 0)]
        high = grid[rows, np.minimum(index + 1, _GRID - 1)]
    return smallest * (1 + np.exp(place))
