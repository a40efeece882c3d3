"""Pages of crawl files: records to text, each rejected one counted.

The filters are read, html and extract.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.corpus.funnel import Funnel
from tasks.corpus.rules.web import ExtractionRules
from tasks.corpus.sources import html
from tasks.corpus.sources.responses import Response, read_arc_response, read_response
from tasks.corpus.sources.warc import (
    ARC,
    MAX_RECORD_BYTES,
    TRUNCATED,
    WARC,
    Lost,
    Record,
    records,
)

FILTERS = ("html", "extract")
_KINDS = ("text/html", "application/xhtml+xml")
_SKIPPED = ("warcinfo", "request", "metadata", "revisit", "resource", "continuation")
_CRAWL = re.compile(r"\.(warc|wet|wat|arc)(\.|$)")
_ARC = re.compile(r"\.arc(\.gz)?$")


@dataclass(frozen=True)
class Page:
    """The text of one page, its lines stripped.

    created: when it was fetched, ISO 8601. offset: of its record, see `tasks.corpus.sources.warc`.
    """

    uri: str
    created: str
    file: str
    offset: int
    text: str


@dataclass(frozen=True)
class _Found:
    """Bytes that may be a page. response: None for the plain text of a WET file."""

    uri: str
    created: str
    body: bytes
    response: Response | None = None


def is_crawl_file(name: str) -> bool:
    """Whether a file's name is that of a WARC, WET, WAT or ARC file."""
    return _CRAWL.search(name.lower()) is not None


def pages(
    root: Path, files: Sequence[str], parameters: ExtractionRules, funnel: Funnel
) -> Iterator[Page]:
    """Pages of crawl files in the order of files and records.

    Raises:
        ValueError: the extractor is not installed.
    """
    funnel.declare(*FILTERS)
    extract = html.extractor(parameters.web_extractor)
    for name in files:
        for record in _records(root, name, funnel):
            if isinstance(record, Lost):
                _lost(record, name, funnel)
                continue
            if not funnel.at(name, record.offset):
                continue
            found = _content(record, _ARC.search(name.lower()) is not None, funnel)
            text = None if found is None else _text(found, funnel, extract)
            if found is not None and text is not None:
                yield Page(found.uri, found.created, name, record.offset, text)
            funnel.between()


def _records(root: Path, name: str, funnel: Funnel) -> Iterator[Record | Lost]:
    path = root / name
    lower = name.lower()
    if path.stat().st_size == 0:
        funnel.bad_file(name, "empty file")
    elif lower.endswith((".wat", ".wat.gz")):
        funnel.reject("read", "WAT file: metadata without text")
    elif not is_crawl_file(name):
        funnel.bad_file(name, "no WARC, WET or ARC file")
    elif _ARC.search(lower):
        yield from records(path, ARC, _may_hold_page)
    else:
        yield from records(path, WARC, _may_hold_page)


def _may_hold_page(headers: Mapping[str, str]) -> bool:
    return headers.get("warc-type", "response").lower() not in _SKIPPED


def _lost(lost: Lost, name: str, funnel: Funnel) -> None:
    """Count a record or bytes that cannot be read, with their place."""
    funnel.place = (name, lost.offset)
    if lost.reason == TRUNCATED:
        funnel.reject("read", TRUNCATED, "", f"{name}#{lost.offset}")
    else:
        funnel.bad_file(name, lost.reason, f"byte {lost.offset}: {lost.detail or 'damaged'}")


def _content(record: Record, arc: bool, funnel: Funnel) -> _Found | None:
    """What a record holds, or None with the reason counted."""
    headers = record.headers
    kind = "response" if arc else headers.get("warc-type", "").lower()
    uri = headers.get("warc-target-uri", "").strip("<>")
    created = headers.get("warc-date", "")
    if kind in _SKIPPED:
        return _no(funnel, f"{kind} record", uri)
    if kind not in ("response", "conversion") or not uri:
        return _no(funnel, "unknown record", uri)
    if kind == "response" and not uri.startswith(("http:", "https:")):
        return _no(funnel, "not an HTTP response", uri)
    if record.content is None:
        return _no(funnel, "record too large", uri)
    if kind == "conversion":
        return _Found(uri, created, record.content)
    whole = record.head + record.content if arc else record.content
    response = read_arc_response(whole) if arc else read_response(whole)
    if response is None:
        return _no(funnel, "malformed HTTP response", uri)
    if response.status != 200:
        known = 100 <= response.status < 600
        return _no(funnel, f"HTTP status {response.status if known else 'unknown'}", uri)
    if len(response.body) > MAX_RECORD_BYTES:
        return _no(funnel, "record too large", uri)
    if response.cut:
        return _no(funnel, "truncated body", uri)
    return _Found(uri, response.date or created, response.body, response)


def _no(funnel: Funnel, reason: str, uri: str) -> _Found | None:
    """Nothing, counted under its reason."""
    funnel.reject("read", reason, "", uri)
    return None


def _text(found: _Found, funnel: Funnel, extract: html.Extract) -> str | None:
    """The text of a page, or None with the reason counted."""
    response, uri = found.response, found.uri
    if response is None:
        raw = text = found.body.decode("utf-8", "replace")
        funnel.keep("read", raw)
        funnel.keep("html", raw)
    else:
        kind = response.kind or (_KINDS[0] if html.looks_like_html(found.body) else "")
        if kind not in _KINDS or html.is_binary(found.body):
            funnel.keep("read", "")  # no text: it has no characters to count
            reason = "not HTML" if kind not in _KINDS else "not HTML, though it says so"
            funnel.reject("html", reason, "", uri)
            return None
        raw = html.decode(found.body, response.charset)
        funnel.keep("read", raw)
        tree = html.parse(raw)
        if tree is None:
            funnel.reject("html", "nested too deeply", raw, uri)
            return None
        funnel.keep("html", raw)
        text = extract(raw, tree)
    text = html.tidy(text)
    if not text.strip():
        funnel.reject("extract", "no main content", raw, uri)
        return None
    funnel.keep("extract", raw, text)
    return text
