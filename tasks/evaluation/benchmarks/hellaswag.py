"""HellaSwag (Zellers et al. 2019): the ending of a description, 10,042 validation items."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from tasks.evaluation.benchmarks.base import ChoiceBenchmark
from tasks.evaluation.items import Item, letter_index, read_jsonl
from tasks.evaluation.requests import Choice, ChoiceRequest, Prompt

PREPROCESSED = "hellaswag/val_full_preprocessed.jsonl"
OFFICIAL = "hellaswag/hellaswag_val.jsonl"


class HellaSwag(ChoiceBenchmark):
    """Zero-shot "activity: context" and four endings, normalised by characters."""

    name = "hellaswag"
    title = "HellaSwag"
    source = (
        "rowanz/hellaswag, validation: hellaswag/val_full_preprocessed.jsonl (bracket marks "
        "already removed); load_items also reads hellaswag/hellaswag_val.jsonl as split official"
    )
    protocol = 'zero-shot "{activity_label}: {ctx}"; log-likelihood / characters of the ending'
    split = "validation"
    files: ClassVar = {"validation": (PREPROCESSED,), "official": (OFFICIAL,)}

    def read(self, root: Path, split: str) -> Iterator[Item]:
        name = self.files[split][0]
        fields: tuple[str, ...] = ("activity_label", "endings", "label")
        fields += ("ctx",) if split == "validation" else ("ctx_a", "ctx_b")
        for row, value in read_jsonl(root, name, fields):
            if split == "validation":
                text = f"{value['activity_label']}: {value['ctx']}"
                endings = tuple(value["endings"])
            else:
                context = f"{value['ctx_a']} {value['ctx_b'].capitalize()}"
                text = clean(f"{value['activity_label']}: {context}")
                endings = tuple(clean(ending) for ending in value["endings"])
            label = int(value["label"]) if isinstance(value["label"], str) else value["label"]
            gold = letter_index(label, len(endings), f"{name}: item {row}")
            yield Item(id=str(row), question=text, choices=endings, gold=gold)

    def request(self, item: Item, shots: tuple[str, ...]) -> ChoiceRequest:
        return ChoiceRequest(
            item.id,
            Prompt(item.question),
            tuple(Choice(f" {ending}") for ending in item.choices),
        )


def clean(text: str) -> str:
    """Remove the bracket marks that WikiHow's part of HellaSwag carries."""
    text = text.strip().replace(" [title]", ". ")
    return re.sub(r"\[.*?\]", "", text).replace("  ", " ")
