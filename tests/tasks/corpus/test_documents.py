"""Files of documents: read with no more in memory than one of their row groups."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tasks.corpus import documents
from tasks.corpus.documents import Document, read_chosen, read_documents, write_documents


def test_no_batch_holds_more_than_a_row_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row groups of long documents are short, so that a reader holds few of them at a time."""
    monkeypatch.setattr(documents, "ROW_GROUP_CHARACTERS", 1_000)
    path = tmp_path / "00000.parquet"
    texts = [f"{n} " + "x" * 400 for n in range(50)]
    write_documents(path, (Document(f"books:{n}", t, "books", "") for n, t in enumerate(texts)))
    largest = 0
    batches = pq.ParquetFile.iter_batches

    def measured(file: pq.ParquetFile, *arguments: Any, **options: Any) -> Any:
        nonlocal largest
        for batch in batches(file, *arguments, **options):
            largest = max(largest, batch.num_rows)
            yield batch

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", measured)
    assert [row["text"] for row in read_documents(path)] == texts
    assert [row["id"] for row in read_documents(path, ["id"])][-1] == "books:49"
    assert largest == pq.read_metadata(path).row_group(0).num_rows == 3


def test_texts_are_read_only_where_a_document_is_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "ROW_GROUP", 10)
    path = tmp_path / "00000.parquet"
    rows = [Document(f"w:{n}", f"text {n}", "w", "", language="de" * (n < 25)) for n in range(100)]
    write_documents(path, rows)
    read: list[list[str]] = []
    real = pq.ParquetFile.read_row_group

    def noted(file: pq.ParquetFile, group: int, columns: list[str]) -> Any:
        read.append(columns)
        return real(file, group, columns)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", noted)

    def found(chosen: set[str]) -> list[str]:
        read.clear()
        kept = read_chosen(path, ["text"], ["id", "language"], lambda row: row["id"] in chosen)
        return [row["text"] for row in kept]

    assert found({"w:3", "w:9", "w:71"}) == ["text 3", "text 9", "text 71"]
    assert read.count(["text"]) == 2 and read.count(["id", "language"]) == 10
    assert found(set()) == [] and ["text"] not in read
    german = read_chosen(path, ["id"], ["language"], lambda row: row["language"] == "de")
    assert [row["id"] for row in german] == [f"w:{n}" for n in range(25)]
