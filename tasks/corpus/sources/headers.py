"""Licence headers of source files: what licence they declare, and the text without them."""

from __future__ import annotations

import re
from functools import lru_cache

from tasks.corpus.sources.comments import Comment, leading_comments
from tasks.corpus.sources.licenses import license_of_text

# Sentences that only copyright and licence notices hold. The bare words do not count: a comment
# may speak of licence plates, or of a licence that the code reads.
_LEGAL = re.compile(
    r"(?i:copyright)\s{0,9}(?:(?i:\(c\))|©|&copy;|[:,]?\s{0,9}(?:\d{4}|[A-Z<{\[]))"
    r"|(?:^|\s)(?:\([cC]\)|©)\s*\d{4}"
    r"|SPDX-(?:License-Identifier|FileCopyrightText)|licenses/LICENSE-2\.0"
    r"|(?i:^\W*licen[cs]e\s*[:=])"
    r"|(?i:^\W*(?:the )?(?:(?:new|simplified|modified) )?(?:mit|bsd|apache)(?: \S+){0,3}?"
    r" licen[cs]e(?: \(\S+\))?\W*$)"
    r"|[Ss]ee (?:\S+ ){0,4}?\W?(?:LICEN[CS]E|COPYING|Copyright\b|license (?:file|text|for))"
    r"|(?i:all rights reserved|licen[cs]ed (?:to|under|with|according)|contributor licen[cs]e agree"
    r"|under the (?:terms|conditions) (?:of|and)|permission (?:is hereby granted|to use, copy)"
    r"|redistributions? (?:and use|of source code|in binary form)|neither the names? of"
    r"|software is provided|without warrant(?:y|ies)|the above copyright notice"
    r"|copy of the (?:\w+ ){0,5}licen[cs]e|opensource\.org/licen[cs]es"
    r"|this \w+ is free software|subject to the (?:\w+ ){0,4}licen[cs]e"
    r"|(?:distributed|released|published|available|covered|governed) (?:under|by) (?:\S+ ){0,6}?"
    r"licen[cs]e)"
)
_SPDX = re.compile(r"SPDX-License-Identifier:[ \t]*([^\n]+)")
_WORD = re.compile(r"\w")
# What a Python module's docstring says about the module, not about what the module deals with.
_ITSELF = re.compile(
    r"spdx-license-identifier|redistribute it and/or\s+modify\s+it under"
    r"|\bthis (?:file|program|module|package|library|software|code|script|work) is "
    r"(?:free software|(?:licen[cs]ed|released|distributed|covered|published) (?:under|by))",
    re.IGNORECASE,
)
_DUNDER = re.compile(r"^__license__[^=\n]{0,20}=[ \t]*[\"']([^\"'\n]{1,200})[\"']", re.MULTILINE)
_PYTHON = frozenset(("py", "pyi", "pyx"))


def without_license_header(text: str, extension: str) -> tuple[str, str]:
    """``text`` without the copyright and licence notices at its top, and the licence they declare.

    Only whole paragraphs of the comments before the first line of code are taken, those that hold a
    notice's sentences; a comment of which nothing else is left goes with the empty lines behind it.
    The licence is "" when the notices name none; several are joined with AND.
    """
    lines = text.split("\n")
    comments = leading_comments(lines, extension)
    declared = []
    kept: list[str] = []
    at = 0
    for comment in comments:
        inner = _inner(lines, comment)
        legal = _legal_lines(inner)
        if not legal:
            continue
        declared.append("\n".join(inner))
        kept += lines[at : comment.first]
        rest = _rest(lines, comment, inner, legal)
        kept += rest
        at = comment.last
        while not rest and at < len(lines) and not lines[at].strip():
            at += 1
    body = "\n".join(kept + lines[at:]) if declared else text
    if extension in _PYTHON:
        declared += _docstring(lines, comments[-1].last if comments else 0)
        if "__license__" in text:
            declared += [f"License: {name}" for name in _DUNDER.findall(text)]
    names = dict.fromkeys(filter(None, map(declared_license, declared)))
    return body, " AND ".join(name if len(names) == 1 else f"({name})" for name in names)


@lru_cache(maxsize=64)  # the files of a project mostly open with the same words
def declared_license(notice: str) -> str:
    """Licence that a notice declares: by its SPDX identifiers, else by its wording; "" if none."""
    expressions = [match.strip(" \t*/#-><%;").strip() for match in _SPDX.findall(notice)]
    if expressions:
        compound = len(expressions) > 1
        return " AND ".join(f"({e})" if compound else e for e in expressions)
    return license_of_text(_flat(notice.split("\n")))


def _inner(lines: list[str], comment: Comment) -> list[str]:
    """The comment's lines without a block's opening and closing."""
    inner = lines[comment.first : comment.last]
    if comment.opening:
        inner[0] = inner[0].replace(comment.opening, "", 1)
        inner[-1] = inner[-1].rstrip().removesuffix(comment.closing)
    return inner


def _flat(lines: list[str]) -> str:
    """One line of what the comment's lines say, without the signs they begin with."""
    return " ".join(line.strip(" \t#/*;%!'-|") for line in lines)


def _legal_lines(inner: list[str]) -> set[int]:
    """Numbers of the lines of paragraphs that are notices; a line without words parts two."""
    legal: set[int] = set()
    paragraph: list[int] = []
    for number in range(len(inner) + 1):
        if number < len(inner) and _WORD.search(inner[number]):
            paragraph.append(number)
        elif paragraph:
            if _LEGAL.search(_flat([inner[n] for n in paragraph])):
                legal.update(paragraph)
            paragraph = []
    return legal


def _rest(lines: list[str], comment: Comment, inner: list[str], legal: set[int]) -> list[str]:
    """What stays of a comment's lines: nothing, when only lines without words are left."""
    if not any(n not in legal and _WORD.search(line) for n, line in enumerate(inner)):
        return []
    own = lines[comment.first : comment.last]
    # The separators behind a notice go with it, but for the line that closes a block.
    gone = set(legal)
    for number in range(len(own) - bool(comment.closing)):
        if number - 1 in gone and not _WORD.search(inner[number]):
            gone.add(number)
    rest = [line for number, line in enumerate(own) if number not in gone]
    if comment.opening and 0 in gone:
        rest.insert(0, own[0][: own[0].index(comment.opening)] + comment.opening)
    if comment.closing and len(own) - 1 in gone:
        rest.append(comment.closing)
    while not comment.closing and not _WORD.search(rest[-1]):
        rest.pop()
    return rest


def _docstring(lines: list[str], at: int) -> list[str]:
    """The docstring of a Python module, as a list of one, when it states the module's licence."""
    while at < len(lines) and not lines[at].strip():
        at += 1
    first = lines[at].lstrip("rRuU") if at < len(lines) else ""
    quotes = first[:3]
    if quotes not in ('"""', "'''"):
        return []
    last = at
    inside = [first[3:]]
    while quotes not in inside[-1] and last + 1 < len(lines):
        last += 1
        inside.append(lines[last])
    text = "\n".join(inside).partition(quotes)[0]
    return [text] if "licen" in text.lower() and _ITSELF.search(text) else []
