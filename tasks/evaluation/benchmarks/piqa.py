"""PIQA (Bisk et al. 2020): physical common sense, 1,838 validation items."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from tasks.evaluation.benchmarks.base import ChoiceBenchmark
from tasks.evaluation.items import (
    BenchmarkDataError,
    Item,
    letter_index,
    read_jsonl,
    read_lines,
    require_files,
)
from tasks.evaluation.requests import Choice, ChoiceRequest, Prompt


class Piqa(ChoiceBenchmark):
    """Zero-shot "Question: goal\\nAnswer:", normalised by characters."""

    name = "piqa"
    title = "PIQA"
    source = "ybisk.github.io piqa valid.jsonl and valid-labels.lst"
    protocol = 'zero-shot "Question: {goal}\\nAnswer:"; log-likelihood / characters of the solution'
    split = "validation"
    files: ClassVar = {"validation": ("piqa/valid.jsonl", "piqa/valid-labels.lst")}

    def read(self, root: Path, split: str) -> Iterator[Item]:
        name, labels_name = self.files[split]
        require_files(root, [name, labels_name])
        labels = "".join(read_lines(root, labels_name)).split()
        rows = list(read_jsonl(root, name, texts=("goal", "sol1", "sol2")))
        if len(labels) != len(rows):
            raise BenchmarkDataError(
                f"{labels_name} has {len(labels)} labels for {len(rows)} items of {name}"
            )
        for (row, value), label in zip(rows, labels, strict=True):
            if label not in ("0", "1"):
                raise BenchmarkDataError(f"{labels_name}:{row + 1}: expected 0 or 1, not {label!r}")
            yield Item(
                id=str(row),
                question=value["goal"],
                choices=(value["sol1"], value["sol2"]),
                gold=letter_index(int(label), 2, f"{labels_name}:{row + 1}"),
            )

    def request(self, item: Item, shots: tuple[str, ...]) -> ChoiceRequest:
        return ChoiceRequest(
            item.id,
            Prompt(f"Question: {item.question}\nAnswer:"),
            tuple(Choice(f" {text}") for text in item.choices),
        )
