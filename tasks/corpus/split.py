"""The validation split: a pure function of the hash of each near-duplicate cluster.

What grows with the number of documents lies in files that are mapped; memory holds a slice of the
documents, or a partition of the keys, at a time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.corpus.partitions import Rows, mapped, partition_bits, partitioned, settle, slices

Keys = NDArray[np.uint64]
# Documents in order: the row of the first of them, their digests' leading 8 bytes, their keys.
Signed = tuple[int, Keys, Keys]
# Number of a source, and cluster keys of some of its documents.
OfSource = tuple[int, Keys]
# Counting a key, measured: 9 bytes as it lies in its file, 59 to sort it, 59 for what was counted.
KEY_BYTES = 150
_OF_SOURCE = np.dtype([("key", "<u8"), ("source", "u1")])
_COUNTED = np.dtype([("key", "<u8"), ("source", "u1"), ("documents", "<u8")])
_CHUNK = 1 << 14


def split_key(content: bytes, seed: int) -> int:
    """64-bit key of a document, from the digest of its text."""
    digest = hashlib.sha256(seed.to_bytes(8, "little") + b"text:" + content).digest()
    return int.from_bytes(digest[:8], "big")


def cluster_keys(scan: Iterable[Signed], label_N: NDArray[np.int64], folder: Path) -> Keys:
    """Key of every cluster, at the row that names it: that of its member of least digest.

    The digest chooses the member and not the key itself: the least of several keys would favour
    large clusters.

    Args:
        scan: all documents in order; see :func:`split_key` for the keys.
        label_N: which documents are one cluster: the row of its first one.
        folder: for the result, which is mapped, and a file beside it: 16 bytes a document.
    """
    least_N = mapped(folder / "least-digests", np.uint64, len(label_N))
    key_N = mapped(folder / "cluster-keys", np.uint64, len(label_N))
    for first, digest_R, own_R in scan:
        label_R = np.asarray(label_N[first : first + len(own_R)])
        is_first_R = label_R == np.arange(first, first + len(own_R))
        least_N[label_R[is_first_R]] = digest_R[is_first_R]
        key_N[label_R[is_first_R]] = own_R[is_first_R]
        later = np.flatnonzero(~is_first_R)
        order = later[np.lexsort((own_R[later], digest_R[later], label_R[later]))]
        label_K, at_K = np.unique(label_R[order], return_index=True)
        digest_K, own_K = digest_R[order[at_K]], own_R[order[at_K]]
        before_K = least_N[label_K]
        less_K = digest_K < before_K
        less_K |= (digest_K == before_K) & (own_K < key_N[label_K])
        least_N[label_K[less_K]] = digest_K[less_K]
        key_N[label_K[less_K]] = own_K[less_K]
    settle(least_N, key_N)
    return key_N


@dataclass(frozen=True)
class Validation:
    """The cluster keys that are held out: those under ``below``, and those of sorted ``lists``.

    wanted: by source, the documents that it should give at least.
    """

    below: np.uint64
    lists: Sequence[Keys]
    wanted: Sequence[int]

    def holds(self, key_N: Keys) -> NDArray[np.bool_]:
        """Which keys are held out."""
        held_N: NDArray[np.bool_] = key_N < self.below
        for chosen in self.lists:
            held_N |= _among(chosen, key_N)
        return held_N


def choose_validation(
    scan: Callable[[], Iterable[OfSource]],
    sources: int,
    fraction: float,
    minimum: int,
    folder: Path,
    memory_mb: int,
) -> Validation:
    """Which clusters are held out; equal keys stay together, in all sources.

    Those whose key falls under ``fraction`` of its range; then, in a source where these are fewer
    documents than ``minimum``, the smallest keys up to it. What would hold out more than half of a
    source stays in training.

    Args:
        scan: begins a pass over the documents: keys of their clusters (see :func:`cluster_keys`).
        sources: how many there are. folder: for temporary files, 9 bytes a document, and the lists
            of keys, which the result maps. memory_mb: what is held of a partition, at most.
    """
    limit = np.uint64(int(fraction * 2**64))
    documents, under = [0] * sources, [0] * sources
    for source, key_R in scan():
        documents[source] += len(key_R)
        under[source] += int((key_R < limit).sum())
    half = [rows // 2 for rows in documents]
    counted = partial(_counted_keys, scan, sources, sum(documents), folder, memory_mb)
    chooser = _Chooser(half, folder)
    below = limit
    if all(count <= most for count, most in zip(under, half, strict=True)):
        chooser.held = under
    else:
        below = np.uint64(0)
        chooser.choose(counted(np.uint64(0), limit))
    wanted = [min(minimum, most) for most in half]
    for source, enough in enumerate(wanted):
        if chooser.held[source] < enough:
            with closing(counted(limit, None)) as keys:
                chooser.choose(keys, source, enough)
    return Validation(below, chooser.lists, wanted)


class _Chooser:
    """Keys held out so far, and how many documents of each source they are."""

    def __init__(self, half: Sequence[int], folder: Path) -> None:
        self.held = [0] * len(half)
        self.lists: list[Keys] = []
        self._half = half
        self._folder = folder

    def choose(
        self,
        counted: Iterable[tuple[Keys, NDArray[np.int64]]],
        source: int | None = None,
        enough: int = 0,
    ) -> None:
        """Hold keys out, in order, that are not yet, and not more than half of a source with them.

        Args:
            counted: ascending keys with the documents of each source.
            source: take only keys of this one, until ``enough`` of its documents are held out.
        """
        path = self._folder / f"held-keys-{len(self.lists)}"
        with path.open("wb") as file:
            for key_K, count_KS in counted:
                new_K = np.ones(len(key_K), dtype=np.bool_)
                for chosen in self.lists:
                    new_K &= ~_among(chosen, key_K)
                if source is not None:
                    new_K &= count_KS[:, source] > 0
                taken = []
                for at, counts in zip(
                    np.flatnonzero(new_K).tolist(), count_KS[new_K].tolist(), strict=True
                ):
                    if source is not None and self.held[source] >= enough:
                        break
                    if self._take(counts):
                        taken.append(at)
                file.write(key_K[taken].astype("<u8", copy=False).tobytes())
                if source is not None and self.held[source] >= enough:
                    break
        if path.stat().st_size:
            self.lists.append(np.memmap(path, dtype="<u8", mode="r"))

    def _take(self, counts: Sequence[int]) -> bool:
        """Count a key's documents as held out, unless it is too much for a source."""
        after = [held + count for held, count in zip(self.held, counts, strict=True)]
        fits = all(
            total <= most
            for total, most, count in zip(after, self._half, counts, strict=True)
            if count
        )
        if fits:
            self.held = after
        return fits


