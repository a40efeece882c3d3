"""What the comments and docstrings near the top of a source file say of its licence.

Wider than what is taken away as a header: behind the first lines of code, in docstrings, line by
line. Only what a file says of itself counts, not what it deals with: a field ("License: ..."), a
notice of copyright, a sentence that opens with the grant or whose subject is the file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from tasks.corpus.sources.comments import comments_near_top
from tasks.corpus.sources.license_notices import (
    LEGAL,
    LICENSE_FIELD,
    SPDX,
    granting_of,
    is_choice,
    paragraphs_of,
    words_of,
)
from tasks.corpus.sources.license_texts import COMPATIBLE, RESTRICTED, others, riders
from tasks.corpus.sources.licenses import known_name, permitted

# A notice of a licence that is none of those known; the funnel calls it "not recognised".
NOT_RECOGNISED = "LicenseRef-not-recognised"
_PROPRIETARY = f"{RESTRICTED}proprietary"
# A comment without any of these says nothing of a licence.
_MAY_SAY = re.compile(
    r"licen[cs]|gpl|copyright|\(c\)|©|creative|\bcc[- ]?by|cc0|public domain|proprietary"
    r"|confidential|free software|permission|reserved|unauthori[sz]ed|distribut|may not|copied"
    r"|disclose|mozilla|beer-?ware|affero",
    re.IGNORECASE,
)
_COPYRIGHT = re.compile(
    r"copyright\s{0,9}(?:\(c\)|©|&copy;|[:,]?\s{0,9}(?:\d{4}|by\b))|(?:^|\s)(?:\(c\)|©)\s*\d{4}"
    r"|^\W*\(c\)\s.{0,60}?\b(?:19|20)\d\d\b|all rights reserved",
    re.IGNORECASE,
)
_HOLDER = re.compile(r"[Cc]opyright:?\s{1,9}(?:by\s)?[A-Z<{\[]")
_AUTHOR = re.compile(r"^[^\w\n]*(?:authors?|maintainers?)\b\s{0,9}:", re.I | re.M)
_SENTENCE = re.compile(r"(?<=[.;!])\s")
_GRANTED = re.compile(
    r"\b(?:licen[cs]ed|released|distributed|redistributed|redistribute it|modify it|published"
    r"|available|covered|governed|provided|shared|is|free software)\s(?:\w+\s){0,3}?"
    r"(?:under|by|with|according to|subject to)\s",
)
_OPENS = re.compile(r"\W*(?:(?:dual|(?:source )?code|is|are|files?|and|or|all)\W+)*$")
_SUBJECT = re.compile(
    r"\b(?:this|these|its?|which|all|above|your?) |\b(?:source )?(?:code|software)(?: is)? $"
)
# A denial, and that the two go together.
_BESIDES = re.compile(rf"{COMPATIBLE}|\b(?:not|no longer) (?:\S+ ){{0,4}}?[al]?gpl\S*")
_GPL = re.compile(r"\b([al])?gpl(?:[- ]?v?\d[\d.]*)?\b")
_GPL_IS = re.compile(
    r"\b(?:is|are)\s(?:\w+\s){0,2}?([al])?gpl(?:[- ]?v?\d[\d.]*\+?)?[- ]licen[cs]ed\b"
    r"|\b(?:file|code|program|software|module|script|package|library) is (?:the )?(?:gnu )?"
    r"([al])?gpl(?:[- ]?v?\d[\d.]*)?\W*$"
)
_ALONE = re.compile(
    r"\W*(?:under )?(?:the )?(?:gnu )?([al])?gpl(?:[- ,]{0,2}v?(?:ersion)? ?\d[\d.]*)?"
    r"(?:[- ](?:only|or[- ]later)|\+)?\W*$"
)
_NAMED = (
    ("AGPL", re.compile(r"\bgnu affero\b")),
    ("CC", re.compile(r"\bcc[- ]by(?:[- ](?:nc|nd|sa))*\b|\bcreative commons\b")),
    ("WTFPL", re.compile(r"\bwtfpl\b|\bdo what the fuck you want to\b")),
    ("Beerware", re.compile(r"\bbeer-?ware\b")),
)
_PERMISSIVE = re.compile(
    r"\bapache\b|\basl ?2|\bbsd\b|\bbsd-?\d|\bmit\b|\bexpat\b|\bx11\b"
    r"|\bjquery\.(?:org|com)/license"
    # The texts of MIT and BSD, and clauses of them in a comment of their own.
    r"|permission is hereby granted, free of charge|the above copyright notice and this permission"
    r"|redistribution and use in source and binary|redistributions? (?:of source|in \w+ form)"
    r"|neither the names? of",
    re.IGNORECASE,
)
_FAMILIES = (
    ("Apache-2.0", re.compile(r"\bapache\W[^,;]{0,30}?\b2\b|\basl ?2")),
    ("Apache", re.compile(r"\bapache\b")),
    ("BSD", re.compile(r"\bbsd\b|\bbsd-?\d")),
    ("MIT", re.compile(r"\bmit\b|\bexpat\b")),
)
# Words that a notice of a licence has, beyond one of copyright.
_TALK = re.compile(r"licen[cs]|\bpermission\b|\bredistribut|\bfree software\b|\bterms of\b", re.I)
# It is told elsewhere in the project, and the project's licence is known.
_REFERENCE = re.compile(
    r"\b(?:LICEN[CS]ES?|COPYING|COPYRIGHT|NOTICE|README|AUTHORS)\b"
    r"|(?i:\b(?:licen[cs]e|copying|copyright|notice|readme)s?\.(?:txt|md|rst|html)\b"
    r"|\bsee (?:\S+ ){0,6}?\W?(?:licen[cs]e|copying|copyright)"
    r"|\blicen[cs]es?(?: (?:terms|text|information|details?|agreement))? (?:files?\b|is found|found"
    r"|that can be found|which can be found|accompan|in the (?:root|top|base|source|project)|below"
    r"|above|at the (?:end|top|bottom)|distributed with|included|contained)"
    r"|\bsame (?:\S+ ){0,2}?(?:licen[cs]e|terms)(?: \S+){0,2}? (?:as|of) (?!(?:the )?"
    r"(?:perl|python|ruby|php|tcl|java|linux|kernel|qt|gcc|emacs|vim|r)\b)"
    r"|\bcontributor(?:s|'s)? (?:licen[cs]e )?agreement|\b(?:accompanying|top-level|project'?s?)"
    r" licen[cs]e|\bdual[- ]licen[cs]ed?\b)"
)
_TEMPLATE = re.compile(r"[{$]|<%|%\(")
_CODE = re.compile(r"\w\(|[\[\]={}]|^(?:str|string|none|null|true|false)\b", re.IGNORECASE)
_OPENS_WITH_NAME = re.compile(
    r"\W*(?:(?:the|new|modified|simplified) )?(?:gnu|[al]?gpl|mit|bsd|apache|cc0?\b|creative"
    r"|mozilla|mpl|eclipse|epl|affero|expat|public domain|proprietary|[23]-clause)",
    re.IGNORECASE,
)
_TAIL = re.compile(r"[\s,;.(]{0,3}\b(?:see|cf|refer to)\b.*", re.I | re.S)
_OWNED = re.compile(
    r"\b(?:this|these|all(?: of this)?|the (?:following|enclosed|present)) (?:\w+ ){0,3}?"
    r"(?:files?|code|software|program|source|document|module|scripts?|work|materials?|information"
    r"|package|library) (?:is|are|contains?|constitutes?|includes?|may contain) (?:\S+ ){0,2}?"
    r"(?:proprietary\b(?! (?:format|protocol|extension|api|binary|driver|field|header|tag))"
    r"|confidential\b)"
    r"|\b(?:proprietary and confidential|confidential and proprietary)\b"
    r"|\b(?:company|strictly|highly|corporation|inc\.?|ltd\.?|gmbh) (?:proprietary|confidential)\b"
    r"|\bproprietary (?:and confidential )?(?:information|property|software|code|source code"
    r"|material) (?:of|to|and may not|belonging)\b"
    r"|\bunauthori[sz]ed (?:\w+ ){0,2}?(?:copy|copying|reproduction|duplication|distribution"
    r"|redistribution|disclosure|dissemination)\b"
    r"|\bthis (?:\w+ ){0,2}?(?:files?|code|software|program|source|document|module|script|work"
    r"|material)\b[^.]{0,60}? (?:may|must|can|shall) ?not be (?:copied|reproduced|redistributed"
    r"|distributed|disclosed"
    r"|used(?= (?:without|in whole|for any|by any|commercial)))"
    r"(?![^.]{0,120}\b(?:except|unless you|without retain|if you|to endorse|in advertising)\b)"
    r"|(?:^|[.!;] )do not (?:copy or )?(?:re)?distribute\b(?: (?:this|it)\b[^.]{0,40})?(?:[.!;]|$)"
)
# Words that alone are too common; with a copyright they refuse use.
_SECRET = re.compile(
    r"(?:^|[.,;|] |\s-\s)(?:\w+ )?(?:proprietary|confidential)\s*(?:$|[.,;|])|trade secret"
)


@dataclass(frozen=True)
class Statements:
    """refused: licences and conditions that permit nothing. permitted: names that do, in order."""

    refused: tuple[str, ...] = ()
    permitted: tuple[str, ...] = ()


def stated_licenses(lines: list[str], extension: str) -> Statements:
    """All that the comments and docstrings near a file's top state, each name once."""
    found = [
        _of_comment("\n".join(inner), docstring)
        for inner, docstring in comments_near_top(lines, extension)
    ]
    return Statements(
        tuple(dict.fromkeys(name for each in found for name in each.refused)),
        tuple(dict.fromkeys(name for each in found for name in each.permitted)),
    )


