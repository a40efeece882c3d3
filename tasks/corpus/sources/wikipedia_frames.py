"""Where each page of a dump begins and ends, from its bytes as they come.

The dumps escape every "<" of a text, so "<page>" and "</page>" are what they seem wherever they
stand: damage in a page, or between two, loses nothing behind it, which an XML parser's error would.
That holds within comments and CDATA sections too, which no dump of MediaWiki has. Memory is bounded
by one page and time is linear.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass

# What libxml2 takes as one text without its switch for huge ones; MediaWiki allows 2 MiB.
MAX_PAGE_BYTES = 10_000_000
# The header is some 10 KB.
MAX_BETWEEN_BYTES = 1 << 20
_HEAD_BYTES = 512  # the XML declaration stands in them
# Python knows more names, some of which unpack or are slow. A declaration that can be read as
# ASCII is of no encoding of two or four bytes, whatever it says.
_TEXT_ENCODING = re.compile(
    r"utf-?8|us-ascii|ascii|iso|latin|windows|cp\d|koi8|euc|gb|big5|shift", re.IGNORECASE
)
_WIDE = re.compile(r"utf-?(?:16|32)|ucs", re.IGNORECASE)
_ENCODING = re.compile(rb"<\?xml[^>]{0,200}?encoding\s*=\s*[\"']([\w.:-]{1,40})[\"']")
# A mark alone may be damage, which must not turn all that follows into another encoding: the first
# two characters must be of it, too.
_WIDE_BEGINNINGS = (
    (re.compile(rb"\xff\xfe\0\0[<\s]\0\0\0[!-~\s]\0\0\0"), "utf-32"),
    (re.compile(rb"\0\0\xfe\xff\0\0\0[<\s]\0\0\0[!-~\s]"), "utf-32"),
    (re.compile(rb"\xff\xfe[<\s]\0[!-~\s]\0"), "utf-16"),
    (re.compile(rb"\xfe\xff\0[<\s]\0[!-~\s]"), "utf-16"),
    (re.compile(rb"[<\s]\0[!-~\s]\0"), "utf-16-le"),
    (re.compile(rb"\0[<\s]\0[!-~\s]"), "utf-16-be"),
)
# What is looked for, in one pass: the last is a page's beginning.
_TAG = re.compile(
    rb"<(?:(title>)|(revision>)|(/page\s{0,16}+>)|(page(?:\s[^<>]{0,1000}+)?>|page/>))"
)
_TITLE, _REVISION, _END = 1, 2, 3
_TAG_BYTES = 1100  # longer than what `_TAG` matches
_LOST_END = b"</page"
_INNER = (b"<title>", b"<revision>")


@dataclass(frozen=True)
class Frame:
    """A page's own XML in UTF-8, of its revisions the last; number: its place from 0."""

    number: int
    xml: bytes


@dataclass(frozen=True)
class Between:
    """What stands before the first page, between two or behind the last, where it is not blank.

    xml: its first `MAX_BETWEEN_BYTES`. is_whole: that is all, and no page was lost in it.
    """

    xml: bytes
    is_whole: bool


@dataclass(frozen=True)
class Damage:
    """A page that is lost; number: its place from 0."""

    reason: str
    number: int


