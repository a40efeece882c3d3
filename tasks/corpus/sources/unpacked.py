"""A dump's bytes, unpacked piece by piece, with what is damaged named and passed over.

Web archives are gzip files of many members, one for each record, so that damage to one costs one:
the next member that starts as a record should is found, and reading goes on there.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

MAGIC = b"\x1f\x8b"
CORRUPT = "corrupt gzip"
_MEMBER = b"\x1f\x8b\x08"
_READ = 64 << 10
# Longest piece: bounds what a small file that unpacks to much can hold in memory.
_PIECE = 1 << 20
_PROBE = 4096
# Steps in which the good bytes before damage are looked for.
_STEP = 64
Starts = Callable[[bytes], bool]


class Piece(NamedTuple):
    """Bytes of a file in order.

    offset: of the gzip member they are in, or of the bytes themselves in a plain file. first: a
    gzip member, or a plain file, begins with them.
    """

    data: bytes
    offset: int
    first: bool


class Damage(NamedTuple):
    """What follows in the file's bytes is not what was there, or there is nothing more.

    offset: byte of the file where the damaged member begins.
    """

    reason: str
    offset: int


def first_member(path: Path, starts: Starts) -> int | None:
    """Where the first gzip member of a file is that can be read; None for a plain file.

    A gzip file whose first bytes are damaged is one still.
    """
    with path.open("rb") as stream:
        head = stream.read(_PROBE)
        if head.startswith(MAGIC):
            return 0
        return None if starts(head.lstrip(b"\r\n")) else _next_member(stream, 0, starts)


def pieces(path: Path, starts: Starts, member: int | None) -> Iterator[Piece | Damage]:
    """Bytes of a plain or gzip file, none twice; damage is named where it is met.

    Args:
        starts: whether bytes are how a record starts; says where to go on after damage.
        member: what `first_member` says.
    """
    with path.open("rb") as stream:
        if member is not None:
            if member:
                yield Damage(CORRUPT, 0)
            yield from _members(stream, member, starts)
            return
        offset = 0
        while data := stream.read(_PIECE):
            yield Piece(data, offset, offset == 0)
            offset += len(data)


def _members(stream: BinaryIO, first: int, starts: Starts) -> Iterator[Piece | Damage]:
    """Members of a gzip file; zeros between and after them are padding."""
    start: int | None = first
    rest = b""
    while start is not None:
        problem = None
        for item in _member(stream, start, rest, starts):
            if isinstance(item, Piece):
                yield item
            elif isinstance(item, Damage):
                problem = item
            else:
                start, rest = item
        if problem is not None:
            yield problem
            start, rest = _next_member(stream, start + 1, starts), b""
            continue
        while not rest.strip(b"\0"):
            start += len(rest)
            rest = stream.read(_READ)
            if not rest:
                return
        padding = len(rest) - len(rest.lstrip(b"\0"))
        start, rest = start + padding, rest[padding:]


def _member(
    stream: BinaryIO, start: int, rest: bytes, starts: Starts
) -> Iterator[Piece | Damage | tuple[int, bytes]]:
    """Pieces of the member at ``start``, then where the next one is and what was read of it.

    rest: what was read of the file from ``start`` on; the stream stands behind it.
    """
    unpack = zlib.decompressobj(zlib.MAX_WBITS | 16)
    if not rest:
        stream.seek(start)
    read, packed, first = len(rest), rest, True
    before = None
    while not unpack.eof:
        if not packed:
            packed = stream.read(_READ)
            read += len(packed)
            if not packed:
                yield Damage("truncated gzip", start)
                return
        try:
            data = unpack.decompress(packed, _PIECE)
        except zlib.error:
            data = _salvage(before or zlib.decompressobj(zlib.MAX_WBITS | 16), packed)
            # A first piece that begins no record would be taken for more of the one before.
            if data and (starts(data) or not first):
                yield Piece(data, start, first)
            yield Damage(CORRUPT, start)
            return
        packed = unpack.unconsumed_tail
        if data:
            yield Piece(data, start, first)
            first = False
        if not unpack.eof:  # long members only: most end in their first step
            before = unpack.copy()
    packed = unpack.unused_data
    yield start + read - len(packed), packed


def _salvage(unpack: Any, packed: bytes) -> bytes:
    """What unpacks of ``packed`` before it is corrupt."""
    found = []
    try:
        for at in range(0, len(packed), _STEP):
            found.append(unpack.decompress(packed[at : at + _STEP]))
    except zlib.error:
        pass
    return b"".join(found)


def _next_member(stream: BinaryIO, start: int, starts: Starts) -> int | None:
    """Where the next gzip member that holds a record begins; None when there is none."""
    offset, held = start, b""
    stream.seek(start)
    while True:
        data = stream.read(_PIECE)
        held += data
        at = held.find(_MEMBER)
        while at >= 0:
            if _holds_record(stream, offset + at, starts):
                return offset + at
            at = held.find(_MEMBER, at + 1)
        if not data:
            return None
        stream.seek(offset + len(held))
        offset += max(0, len(held) - len(_MEMBER) + 1)
        held = held[-len(_MEMBER) + 1 :]


def _holds_record(stream: BinaryIO, offset: int, starts: Starts) -> bool:
    stream.seek(offset)
    try:
        unpacked = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(stream.read(_PROBE), _PROBE)
    except zlib.error:
        return False
    return starts(unpacked)
