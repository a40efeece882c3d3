"""Text that was UTF-8 and was read in another encoding (mojibake), put right by ftfy.

Only encoding is repaired, line by line, and only where ftfy's own measure finds what no language
writes; quotes, ligatures, widths and normal forms stay as they are. A cheap search for what any
mojibake must hold comes first, since ftfy's measure reads some 5 MB/s.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import ftfy
from ftfy.badness import badness

# Encodings in which UTF-8 is commonly misread; ftfy knows the same ones.
_ENCODINGS = (
    "latin-1",
    "cp1252",
    "cp1250",
    "cp1251",
    "cp1253",
    "cp1254",
    "cp1257",
    "iso8859-2",
    "mac-roman",
    "cp437",
)
# Characters ftfy is given at once; longer lines are cut at a space.
PIECE = 10_000
_CONFIG = ftfy.TextFixerConfig(explain=False)


def repaired(text: str) -> tuple[str, int]:
    """``text`` with its mojibake put right, and in how many lines there was any."""
    if text.isascii():
        return text, 0
    parts: list[str] = []
    end = lines = 0
    for start, stop in _suspects(text):
        piece = text[start:stop]
        better = _repaired_line(piece)
        if better != piece:
            parts += [text[end:start], better]
            end = stop
            lines += 1
    if not lines:
        return text, 0
    parts.append(text[end:])
    return "".join(parts), lines


def _repaired_line(line: str) -> str:
    """``line`` as ftfy repairs it, if by ftfy's measure it is better then."""
    before = badness(line)
    if not before:
        return line
    after = ftfy.fix_encoding(line, _CONFIG)
    return after if badness(after) < before else line


def _suspects(text: str) -> Iterator[tuple[int, int]]:
    """Lines, or pieces of them, with what mojibake must hold."""
    position = 0
    while found := _SUSPECT.search(text, position):
        at = found.start()
        start = max(position, text.rfind("\n", position, at) + 1)
        if at - start >= PIECE:
            start = max(start, text.rfind(" ", at - PIECE, at) + 1, at - PIECE)
        stop = text.find("\n", at, start + PIECE)
        if stop < 0 and start + PIECE >= len(text):
            stop = len(text)
        elif stop < 0:
            stop = max(text.rfind(" ", found.end(), start + PIECE), found.end(), start + PIECE // 2)
        yield start, stop
        position = stop


def _characters(first: int, last: int) -> str:
    """A class of the characters beyond ASCII that the bytes stand for in those encodings."""
    codes = bytes(range(first, last + 1))
    found = {char for name in _ENCODINGS for char in codes.decode(name, "ignore")}
    # C1 controls stand for the bytes that an encoding has no character for.
    found |= {chr(code) for code in codes}
    return "[" + "".join(re.escape(char) for char in sorted(found) if not char.isascii()) + "]"


# The first byte of a character of several, and a following one; a control character of C1; the
# first byte of an accented letter where the second, a no-break space, has become a space.
_SUSPECT = re.compile(f"{_characters(0xC2, 0xF4)}{_characters(0x80, 0xBF)}|[\x80-\x9f]|[ÂÃ] ")
