"""Samples of what the rules of a corpus rejected, to be read on the dashboard.

The texts are of strangers; pages escape them, as everything.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow.dataset as ds
from pydantic import BaseModel, ConfigDict

from registry.artifacts import ArtifactRef, Store

FILES = 4  # of each source
BATCH = 256
PER_REASON = 3
EXCERPT = 600


class Reject(BaseModel):
    """A document that a rule rejected. file, offset: where its record is in the dumps."""

    model_config = ConfigDict(frozen=True)

    id: str
    filter: str
    reason: str
    file: str
    offset: int
    characters: int
    text: str


def rejects(store: Store, ref: ArtifactRef) -> list[Reject]:
    """A few samples of each filter and reason, from the first files of every source."""
    folders: dict[Path, list[Path]] = {}
    for path in sorted((store.path(ref) / "rejected").rglob("*.parquet")):
        folders.setdefault(path.parent, []).append(path)
    found: dict[tuple[str, str], list[Reject]] = {}
    for path in (path for paths in folders.values() for path in paths[:FILES]):
        for row in _samples(path):
            held = found.setdefault((row.filter, row.reason), [])
            if len(held) < PER_REASON:
                held.append(row)
    return [row for held in found.values() for row in held]


def _samples(path: Path) -> Iterator[Reject]:
    """Rows with a text, a batch in memory at a time."""
    with_text = ds.field("text").is_valid()
    for batch in ds.dataset(path).to_batches(filter=with_text, batch_size=BATCH):
        for row in batch.to_pylist():
            yield Reject.model_validate(row | {"text": row["text"][:EXCERPT]})
