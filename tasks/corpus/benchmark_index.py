"""The n-grams of the benchmarks' items, as files: sorted hashes, and the items that each is of.

Of an item every ``width`` words in a row count (13 by default: GPT-3, appendix C) of its text:
passage, question, choices and first answer, as `texts_for_decontamination` joins them. A shorter
text counts as a whole, and so does a question without a passage, from SHORTEST words on; unless
other items ask the same, as "Which of the following statements is the most accurate?". What is
shorter than that is too short to check. Wrong finds: an n-gram of a text has the hash of one of
some four million by chance once in about four trillion.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tasks.context import atomic_write_json
from tasks.corpus.documents import ParquetFile
from tasks.corpus.ngrams import HashTable, hashes_at, ngram_hashes, within_text, word_pieces
from tasks.corpus.rules.decontamination import DecontaminationRules
from tasks.evaluation.benchmarks.registry import benchmark
from tasks.evaluation.items import (
    BenchmarkMissingError,
    ItemText,
    data_sha256,
    texts_for_decontamination,
)

SHORTEST = 8
ITEMS_SCHEMA = pa.schema(
    [
        ("benchmark", pa.string()),
        ("item", pa.string()),
        ("words", pa.int32()),
        ("checked", pa.bool_()),
    ]
)
_ARRAYS = ("grams", "phrases", "prefixes", "phrase_words", "starts", "items", "places")


@dataclass
class _Postings:
    """Where hashes are of: the item, and the word of it at which the n-gram begins."""

    hashes: list[NDArray[np.uint64]]
    items: list[NDArray[np.int32]]
    places: list[NDArray[np.int32]]

    def grouped(self) -> tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[Any], NDArray[Any]]:
        """Sorted distinct hashes; how many postings each has; items and places in that order."""
        hash_P = np.concatenate([np.empty(0, dtype=np.uint64), *self.hashes])
        item_P = np.concatenate([np.empty(0, dtype=np.int32), *self.items])
        place_P = np.concatenate([np.empty(0, dtype=np.int32), *self.places])
        order_P = np.argsort(hash_P, kind="stable")
        unique_U, count_U = np.unique(hash_P, return_counts=True)
        return unique_U, count_U, item_P[order_P], place_P[order_P]


def build_index(bench: Path, out: Path, rules: DecontaminationRules) -> dict[str, Any]:
    """Write the index of the evaluated items under ``bench`` into the folder ``out``.

    Returns:
        ``items``, ``checked``, ``ngrams`` over all benchmarks; ``benchmarks``: of each the
        ``data_sha256`` of its files, as evaluation has it; ``not_checked``: why, of those whose
        files are not there.
    """
    width = rules.decontamination_ngram
    grams, phrases = _Postings([], [], []), _Postings([], [], [])
    prefixes: list[NDArray[np.uint64]] = []
    phrase_words: dict[int, int] = {}
    found: dict[str, dict[str, Any]] = {}
    missing: dict[str, str] = {}
    first = checked = 0
    with ParquetFile(out / "items.parquet", ITEMS_SCHEMA) as table:
        for name in map(str, rules.decontamination_benchmarks):
            try:
                texts = list(texts_for_decontamination(name, bench))
                digest = data_sha256(bench, benchmark(name).read_files())
            except (BenchmarkMissingError, FileNotFoundError) as error:
                missing[name] = f"{error}"
                continue
            words_I, gram_I = _add_grams(texts, first, width, grams)
            phrase_I = _add_phrases(texts, first, width, phrases, prefixes, phrase_words)
            checked_I = (gram_I > 0) | phrase_I
            for text, words, is_checked in zip(texts, words_I, checked_I, strict=True):
                row = {"benchmark": name, "item": text.id, "words": int(words)}
                table.write(row | {"checked": bool(is_checked)})
            found[name] = {"data_sha256": digest}
            first += len(texts)
            checked += int(checked_I.sum())
    gram_G, count_G, item_G, place_G = grams.grouped()
    phrase_S, count_S, item_S, place_S = phrases.grouped()
    counts = np.concatenate([count_G, count_S])
    arrays = {
        "grams": gram_G,
        "phrases": phrase_S,
        "prefixes": np.unique(np.concatenate([np.empty(0, dtype=np.uint64), *prefixes])),
        "phrase_words": np.array([phrase_words[int(h)] for h in phrase_S], dtype=np.int32),
        "starts": np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        "items": np.concatenate([item_G, item_S]),
        "places": np.concatenate([place_G, place_S]),
    }
    for name, array in arrays.items():
        np.save(out / f"{name}.npy", array, allow_pickle=False)
    said: dict[str, Any] = {"width": width, "items": first, "checked": checked}
    said |= {"ngrams": len(counts), "benchmarks": found, "not_checked": missing}
    atomic_write_json(out / "index.json", said)
    return said


def _add_grams(
    texts: Sequence[ItemText], first: int, width: int, postings: _Postings
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Words of each text, and how many n-grams; their postings are added."""
    word_W, text_W = _words([text.text for text in texts])
    words_I = np.bincount(text_W, minlength=len(texts))
    start_I = np.cumsum(words_I) - words_I
    at_H = np.flatnonzero(within_text(text_W, width))
    text_H = text_W[at_H]
    postings.hashes.append(ngram_hashes(word_W, width)[at_H])
    postings.items.append((first + text_H).astype(np.int32))
    postings.places.append((at_H - start_I[text_H]).astype(np.int32))
    return words_I, np.bincount(text_H, minlength=len(texts))


