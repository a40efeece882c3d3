"""The text that models are trained on and asked about."""

from __future__ import annotations

import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.corpus.quality.normalise import SEGMENT, normalised, normalised_segments, segments


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello World", "hello world"),
        ("Déjà VU, Čeština, Йод", "deja vu, cestina, иод"),
        ("In 1648: 3.14 and ١٢", "in 0000: 0.00 and 00"),
        (
            "\u201cquoted\u201d \u2018it\u2019s\u2019 \u2014 a\u2013b \u2026",
            "\"quoted\" 'it's' - a-b ...",
        ),
        ("a\tb\r\n\n c\u00a0d\u3000e", "a b c d e"),
        ("a\x00b\x07c\x1bd\x7f", "abcd"),
        ("so\u00adft\u200b\ufeff", "soft"),
        ("ｆｕｌｌ ﬁne ½ Ⅳ", "full fine 0/0 iv"),
        ("한국어 日本語", "한국어 日本語"),
        ("\ud800lone", "lone"),
        ("\u2581mark\u2585mark", "mark mark"),
        ("", ""),
        (" \x00\n", ""),
    ],
)
def test_characters_are_folded(text: str, expected: str) -> None:
    assert normalised(text) == expected


def test_what_is_normalised_stays_so() -> None:
    for code in range(sys.maxunicode + 1):
        once = normalised(chr(code))
        assert normalised(once) == once, hex(code)


@given(st.text())
def test_nothing_but_plain_spaces_parts_words(text: str) -> None:
    line = normalised(text)
    assert line == " ".join(line.split())
    assert normalised(line) == line
    line.encode()


@given(st.text(alphabet=" \na\u00e9", max_size=60), st.integers(1, 9))
def test_segments_join_to_the_text(text: str, limit: int) -> None:
    parts = list(segments(text, limit))
    assert "".join(parts) == text
    assert max(map(len, parts)) <= limit


def test_a_cut_is_at_white_space() -> None:
    assert list(segments("one two three", 9)) == ["one two ", "three"]
    assert [" ".join(normalised_segments("word " * SEGMENT))] == [" ".join(["word"] * SEGMENT)]


@pytest.mark.parametrize("unit", ["x", "a\u0300\u0323", "\ufdfa", "\x00", "\n", "é"])
def test_a_line_of_ten_megabytes_takes_seconds(unit: str) -> None:
    text = unit * (10_000_000 // len(unit.encode()))
    started = time.monotonic()
    parts = list(normalised_segments(text))
    assert time.monotonic() - started < 20
    assert all(parts) and max(map(len, parts), default=0) <= 20 * SEGMENT
