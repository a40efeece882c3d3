"""Papers out of their packed files, which are untrusted: every refusal has a reason.

A paper is a gzip of one file or of a tar of several. What a file is, its content says, not its
name.
"""

from __future__ import annotations

import gzip
import io
import json
import posixpath
import re
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field

from tasks.corpus.sources import damage
from tasks.corpus.sources.arxiv_archives import (
    MAX_PAPER_BYTES,
    Archive,
    BoundedInfo,
    RefusedError,
    content,
    members_of,
)
from tasks.corpus.sources.latex_encoding import DEFAULT, NotTextError, codec_of, declared, decode

MAX_TEX_BYTES = 10_000_000
MAX_MEMBERS = 5_000
LATEX = (".tex", ".ltx", ".latex")
# A paper's own packages and classes: of these only the definitions count.
PACKAGES = (".sty", ".cls")
# What papers call their parts (and, before 1995, their main files) besides.
_OTHER_TEXT = (".txt", ".inc", ".tikz", "")
_HINTS = ("00README.XXX", "00README", "00README.json")
_FOREIGN = re.compile(
    rb"\x1f\x8b|BZh|\xfd7zXZ|PK\x03\x04|7z\xbc\xaf|%PDF|\x04?%!PS|\x89PNG|\xff\xd8\xff|GIF8|II\*\x00"
    rb"|\s*+<(?:!doctype html|html|\?xml)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Paper:
    """The LaTeX files of one paper, by their path in it.

    main: the file to start from, None when not yet known. unread: parts that were too many or too
    large to load, with the reason. refused: reasons for which files of it were left out. encodings:
    codecs of its files. packages: its own packages and classes, by their path. guessed: whether a
    codec was taken because nothing says another.
    """

    identity: str
    uri: str
    files: Mapping[str, str]
    main: str | None = None
    unread: Mapping[str, str] = field(default_factory=dict)
    refused: tuple[str, ...] = ()
    encodings: tuple[str, ...] = ()
    packages: Mapping[str, str] = field(default_factory=dict)
    guessed: bool = False


@dataclass
class _Unpacked:
    """Files of a paper's tar by their path; refused: why others were left out."""

    files: dict[str, bytes] = field(default_factory=dict)
    packages: dict[str, bytes] = field(default_factory=dict)
    hints: dict[str, str] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)


def unpack(data: bytes) -> bytes:
    """Content of a paper's gzip, or what stands in its place.

    Raises:
        RefusedError: it is damaged or too large.
    """
    if data[:2] == b"\x1f\x8b":
        if data[2:3] not in (b"\x08", b""):
            raise RefusedError("corrupt gzip")
        try:
            with gzip.open(io.BytesIO(data)) as handle:
                unpacked = handle.read(MAX_PAPER_BYTES + 1)
        except damage.PACKED as error:
            raise RefusedError(f"{damage.kind(error)} gzip") from error
    else:
        unpacked = data
    if len(unpacked) > MAX_PAPER_BYTES:
        raise RefusedError("paper too large")
    return unpacked


def packed_paper(data: bytes, identity: str, uri: str) -> Paper:
    """A paper from its packed file: a gzip, or what it holds without it.

    Raises:
        RefusedError: there is no LaTeX in it, it was withdrawn, or it cannot be read.
    """
    unpacked = unpack(data)
    start = unpacked[:1000].lstrip()
    if start.startswith(b"%PDF"):
        raise RefusedError("PDF only")
    if start.startswith((b"%!PS", b"\x04%!PS")):
        raise RefusedError("PostScript only")
    if not start or start.startswith(b"%auto-ignore"):
        raise RefusedError("withdrawn")
    if _FOREIGN.match(unpacked):
        raise RefusedError("no LaTeX file")
    found = _files(unpacked)
    if found is None:
        if unpacked is data and (b"\\" not in data or b"\x00" in data[:1000]):
            raise RefusedError("not what its name says")
        if len(unpacked) > MAX_TEX_BYTES:
            raise RefusedError("file too large")
        found = _Unpacked({f"{identity}.tex": unpacked})
    files, refused = found.files, found.refused
    if not files:
        raise RefusedError(refused[0] if refused else "no LaTeX file")
    if all(data.lstrip().startswith(b"%auto-ignore") for data in files.values()):
        raise RefusedError("withdrawn")
    encoding = declared(files.values())
    texts, codecs = _texts(files, encoding, refused)
    if not texts:
        raise RefusedError(refused[0])
    packages, _ = _texts(found.packages, encoding, refused)
    beyond = {codecs[path] for path, text in texts.items() if not text.isascii()}
    texts, main = _hinted(texts, found.hints)
    return Paper(
        identity,
        uri,
        texts,
        main,
        refused=tuple(refused),
        encodings=tuple(sorted(set(codecs.values()))),
        packages=packages,
        # Where other files of it are UTF-8, their letters are no guess.
        guessed=beyond == {DEFAULT} and codec_of(encoding) != DEFAULT,
    )


