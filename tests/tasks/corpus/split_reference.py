"""Fates and verdicts as they are meant, everything in memory: what files must give too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tasks.corpus.assembly import Fate
from tasks.corpus.benchmark_index import BenchmarkIndex
from tasks.corpus.decontaminate import HITS, _by_benchmark
from tasks.corpus.fates import Part
from tasks.corpus.mixture import SOURCES
from tasks.corpus.parameters import CorpusParameters
from tasks.corpus.rules.decontamination import DecontaminationRules

Keys = NDArray[np.uint64]
Fates = dict[str, NDArray[np.uint8]]


def decide(
    parts: Sequence[Part],
    parameters: CorpusParameters,
    work: Path,
    labels: tuple[NDArray[np.int64], NDArray[np.int64]],
    checked: bool,
) -> tuple[Fates, dict[str, Any], list[dict[str, Any]]]:
    """Fates by part, what is said of them, and the pairs of documents and items.

    labels: clusters of confirmed near-duplicates, and of candidates.
    """
    signed = work / "sign"
    texts = [
        [bytes(row) for row in np.fromfile(signed / part.name / "digests", dtype="V16")]
        for part in parts
    ]
    seen: set[bytes] = set()
    fates = []
    for own in texts:
        fates.append(np.zeros(len(own), dtype=np.uint8))
        for row, text in enumerate(own):
            fates[-1][row] = Fate.SAME_TEXT if text in seen else Fate.TRAIN
            seen.add(text)
    filters = [Fate.SAME_TEXT]
    if parameters.near_duplicates == "remove":
        filters.append(Fate.NEAR_DUPLICATE)
        _remove_similar(fates, labels[0])
    filters.append(Fate.VALIDATION)
    keys = [np.load(signed / part.name / "keys.npy") for part in parts]
    leading = [np.array([int.from_bytes(t[:8], "big") for t in own], np.uint64) for own in texts]
    wanted = _hold_out(parts, fates, keys, leading, labels[1], parameters)
    report: dict[str, Any] = {}
    pairs: list[dict[str, Any]] = []
    if checked:
        remove, report, pairs = judge(
            work / "benchmarks",
            {part.name: work / "flag" / part.name for part in parts},
            {part.name: fate_N == Fate.TRAIN for part, fate_N in zip(parts, fates, strict=True)},
            parameters,
        )
        if parameters.decontamination == "remove":
            filters.append(Fate.CONTAMINATED)
            for part, fate_N in zip(parts, fates, strict=True):
                fate_N[remove[part.name]] = Fate.CONTAMINATED
    kept_N = np.isin(np.concatenate(fates), (Fate.TRAIN, Fate.VALIDATION))
    sizes = np.bincount(labels[1][kept_N])
    several = sizes[sizes > 1]
    said = {
        "filters": [fate.name for fate in filters],
        "near_duplicates": {
            "clusters": len(several),
            "documents": int(several.sum()),
            "largest": int(several.max(initial=1)),
        },
        "wanted": wanted,
        "report": report,
    }
    named = {part.name: fate_N for part, fate_N in zip(parts, fates, strict=True)}
    return named, said, pairs


def _remove_similar(fates: Sequence[NDArray[np.uint8]], label_N: NDArray[np.int64]) -> None:
    """Of every cluster the first document that is still there stays."""
    seen = np.zeros(len(label_N), dtype=np.bool_)  # by label: a cluster has one that stays
    start = 0
    for fate_N in fates:
        own_N = np.asarray(label_N[start : start + len(fate_N)])
        there = np.flatnonzero(fate_N == Fate.TRAIN)
        labels = own_N[there]
        _, first = np.unique(labels, return_index=True)
        stays = np.zeros(len(there), dtype=np.bool_)
        stays[first] = True
        stays &= ~seen[labels]
        seen[labels] = True
        fate_N[there[~stays]] = Fate.NEAR_DUPLICATE
        start += len(fate_N)


def _hold_out(
    parts: Sequence[Part],
    fates: Sequence[NDArray[np.uint8]],
    keys: Sequence[NDArray[np.uint64]],
    digests: Sequence[Keys],
    label_N: NDArray[np.int64],
    parameters: CorpusParameters,
) -> dict[str, int]:
    """Mark what is held out, by cluster over all sources; how many each source should give."""
    digest_N = np.concatenate(digests)
    key_N = cluster_keys(np.concatenate(keys), digest_N, np.asarray(label_N))
    there_N = np.concatenate([fate_N == Fate.TRAIN for fate_N in fates])
    source_N = np.concatenate(
        [np.full(part.rows, SOURCES.index(part.source), dtype=np.uint8) for part in parts]
    )
    present = list(dict.fromkeys(part.source for part in parts))
    rows = {name: np.flatnonzero(there_N & (source_N == SOURCES.index(name))) for name in present}
    chosen = choose_validation(
        {name: key_N[own] for name, own in rows.items()},
        parameters.validation_fraction,
        parameters.validation_minimum,
    )
    held_N = np.zeros(len(key_N), dtype=np.bool_)
    for name, own in rows.items():
        held_N[own[chosen[name]]] = True
    start = 0
    for fate_N in fates:
        fate_N[held_N[start : start + len(fate_N)]] = Fate.VALIDATION
        start += len(fate_N)
    return {name: min(parameters.validation_minimum, len(own) // 2) for name, own in rows.items()}


def cluster_keys(key_N: Keys, digest_N: Keys, label_N: NDArray[np.int64]) -> Keys:
    """Every document's key replaced by that of its cluster: of the member of least digest.

    The digest chooses the member and not the key itself: the least of several keys would favour
    large clusters.

    Args:
        key_N: see :func:`split_key`. digest_N: leading 8 bytes of the texts' digests.
        label_N: which documents are one cluster.
    """
    order = np.lexsort((key_N, digest_N, label_N))
    first = np.ones(len(order), dtype=np.bool_)
    first[1:] = label_N[order][1:] != label_N[order][:-1]
    result = np.empty_like(key_N)
    result[order] = key_N[order][first][np.cumsum(first) - 1]
    return result


def choose_validation(
    keys: Mapping[str, Keys], fraction: float, minimum: int
) -> dict[str, NDArray[np.bool_]]:
    """Which documents of each source are held out; equal keys stay together, in all sources.

    Those whose key falls under ``fraction`` of its range; then, in a source where these are fewer
    than ``minimum``, the smallest keys up to it. What would hold out more than half of a source
    stays in training.

    Args:
        keys: by source, the key of every document's cluster (see :func:`cluster_keys`).
    """
    chooser = _Chooser(keys)
    limit = np.uint64(int(fraction * 2**64))
    under = np.unique(np.concatenate([key_N[key_N < limit] for key_N in keys.values()]))
    if not chooser.take_all(under):
        for key in under:
            chooser.take(key)
    for name in keys:
        wanted = min(minimum, len(keys[name]) // 2)
        candidates = chooser.from_key(name, limit)
        while chooser.held[name] < wanted and (key := next(candidates, None)) is not None:
            chooser.take(key)
    chosen = np.array(sorted(chooser.chosen), dtype=np.uint64)
    return {name: np.isin(key_N, chosen) for name, key_N in keys.items()}


class _Chooser:
    """Keys held out so far, and how many documents of each source they are."""

    def __init__(self, keys: Mapping[str, Keys]) -> None:
        self._sorted = {name: np.sort(key_N) for name, key_N in keys.items()}
        self.held = dict.fromkeys(keys, 0)
        self.chosen: set[int] = set()

    def take(self, key: np.uint64) -> None:
        """Hold a key out, unless it is or more than half of a source would be."""
        if int(key) not in self.chosen:
            self.take_all(np.array([key]))

    def take_all(self, keys: Keys) -> bool:
        """Hold distinct new keys out, all or, when it is too much for a source, none."""
        counts = {
            name: int(
                (np.searchsorted(own, keys, "right") - np.searchsorted(own, keys, "left")).sum()
            )
            for name, own in self._sorted.items()
        }
        fits = all(
            self.held[name] + count <= len(self._sorted[name]) // 2
            for name, count in counts.items()
            if count
        )
        if fits:
            self.chosen.update(keys.tolist())
            for name, count in counts.items():
                self.held[name] += count
        return fits

    def from_key(self, name: str, start: np.uint64) -> Iterator[np.uint64]:
        """Distinct keys of a source from ``start`` on, ascending."""
        own = self._sorted[name]
        at = int(np.searchsorted(own, start))
        while at < len(own):
            yield own[at]
            at = int(np.searchsorted(own, own[at], "right"))


def judge(
    index: Path,
    flagged: Mapping[str, Path],
    trained: Mapping[str, NDArray[np.bool_]],
    rules: DecontaminationRules,
) -> tuple[dict[str, NDArray[np.bool_]], dict[str, Any], list[dict[str, Any]]]:
    """Rows to remove by file, the report, and the pairs of documents and items."""
    found = BenchmarkIndex(index)
    hits = {name: _read_hits(folder) for name, folder in flagged.items()}
    hits = {name: _where(table, trained[name][table[0]]) for name, table in hits.items()}
    documents_U = _documents_with(hits, len(found.starts) - 1)
    limit = rules.decontamination_common
    common_U = documents_U > limit if limit is not None else np.zeros(len(documents_U), np.bool_)
    dirty: dict[str, NDArray[np.bool_]] = {}
    for name, (row_K, _, gram_K) in hits.items():
        dirty[name] = np.zeros(len(trained[name]), dtype=np.bool_)
        dirty[name][row_K[~common_U[gram_K]]] = True
    removes = rules.decontamination == "remove"
    remove = {name: own if removes else np.zeros_like(own) for name, own in dirty.items()}
    left = {name: _where(table, ~remove[name][table[0]]) for name, table in hits.items()}
    left_U = _documents_with(left, len(documents_U)) > 0
    before = _by_benchmark(found, (documents_U > 0) & ~common_U, documents_U > 0)
    after = _by_benchmark(found, left_U & ~common_U, left_U)
    for name, row in after.items():
        row["found"] = before[name]["contaminated"]
        row["data_sha256"] = found.said["benchmarks"][name]["data_sha256"]
    report = {
        "decontamination": rules.decontamination,
        "ngram": rules.decontamination_ngram,
        "common": limit,
        "benchmarks": after,
        "not_checked": found.said["not_checked"],
        "documents": int(sum(own.sum() for own in dirty.values())),
        "removed": int(sum(own.sum() for own in remove.values())),
    }
    return remove, report, list(_pairs(found, hits, common_U, remove))


Hits = tuple[NDArray[np.int64], NDArray[np.object_], NDArray[np.int64]]


def _read_hits(folder: Path) -> Hits:
    """Rows, ids and n-grams of one file's hits."""
    table = pq.read_table(folder / HITS)
    row_K = table["row"].to_numpy().astype(np.int64)
    gram_K = table["ngram"].to_numpy().astype(np.int64)
    return row_K, np.array(table["id"].to_pylist(), dtype=np.object_), gram_K