def _among(chosen: Keys, key_N: Keys) -> NDArray[np.bool_]:
    """Which keys are in a sorted list that is not empty."""
    order = np.argsort(key_N)  # looked up in order: what is mapped is gone through once
    place_N = np.minimum(np.searchsorted(chosen, key_N[order]), len(chosen) - 1)
    found_N = np.empty(len(key_N), dtype=np.bool_)
    found_N[order] = chosen[place_N] == key_N[order]
    return found_N


def _counted_keys(
    scan: Callable[[], Iterable[OfSource]],
    sources: int,
    documents: int,
    folder: Path,
    memory_mb: int,
    start: np.uint64,
    stop: np.uint64 | None,
) -> Generator[tuple[Keys, NDArray[np.int64]]]:
    """Distinct keys from ``start`` up to ``stop``, ascending, a chunk at a time, and (keys,
    sources): how many documents of each source have it."""
    limit = max(1, memory_mb * 1_000_000 // KEY_BYTES)

    def pass_over() -> Iterator[Rows]:
        for source, key_R in scan():
            inside = key_R[(key_R >= start) if stop is None else (key_R >= start) & (key_R < stop)]
            rows = np.empty(len(inside), dtype=_OF_SOURCE)
            rows["key"], rows["source"] = inside, source
            yield rows

    bits = partition_bits(documents, limit)
    for path in partitioned(pass_over, bits, _OF_SOURCE, folder):
        found = np.empty(0, dtype=_COUNTED)
        for part in slices(path, _OF_SOURCE, limit):
            found = _counted(found, part)
        yield from _by_key(found, sources)


def _counted(found: Rows, part: Rows) -> Rows:
    """Documents by key and source, in order: those counted, and one more for each of ``part``."""
    together = np.empty(len(found) + len(part), dtype=_COUNTED)
    together[: len(found)] = found
    for name in ("key", "source"):
        together[name][len(found) :] = part[name]
    together["documents"][len(found) :] = 1
    together = together[np.lexsort((together["source"], together["key"]))]
    new = np.ones(len(together), dtype=np.bool_)
    new[1:] = together["key"][1:] != together["key"][:-1]
    new[1:] |= together["source"][1:] != together["source"][:-1]
    starts = np.flatnonzero(new)
    result = together[starts]
    if len(starts):
        result["documents"] = np.add.reduceat(together["documents"], starts)
    return result


def _by_key(found: Rows, sources: int) -> Iterator[tuple[Keys, NDArray[np.int64]]]:
    """What was counted, in chunks of keys."""
    if not len(found):
        return
    bounds: NDArray[Any] = np.flatnonzero(
        np.concatenate([[True], found["key"][1:] != found["key"][:-1], [True]])
    )
    for first in range(0, len(bounds) - 1, _CHUNK):
        start_K = bounds[first : first + _CHUNK + 1]
        rows = found[start_K[0] : start_K[-1]]
        count_KS = np.zeros((len(start_K) - 1, sources), dtype=np.int64)
        key_R = np.repeat(np.arange(len(start_K) - 1), np.diff(start_K))
        count_KS[key_R, rows["source"]] = rows["documents"]
        yield found["key"][start_K[:-1]], count_KS
