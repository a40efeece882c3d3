"""The linear classifier of pages used as references: hashed words and pairs of words, log loss.

Stored as weights (.npz, never pickled) and settings (JSON); scoring needs no fitted object.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tasks.context import atomic_write_json
from tasks.corpus.quality.normalise import normalised_segments

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix
    from sklearn.feature_extraction.text import HashingVectorizer

FOLDER = "reference"
WEIGHTS = "weights.npz"
SETTINGS = "settings.json"
BATCH = 256
THRESHOLDS = (0.1, 0.25, 0.5, 0.75)


@dataclass(frozen=True)
class Features:
    """How a text becomes numbers: the start of the normalised text, words and pairs, hashed.

    bits: 2**bits weights. characters: length of the start.
    """

    bits: int
    characters: int

    def start(self, text: str) -> str:
        """What the classifier reads of a document."""
        held: list[str] = []
        left = self.characters
        # Normalising changes a text's length; what is left out of the raw text is never read.
        for segment in normalised_segments(text[: 2 * self.characters]):
            held.append(segment[:left])
            left -= len(held[-1]) + 1
            if left <= 0:
                break
        return " ".join(held)

    def matrix(self, starts: Sequence[str]) -> csr_matrix:
        """Rows of unit length (N, 2**bits), float32; a row of zeros for a text without words."""
        return self.vectorizer().transform(starts)

    def vectorizer(self) -> HashingVectorizer:
        """scikit-learn's, stateless."""
        from sklearn.feature_extraction.text import HashingVectorizer

        return HashingVectorizer(
            n_features=1 << self.bits,
            ngram_range=(1, 2),
            lowercase=False,
            alternate_sign=False,
            norm="l2",
            dtype=np.float32,
        )


class ReferenceClassifier:
    """Weights (2**bits,) and an intercept; `score` is the probability of a reference."""

    def __init__(self, features: Features, weight_F: NDArray[np.float32], intercept: float) -> None:
        self.features = features
        self.weight_F = weight_F
        self.intercept = intercept

    def score(self, starts: Sequence[str]) -> NDArray[np.float64]:
        """Probability in 0..1 of each text, given by `Features.start`; rounded to 1e-6."""
        return self.score_rows(self.features.matrix(starts))

    def score_rows(self, row_NF: csr_matrix) -> NDArray[np.float64]:
        """Probability of each row of `Features.matrix`."""
        logit_N = row_NF.astype(np.float64) @ self.weight_F.astype(np.float64) + self.intercept
        # The bound keeps exp from overflowing; beyond it the probability rounds to 0 or 1.
        probability_N = 1.0 / (1.0 + np.exp(-np.clip(logit_N, -60.0, 60.0)))
        rounded: NDArray[np.float64] = np.round(probability_N, 6)
        return rounded

    def save(self, folder: Path, about: dict[str, Any]) -> None:
        """Write the two files; ``about`` goes to the settings as it is."""
        folder.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(
            folder / WEIGHTS, weight=self.weight_F, intercept=np.float64(self.intercept)
        )
        settings = {"bits": self.features.bits, "characters": self.features.characters}
        atomic_write_json(folder / SETTINGS, {"features": settings, **about})

    @classmethod
    def load(cls, folder: Path) -> ReferenceClassifier:
        """What `save` wrote.

        Raises:
            ValueError: the weights are not the settings' number; names the folder.
        """
        settings = json.loads((folder / SETTINGS).read_text("utf-8"))["features"]
        features = Features(bits=settings["bits"], characters=settings["characters"])
        with np.load(folder / WEIGHTS, allow_pickle=False) as arrays:
            weight_F = arrays["weight"]
            intercept = float(arrays["intercept"])
        if weight_F.shape != (1 << features.bits,):
            raise ValueError(
                f"{folder}: {weight_F.shape} weights, the settings want {1 << features.bits};"
                " train the quality models again"
            )
        return cls(features, weight_F, intercept)


