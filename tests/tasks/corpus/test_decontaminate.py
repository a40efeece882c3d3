"""Decontamination: n-grams of items, where they are found, what is reported and removed."""

from __future__ import annotations

import json
import random
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from tasks.corpus.benchmark_index import BenchmarkIndex, build_index
from tasks.corpus.decontaminate import (
    HITS_SCHEMA,
    Verdict,
    flag_file,
    index_benchmarks,
    judge,
)
from tasks.corpus.documents import Document, ParquetFile, read_documents, write_documents
from tasks.corpus.guard import Guard
from tasks.corpus.ngrams import HashTable, hashes_at, ngram_hashes, within_text, word_pieces
from tasks.corpus.parameters import CorpusParameters
from tasks.corpus.rules.decontamination import DecontaminationRules
from tasks.corpus.words import PIECE
from tasks.evaluation.items import data_sha256
from tests.tasks.evaluation.conftest import write_jsonl

# Twenty words, none of them twice; items and documents are made of runs of them.
WORDS = [f"{letter}{letter}o" for letter in "abcdefghijklmnopqrst"]
QUESTION = " ".join(WORDS)


def bench(folder: Path, questions: list[str], passages: list[str] | None = None) -> Path:
    """The bench folder with boolq's questions; "yes" and "no" are the last words of each item."""
    passages = passages or [""] * len(questions)
    rows = [
        {"question": question, "answer": True, "passage": passage}
        for question, passage in zip(questions, passages, strict=True)
    ]
    write_jsonl(folder / "boolq" / "validation.jsonl", rows)
    write_jsonl(folder / "boolq" / "train.jsonl", rows[:0])
    return folder


def rules(**values: Any) -> DecontaminationRules:
    return DecontaminationRules(**({"decontamination_benchmarks": ("boolq",)} | values))


def index_of(folder: Path, questions: list[str], **values: Any) -> BenchmarkIndex:
    out = folder / "index"
    out.mkdir()
    build_index(bench(folder / "bench", questions), out, rules(**values))
    return BenchmarkIndex(out)


def found_in(index: BenchmarkIndex, *texts: str) -> list[int]:
    """Which texts hold something."""
    return sorted(set(index.find(texts)[0].tolist()))


def run(
    folder: Path, questions: list[str], texts: dict[str, list[str]], **values: Any
) -> tuple[Verdict, dict[str, Any], list[dict[str, Any]]]:
    """The whole chain over files of documents: the verdict, the report and the pairs."""
    given = CorpusParameters(**({"decontamination_benchmarks": ["boolq"]} | values))
    guard, index = Guard(), folder / "index"
    parameters = given.model_dump(mode="json")
    root = str(bench(folder / "bench", questions))
    index_benchmarks(guard, bench=root, parameters=parameters, folder=str(index))
    flagged, trained = {}, {}
    for name, own in texts.items():
        path = folder / f"{name}.parquet"
        write_documents(path, [Document(f"{name}:{i}", t, name, "") for i, t in enumerate(own)])
        flagged[name] = folder / "flagged" / name
        said = flag_file(guard, path=str(path), index=str(index), folder=str(flagged[name]))
        assert said["documents"] == len(own)
        trained[name] = np.ones(len(own), dtype=np.bool_)
    verdict = judge(index, flagged, trained, given, folder, folder)
    report = json.loads((folder / "contamination.json").read_text())
    assert report == verdict.report
    return verdict, report, list(read_documents(folder / "contamination.parquet"))


def test_thirteen_words_count_and_twelve_do_not(tmp_path: Path) -> None:
    index = index_of(tmp_path, [QUESTION])
    for start in range(8):
        assert found_in(index, " ".join(WORDS[start : start + 13])) == [0]
        assert found_in(index, " ".join(WORDS[start : start + 12])) == []
    # Twelve, another word, twelve.
    assert found_in(index, " ".join([*WORDS[:12], "other", *WORDS[12:]])) == []
    assert found_in(index, " ".join(WORDS[12::-1])) == []


@pytest.mark.parametrize("width", [8, 10, 20])
def test_the_width_is_a_parameter(tmp_path: Path, width: int) -> None:
    index = index_of(tmp_path, [QUESTION], decontamination_ngram=width)
    assert found_in(index, " ".join(WORDS[:width]), " ".join(WORDS[: width - 1])) == [0]


def test_overlap_is_found_wherever_it_stands(tmp_path: Path) -> None:
    index = index_of(tmp_path, [QUESTION])
    run_ = " ".join(WORDS[3:16])
    texts = [
        f"{run_} and more follows here",
        f"something stands before {run_}",
        run_,
        run_.replace(" ", "\n"),
        run_.replace(" ", " \t\r\n — "),
        run_.upper().replace(" ", ", "),
        f"“{run_.title()}!”",
        f"x\x00{run_}\u2028y",
    ]
    assert found_in(index, *texts) == list(range(len(texts)))


