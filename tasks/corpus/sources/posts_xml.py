"""Rows of a dump's Posts.xml from its bytes as they come, each damage costing one row.

The dumps write every post as one ``<row .../>`` whose values are escaped, so a row is found by
itself: damage between two rows, or in one, loses nothing behind it, which an XML parser's error
would. No document type is heeded and no entity but XML's own five and characters' numbers, so
there is nothing to expand. Memory is bounded by one row.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass

# Longer than any post; Stack Exchange itself allows 30,000 characters.
MAX_ROW_BYTES = 64_000_000
_HEAD_BYTES = 512  # the XML declaration stands in them
# Python knows more names, some of which unpack or are slow.
_TEXT_ENCODING = re.compile(
    r"utf|us-ascii|ascii|iso|latin|windows|cp\d|koi8|euc|gb|big5|shift", re.IGNORECASE
)
_ENCODING = re.compile(rb"<\?xml[^>]{0,200}?encoding\s*=\s*[\"']([\w.:-]{1,40})[\"']")
_ROW = re.compile(
    rb"<!--.*?(?:-->|\Z)"
    rb"|<row(?=[\s/>])((?:\s++[\w:.-]++\s*+=\s*+(?:\"[^\"<]*+\"|'[^'<]*+'))*+)\s*+/?>",
    re.DOTALL,
)
_ATTRIBUTE = re.compile(rb"([\w:.-]+)\s*+=\s*+(?:\"([^\"]*+)\"|'([^']*+)')")
_ROW_ENDS = (b" />", b"/>", b" />\r", b"/>\r")
# How the dumps write the attributes' names.
_PIECES = {
    b" " + name + b"=": name
    for name in (
        b"Id", b"PostTypeId", b"ParentId", b"AcceptedAnswerId", b"CreationDate", b"DeletionDate",
        b"Score", b"ViewCount", b"Body", b"OwnerUserId", b"OwnerDisplayName", b"LastEditorUserId",
        b"LastEditorDisplayName", b"LastEditDate", b"LastActivityDate", b"Title", b"Tags",
        b"AnswerCount", b"CommentCount", b"FavoriteCount", b"ClosedDate", b"CommunityOwnedDate",
        b"ContentLicense",
    )
}  # fmt: skip
_BETWEEN = re.compile(rb"(?:\s|\xef\xbb\xbf|</?[A-Za-z][\w-]*\s*>|<\?[^>]*\?>)*+")
# The references of a post, in the order of their frequency; "&amp;" must be the last to go.
_COMMON = (
    (b"&lt;", b"<"), (b"&gt;", b">"), (b"&#xA;", b"\n"), (b"&quot;", b'"'), (b"&#xD;", b"\r"),
    (b"&apos;", b"'"),
)  # fmt: skip
_REFERENCE = re.compile(r"&(?:#(\d{1,7})|#[xX]([0-9a-fA-F]{1,6})|(amp));")
_BARE = re.compile(r"&(?!(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|amp);)")
_WHITE = bytes.maketrans(b"\t\r\n", b"   ")

Row = dict[bytes, bytes]


@dataclass(frozen=True)
class Damage:
    """What is no row. row: whether a row was lost with it, as far as can be told."""

    reason: str
    row: bool


class PostsReader:
    """Feed it the file's bytes in any pieces, then `finish`; it gives rows and damages in order."""

    def __init__(self) -> None:
        self._buffer = b""
        self._wanted = 0  # bytes the buffer must hold before another look at it is worth it
        self._decoder: codecs.IncrementalDecoder | None = None
        self._begun = False
        self._closed = False
        self._skipping = False
        self._rows = False

    def feed(self, data: bytes) -> Iterator[Row | Damage]:
        """Rows that are complete by now.

        Raises:
            LookupError: the file declares an encoding that is not known.
        """
        if not self._begun:
            data = self._buffer + data
            self._buffer = b""
            if len(data) < _HEAD_BYTES:
                self._buffer = data
                return
            self._begin(data)
        if self._decoder is not None:
            data = self._decoder.decode(data).encode("utf-8", "replace")
        self._buffer += data
        if len(self._buffer) >= self._wanted:
            yield from self._take(last=False)

    def finish(self) -> Iterator[Row | Damage]:
        """The rows left, and whether the file ended where it should."""
        if not self._begun:
            self._begin(self._buffer)
            if self._decoder is not None:
                self._buffer = self._decoder.decode(self._buffer, True).encode("utf-8", "replace")
        yield from self._take(last=True)

    def _begin(self, data: bytes) -> None:
        self._begun = True
        if data.startswith((b"\xff\xfe", b"\xfe\xff")):
            name = "utf-16"
        else:
            found = _ENCODING.match(data.removeprefix(codecs.BOM_UTF8)[:_HEAD_BYTES])
            name = found[1].decode() if found else "utf-8"
        if not _TEXT_ENCODING.match(name):
            raise LookupError(f"unknown encoding {name}")
        if codecs.lookup(name).name not in ("utf-8", "ascii"):
            self._decoder = codecs.getincrementaldecoder(name)("replace")

    def _take(self, *, last: bool) -> Iterator[Row | Damage]:
        buffer = self._buffer
        at = 0
        while at < len(buffer):
            end = buffer.find(b"\n", at)
            line = buffer[at:end] if end >= 0 else b"<"
            row = _row_of_line(line)
            if row is not None:
                at = end + 1
            elif not line.strip():  # behind a row that was found the other way
                at = end + 1
                continue
            else:
                match = _ROW.search(buffer, at)
                if match is None or not match[0].endswith(b">"):
                    break  # none, or a comment whose end has not come
                yield from self._between(buffer[at : match.start()])
                at = match.end()
                if match[1] is None:
                    continue
                row = {name: a or b for name, a, b in _ATTRIBUTE.findall(match[1])}
            self._skipping = False
            self._rows = True
            yield row
        rest = buffer[at:] if at else buffer
        if last:
            yield from self._end(rest)
            rest = b""
        elif len(rest) > MAX_ROW_BYTES:
            if not self._skipping:
                yield Damage("row too large", True)
            # What goes on behind a second row's beginning may still be whole.
            self._skipping = True
            again = rest.rfind(b"<row", 1)
            rest = rest[again:] if again > len(rest) - MAX_ROW_BYTES // 2 else rest[-4:]
        self._buffer = rest
        self._wanted = 2 * len(rest)

    def _between(self, gap: bytes) -> Iterator[Damage]:
        """What a gap between two rows lost, if it is not only the tags around them."""
        if b"</posts" in gap:
            self._closed = True
        if self._skipping:  # the rest of what was counted already
            gap = gap.partition(b"<row")[1]
            self._skipping = False
        if gap and not _BETWEEN.fullmatch(gap):
            lost = gap.count(b"<row")
            for _ in range(lost or 1):
                yield Damage("malformed XML", lost > 0)

    def _end(self, rest: bytes) -> Iterator[Damage]:
        lost = rest.count(b"<row")
        if lost and not self._skipping:
            for _ in range(lost - 1):
                yield Damage("malformed XML", True)
            yield Damage("truncated XML", True)
            return
        damages = list(self._between(rest))
        yield from damages
        if not damages and not self._closed and not self._skipping:
            yield Damage(
                "truncated XML" if self._rows or b"<posts" in rest else "malformed XML", False
            )


