"""Licence headers of source files: what licence they declare, and the text without them."""

from __future__ import annotations

import re
from functools import lru_cache

from tasks.corpus.sources.comments import Comment, leading_comments
from tasks.corpus.sources.license_texts import license_of_notice

# Sentences that only copyright and licence notices hold. The bare words do not count: a comment
# may speak of licence plates, or of a licence that the code reads.
_LEGAL = re.compile(
    r"(?i:copyright)\s{0,9}(?:(?i:\(c\))|©|&copy;|[:,]?\s{0,9}(?:\d{4}|[A-Z<{\[]))"
    r"|(?:^|\s)(?:\([cC]\)|©)\s*\d{4}"
    r"|SPDX-(?:License-Identifier|FileCopyrightText)|licenses/LICENSE-2\.0"
    r"|(?i:^\W*licen[cs]e\s*[:=])"
    r"|(?i:^\W*(?:the )?(?:(?:new|simplified|modified) )?(?:mit|bsd|apache|gnu|mozilla|eclipse"
    r"|boost|isc|zlib|artistic|elastic|common development|european union|server side"
    r"|business source|sil open|python software)(?: \S+){0,3}? licen[cs]e"
    r"(?:\W{1,3}(?:version |v\W?)?\d[\d.]{0,5})?(?: \(\S+\))?\W*$)"
    r"|(?i:^\W*(?:mpl\W?v?\d\.\d\W*$|creative commons attribution)|creativecommons\.org/)"
    r"|(?i:^\W*(?:gnu )?[al]?gpl[- ]?v?\d(?:\.\d)?(?:[- ](?:only|or[- ]later)|\+)?\W*$)"
    r"|\bCC0\b|\bCC[- ]BY\b"
    r"|(?i:\b(?:placed|released|dedicated|put|donated) (?:\S+ ){0,3}?(?:in|into|to) the public"
    r" domain|\b(?:file|code|software|program|module|script) is (?:in |in the )?public domain)"
    r"|[Ss]ee (?:\S+ ){0,4}?\W?(?:LICEN[CS]E|COPYING|Copyright\b|license (?:file|text|for))"
    r"|(?i:all rights reserved|licen[cs]ed (?:to|under|with|according)|contributor licen[cs]e agree"
    r"|under the (?:terms|conditions) (?:of|and)|permission (?:is hereby granted|to use, copy)"
    r"|redistributions? (?:and use|of source code|in binary form)|neither the names? of"
    r"|software is provided|without warrant(?:y|ies)|the above copyright notice"
    r"|copy of the (?:\w+ ){0,5}licen[cs]e|opensource\.org/licen[cs]es"
    r"|this \w+ is free software|subject to the (?:\w+ ){0,6}licen[cs]e"
    r"|may not be used to endorse|altered source versions must be|this licen[cs]e agreement"
    r"|free and unencumbered software"
    r"|(?:distributed|released|published|available|covered|governed) (?:under|by) (?:\S+ ){0,6}?"
    r"(?:licen[cs]e|[al]?gpl))"
)
# Words by which a paragraph grants or refuses use. What a file deals with is told in the same
# comment, at times in the same paragraph: only a paragraph that has such words can add a condition.
_GRANT = re.compile(
    r"licen[cs]e|permi(?:t|ssion)|\bgrant|prohibit|forbid|proprietary|confidential|trade secret"
    r"|unpublished|commercial (?:use|usage|purpose|exploit|gain)|\bfree (?:for|to)\b"
    r"|\b(?:use|purposes?) only\b|\bnot for\b|\bdo not use\b|\buse (?:is|of)\b"
    r"|\bthis (?:software|program|code|work|library|package|project|model)\b[^.]{0,40} only\b"
    r"|\b(?:may|must|shall|can ?not|can only)\b(?: not| only)?(?: be)?"
    r" (?:us|cop|modif|distribut|redistribut|sell|sold)"
    r"|\b(?:users?|you|licensees?|recipients?) (?:may|must|shall|can|are) ?not\b"
    r"|\bfree of charge\b|\bno (?:\w+ ){0,2}(?:use|usage)\b|\b(?:is|are) subject to\b"
    r"|\b(?:terms|conditions|restrictions|limitations)(?: may| also)? apply\b"
    r"|commons clause|hippocratic|996\.icu|anti-?996|good, not evil|acceptable use policy",
    re.IGNORECASE,
)
# Sentences that are a condition by themselves, where a paragraph opens with them or a line does
# that does not go on with a sentence.
_CONDITION = re.compile(
    r"\W*(?:subject to\b|only for\b|(?:for |only |strictly |purely |solely )*non-? ?commercial"
    r"(?:\W+(?:use|usage|purposes?|projects?|software|only|and|or|academic|educational|research"
    r"|personal|private))*\W*$)",
    re.IGNORECASE,
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
    declared: list[str] = []
    kept: list[str] = []
    at = 0
    for comment in comments:
        inner = _inner(lines, comment)
        paragraphs = _paragraphs(inner)
        legal = {n for numbers, flat in paragraphs if _LEGAL.search(flat) for n in numbers}
        if not legal:
            continue
        notice = "\n".join(inner[n] for n in sorted(legal))
        declared += declared_licenses(notice, "\n".join(inner), _granting(inner, paragraphs))
        kept += lines[at : comment.first]
        rest = _rest(lines, comment, inner, legal)
        kept += rest
        at = comment.last
        while not rest and at < len(lines) and not lines[at].strip():
            at += 1
    body = "\n".join(kept + lines[at:]) if at else text
    if extension in _PYTHON:
        declared += _of_docstring(lines, comments[-1].last if comments else 0)
        if "__license__" in text:
            for name in _DUNDER.findall(text):
                declared += declared_licenses(f"License: {name}", f"License: {name}", name)
    names = dict.fromkeys(declared)
    return body, " AND ".join(name if len(names) == 1 else f"({name})" for name in names)


@lru_cache(maxsize=64)  # the files of a project mostly open with the same words
def declared_licenses(notice: str, around: str, granting: str) -> tuple[str, ...]:
    """Licences that a notice declares, each once: its SPDX identifiers, else what it says in words.

    A licence that is not permitted counts wherever the comment ``around`` the notice names it: its
    name often stands alone, and a file refused for nothing is cheaper than one taken against its
    licence. Conditions count only in ``granting``, the paragraphs that grant or refuse use.
    """
    expressions = [match.strip(" \t*/#-><%;").strip() for match in _SPDX.findall(notice)]
    if not expressions:
        own, whole = (_flat(text.split("\n")) for text in (notice, around))
        expressions = [license_of_notice(own, whole, granting)]
    return tuple(dict.fromkeys(filter(None, expressions)))


def _inner(lines: list[str], comment: Comment) -> list[str]:
    """The comment's lines without a block's opening and closing."""
    inner = lines[comment.first : comment.last]
    if comment.opening:
        inner[0] = inner[0].replace(comment.opening, "", 1)
        inner[-1] = inner[-1].rstrip().removesuffix(comment.closing)
    return inner


def _flat(lines: list[str]) -> str:
    """One line of what the comment's lines say, without the signs they begin with.

    Words stand one space apart: some notices are justified with more.
    """
    return " ".join(word for line in lines for word in line.strip(" \t#/*;%!'-|").split())


def _paragraphs(inner: list[str]) -> list[tuple[list[int], str]]:
    """Line numbers and words of every paragraph; a line without words parts two."""
    found = []
    numbers: list[int] = []
    for number in range(len(inner) + 1):
        if number < len(inner) and _WORD.search(inner[number]):
            numbers.append(number)
        elif numbers:
            found.append((numbers, _flat([inner[n] for n in numbers])))
            numbers = []
    return found


def _granting(inner: list[str], paragraphs: list[tuple[list[int], str]]) -> str:
    """The paragraphs that can add a condition; a full stop keeps each one's words to itself."""
    return ". ".join(
        flat
        for numbers, flat in paragraphs
        if _GRANT.search(flat)
        or _CONDITION.match(flat)
        or any(_CONDITION.match(inner[n]) and _begins(inner, n, numbers[0]) for n in numbers)
    )


def _begins(inner: list[str], number: int, first: int) -> bool:
    """Whether a sentence begins with a line of the paragraph that opens on line ``first``."""
    before = _flat([inner[number - 1]]) if number > first else "."
    return before.endswith((".", ";", ":", "!")) or _LEGAL.search(before) is not None


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


def _of_docstring(lines: list[str], at: int) -> tuple[str, ...]:
    """Licences that the docstring of a Python module declares for the module itself."""
    while at < len(lines) and not lines[at].strip():
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
    paragraphs = _paragraphs(own)
    stated = [ns for ns, flat in paragraphs if _ITSELF.search(flat) or _LEGAL.search(flat)]
    notice = "\n".join(own[number] for numbers in stated for number in numbers)
    return declared_licenses(notice, text, _granting(own, paragraphs))
