"""Documents and their Parquet files."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.context import fsync_directory

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("text", pa.string()),
        ("source", pa.string()),
        ("uri", pa.string()),
        ("language", pa.string()),
        ("language_score", pa.float32()),
        ("created", pa.string()),
        ("license", pa.string()),
        ("meta", pa.string()),
    ]
)
REJECTED_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("filter", pa.string()),
        ("reason", pa.string()),
        ("file", pa.string()),
        ("offset", pa.int64()),
        ("characters", pa.int64()),
        ("text", pa.string()),
    ]
)
ROW_GROUP = 1024
# A row group ends earlier at this many characters of text: readers hold one at a time.
ROW_GROUP_CHARACTERS = 32_000_000
COMPRESSION_LEVEL = 3


@dataclass
class Document:
    """One document of the corpus.

    id: ``source:stable id``. uri: where it was (an address, or a path inside the data folder,
    never a path of this machine). language: ISO 639-1 code, or a programming language's name for
    code. language_score: probability in 0..1. created: ISO 8601, "" when unknown. license: SPDX
    name where known, "" otherwise. meta: JSON values.
    """

    id: str
    text: str
    source: str
    uri: str
    language: str = ""
    language_score: float = 0.0
    created: str = ""
    license: str = ""
    meta: dict[str, Any] = field(default_factory=dict)


class ParquetFile:
    """Writes rows in fixed row groups under a temporary name; the rename is the commit.

    Used as a context manager; an exception inside leaves no file. The bytes are a function of the
    rows and of pyarrow's version.
    """

    def __init__(self, path: Path, schema: pa.Schema = SCHEMA) -> None:
        self.path = path
        self.schema = schema
        self.documents = 0
        self._temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
        self._rows: list[dict[str, Any]] = []
        self._characters = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        self._writer = pq.ParquetWriter(
            self._temporary, schema, compression="zstd", compression_level=COMPRESSION_LEVEL
        )

    def write(self, row: dict[str, Any]) -> None:
        """Add one row with exactly the schema's columns."""
        self._rows.append(row)
        self.documents += 1
        self._characters += len(row.get("text") or "")
        if len(self._rows) == ROW_GROUP or self._characters >= ROW_GROUP_CHARACTERS:
            self._flush()

    def write_document(self, document: Document) -> None:
        """Add one document; its meta is stored as canonical JSON."""
        row = vars(document) | {
            "meta": json.dumps(document.meta, sort_keys=True, ensure_ascii=False)
        }
        self.write(row)

    def _flush(self) -> None:
        if self._rows:
            table = pa.Table.from_pylist(self._rows, schema=self.schema)
            self._writer.write_table(table, row_group_size=ROW_GROUP)
            self._rows, self._characters = [], 0

    def __enter__(self) -> ParquetFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._writer.close()
            self._temporary.unlink()
            return
        self._flush()
        self._writer.close()
        with self._temporary.open("rb") as handle:
            os.fsync(handle.fileno())
        self._temporary.replace(self.path)
        fsync_directory(self.path.parent)


def write_documents(path: Path, documents: Iterable[Document]) -> int:
    """Write ``documents`` to one Parquet file; returns how many there were."""
    with ParquetFile(path) as file:
        for document in documents:
            file.write_document(document)
    return file.documents


def document_files(folder: Path) -> list[Path]:
    """Files of a documents artifact, in order: ``documents/00000.parquet`` and so on."""
    return sorted((folder / "documents").glob("*.parquet"))


def read_documents(path: Path, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
    """Rows of a documents file, one row group in memory at a time; ``meta`` stays a JSON string."""
    with pq.ParquetFile(path) as file:
        # Group by group: a batch of many rows would hold as many row groups as it takes.
        for group in range(file.num_row_groups):
            for batch in file.iter_batches(ROW_GROUP, row_groups=[group], columns=columns):
                yield from batch.to_pylist()


def read_chosen(
    path: Path,
    columns: Sequence[str],
    by: Sequence[str],
    chosen: Callable[[dict[str, Any]], bool],
) -> Iterator[dict[str, Any]]:
    """Rows of a documents file that are ``chosen`` by their columns ``by``, in order.

    The other columns are read of those row groups alone that hold one.
    """
    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            rows = file.read_row_group(group, columns=list(by)).to_pylist()
            places = [place for place, row in enumerate(rows) if chosen(row)]
            if places:
                held = file.read_row_group(group, columns=list(columns))
                yield from held.take(pa.array(places, pa.int64())).to_pylist()