def _unreadable(error: UnicodeError) -> tuple[str, int]:
    """Bytes that are none of the encoding become a character that XML forbids: the page is lost."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "\uffff", error.end


codecs.register_error("arriero.unreadable", _unreadable)


class PageFramer:
    """Feed it the file's bytes in any pieces, then `finish`; it gives all that is in it, in order.

    number: of the next page. is_open: within a page.
    """

    def __init__(self) -> None:
        self.number = 0
        self.is_open = False
        self._decoder: codecs.IncrementalDecoder | None = None
        self._begun = False
        self._fed: list[bytes] = []
        self._size = self._size_held = 0
        self._wanted = _HEAD_BYTES  # bytes to hold before another look at them is worth it
        self._scan = 0
        self._skipping = False
        # Of the open page: where its first and last revision begin, -1 without one.
        self._titles = 0
        self._first = self._last = -1
        self._is_large = False
        self._between = _BetweenPages()

    def feed(self, data: bytes) -> Iterator[Frame | Between | Damage]:
        """What is complete by now.

        Raises:
            LookupError: the file declares an encoding that is not known.
        """
        self._fed.append(data)
        self._size += len(data)
        if self._size >= self._wanted:
            yield from self._take()

    def broken(self) -> Iterator[Frame | Between | Damage]:
        """Here bytes of the file are missing: the page that is open is lost."""
        yield from self._take()
        if self.is_open:
            yield from self._close("" if self._skipping else "truncated XML")
            self._scan = 0
            self._hold(b"")
        else:
            yield from self._rest()

    def finish(self) -> Iterator[Frame | Between | Damage]:
        """What is left; a page that is open stays so."""
        yield from self._take()
        if not self.is_open:
            yield from self._rest()

    def _rest(self) -> Iterator[Between | Damage]:
        """What was held because a tag might begin in it."""
        self._between.add(b"".join(self._fed))
        self._hold(b"")
        yield from self._end_between()

    def _begin(self, data: bytes) -> bytes:
        self._begun = True
        name = next((name for begins, name in _WIDE_BEGINNINGS if begins.match(data)), "")
        if not name:
            data = data.removeprefix(codecs.BOM_UTF8)
            found = _ENCODING.match(data[:_HEAD_BYTES])
            name = found[1].decode() if found else "utf-8"
            if _WIDE.match(name):
                name = "utf-8"
            if not _TEXT_ENCODING.match(name):
                raise LookupError(f"unknown encoding {name}")
        if codecs.lookup(name).name not in ("utf-8", "ascii"):
            self._decoder = codecs.getincrementaldecoder(name)("arriero.unreadable")
        return data

    def _take(self) -> Iterator[Frame | Between | Damage]:
        buffer = self._text()
        at = 0  # where the open page begins, or what stands behind the last one
        seen = self._scan
        for match in _TAG.finditer(buffer, seen):
            seen = match.end()
            tag = match.lastindex
            if tag == _TITLE:
                self._titles += 1
            elif tag == _REVISION:
                self._revision(match.start() - at)
            elif tag == _END:
                if self.is_open:
                    yield from self._complete(buffer, at, seen)
                    at = seen
            else:
                if self.is_open:  # this one's end is missing
                    yield from self._torn(match.start() - at)
                else:
                    self._between.add(buffer[at : match.start()])
                    yield from self._end_between()
                at = match.start()
                self._open()
                if match[0].endswith(b"/>"):
                    yield from self._complete(buffer, at, seen)
                    at = seen
        # The last bytes may be the beginning of a tag.
        end = max(seen, len(buffer) - _TAG_BYTES)
        if self.is_open:
            yield from self._wait(buffer[at:], len(buffer) - end)
        else:
            end = max(at, end)
            self._between.add(buffer[at:end])
            self._scan = 0
            self._hold(buffer[end:])

    def _text(self) -> bytes:
        """All that was fed and not taken, in UTF-8."""
        data = b"".join(self._fed)
        if not self._begun:
            data = self._begin(data)
            held = 0
        else:
            held = self._size_held
        if self._decoder is not None:
            fresh = self._decoder.decode(data[held:]).encode("utf-8", "surrogatepass")
            data = data[:held] + fresh
        return data

    def _hold(self, rest: bytes) -> None:
        self._fed = [rest]
        self._size = self._size_held = len(rest)
        self._wanted = 2 * len(rest) if self.is_open else 0

    def _open(self) -> None:
        self.is_open = True
        self._titles = 0
        self._first = self._last = -1
        self._is_large = False

    def _revision(self, at: int) -> None:
        """A revision of the open page begins ``at`` bytes behind the page's beginning."""
        self._is_large = self._is_large or self._exceeds(at)
        if self._first < 0:
            self._first = at
        self._last = at

    def _exceeds(self, end: int) -> bool:
        """Whether what stands before the first revision, with the last so far, is too large."""
        return max(self._first, 0) + end - max(self._last, 0) > MAX_PAGE_BYTES

    def _wait(self, rest: bytes, unseen: int) -> Iterator[Damage]:
        """Hold a page's beginning, or only its end when the page is too large."""
        if not self._skipping and (self._is_large or self._exceeds(len(rest))):
            self._skipping = True
            yield Damage("page too large", self.number)
        if self._skipping:
            rest = rest[-_TAG_BYTES:]
        elif len(rest) > MAX_PAGE_BYTES:
            rest = rest[: self._first] + rest[self._last :]
            self._last = self._first
        self._scan = len(rest) - unseen
        self._hold(rest)

    def _complete(self, buffer: bytes, start: int, end: int) -> Iterator[Frame | Damage]:
        number = self.number
        if self._skipping:
            yield from self._close("")
        elif self._is_large or self._exceeds(end - start):
            yield from self._close("page too large")
        elif self._titles > 1:  # two pages, with what was between them gone
            yield from self._close("malformed XML")
        else:
            xml = buffer[start:end]
            if self._first != self._last:
                xml = xml[: self._first] + xml[self._last :]
            yield from self._close("")
            yield Frame(number, xml)

    def _torn(self, size: int) -> Iterator[Damage]:
        """The page has no end: another one begins."""
        reason = "page too large" if self._is_large or self._exceeds(size) else "malformed XML"
        yield from self._close("" if self._skipping else reason)

    def _close(self, reason: str) -> Iterator[Damage]:
        """The page ends here; ``reason``: why it is lost, "" when it is not or is counted."""
        if reason:
            yield Damage(reason, self.number)
        self.number += 1
        self.is_open = self._skipping = False

    def _end_between(self) -> Iterator[Between | Damage]:
        """The pages lost between two, and what else there is."""
        between = self._between
        if not between.size:
            return
        self._between = _BetweenPages()
        kept = bytes(between.kept)
        lost = between.lost or any(tag in kept for tag in _INNER)
        yield Between(kept, not lost and between.size == len(kept))
        for _ in range(lost):
            yield from self._close("malformed XML")


class _BetweenPages:
    """What stands between two pages, gathered; of very much the beginning."""

    def __init__(self) -> None:
        self.kept = bytearray()
        self.lost = 0
        self.size = 0
        self._tail = b""

    def add(self, data: bytes) -> None:
        if not data or (not self.size and data.isspace()):
            return
        self.size += len(data)
        self.kept += data[: MAX_BETWEEN_BYTES - len(self.kept)]
        data = self._tail + data
        self.lost += data.count(_LOST_END)
        self._tail = data[1 - len(_LOST_END) :]
