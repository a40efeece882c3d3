"""OpenBookQA (Mihaylov et al. 2018): elementary science, 500 test items."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from tasks.evaluation.benchmarks.base import ANSWER_CONTEXT, ChoiceBenchmark
from tasks.evaluation.items import BenchmarkDataError, Item, letter_index, read_tsv
from tasks.evaluation.requests import Choice, ChoiceRequest, Prompt


class OpenBookQA(ChoiceBenchmark):
    """Zero-shot, the bare stem, P(choice | stem) / P(choice | "Answer:")."""

    name = "openbookqa"
    title = "OBQA"
    source = "allenai OpenBookQA-V1 Main/test.tsv"
    protocol = 'zero-shot, question stem alone; P(c|stem) / P(c|"Answer:") as the paper says'
    split = "test"
    files: ClassVar = {"test": ("openbookqa/test.tsv",), "validation": ("openbookqa/dev.tsv",)}
    metrics = ("acc_answer", "acc", "acc_norm")

    def read(self, root: Path, split: str) -> Iterator[Item]:
        name = self.files[split][0]
        fields = ("ID", "Question Stem", "Choices", "Answer Key")
        for _, value in read_tsv(root, name, fields):
            # "(A) first (B) second (C) third (D) fourth"
            parts = re.split(r"\s*\(([A-D])\)\s+", " " + value["Choices"])
            choices = tuple(text.strip() for text in parts[2::2])
            where = f"{name}: item {value['ID']}"
            if parts[1::2] != ["A", "B", "C", "D"]:
                raise BenchmarkDataError(f"{where}: expected the choices (A) to (D)")
            gold = letter_index(value["Answer Key"], len(choices), where)
            stem = value["Question Stem"]
            yield Item(id=value["ID"], question=stem, choices=choices, gold=gold)

    def request(self, item: Item, shots: tuple[str, ...]) -> ChoiceRequest:
        return ChoiceRequest(
            item.id,
            Prompt(item.question),
            tuple(Choice(f" {text}") for text in item.choices),
            unconditional=ANSWER_CONTEXT,
        )
