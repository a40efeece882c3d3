"""The validation split: a pure function of the hash of each near-duplicate cluster."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.uint64]


def split_key(content: bytes, seed: int) -> int:
    """64-bit key of a document, from the digest of its text."""
    digest = hashlib.sha256(seed.to_bytes(8, "little") + b"text:" + content).digest()
    return int.from_bytes(digest[:8], "big")


def cluster_keys(key_N: Keys, digest_N: Keys, label_N: NDArray[np.int64]) -> Keys:
    """Every document's key replaced by that of its cluster: of the member of least digest.

    The digest chooses the member and not the key itself: the least of several keys would favour
    large clusters.

    Args:
        key_N: see :func:`split_key`. digest_N: leading 8 bytes of the texts' digests.
        label_N: which documents are one cluster.
    """
    order = np.lexsort((key_N, digest_N, label_N))
    first = np.ones(len(order), dtype=np.bool_)
    first[1:] = label_N[order][1:] != label_N[order][:-1]
    result = np.empty_like(key_N)
    result[order] = key_N[order][first][np.cumsum(first) - 1]
    return result


def choose_validation(
    keys: Mapping[str, Keys], fraction: float, minimum: int
) -> dict[str, NDArray[np.bool_]]:
    """Which documents of each source are held out; equal keys stay together, in all sources.

    Those whose key falls under ``fraction`` of its range; then, in a source where these are fewer
    than ``minimum``, the smallest keys up to it. What would hold out more than half of a source
    stays in training.

    Args:
        keys: by source, the key of every document's cluster (see :func:`cluster_keys`).
    """
    chooser = _Chooser(keys)
    limit = np.uint64(int(fraction * 2**64))
    under = np.unique(np.concatenate([key_N[key_N < limit] for key_N in keys.values()]))
    if not chooser.take_all(under):
        for key in under:
            chooser.take(key)
    for name in keys:
        wanted = min(minimum, len(keys[name]) // 2)
        candidates = chooser.from_key(name, limit)
        while chooser.held[name] < wanted and (key := next(candidates, None)) is not None:
            chooser.take(key)
    chosen = np.array(sorted(chooser.chosen), dtype=np.uint64)
    return {name: np.isin(key_N, chosen) for name, key_N in keys.items()}


class _Chooser:
    """Keys held out so far, and how many documents of each source they are."""

    def __init__(self, keys: Mapping[str, Keys]) -> None:
        self._sorted = {name: np.sort(key_N) for name, key_N in keys.items()}
        self.held = dict.fromkeys(keys, 0)
        self.chosen: set[int] = set()

    def take(self, key: np.uint64) -> None:
        """Hold a key out, unless it is or more than half of a source would be."""
        if int(key) not in self.chosen:
            self.take_all(np.array([key]))

    def take_all(self, keys: Keys) -> bool:
        """Hold distinct new keys out, all or, when it is too much for a source, none."""
        counts = {
            name: int(
                (np.searchsorted(own, keys, "right") - np.searchsorted(own, keys, "left")).sum()
            )
            for name, own in self._sorted.items()
        }
        fits = all(
            self.held[name] + count <= len(self._sorted[name]) // 2
            for name, count in counts.items()
            if count
        )
        if fits:
            self.chosen.update(keys.tolist())
            for name, count in counts.items():
                self.held[name] += count
        return fits

    def from_key(self, name: str, start: np.uint64) -> Iterator[np.uint64]:
        """Distinct keys of a source from ``start`` on, ascending."""
        own = self._sorted[name]
        at = int(np.searchsorted(own, start))
        while at < len(own):
            yield own[at]
            at = int(np.searchsorted(own, own[at], "right"))
