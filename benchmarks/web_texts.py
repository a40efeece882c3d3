"""Extracted text as a web pipeline gets it, from the real dumps: always the same documents."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import orjson

ARCHIVES = (
    "aut-example.warc.gz",
    "dolma-sample-0000.warc.gz",
    "dolma-sample-0001.warc.gz",
    "whirlwind.warc.gz",
)
# Some of them twice, in other editions, for the near-duplicates; one French.
BOOKS = (
    "120-0.txt", "pg120.txt", "74-0.txt", "pg-tom_sawyer.txt", "76-0.txt",
    "pg-huckleberry_finn.txt", "pg161.txt", "pg161-second-copy.txt", "pg1342.txt",
    "Pride_and_Prejudice_JaneAusten.txt", "pg1661.txt", "pg-sherlock_holmes.txt", "pg345.txt",
    "pg2500.txt", "pg-grimm.txt", "pg768.txt", "Voyage-au-Centre-de-la-Terre-.txt",
)  # fmt: skip


class Input(NamedTuple):
    """A JSON-lines file of documents (id, text) and its UTF-8 bytes of text."""

    path: Path
    documents: int
    size: int


def texts(data: Path) -> Iterator[str]:
    """Extracted text of real pages, C4 records and passages of books; always the same."""
    corpus = data / "corpus"
    for path in sorted((corpus / "c4").glob("*.json*")):
        with path.open("rb") as lines:
            yield from (orjson.loads(line)["text"] for line in lines if line.strip())
    for name in ARCHIVES:
        yield from _pages(corpus / "commoncrawl" / name)
    for name in BOOKS:
        yield from _passages(
            (corpus / "books" / name).read_text(encoding="utf-8", errors="replace")
        )


def _pages(path: Path) -> Iterator[str]:
    """Main text of the HTML pages of an archive."""
    from fastwarc.warc import ArchiveIterator, WarcRecordType
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.encoding import bytes_to_str, detect_encoding

    with path.open("rb") as stream:
        for record in ArchiveIterator(stream, record_types=WarcRecordType.response):
            if "html" not in (record.http_content_type or ""):
                continue
            body = record.reader.read()
            html = bytes_to_str(body, detect_encoding(body) or "utf-8")
            text = extract_plain_text(html, main_content=True, alt_texts=False)
            if text.strip():
                yield text


def _passages(book: str) -> Iterator[str]:
    """A book in documents of some paragraphs, a line each.

    They end where a paragraph's checksum says, so that two editions are cut at the same places.
    """
    part: list[str] = []
    size = 0
    for paragraph in re.split(r"\n\s*\n", book.replace("\r\n", "\n")):
        line = " ".join(paragraph.split())
        if not line:
            continue
        part.append(line)
        size += len(line)
        if size > 1000 and (zlib.crc32(line.encode()) % 8 == 0 or size > 8000):
            yield "\n".join(part)
            part, size = [], 0
    if part:
        yield "\n".join(part)


def write(path: Path, found: Iterator[str]) -> Input:
    """Write documents with their numbers as ids."""
    path.parent.mkdir(parents=True)
    documents = size = 0
    with path.open("wb") as handle:
        for text in found:
            handle.write(orjson.dumps({"id": str(documents), "text": text}) + b"\n")
            documents += 1
            size += len(text.encode())
    return Input(path, documents, size)
