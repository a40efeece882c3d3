"""Books: Project Gutenberg texts without its header and licence; one edition per book.

Every shard's books are signed first; what all of them say together decides which go
(:mod:`tasks.corpus.sources.book_editions`). A record is a book; its offset is the member's number
in a zip file, and 0 in any other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.corpus.documents import Document
from tasks.corpus.funnel import Funnel
from tasks.corpus.language import identify
from tasks.corpus.parameters import CorpusParameters
from tasks.corpus.sources.book_editions import read_decisions, write_decisions, write_survey
from tasks.corpus.sources.book_files import UnknownEncodingError, decode, stored_books
from tasks.corpus.sources.gutenberg import unframed
from tasks.corpus.sources.unsharded import surveyed_alone


@dataclass(frozen=True)
class Book:
    """One book's text between the markers and what its header says: `StoredBook`, `Framed`."""

    name: str
    file: str
    offset: int
    text: str
    header: dict[str, str]
    country: str
    encoding: str
    language: str
    language_score: float


def survey(
    root: Path, files: Sequence[str], parameters: CorpusParameters, funnel: Funnel, out: Path
) -> None:
    """Sign the books of a shard into ``out``: see :func:`write_survey`."""
    books = _books(root, files, parameters, funnel)
    write_survey(((book.name, book.text) for book in books), parameters.seed, out)


def decide(surveys: Sequence[Path], parameters: CorpusParameters, out: Path) -> None:
    """Say of every book in the surveys whether it stays: see :func:`write_decisions`."""
    write_decisions(surveys, parameters.book_overlap, out, parameters.dedup_memory_mb)


def read(
    root: Path,
    files: Sequence[str],
    parameters: CorpusParameters,
    funnel: Funnel,
    *,
    decided: Path | None = None,
    surveyed: Path | None = None,
) -> Iterator[Document]:
    """Books in the order of their files; editions of one book are reduced to the best.

    Args:
        decided: folder of :func:`decide`. surveyed: this shard's, of :func:`survey`. Without them
            ``files`` are taken to be all there are, and are surveyed first.
    """
    funnel.declare("header", "language", "near duplicate")
    if decided is None or surveyed is None:
        alone = surveyed_alone(survey, decide, root, files, parameters, funnel)
        with alone as (decided, surveyed):
            yield from read(root, files, parameters, funnel, decided=decided, surveyed=surveyed)
        return
    removed, editions = read_decisions(decided, surveyed)
    for book in _books(root, files, parameters, funnel):
        decision = removed.get(book.name)
        if decision is not None:
            reason = "part of a book kept" if decision.part else "edition of a book kept"
            funnel.reject("near duplicate", reason, book.text, book.name)
            continue
        funnel.keep("near duplicate", book.text)
        identity = hashlib.sha256(book.name.encode("utf-8", "surrogatepass")).hexdigest()[:24]
        yield Document(
            id=f"books:{identity}",
            text=book.text,
            source="books",
            uri=book.name,
            language=book.language,
            language_score=book.language_score,
            created="",
            license=f"Public-Domain-{book.country}" if book.country else "",
            meta={
                "title": book.header.get("Title", ""),
                "author": book.header.get("Author", ""),
                "encoding": book.encoding,
                "file": book.file,
                "offset": book.offset,
                "cluster": identity,
                "editions": editions.get(book.name, []),
            },
        )


def _books(
    root: Path, files: Sequence[str], parameters: CorpusParameters, funnel: Funnel
) -> Iterator[Book]:
    """Books in a language wanted, without their frame; the others are counted."""
    for name in files:
        for stored in stored_books(root, name, funnel):
            try:
                raw, encoding = decode(stored.data)
            except UnknownEncodingError as error:
                funnel.bad_file(name, "unknown encoding", error)
                continue
            funnel.keep("read", raw)
            framed = unframed(raw)
            if not framed.text:
                funnel.reject("header", "nothing between header and licence", raw, stored.name)
                continue
            if framed.copyrighted:
                # The paper's books are Project Gutenberg's public domain ones.
                funnel.reject("header", "copyrighted Project Gutenberg book", raw, stored.name)
                continue
            funnel.keep("header", raw, framed.text)
            language, score = _language(framed.text)
            if language not in parameters.languages:
                reason = f"language {language or 'unknown'}"
                funnel.reject("language", reason, framed.text, stored.name)
                continue
            funnel.keep("language", framed.text)
            yield Book(
                name=stored.name,
                file=stored.file,
                offset=stored.offset,
                text=framed.text,
                header=framed.header,
                country=framed.country,
                encoding=encoding,
                language=language,
                language_score=score,
            )


def _language(text: str) -> tuple[str, float]:
    """Language of a book, from its middle: the start may be a title page or a list."""
    middle = len(text) // 2
    return identify(text[middle : middle + 4000] or text)
