"""Books: Project Gutenberg texts without its header and licence; one edition per book.

Two passes over the files: the first signs every book (MinHash over 5-word shingles), the second
yields the books kept. Only signatures stay in memory, 2 KiB per book.
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tasks.corpus.documents import Document, Funnel
from tasks.corpus.language import identify
from tasks.corpus.parameters import CorpusParameters
from tasks.corpus.shingles import BINS, EMPTY, shingle_hashes, signature
from tasks.corpus.sources.gutenberg import unframed

BAND = 4
MAX_BYTES = 64_000_000


@dataclass(frozen=True)
class Book:
    """One file's text between the markers, with what its header says."""

    name: str
    text: str
    header: dict[str, str]
    encoding: str


@dataclass(frozen=True)
class Signed:
    """What pass one remembers of a book. signature_B: minimum of each of the bins."""

    name: str
    shingles: int
    foreign: int
    signature_B: NDArray[np.uint64]


def read(
    root: Path, files: Sequence[str], parameters: CorpusParameters, funnel: Funnel
) -> Iterator[Document]:
    """Books in the order of their files; editions of one book are reduced to the best."""
    funnel.declare("header", "language", "near duplicate")
    signed = []
    for name in files:
        book = _load(root, name, funnel)
        if book is None:
            continue
        language, _ = _language(book.text)
        if language not in parameters.languages:
            funnel.reject("language", f"language {language or 'unknown'}", book.text, name)
            continue
        funnel.keep("language", book.text)
        signed.append(sign(name, book.text, parameters.seed))
    duplicates = near_duplicates(root, signed, parameters.book_overlap, parameters.seed)
    clusters: dict[str, list[tuple[str, float]]] = defaultdict(list)
    for name, (kept, overlap) in sorted(duplicates.items()):
        clusters[kept].append((name, overlap))
    silent = Funnel("books")
    for item in signed:
        book = _load(root, item.name, silent)
        assert book is not None
        if item.name in duplicates:
            funnel.reject("near duplicate", "edition of a book kept", book.text, item.name)
            continue
        funnel.keep("near duplicate", book.text)
        language, score = _language(book.text)
        identity = hashlib.sha256(item.name.encode()).hexdigest()[:24]
        yield Document(
            id=f"books:{identity}",
            text=book.text,
            source="books",
            uri=item.name,
            language=language,
            language_score=score,
            created="",
            license="Public-Domain-US" if book.header else "",
            meta={
                "title": book.header.get("Title", ""),
                "author": book.header.get("Author", ""),
                "encoding": book.encoding,
                "cluster": identity,
                "editions": [
                    {"file": name, "overlap": overlap} for name, overlap in clusters[item.name]
                ],
            },
        )


def _language(text: str) -> tuple[str, float]:
    """Language of a book, from its middle: the start may be a title page or a list."""
    middle = len(text) // 2
    return identify(text[middle : middle + 4000] or text)


def _load(root: Path, name: str, funnel: Funnel) -> Book | None:
    path = root / name
    if not name.lower().endswith((".txt", ".txt.gz")):
        funnel.bad_file(name, "no text file")
        return None
    opener = gzip.open if name.lower().endswith(".gz") else open
    try:
        with opener(path, "rb") as handle:
            data = handle.read(MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        funnel.bad_file(name, "corrupt gzip", error)
        return None
    assert isinstance(data, bytes)
    if not data.strip():
        funnel.bad_file(name, "empty file")
        return None
    if len(data) > MAX_BYTES:
        funnel.bad_file(name, "file too large")
        return None
    if b"\x00" in data[:4096] and not data.startswith((b"\xff\xfe", b"\xfe\xff")):
        funnel.bad_file(name, "not text")
        return None
    raw, encoding = decode(data)
    funnel.keep("read", raw)
    framed = unframed(raw)
    if not framed.text:
        funnel.reject("header", "nothing between header and licence", raw, name)
        return None
    if framed.copyrighted:
        # The paper's books are Project Gutenberg's public domain ones.
        funnel.reject("header", "copyrighted Project Gutenberg book", raw, name)
        return None
    funnel.keep("header", raw, framed.text)
    return Book(name, framed.text, framed.header, encoding)


def decode(data: bytes) -> tuple[str, str]:
    """Text of a file and its encoding: by its mark, as UTF-8, else Windows-1252 or Latin-1."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        candidates = ["utf-16", "cp1252", "latin-1"]
    else:
        candidates = ["utf-8-sig", "cp1252", "latin-1"]
    for encoding in candidates:
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        return text.replace("\r\n", "\n").replace("\r", "\n"), encoding
    raise AssertionError("latin-1 decodes every byte")


def sign(name: str, text: str, seed: int) -> Signed:
    """One-permutation MinHash: the least hash in each of 256 bins of the hash range."""
    hashes = shingle_hashes(text, seed)
    foreign = sum(not character.isascii() for character in text)
    return Signed(name, len(hashes), foreign, signature(hashes))


def near_duplicates(
    root: Path, books: Sequence[Signed], overlap: float, seed: int
) -> dict[str, tuple[str, float]]:
    """Books to remove: file -> (file kept in its place, share of the shorter that is in both).

    Candidates share a band of their signatures: books with half of their shingles in common meet
    with probability 0.98, those of the same length with 90 % in common surely. Each candidate
    is then measured exactly: common shingles over those of the shorter book. The better edition
    is the one with more distinct shingles (it holds more), then more non-ASCII characters (accents
    and quotation marks kept), then the lesser name.
    """
    buckets: dict[tuple[int, bytes], list[int]] = defaultdict(list)
    for index, book in enumerate(books):
        for band in range(0, BINS, BAND):
            part = book.signature_B[band : band + BAND]
            if EMPTY not in part:
                buckets[band, part.tobytes()].append(index)
    candidates: dict[int, set[int]] = defaultdict(set)
    for members in buckets.values():
        for index in members:
            candidates[index].update(members)
    order = sorted(
        range(len(books)), key=lambda i: (-books[i].shingles, -books[i].foreign, books[i].name)
    )
    removed: dict[str, tuple[str, float]] = {}
    kept: set[int] = set()
    silent = Funnel("books")
    for index in order:
        best = (0.0, -1)
        rivals = sorted((candidates[index] & kept) - {index})
        own = _hashes(root, books[index].name, seed, silent) if rivals else None
        for rival in rivals:
            assert own is not None
            other = _hashes(root, books[rival].name, seed, silent)
            common = len(np.intersect1d(own, other, assume_unique=True))
            best = max(best, (common / max(1, min(len(own), len(other))), -rival))
        if best[0] > overlap:
            removed[books[index].name] = (books[-best[1]].name, round(best[0], 4))
        else:
            kept.add(index)
    return removed


def _hashes(root: Path, name: str, seed: int, funnel: Funnel) -> NDArray[np.uint64]:
    book = _load(root, name, funnel)
    assert book is not None
    return shingle_hashes(book.text, seed)
