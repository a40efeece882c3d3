"""Token shards: the corpus as flat memmaps, each document BOS, pieces, EOS.

Encoding runs in parallel by Parquet row group; results are appended in file order, so the shards
do not depend on the number of workers.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tasks.context import StageContext, StageResult, atomic_write_json
from tasks.corpus.parallel import ordered_map
from tasks.tokens.corpus import mixture_weights, row_group, sources_of
from tasks.tokens.parameters import TokensParameters

SPLITS = ("train", "validation")
# Compressed bytes of documents below which starting worker processes takes longer than encoding.
POOL_BYTES = 2_000_000


@dataclass(frozen=True)
class Group:
    """One row group of one source's file, and the tokenizer to encode it with."""

    path: Path
    index: int
    tokenizer: Path


@dataclass(frozen=True)
class EncodedGroup:
    """Tokens of a row group's documents, one after the other, and their lengths in tokens."""

    tokens: np.ndarray
    lengths: np.ndarray
    ids: list[str]
    characters: int
    bytes: int


def token_dtype(vocab_size: int) -> np.dtype[Any]:
    """Little-endian uint16 where every id fits, else uint32."""
    return np.dtype("<u2" if vocab_size <= 65_536 else "<u4")


@lru_cache(maxsize=1)
def _tokenizer(path: Path) -> Any:
    from model.tokenizer import Tokenizer

    return Tokenizer(path)


def encode_group(group: Group) -> EncodedGroup:
    """Encode one row group; runs in a worker process."""
    tokenizer = _tokenizer(group.tokenizer)
    dtype = token_dtype(tokenizer.vocab_size)
    with pq.ParquetFile(group.path) as file:
        rows = row_group(file, group.index)
    encoded = [
        np.array(tokenizer.encode(text, bos=True, eos=True), dtype=dtype) for _, text in rows
    ]
    return EncodedGroup(
        tokens=np.concatenate(encoded) if encoded else np.zeros(0, dtype),
        lengths=np.array([len(tokens) for tokens in encoded], np.int64),
        ids=[identifier for identifier, _ in rows],
        characters=sum(len(text) for _, text in rows),
        bytes=sum(len(text.encode("utf-8")) for _, text in rows),
    )


def write_source(folder: Path, source: str, groups: Iterator[EncodedGroup]) -> dict[str, int]:
    """Write the three files of one source; counts of documents, tokens, characters and bytes."""
    counts = {"documents": 0, "tokens": 0, "characters": 0, "bytes": 0}
    lengths = [np.zeros(1, np.int64)]
    schema = pa.schema([("id", pa.string())])
    with (
        (folder / f"{source}.bin").open("wb") as data,
        pq.ParquetWriter(
            folder / f"{source}.documents.parquet", schema, compression="zstd"
        ) as names,
    ):
        for group in groups:
            group.tokens.tofile(data)
            lengths.append(group.lengths)
            names.write_table(pa.table({"id": group.ids}, schema=schema))
            counts["documents"] += len(group.ids)
            counts["tokens"] += len(group.tokens)
            counts["characters"] += group.characters
            counts["bytes"] += group.bytes
        data.flush()
        os.fsync(data.fileno())
    np.save(folder / f"{source}.offsets.npy", np.cumsum(np.concatenate(lengths)))
    return counts


def groups_of(path: Path, tokenizer: Path) -> list[Group]:
    """The row groups of a document file, the unit that a worker encodes."""
    with pq.ParquetFile(path) as file:
        return [Group(path, index, tokenizer) for index in range(file.num_row_groups)]


def build_tokens(
    parameters: TokensParameters, corpus: Path, tokenizer: Path, context: StageContext
) -> StageResult:
    """Encode both splits of a corpus artifact with a tokenizer artifact.

    tokenizer: the artifact's directory, or the model file itself.
    Errors: ``ValueError`` when the corpus has no training document.
    """
    model = tokenizer / "tokenizer.model" if tokenizer.is_dir() else tokenizer
    trained = _tokenizer(model)
    weights = mixture_weights(corpus)
    files = {split: sources_of(corpus, split) for split in SPLITS}
    if not files["train"]:
        raise ValueError(f"{corpus / 'train'} holds no documents: build the corpus first")
    total = sum(path.stat().st_size for held in files.values() for path in held.values())
    done = 0
    started = time.monotonic()
    splits: dict[str, dict[str, dict[str, int]]] = {split: {} for split in SPLITS}
    work = {
        (split, source): groups_of(path, model)
        for split in SPLITS
        for source, path in files[split].items()
    }
    # One pool for all of it, and none where starting one takes longer than the work.
    workers = parameters.workers if total > POOL_BYTES else 1
    flat = [group for groups in work.values() for group in groups]
    encoded = ordered_map(encode_group, flat, workers)
    for (split, source), groups in work.items():
        folder = context.out / split
        folder.mkdir(parents=True, exist_ok=True)
        counts = write_source(folder, source, islice(encoded, len(groups)))
        splits[split][source] = counts
        done += files[split][source].stat().st_size
        context.progress(done / total, f"{split} {source}: {counts['tokens']:,} tokens")
    seconds = time.monotonic() - started
    summary = {
        "dtype": token_dtype(trained.vocab_size).name,
        "vocab_size": trained.vocab_size,
        "bos_id": trained.bos_id,
        "eos_id": trained.eos_id,
        "splits": splits,
        "weights": weights,
    }
    atomic_write_json(context.out / "tokens.json", summary)
    size = sum(counts["bytes"] for held in splits.values() for counts in held.values())
    speed = {"seconds": seconds, "megabytes_per_second": size / 1e6 / max(seconds, 1e-9)}
    atomic_write_json(context.logs / "tokens.json", {**speed, "workers": parameters.workers})
    train = splits["train"]
    return StageResult(
        counts={
            "tokens": sum(counts["tokens"] for counts in train.values()),
            "validation_tokens": sum(c["tokens"] for c in splits["validation"].values()),
            "documents": sum(counts["documents"] for counts in train.values()),
            "splits": splits,
        }
    )
