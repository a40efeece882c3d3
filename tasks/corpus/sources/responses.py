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
# RFC 1952: flags, time, system; then what the flags announce: extra field, name, comment.
_GZIP_HEAD = re.compile(
    rb"\x1f\x8b\x08(?:[\x00\x01\x02\x03].{6}|[\x08-\x0b].{6}[^\0]*+\0|[\x10-\x13].{6}[^\0]*+\0"
    rb"|[\x18-\x1b].{6}[^\0]*+\0[^\0]*+\0)",
    re.DOTALL,
)
_MARKUP = re.compile(rb"<[a-zA-Z!/?]")


class Response(NamedTuple):
    """kind: media type in lower case, None where none is given.

    charset: as announced, "" where none is. body: at most MAX_RECORD_BYTES + 1 bytes: one that is
    as long is longer in truth. cut: its chunks, gzip or deflate end before their end.
    """

    status: int
    kind: str | None
    charset: str
    body: bytes
    date: str = ""
    cut: bool = False


def read_response(content: bytes) -> Response | None:
    """The response that a WARC's record holds; None where it is none.

    Crawls announce encodings that were undone before they were stored: a body that does not unpack
    as announced is taken as it is where it looks like markup.
    """
    from fastwarc.warc import WarcRecord, WarcRecordType

    # ClueWeb's headers end in LF alone.
    end = content.find(b"\n\n", 0, 65536)
    lenient = end >= 0 and content.find(b"\r\n\r\n", 0, end + 2) < 0
    for decode in ("all", "none"):
        record = WarcRecord()
        record.init_headers(WarcRecordType.response)
        record.set_bytes_content(content)
        record.is_http = True
        try:
            record.parse_http(auto_decode="all" if decode == "all" else "none", quirks_mode=lenient)
            # Bounded: a few megabytes of gzip inside a record unpack to gigabytes.
            body: bytes | None = record.reader.read(MAX_RECORD_BYTES + 1)
        except (OSError, ValueError) as error:
            damage.kind(error)  # it raises what is none
            continue
        headers = record.http_headers
        encoding = (headers.get("Content-Encoding") or "").lower()
        chunked = "chunked" in (headers.get("Transfer-Encoding") or "").lower()
        raw = content[content.find(b"\n\n" if lenient else b"\r\n\r\n") + (2 if lenient else 4) :]
        cut = bool(encoding or chunked) and _is_cut(raw, encoding, chunked)
        if decode == "none" and body is not None:
            body = _undo(body, encoding, chunked)
        if body is None or headers.status_code is None:
            return None
        kind = record.http_content_type
        return Response(
            headers.status_code, kind.strip().lower() if kind else None,
            _charset(record.http_charset), body, cut=cut,
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
    body = _undo(raw, encoding, chunked) if encoding or chunked else raw[: MAX_RECORD_BYTES + 1]
    code = headers.get_statuscode()
    if body is None or not (code.isascii() and code.isdigit() and len(code) < 5):
        return None
    kind, _, rest = (headers.get_header("Content-Type") or "").partition(";")
    charset = re.search(r"charset\s*=\s*([^;]+)", rest, re.IGNORECASE)
    return Response(
        int(code),
        kind.strip().lower() or None,
        _charset(charset.group(1) if charset else None),
        body,
        parsed.rec_headers.get_header("WARC-Date") or "",
        bool(encoding or chunked) and _is_cut(raw, encoding, chunked),
    )


def _charset(announced: str | None) -> str:
    found = _CHARSET.fullmatch((announced or "").strip(" \t\"'"))
    return found.group() if found else ""


def _undo(body: bytes, encoding: str, chunked: bool) -> bytes | None:
    """The body without its encodings as far as they hold; None where nothing readable is left."""
    if chunked and _CHUNK.match(body):
        body = _unchunked(body)
    if encoding == "br":
        return _looks_like_markup(body)
    if body.startswith(b"\x1f\x8b"):
        return _unpacked(body, zlib.MAX_WBITS | 16)
    if "deflate" in encoding and not _looks_like_markup(body):
        return _unpacked(body, zlib.MAX_WBITS) or _unpacked(body, -zlib.MAX_WBITS)
    return _looks_like_markup(body)


def _looks_like_markup(body: bytes) -> bytes | None:
    start = body[:4096]
    return body if b"\0" not in start and _MARKUP.search(start) else None


def _unchunked(body: bytes) -> bytes:
    """The chunks of ``body``, as far as they go."""
    parts = []
    at = 0
    while (size := _CHUNK.match(body, at)) is not None:
        length = int(re.split(rb"[^0-9a-fA-F]", size.group(), maxsplit=1)[0], 16)
        if not length:
            break
        parts.append(body[size.end() : size.end() + length])
        at = size.end() + length
        at += 2 if body[at : at + 2] == b"\r\n" else 1
    return b"".join(parts)


def _unpacked(body: bytes, window: int) -> bytes | None:
    """What a packed body unpacks to, to its end or its break; None where it does not begin so."""
    try:
        return zlib.decompressobj(window).decompress(body, MAX_RECORD_BYTES + 1) or None
    except zlib.error:
        return None


def _is_cut(raw: bytes, encoding: str, chunked: bool) -> bool:
    """Whether a body as it was stored ends within its chunks, its gzip or its deflate.

    What was undone before it was stored is not cut. A missing checksum or last, empty chunk loses
    nothing.
    """
    if chunked and _CHUNK.match(raw):
        at = 0
        while (size := _CHUNK.match(raw, at)) is not None:
            length = int(re.split(rb"[^0-9a-fA-F]", size.group(), maxsplit=1)[0], 16)
            at = size.end() + length
            if not length:
                break
            if at > len(raw):
                return True
            at += 2 if raw[at : at + 2] == b"\r\n" else 1
        else:
            if raw[at:].strip():
                return True
        raw = _unchunked(raw)
    if raw.startswith(b"\x1f\x8b"):
        at = 0
        while (begin := _GZIP_HEAD.match(raw, at)) is not None:
            rest = _behind_deflate(raw, begin.end())
            if rest is None:
                return True
            at = rest + 8  # the checksum
        return False
    if "deflate" in encoding and not _looks_like_markup(raw):
        return all(_behind_deflate(raw, at) is None for at in (2, 0))
    return False


def _behind_deflate(raw: bytes, at: int) -> int | None:
    """Where a raw deflate stream at ``at`` ends; None where it does not come to its end."""
    unpacking = zlib.decompressobj(-zlib.MAX_WBITS)
    data = raw[at:]
    left = MAX_RECORD_BYTES + 1
    try:
        while data and not unpacking.eof and left > 0:
            left -= len(unpacking.decompress(data, min(left, 1 << 20)))
            data = unpacking.unconsumed_tail
    except zlib.error:
        return None
    if unpacking.eof:
        return len(raw) - len(unpacking.unused_data)
    return len(raw) if left <= 0 else None  # too large a page is told as such
