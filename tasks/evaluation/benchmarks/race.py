"""RACE (Lai et al. 2017): reading comprehension, 1,436 middle and 3,498 high school test items."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from tasks.evaluation.benchmarks.base import ChoiceBenchmark
from tasks.evaluation.items import BenchmarkDataError, Item, is_texts, letter_index, read_jsonl
from tasks.evaluation.requests import Choice, ChoiceRequest, Prompt


class _Race(ChoiceBenchmark):
    """Zero-shot, article then question, P(choice | ctx) / P(choice | "A:")."""

    source = "RACE test split, one passage object per line; non-commercial research only"
    protocol = (
        'zero-shot "Article:\\n{article}\\n\\nQ: {q}\\nA:"; P(c|ctx) / P(c|"A:"), the rule of '
        "Brown et al. 2020 that the paper refers to; the prompt is not printed in either"
    )
    split = "test"
    metrics = ("acc_answer", "acc", "acc_norm")

    def read(self, root: Path, split: str) -> Iterator[Item]:
        name = self.files[split][0]
        lists = ("questions", "answers")
        for row, value in read_jsonl(
            root, name, texts=("article",), lists=lists, others=("options",)
        ):
            questions, options, answers = value["questions"], value["options"], value["answers"]
            if not isinstance(options, list) or not len(questions) == len(options) == len(answers):
                raise BenchmarkDataError(
                    f"{name}: passage {row}: questions, options and answers differ in number"
                )
            for number, question in enumerate(questions):
                where = f"{name}: passage {row}, question {number}"
                if not is_texts(options[number]):
                    raise BenchmarkDataError(f"{where}: the options must be strings")
                yield Item(
                    id=f"{row}:{number}",
                    passage=value["article"],
                    question=question,
                    choices=tuple(options[number]),
                    gold=letter_index(answers[number], len(options[number]), where),
                )

    def request(self, item: Item, shots: tuple[str, ...]) -> ChoiceRequest:
        return ChoiceRequest(
            item.id,
            Prompt(f"Q: {item.question}\nA:", passage=f"Article:\n{item.passage}\n\n"),
            tuple(Choice(f" {text}") for text in item.choices),
            unconditional="A:",
        )


class RaceMiddle(_Race):
    """Middle school."""

    name = "race_middle"
    title = "RACE-middle"
    files: ClassVar = {
        "test": ("race/test_middle.jsonl",),
        "validation": ("race/dev_middle.jsonl",),
    }


class RaceHigh(_Race):
    """High school."""

    name = "race_high"
    title = "RACE-high"
    files: ClassVar = {"test": ("race/test_high.jsonl",), "validation": ("race/dev_high.jsonl",)}
