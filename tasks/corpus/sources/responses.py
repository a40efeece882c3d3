"""The body of an HTTP response as it was stored in a crawl: unchunked, unpacked, bounded."""

from __future__ import annotations

import io
import re
import zlib
from typing import NamedTuple

from tasks.corpus.sources import damage
from tasks.corpus.sources.warc import MAX_RECORD_BYTES

_CHARSET = re.compile(r"[\w.:+-]{1,40}")
_CHUNK = re.compile(rb"[0-9a-fA-F]{1,8}[ \t]*(?:;[^\r\n]{0,200})?\r?\n")
_PIECE = 8192  # bytes of a packed body that are unpacked at once
_MARKUP = re.compile(rb"<[a-zA-Z!/?]")


class Response(NamedTuple):
    """kind: media type in lower case, None where none is given.

    charset: as announced, "" where none is. body: at most MAX_RECORD_BYTES + 1 bytes: one that is
    as long is longer in truth. cut: a coding of the body (chunks, gzip, deflate) ends before its
    end or is broken in the middle; the body is what came before.
    """

    status: int
    kind: str | None
    charset: str
    body: bytes
    date: str = ""
    cut: bool = False


class _Body(NamedTuple):
    data: bytes
    cut: bool


def read_response(content: bytes) -> Response | None:
    """The response that a WARC's record holds; None where it is none.

    Crawls announce encodings that were undone before they were stored: a body that does not unpack
    as announced is taken as it is where it looks like markup.
    """
    from fastwarc.warc import WarcRecord, WarcRecordType

    # ClueWeb's headers end in LF alone.
    end = content.find(b"\n\n", 0, 65536)
    lenient = end >= 0 and content.find(b"\r\n\r\n", 0, end + 2) < 0
    # FastWARC says nothing of a body that is cut: it undoes Brotli only.
    for decode in ("none", "all"):
        record = WarcRecord()
        record.init_headers(WarcRecordType.response)
        record.set_bytes_content(content)
        record.is_http = True
        try:
            record.parse_http(
                auto_decode="none" if decode == "none" else "all", quirks_mode=lenient
            )
            # Bounded: a few megabytes of Brotli inside a record unpack to gigabytes.
            raw = record.reader.read(MAX_RECORD_BYTES + 1)
        except (OSError, ValueError) as error:
            damage.kind(error)  # it raises what is none
            return None
        headers = record.http_headers
        encoding = (headers.get("Content-Encoding") or "").lower()
        chunked = "chunked" in (headers.get("Transfer-Encoding") or "").lower()
        body: _Body | None = _Body(raw, False)
        if decode == "none" and (encoding or chunked):
            body = _undo(raw, encoding, chunked)
            if body is None and encoding == "br":
                continue
        if body is None or headers.status_code is None:
            return None
        kind = record.http_content_type
        return Response(
            headers.status_code, kind.strip().lower() if kind else None,
            _charset(record.http_charset), body.data, cut=body.cut,
        )  # fmt: skip
    return None


def read_arc_response(record: bytes) -> Response | None:
    """The response that an ARC's record (header line and content) holds; None where it is none."""
    from warcio.archiveiterator import ArchiveIterator
    from warcio.exceptions import ArchiveLoadFailed

    try:
        parsed = next(iter(ArchiveIterator(io.BytesIO(record), arc2warc=True)), None)
        if parsed is None or parsed.rec_type != "response" or parsed.http_headers is None:
            return None
        headers = parsed.http_headers
        raw = parsed.raw_stream.read()
    except (ArchiveLoadFailed, OSError, EOFError, ValueError) as error:
        damage.kind(error)
        return None
    encoding = (headers.get_header("Content-Encoding") or "").lower()
    chunked = "chunked" in (headers.get_header("Transfer-Encoding") or "").lower()
    body: _Body | None = _Body(raw[: MAX_RECORD_BYTES + 1], False)
    if encoding or chunked:
        body = _undo(raw, encoding, chunked)
    code = headers.get_statuscode()
    if body is None or not (code.isascii() and code.isdigit() and len(code) < 5):
        return None
    kind, _, rest = (headers.get_header("Content-Type") or "").partition(";")
    charset = re.search(r"charset\s*=\s*([^;]+)", rest, re.IGNORECASE)
    return Response(
        int(code),
        kind.strip().lower() or None,
        _charset(charset.group(1) if charset else None),
        body.data,
        parsed.rec_headers.get_header("WARC-Date") or "",
        body.cut,
    )


def _charset(announced: str | None) -> str:
    found = _CHARSET.fullmatch((announced or "").strip(" \t\"'"))
    return found.group() if found else ""


def _undo(body: bytes, encoding: str, chunked: bool) -> _Body | None:
    """The body without its encodings as far as they hold; None where nothing readable is left."""
    cut = False
    if chunked and _CHUNK.match(body):
        body, cut = _unchunked(body)
    if encoding == "br":
        return _looks_like_markup(body, cut)
    if body.startswith(b"\x1f\x8b"):
        return _unpacked(body, zlib.MAX_WBITS | 16, cut)
    if "deflate" in encoding and not _looks_like_markup(body, cut):
        return _unpacked(body, zlib.MAX_WBITS, cut) or _unpacked(body, -zlib.MAX_WBITS, cut)
    return _looks_like_markup(body, cut)


def _looks_like_markup(body: bytes, cut: bool) -> _Body | None:
    start = body[:4096]
    return _Body(body, cut) if b"\0" not in start and _MARKUP.search(start) else None


def _unchunked(body: bytes) -> _Body:
    """The chunks of ``body``, as far as they go; cut where the last, empty one does not come."""
    parts: list[bytes] = []
    at = 0
    while (size := _CHUNK.match(body, at)) is not None:
        length = int(re.split(rb"[^0-9a-fA-F]", size.group(), maxsplit=1)[0], 16)
        if not length:
            return _Body(b"".join(parts), False)
        parts.append(body[size.end() : size.end() + length])
        at = size.end() + length
        at += 2 if body[at : at + 2] == b"\r\n" else 1
    return _Body(b"".join(parts), True)


def _unpacked(body: bytes, window: int, cut: bool) -> _Body | None:
    """What a packed body unpacks to, to its end or its break; None where it does not begin so."""
    unpacking = zlib.decompressobj(window)
    parts: list[bytes] = []
    left = MAX_RECORD_BYTES + 1
    size = _PIECE
    at = 0
    # In pieces, and where one is broken, byte by byte: all that comes before the place.
    while at < len(body) and left and not unpacking.eof:
        before = unpacking.copy()
        try:
            part = unpacking.decompress(body[at : at + size], left)
        except zlib.error:
            if size == 1:
                cut = True
                break
            unpacking, size = before, 1
            continue
        parts.append(part)
        left -= len(part)
        at += size
    unpacked = b"".join(parts)
    return _Body(unpacked, cut or (bool(left) and not unpacking.eof)) if unpacked else None
