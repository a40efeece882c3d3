"""Near-duplicate clusters over all sources: MinHash signatures in bands, decided by partitions.

Two documents are near-duplicates when a band of their signatures is equal: surely enough from a
Jaccard similarity of 0.8 of their 5-word shingles on (0.997; 0.85 at 0.7, 0.12 at 0.5), and a
cluster is what such pairs connect. Band keys go to files by their leading bits, each file is
decided alone, so memory holds one partition and 8 bytes per document.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.corpus.shingles import BINS, EMPTY, filled, mixed, signatures

BANDS = 32
# Band keys decided together: 16 bytes each, and as much again to sort them.
PARTITION_KEYS = 32_000_000
# A file each is open while documents are signed; above this many the partitions grow instead.
MAX_PARTITIONS = 256
BATCH_TEXTS = 256
BATCH_CHARACTERS = 1 << 20
_PAIR = np.dtype([("key", "<u8"), ("row", "<u8")])


class Clusters:
    """Finds the clusters of ``rows`` documents, added in order; files lie in ``folder``.

    The result depends on the texts alone, up to the names of the clusters: not on batches or
    partitions. Used as a context manager; its files are removed at the end.
    """

    def __init__(
        self, folder: Path, rows: int, seed: int, partition_keys: int = PARTITION_KEYS
    ) -> None:
        needed = -(-rows * BANDS // partition_keys)
        self._bits = min(max(0, (needed - 1).bit_length()), MAX_PARTITIONS.bit_length() - 1)
        self._paths = [folder / f"bands-{number}" for number in range(1 << self._bits)]
        self._stack = ExitStack()
        self._files: list[Any] = []
        self._seed = seed
        self._rows = 0
        self._texts: list[str] = []
        self._characters = 0
        self._label_N = np.arange(rows)

    def __enter__(self) -> Clusters:
        for path in self._paths:
            self._stack.callback(path.unlink)
            self._files.append(self._stack.enter_context(path.open("wb")))
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.close()

    def add(self, text: str) -> None:
        """The next document."""
        self._texts.append(text)
        self._characters += len(text)
        if len(self._texts) == BATCH_TEXTS or self._characters >= BATCH_CHARACTERS:
            self._sign()

    def labels(self) -> NDArray[np.int64]:
        """Cluster of every document, named by its first one; call once, after the last `add`."""
        self._sign()
        assert self._rows == len(self._label_N)
        for path, file in zip(self._paths, self._files, strict=True):
            file.close()
            pairs = np.fromfile(path, dtype=_PAIR)
            order = np.argsort(pairs["key"], kind="stable")
            key, row = pairs["key"][order], pairs["row"][order].astype(np.int64)
            same = key[1:] == key[:-1]
            _unite(self._label_N, row[:-1][same], row[1:][same])
        return _roots(self._label_N, np.arange(len(self._label_N)))

    def _sign(self) -> None:
        """Append the band keys of the waiting texts to the partitions."""
        if not self._texts:
            return
        key_DB = band_keys(self._texts, self._seed)
        row_D = np.arange(self._rows, self._rows + len(self._texts), dtype=np.uint64)
        self._rows += len(self._texts)
        wordless_D = (key_DB == EMPTY).all(axis=1)
        pairs = np.empty(key_DB[~wordless_D].size, dtype=_PAIR)
        pairs["key"] = key_DB[~wordless_D].ravel()
        pairs["row"] = np.repeat(row_D[~wordless_D], BANDS)
        # Shifting by 64 is undefined: one partition needs no bits.
        part = pairs["key"] >> np.uint64(63) >> np.uint64(1)
        if self._bits:
            part = pairs["key"] >> np.uint64(64 - self._bits)
        order = np.argsort(part, kind="stable")
        cuts = np.searchsorted(part[order], np.arange(1, len(self._files), dtype=np.uint64))
        for file, chunk in zip(self._files, np.split(pairs[order], cuts), strict=True):
            file.write(chunk.tobytes())
        self._texts, self._characters = [], 0


def band_keys(texts: Sequence[str], seed: int) -> NDArray[np.uint64]:
    """(texts, 32): key of every band of every text's signature; EMPTY for texts without words."""
    signature_DB = filled(signatures(texts, seed)).reshape(len(texts), BANDS, BINS // BANDS)
    key_DB = np.broadcast_to(np.arange(BANDS, dtype=np.uint64), (len(texts), BANDS))
    for row in range(BINS // BANDS):
        key_DB = mixed(key_DB + signature_DB[:, :, row])
    wordless_D = (signature_DB == EMPTY).all(axis=(1, 2))
    return np.where(wordless_D[:, None], EMPTY, key_DB)


def _roots(label_N: NDArray[np.int64], row_R: NDArray[np.int64]) -> NDArray[np.int64]:
    """The first document of each row's cluster so far; halves the paths there, in place."""
    while True:
        above_R = label_N[row_R]
        root_R = label_N[above_R]
        if np.array_equal(above_R, root_R):
            return root_R
        label_N[row_R] = root_R


def _unite(
    label_N: NDArray[np.int64], one_P: NDArray[np.int64], other_P: NDArray[np.int64]
) -> None:
    """Join the clusters of every pair, in place: labels point to a row before them, or itself."""
    while len(one_P):
        # Together: what was hooked in a row in the last round is then halved as a whole.
        one_P, other_P = np.split(_roots(label_N, np.concatenate([one_P, other_P])), 2)
        apart = one_P != other_P
        one_P, other_P = one_P[apart], other_P[apart]
        np.minimum.at(label_N, np.maximum(one_P, other_P), np.minimum(one_P, other_P))
