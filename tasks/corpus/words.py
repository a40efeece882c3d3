"""Words of texts as 64-bit hashes: what ``\\w+`` finds in the lower-cased text, in order.

The work is done on the UTF-8 bytes of many texts at once: one table says which bytes are of words,
eight bytes at a time are loaded and mixed. All is integer arithmetic on arrays, so the hashes are
the same on every machine and in every process.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

# Characters hashed at once: arrays of this many bytes stay in a core's cache. Longer texts are cut
# between words; one without white space for as long is cut anywhere.
PIECE = 1 << 16
ODD = np.uint64(0x9E3779B97F4A7C15)
ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
# Bytes that are no word's: all of ASCII but letters, digits and the underscore. Those of other
# characters are looked at one by one.
_IS_WORD = bytes(byte >= 0x80 or chr(byte).isalnum() or byte == ord("_") for byte in range(256))
_PAD = bytes(8)


def mixed(value: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """A bijection of 64-bit values after which every bit depends on all (splitmix64's end)."""
    value = value ^ (value >> np.uint64(30))
    value *= np.uint64(0xBF58476D1CE4E5B9)
    value ^= value >> np.uint64(27)
    value *= np.uint64(0x94D049BB133111EB)
    value ^= value >> np.uint64(31)
    return value


def words(
    texts: Sequence[str], seed: int
) -> Iterator[tuple[NDArray[np.uint64], NDArray[np.int64]]]:
    """Hashes of the words of all texts, piece by piece, with the index of each one's text."""
    waiting: list[tuple[int, str]] = []
    size = 0
    for index, text in enumerate(texts):
        for piece in _pieces(text.lower()):
            if size + len(piece) > PIECE and waiting:
                yield _hashed(waiting, seed)
                waiting, size = [], 0
            waiting.append((index, piece))
            size += len(piece) + 1
    if waiting:
        yield _hashed(waiting, seed)


def _pieces(text: str) -> Iterator[str]:
    """``text`` in pieces that end between words, wherever there is white space to cut at."""
    start = 0
    while len(text) - start > PIECE:
        end = max(text.rfind(" ", start, start + PIECE), text.rfind("\n", start, start + PIECE))
        end = end if end > start else start + PIECE
        yield text[start:end]
        start = end
    yield text[start:]


def _hashed(
    pieces: Sequence[tuple[int, str]], seed: int
) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Hashes of the words of some pieces of text, and of which text each is."""
    encoded = [piece.encode("utf-8", "surrogatepass") for _, piece in pieces]
    # A break before, between and after: words alternate with what is between them.
    joined = b"\n" + b"\n".join(encoded) + b"\n"
    is_word_C = np.frombuffer(bytearray(joined.translate(_IS_WORD)), dtype=np.bool_)
    if not joined.isascii():
        _judge_others(np.frombuffer(joined, dtype=np.uint8), is_word_C)
    bounds = np.flatnonzero(is_word_C[1:] != is_word_C[:-1]) + 1
    start_W, end_W = bounds[::2], bounds[1::2]
    word_W = _hash_words(joined, start_W, end_W - start_W, seed)
    first_P = np.cumsum([1] + [len(piece) + 1 for piece in encoded])
    count_P = np.diff(np.searchsorted(start_W, first_P))
    index_P = np.array([index for index, _ in pieces], dtype=np.int64)
    return word_W, np.repeat(index_P, count_P)


def _hash_words(
    joined: bytes, start_W: NDArray[np.int64], length_W: NDArray[np.int64], seed: int
) -> NDArray[np.uint64]:
    """Sum of the mixed blocks of eight bytes of every word; distinct up to eight bytes for sure."""
    # Every byte begins a number here: eight bytes from anywhere are one load.
    load_C = np.ndarray((len(joined),), dtype="<u8", buffer=joined + _PAD, strides=(1,))
    unused_W = np.uint64(8) * np.maximum(8 - length_W, 0).astype(np.uint64)
    word_W = load_C[start_W].astype(np.uint64, copy=False) & (ALL >> unused_W)
    word_W = mixed(word_W + np.uint64(seed))
    long = np.flatnonzero(length_W > 8)
    if len(long):
        length_L = length_W[long] - 8
        blocks_L = (length_L + 7) >> 3
        first_L = np.cumsum(blocks_L) - blocks_L
        number_K = np.arange(int(blocks_L.sum())) - np.repeat(first_L, blocks_L)
        left_K = np.repeat(length_L, blocks_L) - 8 * number_K
        load_K = load_C[np.repeat(start_W[long] + 8, blocks_L) + 8 * number_K]
        unused_K = np.uint64(8) * np.maximum(8 - left_K, 0).astype(np.uint64)
        block_K = load_K.astype(np.uint64, copy=False) & (ALL >> unused_K)
        # The place of a block matters, and a block is never what the first one would be.
        block_K = mixed(block_K + ODD * (number_K.astype(np.uint64) + np.uint64(1)))
        word_W[long] = mixed(word_W[long] + np.add.reduceat(block_K, first_L))
    return word_W


def _judge_others(byte_C: NDArray[np.uint8], is_word_C: NDArray[np.bool_]) -> None:
    """Mark the bytes of characters beyond ASCII that are no word's, in place."""
    lead = np.flatnonzero(byte_C >= 0xC0)
    length_L = 2 + (byte_C[lead] >= 0xE0).astype(np.int64) + (byte_C[lead] >= 0xF0)
    code_L = byte_C[lead].astype(np.int64) & (0x7F >> length_L)
    for place in (1, 2, 3):
        inside = length_L > place
        more = byte_C[lead[inside] + place].astype(np.int64) & 0x3F
        code_L[inside] = code_L[inside] << 6 | more
    no_word = ~_word_characters()[code_L]
    lead, length_L = lead[no_word], length_L[no_word]
    for place in range(4):
        is_word_C[lead[length_L > place] + place] = False


@lru_cache(maxsize=1)
def _word_characters() -> NDArray[np.bool_]:
    """Which code points are of words."""
    letters = (chr(code).isalnum() or code == ord("_") for code in range(0x110000))
    return np.fromiter(letters, dtype=np.bool_, count=0x110000)
