"""Which of equal 64-bit keys came first, over all shards, in bounded memory.

Each shard's survey lists its keys in order (``keys.u64``, little endian) and how many there are of
each file (``keys.json``). `decide` partitions them by their leading bits and writes for each shard
which of its keys are first occurrences (``<shard>.npy``, a flag for each key). Key 0 is none: its
flag is never set.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from tasks.context import atomic_write_json
from tasks.corpus.partitions import mapped, partition_bits, partitioned, settle, slices

KEYS = "keys.u64"
COUNTS = "keys.json"
# Keys of a partition; `keys_within` says how many a bound on memory allows.
PARTITION_KEYS = 1 << 24
# Memory of a key of a partition while it is decided, measured, two slices of it at a time.
KEY_BYTES = 100
_SLICE = 1 << 17
_ROW = np.dtype([("key", "<u8"), ("place", "<u8")])
Keys = NDArray[np.uint64]


class KeyFile:
    """Writes the keys of a shard's survey; a context manager."""

    def __init__(self, out: Path, files: Sequence[str]) -> None:
        self._out = out
        self._counts = dict.fromkeys(files, 0)
        self._handle = (out / KEYS).open("wb")

    def write(self, file: str, keys: Keys) -> None:
        """Add the next keys of ``file``; files come in their order."""
        self._counts[file] += len(keys)
        self._handle.write(keys.astype("<u8", copy=False).tobytes())

    def __enter__(self) -> KeyFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._handle.close()
        if kind is None:
            atomic_write_json(self._out / COUNTS, list(self._counts.values()))


@dataclass(frozen=True)
class _Segment:
    """Consecutive keys of one shard that belong to one group.

    start: within the shard. base: of the same key, within all shards.
    """

    survey: Path
    start: int
    base: int
    count: int


def keys_within(memory_mb: int) -> int:
    """Keys of a partition that is decided in ``memory_mb`` MB."""
    return max(1, memory_mb * 1_000_000 // KEY_BYTES)


def decide(
    surveys: Sequence[Path],
    out: Path,
    group_files: int | None = None,
    partition_keys: int = PARTITION_KEYS,
) -> None:
    """Write the flags of every shard into ``out``.

    Args:
        surveys: folders of all shards in order.
        group_files: equal keys are looked for within groups of this many consecutive files, over
            the bounds of shards; None: over all files.
        partition_keys: bounds the memory.

    Raises:
        OSError: no room for the flags, a byte for each key, twice.
    """
    groups: dict[int, list[_Segment]] = {}
    number = base = 0
    shards: list[tuple[Path, slice]] = []
    for survey in surveys:
        start = 0
        for count in json.loads((survey / COUNTS).read_text("utf-8")):
            group = number // group_files if group_files else 0
            groups.setdefault(group, []).append(_Segment(survey, start, base + start, count))
            start += count
            number += 1
        shards.append((survey, slice(base, base + start)))
        base += start
    with TemporaryDirectory(prefix="partitions-", dir=out) as folder:
        first_N = mapped(Path(folder) / "first", np.bool_, base)
        for segments in groups.values():
            _decide_group(segments, first_N, Path(folder), partition_keys)
        settle(first_N)
        for survey, keys in shards:
            _save_flags(_flags(out, survey), first_N, keys)
        # Nothing maps its files any more: a network file system keeps those that are.
        del first_N


def _save_flags(path: Path, first_N: NDArray[np.bool_], keys: slice) -> None:
    """A shard's part, at least one flag: an empty file cannot be mapped."""
    np.save(path, first_N[keys] if keys.stop > keys.start else np.zeros(1, dtype=np.bool_))


def is_first(decided: Path, survey: Path) -> NDArray[np.bool_]:
    """Flags of a shard's keys, in their order; at least one."""
    flags: NDArray[np.bool_] = np.load(_flags(decided, survey), mmap_mode="r")
    return flags


def _flags(folder: Path, survey: Path) -> Path:
    return folder / f"{survey.name}.npy"


def _decide_group(
    segments: Sequence[_Segment], first_N: NDArray[np.bool_], folder: Path, partition_keys: int
) -> None:
    total = sum(segment.count for segment in segments)
    if not total:
        return
    bits = partition_bits(total, partition_keys)
    for path in partitioned(lambda: _scan(segments), bits, _ROW, folder):
        first = np.empty(0, dtype=_ROW)
        # Slice by slice: a key that fills a partition, however often it comes, fills no memory.
        for rows in slices(path, _ROW, max(1, partition_keys)):
            first = _firsts(np.concatenate([first, rows]) if len(first) else rows)
        _mark(np.sort(first["place"]), segments, first_N)


def _scan(segments: Sequence[_Segment]) -> Iterator[NDArray[np.void]]:
    """Keys of a group with their places in it."""
    base = 0
    for segment in segments:
        with (segment.survey / KEYS).open("rb") as handle:
            handle.seek(8 * segment.start)
            left = segment.count
            while left:
                keys = np.fromfile(handle, dtype="<u8", count=min(left, _SLICE))
                rows = np.empty(len(keys), dtype=_ROW)
                rows["key"] = keys
                rows["place"] = np.arange(base, base + len(keys), dtype=np.uint64)
                yield rows[keys != 0]
                base += len(keys)
                left -= len(keys)


def _firsts(rows: NDArray[np.void]) -> NDArray[np.void]:
    """The row of least place of each key."""
    order = np.argsort(rows["key"])
    keys, places = rows["key"][order], rows["place"][order]
    starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
    found = np.empty(len(starts), dtype=_ROW)
    found["key"] = keys[starts]
    found["place"] = np.minimum.reduceat(places, starts)
    return found


def _mark(
    places: NDArray[np.uint64], segments: Sequence[_Segment], first_N: NDArray[np.bool_]
) -> None:
    """Set the flags at sorted places of a group."""
    bounds = np.cumsum([segment.count for segment in segments], dtype=np.uint64)
    base = np.uint64(0)
    cuts = np.searchsorted(places, bounds)
    for segment, part, bound in zip(segments, np.split(places, cuts[:-1]), bounds, strict=True):
        first_N[(part - base).astype(np.int64) + segment.base] = True
        base = bound
