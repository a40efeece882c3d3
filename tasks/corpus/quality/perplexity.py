"""Perplexity of a document under a language's n-gram model, and the bucket it falls into."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.corpus.quality.kenlm import MODULE, installed_module
from tasks.corpus.quality.parameters import Bucket

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FOLDER = "perplexity"
PIECES = "sentencepiece.model"
NGRAMS = "ngram.binary"
# Pieces scored in one call. A longer document goes on without the words before, which costs the
# first few pieces of a part their context and bounds its memory.
PART = 100_000


@dataclass(frozen=True)
class Cutoffs:
    """Perplexities that part head from middle and middle from tail, and on how many pages."""

    head: float
    middle: float
    pages: int

    def bucket(self, perplexity: float) -> Bucket:
        """head < ``head`` <= middle < ``middle`` <= tail."""
        if perplexity < self.head:
            return "head"
        return "middle" if perplexity < self.middle else "tail"


def cutoffs_of(perplexity_N: NDArray[np.float64], head: float, middle: float) -> Cutoffs:
    """Cut-offs at two percentiles in 0..100 of the perplexities of N pages, N > 0."""
    import numpy as np

    low, high = np.percentile(perplexity_N, [head, middle])
    return Cutoffs(round(float(low), 3), round(float(high), 3), len(perplexity_N))


class LanguageModel:
    """SentencePiece and KenLM of one language, from their two files in ``folder``.

    Raises:
        ValueError: the Python module kenlm is not installed; says how to install it.
    """

    def __init__(self, folder: Path) -> None:
        if installed_module() is None:
            raise ValueError(f"{folder} holds an n-gram model, and {MODULE}.")
        import kenlm
        import sentencepiece

        self._pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / PIECES))
        self._ngrams = kenlm.Model(str(folder / NGRAMS))

    def perplexity(self, segments: Iterable[str]) -> float:
        """10^(-log10 P / length) over all pieces of a document and its end, rounded to 1e-3.

        Args:
            segments: the document as `normalised_segments` gives it.
        """
        score, length = 0.0, 1  # the end of the document counts as a piece
        for part, first, last in _parts(self.pieces(segments)):
            score += self._ngrams.score(" ".join(part), bos=first, eos=last)
            length += len(part)
        return round(float(10.0 ** (-score / length)), 3)

    def pieces(self, segments: Iterable[str]) -> Iterator[list[str]]:
        """Pieces of each segment."""
        for segment in segments:
            yield self._pieces.encode(segment, out_type=str)


def _parts(lists: Iterable[list[str]]) -> Iterator[tuple[Sequence[str], bool, bool]]:
    """Parts of PART pieces or more, each with whether it is the first and the last."""
    held: list[str] = []
    first = True
    for pieces in lists:
        if len(held) >= PART:
            yield held, first, False
            held, first = [], False
        held.extend(pieces)
    yield held, first, True
