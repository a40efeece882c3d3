"""CommonCrawl: WARC, WET and ARC files to English text (paper section 2.1; cc_net's rules).

Order of the filters: read -> html -> extract -> lines -> length -> language. cc_net's perplexity
buckets and the paper's Wikipedia-reference classifier are not applied here; the notes say so.
"""

from __future__ import annotations

import gzip
import hashlib
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.corpus.documents import Document, Funnel
from tasks.corpus.language import identify
from tasks.corpus.parallel import ordered_map
from tasks.corpus.parameters import CorpusParameters
from tasks.corpus.sources.lines import SeenLines

if TYPE_CHECKING:
    from resiliparse.parse.html import HTMLTree

NOTES = (
    "commoncrawl: the perplexity filter (KenLM buckets) is off.",
    "commoncrawl: the Wikipedia-reference classifier is off.",
)
BATCH_RECORDS = 32
BATCH_BYTES = 4_000_000
MAX_RECORD_BYTES = 8_000_000
MAX_DEPTH = 2000
# Formatting elements that a parser opens anew in every later block until they are closed.
_FORMATTING = re.compile(
    r"<(?:b|big|code|em|font|i|nobr|s|small|strike|strong|tt|u)(?=[\s/>])[^<>]{0,200}",
    re.IGNORECASE,
)
_OPENING = re.compile(r"<[a-zA-Z]")
MAX_REOPENED = 5_000_000
_HTML = ("text/html", "application/xhtml+xml")


@dataclass(frozen=True)
class Page:
    """A record that may be a page: HTML bytes to extract, or plain text of a WET file."""

    uri: str
    created: str
    payload: bytes
    charset: str
    is_html: bool
    file: str


@dataclass(frozen=True)
class Batch:
    """Pages of one file with the counts of the records read between them."""

    pages: list[Page]
    funnel: Funnel