def named(value: str) -> str:
    """Licence that a field's value names: an expression, a family, `NOT_RECOGNISED`.

    "" when the value names none but says where the licence is told, or is no text.
    """
    whole = value[:200].strip(" \t*/#-><%;\"'`.,|")
    value = _TAIL.sub("", whole)
    if not re.search(r"[A-Za-z]{2}", value) or _TEMPLATE.search(value):
        return ""
    name = known_name(value)
    if permitted(name):
        return name
    lower = value.lower()
    families = [family for family, pattern in _FAMILIES if pattern.search(lower)][:1]
    foreign = _foreign(lower)
    if foreign or families:
        return " AND ".join(families + foreign)
    told = _REFERENCE.search(whole) or _PERMISSIVE.search(value) or _CODE.search(value)
    return "" if told else NOT_RECOGNISED


@lru_cache(maxsize=256)  # the files of a project mostly open with the same words
def _of_comment(comment: str, docstring: bool) -> Statements:
    if not _MAY_SAY.search(comment):
        return Statements()
    inner = comment.split("\n")
    expressions = [match.strip(" \t*/#-><%;").strip() for match in SPDX.findall(comment)]
    if expressions and not docstring:
        names = list(filter(None, expressions))
        return Statements(tuple(n for n in names if not permitted(n)), tuple(names))
    paragraphs = paragraphs_of(inner)
    notices = [words for _, words in paragraphs if _is_copyright(words)]
    about = bool(notices) or _AUTHOR.search(comment) is not None
    fields = _fields(inner, sure=about or not docstring)
    refused = [name for name in fields if name and not permitted(name)]
    if any(map(is_choice, fields)):
        # The comment's words name all its sides.
        return Statements(tuple(refused), tuple(filter(permitted, fields)))
    for numbers, words in paragraphs:
        lower = words.lower()
        if _OWNED.search(lower) or (notices and _SECRET.search(lower)):
            refused.append(_PROPRIETARY)
        if words in notices:
            refused += _foreign(lower)
        else:
            refused += _granted(lower)
            rows = [words_of([inner[number]]) for number in numbers]
            for row, following in zip(rows, [*rows[1:], ""], strict=True):
                if row[:1].isupper() and _GRANTED.match(row.lower()):
                    refused += _granted(f"{row} {following}".lower())
        if about:
            refused += _alone([words, *(words_of([inner[n]]) for n in numbers)])
    if notices and not refused:
        granting = ". ".join(notices) if docstring else granting_of(inner, paragraphs)
        refused += riders(granting.lower())
    if not refused and not fields and _is_unknown(paragraphs, docstring):
        refused.append(NOT_RECOGNISED)
    return Statements(
        tuple(dict.fromkeys(refused)), tuple(name for name in fields if permitted(name))
    )


