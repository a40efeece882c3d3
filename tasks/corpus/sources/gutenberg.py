"""Project Gutenberg's frame around a book: its header, its licence, and what they say of rights.

Headers without a marker are :mod:`tasks.corpus.sources.gutenberg_heads`; what stands just inside
the frame (credits, transcriber's notes) is :mod:`tasks.corpus.sources.gutenberg_notes`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tasks.corpus.sources.gutenberg_heads import old_head, sister_end, sister_head
from tasks.corpus.sources.gutenberg_notes import GERMAN, PROJECT, without_notes

# The title may run over the next lines; asterisks close the marker. Other languages: made by
# volunteers and daughter projects.
_START = re.compile(
    r"^[ \t]*\*{2,5}[ \t]*(?:START OF (?:THE|THIS) PROJECT|(?:BEGINN|ANFANG|D[EÉ]BUT|COMIENZO"
    rf"|IN[IÍ]CIO|COME[CÇ]O|INIZIO|BEGIN)\b[^*\n]{{0,60}}?{PROJECT}) GUTENBERG"
    r"[^*]{0,400}\*{2,5}[ \t]*$",
    re.MULTILINE | re.IGNORECASE,
)
_SMALL_PRINT = re.compile(
    r"^[ \t]*\*{1,5}END[ *]*THE SMALL PRINT\b.*$",
    re.MULTILINE | re.IGNORECASE,
)
# Without asterisks, as in files that went through HTML; in capitals alone.
_BARE_START = re.compile(
    r"^[ \t]*START OF (?:THE|THIS) PROJECT GUTENBERG E-?(?:BOOK|TEXT)\b[^*\n]{0,200}$", re.MULTILINE
)
_END = re.compile(
    r"^[ \t]*(?:\*{2,5}[ \t]*END OF (?:THE|THIS) PROJECT GUTENBERG"
    r"|End of (?:the |this )?Project Gutenberg"
    r"|(?:\*{2,5}[ \t]*)?(?:Ende|Fin|Fim|Fi|Fine|Fino|Finis|Einde|Slutet|Slutt?(?= på| af| av)"
    r"|Loppu|Koniec|Konec|Kraj|Vége|Sfârșit(?:ul)?|Endir|Wakas|Конец|Кінець|Край|Крај|Τέλος)\b"
    rf"[^*\n]{{1,60}}?(?:\b{PROJECT}\s{{1,3}}Gutenberg"
    r"|\bПро[еє]кт\w{0,4}\s{1,3}[\"«„]?Гутенберг))",
    re.MULTILINE | re.IGNORECASE,
)
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
_NAMED = re.compile(rf"{PROJECT} gutenberg", re.IGNORECASE)
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
    country: where the frame says it is: "US", "AU" or "CA"; "" without a frame.
    """

    text: str
    header: dict[str, str]
    copyrighted: bool
    country: str = ""


def unframed(text: str) -> Framed:
    """The book between Project Gutenberg's header and licence, and what these say.

    Knows the markers since 2003 (``*** START OF ...``) and the older small print, before or behind
    the book. A book may quote either marker: the first start marker counts, unless more than a
    header stands before it, and of the end markers the last one behind which nothing but a licence
    follows. A text without a frame is returned whole, with no fields; one of Projekt Gutenberg-DE,
    which has no markers, without the paragraphs in which that names itself.
    """
    start = _start(text)
    sister = sister_head(text) if start is None else None
    old = old_head(text) if start is None and sister is None else None
    header: dict[str, str] = {}
    head = ""
    if start is not None:
        head = text[: start.end()]
        header = {name: value.strip() for name, value in _FIELD.findall(text[: start.start()])}
        header.setdefault("Title", "")
    elif found := sister or old:
        head, header = text[: found.end], found.fields
    text = text[len(head) :]
    end = _end(text)
    if not header and end <= len(text) // 2:
        # Without a header it may be a book that talks about the project.
        end = len(text)
    copyrighted = _COPYRIGHTED.search(head) or _COPYRIGHTED.search(text, end)
    if old is not None:
        copyrighted = copyrighted or _COPYRIGHTED.search(text, 0, _NAMES_ITSELF)
    text = text[:end].strip()
    if sister is not None:
        text = text[: sister_end(text)].rstrip()
    if header or GERMAN.search(text, 0, _NAMES_ITSELF) or GERMAN.search(text, len(text) - 2000):
        text = without_notes(text, framed=bool(header))
    country = sister.country if sister is not None else "US" if header else ""
    return Framed(text, header, copyrighted is not None, country)


def _start(text: str) -> re.Match[str] | None:
    """The marker that ends the header, if there is one."""
    start = _START.search(text, 0, _HEAD)
    if start is not None:
        return start
    small = _SMALL_PRINT.search(text, 0, _HEAD)
    if small is not None:
        # In a short book it may be the one behind the text, below the end marker.
        ended = _END.search(text, 0, small.start())
        if ended is not None and _closes(text, ended.start()):
            return None
        return small
    bare = _BARE_START.search(text, 0, _HEAD)
    if bare is not None and max(bare.end(), len(text) // 2) < _end(text) < len(text):
        return bare
    return None


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
    named = _NAMED.search(text, behind, behind + _NAMES_ITSELF) is not None
    return length <= _FEW_LINES or (named and length <= _LICENSE)
