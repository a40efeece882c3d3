"""Counts over characters are those of Python's own words for them."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.corpus.sources.characters import count


@settings(max_examples=500)
@given(st.text() | st.text(alphabet="ab1_ \n\t.+é٣中\u2028\x1c·—", max_size=60))
def test_counts(text: str) -> None:
    assert count(text) == (
        sum(map(str.isalpha, text)),
        sum(map(str.isalnum, text)),
        len(re.findall(r"\w+|[^\w\s]+", text)),
    )


def test_counts_of_all_characters_by_themselves() -> None:
    for number in (*range(0x300), *range(0x2000, 0x2100), 0x4E2D, 0x1F600):
        text = f"a{chr(number)}b"
        assert count(text).tokens == len(re.findall(r"\w+|[^\w\s]+", text)), number
