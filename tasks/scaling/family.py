"""FLOPs of a size between and beyond the ladder's: its shapes as one family.

Widths and layers x width of the ladder are each followed by a power of the parameters without
embeddings; FLOPs then have the formulas of ``model.flops``. ``error`` says how far the family is
off at the shapes themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from model.config import ModelConfig
from model.flops import flops_per_token, forward_flops_per_token, parameter_counts
from tasks.scaling.parameters import Count

TRAINING_FORMULA = "6N + 12LdT; N all parameters"
SERVING_FORMULA = "2N + 4LdT; N without the input embedding"
NEWTON_STEPS = 8


def counted(shape: ModelConfig, count: Count) -> int:
    """The law's N of a shape."""
    counts = parameter_counts(shape)
    return counts.total if count == "all" else counts.without_embeddings


@dataclass(frozen=True)
class ShapeFamily:
    """Training and serving FLOPs per token as functions of the law's N (numbers or arrays).

    width, keys: (factor, exponent) of the width d and of layers x heads x head width, over the
        parameters without embeddings.
    error: largest relative difference to ``model.flops`` at the shapes.
    """

    count: Count
    vocabulary: int
    matrices: int
    context: int
    width: tuple[float, float]
    keys: tuple[float, float]
    error: float = 0.0

    def training(self, size: np.ndarray) -> np.ndarray:
        """FLOPs of one trained token, forward and backward."""
        body = self._body(size)
        total = body + self.matrices * self._matrix(body)
        return 6 * total + 12 * self._keys(body) * self.context

    def serving(self, size: np.ndarray) -> np.ndarray:
        """FLOPs of one served token, forward."""
        body = self._body(size)
        return 2 * (body + self._matrix(body)) + 4 * self._keys(body) * self.context

    def parameters(self, size: np.ndarray) -> np.ndarray:
        """All parameters of a size."""
        body = self._body(size)
        return body + self.matrices * self._matrix(body)

    def _body(self, size: np.ndarray) -> np.ndarray:
        """Parameters without the embeddings, from the law's N.

        Newton in logarithms: the sum of two powers is convex and rising there, so it converges.
        """
        if self.count == "without_embeddings":
            return size
        wanted = np.log(size)
        u = wanted
        for _ in range(NEWTON_STEPS):
            body = np.exp(u)
            matrices = self.matrices * self._matrix(body)
            slope = (body + self.width[1] * matrices) / (body + matrices)
            u = u - (np.log(body + matrices) - wanted) / slope
        return np.exp(u)

    def _matrix(self, body: np.ndarray) -> np.ndarray:
        return self.vocabulary * self.width[0] * body ** self.width[1]

    def _keys(self, body: np.ndarray) -> np.ndarray:
        return self.keys[0] * body ** self.keys[1]


def family(shapes: Sequence[ModelConfig], count: Count, context: int) -> ShapeFamily:
    """The family of the ladder's shapes, which share a vocabulary.

    Raises:
        ValueError: shapes of several vocabularies, or some with tied embeddings and some without.
    """
    vocabularies = sorted({(shape.vocab_size, shape.tied_embeddings) for shape in shapes})
    if len(vocabularies) != 1:
        raise ValueError(
            "the shapes of a ladder need one vocabulary, tied or not in all of them; these have"
            f" (size, tied) {vocabularies}"
        )
    vocabulary, tied = vocabularies[0]
    sizes = np.array([counted(shape, count) for shape in shapes], dtype=float)
    bodies = np.array([parameter_counts(shape).without_embeddings for shape in shapes], dtype=float)
    made = ShapeFamily(
        count=count,
        vocabulary=vocabulary,
        matrices=1 if tied else 2,
        context=context,
        width=_power(bodies, np.array([s.dim for s in shapes])),
        keys=_power(bodies, np.array([s.layers * s.heads * s.head_dim for s in shapes])),
    )
    training = np.array([flops_per_token(s, context).value for s in shapes])
    serving = np.array([forward_flops_per_token(s, context).value for s in shapes])
    off = [made.training(sizes) / training - 1, made.serving(sizes) / serving - 1]
    return ShapeFamily(**{**vars(made), "error": float(np.max(np.abs(off)))})


def _power(sizes: np.ndarray, values: np.ndarray) -> tuple[float, float]:
    """(factor, exponent) of the least squares of log values over log sizes."""
    x, y = np.log(sizes), np.log(values)
    exponent = float(np.sum((x - x.mean()) * (y - y.mean())) / np.sum((x - x.mean()) ** 2))
    return float(np.exp(y.mean() - exponent * x.mean())), exponent
