"""Words of texts as 64-bit hashes: what ``\\w+`` finds in the lower-cased text, in order.

The work is done on the UTF-8 bytes of many texts at once: one table says which bytes are of words,
eight bytes at a time are loaded and mixed. All is integer arithmetic on arrays, so the hashes are
the same on every machine and in every process.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from operator import ne

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
WORD, CAPITAL = 1, 2


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
        for piece in _pieces(text):
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
    joined = _joined(encoded)
    first_P = np.cumsum([1] + [len(piece) + 1 for piece in encoded])
    is_word_C = _is_word(joined)
    if not joined.isascii():
        lead_L, code_L = _characters(np.frombuffer(joined, dtype=np.uint8))
        capital = lead_L[_traits()[code_L] & CAPITAL != 0]
        if len(capital):
            # The bytes were lowered as ASCII only, which most texts need and which is fast.
            for place in np.unique(np.searchsorted(first_P, capital, side="right") - 1):
                encoded[place] = pieces[place][1].lower().encode("utf-8", "surrogatepass")
            joined = _joined(encoded)
            first_P = np.cumsum([1] + [len(piece) + 1 for piece in encoded])
            is_word_C = _is_word(joined)
            lead_L, code_L = _characters(np.frombuffer(joined, dtype=np.uint8))
        no_word = lead_L[_traits()[code_L] & WORD == 0]
        is_word_C[no_word] = False
        _spread(joined, no_word, is_word_C)
    bounds = np.flatnonzero(is_word_C[1:] != is_word_C[:-1]) + 1
    start_W, end_W = bounds[::2], bounds[1::2]
    word_W = _hash_words(joined, start_W, end_W - start_W, seed)
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


def _joined(encoded: Sequence[bytes]) -> bytes:
    """Pieces in lower case (ASCII's letters), with a break before, between and after.

    Words then alternate with what is between them.
    """
    return (b"\n" + b"\n".join(encoded) + b"\n").lower()


def _is_word(joined: bytes) -> NDArray[np.bool_]:
    """Which bytes are of words, all of characters beyond ASCII taken to be."""
    return np.frombuffer(bytearray(joined.translate(_IS_WORD)), dtype=np.bool_)


def _characters(byte_C: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where the characters beyond ASCII begin, and their code points."""
    lead_L = np.flatnonzero(byte_C >= 0xC0)
    length_L = _length(byte_C[lead_L])
    code_L = byte_C[lead_L].astype(np.int64) & (0x7F >> length_L)
    for place in (1, 2, 3):
        inside = length_L > place
        more = byte_C[lead_L[inside] + place].astype(np.int64) & 0x3F
        code_L[inside] = code_L[inside] << 6 | more
    return lead_L, code_L


def _length(lead: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Bytes of a character beyond ASCII, by its first."""
    return 2 + (lead >= 0xE0).astype(np.int64) + (lead >= 0xF0)


def _spread(joined: bytes, lead_L: NDArray[np.int64], is_word_C: NDArray[np.bool_]) -> None:
    """Characters that begin in these places are no word's: mark their other bytes, in place."""
    length_L = _length(np.frombuffer(joined, dtype=np.uint8)[lead_L])
    for place in (1, 2, 3):
        is_word_C[lead_L[length_L > place] + place] = False


@lru_cache(maxsize=1)
def _traits() -> NDArray[np.uint8]:
    """Of every code point: whether it is of words, and whether lowering changes it."""
    characters = list(map(chr, range(0x110000)))
    word = np.frombuffer(bytes(map(str.isalnum, characters)), dtype=np.uint8).copy()
    word[ord("_")] = 1
    capital = np.frombuffer(bytes(map(ne, characters, map(str.lower, characters))), dtype=np.uint8)
    return word * np.uint8(WORD) | capital * np.uint8(CAPITAL)