def _texts(
    files: Mapping[str, bytes], encoding: str, refused: list[str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Texts of files and their codecs; why others have none is added to ``refused``."""
    texts: dict[str, str] = {}
    codecs: dict[str, str] = {}
    for path, data in files.items():
        try:
            texts[path], codecs[path] = as_text(data, encoding)
        except RefusedError as error:
            refused.append(str(error))
    return texts, codecs


def as_text(data: bytes, encoding: str) -> tuple[str, str]:
    """Text of a LaTeX file and its codec; encoding: what its paper declares.

    Raises:
        RefusedError: it is another kind of file or cannot be decoded.
    """
    if _FOREIGN.match(data):
        raise RefusedError("not what its name says")
    try:
        return decode(data, encoding)
    except NotTextError as error:
        raise RefusedError(str(error)) from error


def _files(unpacked: bytes) -> _Unpacked | None:
    """What a paper's tar holds; None when it is no tar."""
    result = _Unpacked()
    begun = False
    try:
        stream = io.BytesIO(unpacked)
        with Archive.open(fileobj=stream, mode="r:", tarinfo=BoundedInfo) as archive:
            for number, member in members_of(archive):
                begun = True
                path = posixpath.normpath(member.name)
                is_latex = path.lower().endswith(LATEX)
                is_package = path.lower().endswith(PACKAGES)
                extension = posixpath.splitext(path)[1].lower()
                is_text = is_latex or is_package or extension in _OTHER_TEXT or path in _HINTS
                if member.isdir() or not is_text:
                    continue
                reason = refusal(number, path, member)
                if reason:
                    result.refused += [reason] if is_latex or is_package else []
                    continue
                data = content(archive, member)
                if path in _HINTS:
                    result.hints |= _hints(path, data)
                elif is_package:
                    result.packages[path] = data
                elif is_latex or not (_FOREIGN.match(data) or b"\x00" in data):
                    result.files[path] = data
    except damage.ARCHIVE as error:
        damage.kind(error)  # it raises what is none
        if begun:
            raise RefusedError("corrupt archive") from error
        return None
    return result


def refusal(number: int, path: str, member: tarfile.TarInfo) -> str:
    """Why a file of a packed paper is not read, "" when it is."""
    if number >= MAX_MEMBERS:
        return "too many files in a paper"
    if path.startswith(("/", "../")) or path == "..":
        return "path outside the paper"
    if member.islnk() or member.issym():
        return "link in an archive"
    if not member.isfile():
        return "device in an archive"
    return "file too large" if member.size > MAX_TEX_BYTES else ""


def _hints(path: str, data: bytes) -> dict[str, str]:
    """What arXiv's 00README says of files: ``toplevelfile``, ``toplevel``, ``ignore`` ..."""
    text = data[:100_000].decode("utf-8", "replace")
    if not path.endswith(".json"):
        pairs = (line.split() for line in text.splitlines())
        return {pair[0]: pair[1].lower() for pair in pairs if len(pair) == 2}
    try:
        given = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    sources = given.get("sources") if isinstance(given, dict) else None
    rows = [row for row in sources if isinstance(row, dict)] if isinstance(sources, list) else []
    return {str(row.get("filename")): str(row.get("usage")).lower() for row in rows}


def _hinted(texts: dict[str, str], hints: Mapping[str, str]) -> tuple[dict[str, str], str | None]:
    """The files that are not to be ignored, and the first that is said to be the main one."""
    kept = {path: text for path, text in texts.items() if hints.get(path) != "ignore"} or texts
    mains = [path for path, use in hints.items() if use.startswith("toplevel") and path in kept]
    return kept, mains[0] if mains else None
