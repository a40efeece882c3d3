"""Wikipedia: pages-articles dumps to plain text (paper section 2.1).

Links, comments, templates, tables, references and files are removed; articles of namespace 0 in
the chosen languages stay. The dump is streamed page by page: no entity is expanded, no network
touched, and damage costs the pages it touches. The offset of a document is the number of its page
in the file, from 0, pages that are lost among them as far as they can be told.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

from tasks.corpus.documents import Document
from tasks.corpus.funnel import Funnel
from tasks.corpus.parameters import CorpusParameters
from tasks.corpus.sources.wikipedia_dump import (
    LostBytes,
    LostPage,
    NotADump,
    NotAPage,
    Page,
    RawPage,
    pages_of,
    parse_page,
)
from tasks.corpus.sources.wikitext import plain_text
from tasks.corpus.sources.wikitext_pages import is_disambiguation, is_redirect, unclosed_markup
from tasks.corpus.sources.wikitext_references import cited_urls

# So much markup that is opened and never closed is no article.
MAX_UNCLOSED = 500
# What the funnel names; a dump may say anything. The numbers are MediaWiki's and its extensions'.
_LANGUAGE = re.compile(r"[a-z]{2}|als|arz|ast|azb|bar|ceb|ckb|lmo|min|nap|nds|oci|pms|pnb|scn|sco"
                       r"|simple|szl|vec|war|wuu|zh_classical|zh_min_nan|zh_yue")  # fmt: skip
_NAMESPACES = frozenset(map(str, [*range(-2, 130), 446, 447, 710, 711, 828, 829, *range(2300, 2304),
                                  2600]))  # fmt: skip


def read(
    root: Path, files: Sequence[str], parameters: CorpusParameters, funnel: Funnel
) -> Iterator[Document]:
    """Articles of the dumps in the order of files and pages.

    meta of each: ``title``, ``file``, ``offset``, and ``references``: the web addresses it cites,
    which the quality classifier learns from.
    """
    funnel.declare("language", "namespace", "redirect", "disambiguation", "markup", "length")
    for name in files:
        for page in read_pages(root / name, name, parameters.languages, funnel):
            text = article(page, parameters, funnel)
            if text is not None:
                yield Document(
                    id=f"wikipedia:{page.language}:{page.identity}",
                    text=text,
                    source="wikipedia",
                    uri=f"https://{page.language}.wikipedia.org/wiki/"
                    + quote(page.title.replace(" ", "_"), safe="/:(),'!"),
                    language=page.language,
                    language_score=1.0,
                    created=page.created,
                    license="CC-BY-SA-3.0",
                    meta={
                        "title": page.title,
                        "file": name,
                        "offset": page.number,
                        "references": cited_urls(page.wikitext),
                    },
                )


def article(page: Page, parameters: CorpusParameters, funnel: Funnel) -> str | None:
    """Text of an article, its title first as on the page; None when a rule stopped it."""
    source, title = page.wikitext, page.title
    if is_disambiguation(title, source):
        funnel.reject("disambiguation", "disambiguation page", source, title)
        return None
    funnel.keep("disambiguation", source)
    if len(source) > parameters.wikipedia_max_characters:
        funnel.reject("markup", "page too large", source, title)
        return None
    # Counting takes longer than knowing that there are too few of them.
    if source.count("[") + source.count("{") > MAX_UNCLOSED and (
        unclosed_markup(source) > MAX_UNCLOSED
    ):
        funnel.reject("markup", "unclosed markup", source, title)
        return None
    text = plain_text(source)
    funnel.keep("markup", source, text)
    if len(text) < parameters.wikipedia_minimum_characters:
        funnel.reject("length", "shorter than the minimum", text, title)
        return None
    titled = f"{title}\n\n{text}"
    funnel.keep("length", text, titled)
    return titled


def read_pages(path: Path, name: str, languages: Sequence[str], funnel: Funnel) -> Iterator[Page]:
    """Articles of one dump in one of ``languages``, no redirects; the rest is counted.

    A page that is damaged or too large is rejected by itself. A file that is damaged beyond a page
    (an archive that does not unpack, a missing end, no dump at all) is counted as a bad file, and
    gives the pages that are whole. A page that calls an XML entity other than XML's own is
    refused: no dump of MediaWiki does.
    """
    if path.stat().st_size == 0:
        funnel.bad_file(name, "empty file")
        return
    bad = False
    lost = 0
    try:
        for item in pages_of(path, name):
            if isinstance(item, LostBytes):
                lost += item.lost
                counted = item.number is not None and not funnel.at(name, item.number)
                if not bad and not counted:
                    bad = True
                    funnel.bad_file(name, item.reason, item.detail)
            elif funnel.at(name, item.number):
                page = _page(item, funnel)
                if page is not None and _is_article(page, languages, funnel):
                    yield page
            funnel.between()  # finding the next page is none of this one's time
    except NotADump as error:
        funnel.bad_file(name, str(error))
    if lost:
        funnel.note(f"wikipedia: {name}: {lost:,} bytes of the file could not be unpacked.")


def _page(item: RawPage | LostPage, funnel: Funnel) -> Page | None:
    """The page; None, and the reason counted, when it is damaged."""
    try:
        if isinstance(item, RawPage):
            return parse_page(item)
        reason = item.reason
    except NotAPage as error:
        reason = str(error)
    funnel.reject("read", reason)
    return None


def _is_article(page: Page, languages: Sequence[str], funnel: Funnel) -> bool:
    wikitext, title = page.wikitext, page.title
    funnel.keep("read", wikitext)
    if page.language not in languages:
        known = _LANGUAGE.fullmatch(page.language) is not None
        reason = f"language {page.language}" if known else "language unknown"
        funnel.reject("language", reason, wikitext, title)
        return False
    funnel.keep("language", wikitext)
    if page.namespace != "0":
        known = page.namespace in _NAMESPACES
        reason = f"namespace {page.namespace}" if known else "namespace unknown"
        funnel.reject("namespace", reason, wikitext, title)
        return False
    funnel.keep("namespace", wikitext)
    if page.is_redirect or is_redirect(wikitext):
        funnel.reject("redirect", "redirect", wikitext, title)
        return False
    funnel.keep("redirect", wikitext)
    return True
