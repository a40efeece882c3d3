"""HTML of Stack Exchange posts to text: paragraphs, lists, tables and code stay legible.

One pass over the tags, without a tree: time is linear and memory flat however deep a post is
nested, and nothing is lost to a limit. Unknown tags are passed over, their text is kept.

- Blocks are parted by an empty line; white space is collapsed as a browser does.
- List items open with "* " or their number; inner ones are indented by the outer one's marker.
- A ``pre`` stands as it is, indentation and empty lines kept, inside the item it belongs to.
- A table has a line per row, its cells parted by " | ".
- An image is its alternative text, unless that is the editor's placeholder; a link is its words.
- "x<sup>2</sup>" is "x^2" and "a<sub>i+j</sub>" is "a_(i+j)"; ordinals and small print stay words.
- Comments, scripts and styles go.
"""

from __future__ import annotations

import re
from html import unescape

# Items inside a deeper indentation have no markers: a hostile nesting must not grow quadratically.
MAX_INDENT = 40
# A tag, a comment, or a script with what it holds. Possessive, so that no failed attempt is tried
# in another way; one that never ends takes the rest of the text, so that it is tried once.
_TAG = re.compile(
    r"(<!--(?:-?>|.*?(?:--!?>|\Z))"
    r"|<(?i:script(?=[\s/>]).*?(?:</script[^<>]*+>?+|\Z)"
    r"|style(?=[\s/>]).*?(?:</style[^<>]*+>?+|\Z))"
    r"|</?[a-zA-Z][^<>=]*+>"
    r"|</?[a-zA-Z][^>=]*+(?:=\s*+(?:\"[^\"]*+\"|'[^']*+')?+[^>=]*+)*+(?:>|\Z)"
    r"|<[!?][^>]*+(?:>|\Z))",
    re.DOTALL,
)
# For what follows a tag that never ends: none of it spans another "<".
_SIMPLE = re.compile(r"(</?[a-zA-Z][^<>]*+>)")
_NAME = re.compile(r"</?([a-zA-Z][^\s/>]*)")
_ATTRIBUTE = re.compile(
    r"\s(alt|start)\s*+=\s*+(?:\"([^\"]*+)\"|'([^']*+)'|([^\s>\"']++))", re.IGNORECASE
)
_SPACES = re.compile(r"[ \t\r\n\f]+")
_OPENING_LINES = re.compile(r"\A(?:[ \t]*\n)+")
_PLACEHOLDERS = frozenset(
    ("enter image description here", "image description here", "alt text", "image description")
)
_ORDINAL = re.compile(r"(?:st|nd|rd|th|tm|sm|er|a|o|®|©|™)\Z", re.IGNORECASE)
_TERM = re.compile(r"[-+]?[^\W_]+\Z|[*+′'†-]\Z")
_LONGEST_TERM = 40

_BLOCK, _BREAK, _LIST, _ITEM, _PRE, _ROW, _CELL, _IMAGE, _RAISED = range(1, 10)
_BLOCKS = """address article aside blockquote caption center details div dl fieldset figcaption
figure footer form h1 h2 h3 h4 h5 h6 header hr main nav p section summary table"""
_INLINE = "a b code del em i kbd s span strong tbody thead"
_KINDS = dict.fromkeys(_BLOCKS.split(), _BLOCK) | {
    "br": _BREAK, "dt": _ROW, "dd": _ROW, "li": _ITEM, "pre": _PRE, "ul": _LIST, "ol": _LIST,
    "tr": _ROW, "td": _CELL, "th": _CELL, "img": _IMAGE, "sup": _RAISED, "sub": _RAISED,
}  # fmt: skip
# Tags as they mostly stand, so that the common ones need no parsing; 0: nothing to do.
_COMMON = {
    f"<{slash}{name}>": _KINDS.get(name, 0)
    for name in (*_KINDS, *_INLINE.split())
    for slash in ("", "/")
}


