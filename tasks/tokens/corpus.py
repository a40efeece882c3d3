"""Reading a corpus artifact: ``<split>/<source>.parquet`` and ``mixture.json``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq


def sources_of(corpus: Path, split: str) -> dict[str, Path]:
    """Parquet files of a split by source, sorted by name; empty when the split has none."""
    return {path.stem: path for path in sorted((corpus / split).glob("*.parquet"))}


def mixture_weights(corpus: Path) -> dict[str, float]:
    """Weights of ``mixture.json`` by source.

    Errors: ``ValueError`` when the file is missing, or a weighted source has no training file.
    """
    path = corpus / "mixture.json"
    if not path.is_file():
        raise ValueError(f"{path} not found: {corpus} is not a corpus artifact")
    weights = json.loads(path.read_text(encoding="utf-8"))["weights"]
    held = sources_of(corpus, "train")
    missing = sorted(s for s, weight in weights.items() if weight > 0 and s not in held)
    if missing:
        raise ValueError(
            f"{path} gives weight to {', '.join(missing)}, but {corpus / 'train'} holds only "
            f"{', '.join(held) or 'nothing'}: rebuild the corpus"
        )
    return {source: float(weight) for source, weight in weights.items()}


def documents(path: Path) -> Iterator[tuple[str, str]]:
    """(id, text) of each document, in file order, one row group in memory at a time."""
    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            yield from row_group(file, group)


def row_group(file: pq.ParquetFile, group: int) -> list[tuple[str, str]]:
    """(id, text) of one row group."""
    table = file.read_row_group(group, columns=["id", "text"])
    return list(zip(table.column("id").to_pylist(), table.column("text").to_pylist(), strict=True))
