"""Natural Questions, open-domain form (Lee et al. 2019), closed book: 3,610 test questions."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import ClassVar

from tasks.evaluation.benchmarks.base import ShotsFor, first_shots
from tasks.evaluation.benchmarks.closed_book import ClosedBook, shot
from tasks.evaluation.items import BenchmarkDataError, Item, read_jsonl


class NqOpen(ClosedBook):
    """The paper's prompt and exact match."""

    name = "nq_open"
    title = "NaturalQuestions"
    source = (
        "google-research-datasets/natural-questions nq_open/NQ-open.dev.jsonl (used as test); "
        "examples are the first questions of NQ-open.efficientqa.dev.1.1.jsonl"
    )
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
        found = [shot(item) for item in islice(examples, count)]
        texts = first_shots(found, count, self.files["examples"][0])
        return lambda item: texts
