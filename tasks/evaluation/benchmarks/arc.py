"""ARC (Clark et al. 2018): science questions, Easy 2,376 and Challenge 1,172 test items."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from tasks.evaluation.benchmarks.base import ChoiceBenchmark
from tasks.evaluation.items import BenchmarkDataError, Item, is_texts, read_jsonl
from tasks.evaluation.requests import Choice, ChoiceRequest, Prompt


class _Arc(ChoiceBenchmark):
    """Zero-shot "Question: ...\\nAnswer:", normalised by characters."""

    source = "allenai/ai2_arc, test split, in the hub's JSON shape"
    protocol = 'zero-shot "Question: {q}\\nAnswer:"; log-likelihood / characters of the choice'
    split = "test"

    def read(self, root: Path, split: str) -> Iterator[Item]:
        name = self.files[split][0]
        fields = ("id", "question", "answerKey")
        for _, value in read_jsonl(root, name, texts=fields, others=("choices",)):
            where = f"{name}: item {value['id']}"
            choices = value["choices"] if isinstance(value["choices"], dict) else {}
            texts, labels = choices.get("text"), choices.get("label")
            if not (is_texts(texts) and is_texts(labels) and len(texts) == len(labels)):
                raise BenchmarkDataError(f"{where}: the choices must be texts with as many labels")
            if value["answerKey"] not in labels:
                raise BenchmarkDataError(
                    f"{where}: the answer {value['answerKey']!r} is not a label"
                )
            yield Item(
                id=value["id"],
                question=value["question"],
                choices=tuple(texts),
                gold=labels.index(value["answerKey"]),
            )

    def request(self, item: Item, shots: tuple[str, ...]) -> ChoiceRequest:
        return ChoiceRequest(
            item.id,
            Prompt(f"Question: {item.question}\nAnswer:"),
            tuple(Choice(f" {text}") for text in item.choices),
        )


class ArcEasy(_Arc):
    """The questions that a retrieval baseline solves."""

    name = "arc_easy"
    title = "ARC-e"
    files: ClassVar = {
        split: (f"arc/ARC-Easy-{split}.jsonl",) for split in ("test", "validation", "train")
    }


class ArcChallenge(_Arc):
    """The questions that a retrieval baseline gets wrong."""

    name = "arc_challenge"
    title = "ARC-c"
    files: ClassVar = {
        split: (f"arc/ARC-Challenge-{split}.jsonl",) for split in ("test", "validation", "train")
    }
