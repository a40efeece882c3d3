"""The stateless order of tokens: sample i of a run is a pure function of (seed, i).

There is no iterator and no loader state. A run's place in the data is its step number and the
list of batch positions that were skipped; both live in the checkpoint. World size, gradient
accumulation and loader workers only decide who reads which rows of a step, never which rows.

1. Source of sample i: exact apportionment of the mixture (apportionment.py).
2. Its k-th sample: epoch e = k // windows, place k % windows, sent through the seeded bijection of
   (seed, source, epoch) (permutation.py). Each window is seen exactly once an epoch.
3. Window w of a source = tokens[w * context : w * context + context + 1]: input and target share
   all but one token, neighbouring windows share one.

Needs numpy only; imported by the training engine. Shapes: B = global batch (rows), T = context.
"""

from __future__ import annotations

import json
import warnings
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from tasks.tokens.apportionment import Apportionment
from tasks.tokens.permutation import Permutation


@dataclass(frozen=True)
class DocumentSpan:
    """A document's part of a window: ``window[start:stop]`` is ``document[offset:...]``.

    Offsets count tokens; position 0 of a document is its BOS.
    """

    index: int
    id: str
    start: int
    stop: int
    offset: int


@dataclass(frozen=True)
class Provenance:
    """Where sample ``sample`` comes from: window ``window`` of ``source``, in epoch ``epoch``."""

    sample: int
    source: str
    window: int
    epoch: int
    documents: tuple[DocumentSpan, ...]


def position_of_step(step: int, skips: Iterable[int]) -> int:
    """Batch position of optimizer step ``step``: the step-th position that is not skipped.

    skips: batch positions, any order, no duplicates needed; position = step + skipped before it.
    """
    if step < 0:
        raise ValueError(f"step must not be negative, got {step}")
    position = step
    for skipped in sorted(set(skips)):
        if skipped > position:
            break
        position += 1
    return position


def row_indices(
    global_batch: int, rank: int = 0, world: int = 1, micro: int = 0, accumulation: int = 1
) -> range:
    """Rows of a step's batch that ``rank`` reads in micro-batch ``micro``.

    The union over ranks and micro-batches is range(global_batch), each row once, for any split.
    Errors: ``ValueError`` when global_batch is not a multiple of world * accumulation.
    """
    if global_batch < 1 or world < 1 or accumulation < 1:
        raise ValueError(
            f"global_batch, world and accumulation must be positive, got {global_batch}, {world}, "
            f"{accumulation}"
        )
    if global_batch % (world * accumulation):
        raise ValueError(
            f"global batch of {global_batch} rows cannot be split over world size {world} x "
            f"{accumulation} accumulation steps: choose a multiple of {world * accumulation}"
        )
    if not (0 <= rank < world and 0 <= micro < accumulation):
        raise ValueError(
            f"rank {rank} of {world} or micro-batch {micro} of {accumulation} does not exist"
        )
    size = global_batch // (world * accumulation)
    start = (micro * world + rank) * size
    return range(start, start + size)


