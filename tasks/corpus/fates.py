"""What becomes of every document of a corpus: duplicates, near-duplicates, validation, benchmarks.

Decided once over all files, from their digests and signatures, by partitions of the hashes. What
grows with the documents lies in mapped files of a scratch folder, about 45 bytes a document beside
the partitions; in memory is what the parameters allow.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.corpus import decontaminate
from tasks.corpus.assembly import Fate
from tasks.corpus.clusters import cluster
from tasks.corpus.dedup import first_of_files, leading_digests
from tasks.corpus.parameters import CorpusParameters
from tasks.corpus.partitions import STEP, mapped, ranges, settle
from tasks.corpus.split import Keys, OfSource, Signed, choose_validation, cluster_keys

Fates = NDArray[np.uint8]
Labels = NDArray[np.int64]


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
    scratch = out / "scratch"
    scratch.mkdir()
    said = _Decision(parts, parameters, work, scratch).write(checked, out)
    # Nothing maps its files any more: a network file system keeps those that are.
    shutil.rmtree(scratch)
    return said


class _Decision:
    """The fates of all documents, in the order of the parts, while they are decided."""

    def __init__(
        self, parts: Sequence[Part], parameters: CorpusParameters, work: Path, scratch: Path
    ) -> None:
        self._parts = parts
        self._parameters = parameters
        self._work = work
        self._scratch = scratch
        self._first_P = [0, *accumulate(part.rows for part in parts)]
        self._rows = self._first_P[-1]
        self._sources = list(dict.fromkeys(part.source for part in parts))
        self._fate_N: Fates = mapped(scratch / "fates", np.uint8, self._rows)

    def write(self, checked: bool, out: Path) -> dict[str, Any]:
        """Decide, write, and say what the report needs."""
        filters = [Fate.SAME_TEXT]
        self._mark_same_texts()
        if self._parameters.near_duplicates == "remove":
            filters.append(Fate.NEAR_DUPLICATE)
            self._mark_similar()
        label_N = self._clusters()
        filters.append(Fate.VALIDATION)
        wanted = self._hold_out(label_N)
        contamination: dict[str, Any] = {}
        if checked:
            contamination = self._mark_contaminated(out)
            if self._parameters.decontamination == "remove":
                filters.append(Fate.CONTAMINATED)
        near = self._cluster_counts(label_N)
        settle(self._fate_N)
        for part, first in zip(self._parts, self._first_P, strict=False):
            np.save(out / f"{part.name}.npy", self._fate_N[first : first + part.rows])
        return {
            "filters": [fate.name for fate in filters],
            "near_duplicates": near,
            "contamination": contamination,
            "wanted": wanted,
        }

    def _signed(self, name: str) -> list[Path]:
        return [self._work / "sign" / part.name / name for part in self._parts]

    def _clusters(self, similarity: float | None = None) -> Labels:
        memory = self._parameters.dedup_memory_mb
        return cluster(self._signed("signatures"), self._scratch, memory, similarity)

    def _mark_same_texts(self) -> None:
        memory = self._parameters.dedup_memory_mb
        masks = first_of_files(self._signed("digests"), self._scratch, memory)
        for first, is_first_R in zip(self._first_P, masks, strict=False):
            self._fate_N[first : first + len(is_first_R)][~is_first_R] = Fate.SAME_TEXT

    def _mark_similar(self) -> None:
        """Of every cluster the first document that is still there stays."""
        label_N = self._clusters(self._parameters.near_duplicate_similarity)
        seen_N = mapped(self._scratch / "seen", np.bool_, self._rows)  # a cluster has its first
        for some in ranges(self._rows, STEP):
            fate_R = self._fate_N[some]
            there = np.flatnonzero(fate_R == Fate.TRAIN)
            label_K = np.asarray(label_N[some])[there]
            _, first = np.unique(label_K, return_index=True)
            stays_K = np.zeros(len(there), dtype=np.bool_)
            stays_K[first] = True
            stays_K &= ~seen_N[label_K]
            seen_N[label_K] = True
            fate_R[there[~stays_K]] = Fate.NEAR_DUPLICATE
        settle(seen_N)

    def _hold_out(self, label_N: Labels) -> dict[str, int]:
        """Mark what is held out, by cluster over all sources; how many each source should give."""
        key_N = cluster_keys(self._signed_rows(), label_N, self._scratch)

        def scan() -> Iterator[OfSource]:
            for source, some in self._by_source():
                there_R = self._fate_N[some] == Fate.TRAIN
                yield source, np.asarray(key_N[label_N[some][there_R]])

        chosen = choose_validation(
            scan,
            len(self._sources),
            self._parameters.validation_fraction,
            self._parameters.validation_minimum,
            self._scratch,
            self._parameters.dedup_memory_mb,
        )
        for some in ranges(self._rows, STEP):
            fate_R = self._fate_N[some]
            held_R = chosen.holds(key_N[label_N[some]])
            fate_R[held_R & (fate_R == Fate.TRAIN)] = Fate.VALIDATION
        return dict(zip(self._sources, chosen.wanted, strict=True))

    def _by_source(self) -> Iterator[tuple[int, slice]]:
        """Rows, some at a time, with the number of their source."""
        for part, first in zip(self._parts, self._first_P, strict=False):
            number = self._sources.index(part.source)
            for some in ranges(part.rows, STEP):
                yield number, slice(first + some.start, first + some.stop)

    def _signed_rows(self) -> Iterator[Signed]:
        for part, first in zip(self._parts, self._first_P, strict=False):
            signed = self._work / "sign" / part.name
            key_R: Keys = np.load(signed / "keys.npy", mmap_mode="r")
            for some in ranges(part.rows, STEP):
                digest_R = leading_digests(signed / "digests", some)
                yield first + some.start, digest_R, np.asarray(key_R[some])

    def _mark_contaminated(self, out: Path) -> dict[str, Any]:
        trained_N = mapped(self._scratch / "trained", np.bool_, self._rows)
        for some in ranges(self._rows, STEP):
            trained_N[some] = self._fate_N[some] == Fate.TRAIN
        settle(trained_N)
        verdict = decontaminate.judge(
            self._work / "benchmarks",
            {part.name: self._work / "flag" / part.name for part in self._parts},
            {
                part.name: trained_N[first : first + part.rows]
                for part, first in zip(self._parts, self._first_P, strict=False)
            },
            self._parameters,
            out,
            self._scratch,
        )
        for part, first in zip(self._parts, self._first_P, strict=False):
            fate_R = self._fate_N[first : first + part.rows]
            fate_R[verdict.remove[part.name]] = Fate.CONTAMINATED
        return verdict.counts

    def _cluster_counts(self, label_N: Labels) -> dict[str, int]:
        """How many clusters hold more than one of the documents kept, and how many documents."""
        size_N = mapped(self._scratch / "sizes", np.int64, self._rows)  # by label
        for some in ranges(self._rows, STEP):
            fate_R = self._fate_N[some]
            kept_R = (fate_R == Fate.TRAIN) | (fate_R == Fate.VALIDATION)
            label_K, count_K = np.unique(label_N[some][kept_R], return_counts=True)
            size_N[label_K] += count_K
        settle(size_N)
        clusters = documents = 0
        largest = 1
        for some in ranges(self._rows, STEP):
            several = size_N[some][size_N[some] > 1]
            clusters += len(several)
            documents += int(several.sum())
            largest = max(largest, int(several.max(initial=1)))
        return {"clusters": clusters, "documents": documents, "largest": largest}
