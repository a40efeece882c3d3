"""Natural Questions, open-domain form (Lee et al. 2019), closed book: 3,610 test questions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import ClassVar

from tasks.evaluation.benchmarks.base import ShotsFor, first_shots
from tasks.evaluation.benchmarks.closed_book import ClosedBook, shot
from tasks.evaluation.items import BenchmarkDataError, Item, read_jsonl
from tasks.evaluation.requests import GenerationRequest


class NqOpen(ClosedBook):
    """The paper's prompt and exact match."""

    name = "nq_open"
    title = "NaturalQuestions"
    source = (
        "google-research-datasets/natural-questions nq_open/NQ-open.dev.jsonl (used as test); "
        "examples are the first questions of NQ-open.efficientqa.dev.1.1.jsonl"
    )
    protocol = (
        ClosedBook.protocol + "; the data's questions are written as the paper prints them, with a "
        'capital letter at the beginning and "?" at the end'
    )
    protocol_version = 3  # 2 asked as the file has them: small letters, no question mark
    split = "test"
    files: ClassVar = {
        "test": ("nq_open/NQ-open.dev.jsonl",),
        "examples": ("nq_open/NQ-open.efficientqa.dev.1.1.jsonl",),
    }

    def read(self, root: Path, split: str) -> Iterator[Item]:
        name = self.files[split][0]
        for row, value in read_jsonl(root, name, texts=("question",), lists=("answer",)):
            if not value["answer"]:
                raise BenchmarkDataError(f"{name}: item {row}: no answer")
            yield Item(id=str(row), question=value["question"], answers=tuple(value["answer"]))

    def read_files(self) -> tuple[str, ...]:
        return self.files["test"] + self.files["examples"]

    def shots_for(self, root: Path, count: int) -> ShotsFor:
        examples = self.read(root, "examples") if count else iter(())
        found = [shot(_printed(item)) for item in islice(examples, count)]
        texts = first_shots(found, count, self.files["examples"][0])
        return lambda item: texts

    def request(self, item: Item, shots: tuple[str, ...]) -> GenerationRequest:
        return super().request(_printed(item), shots)


def as_printed(question: str) -> str:
    """A question of the data as the paper's Appendix A writes one.

    The file has "who wrote the book the origin of species", the paper's prompt "Who wrote the book
    the origin of species?".
    """
    question = question.strip()
    return question[:1].upper() + question[1:] + ("" if question.endswith("?") else "?")


def _printed(item: Item) -> Item:
    return replace(item, question=as_printed(item.question))