def read(
    root: Path, files: Sequence[str], parameters: CorpusParameters, funnel: Funnel
) -> Iterator[Document]:
    """Documents of all files, in the order of files and records."""
    for note in NOTES:
        funnel.note(note)
    funnel.declare("html", "extract", "lines", "length", "language")
    lines = SeenLines()
    group = -1
    position = {name: index // parameters.line_dedup_files for index, name in enumerate(files)}
    for pages, counts in ordered_map(_extract, _batches(root, files, funnel), parameters.workers):
        funnel.merge(counts)
        for page, text in pages:
            if position[page.file] != group:
                group = position[page.file]
                lines = SeenLines()
            kept = lines.drop_repeated(text)
            if not kept:
                funnel.reject("lines", "every line seen before", text, page.uri)
                continue
            funnel.keep("lines", text, kept)
            if len(kept) < parameters.minimum_characters:
                funnel.reject("length", "shorter than the minimum", kept, page.uri)
                continue
            funnel.keep("length", kept)
            language, score = identify(kept)
            if score < parameters.language_threshold:
                funnel.reject("language", "uncertain", kept, page.uri)
                continue
            if language != parameters.web_language:
                funnel.reject("language", f"language {language}", kept, page.uri)
                continue
            funnel.keep("language", kept)
            # One address may be crawled twice in a second, or stand in WARC, WET and ARC.
            key = f"{page.uri} {page.created} {kept}".encode("utf-8", "surrogatepass")
            identity = hashlib.sha256(key).hexdigest()[:24]
            yield Document(
                id=f"commoncrawl:{identity}",
                text=kept,
                source="commoncrawl",
                uri=page.uri,
                language=language,
                language_score=score,
                created=page.created,
                meta={"file": page.file},
            )


def parse(html: str) -> HTMLTree | None:
    """The page's tree, None when extracting its text would stall: that is quadratic in the depth.

    The depth is that of the parsed tree, where end tags without a start, in comments or out of
    scope close nothing. Parsing is linear but for formatting elements left open, which every
    later block opens again: their kinds times the tags bound how many elements that makes.
    """
    from resiliparse.parse.html import HTMLTree

    tags = len(_OPENING.findall(html))
    if tags * tags > MAX_REOPENED and tags * len(set(_FORMATTING.findall(html))) > MAX_REOPENED:
        return None
    tree = HTMLTree.parse(html)
    # Nothing but formatting makes more elements than there are tags.
    return None if tags > MAX_DEPTH / 2 and _deep(tree.document) else tree


def _deep(root: Any) -> bool:
    """Whether elements below ``root`` are nested more than 2,000 deep."""
    node, depth = root, 0
    while True:
        child = node.first_element_child
        if child is not None:
            node, depth = child, depth + 1
            if depth > MAX_DEPTH:
                return True
            continue
        while depth and (following := node.next_element) is None:
            node, depth = node.parent, depth - 1
        if not depth:
            return False
        node = following


def _extract(batch: Batch) -> tuple[list[tuple[Page, str]], Funnel]:
    """Text of a batch's pages; runs in a worker process."""
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.encoding import bytes_to_str, detect_encoding

    funnel = batch.funnel
    texts = []
    for page in batch.pages:
        if not page.is_html:
            raw = text = page.payload.decode("utf-8", "replace")
            funnel.keep("read", raw)
            funnel.keep("html", raw)
        else:
            charset = page.charset or detect_encoding(page.payload) or "utf-8"
            try:
                raw = bytes_to_str(page.payload, charset)
            except LookupError:  # a charset that does not exist, from the page's own headers
                raw = bytes_to_str(page.payload, detect_encoding(page.payload) or "utf-8")
            funnel.keep("read", raw)
            tree = parse(raw)
            if tree is None:
                funnel.reject("html", "nested too deeply", raw, page.uri)
                continue
            funnel.keep("html", raw)
            text = extract_plain_text(
                tree, main_content=True, alt_texts=False, preserve_formatting=True
            )
        if not text.strip():
            funnel.reject("extract", "no main content", raw, page.uri)
            continue
        text = "\n".join(line.strip() for line in text.replace("\r", "\n").split("\n"))
        funnel.keep("extract", raw, text)
        texts.append((Page(page.uri, page.created, b"", "", page.is_html, page.file), text))
    return texts, funnel


def _batches(root: Path, files: Sequence[str], parent: Funnel) -> Iterator[Batch]:
    for name in files:
        funnel = parent.child()
        pages: list[Page] = []
        size = 0
        for page in _pages(root, name, funnel):
            pages.append(page)
            size += len(page.payload)
            if len(pages) >= BATCH_RECORDS or size >= BATCH_BYTES:
                yield Batch(pages, funnel.detach())
                pages, size = [], 0
        yield Batch(pages, funnel)


def _pages(root: Path, name: str, funnel: Funnel) -> Iterator[Page]:
    """Pages of one file, counted as read once decoded; what cannot be read is counted here."""
    path = root / name
    lower = name.lower()
    if path.stat().st_size == 0:
        funnel.bad_file(name, "empty file")
    elif lower.endswith((".wat", ".wat.gz")):
        funnel.reject("read", "WAT file: metadata without text")
    elif not re.search(r"\.(warc|wet|arc)(\.|$)", lower):
        funnel.bad_file(name, "no WARC, WET or ARC file")
    elif re.search(r"\.arc(\.gz)?$", lower):
        yield from _arc_pages(path, name, funnel)
    else:
        yield from _warc_pages(path, name, funnel)


def _warc_pages(path: Path, name: str, funnel: Funnel) -> Iterator[Page]:
    from fastwarc.warc import ArchiveIterator, WarcRecordType

    # A list, not a dict: FastWARC's record types have no hash.
    names = ("warcinfo", "request", "metadata", "revisit", "resource", "continuation")
    skipped = [(getattr(WarcRecordType, name), f"{name} record") for name in names]
    problem = _gzip_problem(path)
    with path.open("rb") as stream:
        # Some samples were saved with LF alone; the mode that reads those breaks other files.
        start = stream.read(1024)
    lenient = start.startswith(b"WARC/") and b"\r\n" not in start
    with path.open("rb") as stream:
        try:
            for record in ArchiveIterator(stream, parse_http=False, quirks_mode=lenient):
                kind = record.record_type
                reason = next((why for other, why in skipped if kind == other), None)
                if reason is not None:
                    funnel.reject("read", reason)
                    continue
                headers = record.headers
                uri = headers.get("WARC-Target-URI") or ""
                created = headers.get("WARC-Date") or ""
                if kind not in (WarcRecordType.response, WarcRecordType.conversion) or not uri:
                    funnel.reject("read", "unknown record")
                    continue
                length = record.content_length
                if length > MAX_RECORD_BYTES:
                    funnel.reject("read", "record too large")
                    continue
                record.freeze()
                if record.content_length < length:
                    funnel.reject("read", "truncated record")
                    continue
                if kind == WarcRecordType.conversion:
                    yield Page(uri, created, record.reader.read(), "utf-8", False, name)
                    continue
                page = _http_page(record, name, funnel)
                if page is not None:
                    yield page
        except OSError as error:
            problem = None
            funnel.bad_file(name, "malformed WARC", error)
    if problem:
        funnel.bad_file(name, problem)


def _http_page(record: Any, name: str, funnel: Funnel) -> Page | None:
    """The page of a response record or None with its reason counted."""
    uri = record.headers.get("WARC-Target-URI")
    if not uri.startswith(("http:", "https:")):
        funnel.reject("read", "not an HTTP response")
        return None
    try:
        # ClueWeb's headers end in LF alone, and announce a gzip that was unpacked already.
        body = record.reader.read(65536)
        record.reader.seek(0)
        end = body.find(b"\n\n")
        lenient = end >= 0 and body.find(b"\r\n\r\n", 0, end + 2) < 0
        unpacked = lenient and not body.startswith(b"\x1f\x8b", end + 2)
        record.parse_http(auto_decode="none" if unpacked else "all", quirks_mode=lenient)
        # Bounded: a few megabytes of gzip inside a record unpack to gigabytes.
        payload = record.reader.read(MAX_RECORD_BYTES + 1)
    except (OSError, ValueError):
        funnel.reject("read", "malformed HTTP response")
        return None
    if len(payload) > MAX_RECORD_BYTES:
        funnel.reject("read", "record too large")
        return None
    headers = record.http_headers
    status = headers.status_code if headers is not None else None
    created = record.headers.get("WARC-Date") or ""
    return _page(
        uri, created, payload, status, record.http_content_type, record.http_charset, name, funnel
    )


def _page(
    uri: str,
    created: str,
    payload: bytes,
    status: int | None,
    kind: str | None,
    charset: str | None,
    name: str,
    funnel: Funnel,
) -> Page | None:
    if status != 200:
        funnel.reject("read", f"HTTP status {status}")
        return None
    if kind is None and re.search(rb"<!doctype html|<html|<head", payload[:4096], re.IGNORECASE):
        kind = _HTML[0]
    if kind not in _HTML:
        funnel.keep("read", "")  # no text: it has no characters to count
        funnel.reject("html", "not HTML")
        return None
    return Page(uri, created, payload, charset or "", True, name)


def _arc_pages(path: Path, name: str, funnel: Funnel) -> Iterator[Page]:
    """ARC, the format before WARC, which FastWARC does not read."""
    from warcio.archiveiterator import ArchiveIterator
    from warcio.exceptions import ArchiveLoadFailed

    with path.open("rb") as stream:
        try:
            for record in ArchiveIterator(stream, arc2warc=True):
                uri = record.rec_headers.get_header("WARC-Target-URI") or ""
                if record.rec_type != "response" or record.http_headers is None:
                    funnel.reject("read", "not an HTTP response")
                    continue
                payload = record.content_stream().read(MAX_RECORD_BYTES + 1)
                if len(payload) > MAX_RECORD_BYTES:
                    funnel.reject("read", "record too large")
                    continue
                kind, _, rest = (record.http_headers.get_header("Content-Type") or "").partition(
                    ";"
                )
                charset = re.search(r"charset=[\"']?([\w.:-]+)", rest)
                code = record.http_headers.get_statuscode()
                page = _page(
                    uri,
                    record.rec_headers.get_header("WARC-Date") or "",
                    payload,
                    int(code) if code.isdigit() else None,
                    kind.strip().lower() or None,
                    charset.group(1) if charset else None,
                    name,
                    funnel,
                )
                if page is not None:
                    yield page
        except (ArchiveLoadFailed, OSError, EOFError, ValueError, zlib.error) as error:
            funnel.bad_file(name, "malformed ARC", error)


def _gzip_problem(path: Path) -> str | None:
    """Why a gzip file does not unpack to its end; FastWARC passes over a missing end silently."""
    with path.open("rb") as handle:
        if handle.read(2) != b"\x1f\x8b":
            return None
    try:
        with gzip.open(path) as handle:
            while handle.read(1 << 20):
                continue
    except EOFError:
        return "truncated gzip"
    except (OSError, zlib.error):
        return "corrupt gzip"
    return None
