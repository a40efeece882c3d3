"""Headers that no marker ends: Project Gutenberg's of 1991 to 1993, and those of its sisters.

Sisters are Project Gutenberg of Australia, Project Gutenberg Canada, and Faded Page (Distributed
Proofreaders Canada); what they give out is free there, not everywhere. Such a header is known by
its paragraphs, from the first of a file on; a few short ones between them are its title page.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tasks.corpus.sources.gutenberg_notes import GAP, NOTHING

# The first lines of the nineties.
_OLD_TITLE = re.compile(
    r"\W{0,10}(?:This is )?(?:The )?Project Gutenberg(?:['’]s)? (?:E-?(?:text|book)|Edition)\b"
    r"(?: (?:of|#)[ \t]*(?P<title>[^\n]{1,200}))?",
    re.IGNORECASE,
)
_OLD = re.compile(
    r"\*{1,6}[ \t]*(?:(?:The|These|In|Welcome|E-?texts)\b[^\n]{0,200}?(?:\bE-?(?:text|book)s?\b"
    r"|Electronic Texts|Project Gutenberg)|This [^\n]{0,40}?(?:E-?text|E-?book|file|edition)"
    r" (?:is|should) be)"
    r"|Please take a look at the important information|We encourage you to keep this file"
    r"|Information (?:on contacting|about|prepared by the) Project Gutenberg"
    r"|Corrected EDITIONS of our|VERSIONS based on separate sources"
    r"|We are now trying to release all our books|Please note: neither this list"
    r"|We produce about \w+ million dollars|The Goal of Project Gutenberg"
    r"|We need your donations|All donations should be made to|For these and other matters, please"
    r"|When all other e-?mail fails|We would prefer to send you this information"
    r"|If you have an FTP program|Mac users, do NOT|ftp \S{4,60}\s+login:"
    r"|[^\n]{0,80}\[E-?(?:text|book) ?#? ?\d{1,6}\]",
    re.IGNORECASE,
)
_AUSTRALIA = r"Project Gutenberg (?:of )?Australia"
_CANADA = r"(?:Project Gutenberg|Distributed Proofreaders) (?:of )?Canada"
_MARK = re.compile(
    rf"^[ \t]*(?P<star>\*)?[ \t]*(?:A (?:(?P<australia>{_AUSTRALIA})|{_CANADA}) e-?book"
    r"|(?:Un )?Livre électronique d[eu] Proje[ct]t? Gutenberg Canada)[ \t]*(?(star)\*)[ \t]*$",
    re.MULTILINE | re.IGNORECASE,
)
# What such a header says besides of the terms; a text that only bears the mark is left alone.
_TERMS = re.compile(
    r"made available at\s+no\s+cost|created from printed editions|gutenberg\.net\.au|gutenberg\.ca"
    r"|Canadian public domain|public domain in Canada|rendu accessible gratuitement",
    re.IGNORECASE,
)
_SISTERS = re.compile(
    r"[*_ \t]{0,4}(?:(?:Title|Titre|Sous-titre|E-?book No\.?"
    r"|Character set encoding|Dates? (?:first|most recently|last|of first)[^:\n]{0,60}"
    r"|Place and date of first publication"
    r"|Lieu et date [^:\n]{0,70}):"
    r"|This (?:e-?book|work|file|book) (?:was (?:produced|created|prepared) (?:by|from)"
    r"|is made available|is in the)\b"
    r"|Copyright laws are changing|Production notes?:|To contact Project|Thousands more FREE"
    r"|Le présent livre électronique|Ce livre électronique a été|Cette (?:œ|oe)uvre (?:appartient"
    r"|est dans le domaine))"
    rf"|.{{0,600}}?(?:{_AUSTRALIA}|{_CANADA}|Faded ?Page|gutenberg\.(?:net\.au|ca)\b|pgdpcanada)",
    re.IGNORECASE | re.DOTALL,
)
_FIELD = re.compile(
    r"^[ \t]*_?(Title|Titre|Author|Auteur|Language|Langue):_?[ \t]*(.+)$",
    re.MULTILINE | re.IGNORECASE,
)
_ENGLISH = {"titre": "Title", "auteur": "Author", "langue": "Language"}
# "[The end of _A Voyage_ by Some One]", the last line of Canada's books.
_CLOSING = re.compile(
    r"\[(?:The )?(?:End of|Fin d(?:e\b|u\b|es\b|['’]))[^\[\]]{1,400}\]\s*\Z", re.IGNORECASE
)
_CLOSING_LONGEST = 500
_WIDE_GAP = re.compile(r"\n(?:[ \t]*\n){3}\s*")
# Longest header and its longest paragraph, in characters.
_HEAD = 20_000
_PARAGRAPH = 2_500
# What may stand between two paragraphs of a header: its title page.
_STRAYS = 4
_STRAY = 200


@dataclass(frozen=True)
class Head:
    """A header that ends at ``end``. country: where the book is free, "US", "AU" or "CA"."""

    end: int
    fields: dict[str, str]
    country: str


def sister_head(text: str) -> Head | None:
    """The header of a sister of Project Gutenberg, if ``text`` begins with one."""
    end = _walked(text, _SISTERS)
    mark, terms = _MARK.search(text, 0, end), _TERMS.search(text, 0, end)
    if mark is None or terms is None:
        return None
    # What has both is over where white space says so; a title page may come behind.
    wide = _WIDE_GAP.search(text, max(mark.end(), terms.end()), end)
    end = wide.end() if wide is not None else end
    fields: dict[str, str] = {"Title": ""}
    for name, value in reversed(_FIELD.findall(text[:end])):  # the first of a name counts
        fields[_ENGLISH.get(name.lower(), name.capitalize())] = value.strip(" \t_")
    return Head(end, fields, "AU" if mark["australia"] else "CA")


def sister_end(text: str) -> int:
    """Where the line that closes a sister's book begins; the length of ``text`` without one."""
    closing = _CLOSING.search(text, max(0, len(text) - _CLOSING_LONGEST))
    return closing.start() if closing is not None else len(text)


def old_head(text: str) -> Head | None:
    """The header of the nineties of a file that has no small print in front, if it has one."""
    title = _OLD_TITLE.match(text)
    if title is None:
        return None
    fields = {"Title": (title["title"] or "").strip(" \t*")}
    return Head(_walked(text, _OLD), fields, "US")


def _walked(text: str, header: re.Pattern[str]) -> int:
    """Behind the last paragraph of the header; 0 when the first few are none of it."""
    at = end = strays = 0
    while strays <= _STRAYS:
        gap = GAP.search(text, at, _HEAD)
        if gap is None:
            break
        paragraph = text[at : gap.start()].strip()
        if len(paragraph) <= _PARAGRAPH and header.match(paragraph):
            end, strays = gap.end(), 0
        elif len(paragraph) <= _STRAY:
            # A rule alone is no title.
            strays += 0 if NOTHING.fullmatch(paragraph) else 1
        else:
            break
        at = gap.end()
    return end
