"""Documents, the funnel that counts what every filter did to them, and their Parquet files."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
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
    [("id", pa.string()), ("filter", pa.string()), ("reason", pa.string()), ("text", pa.string())]
)
AFTER_CAP = "read ahead of the cap"
ROW_GROUP = 1024
COMPRESSION_LEVEL = 3


class BadFileError(ValueError):
    """A file of a source could not be read and ``strict`` is set; names the file."""


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


@dataclass
class FunnelEntry:
    """What one filter let through; characters are code points, bytes are UTF-8.

    joined: how many of the documents became part of another one, where the unit changes (posts to
    the page of their question). In = out + rejected + joined.
    """

    documents_in: int = 0
    documents_out: int = 0
    joined: int = 0
    characters_in: int = 0
    characters_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    rejected: dict[str, int] = field(default_factory=dict)

    def add(self, other: FunnelEntry) -> None:
        """Add the counts of another worker's entry."""
        self.documents_in += other.documents_in
        self.documents_out += other.documents_out
        self.joined += other.joined
        self.characters_in += other.characters_in
        self.characters_out += other.characters_out
        self.bytes_in += other.bytes_in
        self.bytes_out += other.bytes_out
        for reason, count in other.rejected.items():
            self.rejected[reason] = self.rejected.get(reason, 0) + count


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


class Funnel:
    """Counts per filter, in the order in which the filters were first seen.

    The first entry is always ``read``: its "documents" are the records of the dumps (pages, rows,
    files), and its rejected counts name unreadable files and records that hold no document. A
    document that passes a filter is shown to the next one with the same text, whether that one has
    a say in it or not: ``tasks.corpus.chain`` checks that the entries join.
    """

    def __init__(self, source: str, *, strict: bool = False, keep_rejected: bool = False) -> None:
        self.source = source
        self.strict = strict
        self.keep_rejected = keep_rejected
        self.entries: dict[str, FunnelEntry] = {"read": FunnelEntry()}
        self.bad_files: list[dict[str, str]] = []
        self.notes: list[str] = []
        self.place = ("", 0)
        self.rejected_rows: list[tuple[str, str, str, str]] = []

    def child(self) -> Funnel:
        """Empty funnel with the same options, for a worker; see :meth:`merge`."""
        return Funnel(self.source, strict=self.strict, keep_rejected=self.keep_rejected)

    def detach(self) -> Funnel:
        """Counts so far as a funnel of their own; this one starts again from nothing.

        A reader that runs ahead of its consumer hands each batch the counts that belong to it, so
        that stopping early gives the same funnel whatever was read ahead.
        """
        taken = self.child()
        taken.entries, self.entries = self.entries, {"read": FunnelEntry()}
        taken.bad_files, self.bad_files = self.bad_files, []
        taken.notes, self.notes = self.notes, []
        taken.rejected_rows = self.take_rejected()
        return taken

    def at(self, file: str, offset: int) -> bool:
        """The reader turns to the record at ``offset`` of ``file``; False when it must pass it.

        Called before the work on every record. offset: what finds the record again in its file
        (a line, a byte, a member's number), as the source's module says.
        """
        self.place = (file, offset)
        return True

    def declare(self, *filters: str) -> None:
        """Fix the order of filters that workers or empty sources may not meet in order."""
        for name in filters:
            self._entry(name)

    def keep(self, name: str, before: str, after: str | None = None) -> None:
        """A document passed ``name``; ``after`` when the filter also changed its text."""
        entry = self._entry(name)
        after = before if after is None else after
        size = _bytes(before)
        entry.documents_in += 1
        entry.documents_out += 1
        entry.characters_in += len(before)
        entry.characters_out += len(after)
        entry.bytes_in += size
        entry.bytes_out += size if after is before else _bytes(after)

    def reject(self, name: str, reason: str, text: str = "", identity: str = "") -> None:
        """A document stopped at ``name`` for ``reason``."""
        entry = self._entry(name)
        entry.documents_in += 1
        entry.characters_in += len(text)
        entry.bytes_in += _bytes(text)
        entry.rejected[reason] = entry.rejected.get(reason, 0) + 1
        if self.keep_rejected:
            self.rejected_rows.append((identity, name, reason, text))

    def join(self, name: str, parts: Sequence[str], whole: str) -> None:
        """Several documents became one at ``name``."""
        entry = self._entry(name)
        entry.documents_in += len(parts)
        entry.documents_out += 1
        entry.joined += len(parts) - 1
        entry.characters_in += sum(map(len, parts))
        entry.characters_out += len(whole)
        entry.bytes_in += sum(map(_bytes, parts))
        entry.bytes_out += _bytes(whole)

    def stop(self) -> None:
        """The source was stopped at its cap: what a reader had read ahead then is put down to it.

        Readers run ahead by batches, sites or a whole pass, so some documents have passed a filter
        and were never shown to the next.
        """
        for before, entry in pairwise(self.entries.values()):
            ahead = before.documents_out - entry.documents_in
            if ahead > 0:
                entry.documents_in += ahead
                entry.characters_in = before.characters_out
                entry.bytes_in = before.bytes_out
                entry.rejected[AFTER_CAP] = ahead

    def bad_file(self, path: str, reason: str, detail: object = "") -> None:
        """A file, or its rest, cannot be read: counted, or with ``strict`` the end of the run."""
        if self.strict:
            raise BadFileError(
                f"{self.source}: {path}: {reason}{f' ({detail})' if detail else ''}. Remove or"
                " repair the file, or run without strict to count it and go on."
            )
        entry = self._entry("read")
        entry.documents_in += 1
        entry.rejected[reason] = entry.rejected.get(reason, 0) + 1
        self.bad_files.append({"path": path, "reason": reason})

    def merge(self, other: Funnel) -> None:
        """Add a worker's counts; call in a fixed order, so that the result is reproducible."""
        for name, entry in other.entries.items():
            self._entry(name).add(entry)
        self.bad_files.extend(other.bad_files)
        self.rejected_rows.extend(other.rejected_rows)
        for note in other.notes:
            self.note(note)

    def note(self, sentence: str) -> None:
        """Say something once that a reader of the report must see."""
        if sentence not in self.notes:
            self.notes.append(sentence)

    def take_rejected(self) -> list[tuple[str, str, str, str]]:
        """Rejected rows (id, filter, reason, text) since the last call."""
        rows, self.rejected_rows = self.rejected_rows, []
        return rows

    def rows(self) -> list[dict[str, Any]]:
        """Entries as the JSON rows of ``funnel.json``."""
        return [
            {"source": self.source, "filter": name, **vars(entry)}
            | {"rejected": dict(sorted(entry.rejected.items()))}
            for name, entry in self.entries.items()
        ]

    def _entry(self, name: str) -> FunnelEntry:
        return self.entries.setdefault(name, FunnelEntry())


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
        path.parent.mkdir(parents=True, exist_ok=True)
        self._writer = pq.ParquetWriter(
            self._temporary, schema, compression="zstd", compression_level=COMPRESSION_LEVEL
        )

    def write(self, row: dict[str, Any]) -> None:
        """Add one row with exactly the schema's columns."""
        self._rows.append(row)
        self.documents += 1
        if len(self._rows) == ROW_GROUP:
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
            self._rows = []

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
        for batch in file.iter_batches(batch_size=ROW_GROUP, columns=columns):
            yield from batch.to_pylist()
