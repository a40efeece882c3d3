"""Comments, extension tags and HTML tags of wikitext: the first step."""

from __future__ import annotations

import re
from functools import cache

from tasks.corpus.sources.wikitext_marks import (
    BREAK,
    NOTHING,
    TABLE,
    TABLE_END,
    decoded,
    place_of,
)

# Their content is no wikitext and no text.
_DROPPED_NAMES = (
    "ref references gallery timeline imagemap score hiero graph mapframe maplink inputbox "
    "templatedata templatestyles categorytree style script indicator includeonly phonos "
    "charinsert rss dynamicpagelist quiz pages"
)
_DROPPED = frozenset(_DROPPED_NAMES.split())
# Their content is text in which nothing is markup.
_LITERAL_NAMES = "nowiki pre syntaxhighlight source math chem ce"
_LITERAL = frozenset(_LITERAL_NAMES.split())
_LITERAL_BLOCKS = frozenset(["pre", "syntaxhighlight", "source"])
_BLOCKS_NAMES = "p div blockquote center poem ol ul dl dt dd h1 h2 h3 h4 h5 h6 tr caption br hr"
_BLOCKS = frozenset(_BLOCKS_NAMES.split())
_INLINE_NAMES = (
    "abbr b bdi bdo big cite code data del dfn em font i ins kbd link mark meta rb rp rt rtc ruby "
    "s samp small span strike strong sub sup td th time tt u var wbr noinclude onlyinclude "
    "section translate tvar languages nobr"
)
_INLINE = frozenset(_INLINE_NAMES.split())
_TAG = re.compile(r"<(?:!--|(/?)([a-zA-Z][a-zA-Z0-9]*+)(?:[\s/][^<>]*+)?>)")
_NOWIKI = re.compile(r"</?nowiki\s*+/?>", re.IGNORECASE)
_RAISED = re.compile(r"([0-9+\u2212\u2013-]{1,8})</[sS][uU][pP]\s*+>")
_LOWERED = re.compile(r"([0-9+\u2212\u2013-]{1,8})</[sS][uU][bB]\s*+>")
_SUPERSCRIPT = str.maketrans("0123456789+-\u2212\u2013", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻⁻")
_SUBSCRIPT = str.maketrans("0123456789+-\u2212\u2013", "₀₁₂₃₄₅₆₇₈₉₊₋₋₋")


def without_tags(text: str, literal: list[str]) -> str:
    """``text`` without comments and tags; what each leaves is in ``wikitext_marks``.

    Text in which nothing is markup (``<nowiki>``, code, formulas) is put aside in ``literal``.
    References, galleries and their like go with their content. As in MediaWiki a comment without
    an end takes the rest, a comment alone on its line the line, and an extension tag without an
    end is only the tag. What only looks like a tag (``List<T>``) stays. Digits between ``<sup>``
    or ``<sub>`` become raised or lowered ones, so that ten to the sixth is not 106.
    """
    if "<" not in text:
        return text
    parts: list[str] = []
    unended: set[str] = set()
    position = 0
    while found := _TAG.search(text, position):
        start, end = found.span()
        slash, name = found.groups()
        if name is None:
            start, end = _comment(text, start, end, position)
            parts.append(text[position:start])
            position = end
            continue
        name = name.lower()
        parts.append(text[position:start])
        position = end
        if name in _DROPPED or name in _LITERAL:
            if slash or text[end - 2] == "/":
                parts.append(NOTHING)
            elif name not in unended:
                close = _end_of(name).search(text, end)
                if close is not None:
                    position = close.end()
                    parts.append(_content(name, text[end : close.start()], literal))
                elif name == "includeonly":
                    position = len(text)
                else:
                    unended.add(name)  # never looked for again: the rest is read once a name
                    parts.append(NOTHING)
            else:
                parts.append(NOTHING)
        elif name == "sup" or name == "sub":
            pattern, digits = (_RAISED, _SUPERSCRIPT) if name == "sup" else (_LOWERED, _SUBSCRIPT)
            content = None if slash else pattern.match(text, end)
            if content is not None:
                position = content.end()
                parts.append(content[1].translate(digits))
            else:
                parts.append(NOTHING)
        elif name in _INLINE:
            parts.append(NOTHING)
        elif name in _BLOCKS:
            parts.append(BREAK)
        elif name == "li":
            parts.append(BREAK if slash else f"{BREAK}* ")
        elif name == "q":
            parts.append('"')
        elif name == "table":
            parts.append(TABLE_END if slash else TABLE)
        else:
            parts.append(text[start:end])
    parts.append(text[position:])
    return "".join(parts)


def _comment(text: str, start: int, end: int, floor: int) -> tuple[int, int]:
    """Span that goes with the comment opened at ``start``, not before ``floor``."""
    close = text.find("-->", end)
    if close < 0:
        return start, len(text)
    after = close + 3
    before = start
    while before > floor and text[before - 1] in " \t":
        before -= 1
    if before and text[before - 1] != "\n":
        return start, after
    line = after
    while line < len(text) and text[line] in " \t":
        line += 1
    if line < len(text) and text[line] == "\n":
        return before, line + 1
    return start, after


def _content(name: str, content: str, literal: list[str]) -> str:
    """What stands for an element of MediaWiki's extensions."""
    if name in _DROPPED:
        return NOTHING
    if name == "pre":
        content = _NOWIKI.sub("", content)
    content = decoded(content)
    if name != "nowiki":
        content = content.strip("\n") if name in _LITERAL_BLOCKS else content.strip()
    if not content:
        return NOTHING
    place = place_of(literal, content)
    return f"{BREAK}{place}{BREAK}" if name in _LITERAL_BLOCKS else place


@cache
def _end_of(name: str) -> re.Pattern[str]:
    letters = "".join(f"[{letter}{letter.upper()}]" for letter in name)
    return re.compile(rf"</{letters}\s*+>")
