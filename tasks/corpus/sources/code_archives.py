"""Members of a project's archive, tar or zip, within bounds of number, size and place.

Nothing is unpacked to disk. A member that is no plain file of the project (a link, a device, a
path that leads out) is given with the reason; what ends the whole archive is raised.
"""

from __future__ import annotations

import posixpath
import re
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tasks.corpus.sources import damage
from tasks.corpus.storable import encodable_name

MAX_MEMBERS = 200_000
MAX_PATH = 4096  # characters of a member's name
# An archive of source code packs about 5:1; it may unpack to the greater of these.
MAX_UNPACK_RATIO = 200
MIN_UNPACKED = 100_000_000
MAX_UNPACKED = 50_000_000_000
# A tar's members that are too large to be of use are not read but passed over, which unpacks them.
MIN_PASSED_OVER = 1_000_000_000
MAX_HEADER_BYTES = 1_000_000  # of a tar's long names and extended headers
_TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
_DRIVE = re.compile(r"[A-Za-z]:")
_END_OF_ZIP = b"PK\x05\x06"
_ZIP_ENTRY_BYTES = 400  # of the central directory at most, on average
_HEADERS = (
    tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK, tarfile.GNUTYPE_SPARSE,
)  # fmt: skip


class ArchiveError(Exception):
    """An archive, or its rest, cannot be read: the reason, and what the library said."""

    def __init__(self, reason: str, detail: object = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class Member:
    """number: its place in the archive, from 1. name: its normal path. problem: why it is no file.

    data: its bytes, at most one more than asked for; None when it was not wanted or is no file.
    """

    number: int
    name: str
    problem: str = ""
    data: bytes | None = None


def is_archive(name: str) -> bool:
    """Whether a file is an archive by its name."""
    return name.lower().endswith((*_TARS, ".zip"))


def members(path: Path, wanted: Callable[[str], bool], longest: int) -> Iterator[Member]:
    """All members but folders, in the archive's order.

    Args:
        wanted: says by a member's path whether to read it.
        longest: bytes of a member that are of use; one more is read to tell.

    Raises:
        ArchiveError: the archive ends early, is damaged, or is over a bound.
        OSError: it cannot be read.
    """
    size = path.stat().st_size
    if not size:
        raise ArchiveError("empty file")
    budget = min(MAX_UNPACKED, max(MIN_UNPACKED, MAX_UNPACK_RATIO * size))
    reader = _zip_members if path.name.lower().endswith(".zip") else _tar_members
    try:
        yield from reader(path, wanted, longest, budget)
    except damage.ARCHIVE as error:
        damage.kind(error)  # it raises what is none
        raise ArchiveError("corrupt archive", error) from error


def _place(name: str) -> tuple[str, str]:
    """Normal path of a member, and why it is none of the project's."""
    if len(name) > MAX_PATH:
        return f"{encodable_name(name[:200])}...", "path too long"
    name = encodable_name(name)
    inner = posixpath.normpath(name)
    if name.startswith("/") or _DRIVE.match(name) or inner.startswith("../") or inner == "..":
        return inner, "path leads out of the archive"
    return inner, ""


def _tar_members(
    path: Path, wanted: Callable[[str], bool], longest: int, budget: int
) -> Iterator[Member]:
    kind, ends = _checked_headers()
    passed_over = max(MIN_PASSED_OVER, budget)
    with tarfile.open(path, mode="r|*", tarinfo=kind) as archive:
        number = 0
        while (info := archive.next()) is not None:
            vars(archive)["members"] = []  # the library keeps every member
            number += 1
            if number > MAX_MEMBERS:
                raise ArchiveError("too many files in the archive")
            if info.size > longest:
                passed_over -= info.size
            else:
                budget -= info.size
            if min(budget, passed_over) < 0:
                raise ArchiveError("archive unpacks too large")
            if info.isdir():
                continue
            inner, problem = _place(info.name)
            if info.issym() or info.islnk():
                problem = "link in the archive"
            elif not info.isfile():
                problem = "device in the archive"
            data = None
            if not problem and wanted(inner):
                handle = archive.extractfile(info)
                assert handle is not None  # it is a file
                data = handle.read(longest + 1)
            yield Member(number, inner, problem, data)
    if not ends:
        raise ArchiveError("truncated archive")


def _checked_headers() -> tuple[type[tarfile.TarInfo], list[bool]]:
    """A class of headers that are bounded and whole, and a list that fills at the archive's end.

    The library takes a damaged header for the end of the archive, and reads a header of any size
    into memory.
    """
    ends: list[bool] = []

    class Header(tarfile.TarInfo):
        @classmethod
        def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
            if len(buf) == tarfile.BLOCKSIZE and not any(buf):
                ends.append(True)
            try:
                info = super().frombuf(buf, encoding, errors)
            except tarfile.HeaderError as error:
                if buf and any(buf):
                    raise ArchiveError("corrupt archive", error) from error
                raise
            if info.size < 0 or (info.type in _HEADERS and info.size > MAX_HEADER_BYTES):
                raise ArchiveError("corrupt archive", f"header of {info.size} bytes")
            return info

    return Header, ends


def _zip_members(
    path: Path, wanted: Callable[[str], bool], longest: int, budget: int
) -> Iterator[Member]:
    _check_directory(path)
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
        if len(infos) > MAX_MEMBERS:
            raise ArchiveError("too many files in the archive")
        for number, info in enumerate(infos, 1):
            if info.is_dir():
                continue
            inner, problem = _place(info.filename.replace("\\", "/"))
            mode = info.external_attr >> 16
            if stat.S_ISLNK(mode):
                problem = "link in the archive"
            elif stat.S_IFMT(mode) not in (0, stat.S_IFREG):
                problem = "device in the archive"
            elif info.flag_bits & 0x1:
                problem = "member with a password"
            data = None
            if not problem and wanted(inner):
                try:
                    with archive.open(info) as handle:
                        data = handle.read(longest + 1)
                except damage.ARCHIVE as error:
                    damage.kind(error)
                    problem = "corrupt member"
                budget -= len(data or b"")
                if budget < 0:
                    raise ArchiveError("archive unpacks too large")
            yield Member(number, inner, problem, data)


def _check_directory(path: Path) -> None:
    """Refuse a zip whose list of members would not fit into memory, before the library reads it."""
    with path.open("rb") as handle:
        size = handle.seek(0, 2)
        handle.seek(max(0, size - 65_557))
        end = handle.read()
    at = end.rfind(_END_OF_ZIP)
    if at >= 0 and len(end) >= at + 16:
        directory = struct.unpack_from("<I", end, at + 12)[0]
        if directory == 0xFFFFFFFF or directory > _ZIP_ENTRY_BYTES * MAX_MEMBERS:
            raise ArchiveError("too many files in the archive")