def html_to_text(html: str) -> str:
    """Text of a post's HTML; "" when it holds none. Never fails."""
    pieces = _TAG.split(html)
    if len(pieces) > 1 and _is_open(pieces[-2]):
        # A tag or comment that never ends: a browser drops the rest of the post, here it stays.
        before, rest = pieces[-3], _SIMPLE.split(pieces[-2].removeprefix("<!--"))
        pieces[-3:] = [before + rest[0], *rest[1:]]
    writer = _Writer()
    is_text = True
    for piece in pieces:
        if not is_text:
            kind = _COMMON.get(piece)
            if kind is None:
                name = _NAME.match(piece)
                kind = _KINDS.get(name[1].lower(), 0) if name else 0
            if kind:
                writer.tag(kind, piece)
        elif piece:
            writer.text(unescape(piece) if "&" in piece else piece)
        is_text = not is_text
    return writer.finish()


def _is_open(tag: str) -> bool:
    """Whether a tag or comment, the last one, was never closed."""
    if tag.startswith("<!--"):
        return not tag.endswith(("-->", "--!>")) and tag not in ("<!-->", "<!--->")
    return not tag.endswith(">") and not tag[:7].lower().startswith(("<script", "<style"))


class _Writer:
    """Lines of text from a stream of texts and tags."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.breaks = 0  # newlines wanted before the next text
        self.at_start = True  # of a line
        self.after_space = True
        self.frames: list[list[int]] = []  # [_LIST, 1 for "ol", items] or [_ITEM, marker's width]
        self.open_lists = [0, 0]
        self.indent = ""
        self.marker = ""  # of items that have no text yet
        self.pre = 0
        self.code: list[str] = []
        self.cells = 0
        self.raised: tuple[int, str] | None = None

    def text(self, text: str) -> None:
        if self.pre:
            self.code.append(text)
            return
        if "\n" in text:
            if self.after_space and (text == "\n" or text == "\n\n"):
                return  # between two blocks
            text = text.replace("\n", " ")
        if "  " in text or "\t" in text or "\r" in text or "\f" in text:
            text = _SPACES.sub(" ", text)
        if self.after_space and text.startswith(" "):
            text = text[1:]
        if text:
            if self.at_start:
                self._begin_line()
            self.parts.append(text)
            self.after_space = text[-1] == " "

    def tag(self, kind: int, tag: str) -> None:
        closes = tag[1] == "/"
        if self.pre and kind != _PRE and not (closes and self.frames and kind in (_LIST, _ITEM)):
            self._tag_in_code(kind, tag)
            return
        if kind == _BLOCK:
            self._break(2)
        elif kind == _BREAK:
            if self.at_start and self.parts and not self.marker:
                self.breaks = min(self.breaks + 1, 2)
            self._break(1)
        elif kind == _PRE:
            self._pre(closes)
        elif kind == _LIST:
            self._end_code()
            self._list(closes, tag)
        elif kind == _ITEM:
            self._end_code()
            self._item(closes)
        elif kind == _ROW:
            self.cells = 0
            self._break(1)
        elif kind == _CELL and not closes:
            self._cell()
        elif kind == _IMAGE:
            self.text(_alternative(tag))
        elif kind == _RAISED:
            self._raise(closes, "^" if tag[-2] in "pP" or "sup" in tag[:5].lower() else "_")

    def finish(self) -> str:
        self._end_code()
        text = "".join(self.parts).rstrip()
        return text if text.strip() else ""

    def _break(self, lines: int) -> None:
        """End the line; a block that opens an item stays on the item's line."""
        self.at_start = self.after_space = True
        if self.parts and not self.marker:
            self.breaks = max(self.breaks, lines)

    def _begin_line(self) -> None:
        if self.parts:
            self.parts[-1] = self.parts[-1].rstrip(" ")
            self.parts.append("\n" * self.breaks)
        prefix = self.indent[: len(self.indent) - len(self.marker)] + self.marker
        if prefix:
            self.parts.append(prefix)
        self.breaks = 0
        self.marker = ""
        self.at_start = False

    def _tag_in_code(self, kind: int, tag: str) -> None:
        if kind == _IMAGE:
            self.code.append(_alternative(tag))
        elif kind == _BREAK or (kind != _RAISED and not "".join(self.code[-1:]).endswith("\n")):
            self.code.append("\n")

    def _pre(self, closes: bool) -> None:
        if not closes:
            self._break(2)
            self.pre += 1
        elif self.pre:
            self.pre -= 1
            if not self.pre:
                self._end_code()

    def _end_code(self) -> None:
        self.pre = 0
        if not self.code:
            return
        code = "".join(self.code).replace("\r\n", "\n").replace("\r", "\n")
        self.code = []
        code = _OPENING_LINES.sub("", code).rstrip()
        if code:
            self._begin_line()
            if self.indent:
                code = re.sub(r"\n(?=[^\n])", "\n" + self.indent, code)
            self.parts.append(code)
            self._break(2)

    def _list(self, closes: bool, tag: str) -> None:
        ordered = int(tag.lstrip("</")[:1] in "oO")
        if not closes:
            self._break(1 if self.frames else 2)
            self.frames.append([_LIST, ordered, _start(tag) if ordered else 0])
            self.open_lists[ordered] += 1
        elif self.open_lists[ordered]:
            while True:
                frame = self._pop()
                if frame[0] == _LIST and frame[1] == ordered:
                    break
            self._break(1 if self.frames else 2)

    def _item(self, closes: bool) -> None:
        if self.frames and self.frames[-1][0] == _ITEM:
            self._pop()
        elif closes:
            return
        self._break(1)
        if closes:
            return
        marker = "* "
        if self.frames and self.frames[-1][1]:
            marker = f"{self.frames[-1][2]}. "
            self.frames[-1][2] += 1
        if len(self.indent) >= MAX_INDENT:
            marker = ""
        self.frames.append([_ITEM, len(marker)])
        self.marker += marker
        self.indent += " " * len(marker)

    def _pop(self) -> list[int]:
        frame = self.frames.pop()
        if frame[0] == _LIST:
            self.open_lists[frame[1]] -= 1
        elif frame[1]:
            self.indent = self.indent[: -frame[1]]
            if self.marker:
                self.marker = self.marker[: -frame[1]]
        return frame

    def _cell(self) -> None:
        if self.cells:
            if self.at_start:
                self._begin_line()
            self.parts.append("| " if self.after_space else " | ")
            self.after_space = True
        self.cells += 1

    def _raise(self, closes: bool, sign: str) -> None:
        """Mark what stands raised or lowered right behind a word or a bracket."""
        if not closes:
            attached = not self.at_start and (self.parts[-1][-1].isalnum() or self._after_bracket())
            self.raised = (len(self.parts), sign) if attached else None
            return
        if self.raised is None or self.at_start or len(self.parts) - self.raised[0] > 8:
            return
        (first, sign), self.raised = self.raised, None
        content = "".join(self.parts[first:])
        if (
            not content
            or _ORDINAL.match(content)
            or content[0] in "[("
            or len(content) > _LONGEST_TERM
        ):
            return
        if (" " in content.strip(" ") and content.count(" ") > 4) or "\n" in content:
            return
        content = content.strip(" ")
        self.parts[first:] = [sign + (content if _TERM.match(content) else f"({content})")]
        self.after_space = False

    def _after_bracket(self) -> bool:
        return self.parts[-1][-1] in ")]}"


def _alternative(tag: str) -> str:
    text = unescape(_attribute(tag, "alt"))
    return "" if text.strip().lower() in _PLACEHOLDERS else text


def _start(tag: str) -> int:
    value = _attribute(tag, "start").strip()
    return int(value) if re.fullmatch(r"-?[0-9]{1,9}", value) else 1


def _attribute(tag: str, wanted: str) -> str:
    for match in _ATTRIBUTE.finditer(tag):
        if match[1].lower() == wanted:
            return match[2] or match[3] or match[4] or ""
    return ""
