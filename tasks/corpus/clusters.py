"""Near-duplicate clusters over all sources: MinHash signatures in bands, decided by partitions.

Two documents are candidates when a band of their signatures is equal: surely enough from a
Jaccard similarity of 0.8 of their 5-word shingles on (0.997; 0.85 at 0.7, 0.12 at 0.5). Taken as
they are, candidates keep near-duplicates on one side of a split, where one too many does no harm;
to remove documents they are confirmed by the similarity that the whole signatures estimate. A
cluster is what such pairs connect.

Shards are signed alone, on any machine (:func:`sign_file`); :func:`cluster` then puts band keys to
files by their leading bits and decides each file alone, in memory bounded by a setting.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tasks.corpus.partitions import Rows, mapped, partition_bits, partitioned, settle, slices
from tasks.corpus.shingles import BINS, EMPTY, filled, signatures
from tasks.corpus.words import ODD, mixed

BANDS = 32
# One row a document: keys of its bands, the low byte of each bin (b-bit MinHash, Li and Koenig
# 2010) and which bins are not empty, one bit each; from these two the similarity of two documents
# is estimated. 544 bytes.
SIGNED = np.dtype([("band", "<u8", (BANDS,)), ("low", "u1", (BINS,)), ("full", "u1", (BINS // 8,))])
BATCH_TEXTS = 256
BATCH_CHARACTERS = 1 << 20
MEMORY_MB = 2048
# Sorting a band key and joining its pairs, measured: 16 bytes as it lies in its file, the rest
# order, keys and rows in order, and pairs.
KEY_BYTES = 80
_PAIR = np.dtype([("key", "<u8"), ("row", "<u8")])
_SCAN_ROWS = 4096
# Documents of one band are compared to the first and to this many before them.
NEIGHBOURS = 4


def sign_file(texts: Iterable[str], seed: int, out: Path) -> int:
    """Write the signatures of a shard's texts to ``out``, in order; returns how many.

    The file depends on the texts and the seed alone; it has 544 bytes a text.
    """
    rows = 0
    with out.open("wb") as handle:
        for batch in _batches(texts):
            handle.write(signed(batch, seed).tobytes())
            rows += len(batch)
    return rows


def cluster(
    files: Sequence[Path],
    folder: Path,
    memory_mb: int = MEMORY_MB,
    similarity: float | None = None,
) -> NDArray[np.int64]:
    """Cluster of every document of ``files`` (see :func:`sign_file`), named by its first one.

    Rows count through all files in their order. The clusters depend on the signatures alone, not
    on the memory.

    Args:
        folder: for temporary files (512 bytes a document) and ``labels``, which the result maps:
            8 bytes a document that the system may put out of memory. Remove it after the result.
        memory_mb: what is held of a partition, at most.
        similarity: join only documents whose estimated Jaccard similarity is at least this; by
            default all that share a band.
    """
    first_F = np.cumsum([0] + [path.stat().st_size // SIGNED.itemsize for path in files])
    rows = int(first_F[-1])
    if not rows:
        return np.empty(0, dtype=np.int64)
    label_N = mapped(folder / "labels", np.int64, rows)
    for start in range(0, rows, 1 << 20):
        label_N[start : start + (1 << 20)] = np.arange(start, min(rows, start + (1 << 20)))
    limit = max(1, memory_mb * 1_000_000 // KEY_BYTES)
    # Equal keys need no more than a chain when they are taken as they are.
    neighbours = 1 if similarity is None else NEIGHBOURS

    def scan() -> Iterator[Rows]:
        for first, path in zip(first_F, files, strict=False):
            yield from _band_rows(path, int(first))

    for path in partitioned(scan, partition_bits(rows * BANDS, limit), _PAIR, folder):
        for one_P, other_P in _candidates(path, limit, neighbours):
            if similarity is not None:
                near = _similar(files, first_F, one_P, other_P, similarity)
                one_P, other_P = one_P[near], other_P[near]
            _unite(label_N, one_P, other_P)
    for start in range(0, rows, 1 << 20):
        part_R = np.arange(start, min(rows, start + (1 << 20)))
        label_N[start : start + len(part_R)] = _roots(label_N, part_R)
    settle(label_N)
    return label_N


def signed(texts: Sequence[str], seed: int) -> Rows:
    """One row of :data:`SIGNED` for every text."""
    signature_DB = signatures(texts, seed)
    rows = np.empty(len(texts), dtype=SIGNED)
    rows["band"] = _band_keys(filled(signature_DB))
    rows["low"] = signature_DB.astype(np.uint8)
    rows["full"] = np.packbits(signature_DB != EMPTY, axis=1)
    return rows


def estimated_similarity(one_P: Rows, other_P: Rows) -> NDArray[np.float64]:
    """(pairs,): Jaccard similarity by the bins that one of a pair has, chance matches taken off.

    Bins that both lack say nothing (Li, Owen and Zhang 2012): short texts, whose shingles have a
    bin each, are compared nearly exactly. Nothing in common with a text without words.
    """
    full_P2B = [np.unpackbits(rows["full"], axis=1).astype(np.bool_) for rows in (one_P, other_P)]
    both_PB = full_P2B[0] & full_P2B[1]
    either_P = (full_P2B[0] | full_P2B[1]).sum(axis=1)
    equal_P = ((one_P["low"] == other_P["low"]) & both_PB).sum(axis=1)
    by_chance_P = (both_PB.sum(axis=1) - equal_P) / 255
    return np.maximum(0.0, equal_P - by_chance_P) / np.maximum(1, either_P)


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    characters = 0
    for text in texts:
        batch.append(text)
        characters += len(text)
        if len(batch) == BATCH_TEXTS or characters >= BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def _band_keys(signature_DB: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Keys of the bands of filled signatures: a sum with an odd weight for every bin, mixed."""
    bin_DBR = signature_DB.reshape(-1, BANDS, BINS // BANDS)
    weight_BR = mixed(np.arange(BINS, dtype=np.uint64) * ODD) | np.uint64(1)
    key_DB = mixed((bin_DBR * weight_BR.reshape(BANDS, -1)).sum(axis=2, dtype=np.uint64))
    wordless_D = (signature_DB == EMPTY).all(axis=1)
    return np.where(wordless_D[:, None], EMPTY, key_DB)


def _band_rows(path: Path, first: int) -> Iterator[Rows]:
    """(key, row) of every band of a file's documents that have words, in order of rows."""
    for part in slices(path, SIGNED, _SCAN_ROWS):
        row_D = np.arange(first, first + len(part), dtype=np.uint64)
        first += len(part)
        has_words_D = (part["band"] != EMPTY).any(axis=1)
        pairs = np.empty(int(has_words_D.sum()) * BANDS, dtype=_PAIR)
        pairs["key"] = part["band"][has_words_D].ravel()
        pairs["row"] = np.repeat(row_D[has_words_D], BANDS)
        yield pairs


def _candidates(
    path: Path, limit: int, neighbours: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Pairs of rows of equal key: each row with the first of its key and with some before it.

    A partition larger than the limit has keys that many documents share. It is read by slices,
    and of every key the rows are carried on that the next slice's are compared with: the pairs are
    the same ones however large the slices.
    """
    carried = np.empty(0, dtype=_PAIR)
    for part in slices(path, _PAIR, limit):
        rows = np.concatenate([carried, part]) if len(carried) else part
        rows = rows[np.argsort(rows["key"], kind="stable")]
        key, row = rows["key"], rows["row"].astype(np.int64)
        starts = np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]]))
        length = np.diff(np.append(starts, len(key)))
        place = np.arange(len(key)) - np.repeat(starts, length)
        for distance in range(1, neighbours + 1):
            later = np.flatnonzero(place >= distance)
            yield row[later - distance], row[later]
        far = np.flatnonzero(place > neighbours)
        yield row[far - place[far]], row[far]
        left = np.repeat(length, length) - place
        carried = rows[(place == 0) | (left <= neighbours)]


def _similar(
    files: Sequence[Path],
    first_F: NDArray[np.int64],
    one_P: NDArray[np.int64],
    other_P: NDArray[np.int64],
    similarity: float,
) -> NDArray[np.bool_]:
    """Which pairs are at least so similar by their signatures."""
    near_P = np.zeros(len(one_P), dtype=np.bool_)
    for start in range(0, len(one_P), _SCAN_ROWS):
        some = slice(start, start + _SCAN_ROWS)
        one, other = (_take(files, first_F, row_P[some]) for row_P in (one_P, other_P))
        near_P[some] = estimated_similarity(one, other) >= similarity
    return near_P


def _take(files: Sequence[Path], first_F: NDArray[np.int64], row_R: NDArray[np.int64]) -> Rows:
    """The signatures of some rows. One file is open at a time: there are thousands."""
    taken = np.empty(len(row_R), dtype=SIGNED)
    file_R = np.searchsorted(first_F, row_R, side="right") - 1
    for number in np.unique(file_R):
        inside = file_R == number
        store = np.memmap(files[number], dtype=SIGNED, mode="r")
        taken[inside] = store[row_R[inside] - first_F[number]]
    return taken


def _roots(label_N: NDArray[np.int64], row_R: NDArray[np.int64]) -> NDArray[np.int64]:
    """The first document of each row's cluster so far; halves the paths there, in place."""
    while True:
        above_R = label_N[row_R]
        root_R = label_N[above_R]
        if np.array_equal(above_R, root_R):
            return root_R
        label_N[row_R] = root_R


def _unite(
    label_N: NDArray[np.int64], one_P: NDArray[np.int64], other_P: NDArray[np.int64]
) -> None:
    """Join the clusters of every pair, in place: labels point to a row before them, or itself."""
    while len(one_P):
        # Together: what was hooked in a row in the last round is then halved as a whole.
        one_P, other_P = np.split(_roots(label_N, np.concatenate([one_P, other_P])), 2)
        apart = one_P != other_P
        one_P, other_P = one_P[apart], other_P[apart]
        np.minimum.at(label_N, np.maximum(one_P, other_P), np.minimum(one_P, other_P))
