"""Token shards: the corpus as flat memmaps, each document BOS, pieces, EOS.

The corpus is encoded part by part on all cores (:mod:`tasks.tokens.parts`); the parts are appended
in the order of the corpus, so the shards depend neither on the number of workers nor on how often
the run was killed. Parts stay in ``work`` until the artifact is published: while they are joined,
the tokens need twice their size on disk, except where the file system shares the blocks of copies.
"""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tasks.context import StageContext, StageResult, atomic_write_json
from tasks.corpus.execute import Executor
from tasks.tokens.corpus import mixture_weights, sources_of
from tasks.tokens.encoder import DocumentEncoder
from tasks.tokens.execution import executor_of, worker_processes
from tasks.tokens.parameters import TokensParameters
from tasks.tokens.parts import (
    COUNTED,
    DOCUMENTS,
    TOKENS,
    Counts,
    Part,
    part_bytes,
    parts_of,
)
from tasks.tokens.report import make_report, shown

SPLITS = ("train", "validation")
IDS_SCHEMA = pa.schema([("id", pa.string())])
_COPY_BYTES = 1 << 24
# What copy_file_range says where the system or the file system cannot do it.
_CANNOT_COPY = {errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}


def append_file(source: Path, target: BinaryIO) -> None:
    """Append a file's bytes to ``target``, inside the kernel where it can."""
    with source.open("rb") as data:
        left = os.fstat(data.fileno()).st_size
        target.flush()
        if hasattr(os, "copy_file_range"):
            try:
                while left:
                    copied = os.copy_file_range(data.fileno(), target.fileno(), left)
                    if not copied:
                        raise OSError(errno.EIO, f"ends {left} bytes early", str(source))
                    left -= copied
            except OSError as error:
                if error.errno not in _CANNOT_COPY:
                    raise
            target.seek(0, os.SEEK_END)
            data.seek(-left, os.SEEK_END)
        shutil.copyfileobj(data, target, _COPY_BYTES)


def write_source(
    folder: Path, source: str, parts: Sequence[Part], results: Iterator[dict[str, Any]]
) -> tuple[Counts, int]:
    """Join a source's parts into its three files; counts by language, and parts found done.

    results: what the parts' jobs give, in order. Nothing larger than one part's ids is held.
    """
    documents = sum(part.rows for part in parts)
    counts: Counts = {}
    resumed = 0
    end = np.zeros(1, np.int64)
    with (
        (folder / f"{source}.bin").open("wb") as data,
        (folder / f"{source}.offsets.npy").open("wb") as offsets,
        pq.ParquetWriter(
            folder / f"{source}.documents.parquet", IDS_SCHEMA, compression="zstd"
        ) as names,
    ):
        header: dict[str, Any] = {
            "descr": "<i8",
            "fortran_order": False,
            "shape": (documents + 1,),
        }
        np.lib.format.write_array_header_1_0(offsets, header)
        offsets.write(end.tobytes())
        for part, result in zip(parts, results, strict=True):
            append_file(part.folder / TOKENS, data)
            with pq.ParquetFile(part.folder / DOCUMENTS) as file:
                table = file.read()
            ends = end + np.cumsum(table.column("tokens").to_numpy())
            offsets.write(ends.astype("<i8").tobytes())
            end = ends[-1:]
            names.write_table(table.select(["id"]))
            resumed += result["resumed"]
            for language, held in result["counts"].items():
                mine = counts.setdefault(language, dict.fromkeys(COUNTED, 0))
                for name in COUNTED:
                    mine[name] += held[name]
        for handle in (data, offsets):
            handle.flush()
            os.fsync(handle.fileno())
    return counts, resumed