def _add_phrases(
    texts: Sequence[ItemText],
    first: int,
    width: int,
    postings: _Postings,
    prefixes: list[NDArray[np.uint64]],
    phrase_words: dict[int, int],
) -> NDArray[np.bool_]:
    """Add what counts as a whole; tell which items have such a phrase."""
    asked = Counter(text.question for text in texts)
    has_I = np.zeros(len(texts), dtype=np.bool_)
    for number, text in enumerate(texts):
        alone = text.text.startswith(text.question) and asked[text.question] == 1
        for phrase in (text.question if alone else "", text.text):
            # Cheap first: who has fewer words has fewer spaces.
            if phrase.count(" ") >= 2 * width:
                continue
            word_W, _ = _words([phrase])
            if SHORTEST <= len(word_W) < width:
                whole = ngram_hashes(word_W, len(word_W))
                postings.hashes.append(whole)
                postings.items.append(np.array([first + number], dtype=np.int32))
                postings.places.append(np.zeros(1, dtype=np.int32))
                prefixes.append(ngram_hashes(word_W[:SHORTEST], SHORTEST))
                phrase_words[int(whole[0])] = len(word_W)
                has_I[number] = True
                break
    return has_I


def _words(texts: Sequence[str]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    pieces = list(word_pieces(texts, 0))
    word_W = np.concatenate([np.empty(0, dtype=np.uint64), *(word for word, _ in pieces)])
    text_W = np.concatenate([np.empty(0, dtype=np.int64), *(text for _, text in pieces)])
    return word_W, text_W


@lru_cache(maxsize=1)
def open_index(folder: Path) -> BenchmarkIndex:
    """The index in ``folder``; kept for the next job of this process."""
    return BenchmarkIndex(folder)


class BenchmarkIndex:
    """An index that :func:`build_index` wrote; n-grams go by their number in it.

    width: words of an n-gram. said: what was said when it was built. items: columns of
    ITEMS_SCHEMA. The postings of n-gram ``g`` are ``starts[g]:starts[g + 1]`` of ``item_P`` and
    ``place_P``.
    """

    def __init__(self, folder: Path) -> None:
        self.said = json.loads((folder / "index.json").read_text("utf-8"))
        self.width = int(self.said["width"])
        self.items: pa.Table = pq.read_table(folder / "items.parquet")
        loaded = {
            name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
            for name in _ARRAYS
        }
        self._gram_G = loaded["grams"]
        self._phrase_S = loaded["phrases"]
        self._prefix_S = loaded["prefixes"]
        self._phrase_words_S = loaded["phrase_words"]
        self.starts, self.item_P, self.place_P = (
            loaded["starts"],
            loaded["items"],
            loaded["places"],
        )
        self._tables: tuple[HashTable, HashTable, HashTable] | None = None

    @property
    def widths(self) -> NDArray[np.int64]:
        """Words of every n-gram, by its number."""
        long = np.full(len(self._gram_G), self.width, dtype=np.int64)
        return np.concatenate([long, self._phrase_words_S])

    def postings(self, gram_K: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """All postings of some n-grams: for each, which of ``gram_K`` it is of, and its place in
        ``item_P``."""
        count_K = self.starts[gram_K + 1] - self.starts[gram_K]
        of_P = np.repeat(np.arange(len(gram_K)), count_K)
        first_K = np.cumsum(count_K) - count_K
        within_P = np.arange(len(of_P)) - first_K[of_P]
        return of_P, self.starts[gram_K][of_P] + within_P

    def find(self, texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Which of the texts hold which n-grams: pairs, sorted, each once."""
        grams, phrases, prefixes = self._lookups()
        text_parts, gram_parts = [], []
        lengths = [int(length) for length in np.unique(self._phrase_words_S)]
        for word_W, text_W in word_pieces(texts, self.width - 1):
            at_K, gram_K = grams.find(ngram_hashes(word_W, self.width))
            same_K = text_W[at_K] == text_W[at_K + self.width - 1]
            text_parts.append(text_W[at_K[same_K]])
            gram_parts.append(gram_K[same_K])
            begin_K, _ = prefixes.find(ngram_hashes(word_W, SHORTEST))
            for length in lengths if len(begin_K) else ():
                inside_K = begin_K[begin_K + length <= len(word_W)]
                at_K, phrase_K = phrases.find(hashes_at(word_W, inside_K, length))
                start_K = inside_K[at_K]
                same_K = text_W[start_K] == text_W[start_K + length - 1]
                text_parts.append(text_W[start_K[same_K]])
                gram_parts.append(phrase_K[same_K] + len(self._gram_G))
        none = np.empty(0, dtype=np.int64)
        pair_K = np.unique(
            np.concatenate([none, *text_parts]) * len(self.starts)
            + np.concatenate([none, *gram_parts])
        )
        return pair_K // len(self.starts), pair_K % len(self.starts)

    def _lookups(self) -> tuple[HashTable, HashTable, HashTable]:
        if self._tables is None:
            sorted_arrays = (self._gram_G, self._phrase_S, self._prefix_S)
            grams, phrases, prefixes = (HashTable(np.asarray(array)) for array in sorted_arrays)
            self._tables = grams, phrases, prefixes
        return self._tables
