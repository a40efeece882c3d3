r"""Definitions of macros in LaTeX: where they stand and what stands for a use.

A body can stand for the uses of macros without and with arguments, also with an optional first
one; not for those of programming (conditionals, delimited parameters, ``\let`` ...).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tasks.corpus.sources.latex_comments import veil

MAX_GROUP = 20_000
MAX_UNCLOSED = 100

NAME = r"[A-Za-z@]+|[^A-Za-z@\s]"
# Possessive: white space between the parts is tried once, not in every way of sharing it out.
DEFINITION = re.compile(
    r"\\(?:(?:long|global|protected|outer)\s*+\\){0,3}+(?:"
    r"(?P<new>(?:re)?newcommand|providecommand|DeclareRobustCommand)\*?\s*+"
    rf"(?:\{{\s*+\\(?P<n1>{NAME})\s*+\}}|\\(?P<n2>{NAME}))"
    r"(?:\s*+\[(?P<count>\d)\])?(?:\s*+\[(?P<default>[^\]\n]{0,200})\])?\s*+(?=\{)"
    rf"|(?P<def>[egx]?def)\s*+\\(?!csname)(?P<n3>{NAME})(?P<parameters>[^{{}}]{{0,200}}+)(?=\{{)"
    r"|(?P<operator>DeclareMathOperator)(?P<star>\*?)\s*+\{?\s*+\\(?P<n4>[A-Za-z]+)\s*+\}?\s*+(?=\{)"
    r"|(?P<groups>(?:New|Renew|Provide|Declare)(?:Expandable)?DocumentCommand"
    rf"|DeclarePairedDelimiter)\s*+\{{?\s*+\\(?P<n5>{NAME})\s*+\}}?\s*+(?=\{{)"
    rf"|let\s*+\\(?P<n6>{NAME})\s*+=?[ \t]*+(?:\\(?:{NAME})|[^\s\\]))"
)
_PLAIN_PARAMETERS = re.compile(r"\s*(?:#\d)*\s*")
COMMAND = re.compile(r"\\([A-Za-z]+|[^A-Za-z])")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_BRACKET = re.compile(r"\\.|[{}\]]", re.DOTALL)
_XSPACE = re.compile(r"\\xspace(?![A-Za-z])")
_PROGRAM = re.compile(
    r"\\(?:[egx]?def|(?:re)?newcommand|providecommand|let|csname|expandafter|futurelet|catcode"
    r"|begingroup|if(?!f(?![A-Za-z]))[A-Za-z]*)(?![A-Za-z])|\\(?:@[A-Za-z]|[A-Za-z]+@)"
)


@dataclass(frozen=True)
class Macro:
    """What stands for a use. default: of the first argument, None when it is not optional."""

    arguments: int
    body: str
    default: str | None = None


@dataclass(frozen=True)
class Definition:
    """One definition in a text. macro: None when its uses cannot be replaced by a body.

    kind: the command that defines. start, end: its span in the text it was found in.
    """

    name: str
    kind: str
    start: int
    end: int
    source: str
    macro: Macro | None


def definitions(text: str) -> Iterator[Definition]:
    """Definitions in ``text`` in order, without those inside another's body."""
    position = unclosed = 0
    for match in DEFINITION.finditer(text):
        if match.start() < position:
            continue
        definition = definition_at(text, match)
        if definition is None:
            unclosed += 1
            if unclosed > MAX_UNCLOSED:
                return
            continue
        position = definition.end
        yield definition


def definition_at(text: str, match: re.Match[str]) -> Definition | None:
    """None when its braces do not close."""
    name = next(match[f"n{n}"] for n in range(1, 7) if match[f"n{n}"] is not None)
    kind = match["new"] or match["def"] or match["operator"] or match["groups"] or "let"
    body, end = "", match.end()
    if kind != "let":
        for _ in range(2 if match["groups"] else 1):
            group = braced(text, end)
            if group is None:
                return None
            body, end = group
    source = text[match.start() : end]
    return Definition(name, kind, match.start(), end, source, _macro(match, name, body))


def _macro(match: re.Match[str], name: str, body: str) -> Macro | None:
    if match["operator"]:
        return Macro(0, f"\\operatorname{match['star']}{{{body}}}")
    if "@" in name or _PROGRAM.search(body):
        return None
    # A macro that uses its own name means the one before it: that use is never replaced.
    body = COMMAND.sub(lambda use: veil(use.group()) if use.group(1) == name else use.group(), body)
    body = _XSPACE.sub("", body).strip()
    if match["new"]:
        return Macro(int(match["count"] or 0), body, match["default"])
    if match["def"] in ("def", "gdef") and _PLAIN_PARAMETERS.fullmatch(match["parameters"]):
        return Macro(match["parameters"].count("#"), body)
    return None


def braced(text: str, start: int) -> tuple[str, int] | None:
    """Content of the braces that open at ``start`` and the position behind them.

    None when they do not close within 20,000 characters: longer than any macro or argument.
    """
    if start >= len(text) or text[start] != "{":
        return None
    depth = 0
    for match in _BRACE.finditer(text, start, min(len(text), start + MAX_GROUP)):
        if match.group() == "{":
            depth += 1
        elif match.group() == "}":
            depth -= 1
            if depth == 0:
                return text[start + 1 : match.start()], match.end()
    return None


def bracketed(text: str, start: int) -> tuple[str, int] | None:
    """The same for an optional argument: brackets, whose end may not stand in braces."""
    depth = 0
    for match in _BRACKET.finditer(text, start + 1, min(len(text), start + MAX_GROUP)):
        if match.group() == "{":
            depth += 1
        elif match.group() == "}":
            depth -= 1
            if depth < 0:
                return None
        elif match.group() == "]" and depth == 0:
            return text[start + 1 : match.start()], match.end()
    return None
