"""Wikipedia: pages-articles dumps to plain text (paper section 2.1).

Links, comments, templates, tables, references and files are removed; articles of namespace 0 in
the chosen languages stay. The dump is streamed with lxml (no entity expansion, no network); the
parsing of wikitext, the slow part (about 1 MB/s), is spread over processes.
"""

from __future__ import annotations

import bz2
import gzip
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast
from urllib.parse import quote

from tasks.corpus.documents import Document, Funnel
from tasks.corpus.parallel import ordered_map
from tasks.corpus.parameters import CorpusParameters
from tasks.corpus.sources.wikitext import is_disambiguation, plain_text, unclosed_markup

if TYPE_CHECKING:
    from lxml.etree import _Element

BATCH_PAGES = 32
BATCH_CHARACTERS = 400_000
# Deterministic guards instead of a clock: the parser's worst case is markup that never closes.
MAX_OPENINGS = 20_000
MAX_UNCLOSED = 500
_OPENING = re.compile(r"\{\{|\[\[|\{\||<[a-zA-Z]")
_NAMED = re.compile(r"(?:^|/)([a-z]{2,3}(?:_[a-z_]+)?|simple)wiki(?:[-_.].*)?$")
_XML_LANG = "{http://www.w3.org/XML/1998/namespace}lang"
_SITE = re.compile(r"https?://([a-z-]+)\.wikipedia\.org/")


@dataclass(frozen=True)
class Page:
    """One page of a dump as it stands in the XML."""

    language: str
    identity: str
    title: str
    created: str
    wikitext: str


@dataclass(frozen=True)
class Batch:
    """Pages with the counts of what was read between them, and the limits of the parameters."""

    pages: list[Page]
    funnel: Funnel
    max_characters: int
    minimum_characters: int


def read(
    root: Path, files: Sequence[str], parameters: CorpusParameters, funnel: Funnel
) -> Iterator[Document]:
    """Articles of all dumps, in the order of files and pages."""
    funnel.declare("language", "namespace", "redirect", "disambiguation", "markup", "length")
    batches = _batches(root, files, parameters, funnel)
    for articles, counts in ordered_map(_to_text, batches, parameters.workers):
        funnel.merge(counts)
        for page, text in articles:
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
                meta={"title": page.title},
            )


def _to_text(batch: Batch) -> tuple[list[tuple[Page, str]], Funnel]:
    """Plain text of a batch; runs in a worker process."""
    funnel = batch.funnel
    articles = []
    for page in batch.pages:
        source, name = page.wikitext, page.title
        if is_disambiguation(page.title, source):
            funnel.reject("disambiguation", "disambiguation page", source, name)
            continue
        funnel.keep("disambiguation", source)
        if len(source) > batch.max_characters:
            funnel.reject("markup", "page too large", source, name)
            continue
        if sum(1 for _ in _OPENING.finditer(source)) > MAX_OPENINGS:
            funnel.reject("markup", "too much markup", source, name)
            continue
        if unclosed_markup(source) > MAX_UNCLOSED:
            funnel.reject("markup", "unclosed markup", source, name)
            continue
        text = plain_text(source)
        funnel.keep("markup", source, text)
        if len(text) < batch.minimum_characters:
            funnel.reject("length", "shorter than the minimum", text, name)
            continue
        # The title opens the document, as it opens the article.
        titled = f"{page.title}\n\n{text}"
        funnel.keep("length", text, titled)
        articles.append((Page(page.language, page.identity, name, page.created, ""), titled))
    return articles, funnel


def _batches(
    root: Path, files: Sequence[str], parameters: CorpusParameters, parent: Funnel
) -> Iterator[Batch]:
    limits = (parameters.wikipedia_max_characters, parameters.wikipedia_minimum_characters)
    for name in files:
        funnel = parent.child()
        pages: list[Page] = []
        size = 0
        for page in read_pages(root / name, name, parameters.languages, funnel):
            pages.append(page)
            size += len(page.wikitext)
            if len(pages) >= BATCH_PAGES or size >= BATCH_CHARACTERS:
                yield Batch(pages, funnel.detach(), *limits)
                pages, size = [], 0
        yield Batch(pages, funnel, *limits)


