"""Project Gutenberg's frame around a book: its header, its licence, and what they say of rights."""

from __future__ import annotations

import re
from dataclasses import dataclass

# The title may run over the next lines; three asterisks close the marker.
_START = re.compile(
    r"^[ \t]*\*\*\*?[ \t]*START OF (?:THE|THIS) PROJECT GUTENBERG[^*]{0,400}\*\*\*[ \t]*$",
    re.MULTILINE | re.IGNORECASE,
)
_SMALL_PRINT = re.compile(r"^\*END[ *]*THE SMALL PRINT!.*$", re.MULTILINE | re.IGNORECASE)
_END = re.compile(
    r"^[ \t]*(?:\*\*\*?[ \t]*END OF (?:THE|THIS) PROJECT GUTENBERG"
    r"|End of (?:the |this )?Project Gutenberg)",
    re.MULTILINE | re.IGNORECASE,
)
_CREDITS = re.compile(r"^(?:Produced by|E-text prepared by|This e?text was|Transcribed from)\b")
_FIELD = re.compile(r"^(Title|Author|Language|Release Date):[ \t]*(.+)$", re.MULTILINE)
# The header of 2000 to 2010, the small print before it, the licence's own sentence since 2003, and
# the field of today's catalogue. "Not copyrighted in the United States" is none of them.
_COPYRIGHTED = re.compile(
    r"this\s+is\s+a\s+copyrighted\s+project\s+gutenberg"
    r"|small\s+print!?\s+for\s+copyright\s+protected"
    r"|one\s+of\s+the\s+few\s+copyrighted\s+individual\s+works"
    r"|^(?:rights|copyright status):[ \t]*(?:copyrighted|copyright protected)",
    re.MULTILINE | re.IGNORECASE,
)
# Longest header in characters; the small print of the nineties has about 12,000.
_HEAD = 40_000
# What follows an end marker: the licence, which names the project at once and has about 20,000
# characters, or a few lines.
_LICENSE = 60_000
_NAMES_ITSELF = 4_000
_FEW_LINES = 1_000
# The frame's end may be said twice: "End of Project Gutenberg's ..." above the marker.
_TWICE = 600


@dataclass(frozen=True)
class Framed:
    """A text without its frame. header: the frame's fields, empty for a text without a frame.

    copyrighted: the frame says that the book is not in the public domain.
    """

    text: str
    header: dict[str, str]
    copyrighted: bool


def unframed(text: str) -> Framed:
    """The book between Project Gutenberg's header and licence, and what these say.

    Knows the markers since 2003 (``*** START OF ...``) and the older small print. A book may quote
    either marker: the first start marker counts, unless more than a header stands before it, and of
    the end markers the last one behind which nothing but a licence follows. A text without a frame
    is returned whole, with no fields.
    """
    start = _START.search(text, 0, _HEAD) or _SMALL_PRINT.search(text, 0, _HEAD)
    header: dict[str, str] = {}
    head = ""
    if start is not None:
        head = text[: start.end()]
        header = {name: value.strip() for name, value in _FIELD.findall(text[: start.start()])}
        header.setdefault("Title", "")
        text = text[start.end() :]
    end = _end(text)
    # Without a header it may be a book that talks about the project.
    if start is None and end <= len(text) // 2:
        end = len(text)
    copyrighted = _COPYRIGHTED.search(head) or _COPYRIGHTED.search(text, end)
    text = text[:end].strip()
    paragraph, _, rest = text.partition("\n\n")
    if start is not None and _CREDITS.match(paragraph):
        text = rest.strip()
    return Framed(text, header, copyrighted is not None)


def _end(text: str) -> int:
    """Where the frame's end begins; the text's length when there is none."""
    end = len(text)
    for marker in reversed(list(_END.finditer(text))):
        at = marker.start()
        if end == len(text):
            if not _closes(text, at):
                break
        elif end - at > _TWICE:
            break
        end = at
    return end


def _closes(text: str, at: int) -> bool:
    """Whether what follows the end marker at ``at`` is a frame's rest and no part of a book."""
    behind = text.find("\n", at) + 1 or len(text)
    length = len(text) - behind
    named = "project gutenberg" in text[behind : behind + _NAMES_ITSELF].lower()
    return length <= _FEW_LINES or (named and length <= _LICENSE)
