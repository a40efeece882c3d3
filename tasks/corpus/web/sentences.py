"""Sentences of English text by rules: no model, the same everywhere.

A sentence ends at the end of a line, or at one of ``. ! ? …`` (closing quotes and brackets
included) before white space and something that can begin a sentence: anything but a small letter
or a mark in its middle. A full stop after an abbreviation that stands before names and numbers, or
after a single letter, ends none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

# Before a name: a full stop after them says nothing about the sentence's end.
_BEFORE_NAMES = frozenset((
    "adm", "asst", "bros", "capt", "cf", "col", "cpl", "dr", "drs", "e.g", "eg", "fr", "gen",
    "gov", "hon", "i.e", "ie", "jr", "lt", "maj", "messrs", "mr", "mrs", "ms", "msgr", "mt",
    "ph.d", "pres", "prof", "rep", "reps", "rev", "sen", "sens", "sgr", "sgt", "sr", "st", "ste",
    "supt", "u.k", "u.n", "u.s", "viz", "vs",
))  # fmt: skip
# Before a number, and before nothing else: "no." and "art." are words too.
_BEFORE_NUMBERS = frozenset((
    "app", "approx", "apr", "art", "aug", "ca", "ch", "dec", "ed", "eds", "eq", "est", "feb",
    "fig", "figs", "jan", "jul", "jun", "mar", "no", "nos", "nov", "oct", "op", "para", "pl",
    "pp", "pt", "sec", "sep", "sept", "vol", "vols",
))  # fmt: skip
_END = re.compile(r"""(?<=[.!?…])["'”’»)\]]*[ \t\u00a0\u2000-\u200a\u3000]+""")
_CLOSING = "\"'”’»)]"
# What goes on after a stop begins no sentence: small letters and marks within one.
_GOES_ON = frozenset(",;:-–—.!?…%)]}»")
# A longer word is no abbreviation; the bound keeps the look back short.
_LONGEST = 12


def sentences(text: str) -> list[str]:
    """The sentences of ``text``, in order, stripped, none of them empty."""
    return [sentence for line in text.splitlines() for sentence in _of_line(line)]


def at_least(lines: list[str], wanted: int) -> bool:
    """Whether ``lines``, none of them blank, hold ``wanted`` sentences; stops when they do."""
    missing = wanted - len(lines)
    if missing <= 0:
        return True
    for line in lines:
        for _ in _ends(line):
            missing -= 1
            if missing <= 0:
                return True
    return False


def _of_line(line: str) -> Iterator[str]:
    line = line.strip()
    start = 0
    for end in _ends(line):
        yield line[start:end].rstrip()
        start = end
    if start < len(line):
        yield line[start:]


def _ends(line: str) -> Iterator[int]:
    """Where the second, third, ... sentence of a stripped line begins."""
    for match in _END.finditer(line):
        end = match.end()
        if end == len(line):
            return
        following = line[end]
        if following.islower() or following in _GOES_ON:
            continue
        stop = match.start()
        alone = line[stop - 1] == "." and line[stop] not in _CLOSING
        if alone and _abbreviated(line, stop - 1, following):
            continue
        yield end


def _abbreviated(line: str, stop: int, following: str) -> bool:
    """Whether the full stop at ``stop`` belongs to the word before it and not to the sentence."""
    before = line[max(0, stop - _LONGEST - 1) : stop].split()
    if not before or line[stop - 1].isspace():
        return False
    word = before[-1].lstrip("(['\"“‘").lower()
    if word in _BEFORE_NUMBERS:
        return following.isdigit()
    # A single letter is an initial, but "I." and numbers do end sentences.
    return word in _BEFORE_NAMES or (len(word) == 1 and word.isalpha() and word != "i")
