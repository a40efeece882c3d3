"""arXiv's archives, which are untrusted: tars, also compressed, within bounds of size and growth.

A bulk archive is one of one file per paper. What a file is, its content says, not its name.
"""

from __future__ import annotations

import bz2
import gzip
import io
import itertools
import lzma
import tarfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Protocol, Self

from tasks.corpus.sources import damage

MAX_PAPER_BYTES = 100_000_000
# A compressed bulk archive of packed papers hardly shrinks; one that grows like this is a bomb.
MAX_GROWTH = 200
MAX_HEADER_BYTES = 1_000_000
_HEADERS = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME,
            tarfile.GNUTYPE_LONGLINK)  # fmt: skip


class RefusedError(ValueError):
    """A paper cannot be read; the message is the reason it is counted under."""


class BoundedInfo(tarfile.TarInfo):
    """A tar header whose extensions (long names, pax records) cannot fill the memory."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """Parse a header block; raises ReadError for one that no archive has.

        That is for a damaged one, too, which tarfile takes for the archive's end.
        """
        try:
            found = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if buf.strip(b"\x00"):
                raise tarfile.ReadError(str(error)) from error
            raise
        if found.size < 0 or (found.type in _HEADERS and found.size > MAX_HEADER_BYTES):
            raise tarfile.ReadError(f"a header says {found.size} bytes")
        return found


class BulkInfo(BoundedInfo):
    """The same; and an archive that just stops was cut off."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """Parse a header block; raises ReadError also where there is none."""
        if not buf:
            raise tarfile.ReadError("unexpected end of data")
        return super().frombuf(buf, encoding, errors)


class Archive(tarfile.TarFile):
    """A tar that is read in passing. members: what tarfile would keep of it."""

    members: list[tarfile.TarInfo]


class _Growth(io.RawIOBase):
    """Unpacked bytes of a compressed archive, up to a multiple of its packed size."""

    def __init__(self, stream: _Unpacking, packed: int) -> None:
        self._stream = stream
        self._left = MAX_GROWTH * packed + MAX_PAPER_BYTES

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(len(buffer))
        self._left -= len(data)
        if self._left < 0:
            raise RefusedError("unpacks to too much")
        buffer[: len(data)] = data
        return len(data)


class _Unpacking(Protocol):
    """What the standard library's decompressors have in common."""

    def read(self, size: int, /) -> bytes: ...


_OPENERS: Mapping[bytes, Callable[[BinaryIO], _Unpacking]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ": lzma.open,
}


def bulk_members(path: Path) -> Iterator[tuple[int, tarfile.TarInfo, Archive]]:
    """Members of a bulk archive in order, with their number and the archive to read them from.

    Raises:
        RefusedError: it is damaged, or a compression bomb.
        OSError: it cannot be read.
    """
    with path.open("rb") as raw:
        head = raw.read(6)
        raw.seek(0)
        try:
            with _opened(raw, head, path.stat().st_size) as archive:
                for number, member in members_of(archive):
                    yield number, member, archive
        except damage.ARCHIVE as error:
            raise RefusedError(_reason(error)) from error


def _opened(raw: BinaryIO, head: bytes, size: int) -> Archive:
    """The archive; what is compressed is read as a stream, never more than it should hold."""
    for magic, opener in _OPENERS.items():
        if head.startswith(magic):
            stream = io.BufferedReader(_Growth(opener(raw), size), tarfile.RECORDSIZE)
            return Archive.open(fileobj=stream, mode="r|", tarinfo=BulkInfo)
    return Archive.open(fileobj=raw, mode="r:", tarinfo=BulkInfo)


def _reason(error: Exception) -> str:
    """Why an archive is refused; an error of the machine is raised: see `damage.kind`."""
    damage.kind(error)
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, RefusedError):
            return str(cause)
        if isinstance(cause, EOFError):
            return "truncated gzip"
        cause = cause.__context__
    return "corrupt archive"


def members_of(archive: Archive) -> Iterator[tuple[int, tarfile.TarInfo]]:
    """Members with their numbers, none of them kept.

    Raises:
        tarfile.ReadError: one lies before the last.
    """
    last = -1
    for number in itertools.count():
        member = archive.next()
        if member is None:
            return
        if member.size < 0 or member.offset <= last:
            raise tarfile.ReadError("members overlap")
        last = member.offset
        yield number, member
        archive.members.clear()


def content(archive: Archive, member: tarfile.TarInfo) -> bytes:
    """Bytes of a regular member.

    Raises:
        RefusedError: the archive is damaged here; what is shorter than its header says is, too.
        OSError: it cannot be read.
    """
    try:
        handle = archive.extractfile(member)
        assert handle is not None, "not a regular file"
        data = handle.read()
    except damage.ARCHIVE as error:
        raise RefusedError(_reason(error)) from error
    if len(data) < member.size:
        raise RefusedError("corrupt archive")
    return data
