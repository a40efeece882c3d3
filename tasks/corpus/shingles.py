"""Word shingles of texts as 64-bit hashes, and the MinHash signatures made of them.

A word is what ``\\w+`` finds in the lower-cased text. All is integer arithmetic on arrays, so the
hashes are the same on every machine and in every process.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

SHINGLE = 5
BINS = 256
EMPTY = np.uint64(0xFFFFFFFFFFFFFFFF)
# Characters hashed at once: bounds the memory of a text of any length, about 50 bytes a character.
PIECE = 1 << 18
_ODD = 0x9E3779B97F4A7C15
_SHIFT = np.uint64(64 - BINS.bit_length() + 1)


def shingle_hashes(text: str, seed: int) -> NDArray[np.uint64]:
    """Sorted distinct hashes of the 5-word shingles of ``text``; of its words when it has fewer."""
    shingle_S, _ = _shingles([text], seed)
    return np.unique(shingle_S)


def signature(hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """One-permutation MinHash: the least hash in each of 256 bins of the hash range, else EMPTY."""
    signature_B = np.full(BINS, EMPTY)
    np.minimum.at(signature_B, (hashes >> _SHIFT).astype(np.int64), hashes)
    return signature_B


def signatures(texts: Sequence[str], seed: int) -> NDArray[np.uint64]:
    """(texts, 256): :func:`signature` of every text, a whole batch in one pass."""
    shingle_S, text_S = _shingles(texts, seed)
    flat = np.full(len(texts) * BINS, EMPTY)
    np.minimum.at(flat, text_S * BINS + (shingle_S >> _SHIFT).astype(np.int64), shingle_S)
    return flat.reshape(len(texts), BINS)


def filled(signature_DB: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Signatures whose empty bins repeat others, so that short texts can be compared too.

    An empty bin takes the value of the first bin that is not empty in a sequence of its own, the
    same for every text (optimal densification, Shrivastava 2017): equal bins of two texts then
    estimate their Jaccard similarity whatever their length. A text without words stays EMPTY.
    """
    result = signature_DB.copy()
    row, column = np.nonzero((result == EMPTY) & (result != EMPTY).any(axis=1)[:, None])
    attempt = 0
    while len(row):
        attempt += 1
        draw = mixed(column.astype(np.uint64) * np.uint64(_ODD) + np.uint64(attempt))
        value = signature_DB[row, (draw >> _SHIFT).astype(np.int64)]
        result[row, column] = value
        row, column = row[value == EMPTY], column[value == EMPTY]
    return result


def mixed(value: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """A bijection of 64-bit values after which every bit depends on all (splitmix64's end)."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


def _shingles(texts: Sequence[str], seed: int) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Shingle hashes of all texts, in order, and the index of the text each is from."""
    parts = list(_words(texts))
    if not parts:
        return np.empty(0, dtype=np.uint64), np.empty(0, dtype=np.int64)
    # Mixed before they are combined: both sums are linear, and letters must not change places
    # between neighbouring words.
    word_W = mixed(np.concatenate([word for word, _ in parts]) + np.uint64(seed))
    text_W = np.concatenate([text for _, text in parts])
    count = max(0, len(word_W) - SHINGLE + 1)
    shingle_S = np.zeros(count, dtype=np.uint64)
    for offset in range(SHINGLE):
        # Odd multiplier: position in the shingle matters. uint64 wraps around.
        shingle_S = shingle_S * np.uint64(_ODD) + word_W[offset : offset + count]
    inside = text_W[:count] == text_W[SHINGLE - 1 :]
    few = np.bincount(text_W, minlength=len(texts))[text_W] < SHINGLE
    return (
        mixed(np.concatenate([shingle_S[inside], word_W[few]])),
        np.concatenate([text_W[:count][inside], text_W[few]]),
    )


def _words(texts: Sequence[str]) -> Iterator[tuple[NDArray[np.uint64], NDArray[np.int64]]]:
    """Hashes of the words of all texts, piece by piece, with the index of each one's text."""
    waiting: list[tuple[int, str]] = []
    size = 0
    for index, text in enumerate(texts):
        for piece in _pieces(text.lower()):
            if size + len(piece) > PIECE and waiting:
                yield _hashed(waiting)
                waiting, size = [], 0
            waiting.append((index, piece))
            size += len(piece) + 1
    if waiting:
        yield _hashed(waiting)


def _pieces(text: str) -> Iterator[str]:
    """``text`` in pieces that end between words, wherever there is white space to cut at."""
    start = 0
    while len(text) - start > PIECE:
        end = max(text.rfind(" ", start, start + PIECE), text.rfind("\n", start, start + PIECE))
        end = end if end > start else start + PIECE
        yield text[start:end]
        start = end
    yield text[start:]


def _hashed(pieces: Sequence[tuple[int, str]]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Polynomial hashes of the words of some pieces of text, by differences of one running sum."""
    is_word, power, inverse = _tables()
    joined = "\n".join(piece for _, piece in pieces)
    letter_C = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), dtype="<u4")
    edge = np.zeros(len(letter_C) + 2, dtype=np.int8)
    edge[1:-1] = is_word[letter_C]
    bounds = np.flatnonzero(np.diff(edge))
    start_W, end_W = bounds[::2], bounds[1::2]
    sum_C = np.zeros(len(letter_C) + 1, dtype=np.uint64)
    np.cumsum(letter_C * power[: len(letter_C)], out=sum_C[1:])
    word_W = (sum_C[end_W] - sum_C[start_W]) * inverse[start_W]
    piece_end = np.cumsum([len(piece) + 1 for _, piece in pieces])
    which_W = np.searchsorted(piece_end, start_W, side="right")
    return word_W, np.array([index for index, _ in pieces], dtype=np.int64)[which_W]


@lru_cache(maxsize=1)
def _tables() -> tuple[NDArray[np.bool_], NDArray[np.uint64], NDArray[np.uint64]]:
    """Which code points are of words, powers of the multiplier, and powers of its inverse."""
    letters = (chr(code).isalnum() or code == ord("_") for code in range(0x110000))
    inverse = pow(_ODD, -1, 2**64)
    power, back = (np.full(PIECE + 1, base, dtype=np.uint64) for base in (_ODD, inverse))
    power[0] = back[0] = 1
    return (
        np.fromiter(letters, dtype=np.bool_, count=0x110000),
        np.multiply.accumulate(power),
        np.multiply.accumulate(back),
    )
