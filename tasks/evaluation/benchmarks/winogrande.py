"""WinoGrande (Sakaguchi et al. 2020): pronoun resolution, 1,267 validation items."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from tasks.evaluation.benchmarks.base import ChoiceBenchmark
from tasks.evaluation.items import BenchmarkDataError, Item, letter_index, read_jsonl
from tasks.evaluation.requests import Choice, ChoiceRequest, Prompt


class WinoGrande(ChoiceBenchmark):
    """Partial evaluation: the rest of the sentence behind each of the two options."""

    name = "winogrande"
    title = "WinoGrande"
    source = "allenai winogrande_1.1 dev.jsonl"
    protocol = (
        "zero-shot partial evaluation: log P(rest of the sentence | beginning + option); the "
        "continuation is the same for both options, so normalisation by characters changes nothing"
    )
    split = "validation"
    files: ClassVar = {"validation": ("winogrande/dev.jsonl",)}

    def read(self, root: Path, split: str) -> Iterator[Item]:
        name = self.files[split][0]
        texts = ("qID", "sentence", "option1", "option2", "answer")
        for row, value in read_jsonl(root, name, texts=texts):
            if value["sentence"].count("_") != 1:
                raise BenchmarkDataError(f"{name}: item {row}: the sentence needs exactly one _")
            yield Item(
                id=value["qID"],
                question=value["sentence"],
                choices=(value["option1"], value["option2"]),
                gold=letter_index(value["answer"], 2, f"{name}: item {row}"),
            )

    def plain_question(self, item: Item) -> str:
        assert item.gold is not None
        return item.question.replace("_", item.choices[item.gold])

    def request(self, item: Item, shots: tuple[str, ...]) -> ChoiceRequest:
        before, after = item.question.split("_")
        return ChoiceRequest(
            item.id,
            Prompt(before.rstrip()),
            tuple(Choice(f" {after.strip()}", question=before + text) for text in item.choices),
        )
