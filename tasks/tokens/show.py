"""What a step trains on: ``arriero show batch``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tasks.tokens.order import TokenOrder

BOUNDARY = " \u00b6 "
"""Printed between two documents of a row."""


@dataclass(frozen=True)
class BatchRow:
    """One row of a batch. documents: ids whose tokens are in it; text: its beginning."""

    row: int
    position: int
    sample: int
    source: str
    window: int
    epoch: int
    documents: tuple[str, ...]
    text: str


def describe_batch(
    tokens_dir: Path,
    tokenizer: Path,
    *,
    context: int,
    seed: int,
    step: int,
    global_batch: int,
    split: str = "train",
    weights: Mapping[str, float] | None = None,
    skips: Iterable[int] = (),
    characters: int = 200,
) -> list[BatchRow]:
    """Source, documents and text of every row of the batch that ``step`` trains on.

    tokenizer: artifact directory or model file. skips: the run's skipped batch positions, from its
    checkpoint. characters: length of each excerpt.
    """
    from model.tokenizer import Tokenizer

    words = Tokenizer(tokenizer / "tokenizer.model" if tokenizer.is_dir() else tokenizer)
    order = TokenOrder(tokens_dir, split, context, seed, weights, skips)
    position = order.position(step)
    rows = []
    for row in range(global_batch):
        sample = order.sample_index(step, global_batch, row)
        origin = order.provenance(sample)
        tokens = order.sample(sample).tolist()
        parts = [words.decode(tokens[span.start : span.stop]) for span in origin.documents]
        rows.append(
            BatchRow(
                row=row,
                position=position,
                sample=sample,
                source=origin.source,
                window=origin.window,
                epoch=origin.epoch,
                documents=tuple(span.id for span in origin.documents),
                text=BOUNDARY.join(parts)[:characters],
            )
        )
    return rows
