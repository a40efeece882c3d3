"""BoolQ (Clark et al. 2019): yes/no questions about a passage, 3,270 validation items."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from tasks.evaluation.benchmarks.base import ANSWER_CONTEXT, ChoiceBenchmark
from tasks.evaluation.items import BenchmarkDataError, Item, read_jsonl
from tasks.evaluation.requests import Choice, ChoiceRequest, Prompt


class BoolQ(ChoiceBenchmark):
    """Zero-shot, P(choice | passage, question) / P(choice | "Answer:")."""

    name = "boolq"
    title = "BoolQ"
    source = "google/boolq, validation (question, answer, passage)"
    protocol = (
        'zero-shot "{passage}\\nQuestion: {q}?\\nAnswer:" with " no" / " yes"; '
        'P(c|ctx) / P(c|"Answer:") as the paper says; the prompt is not printed there'
    )
    split = "validation"
    files: ClassVar = {"validation": ("boolq/validation.jsonl",)}
    metrics = ("acc_answer", "acc", "acc_norm")

    def read(self, root: Path, split: str) -> Iterator[Item]:
        name = self.files[split][0]
        for row, value in read_jsonl(root, name, texts=("question", "passage"), others=("answer",)):
            if not isinstance(value["answer"], bool):
                raise BenchmarkDataError(f"{name}: item {row}: the answer must be true or false")
            yield Item(
                id=str(row),
                passage=value["passage"],
                question=value["question"],
                choices=("no", "yes"),
                gold=int(value["answer"]),
            )

    def request(self, item: Item, shots: tuple[str, ...]) -> ChoiceRequest:
        return ChoiceRequest(
            item.id,
            Prompt(f"Question: {item.question}?\nAnswer:", passage=f"{item.passage}\n"),
            tuple(Choice(f" {text}") for text in item.choices),
            unconditional=ANSWER_CONTEXT,
        )
