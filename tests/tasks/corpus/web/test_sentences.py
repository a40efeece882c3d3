"""Sentences by rules: where they end, and where a full stop ends none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.corpus.web.sentences import at_least, sentences


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        (" \n \n", []),
        ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
        ("First line\nsecond line", ["First line", "second line"]),
        ("“Stop.” He did. (So he did.) Yes.", ["“Stop.”", "He did.", "(So he did.)", "Yes."]),
        ("Wait... Then go... on.", ["Wait...", "Then go... on."]),
        ("What?! No.", ["What?!", "No."]),
        ("“Why?” she asked. Why.", ["“Why?” she asked.", "Why."]),
        ("It costs 3.50 at example.com today.", ["It costs 3.50 at example.com today."]),
        ("Mr. Smith met Dr. J. R. Jones.", ["Mr. Smith met Dr. J. R. Jones."]),
        ("Some, e.g. Apples, i.e. Fruit.", ["Some, e.g. Apples, i.e. Fruit."]),
        (
            "See No. 5 and fig. 3. He said no. Then",
            ["See No. 5 and fig. 3.", "He said no.", "Then"],
        ),
        ("So do I. You too.", ["So do I.", "You too."]),
        ("The U.S. Army came. It left.", ["The U.S. Army came.", "It left."]),
        ("In 1950. Later.", ["In 1950.", "Later."]),
        ("Ends. \u00a0 Это так. 以上", ["Ends.", "Это так.", "以上"]),
        ("A . B . C", ["A .", "B .", "C"]),
    ],
)
def test_sentences(text: str, found: list[str]) -> None:
    assert sentences(text) == found


TEXT = st.lists(
    st.sampled_from(["A", "b", "Mr", ".", "!", "...", " ", "  ", "\n", '"', "”", "3", "(", "x.y"]),
    max_size=40,
).map("".join)


@given(TEXT | st.text(max_size=60))
def test_no_character_but_white_space_is_lost(text: str) -> None:
    found = sentences(text)
    assert all(sentence and sentence == sentence.strip() for sentence in found)
    assert "".join("".join(found).split()) == "".join(text.split())


@given(TEXT, st.integers(0, 12))
def test_counting_stops_at_the_same_number(text: str, wanted: int) -> None:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    assert at_least(lines, wanted) == (len(sentences(text)) >= wanted)
