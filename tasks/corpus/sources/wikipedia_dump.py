"""The XML of a MediaWiki dump: its pages, one after another, each parsed by itself.

`wikipedia_archives` unpacks the file, `wikipedia_frames` finds the pages; a page that is malformed
costs that page. No document type is heeded, so there is no entity to expand.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.corpus.sources.wikipedia_archives import is_dump, unpacked
from tasks.corpus.sources.wikipedia_frames import (
    MAX_BETWEEN_BYTES,
    Between,
    Damage,
    Frame,
    PageFramer,
)

if TYPE_CHECKING:
    from lxml.etree import XMLParser, _Element

# A page has some thirty tags for its last revision, a dozen for each file uploaded.
MAX_TAGS = 100_000
_NAMED = re.compile(r"(?:^|/)([a-z]{2,3}(?:_[a-z_]+)?|simple)wiki(?:[-_.].*)?$")
_SITE = re.compile(r"https?://([a-z-]+)\.wikipedia\.org/")
_ROOT = re.compile(rb"<mediawiki(?=[\s>])([^<>]*+)>")
_ROOT_END = re.compile(rb"</mediawiki\s*+>")
_LANGUAGE = re.compile(rb"\sxml:lang\s*+=\s*+[\"']([\w-]{0,40})[\"']")
_SITEINFO = re.compile(rb"<siteinfo[\s>]")
_SITEINFO_END = b"</siteinfo>"
# MediaWiki's own names, for pages without <ns> in dumps that do not name theirs.
_NAMESPACES = {
    "media": "-2", "special": "-1", "talk": "1", "user": "2", "user talk": "3", "wikipedia": "4",
    "wikipedia talk": "5", "file": "6", "image": "6", "file talk": "7", "mediawiki": "8",
    "mediawiki talk": "9", "template": "10", "template talk": "11", "help": "12",
    "help talk": "13", "category": "14", "category talk": "15", "portal": "100", "module": "828",
}  # fmt: skip


class NotADump(ValueError):
    """The file is not called like a dump, or holds no page; says which."""


class NotAPage(ValueError):
    """A page cannot be read; says why."""


@dataclass(frozen=True)
class Page:
    """One page of a dump as it stands in the XML.

    number: its place in the file, from 0. created: time of the revision, ISO 8601. namespace: "0"
    for articles.
    """

    language: str
    number: int
    identity: str
    title: str
    created: str
    namespace: str
    wikitext: str
    is_redirect: bool = False


@dataclass(frozen=True)
class Site:
    """What a dump's header says: the language, and namespaces by their name in lower case."""

    language: str
    namespaces: dict[str, str]


@dataclass(frozen=True)
class RawPage:
    """A page not parsed yet; number: its place in the file, from 0."""

    number: int
    xml: bytes
    site: Site


@dataclass(frozen=True)
class LostPage:
    """A page that is damaged or too large. number: its place in the file, from 0."""

    number: int
    reason: str


@dataclass(frozen=True)
class LostBytes:
    """The file is damaged beyond a page. number: of the page that was open, None when none was.

    lost: bytes of the file that could not be unpacked.
    """

    reason: str
    detail: str = ""
    number: int | None = None
    lost: int = 0


def pages_of(path: Path, name: str) -> Iterator[RawPage | LostPage | LostBytes]:
    """All pages of the dump at ``path``, .xml, .xml.gz or .bz2, and what is damaged in it.

    One page is held at a time, and of its revisions the last. Damage costs the pages whose bytes
    it touches; in an archive those of its stream, and of a single stream the rest.

    The dump's language comes from the file's ``name`` (``dewiki-...``), else from ``<siteinfo>``,
    else from ``xml:lang``: small published excerpts carry another wiki's header. A dump without
    ``<siteinfo>``, or in UTF-16, is read like any other.

    Raises:
        NotADump: the name is none of a dump, or the XML holds no page.
        OSError: the machine cannot read the file; see `damage.kind`.
    """
    if not is_dump(name):
        raise NotADump("no XML dump")
    reader = _DumpReader(name)
    framer = reader.framer
    missing = False
    try:
        for piece in unpacked(path, name):
            if isinstance(piece, bytes):
                yield from reader.read(framer.feed(piece))
            else:
                missing = True
                yield from reader.read(framer.broken())
                yield LostBytes(piece.reason, piece.detail, lost=piece.lost)
        yield from reader.read(framer.finish())
    except LookupError as error:
        yield LostBytes("unknown encoding", str(error))
        return
    if missing:
        return
    if framer.is_open:
        yield LostBytes("truncated XML", number=framer.number)
    elif not framer.number:
        raise NotADump(reader.why_no_dump())
    elif not reader.closed:
        yield LostBytes("truncated XML")


