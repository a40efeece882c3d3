"""Which books are editions, or parts, of one another: found over all shards, kept once.

A shard's survey holds, of every book, its sorted distinct shingle hashes and a sketch: those of
them below a bound that is the same for all books (scaled MinHash: a fixed share of the hash range,
so that a sketch grows with its book, and a part is found in a whole of any length), or the least
64 where that are more. Books that share enough of the shorter one's sketch are candidates; each is
then measured exactly on the hashes themselves, and no raw file is read again.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.context import atomic_write_json
from tasks.corpus.dedup import MEMORY_MB
from tasks.corpus.partitions import Rows, partition_bits, partitioned, slices
from tasks.corpus.shingles import shingle_hashes
from tasks.corpus.words import mixed

# One hash in 64 is in a sketch: 1,500 of a novel's 100,000.
SCALE = 64
BOUND = np.uint64((1 << 64) // SCALE)
LEAST_SKETCH = 64
# A hash that many books share pairs each of them with the best of them only: what is common to
# more books is a phrase, or a book of which one of these is kept.
BEST = 64
# A candidate may have this many standard errors less in common than the overlap asked for.
ERRORS = 4.0
# Longer than this many times the other: the other is a part rather than an edition.
PART = 2
# Counting a pair of books, measured: 20 bytes as it lies in its file, the rest to sort and to sum.
ROW_BYTES = 160
_SKETCH = np.dtype([("key", "<u8"), ("row", "<u8")])
_PAIR = np.dtype([("key", "<u8"), ("pair", "<u8"), ("count", "<u4")])
_HALF = np.uint64(32)
_SCAN_ROWS = 1 << 16


@dataclass(frozen=True)
class SignedBook:
    """What a survey says of a book.

    name: see `StoredBook`. shingles: distinct ones. foreign: non-ASCII characters. sketch: hashes
    in its sketch; below: those of them below BOUND.
    """

    name: str
    shingles: int
    foreign: int
    sketch: int
    below: int


@dataclass(frozen=True)
class Decision:
    """Of a book removed: the book kept in its place, and what share of its shingles that has."""

    kept: str
    overlap: float
    part: bool


def write_survey(books: Iterable[tuple[str, str]], seed: int, out: Path) -> None:
    """Sign books (name, text) into ``books.json``, ``shingles`` and ``sketches`` of ``out``.

    The last two hold 64-bit hashes, little-endian, one book after the other: 8 bytes for every
    distinct shingle, about 1.4 times the text, and a 64th of it.
    """
    rows = []
    with (out / "shingles").open("wb") as shingles, (out / "sketches").open("wb") as sketches:
        for name, text in books:
            hashes = shingle_hashes(text, seed)
            below = int(np.searchsorted(hashes, BOUND))
            sketch = max(below, min(LEAST_SKETCH, len(hashes)))
            shingles.write(hashes.astype("<u8", copy=False).tobytes())
            sketches.write(hashes[:sketch].astype("<u8", copy=False).tobytes())
            foreign = len(text) - len(text.encode("ascii", "ignore"))
            rows.append(SignedBook(name, len(hashes), foreign, sketch, below))
    atomic_write_json(out / "books.json", [asdict(row) for row in rows])


def write_decisions(
    surveys: Sequence[Path], overlap: float, out: Path, memory_mb: int = MEMORY_MB
) -> None:
    """Decide over all surveys; one ``<survey's name>.json`` for each into ``out``.

    The better edition is the one with more distinct shingles (it holds more), then more non-ASCII
    characters (accents and quotation marks kept), then the lesser name. From the best on, a book
    goes when more than ``overlap`` of its shingles are in one that is kept. Depends on the books
    alone, not on their shards or the memory.

    Args:
        memory_mb: what is held of a partition of the sketches, at most; beside it stay in memory
            the table of books (about 300 bytes each) and the candidates (16 bytes each).
    """
    library = Library(surveys)
    removed = _removed(library, _candidates(library, overlap, out, memory_mb), overlap)
    clusters: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for name, decision in sorted(removed.items()):
        clusters[decision.kept].append(
            {"file": name, "overlap": decision.overlap, "part": decision.part}
        )
    for survey, names in library.shards():
        atomic_write_json(
            out / f"{survey.name}.json",
            {
                "removed": {name: asdict(removed[name]) for name in names if name in removed},
                "editions": {name: clusters[name] for name in names if name in clusters},
            },
        )


def read_decisions(
    decided: Path, surveyed: Path
) -> tuple[Mapping[str, Decision], Mapping[str, list[dict[str, Any]]]]:
    """Of one shard: the books removed, and the editions in whose place its other books stand."""
    said = json.loads((decided / f"{surveyed.name}.json").read_text("utf-8"))
    return {name: Decision(**row) for name, row in said["removed"].items()}, said["editions"]


class Library:
    """All surveys' books by rank, the best first; hashes are read from the surveys' files."""

    def __init__(self, surveys: Sequence[Path]) -> None:
        self._surveys = surveys
        self._rows = [
            [SignedBook(**row) for row in json.loads((path / "books.json").read_text("utf-8"))]
            for path in surveys
        ]
        flat = [
            (book, number, place)
            for number, rows in enumerate(self._rows)
            for place, book in enumerate(rows)
        ]
        flat.sort(key=lambda item: (-item[0].shingles, -item[0].foreign, item[0].name))
        self.books = [book for book, _, _ in flat]
        self._where = [(number, place) for _, number, place in flat]
        self._rank = [np.zeros(len(rows), dtype=np.uint64) for rows in self._rows]
        for rank, (number, place) in enumerate(self._where):
            self._rank[number][place] = rank
        self._first = [np.cumsum([0] + [book.shingles for book in rows]) for rows in self._rows]

    def shards(self) -> Iterator[tuple[Path, list[str]]]:
        """Every survey with the names of its books."""
        for path, rows in zip(self._surveys, self._rows, strict=True):
            yield path, [book.name for book in rows]

    def hashes(self, rank: int) -> NDArray[np.uint64]:
        """Sorted shingle hashes of a book, mapped from its survey."""
        number, place = self._where[rank]
        book = self.books[rank]
        if not book.shingles:
            return np.empty(0, dtype=np.uint64)
        start = int(self._first[number][place])
        return np.memmap(
            self._surveys[number] / "shingles", "<u8", "r", 8 * start, (book.shingles,)
        )

    def sketches(self) -> Iterator[Rows]:
        """(mixed hash, rank) of every sketch."""
        for path, rows, rank in zip(self._surveys, self._rows, self._rank, strict=True):
            owner = np.repeat(rank, [book.sketch for book in rows])
            start = 0
            for part in slices(path / "sketches", np.dtype("<u8"), _SCAN_ROWS):
                found = np.empty(len(part), dtype=_SKETCH)
                # Mixed: the leading bits of a sketch are all zero, and partitions go by them.
                found["key"] = mixed(part.astype(np.uint64, copy=False))
                found["row"] = owner[start : start + len(part)]
                start += len(part)
                yield found


def _candidates(
    library: Library, overlap: float, folder: Path, memory_mb: int
) -> dict[int, list[int]]:
    """Ranks that may hold a book, by its rank: those it shares enough of its sketch with."""
    below_N = np.array([book.below for book in library.books], dtype=np.float64)
    error_N = ERRORS * np.sqrt(below_N * overlap * (1 - overlap))
    needed_N = np.maximum(1.0, overlap * below_N - error_N)
    limit = max(1, memory_mb * 1_000_000 // ROW_BYTES)
    spilled = folder / "pairs"
    pairs = _spill_pairs(library, folder, spilled, limit)
    found: dict[int, list[int]] = defaultdict(list)

    def scan() -> Iterator[Rows]:
        return slices(spilled, _PAIR, _SCAN_ROWS)

    for path in partitioned(scan, partition_bits(pairs, limit), _PAIR, folder):
        rows = np.fromfile(path, dtype=_PAIR)
        pair, index = np.unique(rows["pair"], return_inverse=True)
        count = np.bincount(index, weights=rows["count"], minlength=len(pair))
        worse = (pair & np.uint64(0xFFFFFFFF)).astype(np.int64)
        enough = count >= needed_N[worse]
        for better, other in zip(
            (pair[enough] >> _HALF).tolist(), worse[enough].tolist(), strict=True
        ):
            found[other].append(better)
    spilled.unlink()
    return found


def _spill_pairs(library: Library, folder: Path, out: Path, limit: int) -> int:
    """Write how often every pair of books shares a hash, part by part; returns how many rows."""
    total = sum(book.sketch for book in library.books)
    written = 0
    with out.open("wb") as handle:
        for path in partitioned(library.sketches, partition_bits(total, limit), _SKETCH, folder):
            held: list[NDArray[np.uint64]] = []
            size = 0
            for pairs in _shared(np.fromfile(path, dtype=_SKETCH)):
                held.append(pairs)
                size += len(pairs)
                if size >= limit:
                    written += _write_counts(held, handle)
                    held, size = [], 0
            written += _write_counts(held, handle)
    return written


def _shared(rows: Rows) -> Iterator[NDArray[np.uint64]]:
    """Pairs of ranks (better << 32 | worse) that have a hash in common, each time it is."""
    rows = rows[np.lexsort((rows["row"], rows["key"]))]
    place, length = _places(rows["key"])
    several = length > 1
    rank, place = rows["row"][several], place[several]
    for best in range(BEST):
        later = np.flatnonzero(place > best)
        if not len(later):
            break
        yield rank[later - place[later] + best] << _HALF | rank[later]


def _places(key: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of every sorted key: its place among its equals, and how many they are."""
    new = np.ones(len(key), dtype=np.bool_)
    np.not_equal(key[1:], key[:-1], out=new[1:])
    starts = np.flatnonzero(new)
    length = np.diff(np.append(starts, len(key)))
    return np.arange(len(key)) - np.repeat(starts, length), np.repeat(length, length)


