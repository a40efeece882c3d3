"""Posts.xml of a site's dump as a stream: a plain file, or out of a .7z without unpacking to disk.

py7zr unpacks in blocks of at most 128 MB and hands each on, so memory does not grow with a site.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from pathlib import Path

import py7zr
from py7zr.io import Py7zIO, WriterFactory

from tasks.corpus.funnel import BadFileError, Funnel
from tasks.corpus.sources import damage

Take = Callable[[bytes], None]
# A dump packs about 5:1; more than this is not a dump.
MAX_UNPACK_RATIO = 100
MIN_UNPACKED = 10_000_000  # that an archive may unpack to, however small it is
MAX_UNPACKED = 500_000_000_000
MAX_MEMBERS = 10_000
PIECE_BYTES = 1 << 20
_POSTS = "posts.xml"
# "site.7z" holds all tables of a site, "site-Posts.7z" the one; others are of other tables.
_ARCHIVE = re.compile(
    r"^(?P<site>[a-z0-9.-]+?)(?:-(?P<table>badges|comments|posthistory|postlinks|posts|tags|users"
    r"|votes))?\.7z$",
    re.IGNORECASE,
)


def site_of(name: str) -> str | None:
    """The site whose posts a file of the dump holds, by its name; None when it holds none."""
    base = posixpath.basename(name)
    if base.lower() == _POSTS:
        return posixpath.basename(posixpath.dirname(name))
    match = _ARCHIVE.match(base)
    if match is None or (match["table"] or "posts").lower() != "posts":
        return None
    return match["site"].lower()


def stream_posts(path: Path, name: str, funnel: Funnel, take: Take) -> bool:
    """Give ``take`` the bytes of Posts.xml piece by piece; what ``take`` raises comes out as it is.

    Returns whether that was the whole file; when it was not, it is counted as a bad one.
    """
    if path.stat().st_size == 0:
        funnel.bad_file(name, "empty file")
        return False
    if path.suffix.lower() == ".7z":
        return _stream_archive(path, name, funnel, take)
    with path.open("rb") as handle:
        while piece := handle.read(PIECE_BYTES):
            take(piece)
    return True


def _stream_archive(path: Path, name: str, funnel: Funnel, take: Take) -> bool:
    sink = _Sink(take)
    try:
        # An open file keeps py7zr from unpacking in threads.
        with path.open("rb") as handle:
            handle.peek()  # py7zr takes a file whose start cannot be read for no archive
            with py7zr.SevenZipFile(handle) as archive:
                member, reason = _posts_member(archive, path.stat().st_size)
                if reason:
                    funnel.bad_file(name, reason)
                    return False
                archive.extract(targets=[member], factory=_Sinks(sink))
                return True
    except BadFileError:
        raise
    except Exception as error:
        # A damaged archive raises almost anything out of py7zr; what the taker raised stays.
        if sink.error is not None:
            raise sink.error from None
        damage.kind(error)  # it raises what is none
        funnel.bad_file(name, "corrupt archive", f"{type(error).__name__}: {error}")
        return False


def _posts_member(archive: py7zr.SevenZipFile, packed: int) -> tuple[str, str]:
    """Name of the archive's Posts.xml, or why it is not read."""
    if archive.needs_password():
        return "", "archive with a password"
    items = archive.list()
    if len(items) > MAX_MEMBERS:
        return "", "archive of too many files"
    found = [
        item
        for item in items
        if not item.is_directory and posixpath.basename(item.filename).lower() == _POSTS
    ]
    if not found:
        return "", "archive without Posts.xml"
    if len(found) > 1:
        return "", "archive with several Posts.xml"
    if found[0].is_symlink or not found[0].is_file:
        return "", "Posts.xml of the archive is no file"
    size = found[0].uncompressed
    if size > min(MAX_UNPACKED, max(MIN_UNPACKED, MAX_UNPACK_RATIO * packed)):
        return "", "archive unpacks too large"
    return found[0].filename, ""


class _Sink(Py7zIO):
    """Hands on what py7zr writes, in pieces, and remembers what the taker raised."""

    def __init__(self, take: Take) -> None:
        self._take = take
        self._size = 0
        self.error: BaseException | None = None

    def write(self, s: bytes | bytearray) -> int:
        try:
            for at in range(0, len(s), PIECE_BYTES):
                self._take(bytes(s[at : at + PIECE_BYTES]))
        except BaseException as error:
            self.error = error
            raise
        self._size += len(s)
        return len(s)

    def read(self, size: int | None = None) -> bytes:
        return b""

    def seek(self, offset: int, whence: int = 0) -> int:
        return 0

    def flush(self) -> None:
        """Nothing is held."""

    def size(self) -> int:
        return self._size


class _Sinks(WriterFactory):
    def __init__(self, sink: _Sink) -> None:
        self._sink = sink

    def create(self, filename: str) -> Py7zIO:
        return self._sink
