"""The shards of a source to its documents: texts that an earlier shard has go, the cap is kept.

Shards come in order while they are read. A shard of which everything stays is taken as it is, by
a link; another is written anew without the rows that go.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.corpus.dedup import DIGEST_BYTES, MEMORY_MB, first_of_files
from tasks.corpus.documents import REJECTED_SCHEMA, ParquetFile, read_documents
from tasks.corpus.done import put_file
from tasks.corpus.funnel import AFTER_CAP, Funnel
from tasks.corpus.parameters import SourceCap
from tasks.corpus.steps import DUPLICATE, SAME_TEXT, write_rejected

CAP = "cap"
Mask = NDArray[np.bool_]


@dataclass
class Merged:
    """What was written, over all shards of a source. by_shard: rows of ``funnel_shards.json``."""

    funnel: Funnel
    documents: int = 0
    characters: int = 0
    bytes: int = 0
    licenses: Counter[str] = field(default_factory=Counter)
    by_shard: list[dict[str, Any]] = field(default_factory=list)
    shards: int = 0
    capped: bool = False


@dataclass(frozen=True)
class ReadShard:
    """A shard that was read: its folder and what :func:`tasks.corpus.steps.read_shard` said."""

    number: int
    folder: Path
    said: Mapping[str, Any]


def merge_shards(
    source: str,
    shards: Iterable[ReadShard],
    cap: SourceCap,
    out: Path,
    scratch: Path,
    memory_mb: int = MEMORY_MB,
    keep_rejected: bool = False,
    whole: Callable[[ReadShard], ReadShard] | None = None,
) -> Merged:
    """Write ``documents/*.parquet`` and ``rejected/*.parquet``; counts per source and shard.

    With a cap the shards are drawn one by one and no more than needed; without one, all are read
    before the first is written.

    Args:
        scratch: folder for temporary files of the deduplication. memory_mb: what that holds.
        whole: reads a shard again without the cap, for one that stopped at it too early: by its own
            count, with texts that an earlier shard has.
    """
    merged = Merged(Funnel(source, keep_rejected=keep_rejected))
    scratch.mkdir(parents=True, exist_ok=True)
    for shard, keep_N, within in _masked(shards, cap, merged, scratch, memory_mb, whole):
        _write(shard, keep_N, within, cap.is_set, out, merged)
    return merged


def _masked(
    shards: Iterable[ReadShard],
    cap: SourceCap,
    merged: Merged,
    scratch: Path,
    memory_mb: int,
    whole: Callable[[ReadShard], ReadShard] | None,
) -> Iterator[tuple[ReadShard, Mask, int]]:
    """Each shard with the rows whose text is new, and how many rows come before the cap."""
    if not cap.is_set:
        held = list(shards)
        masks = first_of_files([shard.folder / "digests" for shard in held], scratch, memory_mb)
        for shard, keep_N in zip(held, masks, strict=True):
            yield shard, keep_N, len(keep_N)
        return
    taken = _Taken()
    for shard in shards:
        more = _new_rows(shard, cap, taken)
        if not more.reached and shard.said["capped"]:
            assert whole is not None, "a shard stopped at the cap, and cannot be read on"
            shard = whole(shard)
            more = _new_rows(shard, cap, taken)
        taken.digests |= more.digests
        taken.documents, taken.size, taken.reached = more.documents, more.size, more.reached
        merged.capped = taken.reached
        yield shard, more.keep_N, more.within
        if merged.capped:
            return


@dataclass
class _Taken:
    """What a cap has let through so far: digests of the texts (few), documents, bytes."""

    digests: set[bytes] = field(default_factory=set)
    documents: int = 0
    size: int = 0
    reached: bool = False


@dataclass
class _More(_Taken):
    """What one shard adds: digests are its own. keep_N: its new rows; within: rows to the cap."""

    keep_N: Mask = field(default_factory=lambda: np.zeros(0, dtype=np.bool_))
    within: int = 0


def _new_rows(shard: ReadShard, cap: SourceCap, taken: _Taken) -> _More:
    """Which rows of a shard have a text that was not taken yet, up to the cap."""
    digests = (shard.folder / "digests").read_bytes()
    rows = len(digests) // DIGEST_BYTES
    more = _More(set(), taken.documents, taken.size, False, np.zeros(rows, dtype=np.bool_), rows)
    for index, row in enumerate(read_documents(shard.folder / "documents.parquet", ["text"])):
        digest = digests[index * DIGEST_BYTES : (index + 1) * DIGEST_BYTES]
        if digest in taken.digests:
            continue
        more.digests.add(digest)
        more.keep_N[index] = True
        more.documents += 1
        more.size += len(row["text"].encode())
        if cap.reached(more.documents, more.size):
            more.within, more.reached = index + 1, True
            break
    return more


def _write(
    shard: ReadShard, keep_N: Mask, within: int, capped: bool, out: Path, merged: Merged
) -> None:
    """One shard's files, its counts into ``merged``."""
    funnel = Funnel.from_rows(merged.funnel.source, shard.said["funnel"])
    funnel.keep_rejected = merged.funnel.keep_rejected
    funnel.bad_files = list(shard.said["bad_files"])
    funnel.notes = list(shard.said["notes"])
    name = f"{shard.number:05d}.parquet"
    if capped:
        funnel.declare(CAP)
    if keep_N.all() and within == len(keep_N):
        licenses = Counter(shard.said["licenses"])
        documents, characters = shard.said["documents"], shard.said["characters"]
        size = shard.said["bytes"]
        if documents:
            put_file(shard.folder / "documents.parquet", out / "documents" / name)
        if capped:
            entry = funnel.entries[CAP]
            entry.documents_in = entry.documents_out = documents
            entry.characters_in = entry.characters_out = characters
            entry.bytes_in = entry.bytes_out = size
        put_file(shard.folder / "rejected.parquet", out / "rejected" / name)
    else:
        licenses, documents, characters, size = _rewrite(
            shard, keep_N, within, funnel, out / "documents" / name, out / "rejected" / name, capped
        )
    merged.documents += documents
    merged.characters += characters
    merged.bytes += size
    merged.licenses += licenses
    merged.shards += 1
    merged.by_shard += [{"shard": shard.number, **row} for row in funnel.rows()]
    merged.funnel.merge(funnel)


def _rewrite(
    shard: ReadShard,
    keep_N: Mask,
    within: int,
    funnel: Funnel,
    documents_path: Path,
    rejected_path: Path,
    capped: bool,
) -> tuple[Counter[str], int, int, int]:
    """Write the rows that stay, and the rejects with those that go now."""
    licenses: Counter[str] = Counter()
    characters = size = 0
    with ParquetFile(rejected_path, REJECTED_SCHEMA) as rejected:
        for row in read_documents(shard.folder / "rejected.parquet"):
            rejected.write(row)
        with ParquetFile(documents_path) as output:
            for index, row in enumerate(read_documents(shard.folder / "documents.parquet")):
                text = row["text"]
                meta = json.loads(row["meta"])
                funnel.place = (str(meta.get("file", "")), int(meta.get("offset", 0)))
                if index >= within:
                    funnel.reject(CAP, AFTER_CAP, text, row["id"])
                elif not keep_N[index]:
                    funnel.take_back(DUPLICATE, SAME_TEXT, text, row["id"])
                else:
                    if capped:
                        funnel.keep(CAP, text)
                    licenses[row["license"] or "unknown"] += 1
                    characters += len(text)
                    size += len(text.encode())
                    output.write(row)
                write_rejected(rejected, funnel)
    if not output.documents:
        documents_path.unlink()
    return licenses, output.documents, characters, size
