"""What becomes of every document of a corpus: duplicates, near-duplicates, validation, benchmarks.

Decided once over all files, from their digests and signatures, by partitions of the hashes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.corpus import decontaminate
from tasks.corpus.assembly import Fate
from tasks.corpus.clusters import cluster
from tasks.corpus.dedup import first_of_files, leading_digests
from tasks.corpus.mixture import SOURCES
from tasks.corpus.parameters import CorpusParameters
from tasks.corpus.split import choose_validation, cluster_keys

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Part:
    """One file of a source's documents. name: of its folders in the work folder."""

    source: str
    path: Path
    rows: int

    @property
    def name(self) -> str:
        return f"{self.source}-{self.path.stem}"


def decide(
    parts: Sequence[Part],
    parameters: CorpusParameters,
    work: Path,
    checked: bool,
    out: Path,
) -> dict[str, Any]:
    """Write a fate for every document, ``<part>.npy``; memory is bounded by the parameters."""
    signed = work / "sign"
    scratch = out / "scratch"
    scratch.mkdir()
    digests = [signed / part.name / "digests" for part in parts]
    signatures = [signed / part.name / "signatures" for part in parts]
    fates = [np.zeros(part.rows, dtype=np.uint8) for part in parts]
    memory = parameters.dedup_memory_mb
    filters = [Fate.SAME_TEXT]
    for fate_N, first_N in zip(fates, first_of_files(digests, scratch, memory), strict=True):
        fate_N[~first_N] = Fate.SAME_TEXT
    if parameters.near_duplicates == "remove":
        filters.append(Fate.NEAR_DUPLICATE)
        similar_N = cluster(signatures, scratch, memory, parameters.near_duplicate_similarity)
        _remove_similar(fates, similar_N)
    label_N = cluster(signatures, scratch, memory)
    filters.append(Fate.VALIDATION)
    keys = [np.load(signed / part.name / "keys.npy") for part in parts]
    wanted = _hold_out(parts, fates, keys, digests, label_N, parameters)
    contamination: dict[str, Any] = {}
    if checked:
        verdict = decontaminate.judge(
            work / "benchmarks",
            {part.name: work / "flag" / part.name for part in parts},
            {part.name: fate_N == Fate.TRAIN for part, fate_N in zip(parts, fates, strict=True)},
            parameters,
            out,
        )
        contamination = verdict.counts
        if parameters.decontamination == "remove":
            filters.append(Fate.CONTAMINATED)
            for part, fate_N in zip(parts, fates, strict=True):
                fate_N[verdict.remove[part.name]] = Fate.CONTAMINATED
    kept_N = np.concatenate([fate_N == Fate.TRAIN for fate_N in fates]) | np.concatenate(
        [fate_N == Fate.VALIDATION for fate_N in fates]
    )
    near = _cluster_counts(label_N, kept_N)
    del label_N
    for path in scratch.iterdir():
        path.unlink()
    scratch.rmdir()
    for part, fate_N in zip(parts, fates, strict=True):
        np.save(out / f"{part.name}.npy", fate_N)
    return {
        "filters": [fate.name for fate in filters],
        "near_duplicates": near,
        "contamination": contamination,
        "wanted": wanted,
    }


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
    digests: Sequence[Path],
    label_N: NDArray[np.int64],
    parameters: CorpusParameters,
) -> dict[str, int]:
    """Mark what is held out, by cluster over all sources; how many each source should give."""
    digest_N = np.concatenate([leading_digests(path) for path in digests])
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


def _cluster_counts(label_N: NDArray[np.int64], keep_N: Mask) -> dict[str, int]:
    """How many clusters hold more than one of the documents kept, and how many documents."""
    sizes = np.bincount(label_N[keep_N])
    several = sizes[sizes > 1]
    largest = int(several.max(initial=1))
    return {"clusters": len(several), "documents": int(several.sum()), "largest": largest}
