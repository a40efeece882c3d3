"""Reading a corpus artifact: ``<split>/<source>/00000.parquet`` ... and ``mixture.json``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

BATCH_BYTES = 4_000_000
"""Text in one batch of rows, about, by the mean length of the row group's documents."""
MAX_ROWS = 1024


def sources_of(corpus: Path, split: str) -> dict[str, list[Path]]:
    """Parquet files of a split by source, both sorted by name; empty when the split has none."""
    found = {
        path.name: sorted(path.glob("*.parquet")) for path in sorted((corpus / split).glob("*"))
    }
    return {source: files for source, files in found.items() if files}


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


def text_bytes(file: pq.ParquetFile, group: int) -> int:
    """Bytes of a row group's texts, as Parquet holds them uncompressed."""
    column = file.schema_arrow.get_field_index("text")
    return int(file.metadata.row_group(group).column(column).total_uncompressed_size)


def group_batches(
    file: pq.ParquetFile, group: int, columns: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    """Rows of one row group in order, few at a time when they are long."""
    rows = max(1, file.metadata.row_group(group).num_rows)
    mean = max(1, text_bytes(file, group) // rows)
    size = min(MAX_ROWS, max(1, BATCH_BYTES // mean))
    yield from file.iter_batches(batch_size=size, row_groups=[group], columns=list(columns))
