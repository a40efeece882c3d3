"""Source files as records, as queries over BigQuery's github_repos give them: JSON lines, Parquet.

A record holds a file's ``content`` with its ``path`` and its repository's ``repo_name`` and
``license``: the tables contents, files and licenses joined. The names that other published sets
use for the same are known, too.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.corpus.funnel import Funnel
from tasks.corpus.sources import damage
from tasks.corpus.sources.code_rules import MAX_FILE_BYTES
from tasks.corpus.sources.records import json_records

SUFFIXES = (".jsonl", ".jsonl.gz", ".json.gz", ".json", ".parquet")
MAX_RECORD_BYTES = 64_000_000
_BATCH = 64  # records of a Parquet file in memory
_CONTENT = ("content", "text", "code")
_PATH = ("path", "sample_path", "max_stars_repo_path", "file_path")
_REPOSITORY = ("repo_name", "sample_repo_name", "max_stars_repo_name", "repository_name", "repo")
_LICENSE = ("license", "licenses", "max_stars_repo_licenses")
_BINARY = ("binary",)
_COLUMNS = (*_CONTENT, *_PATH, *_REPOSITORY, *_LICENSE, *_BINARY)
# What GitHub and others write for a licence they do not know.
_UNKNOWN = frozenset(("", "other", "noassertion", "none", "unknown", "null"))


@dataclass(frozen=True)
class Record:
    """A file of source code. number: its row or line, from 1. license: "" when not declared."""

    number: int
    repository: str
    path: str
    license: str
    data: bytes


def is_records(name: str) -> bool:
    """Whether a file holds records by its name; in a project's folder it may be the project's."""
    return name.lower().endswith(SUFFIXES)


def records(path: Path, name: str, funnel: Funnel) -> Iterator[Record]:
    """Records of a file, each begun with ``funnel.at``; what is none is counted."""
    rows = _rows_of_parquet if name.lower().endswith(".parquet") else _rows_of_json
    for number, row in rows(path, name, funnel):
        record = _record(number, row)
        if isinstance(record, str):
            funnel.reject("read", record, "", f"{name}#{number}")
        else:
            yield record


def _rows_of_json(path: Path, name: str, funnel: Funnel) -> Iterator[tuple[int, Mapping[str, Any]]]:
    return json_records(path, name, funnel, MAX_RECORD_BYTES)


def _rows_of_parquet(
    path: Path, name: str, funnel: Funnel
) -> Iterator[tuple[int, Mapping[str, Any]]]:
    if path.stat().st_size == 0:
        funnel.bad_file(name, "empty file")
        return
    if not funnel.at(name, 0):
        return
    number = 0
    try:
        with pq.ParquetFile(path) as file:
            columns = [column for column in file.schema_arrow.names if column in _COLUMNS]
            for batch in file.iter_batches(batch_size=_BATCH, columns=columns):
                for row in _rows_of_batch(batch):
                    number += 1
                    if funnel.at(name, number):
                        yield number, row
                funnel.between()
    except (pa.ArrowException, OSError) as error:
        funnel.bad_file(name, f"{damage.kind(error)} Parquet", error)


def _rows_of_batch(batch: pa.RecordBatch) -> Iterator[Mapping[str, Any]]:
    """Rows of a batch; texts stay bytes, so that one that is no UTF-8 costs one row."""
    columns = {}
    for column, values in zip(batch.schema.names, batch.columns, strict=True):
        if pa.types.is_dictionary(values.type):
            values = values.dictionary_decode()
        if pa.types.is_string(values.type):
            values = values.cast(pa.binary())
        elif pa.types.is_large_string(values.type):
            values = values.cast(pa.large_binary())
        columns[column] = values
    for at in range(batch.num_rows):
        yield {column: values[at].as_py() for column, values in columns.items()}


def _record(number: int, row: Mapping[str, Any]) -> Record | str:
    """A row as a record, or why it is none."""
    if _is_true(_first(row, _BINARY)):
        return "empty or binary"
    content = _first(row, _CONTENT)
    if content is None:
        return "record without content"
    path, repository = _name(_first(row, _PATH)), _name(_first(row, _REPOSITORY))
    if not path:
        return "record without path"
    if isinstance(content, str):
        if len(content) > MAX_FILE_BYTES:
            return "file too large"
        content = content.encode("utf-8", "replace")
    if not isinstance(content, bytes):
        return "malformed record"
    inner = posixpath.normpath(path).lstrip("/")
    return Record(number, repository, inner, _license(_first(row, _LICENSE)), content)


def _first(row: Mapping[str, Any], names: Sequence[str]) -> Any:
    for name in names:
        if row.get(name) is not None:
            return row[name]
    return None


def _is_true(value: Any) -> bool:
    return value is True or str(value).lower() in ("true", "1", "b'true'")


def _name(value: Any) -> str:
    """A text, or the first of a list of them."""
    if isinstance(value, (list, tuple)):
        value = value[0] if value else ""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return value.strip() if isinstance(value, str) else ""


def _license(value: Any) -> str:
    """The declared licence; of several, all must permit."""
    values = value if isinstance(value, (list, tuple)) else [value]
    names = [name for name in map(_name, values) if name.lower() not in _UNKNOWN]
    joined = dict.fromkeys(name if " " not in name else f"({name})" for name in names)
    return next(iter(joined)) if len(joined) == 1 else " AND ".join(joined)
