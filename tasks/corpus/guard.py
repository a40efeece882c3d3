"""Which record a worker has in hand, told to its supervisor through a small shared file.

A library that hangs, crashes or eats the memory on one document must cost that document and no
other: the supervisor (``tasks.corpus.execute``) sees for how long the record is in hand, ends the
worker, and has the shard read again without the record.
"""

from __future__ import annotations

import json
import mmap
import struct
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.context import atomic_write_json

_HEAD = struct.Struct("<QdqI")
_NAME_BYTES = 4096
SIZE = _HEAD.size + _NAME_BYTES
# Two equal readings in a row are one record's; a worker that is never seen so hangs on none.
_TRIES = 10
Place = tuple[str, int]


@dataclass(frozen=True)
class Beat:
    """What the file says. records: begun so far. since: monotonic seconds, 0: none in hand."""

    records: int
    since: float
    file: str
    offset: int


class Guard:
    """The worker's side: `begin` and `end` around each record, a microsecond each.

    skips: places to pass, with the reason to count them under.
    """

    def __init__(
        self,
        path: Path | None = None,
        skips: Mapping[Place, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._skips = dict(skips or {})
        self._clock = clock
        self._records = 0
        self._memory: mmap.mmap | None = None
        if path is not None:
            with path.open("r+b") as handle:
                self._memory = mmap.mmap(handle.fileno(), SIZE)

    @property
    def passed(self) -> list[list[Any]]:
        """The places to pass, sorted, as JSON."""
        return [[file, offset] for file, offset in sorted(self._skips)]

    def begin(self, file: str, offset: int) -> str | None:
        """The record at ``offset`` of ``file`` is in hand; or why it must be passed."""
        reason = self._skips.get((file, offset)) if self._skips else None
        if reason is not None:
            self.end()  # what goes wrong from here on is not the fault of the record before
        elif self._memory is not None:
            self._records += 1
            name = file.encode("utf-8", "surrogatepass")[:_NAME_BYTES]
            # The time last: a supervisor that reads in between sees the record before.
            _HEAD.pack_into(self._memory, 0, self._records, 0.0, offset, len(name))
            self._memory[_HEAD.size : _HEAD.size + len(name)] = name
            _HEAD.pack_into(self._memory, 0, self._records, self._clock(), offset, len(name))
        return reason

    def end(self) -> None:
        """No record is in hand."""
        if self._memory is not None:
            _HEAD.pack_into(self._memory, 0, self._records, 0.0, 0, 0)


def new_heartbeat(path: Path) -> Path:
    """An empty heartbeat file for one worker."""
    path.write_bytes(bytes(SIZE))
    return path


def read_heartbeat(path: Path) -> Beat:
    """What a worker's heartbeat file says now: one record's name and number, not halves of two."""
    data = path.read_bytes()
    for _ in range(_TRIES):
        again = path.read_bytes()
        if again == data:
            break
        data = again  # it was written meanwhile
    records, since, offset, length = _HEAD.unpack_from(data)
    name = data[_HEAD.size : _HEAD.size + min(length, _NAME_BYTES)]
    return Beat(records, since, name.decode("utf-8", "surrogatepass"), offset)


def read_skips(path: Path) -> dict[Place, str]:
    """Places given up in earlier tries of a shard; empty when there is no such file."""
    if not path.is_file():
        return {}
    rows = json.loads(path.read_text("utf-8"))
    return {(row["file"], row["offset"]): row["reason"] for row in rows}


def add_skip(path: Path, place: Place, reason: str) -> None:
    """Note durably that a shard must be read without this record."""
    write_skips(path, read_skips(path) | {place: reason})


def write_skips(path: Path, skips: Mapping[Place, str]) -> None:
    """Have these records passed, and no others, when the shard is read the next time."""
    if skips == read_skips(path):
        return
    rows = [{"file": f, "offset": o, "reason": r} for (f, o), r in sorted(skips.items())]
    atomic_write_json(path, rows)
