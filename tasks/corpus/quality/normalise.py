"""The text that the language models and the classifier see, in training and in scoring alike.

cc_net's rules: lower case, accents off, every digit a 0, typographic punctuation as ASCII, control
characters out, any white space one space. Compatibility forms are folded as well (ligatures, full
width), which cc_net leaves to SentencePiece.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

# Characters per segment. Bounds the memory of a document whatever its size; a cut is at white
# space where there is some.
SEGMENT = 16_384
# Characters whose folding is remembered at a time: more than most crawls hold.
REMEMBERED = 65_536
# In short runs: where one character becomes many, str.translate takes quadratic time.
_FOREIGN = re.compile(r"[^\x00-\x7f]{1,256}")
# Format characters that mean nothing to a reader, and SentencePiece's own marks, which a text
# cannot hold as characters.
_REMOVED = frozenset("\xad\u200b\u200c\u200d\u200e\u200f\u2060\ufeff")
_MARKS = frozenset("\u2581\u2585")
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


class _Folding(dict[int, str]):
    """Code point -> what stands for it; each is worked out when it is first met."""

    def __missing__(self, code: int) -> str:
        if len(self) >= REMEMBERED:
            self.clear()
        folded = self[code] = _fold(chr(code))
        return folded


def _fold(character: str) -> str:
    """One character as the models see it; "" when it goes."""
    category = unicodedata.category(character)
    if character in _PUNCTUATION:
        return _PUNCTUATION[character]
    if character.isspace() or character in _MARKS:
        return " "
    if category in ("Cc", "Cs") or character in _REMOVED:
        return ""
    if category == "Nd":
        return "0"
    parts = unicodedata.normalize("NFKD", character).lower()
    # Accents, and all else that combines with the character before it.
    bare = "".join(
        part
        for part in parts
        if unicodedata.category(part) != "Mn" and not unicodedata.combining(part)
    )
    if bare == character:
        return bare
    return unicodedata.normalize("NFC", "".join(_fold(part) for part in bare))


_FOLDING = _Folding()


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
    """One segment as the models see it: one line, "" when nothing is left. Linear in its length.

    Character by character, so a run of marks costs no more than other text.
    """
    if not segment.isascii():
        segment = _FOREIGN.sub(_folded, segment)
    # What is ASCII by now, as nearly all English is, takes a fast way through the same table.
    return " ".join(segment.translate(_FOLDING).split())


def normalised_segments(text: str) -> Iterator[str]:
    """The normalised parts of a document that hold something, in order."""
    for segment in segments(text):
        line = normalised(segment)
        if line:
            yield line


def _folded(match: re.Match[str]) -> str:
    return match.group().translate(_FOLDING)
