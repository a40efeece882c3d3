"""Which texts hold a word or phrase of a list."""

from __future__ import annotations

import re
from collections.abc import Iterable

from tasks.corpus.web.words import WORD


class BadWords:
    """Finds any of some words or phrases, in any case, between characters that are of no word.

    Words are looked up in the set of the text's words; a phrase is searched for only in texts that
    hold its first word: the time does not grow with the length of the list.
    """

    def __init__(self, words: Iterable[str]) -> None:
        self._single: set[str] = set()
        self._phrases: dict[str, list[re.Pattern[str]]] = {}
        # What holds no word at all (marks only) is searched for as it is.
        self._marks: list[str] = []
        for entry in sorted({" ".join(word.lower().split()) for word in words} - {""}):
            first = WORD.search(entry)
            if first is None:
                self._marks.append(entry)
            elif first.group() == entry:
                self._single.add(entry)
            else:
                spaced = re.escape(entry).replace(r"\ ", r"\s+")
                pattern = re.compile(rf"(?<!\w){spaced}(?!\w)")
                self._phrases.setdefault(first.group(), []).append(pattern)

    def __bool__(self) -> bool:
        return bool(self._single or self._phrases or self._marks)

    def within(self, lowered: str) -> bool:
        """Whether a text, given in small letters, holds one of them."""
        words = set(WORD.findall(lowered))
        if not words.isdisjoint(self._single) or any(mark in lowered for mark in self._marks):
            return True
        return any(
            pattern.search(lowered) for first in self._phrases.keys() & words
            for pattern in self._phrases[first]
        )  # fmt: skip
