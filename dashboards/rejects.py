"""Samples of what the rules of a corpus rejected, to be read on the dashboard.

The texts are of strangers; pages escape them, as everything.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow.dataset as ds
from pydantic import BaseModel, ConfigDict

from registry.artifacts import ArtifactRef, Store

FILES = 16
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
    """A few samples of each filter and reason, from the first files, in their order."""
    found: dict[tuple[str, str], list[Reject]] = {}
    for path in sorted((store.path(ref) / "rejected").rglob("*.parquet"))[:FILES]:
        for row in _samples(path):
            held = found.setdefault((row.filter, row.reason), [])
            if len(held) < PER_REASON:
                held.append(row)
    return [row for held in found.values() for row in held]


def _samples(path: Path) -> list[Reject]:
    rows = ds.dataset(path).to_table(filter=ds.field("text").is_valid()).to_pylist()
    return [Reject.model_validate(row | {"text": row["text"][:EXCERPT]}) for row in rows]
