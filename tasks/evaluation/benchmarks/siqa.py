"""SIQA (Sap et al. 2019): social common sense, 1,954 validation items."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from tasks.evaluation.benchmarks.base import ChoiceBenchmark
from tasks.evaluation.items import BenchmarkDataError, Item, read_jsonl
from tasks.evaluation.requests import Choice, ChoiceRequest, Prompt


class Siqa(ChoiceBenchmark):
    """Zero-shot "Q: context question\\nA:", normalised by characters."""

    name = "siqa"
    title = "SIQA"
    source = "allenai social_i_qa, validation, in the hub's JSON shape (label is a string 1 to 3)"
    protocol = 'zero-shot "Q: {context} {question}\\nA:"; log-likelihood / characters of the answer'
    split = "validation"
    files: ClassVar = {"validation": ("siqa/validation.jsonl",)}

    def read(self, root: Path, split: str) -> Iterator[Item]:
        name = self.files[split][0]
        fields = ("context", "question", "answerA", "answerB", "answerC", "label")
        for row, value in read_jsonl(root, name, texts=fields):
            if value["label"] not in ("1", "2", "3"):
                raise BenchmarkDataError(f"{name}: item {row}: the label must be 1, 2 or 3")
            yield Item(
                id=str(row),
                passage=value["context"],
                question=value["question"],
                choices=(value["answerA"], value["answerB"], value["answerC"]),
                gold=int(value["label"]) - 1,
            )

    def request(self, item: Item, shots: tuple[str, ...]) -> ChoiceRequest:
        return ChoiceRequest(
            item.id,
            Prompt(f"{item.question}\nA:", passage=f"Q: {item.passage} "),
            tuple(Choice(f" {text}") for text in item.choices),
        )