def _row_of_line(line: bytes) -> Row | None:
    """The row that a line is, written as the dumps write it; None when it is anything else.

    Three times as fast as the regular expression, which takes whatever XML allows.
    """
    parts = line.split(b'"')
    if parts[-1] not in _ROW_ENDS or len(parts) % 2 == 0 or line.count(b"<") != 1:
        return None
    head = parts[0].lstrip()
    if head[:4] != b"<row":
        return None
    parts[0] = head[4:]
    try:
        names = [_PIECES[piece] for piece in parts[:-1:2]]
    except KeyError:
        return None
    return dict(zip(names, parts[1::2], strict=True))


def value(row: Row, name: bytes) -> str:
    """An attribute's value, "" when it is not there.

    Raises:
        ValueError: it is not UTF-8, or refers to what XML does not know.
    """
    data = row.get(name, b"")
    if b"\n" in data or b"\t" in data or b"\r" in data:
        data = data.translate(_WHITE)
    if b"&" not in data:
        return data.decode()
    for reference, character in _COMMON:
        if reference in data:
            data = data.replace(reference, character)
    left = data.count(b"&")
    if left == data.count(b"&amp;"):
        return (data.replace(b"&amp;", b"&") if left else data).decode()
    return _with_characters(data.decode())


def _with_characters(text: str) -> str:
    """``text`` with its other references resolved: characters' numbers, and "&amp;"."""
    bare = _BARE.search(text)
    if bare is not None:
        raise ValueError(f"unknown reference {text[bare.start() : bare.start() + 20]!r}")
    return _REFERENCE.sub(_character, text)


def _character(match: re.Match[str]) -> str:
    if match[3]:
        return "&"
    number = int(match[1] or match[2], 10 if match[1] else 16)
    if not 0 < number <= 0x10FFFF or 0xD800 <= number < 0xE000:
        return "\ufffd"
    return chr(number)
