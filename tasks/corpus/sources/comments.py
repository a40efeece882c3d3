"""Comments near the top of source files, by each language's own comment syntax.

Lines that look like comments to one language are code in another (``#id {`` in CSS, ``--x;`` in C,
``# Title`` in Markdown), so nothing is a comment unless the file's language says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

# Lines that tools read, and code that may stand above a licence: kept, and never part of a run of
# line comments. First those of any language, then each family's. "@license" is for the reader.
_ANY = r"#!|<\?|.*-\*-.*-\*-|\W*(?:vim?|ex):"
_HASH = (
    r"#.*coding[:=]|#\s*shellcheck\s|#requires\s|#\s*noqa\b|#\s*(?:cython|distutils|type|mypy"
    r"|pyright|pylint|ruff|flake8|fmt|isort|yapf|pragma|frozen_string_literal|typed|warn_indent"
    r"|rubocop)\s*:"
)
PYTHON = frozenset(("py", "pyi", "pyx"))
_USE = r"[\"']use \w+[\"'];?\s*$"
_C = (
    rf"#|{_USE}|package\s+[\w.]+\s*;?\s*$|//go:|//\s*\+build|//\s*@(?!licen[cs]e\b)|//>|///\s*<|//\s*swift-tools-version"
    r"|//\s*(?:eslint|jshint|jslint|prettier|tslint|istanbul|clang-format|nolint)"
)


@dataclass(frozen=True)
class Syntax:
    """How a language writes comments.

    line: beginnings of a line that is a comment. block: pairs of opening and closing. not_block: an
    opening that one of these characters follows is code or a directive. kept: regular expression
    for lines that may stand above a comment and are never part of line comments.
    """

    line: tuple[str, ...] = ()
    block: tuple[tuple[str, str], ...] = ()
    not_block: str = ""
    kept: str = ""

    def opened(self, line: str) -> tuple[str, str] | None:
        """Opening and closing of the block comment that ``line`` begins with."""
        for opening, closing in self.block:
            if line.startswith(opening):
                following = line[len(opening) : len(opening) + 1]
                return None if following and following in self.not_block else (opening, closing)
        return None


_SLASHES = Syntax(("//",), (("/*", "*/"),), kept=_C)
_NUMBER = Syntax(("#",), kept=_HASH)
_ANGLES = Syntax(block=(("<!--", "-->"),), not_block="[", kept=r"<!doctype|<html|<xsl:")
_BRACKETS = tuple((f"[{'=' * level}[", f"]{'=' * level}]") for level in range(4))
SYNTAX = {
    **dict.fromkeys(
        ("c", "cc", "cjs", "cpp", "cs", "cu", "cuh", "cxx", "d", "dart", "go", "gradle", "groovy")
        + ("h", "hh", "hpp", "hxx", "java", "js", "jsx", "kt", "kts", "m", "mjs", "mm", "proto")
        + ("rs", "scala", "sv", "swift", "ts", "tsx", "v", "zig"),
        _SLASHES,
    ),
    **dict.fromkeys(
        ("bash", "ex", "exs", "makefile", "mk", "pl", "pm", "py", "pyi", "pyx", "r", "sh", "tcl")
        + ("zsh",),
        _NUMBER,
    ),
    **dict.fromkeys(("html", "svelte", "vue", "xsl"), _ANGLES),
    **dict.fromkeys(("clj", "cljs", "el", "lisp", "scm"), Syntax((";",))),
    **dict.fromkeys(("erl", "hrl"), Syntax(("%",))),
    **dict.fromkeys(("f03", "f90", "f95"), Syntax(("!",), kept=r"!(?:\$|dir\$|dec\$)|#")),
    **dict.fromkeys(("ml", "mli"), Syntax(block=(("(*", "*)"),), kept="#")),
    **dict.fromkeys(("bat", "cmd"), Syntax(("::", "rem ", "REM ", "Rem "), kept="@echo")),
    **dict.fromkeys(("ps1", "psm1"), Syntax(("#",), (("<#", "#>"),), kept=_HASH)),
    **dict.fromkeys(("vhd", "vhdl"), Syntax(("--",), (("/*", "*/"),))),
    **dict.fromkeys(
        ("less", "sass", "scss"), Syntax(("//",), (("/*", "*/"),), kept="@charset|@use")
    ),
    "asm": Syntax((";", "//"), (("/*", "*/"),)),
    "cmake": Syntax(("#",), tuple((f"#{o}", c) for o, c in _BRACKETS), kept=_HASH),
    "css": Syntax(block=(("/*", "*/"),), kept="@charset"),
    "dockerfile": Syntax(("#",), kept=r"#\s*(?:syntax|escape|check)\s*="),
    "fs": Syntax(("//",), (("(*", "*)"),), not_block=")", kept="#"),
    "hs": Syntax(("--",), (("{-", "-}"),), not_block="#", kept=r"\{-#|-{2,}[!#$%&*+./<=>?@\\^|~:]"),
    "jl": Syntax(("#",), (("#=", "=#"),), kept=_HASH),
    "lua": Syntax(
        ("--",), tuple((f"--{o}", c) for o, c in _BRACKETS), kept=r"---?\s*@(?!licen[cs]e\b)"
    ),
    "pas": Syntax(("//",), (("{", "}"), ("(*", "*)")), not_block="$"),
    "php": Syntax(("//", "#"), (("/*", "*/"),), kept=r"#\["),
    "rb": Syntax(("#",), (("=begin", "=end"),), kept=_HASH),
    "sql": Syntax(("--",), (("/*", "*/"),), not_block="!+"),
    "tex": Syntax(("%",), kept=r"%\s*!|%&"),
    "vb": Syntax(("'", "REM "), kept="#"),
}
# No comments, or only through markup that is a part of the document.
WITHOUT = frozenset(("markdown", "md", "rst"))
_KEPT = {
    extension: re.compile("|".join(filter(None, (_ANY, syntax.kept))), re.IGNORECASE)
    for extension, syntax in SYNTAX.items()
}


TOP = 50  # lines in which comments are looked for behind the first line of code, too
_LONGEST = 400  # lines of one of those comments that are read
_DOCSTRING = re.compile(r"[rRuUbBfF]{0,2}(\"{3}|'{3})")


@dataclass(frozen=True)
class Comment:
    """Lines ``first`` to ``last`` (not included) of a file.

    A block comment's ``opening`` and ``closing`` stand on its first and its last line; both are ""
    for a run of line comments.
    """

    first: int
    last: int
    opening: str = ""
    closing: str = ""


def leading_comments(lines: list[str], extension: str) -> list[Comment]:
    """Comments before the first line of code, each a run of line comments or one block comment.

    A block that code follows on its last line, or that never closes, ends the search: it is no
    whole number of lines.
    """
    syntax = SYNTAX.get(extension)
    if syntax is None:
        return []
    kept = _KEPT[extension]
    found = []
    at = 0
    while at < len(lines):
        line = lines[at].lstrip()
        block = syntax.opened(line)
        first = at
        if block is not None:
            at = _behind(lines, first, *block)
            if at == 0:
                break
            found.append(Comment(first, at, *block))
        elif not line or kept.match(line):
            at += 1
        elif _is_line_comment(line, syntax):
            while at < len(lines) and _is_line_comment(line, syntax) and not kept.match(line):
                at += 1
                line = lines[at].lstrip() if at < len(lines) else ""
            found.append(Comment(first, at))
        else:
            break
    return found


def is_kept(line: str, extension: str) -> bool:
    """Whether a line may stand above a comment: a shebang, an encoding, a directive."""
    return _KEPT[extension].match(line.lstrip()) is not None


def comments_near_top(lines: list[str], extension: str) -> Iterator[tuple[list[str], bool]]:
    """Inner lines of every comment that begins in the first lines, and whether it is a docstring.

    Code may stand before them, and a comment that never closes counts. Comments behind code on the
    same line do not, nor do Python's strings that are not the first thing on their line.
    """
    syntax = SYNTAX.get(extension)
    if syntax is None:
        return
    at = 0
    while at < min(len(lines), TOP):
        line = lines[at].lstrip()
        block = syntax.opened(line)
        quotes = _DOCSTRING.match(line) if extension in PYTHON else None
        if block is not None:
            at, inner = _until(lines, at, len(block[0]), block[1])
            yield inner, False
        elif quotes is not None:
            at, inner = _until(lines, at, quotes.end(), quotes[1])
            yield inner, True
        elif _is_line_comment(line, syntax):
            first = at
            while at < len(lines) and _is_line_comment(lines[at].lstrip(), syntax):
                at += 1
            yield lines[first : min(at, first + _LONGEST)], False
        elif extension in PYTHON and (mark := _left_open(line)):
            at, _ = _until(lines, at, line.rindex(mark) + 3, mark)
        else:
            at += 1


def _until(lines: list[str], first: int, begin: int, closing: str) -> tuple[int, list[str]]:
    """Line behind what ``closing`` ends, and the lines up to it.

    Args:
        begin: characters of the opening, after the first line's indent.
    """
    inner = [lines[first].lstrip()[begin:]]
    last = first
    while closing not in inner[-1] and last + 1 < len(lines):
        last += 1
        inner.append(lines[last])
    inner[-1] = inner[-1].partition(closing)[0]
    return last + 1, inner[:_LONGEST]


def _left_open(line: str) -> str:
    """The quotes of a Python string that goes on behind a line of code; "" when there is none."""
    return next((mark for mark in ('"""', "'''") if line.count(mark) % 2), "")


def _is_line_comment(line: str, syntax: Syntax) -> bool:
    return line.startswith(syntax.line) and syntax.opened(line) is None


def _behind(lines: list[str], first: int, opening: str, closing: str) -> int:
    """Line behind the block comment that opens on line ``first``; 0 when it is not whole lines."""
    for number in range(first, len(lines)):
        line = lines[number]
        begin = line.index(opening) + len(opening) if number == first else 0
        found = line.find(closing, begin)
        if found >= 0:
            return number + 1 if found + len(closing) == len(line.rstrip()) else 0
    return 0