def parse_page(raw: RawPage) -> Page:
    """The page of its XML.

    Raises:
        NotAPage: it is not well-formed, or calls an entity; says which.
    """
    if len(raw.xml) > 3 * MAX_TAGS and raw.xml.count(b"<") > MAX_TAGS:
        raise NotAPage("malformed XML")
    element = _parsed(raw.xml)
    revision = _child(element, "revision")
    title = _value(element, "title")
    namespace = _value(element, "ns")
    if not namespace:
        namespace = raw.site.namespaces.get(title.partition(":")[0].strip().lower(), "0")
        namespace = namespace if ":" in title else "0"
    return Page(
        language=raw.site.language,
        number=raw.number,
        identity=_value(element, "id") or title,
        title=title,
        created=_value(revision, "timestamp"),
        namespace=namespace,
        wikitext=_value(revision, "text"),
        is_redirect=_child(element, "redirect") is not None,
    )


class _DumpReader:
    """Turns what a framer finds into pages of their site and losses.

    closed: the root's end was met, and no other root behind it.
    """

    def __init__(self, name: str) -> None:
        self.framer = PageFramer()
        self.closed = False
        self._first = b""
        self._torn = False
        named = _NAMED.search(name.lower())
        self._named = named.group(1) if named else ""
        self._site = Site(self._named, _NAMESPACES)

    def read(
        self, found: Iterator[Frame | Between | Damage]
    ) -> Iterator[RawPage | LostPage | LostBytes]:
        """What is in the file, in its order; a file without a page is told by `why_no_dump`."""
        for item in found:
            if isinstance(item, Between):
                self._first = self._first or item.xml
                self._torn |= not self._between(item.xml) and item.is_whole
            elif isinstance(item, Damage):
                yield LostPage(item.number, item.reason)
            else:
                yield RawPage(item.number, item.xml, self._site)
            if self._torn and self.framer.number:
                self._torn = False
                yield LostBytes("malformed XML")

    def why_no_dump(self) -> str:
        """What a file is that held no page."""
        if len(self._first) < MAX_BETWEEN_BYTES:
            try:
                _parsed(self._first)
            except NotAPage:
                return "malformed XML"
            return "XML without pages"
        return "XML without pages" if self.closed else "malformed XML"

    def _between(self, xml: bytes) -> bool:
        """Take a header, the root's end; whether what stands between pages is well-formed."""
        root = _ROOT.search(xml)
        if root is not None:
            language = _LANGUAGE.search(root[1])
            self._site = Site(self._named or (language[1].decode() if language else ""),
                              _NAMESPACES)  # fmt: skip
            self.closed = False
            xml = xml[root.end() :]
        info = _SITEINFO.search(xml)
        end = xml.find(_SITEINFO_END, info.end()) if info is not None else -1
        if info is not None and end >= 0:
            end += len(_SITEINFO_END)
            try:
                self._header(_parsed(xml[info.start() : end]))
            except NotAPage:
                return False
            xml = xml[: info.start()] + xml[end:]
        xml, ends = _ROOT_END.subn(b"", xml)
        self.closed |= ends > 0
        if not xml.strip():
            return True
        try:
            _parsed(b"<between>" + xml + b"</between>")
        except NotAPage:
            return False
        return True

    def _header(self, siteinfo: _Element) -> None:
        self._site = Site(
            self._named or _site_language(siteinfo) or self._site.language,
            _NAMESPACES | _names_of(siteinfo),
        )


_parsers: list[XMLParser] = []


def _parsed(xml: bytes) -> _Element:
    """The element that ``xml`` in UTF-8 is.

    Raises:
        NotAPage: it is not well-formed, or calls an entity.
    """
    from lxml import etree

    if not _parsers:
        _parsers.append(
            etree.XMLParser(
                encoding="utf-8",
                resolve_entities=False,
                no_network=True,
                load_dtd=False,
                huge_tree=False,
            )
        )
    try:
        return etree.fromstring(xml, _parsers[0])
    except etree.XMLSyntaxError as error:
        undeclared = error.code == etree.ErrorTypes.ERR_UNDECLARED_ENTITY
        raise NotAPage("XML entity" if undeclared else "malformed XML") from error


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
