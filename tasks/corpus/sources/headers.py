"""Licence headers of source files: what licence they declare, and the text without them."""

from __future__ import annotations

import re

from tasks.corpus.sources.comments import PYTHON, Comment, is_kept, leading_comments
from tasks.corpus.sources.license_notices import (
    LEGAL,
    LICENSE_FIELD,
    WORD,
    declared_licenses,
    granting_of,
    paragraphs_of,
)
from tasks.corpus.sources.license_statements import named, stated_licenses
from tasks.corpus.sources.licenses import permitted

# What a Python module's docstring says about the module, not about what the module deals with.
_ITSELF = re.compile(
    r"spdx-license-identifier|redistribute it and/or\s+modify\s+it under"
    r"|\bthis (?:file|program|module|package|library|software|code|script|work) is "
    r"(?:free software|(?:licen[cs]ed|released|distributed|covered|published) (?:under|by))",
    re.IGNORECASE,
)
_DUNDER = re.compile(r"^__license__[^=\n]{0,20}=[ \t]*[\"']([^\"'\n]{1,200})[\"']", re.MULTILINE)
# Lines of a block that says who wrote a file and under which licence, line by line.
_FIELD = re.compile(
    r"\W*(?:authors?|maintainers?|contributors?|contact|e-?mail|date|created|modified|written by"
    r"|credits?|copyright|licen[cs]es?)\b\s{0,9}(?:[:=]|by\b|\(c\)|©|\d{4})",
    re.IGNORECASE,
)
# The next name under "Authors:", by its indent, its address or the comma before it.
_NEXT_NAME = re.compile(r"\W?\s{4}|.{0,200}<[^<>\s]{1,99}@")


def without_license_header(text: str, extension: str) -> tuple[str, str]:
    """``text`` without the copyright and licence notices at its top, and the licence they declare.

    Only whole paragraphs of the comments before the first line of code are taken, those that hold a
    notice's sentences; a comment of which nothing else is left goes with the empty lines behind it.
    The licence is "" when the notices name none; several are joined with AND.
    """
    lines = text.split("\n")
    comments = leading_comments(lines, extension)
    declared: list[str] = []
    kept: list[str] = []
    at = 0
    for comment in comments:
        inner = _inner(lines, comment)
        paragraphs = paragraphs_of(inner)
        legal = {n for ns, words in paragraphs if _is_notice(inner, ns, words) for n in ns}
        if not legal:
            continue
        notice = "\n".join(inner[n] for n in sorted(legal))
        declared += declared_licenses(notice, "\n".join(inner), granting_of(inner, paragraphs))
        kept += lines[at : comment.first]
        rest = _rest(lines, comment, inner, legal)
        kept += rest
        at = comment.last
        while not rest and at < len(lines) and not lines[at].strip():
            at += 1
    body = "\n".join(kept + lines[at:]) if at else text
    own: list[str] = []
    if extension in PYTHON:
        declared += _of_docstring(lines, comments[-1].last if comments else 0)
        if "__license__" in text:
            for value in _DUNDER.findall(text):
                name = named(value)
                (own if permitted(name) else declared).append(name)
    if all(map(permitted, declared)):
        # What is refused already needs no further search.
        stated = stated_licenses(lines, extension)
        declared += stated.refused
        own += stated.permitted
    # A name alone says less than a licence's text or an identifier: it counts where they miss.
    return body, _all_of(list(filter(None, declared)) or own)


def _all_of(names: list[str]) -> str:
    each = dict.fromkeys(names)
    return " AND ".join(name if len(each) == 1 else f"({name})" for name in each)


def _is_notice(inner: list[str], numbers: list[int], words: str) -> bool:
    """Whether a paragraph is a notice: by its sentences, or as a block that names a licence."""
    if LEGAL.search(words):
        return True
    rows = [inner[number] for number in numbers]
    return any(map(LICENSE_FIELD.match, rows)) and all(
        _FIELD.match(row) or (at and _NEXT_NAME.match(row)) for at, row in enumerate(rows)
    )


def _inner(lines: list[str], comment: Comment) -> list[str]:
    """The comment's lines without a block's opening and closing."""
    inner = lines[comment.first : comment.last]
    if comment.opening:
        inner[0] = inner[0].replace(comment.opening, "", 1)
        inner[-1] = inner[-1].rstrip().removesuffix(comment.closing)
    return inner


def _rest(lines: list[str], comment: Comment, inner: list[str], legal: set[int]) -> list[str]:
    """What stays of a comment's lines: nothing, when only lines without words are left."""
    if not any(n not in legal and WORD.search(line) for n, line in enumerate(inner)):
        return []
    own = lines[comment.first : comment.last]
    # The separators behind a notice go with it, but for the line that closes a block.
    gone = set(legal)
    for number in range(len(own) - bool(comment.closing)):
        if number - 1 in gone and not WORD.search(inner[number]):
            gone.add(number)
    rest = [line for number, line in enumerate(own) if number not in gone]
    if comment.opening and 0 in gone:
        rest.insert(0, own[0][: own[0].index(comment.opening)] + comment.opening)
    if comment.closing and len(own) - 1 in gone:
        rest.append(comment.closing)
    while not comment.closing and not WORD.search(rest[-1]):
        rest.pop()
    return rest


def _of_docstring(lines: list[str], at: int) -> tuple[str, ...]:
    """Licences that the docstring of a Python module declares for the module itself."""
    while at < len(lines) and (not lines[at].strip() or is_kept(lines[at], "py")):
        at += 1
    first = lines[at].lstrip("rRuU") if at < len(lines) else ""
    quotes = first[:3]
    if quotes not in ('"""', "'''"):
        return ()
    last = at
    inside = [first[3:]]
    while quotes not in inside[-1] and last + 1 < len(lines):
        last += 1
        inside.append(lines[last])
    text = "\n".join(inside).partition(quotes)[0]
    if "licen" not in text.lower() or not _ITSELF.search(text):
        return ()
    own = text.split("\n")
    paragraphs = paragraphs_of(own)
    stated = [ns for ns, words in paragraphs if _ITSELF.search(words) or LEGAL.search(words)]
    notice = "\n".join(own[number] for numbers in stated for number in numbers)
    return declared_licenses(notice, text, granting_of(own, paragraphs))
