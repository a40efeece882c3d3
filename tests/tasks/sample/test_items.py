"""Our own benchmark items and instructions: complete, unique, right where a program can tell."""

from __future__ import annotations

import ast
import json
import operator
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PACKAGE = Path(__file__).resolve().parents[3] / "tasks" / "sample"
BENCH = PACKAGE / "bench"
ITEM_FILES = {  # file: what makes an item unique
    "arc/ARC-Easy-test.jsonl": "question",
    "arc/ARC-Challenge-test.jsonl": "question",
    "boolq/validation.jsonl": "question",
    "hellaswag/val_full_preprocessed.jsonl": "ctx",
    "piqa/valid.jsonl": "goal",
    "siqa/validation.jsonl": "context",
    "winogrande/dev.jsonl": "sentence",
    "openbookqa/validation.jsonl": "question_stem",
    "mmlu/dev.jsonl": "question",
    "mmlu/test.jsonl": "question",
    "triviaqa/triviaqa_sm_sub.jsonl": "context",
    "nq_open/NQ-open.dev.jsonl": "question",
    "gsm8k/test.jsonl": "question",
    "math/test.jsonl": "problem",
    "humaneval/HumanEval.jsonl": "prompt",
    "mbpp/mbpp.jsonl": "text",
}
OPERATORS: dict[type, Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def rows(name: str) -> list[Any]:
    return [json.loads(line) for line in (BENCH / name).read_text(encoding="utf-8").splitlines()]


def arithmetic(expression: str) -> float:
    """Value of an expression of numbers and + - * /."""

    def value(node: ast.expr) -> float:
        if isinstance(node, ast.BinOp):
            return OPERATORS[type(node.op)](value(node.left), value(node.right))
        assert isinstance(node, ast.Constant) and isinstance(node.value, int | float)
        return node.value

    return value(ast.parse(expression, mode="eval").body)


@pytest.mark.parametrize("name", ITEM_FILES)
def test_at_least_twenty_items_and_none_twice(name: str) -> None:
    keys = [row[ITEM_FILES[name]].strip().lower() for row in rows(name)]
    assert len(keys) >= 20
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("stem", ["arc/ARC-Easy", "arc/ARC-Challenge", "gsm8k/", "mmlu/"])
def test_shots_do_not_repeat_test_items(stem: str) -> None:
    shots = {"mmlu/": "mmlu/dev.jsonl", "gsm8k/": "gsm8k/train.jsonl"}.get(
        stem, f"{stem}-train.jsonl"
    )
    test = f"{stem}test.jsonl" if stem.endswith("/") else f"{stem}-test.jsonl"
    asked = {row["question"] for row in rows(test)}
    assert len(rows(shots)) >= 8
    assert not asked & {row["question"] for row in rows(shots)}


@pytest.mark.parametrize(
    "name", [f"arc/ARC-{d}-{s}.jsonl" for d in ("Easy", "Challenge") for s in ("test", "train")]
)
def test_arc(name: str) -> None:
    for row in rows(name):
        choices = row["choices"]
        assert len(set(choices["text"])) == len(choices["label"]) == 4
        assert row["answerKey"] in choices["label"]


def test_multiple_choice_gold_is_in_range_and_spread() -> None:
    gold: dict[str, list[int]] = {}
    for row in rows("hellaswag/val_full_preprocessed.jsonl"):
        assert len(set(row["endings"])) == 4 and 0 <= row["label"] < 4
        gold.setdefault("hellaswag", []).append(row["label"])
    for split in ("dev", "test"):
        for row in rows(f"mmlu/{split}.jsonl"):
            assert len(set(row["choices"])) == 4 and 0 <= row["answer"] < 4
            gold.setdefault(f"mmlu {split}", []).append(row["answer"])
    for row in rows("openbookqa/validation.jsonl"):
        assert len(set(row["choices"]["text"])) == 4
        gold.setdefault("openbookqa", []).append("ABCD".index(row["answerKey"]))
    for row in rows("siqa/validation.jsonl"):
        assert len({row["answerA"], row["answerB"], row["answerC"]}) == 3
        gold.setdefault("siqa", []).append(["1", "2", "3"].index(row["label"]))
    for row in rows("winogrande/dev.jsonl"):
        assert row["sentence"].count("_") == 1
        assert row["option1"] in row["sentence"] and row["option2"] in row["sentence"]
        gold.setdefault("winogrande", []).append(["1", "2"].index(row["answer"]))
    gold["piqa"] = rows("piqa/valid-labels.jsonl")
    assert len(gold["piqa"]) == len(rows("piqa/valid.jsonl"))
    gold["boolq"] = [row["answer"] for row in rows("boolq/validation.jsonl")]
    assert all(isinstance(answer, bool) for answer in gold["boolq"])
    for name, answers in gold.items():
        # No position may answer a benchmark by itself.
        most = max(answers.count(position) for position in set(answers))
        assert most <= 0.6 * len(answers), name


def test_mmlu_has_five_shots_for_each_of_four_subjects() -> None:
    shots = [row["subject"] for row in rows("mmlu/dev.jsonl")]
    tested = {row["subject"] for row in rows("mmlu/test.jsonl")}
    assert tested == set(shots) and len(tested) == 4
    assert all(shots.count(subject) == 5 for subject in tested)


@pytest.mark.parametrize("level", ["middle", "high"])
def test_race(level: str) -> None:
    passages = rows(f"race/test_{level}.jsonl")
    questions = [(row["id"], question) for row in passages for question in row["questions"]]
    assert len(questions) == len(set(questions)) >= 20
    for row in passages:
        assert len(row["questions"]) == len(row["options"]) == len(row["answers"])
        assert all(len(set(options)) == 4 for options in row["options"])
        assert set(row["answers"]) <= set("ABCD")


def test_open_answers() -> None:
    for row in rows("triviaqa/triviaqa_sm_sub.jsonl"):
        assert re.fullmatch(r"Question: .+\?\nAnswer:", row["context"])
        assert row["answer"] in row["aliases"]
    for name in ("nq_open/NQ-open.dev.jsonl", "nq_open/NQ-open.efficientqa.dev.1.1.jsonl"):
        assert all(row["answer"] and all(row["answer"]) for row in rows(name))


@pytest.mark.parametrize("split", ["train", "test"])
def test_gsm8k_steps_and_answers_are_right(split: str) -> None:
    for row in rows(f"gsm8k/{split}.jsonl"):
        steps = re.findall(r"<<([^=<>]+)=([\d.]+)>>([\d.]+)", row["answer"])
        assert steps, row["question"]
        for expression, result, printed in steps:
            assert arithmetic(expression) == float(result), row["question"]
            assert printed.rstrip(".") == result
        final = re.fullmatch(r".*\n#### (\d+)", row["answer"], re.DOTALL)
        assert final and float(final[1]) == float(steps[-1][1]), row["question"]


def test_math_solutions_box_one_answer() -> None:
    for row in rows("math/test.jsonl"):
        assert row["solution"].count("\\boxed{") == 1
        assert row["level"] in {f"Level {n}" for n in range(1, 6)}


def run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-I", "-c", program], capture_output=True, text=True, timeout=30
    )


