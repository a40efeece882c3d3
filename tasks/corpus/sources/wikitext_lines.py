"""Lines of wikitext: headings, lists, rows left over; and the tidying of what was removed."""

from __future__ import annotations

import re

from tasks.corpus.sources.wikitext_marks import (
    APOSTROPHE,
    BREAK,
    HEADING,
    INDENT,
    NOTHING,
    UNCLOSED,
    decoded,
)

_SWITCH = re.compile(r"__[A-ZÀ-ÖØ-ÞА-Я_]{3,30}__")
_LIST = re.compile(r"[*#:;]+")
_TERM_END = re.compile(r":(?!//)")
_RUN = re.compile(f"{NOTHING}[ {NOTHING}]++")
_EMPTY = re.compile(
    rf"\((?:[\s,;:.–-]*+{NOTHING})++[\s,;:.–-]*+\)|\[(?:[\s,;:.–-]*+{NOTHING})++[\s,;:.–-]*+\]"
)
_BRACKET_START = re.compile(rf"\((?:[ ,;:]*+{NOTHING})++[ ,;:]*+")
_DOUBLED = re.compile(rf"[,;] ?{NOTHING} ?(?=[,;])")
_BEFORE_POINT = re.compile(rf" {NOTHING}(?=[,.;:](?:\s|$))")
_AFTER_REMOVED = re.compile(rf"{NOTHING} (?=[,.](?:\s|$))")
_MANY_SPACES = re.compile("  +")
_BULLETS = frozenset(("*", "#", ""))


def rendered_lines(text: str) -> str:
    """``text`` with the marks of headings and lists read.

    A heading gets one mark for each of its levels. Items keep their ``*`` or ``#``, those of inner
    lists one mark of indentation for each level; indented text is plain; a term and its definition
    stand as ``term: definition``. Rows of tables that were never closed and the first lines of
    templates that were never closed go.
    """
    if "__" in text:
        text = _SWITCH.sub(NOTHING, text)
    lines = text.split("\n")
    for index, line in enumerate(lines):
        if not line:
            continue
        first = line[0]
        if first in "*#:;":
            lines[index] = _item(line)
        elif first == "=":
            lines[index] = _heading(line)
        elif first in f" |!-{{{UNCLOSED}{NOTHING}\t":
            lines[index] = _odd(line)
    return "\n".join(lines)


def _item(line: str) -> str:
    marks = _LIST.match(line)
    assert marks is not None
    prefix = marks.group()
    text = line[marks.end() :].lstrip()
    if prefix[-1] == ";":
        end = _TERM_END.search(text)
        if end is not None and end.end() < len(text):
            text = f"{text[: end.start()].rstrip()}: {text[end.end() :].lstrip()}"
    if prefix[-1] in ":;":
        return text
    depth = prefix.count("*") + prefix.count("#")
    return f"{INDENT * (min(depth, 8) - 1)}{prefix[-1]} {text}"


def _heading(line: str) -> str:
    bare = line.rstrip(f" \t{NOTHING}{BREAK}")
    opening = len(bare) - len(bare.lstrip("="))
    closing = len(bare) - len(bare.rstrip("="))
    level = min(opening, closing, 6)
    if opening == len(bare):  # nothing but equals signs
        return line
    return HEADING * level + bare[level : len(bare) - level].strip() if level else line


def _odd(line: str) -> str:
    bare = line.lstrip(f" \t{NOTHING}")
    if bare.startswith(("|", "{|", UNCLOSED)):
        return ""
    if bare.startswith("!"):
        return "" if "!!" in bare or "|" in bare else line
    if line.startswith("----"):
        return line.lstrip("-")
    return line


def tidied_lines(text: str) -> str:
    """Text without marks: entities read, blanks, brackets and sections without content gone.

    Brackets, commas and spaces are only touched where something was removed beside them, so that
    ``main()`` and the French ``mot : mot`` stay as written.
    """
    text = decoded(text).replace(UNCLOSED, "")
    text = text.replace("\t", " ").replace("\u00a0", " ")
    if NOTHING in text:
        text = _without_traces(text)
    text = _MANY_SPACES.sub(" ", text).replace(APOSTROPHE, "'").replace(BREAK, "\n")
    return _without_empty_sections(text.split("\n"))


def _without_traces(text: str) -> str:
    text = _EMPTY.sub(NOTHING, text)
    text = _BRACKET_START.sub("(", text)
    text = _RUN.sub(lambda run: f"{NOTHING} " if " " in run[0] else NOTHING, text)
    text = text.replace(f" {NOTHING} ", f" {NOTHING}")
    text = _DOUBLED.sub("", text)
    text = _AFTER_REMOVED.sub("", _BEFORE_POINT.sub("", text))
    *before, last = text.split(f"{NOTHING})")
    if before:
        text = ")".join([*(part.rstrip(" ,;:") for part in before), last])
    return text.replace(NOTHING, "")


def _without_empty_sections(lines: list[str]) -> str:
    kept: list[str] = []
    for line in lines:
        line = line.strip()
        if not line:
            if kept and kept[-1]:
                kept.append("")
            continue
        if line[0] == HEADING:
            text = line.lstrip(HEADING)
            depth = len(line) - len(text)
            while kept and (not kept[-1] or kept[-1][0] == HEADING):
                # Deeper headings stand below their parent; equal or higher ones end a section.
                if kept[-1] and _depth(kept[-1]) < depth:
                    break
                kept.pop()
            if not text.strip():
                continue
            if kept:
                kept.append("")
        elif len(line) <= 8 and line.lstrip(INDENT) in _BULLETS:
            continue
        kept.append(line)
    while kept and (not kept[-1] or kept[-1][0] == HEADING):
        kept.pop()
    text = "\n".join(kept)
    return text.replace(HEADING, "").replace(INDENT, "  ")


def _depth(heading: str) -> int:
    return len(heading) - len(heading.lstrip(HEADING))
