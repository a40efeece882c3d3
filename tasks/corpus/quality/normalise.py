"""The text that the language models and the classifier see, in training and in scoring alike.

cc_net's rules: lower case, accents off, every digit a 0, typographic punctuation as ASCII, control
characters out, any white space one space. Compatibility forms are folded as well (ligatures, full
width), which cc_net leaves to SentencePiece.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Iterator
from functools import lru_cache

# Characters per segment. Bounds the memory of a document whatever its size; a cut is at white
# space where there is some.
SEGMENT = 16_384
_REMOVED = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\xad\u200b-\u200f\u2060\ufeff\ud800-\udfff]"
)
# SentencePiece's own marks count as white space: a text cannot hold them as characters.
_SPACE = re.compile("[\\s\u2581\u2585]+")
_DIGIT = re.compile(r"\d")
_PUNCTUATION = {
    **dict.fromkeys(
        "\u201c\u201d\u201e\u201f\u00ab\u00bb\u300c\u300d\u300e\u300f\u300a\u300b", '"'
    ),
    **dict.fromkeys("\u2018\u2019\u201a\u201b\u2032\u2035\u2039\u203a\u00b4\u02bc`", "'"),
    **dict.fromkeys("\u2010\u2012\u2013\u2014\u2015\u2212\u2043", "-"),
    **dict.fromkeys("\u2022\u00b7\u2027\u30fb", "-"),
    "\u2044": "/",
    "\u3001": ",",
    "\u3002": ".",
    "\u3010": "[",
    "\u3011": "]",
    "\u3008": "<",
    "\u3009": ">",
    "\u061f": "?",
    "\u060c": ",",
}
_TYPOGRAPHIC = re.compile("[" + "".join(_PUNCTUATION) + "]")


def segments(text: str, limit: int = SEGMENT) -> Iterator[str]:
    """Parts of ``text`` of at most ``limit`` characters, cut after white space where there is some.

    Joined, they are the text.
    """
    start = 0
    while len(text) - start > limit:
        window = text[start : start + limit]
        cut = max(window.rfind(" "), window.rfind("\n")) + 1 or limit
        yield window[:cut]
        start += cut
    yield text[start:] if start else text


def normalised(segment: str) -> str:
    """One segment as the models see it: one line, "" when nothing is left. Linear in its length."""
    if not segment.isascii():
        marks = _marks()
        # Before decomposing too: the canonical order of a long run of marks takes quadratic time.
        text = unicodedata.normalize("NFKD", marks.sub("", segment)).lower()
        text = _TYPOGRAPHIC.sub(_plain, marks.sub("", text))
        segment = unicodedata.normalize("NFC", text)
    else:
        segment = segment.lower().replace("`", "'")
    segment = _DIGIT.sub("0", _REMOVED.sub("", segment))
    return _SPACE.sub(" ", segment).strip()


def normalised_segments(text: str) -> Iterator[str]:
    """The normalised parts of a document that hold something, in order."""
    for segment in segments(text):
        line = normalised(segment)
        if line:
            yield line


def _plain(match: re.Match[str]) -> str:
    return _PUNCTUATION[match.group()]


@lru_cache(maxsize=1)
def _marks() -> re.Pattern[str]:
    """Accents and all other characters that combine with the one before them."""
    found = (
        chr(code)
        for code in range(0x300, sys.maxunicode + 1)
        if unicodedata.category(chr(code)) == "Mn" or unicodedata.combining(chr(code))
    )
    return re.compile("[" + "".join(found) + "]")
