"""Rows of large tables by the leading bits of their key, through files: memory holds one partition.

What needs rows of equal keys together (deduplication, candidates of near-duplicates) writes them
to partitions and decides each alone. Keys are hashes, so partitions are of about one size.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Files open at once. More partitions than this are made in several passes over the rows.
OPEN_FILES = 256
_ZEROS = 1 << 20  # bytes written at once
STEP = 1 << 18  # rows of what is mapped that are worked on at once
Rows = NDArray[Any]


def partition_bits(rows: int, limit: int) -> int:
    """How many leading bits of the key make partitions of about ``limit`` of ``rows`` rows."""
    return max(0, -(-rows // max(1, limit)) - 1).bit_length()


def partitioned(
    scan: Callable[[], Iterable[Rows]], bits: int, dtype: np.dtype[Any], folder: Path
) -> Iterator[Path]:
    """A file of rows for each partition in the order of keys, to be read by the caller; then gone.

    Rows keep the order of the scan within a partition.

    Args:
        scan: begins a pass over the rows: structured arrays with a field ``key`` (64-bit hashes).
        folder: where the files lie; it must exist and have room for all rows.
    """
    partitions = 1 << bits
    for first in range(0, partitions, OPEN_FILES):
        paths = [
            folder / f"part-{number:06d}"
            for number in range(first, min(first + OPEN_FILES, partitions))
        ]
        with ExitStack() as stack:
            files = [stack.enter_context(path.open("wb")) for path in paths]
            for rows in scan():
                _write(rows, bits, first, files, dtype)
        for path in paths:
            yield path
            path.unlink()


def mapped(path: Path, dtype: type[np.generic], rows: int) -> NDArray[Any]:
    """A new array of zeros in a file, which the system may put out of memory.

    Not in the file that was there: who maps that keeps it.

    Raises:
        OSError: no room. A file with holes would be mapped all the same, and the first write that
            the disk has no room for would end the process (SIGBUS).
    """
    path.unlink(missing_ok=True)
    if not rows:  # which cannot be mapped
        return np.zeros(0, dtype=dtype)
    size = rows * np.dtype(dtype).itemsize
    with path.open("xb") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            # The file system knows no such call, and the C library does without it no better.
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                raise
            for some in ranges(size, _ZEROS):
                file.write(bytes(some.stop - some.start))
    return np.memmap(path, dtype=dtype, mode="r+", shape=(rows,))


def settle(*arrays: NDArray[Any]) -> None:
    """Have arrays of :func:`mapped` written, before what is drawn from them counts.

    Raises:
        OSError: the disk or the network failed at it, now or since they were mapped. Rows that were
            put out of memory would else be read back as zeros.
    """
    for array in arrays:
        if isinstance(array, np.memmap):
            array.flush()


def ranges(rows: int, step: int) -> Iterator[slice]:
    """``rows`` rows in order, at most ``step`` of them at a time."""
    for start in range(0, rows, step):
        yield slice(start, min(rows, start + step))


def slices(path: Path, dtype: np.dtype[Any], rows: int) -> Iterator[Rows]:
    """The rows of a file, at most ``rows`` of them at a time."""
    with path.open("rb") as handle:
        while len(part := np.fromfile(handle, dtype=dtype, count=rows)):
            yield part


def _write(rows: Rows, bits: int, first: int, files: list[Any], dtype: np.dtype[Any]) -> None:
    """Append rows to the files of the partitions from ``first`` on; others are passed."""
    if not bits:
        files[0].write(rows.astype(dtype, copy=False).tobytes())
        return
    part = (rows["key"] >> np.uint64(64 - bits)).astype(np.int64) - first
    inside = (part >= 0) & (part < len(files))
    if not inside.all():
        rows, part = rows[inside], part[inside]
    order = np.argsort(part, kind="stable")
    ordered = rows[order].astype(dtype, copy=False)
    cuts = np.searchsorted(part[order], np.arange(1, len(files)))
    for file, chunk in zip(files, np.split(ordered, cuts), strict=True):
        file.write(chunk.tobytes())
