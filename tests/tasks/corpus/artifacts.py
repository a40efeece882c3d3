"""Reading the artifacts of corpus preparation in tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.corpus.documents import document_files, read_documents


def documents_in(artifact: Path) -> Iterator[dict[str, Any]]:
    """Rows of a documents artifact."""
    for path in document_files(artifact):
        yield from read_documents(path)


def rejected_in(artifact: Path) -> Iterator[dict[str, Any]]:
    """Rows of what a documents artifact rejected."""
    for path in sorted((artifact / "rejected").glob("*.parquet")):
        yield from read_documents(path)


def split_in(corpus: Path, split: str, source: str) -> Iterator[dict[str, Any]]:
    """Rows of a source's part of a split."""
    for path in sorted((corpus / split / source).glob("*.parquet")):
        yield from read_documents(path)
