"""Records of web archives: WARC, WET (a WARC of plain text) and ARC, plain or gzip.

A damaged record costs itself and no other: reading goes on at the next gzip member, or the next
line, that begins a record. The offset of a record is the byte of the file where its gzip member
begins plus the number of records before it in that member (in a plain file: its own first byte).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tasks.corpus.sources.unpacked import CORRUPT, Damage, Piece, first_member, pieces

MAX_HEADER_BYTES = 64 << 10
MAX_RECORD_BYTES = 8_000_000
TRUNCATED = "truncated record"


class Record(NamedTuple):
    """headers: names in lower case; an ARC's address and length have their names in a WARC.

    head: the header's own bytes. content: None where the caller did not want it, or where it is
    longer than MAX_RECORD_BYTES. length: bytes of the content, as the header says.
    """

    offset: int
    headers: dict[str, str]
    head: bytes
    content: bytes | None
    length: int


class Lost(NamedTuple):
    """A record, or bytes that are none, that cannot be read. detail: what is wrong."""

    offset: int
    reason: str
    detail: str


Wanted = Callable[[Mapping[str, str]], bool]


@dataclass(frozen=True)
class Format:
    """How records lie in a file.

    begin: matches the first bytes of a record. next: finds one further on. end: ends its header.
    after: what must follow its content where no record does. reason: why a file is bad that does
    not hold to the format.
    """

    begin: re.Pattern[bytes]
    next: re.Pattern[bytes]
    end: re.Pattern[bytes]
    after: re.Pattern[bytes]
    parse: Callable[[bytes], dict[str, str] | None]
    reason: str

    def starts(self, data: bytes) -> bool:
        """Whether ``data`` is how a record begins."""
        return self.begin.match(data) is not None


def _warc_fields(head: bytes) -> dict[str, str] | None:
    """Fields of a WARC header; None when it has no usable length. Repeated fields: the first."""
    fields: dict[str, str] = {}
    for line in head.decode("utf-8", "replace").split("\n")[1:]:
        name, colon, value = line.partition(":")
        if colon:
            fields.setdefault(name.strip().lower(), value.strip())
    return fields if _is_length(fields.get("content-length", "")) else None


def _arc_fields(head: bytes) -> dict[str, str] | None:
    """Fields of an ARC header line: address first, length last."""
    parts = head.decode("utf-8", "replace").split()
    if len(parts) < 5 or not _is_length(parts[-1]):
        return None
    return {"warc-target-uri": parts[0], "content-length": parts[-1]}


def _is_length(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 16


WARC = Format(
    begin=re.compile(rb"WARC/\d"),
    next=re.compile(rb"(?<=\n)WARC/\d+\.\d+[ \t]*\r?\n"),
    end=re.compile(rb"\n\r?\n"),
    after=re.compile(rb"\r?\n\r?\n"),
    parse=_warc_fields,
    reason="malformed WARC",
)
_ARC_LINE = (
    rb"[a-zA-Z][a-zA-Z0-9+.-]{0,20}:[^\s]{0,8192} [0-9a-fA-F.:]+ \d{12,14} [^\n]{0,400}\d\r?\n"
)
ARC = Format(
    begin=re.compile(_ARC_LINE),
    next=re.compile(rb"(?<=\n)" + _ARC_LINE),
    end=re.compile(rb"\n"),
    after=re.compile(rb"\r?\n\Z"),
    parse=_arc_fields,
    reason="malformed ARC",
)
# Longer than anything that begins a record.
_OVERLAP = 16 << 10
_FIRST = 64
_SLACK = 4
_BLANK = re.compile(rb"[\r\n]*")


def records(path: Path, form: Format, wanted: Wanted) -> Iterator[Record | Lost]:
    """Records of a file in order, and what could not be read in its place.

    Only the contents of records that are ``wanted`` are given.
    """
    stream = _Stream(path, form)
    while (found := stream.turn()) is not None:
        if isinstance(found, Damage):
            yield Lost(found.offset, found.reason, "")
        else:
            yield _record(stream, form, wanted)


def _record(stream: _Stream, form: Format, wanted: Wanted) -> Record | Lost:
    """The record that begins here; then the stream stands behind it, or at what could be one."""
    offset = stream.begin()
    head = stream.header()
    if head is None:
        found = stream.resynchronise(1)
        cut = stream.started and not found and stream.at_end
        return Lost(offset, TRUNCATED if cut else form.reason, "no header of a record")
    fields = form.parse(head)
    if fields is None:
        stream.resynchronise()
        return Lost(offset, form.reason, "no length")
    length = int(fields["content-length"])
    if length > MAX_RECORD_BYTES:
        if not stream.skip(length):
            stream.resynchronise()
            return Lost(offset, form.reason, f"wrong length: {length}")
        return Record(offset, fields, head, None, length)
    if b"\r" not in head and not (stream.need(length) and stream.ends_at(length)):
        saved = stream.take_resaved(length)
        if saved is not None:
            return Record(offset, fields, head, saved if wanted(fields) else None, length)
    if not stream.need(length):
        # Cut off; or its length is wrong, and it swallowed the next one.
        found = stream.resynchronise()
        cut = not found and stream.at_end
        return Lost(offset, TRUNCATED if cut else form.reason, f"wrong length: {length}")
    if not stream.ends_at(length):
        stream.resynchronise()
        return Lost(offset, form.reason, f"wrong length: {length}")
    content = stream.take(length)
    if stream.corrupt:
        return Lost(offset, TRUNCATED, "its gzip member is corrupt")
    return Record(offset, fields, head, content if wanted(fields) else None, length)


class _Stream:
    """A file's unpacked bytes from a position on, as far as they hang together.

    A gzip member that starts as a record does, damage and the end of the file are boundaries:
    only :meth:`turn` crosses one.
    """

    def __init__(self, path: Path, form: Format) -> None:
        member = first_member(path, form.starts)
        self._packed = member is not None
        self._size = path.stat().st_size
        self._form = form
        self._source = pieces(path, form.starts, member)
        self._next = next(self._source, None)
        self._data = b""
        self._at = 0
        self._base = 0  # place of _data in a plain file
        self._piece = 0  # place of the newest piece
        self._member = 0
        self._index = -1  # records of the member before this one
        self._members: list[tuple[int, int]] = []  # members that begin inside _data
        self.started = False

    @property
    def at_end(self) -> bool:
        """Nothing of the file is left but what may be held."""
        return self._next is None or isinstance(self._next, Damage)

    @property
    def corrupt(self) -> bool:
        """The gzip member these bytes end is corrupt: they may be others than they were."""
        return (
            self._at == len(self._data)
            and isinstance(self._next, Damage)
            and self._next == (CORRUPT, self._piece)
        )

    def turn(self) -> Damage | bool | None:
        """Go to the next bytes that are not blank: True; damage once it is met; None: the end."""
        while True:
            self._pass_blank()
            if self._at < len(self._data):
                return True
            item = self._next
            if item is None:
                return None
            self._next = next(self._source, None)
            if isinstance(item, Damage):
                return item
            self._data, self._at, self._base = item.data, 0, item.offset
            self._piece = item.offset
            self._members = [(0, item.offset)] if item.first else []

    def begin(self) -> int:
        """The offset of the record that begins here."""
        if not self._packed:
            return self._base + self._at
        while self._members and self._members[0][0] <= self._at:
            self._member, self._index = self._members.pop(0)[1], -1
        self._index += 1
        return self._member + self._index

    def header(self) -> bytes | None:
        """The header that begins here, passed; None where none does, or none that ends."""
        self.need(_FIRST)
        self.started = self._form.begin.match(self._data, self._at) is not None
        if not self.started:
            self.need(_OVERLAP)
            self.started = self._form.begin.match(self._data, self._at) is not None
        if not self.started:
            return None
        while True:
            end = self._form.end.search(self._data, self._at, self._at + MAX_HEADER_BYTES)
            if end is not None:
                head = self._data[self._at : end.end()]
                self._at = end.end()
                return head
            if len(self._data) - self._at >= MAX_HEADER_BYTES or not self._fill():
                return None

    def need(self, count: int) -> bool:
        """Whether ``count`` bytes are held from here on, read as far as they hang together."""
        while len(self._data) - self._at < count:
            if not self._fill():
                return False
        return True

    def take(self, count: int) -> bytes:
        """The next bytes, which are held, and the blank lines after them."""
        data = self._data[self._at : self._at + count]
        self._at += count
        self._pass_blank()
        return data

    def take_resaved(self, count: int) -> bytes | None:
        """A content that was saved anew as text, and its ``count`` of bytes or characters not.

        Its line ends lost their CR, or its length counts characters, give or take a few; it goes
        on to the next record. None where neither makes up the difference.
        """
        while (found := self._form.next.search(self._data, self._at)) is None:
            if len(self._data) - self._at > 4 * count + _FIRST or not self._fill():
                break
        data = self._data[self._at : found.start() if found else len(self._data)]
        text = data.decode("utf-8", "replace")
        bare = data.rstrip(b"\n")
        converted = len(bare) - _SLACK <= count <= len(data) + data.count(b"\n")
        if not converted and not len(text.rstrip("\n")) <= count <= len(text):
            return None
        return self.take(len(data)).rstrip(b"\n")

    def skip(self, count: int) -> bool:
        """Pass bytes without holding them; False where there are not as many.

        Nothing is passed then in a plain file; in a gzip file what there was is lost.
        """
        if not self._packed and self._base + self._at + count > self._size:
            return False
        while count > len(self._data) - self._at:
            count -= len(self._data) - self._at
            self._at = len(self._data)
            if not self._fill():
                return False
        self._at += count
        return True

    def ends_at(self, count: int) -> bool:
        """Whether a record can end ``count`` bytes on: in blank lines, a record or a boundary."""
        self.need(count + _OVERLAP)
        place = self._at + count
        after = _BLANK.match(self._data, place)
        assert after is not None
        if after.end() == len(self._data) or self._form.begin.match(self._data, after.end()):
            return True
        # A gzip member begins there: what is in it may be damaged and begin as nothing does.
        if any(place <= begins <= after.end() for begins, _ in self._members):
            return True
        return self._form.after.match(self._data, place) is not None

    def resynchronise(self, beyond: int = 0) -> bool:
        """Go to a line that begins a record ``beyond`` bytes on or later; False: to a boundary."""
        self.need(beyond)
        while True:
            found = self._form.next.search(self._data, self._at + beyond)
            if found is not None:
                self._at = found.start()
                return True
            self._at, beyond = max(self._at + beyond, len(self._data) - _OVERLAP), 0
            if not self._fill():
                self._at = len(self._data)
                return False

    def _pass_blank(self) -> None:
        blank = _BLANK.match(self._data, self._at)
        assert blank is not None
        self._at = blank.end()

    def _fill(self) -> bool:
        """Hold one more piece; False at a boundary."""
        item = self._next
        if not isinstance(item, Piece) or (item.first and self._form.starts(item.data)):
            return False
        self._base += self._at
        self._members = [(place - self._at, offset) for place, offset in self._members]
        kept = self._data[self._at :]
        if item.first:
            self._members.append((len(kept), item.offset))
        self._data, self._at, self._piece = kept + item.data, 0, item.offset
        self._next = next(self._source, None)
        return True