def _is_copyright(words: str) -> bool:
    return _COPYRIGHT.search(words) is not None or _HOLDER.search(words) is not None


def _fields(inner: list[str], sure: bool) -> list[str]:
    """What the fields name; one that is empty may have its value, or a text, on the next line.

    Args:
        sure: they are the file's; else they may be arguments of a function, described in words.
    """
    found = []
    for number, line in enumerate(inner):
        field = LICENSE_FIELD.match(line)
        if field is None:
            continue
        value = field[1] or ""
        if not sure and not _OPENS_WITH_NAME.match(value):
            continue
        name = named(value)
        if not words_of([value]) and number + 1 < len(inner):
            name = named(words_of([inner[number + 1]]))
            name = "" if name == NOT_RECOGNISED else name
        found.append(name)
    return found


def _foreign(lower: str) -> list[str]:
    """Licences that are not permitted, named in words in lower case that speak of a licence."""
    lower = _BESIDES.sub(" ", lower)
    found = others(lower)
    gpl = _GPL.search(lower)
    if gpl is not None and not any(name.endswith("GPL") for name in found):
        found.append(f"{gpl[1] or ''}gpl".upper())
    found += [name for name, pattern in _NAMED if pattern.search(lower)]
    if "CC0" in found and "CC" in found:
        found.remove("CC")
    return list(dict.fromkeys(found))