def test_humaneval_solutions_pass_and_empty_ones_fail() -> None:
    programs = [
        (row, row["prompt"] + row["canonical_solution"] + row["test"])
        for row in rows("humaneval/HumanEval.jsonl")
    ]
    lines = [
        f"space = {{}}\nexec({program!r}, space)\nspace['check'](space[{row['entry_point']!r}])"
        for row, program in programs
    ]
    done = run("\n".join([*lines, f"print('passed', {len(lines)})"]))
    assert done.stdout == f"passed {len(programs)}\n", done.stderr
    for row, _ in programs:
        space: dict[str, Any] = {}
        exec(row["prompt"] + "    return 'nothing'\n" + row["test"], space)
        with pytest.raises(AssertionError):
            space["check"](space[row["entry_point"]])


def test_mbpp_code_passes_its_assertions() -> None:
    problems = rows("mbpp/mbpp.jsonl")
    ids = [row["task_id"] for row in problems]
    assert ids[:3] == [2, 3, 4] and sum(11 <= number <= 510 for number in ids) >= 20
    lines = [
        f"exec({row['code'] + chr(10) + chr(10).join(row['test_list'])!r}, {{}})"
        for row in problems
    ]
    done = run("\n".join([*lines, "print('passed')"]))
    assert done.stdout == "passed\n", done.stderr
    assert all(len(row["test_list"]) >= 3 for row in problems)


def test_instructions() -> None:
    instructions = json.loads((PACKAGE / "instructions.json").read_text(encoding="utf-8"))
    assert len(instructions) >= 200
    assert all(set(row) == {"instruction", "input", "output"} for row in instructions)
    asked = {(row["instruction"], row["input"]) for row in instructions}
    assert len(asked) == len(instructions)
    assert all(row["instruction"].strip() and row["output"].strip() for row in instructions)
    assert len({row["instruction"] for row in instructions}) >= 150


def test_instructions_with_arithmetic_and_code_are_right() -> None:
    instructions = json.loads((PACKAGE / "instructions.json").read_text(encoding="utf-8"))
    sums = 0
    for row in instructions:
        question = re.fullmatch(r"What is (\d+ [+-] \d+)\?", row["instruction"])
        if question:
            assert arithmetic(question[1]) == float(row["output"])
            sums += 1
        if row["instruction"] == "What does this Python code print?":
            assert run(row["input"]).stdout.strip() == row["output"]
            sums += 1
    assert sums >= 6