def build_tokens(
    parameters: TokensParameters,
    corpus: Path,
    tokenizer: Path,
    context: StageContext,
    executor: Executor | None = None,
) -> StageResult:
    """Encode both splits of a corpus artifact with a tokenizer artifact.

    Writes per split and source ``<source>.bin``, ``.offsets.npy`` and ``.documents.parquet``, and
    ``tokens.json`` and ``report.json``. Parts that an earlier attempt left in ``work`` are kept.
    tokenizer: the artifact's directory, or the model file itself. executor: where parts are
    encoded; by default what the parameters say.
    Errors: ``ValueError`` when the corpus has no training document.
    """
    model = tokenizer / "tokenizer.model" if tokenizer.is_dir() else tokenizer
    encoder = DocumentEncoder(model)
    weights = mixture_weights(corpus)
    files = {split: sources_of(corpus, split) for split in SPLITS}
    if not files["train"]:
        raise ValueError(f"{corpus / 'train'} holds no documents: build the corpus first")
    everything = [path for held in files.values() for paths in held.values() for path in paths]
    size = part_bytes(everything)
    started = time.monotonic()
    work = {
        (split, source): parts_of(paths, size, model, _parts_folder(context, split, source))
        for split in SPLITS
        for source, paths in files[split].items()
    }
    flat = [part for parts in work.values() for part in parts]
    # One set of processes for all of it, and none where starting them takes longer than the work.
    executor = executor or executor_of(parameters, context, len(flat), everything)
    by_language: dict[str, dict[str, Counts]] = {split: {} for split in SPLITS}
    resumed = 0
    with closing(_reported(flat, executor, context)) as encoded:
        for (split, source), parts in work.items():
            folder = context.out / split
            folder.mkdir(parents=True, exist_ok=True)
            counts, found = write_source(folder, source, parts, islice(encoded, len(parts)))
            by_language[split][source] = counts
            resumed += found
    seconds = time.monotonic() - started
    splits = {
        split: {source: _total(counts) for source, counts in held.items()}
        for split, held in by_language.items()
    }
    summary = {
        "dtype": encoder.dtype.name,
        "vocab_size": encoder.tokenizer.vocab_size,
        "bos_id": encoder.tokenizer.bos_id,
        "eos_id": encoder.tokenizer.eos_id,
        "splits": splits,
        "weights": weights,
    }
    atomic_write_json(context.out / "tokens.json", summary)
    report = make_report(by_language, weights)
    atomic_write_json(context.out / "report.json", report)
    read = sum(counts["bytes"] for held in splits.values() for counts in held.values())
    speed = {
        "seconds": seconds,
        "megabytes_per_second": read / 1e6 / max(seconds, 1e-9),
        "executor": parameters.executor,
        "workers": worker_processes(parameters, len(flat), everything),
        "parts": len(flat),
        "parts_from_earlier_attempts": resumed,
    }
    atomic_write_json(context.logs / "tokens.json", speed)
    train = splits["train"].values()
    return StageResult(
        counts={
            "tokens": sum(counts["tokens"] for counts in train),
            "validation_tokens": sum(c["tokens"] for c in splits["validation"].values()),
            "documents": sum(counts["documents"] for counts in train),
            "splits": splits,
            **shown(report),
        }
    )


def _parts_folder(context: StageContext, split: str, source: str) -> Path:
    """``work/parts/<split>/<source>``, without what a killed attempt had not finished."""
    folder = context.work / "parts" / split / source
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(".*.tmp"):
        shutil.rmtree(left, ignore_errors=True)  # a late worker may still write in it
    return folder


def _reported(
    parts: Sequence[Part], executor: Executor, context: StageContext
) -> Generator[dict[str, Any]]:
    results = executor.run(part.job() for part in parts)
    for number, (part, result) in enumerate(zip(parts, results, strict=True), start=1):
        yield result
        source, split = part.folder.parent, part.folder.parent.parent
        line = f"{split.name} {source.name}: {number} of {len(parts)} parts"
        context.progress(number / len(parts), line)


def _total(counts: Counts) -> dict[str, int]:
    """Counts of all languages together."""
    return {name: sum(held[name] for held in counts.values()) for name in COUNTED}
