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
SENTENCE_END = re.compile(r"[.!?][\"')\]]*(?:\s+|$)")


class HellaSwag(ChoiceBenchmark):
    """Zero-shot "activity: context" and four endings, normalised by characters."""

    name = "hellaswag"
    title = "HellaSwag"
    source = (
        "rowanz/hellaswag, validation: hellaswag/val_full_preprocessed.jsonl (most bracket "
        "marks already removed, ctx_a and ctx_b joined as they are); load_items also reads "
        "hellaswag/hellaswag_val.jsonl as split official"
    )
    protocol = (
        'zero-shot "{activity_label}: {ctx_a} {ctx_b with its first letter capital}"; '
        "log-likelihood / characters of the ending"
    )
    protocol_version = 3  # 1 left the first letter of ctx_b small; 2 as in ChoiceBenchmark
    split = "validation"
    files: ClassVar = {"validation": (PREPROCESSED,), "official": (OFFICIAL,)}

    def read(self, root: Path, split: str) -> Iterator[Item]:
        name = self.files[split][0]
        context_fields = ("ctx",) if split == "validation" else ("ctx_a", "ctx_b")
        texts = ("activity_label", *context_fields)
        for row, value in read_jsonl(
            root, name, texts=texts, lists=("endings",), others=("label",)
        ):
            if split == "validation":
                context = capitalise_fragment(value["ctx"])
            else:
                context = f"{value['ctx_a']} {value['ctx_b'].capitalize()}"
            text = clean(f"{value['activity_label']}: {context}")
            endings = tuple(clean(ending) for ending in value["endings"])
            label = value["label"]  # from 0, in the official file as a string
            if isinstance(label, str) and label.isdecimal():
                label = int(label)
            gold = letter_index(label, len(endings), f"{name}: item {row}")
            yield Item(id=str(row), question=text, choices=endings, gold=gold)

    def request(self, item: Item, shots: tuple[str, ...]) -> ChoiceRequest:
        return ChoiceRequest(
            item.id,
            Prompt(item.question),
            tuple(Choice(f" {ending}") for ending in item.choices),
        )


def capitalise_fragment(context: str) -> str:
    """``context`` with ``str.capitalize`` applied to what stands behind its last whole sentence.

    "A man is sitting on a roof. he" gives "... on a roof. He". The preprocessed file joins ctx_a
    (whole sentences) and ctx_b (the begun sentence, in small letters; ActivityNet's items only),
    and the protocol of lm-evaluation-harness capitalises ctx_b. WikiHow's contexts, which end with
    a sentence, have no ctx_b and stay as they are.
    """
    ends = [found.end() for found in SENTENCE_END.finditer(context)]
    begin = ends[-1] if ends else 0
    return context[:begin] + context[begin:].capitalize()


def clean(text: str) -> str:
    """Remove the bracket marks that WikiHow's part of HellaSwag carries."""
    text = text.strip().replace(" [title]", ". ")
    return re.sub(r"\[.*?\]", "", text).replace("  ", " ")
