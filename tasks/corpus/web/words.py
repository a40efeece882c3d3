"""Words and punctuation marks of a text, as the rules on web text count them."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

# What a reader takes for one word stays one (example.com, R&D, 3.14, 9:30), the end after an
# apostrophe is one of its own, runs of dots or dashes are one mark, any other mark stands alone
# (so does _ but inside a word).
# No alternative can fail after its first characters, so matching is linear.
TOKEN = re.compile(
    r"[^\W_]+(?:[._&\u00ad][^\W_]+|(?<=\d)[,:/–]\d+)*|\.+|-+|['’](?<=\w.)[^\W_]+|[^\w\s]|_"
)
WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Tokens:
    """The words and marks of a text, in order, and how often each occurs."""

    tokens: list[str]
    counts: Counter[str]

    @classmethod
    def of(cls, text: str) -> Tokens:
        """Split ``text``: memory is about 70 bytes a word."""
        tokens = TOKEN.findall(text)
        return cls(tokens, Counter(tokens))


def more_than(text: str, limit: int) -> bool:
    """Whether ``text`` has more than ``limit`` words, without holding them."""
    if len(text) <= limit:
        return False
    return any(number > limit for number, _ in enumerate(WORD.finditer(text), start=1))


def has_long_word(line: str, limit: int) -> bool:
    """Whether more than ``limit`` characters stand in ``line`` without white space between them.

    Looks at one character in ``limit`` or so: every window of ``limit`` + 1 characters without
    white space is such a word, any other holds a space to go on from.
    """
    start = 0
    while len(line) - start > limit:
        window = line[start : start + limit + 1]
        if window[-1].isspace():
            start += limit + 1
            continue
        tail = len(window.rsplit(None, 1)[-1])
        if tail > limit:
            return True
        start += limit + 1 - tail
    return False