class TokenOrder:
    """Random access to the samples of a ``tokens`` artifact.

    tokens_dir: artifact directory with ``tokens.json`` and ``<split>/<source>.bin``.
    split: ``train`` or ``validation``. context: tokens per row (T).
    weights: mixture by source; default: the artifact's own. Need not sum to 1.
    skips: batch positions that are never trained on.

    A source of the mixture without one whole window (context + 1 tokens) is dropped with a
    warning and the rest renormalised; ``dropped`` names it, ``weights`` holds the exact result.
    Errors: ``FileNotFoundError``/``ValueError`` name the file or source and what is wrong.
    """

    def __init__(
        self,
        tokens_dir: Path,
        split: str,
        context: int,
        seed: int,
        weights: Mapping[str, float] | None = None,
        skips: Iterable[int] = (),
    ) -> None:
        if context < 1:
            raise ValueError(f"context must be at least 1 token, got {context}")
        self.tokens_dir, self.split, self.context, self.seed = (
            Path(tokens_dir),
            split,
            context,
            seed,
        )
        self.skips = tuple(sorted(set(skips)))
        if self.skips and self.skips[0] < 0:
            raise ValueError(f"skipped batch positions must not be negative: {self.skips[0]}")
        summary = _summary(self.tokens_dir)
        if split not in summary["splits"]:
            raise ValueError(
                f"{self.tokens_dir / 'tokens.json'} has no split {split!r}, only "
                f"{sorted(summary['splits'])}"
            )
        self.dtype = np.dtype(summary["dtype"])
        held: dict[str, dict[str, int]] = summary["splits"][split]
        self.tokens = {source: int(counts["tokens"]) for source, counts in held.items()}
        self.windows = {s: max(0, (n - 1) // context) for s, n in self.tokens.items()}
        self._check_files()
        self._arrays: dict[str, tuple[np.ndarray, np.ndarray]] = {}

        wanted = dict(summary["weights"] if weights is None else weights)
        self.dropped = tuple(s for s, w in wanted.items() if w > 0 and not self.windows.get(s, 0))
        kept = {s: w for s, w in wanted.items() if s not in self.dropped and w > 0}
        if not kept:
            raise ValueError(
                f"no source of the {split} split of {self.tokens_dir} holds one window of "
                f"{context + 1} tokens (tokens per source: {self.tokens}): use more data or a "
                f"shorter context"
            )
        if self.dropped:
            warnings.warn(
                f"sources without one window of {context + 1} tokens in the {split} split are "
                f"left out and the mixture renormalised: {', '.join(self.dropped)}",
                stacklevel=2,
            )
        self._apportionment = Apportionment(kept)
        self.weights: dict[str, Fraction] = self._apportionment.weights
        self.sources = self._apportionment.sources

    def _check_files(self) -> None:
        for source, tokens in self.tokens.items():
            path = self.tokens_dir / self.split / f"{source}.bin"
            expected = tokens * self.dtype.itemsize
            actual = path.stat().st_size
            if actual != expected:
                raise ValueError(
                    f"{path} has {actual} bytes, tokens.json says {expected}: the artifact is "
                    f"damaged, verify or rebuild it"
                )

    def __getstate__(self) -> dict[str, Any]:
        # A memmap pickles as a full copy of the data; loader workers reopen the files instead.
        return {**self.__dict__, "_arrays": {}}

    def _open(self, source: str) -> tuple[np.ndarray, np.ndarray]:
        """(tokens memmap, document offsets [documents + 1]) of one source."""
        if source not in self._arrays:
            folder = self.tokens_dir / self.split
            shape = (self.tokens[source],)
            data: np.ndarray = np.zeros(0, self.dtype)
            if shape[0]:
                data = np.memmap(folder / f"{source}.bin", self.dtype, mode="r", shape=shape)
            offsets = np.load(folder / f"{source}.offsets.npy", mmap_mode="r", allow_pickle=False)
            self._arrays[source] = (data, offsets)
        return self._arrays[source]

    # ---- one sample -------------------------------------------------------------------------

    def locate(self, i: int) -> tuple[str, int, int]:
        """(source, window, epoch) of sample ``i``."""
        source, drawn = self._apportionment.locate(i)
        epoch, place = divmod(drawn, self.windows[source])
        return source, _permutation(self.windows[source], self.seed, source, epoch)[place], epoch

    def window(self, source: str, window: int) -> np.ndarray:
        """Tokens of one window: int64 [context + 1]; also for walking a source in file order."""
        self._check_window(source, window)
        start = window * self.context
        return self._open(source)[0][start : start + self.context + 1].astype(np.int64)

    def segments(self, source: str, window: int) -> np.ndarray:
        """Document number of each token of a window, from 1: int64 [context + 1]."""
        self._check_window(source, window)
        _, offsets = self._open(source)
        start = window * self.context
        places = np.arange(start, start + self.context + 1)
        documents = np.searchsorted(offsets, places, side="right")
        return (documents - documents[0] + 1).astype(np.int64)

    def _check_window(self, source: str, window: int) -> None:
        if not 0 <= window < self.windows.get(source, 0):
            raise IndexError(
                f"window {window} of source {source!r} does not exist: it has "
                f"{self.windows.get(source, 0)} windows of {self.context + 1} tokens"
            )

    def sample(self, i: int) -> np.ndarray:
        """Tokens of sample ``i``: int64 [context + 1]; inputs are [:-1], targets [1:]."""
        source, window, _ = self.locate(i)
        return self.window(source, window)

    def sample_segments(self, i: int) -> np.ndarray:
        """Document numbers of sample ``i``, from 1: int64 [context + 1]."""
        source, window, _ = self.locate(i)
        return self.segments(source, window)

    # ---- batches ----------------------------------------------------------------------------

    def position(self, step: int) -> int:
        """Batch position of ``step``, the skipped ones before it counted in."""
        return position_of_step(step, self.skips)

    def sample_index(self, step: int, global_batch: int, row: int) -> int:
        """Sample number of row ``row`` of step ``step``."""
        return self.position(step) * global_batch + row

    def batch(self, step: int, global_batch: int) -> np.ndarray:
        """All rows of a step: int64 [B, context + 1]."""
        return self.rows(step, global_batch)

    def rows(
        self,
        step: int,
        global_batch: int,
        rank: int = 0,
        world: int = 1,
        micro: int = 0,
        accumulation: int = 1,
    ) -> np.ndarray:
        """Rows of one rank's micro-batch: int64 [B / world / accumulation, context + 1]."""
        picked = row_indices(global_batch, rank, world, micro, accumulation)
        first = self.position(step) * global_batch
        return np.stack([self.sample(first + row) for row in picked])

    def rows_segments(
        self,
        step: int,
        global_batch: int,
        rank: int = 0,
        world: int = 1,
        micro: int = 0,
        accumulation: int = 1,
    ) -> np.ndarray:
        """Document numbers beside ``rows`` (same shape), for ``mask_documents``."""
        picked = row_indices(global_batch, rank, world, micro, accumulation)
        first = self.position(step) * global_batch
        return np.stack([self.sample_segments(first + row) for row in picked])

    # ---- accounts ---------------------------------------------------------------------------

    def counts(self, step: int, global_batch: int) -> dict[str, int]:
        """Samples per source that the first ``step`` steps train on (skipped ones are not)."""
        position = self.position(step)
        counts = self._apportionment.counts(position * global_batch)
        for skipped in self.skips[: bisect_left(self.skips, position)]:
            before = self._apportionment.counts(skipped * global_batch)
            after = self._apportionment.counts((skipped + 1) * global_batch)
            counts = {s: n - (after[s] - before[s]) for s, n in counts.items()}
        return counts

    def epochs(self, step: int, global_batch: int) -> dict[str, float]:
        """Passes over each source made by the first ``step`` steps (Table 1's epochs column)."""
        return {s: n / self.windows[s] for s, n in self.counts(step, global_batch).items()}

    def provenance(self, i: int) -> Provenance:
        """Source, window, epoch and documents of sample ``i`` (reads the ids with pyarrow)."""
        source, window, epoch = self.locate(i)
        _, offsets = self._open(source)
        start = window * self.context
        stop = start + self.context + 1
        first = int(np.searchsorted(offsets, start, side="right")) - 1
        last = int(np.searchsorted(offsets, stop, side="left"))
        ids = self._document_ids(source, first, last)
        spans = tuple(
            DocumentSpan(
                index=d,
                id=ids[d - first],
                start=max(int(offsets[d]), start) - start,
                stop=min(int(offsets[d + 1]), stop) - start,
                offset=max(start - int(offsets[d]), 0),
            )
            for d in range(first, last)
        )
        return Provenance(i, source, window, epoch, spans)

    def _document_ids(self, source: str, first: int, last: int) -> list[str]:
        """Ids of the documents ``first`` to ``last`` (not included), of their row groups alone."""
        import pyarrow.parquet as pq

        found: list[str] = []
        with pq.ParquetFile(self.tokens_dir / self.split / f"{source}.documents.parquet") as file:
            start = 0
            for group in range(file.num_row_groups):
                stop = start + file.metadata.row_group(group).num_rows
                if start < last and first < stop:
                    ids = file.read_row_group(group, columns=["id"]).column("id")
                    here = slice(max(first - start, 0), min(last, stop) - start)
                    found += ids[here].to_pylist()
                start = stop
        return found


@lru_cache(maxsize=64)
def _permutation(windows: int, seed: int, source: str, epoch: int) -> Permutation:
    return Permutation(windows, seed, source, epoch)


def _summary(tokens_dir: Path) -> dict[str, Any]:
    path = tokens_dir / "tokens.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path} not found: {tokens_dir} is not a tokens artifact")
    summary: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return summary