def _granted(lower: str) -> list[str]:
    """Licences not permitted that a paragraph's sentences put the file under."""
    found = []
    if "licen" in lower or "gpl" in lower or "cc" in lower or "creative" in lower:
        for sentence in _SENTENCE.split(lower):
            grant = _GRANTED.search(sentence)
            if grant is None:
                is_gpl = _GPL_IS.search(_BESIDES.sub(" ", sentence))
                if is_gpl is not None and _SUBJECT.search(sentence) is not None:
                    found.append(f"{is_gpl[1] or is_gpl[2] or ''}gpl".upper())
            elif _is_of_the_file(sentence[: grant.start()]):
                found += _foreign(sentence[grant.start() : grant.start() + 300])
    return found


def _is_of_the_file(before: str) -> bool:
    """Whether a grant, by the words before it in its sentence, is one of the file at hand."""
    return _OPENS.match(before) is not None or _SUBJECT.search(before) is not None


def _alone(rows: list[str]) -> list[str]:
    """Licences of the GPL's family that are all a line says, or all that a sentence of it does."""
    found = []
    for row in rows:
        for sentence in _SENTENCE.split(row.lower()):
            alone = _ALONE.match(sentence)
            if alone is not None:
                found.append(f"{alone[1] or ''}gpl".upper())
    return found


def _is_unknown(paragraphs: list[tuple[list[int], str]], docstring: bool) -> bool:
    """Whether a comment grants a licence that it names by no known name."""
    whole = " ".join(words for _, words in paragraphs)
    if _PERMISSIVE.search(whole) or _REFERENCE.search(whole):
        return False
    return any(
        _TALK.search(words) is not None
        and (_is_copyright(words) if docstring else LEGAL.search(words) is not None)
        for _, words in paragraphs
    )
