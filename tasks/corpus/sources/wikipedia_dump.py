"""The XML of a MediaWiki dump: its pages, one after another."""

from __future__ import annotations

import bz2
import gzip
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

if TYPE_CHECKING:
    from lxml.etree import _Element

_NAMED = re.compile(r"(?:^|/)([a-z]{2,3}(?:_[a-z_]+)?|simple)wiki(?:[-_.].*)?$")
_XML_LANG = "{http://www.w3.org/XML/1998/namespace}lang"
_SITE = re.compile(r"https?://([a-z-]+)\.wikipedia\.org/")
# MediaWiki's own names, for pages without <ns> in dumps that do not name theirs.
_NAMESPACES = {
    "media": "-2", "special": "-1", "talk": "1", "user": "2", "user talk": "3", "wikipedia": "4",
    "wikipedia talk": "5", "file": "6", "image": "6", "file talk": "7", "mediawiki": "8",
    "mediawiki talk": "9", "template": "10", "template talk": "11", "help": "12",
    "help talk": "13", "category": "14", "category talk": "15", "portal": "100", "module": "828",
}  # fmt: skip


class NotADump(ValueError):
    """The file is not called like a dump, or is XML without a page; says which."""


@dataclass(frozen=True)
class Page:
    """One page of a dump as it stands in the XML.

    number: its place in the file, from 0. created: time of the revision, ISO 8601. namespace: "0"
    for articles. has_entities: its text calls an entity of the file's own document type; what
    stands after the call is missing.
    """

    language: str
    number: int
    identity: str
    title: str
    created: str
    namespace: str
    wikitext: str
    is_redirect: bool = False
    has_entities: bool = False


def pages_of(path: Path, name: str) -> Iterator[Page]:
    """All pages of the dump at ``path``: .xml, .xml.gz, .bz2 (also of several streams).

    One page is held at a time, and of its revisions the last.

    The dump's language comes from the file's ``name`` (``dewiki-...``), else from ``<siteinfo>``,
    else from ``xml:lang``: small published excerpts carry another wiki's header. A dump without
    ``<siteinfo>``, or in UTF-16, is read like any other.

    Raises:
        NotADump: the name is none of a dump, or the XML holds no page.
        lxml.etree.XMLSyntaxError: malformed XML, a page of more than 10 MB, or entities that
            expand to more than the file.
        EOFError, OSError, zlib.error: the archive is cut short or corrupt, or cannot be read:
            `damage.kind` tells.
    """
    from lxml import etree

    opener = _opener(name)
    if opener is None:
        raise NotADump("no XML dump")
    match = _NAMED.search(name.lower())
    language = match.group(1) if match else ""
    namespaces = _NAMESPACES
    number = 0
    with opener(path, "rb") as handle:
        events = etree.iterparse(
            cast(BinaryIO, handle),
            events=("start", "end"),
            resolve_entities=False,
            no_network=True,
            load_dtd=False,
            huge_tree=False,
        )
        depth = 0
        for event, element in events:
            tag = _local(element)
            if event == "start":
                depth += 1
                if tag == "mediawiki" and match is None:
                    language = element.get(_XML_LANG) or ""
                continue
            depth -= 1
            if tag == "page":
                page = _page(element, number, language, namespaces)
                _forget(element)
                yield page
                number += 1
            elif tag == "revision":
                _forget_earlier(element, tag)
            elif tag == "siteinfo":
                namespaces = _NAMESPACES | _names_of(element)
                if match is None:
                    language = _site_language(element) or language
            elif depth == 1:
                _forget(element)  # what else a file may hold, or one that is no dump
    if not number:
        raise NotADump("XML without pages")


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


def _child(element: _Element | None, name: str) -> _Element | None:
    if element is None:
        return None
    return next((child for child in element if _local(child) == name), None)


def _value(element: _Element | None, name: str) -> str:
    child = _child(element, name)
    return "" if child is None else child.text or ""


def _site_language(siteinfo: _Element) -> str:
    """Language of a dump's header: its address, else its database's name."""
    address = _SITE.match(_value(siteinfo, "base"))
    if address:
        return address.group(1)
    name = re.fullmatch(r"([a-z_]+)wiki", _value(siteinfo, "dbname"))
    return name.group(1) if name else ""


def _names_of(siteinfo: _Element) -> dict[str, str]:
    """The namespaces that a header lists: name in lower case -> number."""
    listed = _child(siteinfo, "namespaces")
    if listed is None:
        return {}
    return {(n.text or "").lower(): n.get("key") or "0" for n in listed if n.text}


def _forget(element: _Element) -> None:
    """Free a finished element and those before it; iterparse keeps the tree otherwise."""
    parent = element.getparent()
    element.clear()
    while parent is not None and element.getprevious() is not None:
        del parent[0]


def _forget_earlier(element: _Element, tag: str) -> None:
    """Free the siblings called ``tag`` before this one: of a page's revisions the last counts."""
    before = element.getprevious()
    parent = element.getparent()
    if before is not None and parent is not None and _local(before) == tag:
        parent.remove(before)


def _page(element: _Element, number: int, language: str, namespaces: dict[str, str]) -> Page:
    revision = _child(element, "revision")
    text = _child(revision, "text")
    title = _value(element, "title")
    namespace = _value(element, "ns")
    if not namespace:
        namespace = namespaces.get(title.partition(":")[0].strip().lower(), "0")
        namespace = namespace if ":" in title else "0"
    return Page(
        language=language,
        number=number,
        identity=_value(element, "id") or title,
        title=title,
        created=_value(revision, "timestamp"),
        namespace=namespace,
        wikitext="" if text is None else text.text or "",
        is_redirect=_child(element, "redirect") is not None,
        has_entities=text is not None and len(text) > 0,
    )