def test_documents_do_not_run_together(tmp_path: Path) -> None:
    index = index_of(tmp_path, [QUESTION])
    assert found_in(index, " ".join(WORDS[:10]), " ".join(WORDS[10:])) == []
    assert found_in(index, "", "a", QUESTION, "", "b") == [2]
    assert found_in(index) == found_in(index, "") == []


def test_writing_of_other_languages(tmp_path: Path) -> None:
    russian = "Съешь ещё этих мягких французских булок да выпей же крепкого чаю с лимоном"
    accents = "où était-il né élève zélé à Noël près du château fût-ce là déjà"
    index = index_of(tmp_path, [russian, accents])
    decomposed = accents.replace("é", "e\u0301").replace("è", "e\u0300").replace("à", "a\u0300")
    texts = [russian.upper(), accents.upper(), decomposed, accents.replace("é", "e")]
    assert found_in(index, *texts) == [0, 1, 2]


def test_short_items_count_as_a_whole_from_eight_words_on(tmp_path: Path) -> None:
    nine, five = " ".join(WORDS[:9]), " ".join(WORDS[10:15])
    index = index_of(tmp_path, [nine, five])
    assert index.items["checked"].to_pylist() == [True, False]
    eight = " ".join(WORDS[:8])
    assert found_in(index, f"so {nine} or not", f"so {eight} or not", five) == [0]
    assert found_in(index, f"the end: {nine}", nine.upper(), eight) == [0, 1]


def test_questions_that_several_items_ask_tell_of_none(tmp_path: Path) -> None:
    shared = "which of the following statements is the most accurate"
    own = "which of these nine statements is about amber birds"
    index = index_of(tmp_path, [shared, shared, own])
    assert found_in(index, shared, own) == [1]
    rows = [
        {"question": q, "choices": ["a b c d e", "f g h", "i", f"{n}"], "answer": 0, "subject": "s"}
        for n, q in enumerate((shared, shared, own))
    ]
    write_jsonl(tmp_path / "bench" / "mmlu" / "test.jsonl", rows)
    write_jsonl(tmp_path / "bench" / "mmlu" / "dev.jsonl", rows)
    out = tmp_path / "mmlu"
    out.mkdir()
    build_index(tmp_path / "bench", out, rules(decontamination_benchmarks=("mmlu",)))
    assert found_in(BenchmarkIndex(out), shared, own) == [1]


def test_a_passage_is_looked_for_and_its_question_is_not(tmp_path: Path) -> None:
    question = "what is the best title of this passage here"
    out = tmp_path / "index"
    out.mkdir()
    root = bench(tmp_path / "bench", [question, "who"], [QUESTION, ""])
    said = build_index(root, out, rules())
    assert (said["items"], said["checked"]) == (2, 1)
    assert found_in(BenchmarkIndex(out), question, QUESTION) == [1]


