"""The text of an HTML page: its encoding, its tree within bounds, its main content."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from resiliparse.parse.html import HTMLTree

    Extract = Callable[[str, HTMLTree], str]

MAX_DEPTH = 2000
# Formatting elements that a parser opens anew in every later block until they are closed.
_FORMATTING = re.compile(
    r"<(?:b|big|code|em|font|i|nobr|s|small|strike|strong|tt|u)(?=[\s/>])[^<>]{0,200}",
    re.IGNORECASE,
)
# Tags of serialised markup: every element but the void ones has both, attributes are quoted.
_TAGS = re.compile(
    r"<!--.*?-->"
    r"|<(?P<raw>script|style|xmp|iframe|noembed|noframes)(?=[\s>])[^>\"]*(?:\"[^\"]*\"[^>\"]*)*>"
    r".*?</(?P=raw)>"
    r"|<(/?)([a-zA-Z][^\s/>]*)[^>\"]*(?:\"[^\"]*\"[^>\"]*)*>",
    re.DOTALL,
)
_VOID = frozenset((
    "area", "base", "basefont", "bgsound", "br", "col", "embed", "frame", "hr", "img", "input",
    "keygen", "link", "meta", "param", "source", "track", "wbr",
))  # fmt: skip
_OPENING = re.compile(r"<[a-zA-Z]")
MAX_REOPENED = 5_000_000
# How files of other kinds begin: documents, pictures, sound, archives, fonts, programs.
_SIGNATURES = (
    b"%PDF-", b"%!PS", b"{\\rtf", b"\xd0\xcf\x11\xe0", b"\x89PNG", b"\xff\xd8\xff", b"GIF8",
    b"RIFF", b"II*\0", b"MM\0*", b"\0\0\1\0", b"OggS", b"ID3", b"FLV", b"FWS", b"CWS",
    b"\x1aE\xdf\xa3",
    b"PK\3\4", b"\x1f\x8b", b"BZh", b"7z\xbc\xaf", b"Rar!", b"\xfd7zXZ", b"(\xb5/\xfd", b"wOF",
    b"\0\1\0\0\0", b"OTTO", b"\x7fELF", b"\xca\xfe\xba\xbe",
)  # fmt: skip
_MARKUP = re.compile(rb"<(?:!doctype html|html|head|body)", re.IGNORECASE)


def looks_like_html(payload: bytes) -> bool:
    """Whether the start of a payload without a media type is that of an HTML page."""
    return _MARKUP.search(payload[:4096]) is not None


def is_binary(payload: bytes) -> bool:
    """Whether a payload announced as HTML is an image, a PDF or another file of a known kind."""
    return payload.startswith(_SIGNATURES) or payload[4:8] == b"ftyp"


def decode(payload: bytes, charset: str) -> str:
    """The page's characters by its announced charset, or by what its bytes look like.

    Bytes that are none in the charset are left out, as browsers' tolerance is no text either.
    """
    from resiliparse.parse.encoding import bytes_to_str, detect_encoding

    if charset:
        try:
            return bytes_to_str(payload, charset)
        except LookupError:  # a charset that does not exist, from the page's own headers
            charset = ""
    return bytes_to_str(payload, detect_encoding(payload) or "utf-8")


def parse(html: str) -> HTMLTree | None:
    """The page's tree, None when extracting its text would stall: that is quadratic in the depth.

    The depth is that of the parsed tree, where end tags without a start, in comments or out of
    scope close nothing. Parsing is linear but for formatting elements left open, which every
    later block opens again: their kinds times the tags bound how many elements that makes.
    """
    from resiliparse.parse.html import HTMLTree

    tags = len(_OPENING.findall(html))
    if tags * tags > MAX_REOPENED and tags * len(set(_FORMATTING.findall(html))) > MAX_REOPENED:
        return None
    tree = HTMLTree.parse(html)
    # Nothing but formatting makes more elements than there are tags.
    root = tree.document
    if root is None or tags <= MAX_DEPTH / 2:
        return tree
    deep = _deep_markup(root.html)
    if deep is None:
        deep = _deep(root)
    return None if deep else tree


def _deep_markup(markup: str) -> bool | None:
    """Whether elements of a serialised tree are nested more than 2,000 deep.

    None where its tags do not add up: then only the tree itself can tell, twenty times slower.
    """
    depth = 0
    for _, end, name in _TAGS.findall(markup):
        if end:
            depth -= 1
            if depth < 0:
                return None
        elif name and name not in _VOID:
            depth += 1
            if depth > MAX_DEPTH:
                return True
    return False if depth == 0 else None


def _deep(root: Any) -> bool:
    """Whether elements below ``root`` are nested more than 2,000 deep."""
    node, depth = root, 0
    while True:
        child = node.first_element_child
        if child is not None:
            node, depth = child, depth + 1
            if depth > MAX_DEPTH:
                return True
            continue
        while depth and (following := node.next_element) is None:
            node, depth = node.parent, depth - 1
        if not depth:
            return False
        node = following


def extractor(name: Literal["resiliparse", "trafilatura"]) -> Extract:
    """What gives the main content of a page, from its characters and their tree.

    Raises:
        ValueError: trafilatura is wanted and not installed.
    """
    if name == "resiliparse":
        return _by_resiliparse
    try:
        trafilatura = import_module("trafilatura")
    except ImportError as error:
        raise ValueError(
            "web_extractor is trafilatura, which is not installed: pip install"
            " 'arriero[trafilatura]', or set web_extractor to resiliparse."
        ) from error

    def by_trafilatura(html: str, tree: HTMLTree) -> str:
        return trafilatura.extract(html, include_comments=False) or ""

    return by_trafilatura


def _by_resiliparse(html: str, tree: HTMLTree) -> str:
    from resiliparse.extract.html2text import extract_plain_text

    return extract_plain_text(tree, main_content=True, alt_texts=False, preserve_formatting=True)


def tidy(text: str) -> str:
    """``text`` without NUL, its lines stripped and ended by LF."""
    text = text.replace("\0", "").replace("\r", "\n")
    return "\n".join([line.strip() for line in text.split("\n")])
