"""Parts of a source: ranges of rows of its files that are encoded on their own, in any order.

A part's folder in ``work`` is the record that it is done. Killed at any moment, a run goes on with
the parts that are there. How a corpus is cut into parts is a function of the corpus alone, not of
the machine.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from registry.files import hash_file
from tasks.corpus.execute import Job
from tasks.corpus.guard import Guard
from tasks.corpus.steps import once
from tasks.tokens.corpus import group_batches, text_bytes
from tasks.tokens.encoder import DocumentEncoder

TOKENS = "tokens.bin"
DOCUMENTS = "documents.parquet"
DOCUMENTS_SCHEMA = pa.schema([("id", pa.string()), ("tokens", pa.int64())])
COUNTED = ("documents", "tokens", "characters", "bytes", "words")

SMALLEST_PART = 4_000_000
LARGEST_PART = 64_000_000
PARTS = 512
"""Parts that a corpus is cut into where this gives a size between the two above (bytes of text)."""
CUTS_OF_A_GROUP = 8
"""Most parts of one row group: each part unpacks what stands before it in its row group."""
_BUFFER = 1 << 20
# ASCII white space, by byte.
_WHITE = np.zeros(256, np.bool_)
_WHITE[[*b" \t\n\r\v\f"]] = True


@dataclass(frozen=True)
class Part:
    """Rows ``start`` to ``stop`` of a file's row groups ``groups``, counted from the first one's.

    tokenizer: model file. folder: where the part's tokens belong.
    """

    file: Path
    groups: tuple[int, ...]
    start: int
    stop: int
    tokenizer: Path
    folder: Path

    @property
    def rows(self) -> int:
        return self.stop - self.start

    def job(self) -> Job:
        """The part as a job of an executor; its result is what `encode_job` returns."""
        arguments = {
            "file": str(self.file),
            "groups": list(self.groups),
            "start": self.start,
            "stop": self.stop,
            "tokenizer": str(self.tokenizer),
            "folder": str(self.folder),
        }
        return Job("tasks.tokens.parts:encode_job", arguments)


Counts = dict[str, dict[str, int]]
"""Per language what ``COUNTED`` names."""


def part_bytes(files: Sequence[Path]) -> int:
    """Bytes of text in a part of a corpus of these files."""
    total = 0
    for path in files:
        with pq.ParquetFile(path) as file:
            total += sum(text_bytes(file, group) for group in range(file.num_row_groups))
    return min(LARGEST_PART, max(SMALLEST_PART, total // PARTS))


def parts_of(files: Sequence[Path], size: int, tokenizer: Path, folder: Path) -> list[Part]:
    """The parts of a source's files, in order, each of about ``size`` bytes of text."""
    found: list[Part] = []
    for number, path in enumerate(files):
        with pq.ParquetFile(path) as file:
            ranges = list(_ranges(file, size))
        found += [
            Part(path, groups, start, stop, tokenizer, folder / f"{number:06d}-{part:06d}")
            for part, (groups, start, stop) in enumerate(ranges)
        ]
    return found


