"""Word n-grams of texts as 64-bit hashes, in the order of the text and in pieces.

Words are those of :mod:`tasks.corpus.words`, what ``\\w+`` finds in the lower-cased text; here it
is normalised to NFC before, so that an accent is the same however it is written.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from tasks.corpus.words import ODD, mixed, words

SEED = 0
# A hash is found in a table of bits first: at most one in this many bits is set.
SPARSE = 16
LARGEST_TABLE = 28  # bits of a hash that are looked up: 256 MB


def word_pieces(
    texts: Sequence[str], carry: int
) -> Iterator[tuple[NDArray[np.uint64], NDArray[np.int64]]]:
    """Hashes of the words of ``texts``, and of which text each is, piece by piece.

    A piece begins with the last ``carry`` words of the one before, so that every ``carry + 1``
    words in a row are together in one piece, and only in one.
    """
    word_W = np.empty(0, dtype=np.uint64)
    text_W = np.empty(0, dtype=np.int64)
    for more_word_W, more_text_W in words([_composed(text) for text in texts], SEED):
        kept = max(0, len(word_W) - carry)
        word_W = np.concatenate([word_W[kept:], more_word_W])
        text_W = np.concatenate([text_W[kept:], more_text_W])
        yield word_W, text_W


def ngram_hashes(word_W: NDArray[np.uint64], width: int) -> NDArray[np.uint64]:
    """Hashes of every ``width`` words in a row; the i-th begins with the i-th word."""
    count = max(0, len(word_W) - width + 1)
    hash_H = word_W[:count].copy()
    for offset in range(1, width):
        # Odd multiplier: the place of a word matters. uint64 wraps around.
        hash_H *= ODD
        hash_H += word_W[offset : offset + count]
    return mixed(hash_H)


def hashes_at(
    word_W: NDArray[np.uint64], begin_K: NDArray[np.int64], width: int
) -> NDArray[np.uint64]:
    """The hashes of :func:`ngram_hashes` that begin with some of the words."""
    hash_K = word_W[begin_K]
    for offset in range(1, width):
        hash_K *= ODD
        hash_K += word_W[begin_K + offset]
    return mixed(hash_K)


def within_text(text_W: NDArray[np.int64], width: int) -> NDArray[np.bool_]:
    """Which ``width`` words in a row are of one text."""
    count = max(0, len(text_W) - width + 1)
    return text_W[:count] == text_W[len(text_W) - count :]


class HashTable:
    """Where hashes stand in a sorted array, most of those that do not being told by one look."""

    def __init__(self, sorted_N: NDArray[np.uint64]) -> None:
        bits = min(LARGEST_TABLE, max(10, (SPARSE * len(sorted_N)).bit_length()))
        self._sorted_N = sorted_N
        self._shift = np.uint64(64 - bits)
        self._is_known_B = np.zeros(1 << bits, dtype=np.bool_)
        self._is_known_B[(sorted_N >> self._shift).astype(np.int64)] = True

    def find(self, hash_H: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Which of the hashes are there, and at which place in the sorted array each is."""
        likely_K = np.flatnonzero(self._is_known_B[(hash_H >> self._shift).astype(np.int64)])
        place_K = np.searchsorted(self._sorted_N, hash_H[likely_K])
        place_K = np.minimum(place_K, max(0, len(self._sorted_N) - 1))
        if not len(likely_K):
            return likely_K, place_K
        found_K = self._sorted_N[place_K] == hash_H[likely_K]
        return likely_K[found_K], place_K[found_K]


def _composed(text: str) -> str:
    if text.isascii() or unicodedata.is_normalized("NFC", text):
        return text
    return unicodedata.normalize("NFC", text)