def _write_counts(held: list[NDArray[np.uint64]], handle: Any) -> int:
    if not held:
        return 0
    pair, count = np.unique(np.concatenate(held), return_counts=True)
    rows = np.empty(len(pair), dtype=_PAIR)
    rows["key"], rows["pair"], rows["count"] = mixed(pair), pair, count
    handle.write(rows.tobytes())
    return len(rows)


def _removed(
    library: Library, candidates: Mapping[int, list[int]], overlap: float
) -> dict[str, Decision]:
    """Books to remove by name, measured exactly, from the best on."""
    removed: dict[str, Decision] = {}
    gone: set[int] = set()
    for rank in sorted(candidates):
        own = library.hashes(rank)
        best = (overlap, 0)
        for rival in sorted(set(candidates[rank]) - gone):
            share = contained(own, library.hashes(rival))
            if share > best[0]:
                best = (share, rival)
        if best[0] > overlap:
            gone.add(rank)
            kept = library.books[best[1]]
            removed[library.books[rank].name] = Decision(
                kept=kept.name,
                overlap=round(best[0], 4),
                part=PART * library.books[rank].shingles <= kept.shingles,
            )
    return removed


def contained(own: NDArray[np.uint64], other: NDArray[np.uint64]) -> float:
    """Share of the sorted distinct hashes ``own`` that are in the sorted hashes ``other``."""
    if not len(own) or not len(other):
        return 0.0
    place = np.minimum(np.searchsorted(other, own), len(other) - 1)
    return float(np.count_nonzero(other[place] == own) / len(own))
