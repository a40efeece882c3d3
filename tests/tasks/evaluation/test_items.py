"""Benchmark files to items: what is wrong is named, a limit takes a sample, nothing is left out."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.evaluation.benchmarks.base import ChoiceBenchmark, CodeBenchmark
from tasks.evaluation.benchmarks.registry import BENCHMARKS
from tasks.evaluation.items import (
    BenchmarkDataError,
    BenchmarkMissingError,
    Item,
    load_items,
    read_jsonl,
    select_items,
    texts_for_decontamination,
)
from tests.tasks.evaluation.conftest import write_jsonl


def test_limited_items_are_a_nested_sample_in_file_order() -> None:
    items = [Item(id=str(n), question="?") for n in range(100)]
    few, more = select_items(items, 10, seed=3), select_items(items, 30, seed=3)
    assert len(few) == 10 and set(map(id, few)) < set(map(id, more))
    assert [int(item.id) for item in more] == sorted(int(item.id) for item in more)
    assert [item.id for item in few] != [str(n) for n in range(10)]
    assert select_items(items, 10, seed=4) != few
    assert select_items(items, None) == items == select_items(items, 100)
    with pytest.raises(BenchmarkDataError, match="'7'"):
        select_items([*items, items[7]], 5)


def test_bad_files_are_named_with_their_line(tmp_path: Path) -> None:
    path = tmp_path / "boolq" / "validation.jsonl"
    with pytest.raises(BenchmarkMissingError, match=r"boolq/validation\.jsonl"):
        list(load_items("boolq", tmp_path))
    path.parent.mkdir()
    good = '{"question": "q", "answer": true, "passage": "p"}\n'
    for text, message in (
        (good + "{", r"boolq/validation\.jsonl:2: not valid JSON"),
        (good + '\n{"question": "q"}\n', r":3: lacks the fields passage, answer"),
        ("[1]\n", r":1: expected a JSON object"),
        (good.replace("true", '"yes"'), r"item 0: the answer must be true or false"),
        (good + good.replace('"q"', "null"), r":2: question must be a string, not null"),
        (good.replace('"p"', "5"), r":1: passage must be a string, not 5"),
    ):
        path.write_text(text)
        with pytest.raises(BenchmarkDataError, match=message):
            list(load_items("boolq", tmp_path))
    with pytest.raises(ValueError, match="no split 'train'"):
        load_items("boolq", tmp_path, "train").__next__()
    with pytest.raises(ValueError, match="unknown benchmark 'boolean'"):
        list(load_items("boolean", tmp_path))


PROBLEM = {
    "task_id": "Own/0",
    "prompt": "def f():\n",
    "entry_point": "f",
    "canonical_solution": "    pass\n",
    "test": "",
}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[:-12], "ends too early"),
        (lambda data: b"<html>Not found</html>\n", "not a gzip file"),
        (lambda data: data[:20] + b"\xff" * 40 + data[60:], "damaged"),
        (lambda data: gzip.compress(b"{}\n{\xe9}\n"), ":2: not UTF-8"),
    ],
)
def test_an_unreadable_archive_is_named(
    tmp_path: Path, damage: Callable[[bytes], bytes], message: str
) -> None:
    path = tmp_path / "humaneval" / "HumanEval.jsonl.gz"
    path.parent.mkdir()
    rows = [PROBLEM | {"task_id": f"Own/{n}"} for n in range(9)]
    data = gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode(), mtime=0)
    path.write_bytes(damage(data))
    fields = () if "UTF" in message else ("task_id",)
    with pytest.raises(BenchmarkDataError, match=rf"humaneval/HumanEval\.jsonl\.gz.*{message}"):
        list(read_jsonl(tmp_path, "humaneval/HumanEval.jsonl.gz", texts=fields))


def test_bytes_that_are_no_text_are_named_with_their_line(tmp_path: Path) -> None:
    for name in ("boolq/validation.jsonl", "openbookqa/test.tsv", "piqa/valid-labels.lst"):
        (tmp_path / name).parent.mkdir()
    good = b'{"question": "q", "answer": true, "passage": "p"}\n'
    (tmp_path / "boolq/validation.jsonl").write_bytes(good + good.replace(b'"p"', b'"caf\xe9"'))
    head = "ID\tQuestion Stem\tChoices\tAnswer Key\n"
    (tmp_path / "openbookqa/test.tsv").write_bytes(head.encode() + b"1\tcaf\xe9\tx\tA\n")
    write_jsonl(tmp_path / "piqa/valid.jsonl", [{"goal": "g", "sol1": "a", "sol2": "b"}])
    (tmp_path / "piqa/valid-labels.lst").write_bytes(b"\xe9\n")
    for name, message in (
        ("boolq", r"boolq/validation\.jsonl:2: not UTF-8"),
        ("openbookqa", r"openbookqa/test\.tsv:2: not UTF-8"),
        ("piqa", r"piqa/valid-labels\.lst:1: not UTF-8"),
    ):
        with pytest.raises(BenchmarkDataError, match=message):
            list(load_items(name, tmp_path))


@pytest.mark.parametrize(
    ("name", "file", "row", "message"),
    [
        (
            "hellaswag",
            "hellaswag/val_full_preprocessed.jsonl",
            {"activity_label": "a", "ctx": "c", "endings": ["x", "y"], "label": ""},
            "item 0: the label '' names none of 2 choices",
        ),
        (
            "hellaswag",
            "hellaswag/val_full_preprocessed.jsonl",
            {"activity_label": "a", "ctx": "c", "endings": "xy", "label": 0},
            ":1: endings must be a list of strings, not 'xy'",
        ),
        (
            "nq_open",
            "nq_open/NQ-open.dev.jsonl",
            {"question": "who", "answer": "Ada"},
            ":1: answer must be a list of strings, not 'Ada'",
        ),
        (
            "nq_open",
            "nq_open/NQ-open.dev.jsonl",
            {"question": "who", "answer": []},
            "item 0: no answer",
        ),
        (
            "arc_easy",
            "arc/ARC-Easy-test.jsonl",
            {"id": "1", "question": "q", "choices": {"text": ["x"]}, "answerKey": "A"},
            "item 1: the choices must be texts with as many labels",
        ),
        (
            "race_high",
            "race/test_high.jsonl",
            {"id": "1", "article": "a", "questions": ["q"], "options": [["x", 3]], "answers": "A"},
            ":1: answers must be a list of strings, not 'A'",
        ),
        (
            "race_high",
            "race/test_high.jsonl",
            {"article": "a", "questions": ["q"], "options": [["x", 3]], "answers": ["A"]},
            "passage 0, question 0: the options must be strings",
        ),
    ],
)
def test_fields_of_another_kind_are_named(
    tmp_path: Path, name: str, file: str, row: dict[str, Any], message: str
) -> None:
    write_jsonl(tmp_path / file, [row])
    with pytest.raises(BenchmarkDataError, match=re.escape(file) + ".*" + re.escape(message)):
        list(load_items(name, tmp_path))


@pytest.mark.data
def test_the_real_files_load_whole_and_render(arriero_data: Path) -> None:
    root = arriero_data / "bench"
    counts = {}
    for name, found in BENCHMARKS.items():
        items = select_items(load_items(name, root), None)
        counts[name] = len(items)
        shots = found.shots_for(root, found.shots)
        assert isinstance(found, ChoiceBenchmark) or items[0].answers
        asked: Any = found  # each kind of benchmark has a type of request of its own
        for item in items[:: max(1, len(items) // 50)]:
            request = asked.request(item, shots(item))
            assert len(request.prompt.shots) == found.shots
            assert item.question.strip() or name == "hellaswag"
            if not isinstance(found, CodeBenchmark):
                assert not request.prompt.text(found.shots).endswith(" ")
    assert counts == {
        "boolq": 3270,
        "piqa": 1838,
        "siqa": 1954,
        "hellaswag": 10042,
        "winogrande": 1267,
        "arc_easy": 2376,
        "arc_challenge": 1172,
        "openbookqa": 500,
        "nq_open": 3610,
        "triviaqa": 3000,
        "race_middle": 1436,
        "race_high": 3498,
        "gsm8k": 1319,
        "humaneval": 164,
        "mmlu": 14042,
    }


def assert_whole(name: str, root: Path) -> None:
    """Passage, question, every choice and the first answer of each item stand in its text."""
    items = {item.id: item for item in load_items(name, root)}
    texts = {found.id: found for found in texts_for_decontamination(name, root)}
    assert list(texts) == list(items)
    for identifier, item in items.items():
        lines = texts[identifier].text
        question = texts[identifier].question
        for part in (item.passage, question, *item.choices, *item.answers[:1]):
            assert part in lines, (name, identifier, part)
        filled = item.question.replace("_", item.choices[item.gold or 0], 1) if item.choices else ""
        assert question in (item.question, filled)
        assert item.question and (len(item.choices) > 1 or item.answers), (name, identifier)


@pytest.mark.parametrize("name", ["hellaswag", "boolq", "triviaqa", "humaneval"])
def test_decontamination_sees_the_whole_of_an_item(bench_root: Path, name: str) -> None:
    assert_whole(name, bench_root)


def test_decontamination_fills_the_blank(tmp_path: Path) -> None:
    row = {
        "qID": "a1",
        "sentence": "The vase fell off the shelf because the _ was too narrow.",
        "option1": "vase",
        "option2": "shelf",
        "answer": "2",
    }
    write_jsonl(tmp_path / "winogrande" / "dev.jsonl", [row])
    (found,) = texts_for_decontamination("winogrande", tmp_path)
    assert found.question == "The vase fell off the shelf because the shelf was too narrow."
    assert found.text == f"{found.question}\nvase\nshelf"


@pytest.mark.data
@pytest.mark.parametrize("name", sorted(BENCHMARKS))
def test_decontamination_sees_the_whole_of_a_real_item(arriero_data: Path, name: str) -> None:
    assert_whole(name, arriero_data / "bench")
