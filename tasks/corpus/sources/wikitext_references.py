"""Which web pages an article cites."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tasks.corpus.sources.wikitext_marks import decoded

MAX_REFERENCES = 1000
MAX_URL = 2000
# An address counts where it is a source: between <ref> and </ref>, in brackets, or the value of a
# template's parameter for addresses. An official site in an infobox (`website =`) is none.
_PARAMETERS = (
    r"(?:archive-?|chapter-?|contribution-?|conference-?|transcript-?|lay-?|map-?|section-?)?url"
    r"|(?:url|dirección|адрес|lien|адреса|enllaç|enlace|adresse|adres|odkaz|link|ссылка|посилання)"
    r"(?:[ _-]?(?:archive|archiv|archivo|arxiu|archivio|arquivo|text|texte|capítulo|archiwum))?"
    r"|archiv(?:ed|o|e|io|-url|bot)?[ _-]?url|urlarchiv\w*|lire en ligne|online|онлайн|wayback"
)
_ADDRESS = re.compile(r"https?://[^\s\[\]{}|<>\"]++")
_PARAMETER = re.compile(rf"[|\s](?:{_PARAMETERS})\s*=\s*$", re.IGNORECASE)
_TAG = re.compile(
    r"<(?:(!--)|([rR][eE][fF])(?=[\s>])[^<>]*+>|(/[rR][eE][fF])\s*+>"
    r"|(nowiki|pre|math|syntaxhighlight|source)(?=[\s>]))"
)
_BEFORE = 40  # characters that tell a parameter's name
_TRAILING = ",;.:!?'"


def cited_urls(wikitext: str) -> list[str]:
    """External http(s) addresses that the page's references and links name, each once, in order.

    At most `MAX_REFERENCES`, none longer than `MAX_URL` characters. Comments, code and formulas
    hold none. An address in running text loses the punctuation after it, as in MediaWiki.
    """
    found: dict[str, None] = {}
    spans = _spans(wikitext)
    span = next(spans, None)
    for address in _ADDRESS.finditer(wikitext):
        start = address.start()
        while span is not None and span[1] <= start:
            span = next(spans, None)
        inside = span is not None and span[0] <= start
        if inside and span is not None and not span[2]:
            continue
        before = wikitext[max(0, start - _BEFORE) : start]
        bare = not before.endswith("[") and not _PARAMETER.search(before)
        if bare and not inside:
            continue
        url = decoded(address.group().partition("''")[0])
        if bare:
            url = url.rstrip(_TRAILING)
            if url.endswith(")") and "(" not in url:
                url = url.rstrip(")" + _TRAILING)
        if len("https://") < len(url) <= MAX_URL:
            found.setdefault(url)
            if len(found) == MAX_REFERENCES:
                break
    return list(found)


def _spans(wikitext: str) -> Iterator[tuple[int, int, bool]]:
    """Begin, end and whether it is a reference: of references, comments, code; none overlap.

    What has no end is none (a comment: runs to the end of the page); it is looked for once.
    """
    unended: set[str] = set()
    position = 0
    while tag := _TAG.search(wikitext, position):
        position = tag.end()
        comment, reference, _, literal = tag.groups()
        if reference and not tag.group().endswith("/>"):
            end = "</ref"
        elif comment:
            end = "-->"
        elif literal:
            end = f"</{literal}"
        else:
            continue
        if end in unended:
            continue
        close = wikitext.find(end, position)
        if close >= 0:
            yield position, close, bool(reference)
            position = close
        elif comment:
            yield position, len(wikitext), False
            return
        else:
            unended.add(end)
