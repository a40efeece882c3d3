"""Which documents hold items of the benchmarks: jobs over files, then the verdict over all.

`index_benchmarks` once, `flag_file` for every file of documents, `judge` once. A document is
contaminated that holds an n-gram of an item which is not common; an item, if a document does. What
an n-gram is, and which text of an item counts: see :mod:`tasks.corpus.benchmark_index`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from registry.contamination import DATA, SHARES
from tasks.context import atomic_write_json
from tasks.corpus.benchmark_index import BenchmarkIndex, build_index, open_index
from tasks.corpus.documents import ParquetFile
from tasks.corpus.guard import Guard
from tasks.corpus.partitions import mapped, settle
from tasks.corpus.rules.decontamination import DecontaminationRules
from tasks.corpus.steps import once

FILTER = "decontamination"
REASON = "holds an item of a benchmark"
HITS = "hits.parquet"
REPORT = "contamination.json"
PAIRS = "contamination.parquet"
HITS_SCHEMA = pa.schema([("row", pa.int64()), ("id", pa.string()), ("ngram", pa.int32())])
PAIRS_SCHEMA = pa.schema(
    [
        ("file", pa.string()),
        ("id", pa.string()),
        ("benchmark", pa.string()),
        ("item", pa.string()),
        ("ngrams", pa.int32()),
        ("removed", pa.bool_()),
    ]
)
BATCH = 64  # documents whose texts are in memory at once
HITS_BATCH = 1 << 13  # n-grams found, some of many items, that are in memory at once
DIRTY = (50, 80)  # percent of an item's words


def index_benchmarks(
    guard: Guard, *, bench: str, parameters: Mapping[str, Any], folder: str
) -> dict[str, Any]:
    """The index of the benchmarks' items in ``folder``; see :func:`build_index`."""
    rules = _rules(parameters)
    return once(Path(folder), lambda out: build_index(Path(bench), out, rules))


def flag_file(guard: Guard, *, path: str, index: str, folder: str) -> dict[str, Any]:
    """Write ``hits.parquet``: each n-gram of the index that a document of one file holds.

    Returns:
        ``documents``: how many there are; ``flagged``: how many have a hit.
    """

    def make(out: Path) -> dict[str, Any]:
        found = open_index(Path(index))
        documents = flagged = 0
        with ParquetFile(out / HITS, HITS_SCHEMA) as hits:
            for ids, texts in _batches(Path(path)):
                text_K, gram_K = found.find(texts)
                for text, gram in zip(text_K.tolist(), gram_K.tolist(), strict=True):
                    hits.write({"row": documents + text, "id": ids[text], "ngram": gram})
                flagged += len(np.unique(text_K))
                documents += len(texts)
        return {"documents": documents, "flagged": flagged}

    return once(Path(folder), make)


@dataclass(frozen=True)
class Verdict:
    """What is to be done, and what the corpus' manifest says.

    remove: by file, the rows that go, mapped; none unless ``decontamination`` is remove.
    report: what ``contamination.json`` holds.
    """

    remove: dict[str, NDArray[np.bool_]]
    report: dict[str, Any]

    @property
    def shares(self) -> dict[str, float]:
        """By benchmark, the share of the checked items that what remains contaminates; 0 to 1."""
        rows = self.report["benchmarks"].items()
        return {name: row["share"] for name, row in rows if row["share"] is not None}

    @property
    def counts(self) -> dict[str, Any]:
        """Counts of the manifest, where :mod:`registry.contamination` finds them."""
        data = {name: self.report["benchmarks"][name]["data_sha256"] for name in self.shares}
        return {SHARES: self.shares, DATA: data}


