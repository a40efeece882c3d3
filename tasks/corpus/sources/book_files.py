"""The files of books: plain, packed with gzip, or members of zip files; their kind and encoding.

All are untrusted: nothing is written anywhere, what is unpacked is bounded, and whatever is no
plain text is counted by what it is.
"""

from __future__ import annotations

import gzip
import re
import stat
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from tasks.corpus.funnel import Funnel
from tasks.corpus.sources import damage

# Longest book in bytes; the longest of Project Gutenberg has about 30 MB.
MAX_BYTES = 64_000_000
# Of one zip file: its members, and the bytes they unpack to together.
MAX_MEMBERS = 10_000
MAX_ARCHIVE = 2_000_000_000
_MAGIC = {
    b"%PDF-": "PDF document",
    b"{\\rtf": "RTF document",
    b"PK\x03\x04": "not text",
    b"\x1f\x8b": "not text",
    b"\xd0\xcf\x11\xe0": "not text",  # the old formats of Microsoft Office
}
_HTML = re.compile(
    rb"<!doctype\s+html|<html[\s>]|<\?xml[^>]{0,200}\?>\s*<(?:!doctype\s+)?html", re.I
)
_CONTROLS = bytes(code for code in range(32) if code not in b"\t\n\v\f\r\x1a\x1b") + b"\x7f"
# Share of control characters from which it is no text.
_MOST_CONTROLS = 0.005
_PROBE = 4096
_DECLARED = re.compile(
    rb"^(?:character set encoding|encoding|charset):[ \t]*([\w .:/()-]{1,60}?)[ \t]*\r?$",
    re.I | re.M,
)
_HEAD = 20_000
# Characters beyond ASCII for each that is no UTF-8, from which a file is damaged UTF-8: text in
# another encoding has next to none that are.
_WHOLE_PER_BROKEN = 100
# What headers of books declare, letters and digits only; Latin-1 is read as its superset.
_ENCODINGS = {
    "iso88591": "cp1252", "isolatin1": "cp1252", "latin1": "cp1252", "windows1252": "cp1252",
    "cp1252": "cp1252", "windowscodepage1252": "cp1252", "ansi": "cp1252", "ascii": "cp1252",
    "usascii": "cp1252", "utf8": "cp1252", "unicodeutf8": "cp1252", "8bit": "cp1252",
    "iso88592": "iso8859_2", "iso88593": "iso8859_3", "iso88595": "iso8859_5",
    "iso88597": "iso8859_7", "iso88598": "iso8859_8", "iso88599": "iso8859_9",
    "iso885915": "iso8859_15", "windows1250": "cp1250", "cp1250": "cp1250",
    "windows1251": "cp1251", "cp1251": "cp1251", "windows1253": "cp1253", "cp1253": "cp1253",
    "koi8r": "koi8_r", "cp437": "cp437", "ibm437": "cp437", "codepage437": "cp437",
    "dos437": "cp437", "cp850": "cp850", "ibm850": "cp850", "codepage850": "cp850",
    "macroman": "mac_roman", "macintosh": "mac_roman", "macosroman": "mac_roman",
    "applemacintosh": "mac_roman", "big5": "big5", "gb2312": "gb18030", "gbk": "gb18030",
    "gb18030": "gb18030", "shiftjis": "shift_jis", "sjis": "shift_jis", "eucjp": "euc_jp",
    "iso2022jp": "iso2022_jp", "euckr": "euc_kr",
}  # fmt: skip


@dataclass(frozen=True)
class StoredBook:
    """One book's bytes. name: its file, with ``#member`` in an archive.

    offset: the member's number in its archive, else 0.
    """

    name: str
    file: str
    offset: int
    data: bytes


def stored_books(root: Path, name: str, funnel: Funnel) -> Iterator[StoredBook]:
    """The books of one file; what cannot be read is counted. The file is named relative to root."""
    lower = name.lower()
    if lower.endswith(".zip"):
        yield from _members(root, name, funnel)
        return
    if not funnel.at(name, 0):
        return
    if not lower.endswith((".txt", ".txt.gz")):
        funnel.bad_file(name, "no text file")
        return
    try:
        with (
            gzip.open(root / name) if lower.endswith(".gz") else (root / name).open("rb") as handle
        ):
            data = handle.read(MAX_BYTES + 1)
    except damage.PACKED as error:
        funnel.bad_file(name, f"{damage.kind(error)} gzip", error)
    else:
        problem = _problem(data)
        if problem:
            funnel.bad_file(name, problem)
        else:
            yield StoredBook(name, name, 0, data)