class FeatureFile:
    """Rows of features on disk, so that any order of them can be drawn in little memory.

    Three flat files in ``folder``; rows are appended once and then read by :meth:`rows`.
    """

    def __init__(self, folder: Path, features: Features) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._features = features
        self._paths = [folder / name for name in ("data.f32", "indices.i32")]
        self._pointers: list[int] = [0]

    def write(self, texts: Iterable[tuple[int, str]]) -> NDArray[np.int64]:
        """Append the rows of (number, start); returns the number of each row, in order."""
        numbers: list[int] = []
        held: list[str] = []
        with self._paths[0].open("wb") as data, self._paths[1].open("wb") as indices:

            def flush() -> None:
                row_NF = self._features.matrix(held)
                data.write(row_NF.data.astype(np.float32).tobytes())
                indices.write(row_NF.indices.astype(np.int32).tobytes())
                self._pointers += (row_NF.indptr[1:] + self._pointers[-1]).tolist()
                held.clear()

            for number, start in texts:
                numbers.append(number)
                held.append(start)
                if len(held) == BATCH:
                    flush()
            if held:
                flush()
        return np.array(numbers, dtype=np.int64)

    def rows(self, row_N: NDArray[np.int64]) -> csr_matrix:
        """The rows of these positions, in their order."""
        from scipy.sparse import csr_matrix

        data = _mapped(self._paths[0], np.float32)
        index = _mapped(self._paths[1], np.int32)
        starts = [self._pointers[row] for row in row_N]
        ends = [self._pointers[row + 1] for row in row_N]
        spans = list(zip(starts, ends, strict=True))
        lengths = [end - start for start, end in spans]
        return csr_matrix(
            (
                np.concatenate([data[start:end] for start, end in spans]),
                np.concatenate([index[start:end] for start, end in spans]),
                np.concatenate([[0], np.cumsum(lengths)]),
            ),
            shape=(len(spans), 1 << self._features.bits),
        )


def train(
    file: FeatureFile,
    row_N: NDArray[np.int64],
    cited_N: NDArray[np.bool_],
    features: Features,
    *,
    epochs: int,
    penalty: float,
    seed: int,
) -> ReferenceClassifier:
    """Averaged SGD over the rows ``row_N`` with their labels; each epoch in an order of its own."""
    from sklearn.linear_model import SGDClassifier

    random = np.random.Generator(np.random.PCG64(seed))
    model = SGDClassifier(
        loss="log_loss", alpha=penalty, average=True, shuffle=False, random_state=seed
    )
    for _ in range(epochs):
        order_N = random.permutation(len(row_N))
        for first in range(0, len(order_N), BATCH):
            batch_B = order_N[first : first + BATCH]
            model.partial_fit(
                file.rows(row_N[batch_B]).astype(np.float64),
                cited_N[batch_B].astype(np.int64),
                classes=np.array([0, 1]),
            )
    return ReferenceClassifier(
        features, model.coef_[0].astype(np.float32), float(model.intercept_[0])
    )


def held_out_figures(score_N: NDArray[np.float64], cited_N: NDArray[np.bool_]) -> dict[str, Any]:
    """Accuracy, ROC-AUC and what thresholds would keep, on pages that were not trained on.

    Both classes must be there.
    """
    from sklearn.metrics import roc_auc_score

    return {
        "pages": len(score_N),
        "cited": int(cited_N.sum()),
        "accuracy": round(float(((score_N >= 0.5) == cited_N).mean()), 4),
        "roc_auc": round(float(roc_auc_score(cited_N, score_N)), 4),
        "thresholds": [
            {
                "threshold": threshold,
                "cited_kept": round(float((score_N[cited_N] >= threshold).mean()), 4),
                "others_kept": round(float((score_N[~cited_N] >= threshold).mean()), 4),
            }
            for threshold in THRESHOLDS
        ],
    }


def _mapped(path: Path, kind: type[np.generic]) -> NDArray[Any]:
    """A flat file as an array; an empty file cannot be mapped."""
    return np.memmap(path, kind, "r") if path.stat().st_size else np.empty(0, kind)
