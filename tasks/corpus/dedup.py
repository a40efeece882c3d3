"""Exact deduplication by the hash of the normalised text, in bounded memory across sources."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_SPACE = re.compile(r"\s+")
DIGEST_BYTES = 16
# Rows of all sources decided together: 24 bytes each, so about 200 MB.
PARTITION_ROWS = 8_000_000


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


def write_digests(path: Path, digests: Iterable[bytes]) -> int:
    """Write 16-byte digests one after the other; returns how many."""
    rows = 0
    with path.open("wb") as handle:
        for digest in digests:
            handle.write(digest)
            rows += 1
    return rows


def leading_digests(path: Path) -> NDArray[np.uint64]:
    """The first 8 bytes of every digest of a file (see :func:`write_digests`), as numbers."""
    return np.fromfile(path, dtype=">u8").reshape(-1, 2)[:, 0].astype(np.uint64)


def first_occurrences(
    files: Mapping[str, Path], partition_rows: int = PARTITION_ROWS
) -> dict[str, NDArray[np.bool_]]:
    """Which rows of each source to keep: the first occurrence of every digest.

    Args:
        files: digest file per source (see :func:`write_digests`), in order of precedence.
        partition_rows: rows decided at once; the digests are split by their leading bits.
    Returns:
        Per source a boolean array over its rows (one byte per document).
    """
    tables = {
        name: np.memmap(path, dtype=">u8", mode="r").reshape(-1, 2)
        if path.stat().st_size
        else np.empty((0, 2), dtype=">u8")
        for name, path in files.items()
    }
    keep = {name: np.zeros(len(table), dtype=np.bool_) for name, table in tables.items()}
    total = sum(len(table) for table in tables.values())
    bits = max(0, int(np.ceil(np.log2(max(1, total) / partition_rows))))
    for partition in range(1 << bits):
        parts, ranks, rows = [], [], []
        for rank, table in enumerate(tables.values()):
            chosen = (
                np.flatnonzero(table[:, 0] >> np.uint64(64 - bits) == partition)
                if bits
                else np.arange(len(table))
            )
            parts.append(np.asarray(table[chosen], dtype=np.uint64))
            ranks.append(np.full(len(chosen), rank, dtype=np.uint8))
            rows.append(chosen)
        digests, rank_R, row_R = np.concatenate(parts), np.concatenate(ranks), np.concatenate(rows)
        order = np.lexsort((row_R, rank_R, digests[:, 1], digests[:, 0]))
        ordered = digests[order]
        first = np.ones(len(order), dtype=np.bool_)
        first[1:] = np.any(ordered[1:] != ordered[:-1], axis=1)
        winners = order[first]
        for rank, name in enumerate(tables):
            keep[name][row_R[winners[rank_R[winners] == rank]]] = True
    return keep
