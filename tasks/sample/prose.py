"""Docstrings to structured text: sections of prose, list items, code and formulas.

Docstrings come in three dialects (plain, Google, numpydoc), all with bits of reStructuredText.
The parser here knows the few forms that matter for composing documents and drops the rest: it is
no general reStructuredText reader. Formulas stay LaTeX (``kind == "math"``), so that the arXiv
sample can print them and the other sources can leave them out.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

BlockKind = Literal["prose", "item", "code", "math"]

ITEM_SECTIONS = {
    "parameters", "other parameters", "returns", "return", "yields", "raises", "warns",
    "attributes", "args", "arguments", "keyword args", "keyword arguments", "inputs", "shape",
}  # fmt: skip
SKIPPED_SECTIONS = {"see also", "references", "methods", "tests"}
GOOGLE_HEADING = re.compile(
    r"(Args|Arguments|Keyword Args|Keyword Arguments|Returns|Return|Yields|Raises|Attributes"
    r"|Example|Examples|Note|Notes|Inputs|Shape|Warning|References|See Also):{1,2}"
)
PARAGRAPH_DIRECTIVES = {"note", "warning", "tip", "important", "attention", "admonition", "hint"}
ITEM_HEAD = re.compile(r"\*{0,2}\w[\w, *.]*(?: ?\([^)]*\))?:")
NO_LETTER = re.compile(r"[^A-Za-z ]+")
CODE_DIRECTIVES = {"code-block", "code", "testcode", "sourcecode", "parsed-literal", "ipython"}


@dataclass(frozen=True)
class Block:
    """One paragraph, list item, piece of code or formula."""

    kind: BlockKind
    text: str


@dataclass
class Section:
    """Blocks under one heading; the text before the first heading has the title ''."""

    title: str
    blocks: list[Block] = field(default_factory=list)


def plain(text: str) -> str:
    """Text of one paragraph without reStructuredText marks, on one line."""
    if "`" in text:
        text = re.sub(r":[A-Za-z][\w:+-]*:`[~!]?([^`<]+?)(?:\s*<[^>`]*>)?`", r"\1", text)
        text = re.sub(r"`([^`<]+?)\s*<[^>`]*>`_{1,2}", r"\1", text)
        text = re.sub(r"``([^`]+)``", r"\1", text)
        text = re.sub(r"`([^`]+)`_{0,2}", r"\1", text)
    if "]_" in text:
        text = re.sub(r"\s*\[[#\w-]+\]_", "", text)
    if "*" in text:
        text = re.sub(r"\*\*([^*\n]+)\*\*", r"\1", text)
        text = re.sub(r"(?<![\w*])\*([^*\s][^*\n]*)\*(?![\w*])", r"\1", text)
    if "|" in text:
        text = re.sub(r"\|(\w[\w ]*)\|", r"\1", text)
    return " ".join(text.replace("::", ":").split())


def keep_math(text: str) -> str:
    """Like `plain`, with ``:math:`` roles turned into ``$...$``."""
    parts = re.split(r":math:`([^`]+)`", text)
    return "".join(
        f" ${' '.join(part.split())}$" if index % 2 else _glue(plain(part), part)
        for index, part in enumerate(parts)
    ).strip()


def _glue(clean: str, raw: str) -> str:
    """A cleaned part with the blank that stood between it and the formula before it."""
    return (" " if raw[:1].isspace() else "") + clean


def is_prose(text: str, minimum_words: int = 6) -> bool:
    """Whether a paragraph reads as sentences: words, mostly letters, no templates or markup."""
    if any(mark in text for mark in ("{", "}", "\\", "%(", ">>>", "http://localhost", "===")):
        return False
    if len(text.split()) < minimum_words:
        return False
    return len(NO_LETTER.sub("", text)) >= 0.85 * len(text)


def sections(docstring: str) -> list[Section]:
    """The sections of a docstring in order; empty ones and navigational ones are left out."""
    found = [Section("")]
    after_colons = False
    for lines in _blocks(inspect.cleandoc(docstring).expandtabs(4)):
        heading = _heading(lines)
        if heading is not None:
            title, rest = heading
            found.append(Section(title))
            after_colons = False
            if not rest:
                continue
            lines = rest
        section = found[-1]
        if section.title.lower() in SKIPPED_SECTIONS:
            continue
        section.blocks.extend(_parse(lines, section.title, after_colons))
        indented = lines[0].startswith(" ")
        after_colons = lines[-1].rstrip().endswith("::") or (after_colons and indented)
    return [section for section in found if section.blocks]


def prose(docstring: str) -> Iterator[str]:
    """The sentences of a docstring, paragraph by paragraph, without code and formulas."""
    for section in sections(docstring):
        for block in section.blocks:
            if block.kind in ("prose", "item"):
                text = plain(block.text)
                if is_prose(text):
                    yield text


def references(docstring: str) -> list[str]:
    """Entries of a numpydoc References section (``.. [1] Author, Title, Year``)."""
    text = inspect.cleandoc(docstring)
    entries = re.findall(r"^\.\. \[\w+\] (.+?)(?=\n\n|\n\.\. |\Z)", text, re.DOTALL | re.MULTILINE)
    return [plain(entry) for entry in entries]


def _blocks(text: str) -> Iterator[list[str]]:
    block: list[str] = []
    for line in text.splitlines():
        if line.strip():
            block.append(line.rstrip())
        elif block:
            yield block
            block = []
    if block:
        yield block


def _heading(lines: list[str]) -> tuple[str, list[str]] | None:
    """(title, remaining lines) when the block opens with a numpydoc or Google heading."""
    if len(lines) > 1 and re.fullmatch(r"([-=~^*#])\1{2,}", lines[1].strip()):
        return plain(lines[0]).rstrip(":"), lines[2:]
    if GOOGLE_HEADING.fullmatch(lines[0].strip()):
        rest = textwrap.dedent("\n".join(lines[1:])).splitlines()
        return lines[0].strip().rstrip(":"), rest
    return None


def _parse(lines: list[str], title: str, after_colons: bool) -> Iterator[Block]:
    first = lines[0].strip()
    body = textwrap.dedent("\n".join(lines[1:]))
    directive = re.match(r"\.\. ([\w-]+)::\s*(.*)", first)
    if directive:
        name, argument = directive.groups()
        body = re.sub(r"^:\w+:.*$", "", body, flags=re.MULTILINE).strip()
        if name == "math":
            formula = (argument + "\n" + body).strip()
            if formula:
                yield Block("math", formula)
        elif name in CODE_DIRECTIVES and body:
            yield Block("code", body)
        elif name in PARAGRAPH_DIRECTIVES:
            yield Block("prose", (argument + " " + body).strip() or "Note.")
    elif first.startswith("..") or first.startswith(":"):
        return
    elif first.startswith((">>>", "$ ", "In [")) or (after_colons and lines[0].startswith(" ")):
        yield Block("code", textwrap.dedent("\n".join(lines)))
    elif title.lower() in ITEM_SECTIONS and (lines[0][0] != " " or ITEM_HEAD.match(first)):
        yield from _items(lines)
    elif first.startswith(("- ", "* ")):
        for item in re.split(r"\n\s*[-*] ", "\n" + "\n".join(lines))[1:]:
            yield Block("item", " ".join(item.split()))
    else:
        yield Block("prose", " ".join(" ".join(lines).split()))


def _items(lines: list[str]) -> Iterator[Block]:
    """``name : type`` with an indented description (numpydoc), ``name (type): text`` (Google)."""
    dedented = textwrap.dedent("\n".join(lines)).splitlines()
    entries: list[list[str]] = []
    for line in dedented:
        if line.startswith(" ") and entries:
            entries[-1].append(line.strip())
        else:
            entries.append([line.strip()])
    for head, *rest in entries:
        numpydoc = re.fullmatch(r"(\*{0,2}\w[\w, *.]*?) ?: ?(.+)", head)
        if rest and numpydoc:
            head = f"{numpydoc.group(1)} ({numpydoc.group(2)}):"
        yield Block("item", " ".join([head, *rest]))