def read_pages(path: Path, name: str, languages: Sequence[str], funnel: Funnel) -> Iterator[Page]:
    """Articles of one dump in one of ``languages``, no redirects; the rest is counted.

    The dump's language comes from the file's name (``dewiki-...``), else from ``<siteinfo>``, else
    from ``xml:lang``: small published excerpts carry another wiki's header. A dump without
    ``<siteinfo>``, or in UTF-16, is read like any other.
    """
    from lxml import etree

    opener = _opener(name)
    if opener is None:
        funnel.bad_file(name, "no XML dump")
        return
    if path.stat().st_size == 0:
        funnel.bad_file(name, "empty file")
        return
    match = _NAMED.search(name.lower())
    named = match is not None
    language = match.group(1) if match else ""
    try:
        with opener(path, "rb") as handle:
            events = etree.iterparse(
                cast(BinaryIO, handle),
                events=("start", "end"),
                resolve_entities=False,
                no_network=True,
                load_dtd=False,
                huge_tree=False,
            )
            for event, element in events:
                tag = _local(element)
                if event == "start":
                    if tag == "mediawiki" and not named:
                        language = element.get(_XML_LANG) or ""
                elif tag == "siteinfo" and not named:
                    language = _site_language(element) or language
                elif tag == "page":
                    page = _page(element, language, languages, funnel)
                    _forget(element)
                    if page is not None:
                        yield page
    except etree.XMLSyntaxError as error:
        funnel.bad_file(name, "malformed XML", error)
    except EOFError as error:
        funnel.bad_file(name, "truncated archive", error)
    except (OSError, zlib.error) as error:
        funnel.bad_file(name, "corrupt archive", error)


def _opener(name: str) -> Any:
    lower = name.lower()
    if lower.endswith(".bz2"):
        return bz2.open
    if lower.endswith(".xml.gz"):
        return gzip.open
    return open if lower.endswith(".xml") else None


def _local(element: _Element) -> str:
    tag = element.tag
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def _child(element: _Element, name: str) -> _Element | None:
    return next((child for child in element if _local(child) == name), None)


def _value(element: _Element | None, name: str) -> str:
    child = None if element is None else _child(element, name)
    return "" if child is None else child.text or ""


def _site_language(siteinfo: _Element) -> str:
    """Language of a dump's header: its address, else its database's name."""
    address = _SITE.match(_value(siteinfo, "base"))
    if address:
        return address.group(1)
    name = re.fullmatch(r"([a-z_]+)wiki", _value(siteinfo, "dbname"))
    return name.group(1) if name else ""


def _forget(element: _Element) -> None:
    """Free a finished element and those before it; iterparse keeps the tree otherwise."""
    parent = element.getparent()
    element.clear()
    while parent is not None and element.getprevious() is not None:
        del parent[0]


def _page(
    element: _Element, language: str, languages: Sequence[str], funnel: Funnel
) -> Page | None:
    revision = _child(element, "revision")
    wikitext = _value(revision, "text")
    title = _value(element, "title")
    funnel.keep("read", wikitext)
    if language not in languages:
        funnel.reject("language", f"language {language or 'unknown'}", wikitext, title)
        return None
    funnel.keep("language", wikitext)
    namespace = _value(element, "ns") or "0"
    if namespace != "0":
        funnel.reject("namespace", f"namespace {namespace}", wikitext, title)
        return None
    funnel.keep("namespace", wikitext)
    if _child(element, "redirect") is not None or wikitext.lstrip()[:9].upper() == "#REDIRECT":
        funnel.reject("redirect", "redirect", wikitext, title)
        return None
    funnel.keep("redirect", wikitext)
    identity = _value(element, "id") or title
    return Page(language, identity, title, _value(revision, "timestamp"), wikitext)
