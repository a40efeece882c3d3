"""Where a document came from and what became of it: ``arriero show document``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds

EXCERPT = 2000


@dataclass(frozen=True)
class Passage:
    """A rule on a document's way. passed: False for the one that stopped it."""

    filter: str
    passed: bool


@dataclass(frozen=True)
class DocumentStory:
    """What became of a document, and where its record is.

    fate: ``train``, ``validation``, ``rejected``, or ``documents`` where no corpus was made of it.
    file, offset: the record's file relative to the data folder and its place in it, as the source's
    module counts (a line, a byte, a page, a member). stage: whose artifact holds it.
    """

    id: str
    source: str
    fate: str
    stage: str
    file: str
    offset: int | None
    rules: tuple[Passage, ...]
    reason: str = ""
    uri: str = ""
    language: str = ""
    license: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)
    text: str = ""


def describe_document(
    identity: str, source: str, stages: Sequence[tuple[str, Path]]
) -> DocumentStory | None:
    """The story of the document or reject with this id or address; None when none has it.

    Args:
        stages: (stage, artifact folder) that the source's documents went through, the last one
            first: the corpus, the quality filter, the source's documents.
    """
    for stage, folder in stages:
        below = folder / "train"
        splits = ("train", "validation") if below.is_dir() else ("documents",)
        for split in splits:
            inside = folder / split / source if below.is_dir() else folder / split
            row = _find(inside, (ds.field("id") == identity) | (ds.field("uri") == identity))
            if row is not None:
                return _kept(row, split, stage, _filters(folder, source))
        inside = folder / "rejected" / source if below.is_dir() else folder / "rejected"
        row = _find(inside, ds.field("id") == identity)
        if row is not None:
            return _stopped(row, source, stage, _filters(folder, source))
    return None


def _find(folder: Path, wanted: ds.Expression) -> dict[str, Any] | None:
    """The first row of a folder's files that is wanted; files are scanned in order.

    By the columns that are asked for alone: the texts are read of the file that holds the row.
    """
    for path in sorted(folder.glob("*.parquet")):
        file = ds.dataset(path)
        if not file.scanner(columns=["id"], filter=wanted).head(1).num_rows:
            continue
        rows = file.scanner(filter=wanted, batch_size=1024).head(1).to_pylist()
        if rows:
            found: dict[str, Any] = rows[0]
            return found
    return None


def _filters(folder: Path, source: str) -> list[str]:
    rows = json.loads((folder / "funnel.json").read_text("utf-8"))
    return [row["filter"] for row in rows if row["source"] == source]


def _kept(row: Mapping[str, Any], split: str, stage: str, filters: list[str]) -> DocumentStory:
    meta = json.loads(row["meta"])
    held = split == "validation" and "validation split" in filters
    passed = filters[: filters.index("validation split")] if held else filters
    return DocumentStory(
        id=row["id"],
        source=row["source"],
        fate=split,
        stage=stage,
        file=str(meta.get("file", "")),
        offset=meta.get("offset"),
        rules=tuple(Passage(name, True) for name in passed),
        uri=row["uri"],
        language=row["language"],
        license=row["license"],
        meta=meta,
        text=row["text"][:EXCERPT],
    )


def _stopped(row: Mapping[str, Any], source: str, stage: str, filters: list[str]) -> DocumentStory:
    before = filters[: filters.index(row["filter"])] if row["filter"] in filters else []
    rules = (*(Passage(name, True) for name in before), Passage(row["filter"], False))
    return DocumentStory(
        id=row["id"],
        source=source,
        fate="rejected",
        stage=stage,
        file=row["file"],
        offset=row["offset"],
        rules=rules,
        reason=row["reason"],
        text=(row["text"] or "")[:EXCERPT],
    )