def _ranges(file: pq.ParquetFile, size: int) -> Iterator[tuple[tuple[int, ...], int, int]]:
    """(row groups, first row, row behind the last) of each part of a file."""
    groups: list[int] = []
    rows = held = 0
    for group in range(file.num_row_groups):
        here = text_bytes(file, group)
        count = file.metadata.row_group(group).num_rows
        if groups and held + here > size:
            yield tuple(groups), 0, rows
            groups, rows, held = [], 0, 0
        pieces = min(CUTS_OF_A_GROUP, round(here / size), count)
        if pieces > 1:
            bounds = [count * piece // pieces for piece in range(pieces + 1)]
            for start, stop in pairwise(bounds):
                yield (group,), start, stop
            continue
        groups.append(group)
        rows, held = rows + count, held + here
    if rows:
        yield tuple(groups), 0, rows


def encode_job(
    guard: Guard,
    *,
    file: str,
    groups: Sequence[int],
    start: int,
    stop: int,
    tokenizer: str,
    folder: str,
) -> dict[str, Any]:
    """Encode the part of `Part.job`: its counts, and whether an earlier attempt had made it."""
    part = Part(Path(file), tuple(groups), start, stop, Path(tokenizer), Path(folder))
    counts, resumed = encode_part(part)
    return {"counts": counts, "resumed": resumed}


def encode_part(part: Part) -> tuple[Counts, bool]:
    """Encode one part, or find it done; its counts, and whether it was done."""
    recipe = {
        "tokenizer": _tokenizer_hash(part.tokenizer),
        "file": [part.file.name, part.file.stat().st_size],
        "rows": [list(part.groups), part.start, part.stop],
    }
    resumed = True

    def make(out: Path) -> dict[str, Any]:
        nonlocal resumed
        resumed = False
        return {"recipe": recipe, "counts": _write_part(part, out)}

    said = once(part.folder, make, still=lambda done: done["recipe"] == recipe)
    return said["counts"], resumed


@lru_cache(maxsize=1)
def _encoder(path: Path) -> DocumentEncoder:
    return DocumentEncoder(path)


def forget_encoder() -> None:
    """Drop this process's encoder and the words it keeps; the next part makes a new one."""
    _encoder.cache_clear()


@lru_cache(maxsize=1)
def _tokenizer_hash(path: Path) -> str:
    return hash_file(path).sha256


def _write_part(part: Part, folder: Path) -> Counts:
    """Write tokens and documents of a part; nothing larger than a batch is held."""
    encoder = _encoder(part.tokenizer)
    width = encoder.dtype.itemsize
    counts: dict[str, Counter[str]] = {}
    with (
        (folder / TOKENS).open("wb") as data,
        pq.ParquetWriter(folder / DOCUMENTS, DOCUMENTS_SCHEMA, compression="zstd") as documents,
    ):
        for batch in _rows(part):
            lengths = []
            for value in batch.column("text"):
                size = sum(map(data.write, encoder.encode(value.as_py())))
                lengths.append(size // width)
            rows = [batch.column("id").cast(pa.string()), pa.array(lengths, pa.int64())]
            documents.write_batch(pa.record_batch(rows, schema=DOCUMENTS_SCHEMA))
            _count(batch, np.array(lengths, np.int64), counts)
    return {language: dict(counts[language]) for language in sorted(counts)}


def _rows(part: Part) -> Iterator[pa.RecordBatch]:
    """The part's rows, in batches."""
    with pq.ParquetFile(part.file, buffer_size=_BUFFER) as file:
        columns = [c for c in ("id", "text", "language") if c in file.schema_arrow.names]
        at = 0
        for group in part.groups:
            for batch in group_batches(file, group, columns):
                start, stop = max(part.start - at, 0), min(part.stop - at, batch.num_rows)
                at += batch.num_rows
                if start < stop:
                    yield batch.slice(start, stop - start)
                if at >= part.stop:
                    return


def _count(batch: pa.RecordBatch, tokens: np.ndarray, counts: dict[str, Counter[str]]) -> None:
    """Add a batch to the counts of each language."""
    text = batch.column("text")
    columns = {
        "documents": np.ones(len(tokens), np.int64),
        "tokens": tokens,
        "characters": pc.utf8_length(text).to_numpy(),
        "bytes": pc.binary_length(text).to_numpy(),
        "words": words(text),
    }
    has_language = "language" in batch.schema.names
    languages = batch.column("language").to_pylist() if has_language else [""] * len(tokens)
    for language in set(languages):
        here = np.array([each == language for each in languages])
        held = counts.setdefault(language or "", Counter())
        for name, values in columns.items():
            held[name] += int(values[here].sum())


def words(text: pa.StringArray) -> np.ndarray:
    """Words of each text, int64 [rows]: what stands between ASCII white space."""
    text = text.cast(pa.large_string())
    _, starts, data = text.buffers()
    bounds = np.frombuffer(starts, np.int64)[text.offset : text.offset + len(text) + 1]
    if data is None or bounds[0] == bounds[-1]:
        return np.zeros(len(text), np.int64)
    white = _WHITE[np.frombuffer(data, np.uint8)[bounds[0] : bounds[-1]]]
    begins = ~white
    begins[1:] &= white[:-1]
    firsts = bounds[:-1][bounds[:-1] < bounds[1:]] - bounds[0]
    begins[firsts] = ~white[firsts]  # whatever the text before ends with
    return np.diff(np.searchsorted(np.flatnonzero(begins), bounds - bounds[0]))