def test_long_documents_are_read_in_pieces(tmp_path: Path) -> None:
    """An overlap across any border between pieces is found, and memory is a few texts."""
    index = index_of(tmp_path, [QUESTION])
    filler = "and so on " * (3 * PIECE // 10)
    draw = random.Random(1)
    borders = [PIECE - 100 + draw.randrange(200) for _ in range(20)]
    for border in borders:
        text = f"{filler[:border]} {QUESTION} {filler}"
        assert found_in(index, text) == [0]
        assert len(index.find([text])[1]) == 8
    tracemalloc.start()
    text = "and so on " * 2_000_000 + QUESTION
    before = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    assert found_in(index, text) == [0]
    peak = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    assert peak < 3 * len(text), peak


@pytest.mark.slow
def test_a_document_of_a_hundred_megabytes(tmp_path: Path) -> None:
    text = "and so on " * 10_000_000 + " ".join(WORDS[:13])
    verdict, _, pairs = run(tmp_path, [QUESTION], {"a": [text, "plain"]})
    assert verdict.shares == {"boolq": 1.0}
    assert [(pair["id"], pair["ngrams"]) for pair in pairs] == [("a:0", 1)]


def test_hostile_documents_take_linear_time(tmp_path: Path) -> None:
    nine = " ".join(WORDS[:9])
    index = index_of(tmp_path, [nine, QUESTION])
    for unit in (f"{nine} ", f"{' '.join(WORDS[:8])} ", "a", "a ", "é", f"{QUESTION} "):
        index.find([unit * (1_000_000 // len(unit))])


def test_report_counts_items_and_words(tmp_path: Path) -> None:
    other = " ".join([*WORDS[:10], "other", *WORDS[11:]])
    unseen = " ".join(reversed(WORDS))
    questions = [QUESTION, other, unseen, "too short"]
    texts = {"a": [" ".join(WORDS[:13]), "plain"], "b": ["plain", " ".join(WORDS[7:])]}
    verdict, report, pairs = run(tmp_path, questions, texts)
    row = report["benchmarks"]["boolq"]
    assert row == {
        "data_sha256": data_sha256(tmp_path / "bench", ["boolq/validation.jsonl"]),
        "items": 4,
        "checked": 3,
        "too_short": 1,
        "contaminated": 1,
        "share": 1 / 3,
        "common_only": 0,
        "dirty_50": 1,
        "dirty_80": 1,  # words 1 to 13 by one document, 8 to 20 by the other: all of them
        "found": 1,
    }
    assert verdict.shares == {"boolq": 1 / 3}
    digest = report["benchmarks"]["boolq"]["data_sha256"]
    assert verdict.counts == {
        "contamination": {"boolq": 1 / 3},
        "contamination_data": {"boolq": digest},
    }
    assert (report["documents"], report["removed"]) == (2, 0)
    assert not any(own.any() for own in verdict.remove.values())
    assert [(p["file"], p["id"], p["item"], p["ngrams"], p["removed"]) for p in pairs] == [
        ("a", "a:0", "0", 1, False),
        ("b", "b:1", "0", 1, False),
    ]


def test_dirty_is_by_the_words_covered(tmp_path: Path) -> None:
    words = [f"w{n}" for n in range(24)]  # and two of the choices
    for held, (half, most) in {13: (1, 0), 20: (1, 0), 21: (1, 1), 24: (1, 1)}.items():
        folder = tmp_path / str(held)
        _, report, _ = run(folder, [" ".join(words)], {"a": [" ".join(words[:held])]})
        row = report["benchmarks"]["boolq"]
        assert (row["dirty_50"], row["dirty_80"]) == (half, most), held
    folder = tmp_path / "less"
    _, report, _ = run(folder, [" ".join([*words, "x"])], {"a": [" ".join(words[:13])]})
    row = report["benchmarks"]["boolq"]
    assert (row["contaminated"], row["dirty_50"]) == (1, 0)


def test_removal_takes_the_documents_and_leaves_nothing(tmp_path: Path) -> None:
    texts = {"a": [QUESTION, "plain"], "b": ["plain", f"x {QUESTION} y"]}
    verdict, report, pairs = run(tmp_path, [QUESTION], texts, decontamination="remove")
    assert verdict.remove["a"].tolist() == [True, False]
    assert verdict.remove["b"].tolist() == [False, True]
    row = report["benchmarks"]["boolq"]
    assert (row["found"], row["contaminated"], row["share"]) == (1, 0, 0.0)
    assert verdict.shares == {"boolq": 0.0}
    assert (report["documents"], report["removed"]) == (2, 2)
    assert all(pair["removed"] for pair in pairs)


def test_common_ngrams_do_not_count_but_are_told(tmp_path: Path) -> None:
    run_ = " ".join(WORDS[:13])
    verdict, report, pairs = run(tmp_path / "a", [QUESTION], {"a": [run_] * 10})
    assert verdict.shares == {"boolq": 1.0} and len(pairs) == 10
    for mode in ("flag", "remove"):
        folder = tmp_path / mode
        texts = {"a": [run_] * 6, "b": [run_] * 5}
        verdict, report, pairs = run(folder, [QUESTION], texts, decontamination=mode)
        row = report["benchmarks"]["boolq"]
        assert (row["contaminated"], row["common_only"]) == (0, 1)
        assert not pairs and not any(own.any() for own in verdict.remove.values())
    folder = tmp_path / "all"
    _, report, pairs = run(folder, [QUESTION], {"a": [run_] * 11}, decontamination_common=None)
    assert report["benchmarks"]["boolq"]["contaminated"] == 1 and len(pairs) == 11


def test_what_is_not_trained_on_does_not_count(tmp_path: Path) -> None:
    run(tmp_path, [QUESTION], {"a": [QUESTION, "plain"]})
    verdict = judge(
        tmp_path / "index",
        {"a": tmp_path / "flagged" / "a"},
        {"a": np.array([False, True])},
        rules(),
        tmp_path,
        tmp_path,
    )
    assert verdict.shares == {"boolq": 0.0} and verdict.report["documents"] == 0


def test_absent_benchmarks_are_named_and_the_rest_is_checked(tmp_path: Path) -> None:
    _, report, _ = run(
        tmp_path, [QUESTION], {"a": []}, decontamination_benchmarks=["boolq", "piqa"]
    )
    assert list(report["benchmarks"]) == ["boolq"]
    assert "piqa" in report["not_checked"]["piqa"]
    (tmp_path / "none").mkdir()
    said = build_index(tmp_path / "nowhere", tmp_path / "none", rules())
    assert said["items"] == 0 and list(said["not_checked"]) == ["boolq"]
    assert found_in(BenchmarkIndex(tmp_path / "none"), QUESTION) == []


def test_files_are_the_same_in_every_process(tmp_path: Path) -> None:
    texts = {"a": [QUESTION, "plain", QUESTION], "b": []}
    for name in ("one", "two"):
        run(tmp_path / name, [QUESTION, " ".join(WORDS[:9])], texts)
    one, two = tmp_path / "one", tmp_path / "two"
    files = sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file())
    assert len(files) > 12
    for name in files:
        assert (one / name).read_bytes() == (two / name).read_bytes(), name


def test_hashes_depend_on_words_and_their_order_only() -> None:
    texts = ["one two three four", "two three four five"]
    pieces = list(word_pieces(texts, 2))
    word_W, text_W = pieces[0]
    assert len(pieces) == 1 and text_W.tolist() == [0] * 4 + [1] * 4
    hash_H = ngram_hashes(word_W, 3)
    assert within_text(text_W, 3).tolist() == [True, True, False, False, True, True]
    assert hash_H[1] == hash_H[4]
    assert len(set(hash_H.tolist())) == 5
    begin_K = np.array([4, 0])
    assert hashes_at(word_W, begin_K, 3).tolist() == hash_H[begin_K].tolist()
    assert len(ngram_hashes(word_W, 9)) == len(within_text(text_W, 9)) == 0


def test_tables_find_what_is_there() -> None:
    draw = np.random.default_rng(5)
    known_N = np.unique(draw.integers(0, 2**64, 5000, dtype=np.uint64))
    table = HashTable(known_N)
    others = draw.integers(0, 2**64, 50_000, dtype=np.uint64)
    at_K, place_K = table.find(np.concatenate([others, known_N]))
    assert at_K.tolist() == list(range(50_000, 50_000 + len(known_N)))
    assert place_K.tolist() == list(range(len(known_N)))
    empty = HashTable(np.empty(0, dtype=np.uint64))
    assert len(empty.find(others)[0]) == len(table.find(known_N[:0])[0]) == 0


@pytest.mark.data
@pytest.mark.slow
def test_real_items_are_found_where_they_are_planted(tmp_path: Path, arriero_data: Path) -> None:
    """One item of each real benchmark in the middle of a real book: it is found, the rest not."""
    from tasks.evaluation.items import texts_for_decontamination

    out = tmp_path / "index"
    out.mkdir()
    every = DecontaminationRules()
    build_index(arriero_data / "bench", out, every)
    index = BenchmarkIndex(out)
    book = (arriero_data / "corpus" / "books" / "pg345.txt").read_text("utf-8")
    alone = set(index.find([book])[1].tolist())
    names = index.items["benchmark"].to_pylist()
    identifiers = index.items["item"].to_pylist()
    for name in every.decontamination_benchmarks:
        texts = list(texts_for_decontamination(name, arriero_data / "bench"))
        planted = next(t for t in texts[len(texts) // 2 :] if len(t.text.split()) > 15)
        half = len(book) // 2
        text = f"{book[:half]}\n\n{planted.text}\n\n{book[half:]}"
        grams = np.array(sorted(set(index.find([text])[1].tolist()) - alone))
        _, posting_P = index.postings(grams)
        items = {(names[i], identifiers[i]) for i in index.item_P[posting_P].tolist()}
        assert (name, planted.id) in items
        assert len(items) < 10, items
    assert pq.read_metadata(out / "items.parquet").num_rows == 49_488


@pytest.mark.parametrize("mode", ["flag", "remove"])
def test_memory_does_not_grow_with_what_is_found(tmp_path: Path, mode: str) -> None:
    index_of(tmp_path, [QUESTION])
    given = rules(decontamination=mode, decontamination_common=None)
    peaks = []
    for documents in (10_000, 40_000):
        folder = tmp_path / str(documents)
        with ParquetFile(folder / "hits.parquet", HITS_SCHEMA) as hits:
            for number in range(2 * documents):
                row, gram = divmod(number, 2)
                hits.write({"row": row, "id": f"document {row}", "ngram": gram})
        trained = {"a": np.ones(documents, dtype=np.bool_)}
        tracemalloc.start()
        verdict = judge(tmp_path / "index", {"a": folder}, trained, given, folder, folder)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert verdict.report["documents"] == documents
        pairs = list(read_documents(folder / "contamination.parquet"))
        assert [pair["id"] for pair in pairs] == [f"document {row}" for row in range(documents)]
        assert {pair["ngrams"] for pair in pairs} == {2}
    assert peaks[1] - peaks[0] < 500_000, peaks
