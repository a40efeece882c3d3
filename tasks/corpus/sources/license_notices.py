"""Copyright and licence notices in comments: which paragraphs are some, and what they declare."""

from __future__ import annotations

import re
from functools import lru_cache

from tasks.corpus.sources.license_texts import license_of_notice
from tasks.corpus.sources.licenses import permitted

# Sentences that only copyright and licence notices hold. The bare words do not count: a comment
# may speak of licence plates, or of a licence that the code reads.
LEGAL = re.compile(
    r"(?i:copyright)\s{0,9}(?:(?i:\(c\))|©|&copy;|[:,]?\s{0,9}(?:\d{4}|[A-Z<{\[]))"
    r"|(?:^|\s)(?:\([cC]\)|©)\s*\d{4}"
    r"|(?:^|[|,;.!]\s)(?:\([cC]\)|©)\s?[A-Z<][^|]{0,80}?\b(?i:contributors|authors|foundation|inc"
    r"|ltd|gmbh|corporation|licen[cs]e)\b"
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
GRANT = re.compile(
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
SPDX = re.compile(r"SPDX-License-Identifier:[ \t]*([^\n]+)")
LICENSE_FIELD = re.compile(
    r"[\s#*/;%!'\"|=-]*(?:(?:[:@\\]|__)?licen[cs]es?(?:_?_)?\s{0,9}[:=]{1,2}|[@\\]licen[cs]es?\b)\s{0,9}(.*)",
    re.IGNORECASE,
)
_OR = re.compile(r"\sor\s", re.IGNORECASE)
WORD = re.compile(r"\w")


def is_choice(name: str) -> bool:
    """Whether a field offers licences to choose from, one of them permitted."""
    return _OR.search(name) is not None and permitted(name)


@lru_cache(maxsize=64)  # the files of a project mostly open with the same words
def declared_licenses(notice: str, around: str, granting: str) -> tuple[str, ...]:
    """Licences that a notice declares, each once: its SPDX identifiers or a choice, else in words.

    A licence that is not permitted counts wherever the comment ``around`` the notice names it: its
    name often stands alone, and a file refused for nothing is cheaper than one taken against its
    licence. Conditions count only in ``granting``, the paragraphs that grant or refuse use.
    """
    expressions = [match.strip(" \t*/#-><%;").strip() for match in SPDX.findall(notice)]
    if not expressions:
        fields = [LICENSE_FIELD.match(line) for line in notice.split("\n")]
        values = [(field[1] or "").strip(" \t*/#-><%;.") for field in fields if field is not None]
        expressions = list(filter(is_choice, values))
    if not expressions:
        own, whole = (words_of(text.split("\n")) for text in (notice, around))
        expressions = [license_of_notice(own, whole, granting)]
    return tuple(dict.fromkeys(filter(None, expressions)))


def words_of(lines: list[str]) -> str:
    """One line of what the comment's lines say, without the signs they begin with.

    Words stand one space apart: some notices are justified with more.
    """
    return " ".join(word for line in lines for word in line.strip(" \t#/*;%!'-|").split())


def paragraphs_of(inner: list[str]) -> list[tuple[list[int], str]]:
    """Line numbers and words of every paragraph; a line without words parts two."""
    found = []
    numbers: list[int] = []
    for number in range(len(inner) + 1):
        if number < len(inner) and WORD.search(inner[number]):
            numbers.append(number)
        elif numbers:
            found.append((numbers, words_of([inner[n] for n in numbers])))
            numbers = []
    return found


def granting_of(inner: list[str], paragraphs: list[tuple[list[int], str]]) -> str:
    """The paragraphs that can add a condition; a full stop keeps each one's words to itself."""
    return ". ".join(
        flat
        for numbers, flat in paragraphs
        if GRANT.search(flat)
        or _CONDITION.match(flat)
        or any(_CONDITION.match(inner[n]) and _begins(inner, n, numbers[0]) for n in numbers)
    )


def _begins(inner: list[str], number: int, first: int) -> bool:
    """Whether a sentence begins with a line of the paragraph that opens on line ``first``."""
    before = words_of([inner[number - 1]]) if number > first else "."
    return before.endswith((".", ";", ":", "!")) or LEGAL.search(before) is not None