def judge(
    index: Path,
    flagged: Mapping[str, Path],
    trained: Mapping[str, NDArray[np.bool_]],
    rules: DecontaminationRules,
    out: Path,
    scratch: Path,
) -> Verdict:
    """Write ``contamination.json`` and ``contamination.parquet`` into ``out``.

    Of each benchmark the report has ``items``; ``checked``, those that are not too short;
    ``contaminated``: of the checked ones, those of which a training document holds an n-gram that
    is not common (as in GPT-3, appendix C), and ``share``, their share of the checked;
    ``common_only``: those of which only common n-grams are held; ``dirty_50`` and ``dirty_80``:
    those at least 50 and 80 % of whose words lie in n-grams held, by whichever documents (Llama 2,
    appendix A.6, calls an item dirty from 80 % of its tokens on; its n-grams are of more than 10
    tokens); ``found``, ``contaminated`` before any document was removed; ``data_sha256`` of its
    files.

    Args:
        index: folder of :func:`index_benchmarks`.
        flagged: by name of the file of documents, the folder of :func:`flag_file`.
        trained: by the same names, which rows are to be trained on: neither duplicates nor
            held out.
        scratch: folder for what `Verdict.remove` maps, a byte a document. Remove it after that.
    """
    found = BenchmarkIndex(index)
    grams = len(found.starts) - 1
    documents_U = np.zeros(grams, dtype=np.int64)
    for name, folder in flagged.items():
        for _, _, gram_K in _trained_hits(folder, trained[name]):
            documents_U += np.bincount(gram_K, minlength=grams)
    limit = rules.decontamination_common
    common_U = documents_U > limit if limit is not None else np.zeros(grams, np.bool_)
    remove = _masks({name: len(own) for name, own in trained.items()}, scratch / "remove")
    left_U = np.zeros(grams, dtype=np.bool_)
    names, numbers = (found.items[column].to_pylist() for column in ("benchmark", "item"))
    items = list(zip(names, numbers, strict=True))
    documents = 0
    with ParquetFile(out / PAIRS, PAIRS_SCHEMA) as pairs:
        for name, folder in flagged.items():
            for hits in _trained_hits(folder, trained[name]):
                row_K, _, gram_K = hits
                dirty = np.unique(row_K[~common_U[gram_K]])
                documents += len(dirty)
                if rules.decontamination == "remove":
                    remove[name][dirty] = True
                left_U[gram_K[~remove[name][row_K]]] = True
                rare = _where(hits, ~common_U[gram_K])
                _write_pairs(found, items, name, rare, remove[name], pairs)
    settle(*remove.values())
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
        "documents": documents,
        "removed": documents if rules.decontamination == "remove" else 0,
    }
    atomic_write_json(out / REPORT, report)
    return Verdict(remove, report)


# Rows, ids and n-grams.
Hits = tuple[NDArray[np.int64], NDArray[np.object_], NDArray[np.int64]]


def _masks(rows: Mapping[str, int], path: Path) -> dict[str, NDArray[np.bool_]]:
    """A mask over the rows of each file, all mapped from one file."""
    mask_N = mapped(path, np.bool_, sum(rows.values()))
    stops = accumulate(rows.values())
    return {name: mask_N[stop - rows[name] : stop] for name, stop in zip(rows, stops, strict=True)}


def _trained_hits(folder: Path, trained_N: NDArray[np.bool_]) -> Iterator[Hits]:
    """Hits of one file's documents to be trained on, some at a time; a document's are together."""
    none = np.empty(0, dtype=np.int64)
    held: Hits = none, np.empty(0, dtype=np.object_), none
    with pq.ParquetFile(folder / HITS) as file:
        for batch in file.iter_batches(batch_size=HITS_BATCH):
            row_K, gram_K = (batch.column(name).to_numpy() for name in ("row", "ngram"))
            id_K = np.array(batch.column("id").to_pylist(), dtype=np.object_)
            here = _where((row_K, id_K, gram_K.astype(np.int64)), trained_N[row_K])
            rows = np.concatenate([held[0], here[0]])
            ids = np.concatenate([held[1], here[1]])
            grams = np.concatenate([held[2], here[2]])
            last = int(np.searchsorted(rows, rows[-1])) if len(rows) else 0
            if last:
                yield rows[:last], ids[:last], grams[:last]
            held = rows[last:], ids[last:], grams[last:]
    if len(held[0]):
        yield held


def _where(hits: Hits, wanted_K: NDArray[np.bool_]) -> Hits:
    row_K, id_K, gram_K = hits
    return row_K[wanted_K], id_K[wanted_K], gram_K[wanted_K]


