"""Closed-book questions as in the paper's Appendix A: prompt, cut rule, exact match."""

from __future__ import annotations

import re
import string
from typing import ClassVar

from tasks.evaluation.benchmarks.base import GenerationBenchmark
from tasks.evaluation.items import Item
from tasks.evaluation.requests import GenerationRequest, Prompt

HEADER = "Answer these questions:\n"

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation + "‘’´“”–—…")


class ClosedBook(GenerationBenchmark):
    """Greedy answer to "Q: ...\\nA:", exact match after normalisation."""

    protocol = (
        '"Answer these questions:\\n" + "Q: {q}\\nA: {a}\\n" per example + "Q: {q}\\nA:"; greedy; '
        "cut at the first newline, then at the final dot or comma; exact match with any accepted "
        "answer after lowercasing and removing punctuation, articles and repeated spaces; what is "
        "empty after that is never right"
    )
    protocol_version = 2  # 1 took no answer for right where an accepted one normalises to ""
    shots = 5
    max_shots = 64
    max_new_tokens: ClassVar[int] = 24

    def request(self, item: Item, shots: tuple[str, ...]) -> GenerationRequest:
        return GenerationRequest(
            item.id,
            Prompt(f"Q: {item.question}\nA:", header=HEADER, shots=shots),
            stop=("\n",),
            max_new_tokens=self.max_new_tokens,
        )

    def answer(self, generation: str) -> str:
        return cut_answer(generation)

    def correct(self, answer: str, item: Item) -> bool:
        # An accepted form of marks and articles alone ("The", "?") becomes "", as does no answer.
        found = normalise_answer(answer)
        return found != "" and found in {normalise_answer(accepted) for accepted in item.answers}


def shot(item: Item) -> str:
    """One worked example, with the first accepted answer."""
    return f"Q: {item.question}\nA: {item.answers[0]}\n"


def cut_answer(generation: str) -> str:
    """The text up to the first line break, then up to the final dot or comma in it, stripped.

    "Paris, France." gives "Paris, France"; "J. R. R. Tolkien" gives "J. R. R": the rule is the
    paper's (Appendix A), and so are its misses. Spaces before the answer are no line of their own.
    """
    line = generation.lstrip(" ").split("\n", 1)[0]
    end = max(line.rfind("."), line.rfind(","))
    return (line[:end] if end >= 0 else line).strip()


def normalise_answer(text: str) -> str:
    """Lowercase; remove punctuation, articles as whole words, repeated and outer whitespace."""
    text = text.lower().translate(_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", text).split())
