"""Exact deduplication by the hash of the normalised text, in bounded memory over any files."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tasks.corpus.partitions import Rows, mapped, partition_bits, partitioned, settle, slices

_SPACE = re.compile(r"\s+")
DIGEST_BYTES = 16
MEMORY_MB = 2048
# Deciding a digest, measured: 24 bytes as it lies in its file, the rest to sort it.
ROW_BYTES = 120
_KEYED = np.dtype([("key", "<u8"), ("rest", "<u8"), ("row", "<u8")])
_SCAN_ROWS = 1 << 16


def text_digest(text: str) -> bytes:
    """First 16 bytes of SHA-256 of the text in NFC with every run of white space as one space."""
    normalised = _SPACE.sub(" ", unicodedata.normalize("NFC", text)).strip()
    return hashlib.sha256(normalised.encode("utf-8", "surrogatepass")).digest()[:DIGEST_BYTES]


class SeenTexts:
    """Which texts were seen, within one source: about 100 bytes of memory per document."""

    def __init__(self) -> None:
        self._digests: set[bytes] = set()

    def is_new(self, text: str) -> bool:
        """True the first time a text (up to white space) is shown."""
        digest = text_digest(text)
        if digest in self._digests:
            return False
        self._digests.add(digest)
        return True


def leading_digests(path: Path, some: slice) -> NDArray[np.uint64]:
    """The first 8 bytes of some of a file's digests, as numbers."""
    pairs = np.fromfile(
        path, dtype=">u8", count=2 * (some.stop - some.start), offset=DIGEST_BYTES * some.start
    )
    return pairs.reshape(-1, 2)[:, 0].astype(np.uint64)


def first_of_files(
    files: Sequence[Path], folder: Path, memory_mb: int = MEMORY_MB
) -> list[NDArray[np.bool_]]:
    """Which rows of each digest file to keep: the first occurrence of every digest.

    First is in the order of the files, then of their rows. The masks do not depend on the memory.

    Args:
        files: 16-byte digests one after the other (see :func:`text_digest`); of shards in order,
            of sources in order of precedence.
        folder: for temporary files (24 bytes a row) and ``first``, which the masks map: a byte a
            row that the system may put out of memory. Remove it after the result.
        memory_mb: what is held of a partition, at most.
    """
    counts = [path.stat().st_size // DIGEST_BYTES for path in files]
    first_F = np.cumsum([0, *counts])
    rows = int(first_F[-1])
    if not rows:
        return [np.zeros(0, dtype=np.bool_) for _ in files]
    keep_N = mapped(folder / "first", np.bool_, rows)
    limit = max(1, memory_mb * 1_000_000 // ROW_BYTES)

    def scan() -> Iterator[Rows]:
        for first, path in zip(first_F, files, strict=False):
            yield from _keyed(path, int(first))

    for path in partitioned(scan, partition_bits(rows, limit), _KEYED, folder):
        seen = np.empty(0, dtype=_KEYED)
        # Slices come in order of rows: a digest that an earlier one has is not its first.
        for part in slices(path, _KEYED, limit):
            together = np.concatenate([seen, part])
            order = np.lexsort((together["rest"], together["key"]))  # stable: first row first
            sorted_R = together[order]
            new = np.ones(len(order), dtype=np.bool_)
            new[1:] = sorted_R["key"][1:] != sorted_R["key"][:-1]
            new[1:] |= sorted_R["rest"][1:] != sorted_R["rest"][:-1]
            seen = sorted_R[new]
        keep_N[seen["row"].astype(np.int64)] = True
    settle(keep_N)
    return [keep_N[start:stop] for start, stop in pairwise(first_F)]


def _keyed(path: Path, first: int) -> Iterator[Rows]:
    """The digests of a file with their rows, counted from ``first``."""
    dtype = np.dtype([("key", ">u8"), ("rest", ">u8")])
    for part in slices(path, dtype, _SCAN_ROWS):
        rows = np.empty(len(part), dtype=_KEYED)
        rows["key"], rows["rest"] = part["key"], part["rest"]
        rows["row"] = np.arange(first, first + len(part), dtype=np.uint64)
        first += len(part)
        yield rows