def _where(hits: Hits, wanted_K: NDArray[np.bool_]) -> Hits:
    row_K, id_K, gram_K = hits
    return row_K[wanted_K], id_K[wanted_K], gram_K[wanted_K]


def _documents_with(hits: Mapping[str, Hits], grams: int) -> NDArray[np.int64]:
    """How many documents hold each n-gram."""
    documents_U = np.zeros(grams, dtype=np.int64)
    for _, _, gram_K in hits.values():
        documents_U += np.bincount(gram_K, minlength=grams)
    return documents_U


def _pairs(
    index: BenchmarkIndex,
    hits: Mapping[str, Hits],
    common_U: NDArray[np.bool_],
    remove: Mapping[str, NDArray[np.bool_]],
) -> Iterator[dict[str, Any]]:
    """Each document and item with how many of the item's n-grams the document holds."""
    benchmarks, items = (index.items[name].to_pylist() for name in ("benchmark", "item"))
    for name, table in hits.items():
        row_K, id_K, gram_K = _where(table, ~common_U[table[2]])
        ids = dict(zip(row_K.tolist(), id_K.tolist(), strict=True))
        of_P, posting_P = index.postings(gram_K)
        pair_P = row_K[of_P] * len(items) + index.item_P[posting_P]
        pairs, counts = np.unique(pair_P, return_counts=True)
        for pair, count in zip(pairs.tolist(), counts.tolist(), strict=True):
            row, item = divmod(pair, len(items))
            found = {"file": name, "id": ids[row], "benchmark": benchmarks[item]}
            found |= {"item": items[item], "ngrams": count, "removed": bool(remove[name][row])}
            yield found