def _by_benchmark(
    index: BenchmarkIndex, held_U: NDArray[np.bool_], held_or_common_U: NDArray[np.bool_]
) -> dict[str, dict[str, Any]]:
    """Counts of each benchmark's items, of n-grams that documents hold."""
    names = np.array(index.items["benchmark"].to_pylist(), dtype=np.object_)
    words_I = index.items["words"].to_numpy().astype(np.int64)
    checked_I = np.asarray(index.items["checked"].to_pylist(), dtype=np.bool_)
    touched_I = _covered(index, held_or_common_U, words_I) > 0
    covered_I = _covered(index, held_U, words_I)
    rows: dict[str, dict[str, Any]] = {}
    for name in index.said["benchmarks"]:
        own_I = names == name
        checked = int((own_I & checked_I).sum())
        contaminated = int((own_I & (covered_I > 0)).sum())
        rows[name] = {
            "items": int(own_I.sum()),
            "checked": checked,
            "too_short": int((own_I & ~checked_I).sum()),
            "contaminated": contaminated,
            "share": contaminated / checked if checked else None,
            "common_only": int((own_I & touched_I & (covered_I == 0)).sum()),
        }
        for percent in DIRTY:
            enough_I = (covered_I > 0) & (100 * covered_I >= percent * words_I)
            rows[name][f"dirty_{percent}"] = int((own_I & enough_I).sum())
    return rows


def _covered(
    index: BenchmarkIndex, held_U: NDArray[np.bool_], words_I: NDArray[np.int64]
) -> NDArray[np.int64]:
    """How many words of each item lie in n-grams that are held."""
    gram_K = np.flatnonzero(held_U)
    of_P, posting_P = index.postings(gram_K)
    start_I = np.cumsum(words_I) - words_I
    first_P = start_I[index.item_P[posting_P]] + index.place_P[posting_P]
    # One more where an n-gram begins, one less behind its end: where the sum is not 0, one covers.
    step_W = np.zeros(int(words_I.sum()) + 1, dtype=np.int64)
    np.add.at(step_W, first_P, 1)
    np.subtract.at(step_W, first_P + index.widths[gram_K][of_P], 1)
    before_W = np.concatenate([[0], np.cumsum(np.cumsum(step_W)[:-1] > 0)])
    covered_I: NDArray[np.int64] = before_W[start_I + words_I] - before_W[start_I]
    return covered_I


def _write_pairs(
    index: BenchmarkIndex,
    items: Sequence[tuple[str, str]],
    name: str,
    hits: Hits,
    remove_N: NDArray[np.bool_],
    file: ParquetFile,
) -> None:
    """Each document and item with how many of the item's n-grams the document holds.

    items: benchmark and name of each.
    """
    row_K, id_K, gram_K = hits
    ids = dict(zip(row_K.tolist(), id_K.tolist(), strict=True))
    of_P, posting_P = index.postings(gram_K)
    pair_P = row_K[of_P] * len(items) + index.item_P[posting_P]
    pairs, counts = np.unique(pair_P, return_counts=True)
    for pair, count in zip(pairs.tolist(), counts.tolist(), strict=True):
        row, item = divmod(pair, len(items))
        found = {"file": name, "id": ids[row], "ngrams": count, "removed": bool(remove_N[row])}
        file.write(found | dict(zip(("benchmark", "item"), items[item], strict=True)))


def _batches(path: Path) -> Iterator[tuple[list[str], list[str]]]:
    """Ids and texts of a file of documents, some at a time."""
    with pq.ParquetFile(path) as file:
        # Group by group: a batch over several holds them all, however long their texts.
        for group in range(file.num_row_groups):
            for batch in file.iter_batches(BATCH, row_groups=[group], columns=["id", "text"]):
                yield batch.column("id").to_pylist(), batch.column("text").to_pylist()


def _rules(parameters: Mapping[str, Any]) -> DecontaminationRules:
    names = DecontaminationRules.model_fields
    return DecontaminationRules(**{name: parameters[name] for name in names})