def _members(root: Path, name: str, funnel: Funnel) -> Iterator[StoredBook]:
    """The text members of a zip file, in its order."""
    try:
        archive = zipfile.ZipFile(root / name)
    except damage.ARCHIVE as error:
        damage.kind(error)  # it raises what is none
        funnel.bad_file(name, "corrupt archive", error)
        return
    with archive:
        members = [info for info in archive.infolist() if not info.is_dir()]
        if len(members) > MAX_MEMBERS:
            funnel.bad_file(name, "too many members", len(members))
            return
        if not members:
            funnel.bad_file(name, "empty archive")
        left = MAX_ARCHIVE
        seen: set[str] = set()
        for number, info in enumerate(members):
            if not funnel.at(name, number):
                continue
            problem, data = _unsafe(info, seen), b""
            if problem is None:
                try:
                    with archive.open(info) as handle:
                        data = _bounded(handle, min(MAX_BYTES, left))
                except damage.ARCHIVE as error:
                    damage.kind(error)
                    funnel.bad_file(name, "corrupt archive", f"{info.filename}: {error}")
                    continue
                left -= len(data)
                problem = "archive too large" if left < 0 else _problem(data)
            if problem:
                funnel.bad_file(name, problem, info.filename)
                if left < 0:
                    return
                continue
            yield StoredBook(f"{name}#{info.filename}", name, number, data)


def _bounded(handle: IO[bytes], limit: int) -> bytes:
    """At most a byte more than the limit."""
    return handle.read(limit + 1)


def _unsafe(info: zipfile.ZipInfo, seen: set[str]) -> str | None:
    """Why a member is not to be read, by its entry alone. seen: names so far, grows by this one."""
    if info.filename in seen:
        return "member twice in its archive"
    seen.add(info.filename)
    path = PurePosixPath(info.filename.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
        return "path leads out of its archive"
    if stat.S_ISLNK(info.external_attr >> 16):
        return "link in an archive"
    if info.flag_bits & 1:
        return "encrypted member"
    return None if path.suffix.lower() == ".txt" else "no text file"


def _problem(data: bytes) -> str | None:
    """What makes bytes no plain text, or too many."""
    if len(data) > MAX_BYTES:
        return "file too large"
    head = data[:_PROBE].removeprefix(b"\xef\xbb\xbf").lstrip()
    if not head and not data.strip():
        return "empty file"
    for magic, reason in _MAGIC.items():
        if head.startswith(magic):
            return reason
    if _wide(data):
        return None
    if _HTML.match(head):
        return "HTML page"
    controls = len(data) - len(data.translate(None, _CONTROLS))
    # Old files are padded with zeros to the end of their last block.
    zeros = data.rstrip(b"\x00\x1a").count(b"\x00")
    if controls - data.count(b"\x00") + zeros > _MOST_CONTROLS * len(data):
        return "not text"
    return "NUL bytes" if zeros else None


def _wide(data: bytes) -> str | None:
    """The encoding of 16-bit units a file is in: by its mark, else by where its zeros are."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    probe = data[:_PROBE]
    zeros = [probe[place::2].count(b"\x00") / max(1, len(probe) // 2) for place in (0, 1)]
    if zeros[1] > 0.6 and zeros[0] < 0.05:
        return "utf-16-le"
    return "utf-16-be" if zeros[0] > 0.6 and zeros[1] < 0.05 else None


class UnknownEncodingError(ValueError):
    """The bytes are no text in any encoding that their mark or header names."""


def decode(data: bytes) -> tuple[str, str]:
    """Text of a file with lines that end in LF, and its encoding.

    By its mark; as UTF-8, with a few broken characters replaced where all others are whole; as its
    header declares; else as Windows-1252, or Latin-1 where a byte is none of Windows-1252's.

    Raises:
        UnknownEncodingError: broken 16-bit units, or no UTF-8 and a declared encoding not known.
    """
    text, encoding = _decoded(data)
    return text.rstrip("\x00\x1a").replace("\r\n", "\n").replace("\r", "\n"), encoding


def _decoded(data: bytes) -> tuple[str, str]:
    wide = _wide(data)
    if wide:
        text = _strictly(data[: len(data) // 2 * 2], wide)
        if text is None:
            raise UnknownEncodingError(f"broken {wide}")
        return text, wide
    declared = _declared(data)
    order = ["utf-8-sig", declared]
    if declared == "iso2022_jp":  # its bytes are ASCII
        order.reverse()
    for encoding in order:
        if encoding and (text := _strictly(data, encoding)) is not None:
            return text, encoding
    text = data.decode("utf-8-sig", "replace")
    broken = text.count("\ufffd")
    if broken * _WHOLE_PER_BROKEN < len(text) - len(text.encode("ascii", "ignore")):
        return text, f"utf-8-sig, {broken} characters replaced"
    if declared == "":
        raise UnknownEncodingError("its header declares an encoding that is not known")
    for encoding in ("cp1252", "latin-1"):
        if (text := _strictly(data, encoding)) is not None:
            return text, encoding
    raise AssertionError("latin-1 decodes every byte")


def _strictly(data: bytes, encoding: str) -> str | None:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        return None


def _declared(data: bytes) -> str | None:
    """The encoding that a book's header declares; "" for one that is not known."""
    found = _DECLARED.search(data, 0, _HEAD)
    if found is None:
        return None
    name = re.sub(r"[^a-z0-9]", "", found[1].decode("ascii", "replace").lower())
    return _ENCODINGS.get(name, "")
