"""The bytes of a dump's file, unpacked; what is damaged in it costs as little as the format allows.

A multistream .bz2 is many streams of about a hundred pages: reading goes on at the next stream. Of
a single stream, bzip2 or gzip, the rest is lost. bzip2 sums each block and knows only at its end
whether it was whole: nothing of a block is given before.
"""

from __future__ import annotations

import gzip
import os
import re
from bz2 import BZ2Decompressor
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from tasks.corpus.sources import damage

PIECE_BYTES = 1 << 20
# As much of a .bz2 is fed at once: what it gave is lost when an error is in it, though whole.
PACKED_BYTES = 1 << 14
BLOCK_BYTES = 900_000
# A block of runs unpacks to fifty times its size; so much of it is held back, not all.
MAX_HELD_BYTES = 8 * BLOCK_BYTES
# More streams than this that fail are no damage; each may cost a block's time.
MAX_DAMAGED_STREAMS = 1000
_STREAM = re.compile(rb"BZh[1-9]1AY&SY")
_STREAM_BYTES = 10
_ENDINGS = (".bz2", ".xml.gz", ".xml")


@dataclass(frozen=True)
class Missing:
    """Here something is missing. lost: bytes of the file that gave nothing."""

    reason: str
    lost: int
    detail: str = ""


def is_dump(name: str) -> bool:
    """Whether a file is called like a dump that can be read."""
    return name.lower().endswith(_ENDINGS)


def unpacked(path: Path, name: str) -> Iterator[bytes | Missing]:
    """The file's bytes in pieces of at most some MB, and the places where some are missing.

    Raises:
        OSError: the machine cannot read the file; see `damage.kind`.
    """
    with path.open("rb") as handle:
        lower = name.lower()
        if lower.endswith(".bz2"):
            yield from _bzip2(handle)
        elif lower.endswith(".gz"):
            yield from _gzip(handle)
        else:
            while piece := handle.read(PIECE_BYTES):
                yield piece


def _gzip(handle: BinaryIO) -> Iterator[bytes | Missing]:
    try:
        with gzip.GzipFile(fileobj=handle, mode="rb") as members:
            while piece := members.read1(PIECE_BYTES):
                yield piece
    except damage.PACKED as error:
        reason = f"{damage.kind(error)} archive"
        yield Missing(reason, os.fstat(handle.fileno()).st_size - handle.tell(), str(error))


def _bzip2(handle: BinaryIO) -> Iterator[bytes | Missing]:
    size = os.fstat(handle.fileno()).st_size
    start = damaged = 0
    while start < size:
        stream = _Stream(handle, start)
        try:
            yield from stream.pieces()
        except damage.PACKED as error:
            reason = f"{damage.kind(error)} archive"
            damaged += 1
            found = None
            if damaged < MAX_DAMAGED_STREAMS:
                found = _next_stream(handle, stream.checked + 1)
            if found is None and start and not stream.is_begun:
                return  # something hangs on the last stream, as bzip2 itself allows
            going_on = size if found is None else found
            if found is not None:
                reason = "corrupt archive"
            yield Missing(reason, going_on - stream.checked, str(error))
            start = going_on
        else:
            start = stream.end


def _next_stream(handle: BinaryIO, start: int) -> int | None:
    """Where the next stream with data begins at ``start`` or behind it."""
    handle.seek(start)
    rest = b""
    while piece := handle.read(PIECE_BYTES):
        piece = rest + piece
        match = _STREAM.search(piece)
        if match is not None:
            return start + match.start()
        rest = piece[1 - _STREAM_BYTES :]
        start += len(piece) - len(rest)
    return None


class _Stream:
    """One bzip2 stream, from its beginning in the file.

    checked: place in the file up to which all blocks were whole. end: where the stream ended.
    """

    def __init__(self, handle: BinaryIO, start: int) -> None:
        self._handle = handle
        self.checked = self.end = start
        handle.seek(start)
        self.is_begun = handle.read(3) == b"BZh"
        handle.seek(start)

    def pieces(self) -> Iterator[bytes]:
        """What the stream unpacks to, each piece after its blocks' sums were right.

        Raises:
            EOFError: the file ends within the stream.
            OSError: the stream is damaged, or the machine's error.
        """
        decoder = BZ2Decompressor()
        at = self.checked
        while not decoder.eof:
            packed = self._handle.read(PACKED_BYTES)
            if not packed:
                raise EOFError("the file ends within a stream")
            held = [decoder.decompress(packed, PIECE_BYTES)]
            size = len(held[0])
            # Without more input it gives what it has, nothing only after the block's sum.
            while not decoder.eof and (more := decoder.decompress(b"", PIECE_BYTES)):
                held.append(more)
                size += len(more)
                if size > MAX_HELD_BYTES:
                    given = b"".join(held)
                    yield given[:-BLOCK_BYTES]
                    held = [given[-BLOCK_BYTES:]]
                    size = BLOCK_BYTES
            if size:
                yield b"".join(held)
                self.checked = at  # the block under way begins behind it
            at += len(packed)
        self.end = self.checked = at - len(decoder.unused_data)
