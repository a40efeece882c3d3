"""MMLU (Hendrycks et al. 2020): 57 subjects, 14,042 test items, 5 shots of the same subject."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from tasks.evaluation.benchmarks.base import ChoiceBenchmark, ShotsFor, first_shots
from tasks.evaluation.items import BenchmarkDataError, Item, letter_index, read_jsonl
from tasks.evaluation.requests import Choice, ChoiceRequest, Prompt

LETTERS = ("A", "B", "C", "D")


class Mmlu(ChoiceBenchmark):
    """The original prompt; likelihoods of the four letters; micro-average over questions."""

    name = "mmlu"
    title = "MMLU"
    source = "hendrycks/test, dev and test, all subjects in one file each (column subject)"
    protocol = (
        "5-shot, first dev items of the subject, original prompt (two spaces before the subject); "
        "likelihood of the letters only; micro-average over questions"
    )
    split = "test"
    files: ClassVar = {
        "test": ("mmlu/test.jsonl",),
        "validation": ("mmlu/validation.jsonl",),
        "dev": ("mmlu/dev.jsonl",),
    }
    shots = 5
    max_shots = 5
    metrics = ("acc",)

    def read(self, root: Path, split: str) -> Iterator[Item]:
        name = self.files[split][0]
        numbers: dict[str, int] = defaultdict(int)
        texts = ("question", "subject")
        for row, value in read_jsonl(
            root, name, texts=texts, lists=("choices",), others=("answer",)
        ):
            if len(value["choices"]) != len(LETTERS):
                raise BenchmarkDataError(f"{name}: item {row}: expected four choices")
            subject = value["subject"]
            yield Item(
                id=f"{subject}:{numbers[subject]}",
                question=value["question"],
                choices=tuple(value["choices"]),
                gold=letter_index(value["answer"], len(LETTERS), f"{name}: item {row}"),
                extra={"subject": subject},
            )
            numbers[subject] += 1

    def read_files(self) -> tuple[str, ...]:
        return self.files["test"] + self.files["dev"]

    def shots_for(self, root: Path, count: int) -> ShotsFor:
        by_subject: dict[str, list[str]] = defaultdict(list)
        for item in self.read(root, "dev") if count else ():
            assert item.gold is not None
            by_subject[item.extra["subject"]].append(f"{_ask(item)} {LETTERS[item.gold]}\n\n")

        def shots(item: Item) -> tuple[str, ...]:
            found = by_subject[item.extra["subject"]] if count else []
            return first_shots(found, count, f"{self.files['dev'][0]}, {item.extra['subject']}")

        return shots

    def request(self, item: Item, shots: tuple[str, ...]) -> ChoiceRequest:
        # The original format_subject returns " word word": hence the two spaces.
        subject = "".join(f" {word}" for word in item.extra["subject"].split("_"))
        header = f"The following are multiple choice questions (with answers) about {subject}.\n\n"
        return ChoiceRequest(
            item.id,
            Prompt(_ask(item), header=header, shots=shots),
            tuple(Choice(f" {letter}") for letter in LETTERS),
        )


def _ask(item: Item) -> str:
    lines = [f"{letter}. {text}" for letter, text in zip(LETTERS, item.choices, strict=True)]
    return "\n".join([item.question, *lines, "Answer:"])
