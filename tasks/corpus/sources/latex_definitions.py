r"""Definitions in LaTeX: where they stand and what stands for a use of what they define.

A body can stand for the uses of macros with and without arguments, also with an optional first one
or between delimiters, and of environments; not for those of programming (conditionals, ``\csname``,
``\futurelet`` ...).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tasks.corpus.sources.latex_comments import AT, veil
from tasks.corpus.sources.latex_groups import braced, bracketed

__all__ = [
    "COMMAND", "DEFINITION", "NAME", "PRIMITIVES", "Definition", "Macro", "braced", "bracketed"
]  # fmt: skip

MAX_UNCLOSED = 100

NAME = rf"[A-Za-z@{AT}]+|[^A-Za-z@\s]"
_DOCUMENT = r"(?:New|Renew|Provide|Declare)(?:Expandable)?Document"
# Possessive: white space between the parts is tried once, not in every way of sharing it out.
DEFINITION = re.compile(
    r"\\(?:(?:long|global|protected|outer)\s*+\\){0,3}+(?:"
    r"(?P<new>(?:re)?newcommand|providecommand|DeclareRobustCommand)\*?\s*+"
    rf"(?:\{{\s*+\\(?P<n1>{NAME})\s*+\}}|\\(?P<n2>{NAME}))"
    r"(?:\s*+\[(?P<count>\d)\])?(?:\s*+\[(?P<default>[^\]\n]{0,200})\])?\s*+(?=\{)"
    rf"|(?P<def>[egx]?def)\s*+\\(?!csname)(?P<n3>{NAME})(?P<parameters>[^{{}}]{{0,200}}+)(?=\{{)"
    r"|(?P<operator>DeclareMathOperator)(?P<star>\*?)\s*+\{?\s*+\\(?P<n4>[A-Za-z]+)\s*+\}?\s*+(?=\{)"
    rf"|(?P<groups>{_DOCUMENT}Command|DeclarePairedDelimiter)"
    rf"\s*+\{{?\s*+\\(?P<n5>{NAME})\s*+\}}?\s*+(?=\{{)"
    r"|(?P<environment>(?:re)?newenvironment|provideenvironment)\*?\s*+"
    r"\{\s*+(?P<n6>[^{}\\\n]{1,100}?)\s*+\}"
    r"(?:\s*+\[(?P<counted>\d)\])?(?:\s*+\[(?P<standard>[^\]\n]{0,200})\])?\s*+(?=\{)"
    rf"|(?P<newif>newif)\s*+\\(?P<n8>if(?P<flag>[A-Za-z@{AT}]++))"
    rf"(?:\s*+\\(?P=flag)(?:true|false)(?![A-Za-z@{AT}]))?"
    rf"|let\s*+\\(?P<n7>{NAME})\s*+=?[ \t]*+(?P<meaning>\\(?:{NAME})|[^\s\\]))"
)
_KINDS = ("new", "def", "operator", "groups", "environment", "newif")
_BLANK = re.compile(r"\s*+")
_PLAIN_PARAMETERS = re.compile(r"\s*(?:#\d)*\s*")
_DELIMITED_PARAMETERS = re.compile(r"[^#]*(?:#\d[^#]*)+")
_ARGUMENTS = re.compile(r"\s*(?:O\s*\{(?P<default>[^{}]*)\}\s*)?(?P<mandatory>(?:\+?m\s*)*)")
COMMAND = re.compile(rf"\\([A-Za-z{AT}]+|[^A-Za-z])")
_INTERNAL = re.compile(rf"\\([A-Za-z]*+{AT}[A-Za-z{AT}]*+)")
_BEGINS = re.compile(r"\s*+\\begin\s*+\{")
_ENDS = re.compile(r"\\end\s*+\{[^{}]{1,100}\}\s*\Z")
_XSPACE = re.compile(r"\\xspace(?![A-Za-z])")
_PROGRAM = re.compile(
    r"\\(?:[egx]?def|(?:re)?newcommand|providecommand|let|csname|expandafter|futurelet|catcode"
    r"|begingroup|endgroup|else|fi|(?:re)?newenvironment|if(?!f(?![A-Za-z]))[A-Za-z]*)"
    r"(?![A-Za-z])|\\(?:@[A-Za-z]|[A-Za-z]+@)"
)

# What `\let` gives under another name only in programs.
_PRIMITIVES = (
    "relax undefined par begingroup endgroup bgroup egroup fi else or csname endcsname"
    " expandafter def let newcommand renewcommand begin end item input include"
)
PRIMITIVES = frozenset(_PRIMITIVES.split())


@dataclass(frozen=True)
class Macro:
    """What stands for a use.

    default: of the first argument, None when it is not optional. ending: of an environment, what
    stands for its end. delimiters: what must stand before the first argument and behind each;
    empty when the arguments are groups or tokens. starred: the body where a star follows the name.
    """

    arguments: int
    body: str
    default: str | None = None
    ending: str | None = None
    delimiters: tuple[str, ...] = ()
    starred: str | None = None


@dataclass(frozen=True)
class Definition:
    r"""One definition in a text. macro: None when its uses cannot be replaced by a body.

    name: of the command without its backslash; of an environment in braces, which no command's name
    holds. kind: the command that defines. start, end: its span in the text it was found in. local:
    undone where its group ends. meaning: what a ``\let`` gives the name, "" for all others.
    internals: names with an at sign that its bodies use.
    """

    name: str
    kind: str
    start: int
    end: int
    source: str
    macro: Macro | None
    local: bool = True
    meaning: str = ""
    internals: frozenset[str] = frozenset()


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
    name = next(match[f"n{n}"] for n in range(1, 9) if match[f"n{n}"] is not None)
    kind = next((match[k] for k in _KINDS if match[k]), "let")
    bodies: list[str] = []
    end = match.end()
    for _ in range(_groups(kind)):
        if bodies:
            blank = _BLANK.match(text, end)
            assert blank is not None
            end = blank.end()
        group = braced(text, end)
        if group is None:
            return None
        bodies.append(group[0])
        end = group[1]
    source = text[match.start() : end]
    local = kind not in ("gdef", "xdef") and "\\global" not in match.group()
    if match["environment"]:
        name = f"{{{name}}}"
    macro = _macro(match, kind, name, bodies)
    meaning = match["meaning"] or ""
    used = frozenset(_INTERNAL.findall("".join(bodies))) if AT in source else frozenset()
    return Definition(name, kind, match.start(), end, source, macro, local, meaning, used)


def _groups(kind: str) -> int:
    """How many groups in braces a definition ends with."""
    if kind in ("let", "newif"):
        return 0
    return 2 if kind == "DeclarePairedDelimiter" or "Document" in kind or "env" in kind else 1


def _macro(match: re.Match[str], kind: str, name: str, bodies: list[str]) -> Macro | None:
    if match["operator"]:
        return Macro(0, f"\\operatorname{match['star']}{{{bodies[0]}}}")
    if "@" in name or any(_PROGRAM.search(body) for body in bodies):
        return None
    if match["environment"]:
        return _environment(match, name, bodies)
    if match["new"]:
        return Macro(int(match["count"] or 0), _body(name, bodies[0]), match["default"])
    if kind in ("def", "gdef"):
        return _with_parameters(match["parameters"], _body(name, bodies[0]))
    if kind == "DeclarePairedDelimiter":
        left, right = bodies
        starred = f"\\left{left}#1\\right{right}"
        return Macro(1, f"{left}#1{right}", starred=starred)
    if "Document" in kind:
        specified = _ARGUMENTS.fullmatch(bodies[0])
        if specified is not None:
            default = specified["default"]
            count = specified["mandatory"].count("m") + (default is not None)
            return Macro(count, _body(name, bodies[1]), default) if count < 10 else None
    return None


def _body(name: str, body: str) -> str:
    """A macro that uses its own name means the one before it: that use is never replaced."""
    body = COMMAND.sub(lambda use: veil(use.group()) if use.group(1) == name else use.group(), body)
    return _XSPACE.sub("", body).strip()


def _environment(match: re.Match[str], name: str, bodies: list[str]) -> Macro:
    """An environment's begin and end; they stay a group, as an environment is one."""
    begin, end = (_own_environment(name, body) for body in bodies)
    if not (_BEGINS.match(bodies[0]) and _ENDS.search(bodies[1])):
        begin, end = f"{{{begin.lstrip()}", f"{end.rstrip()}}}"
    return Macro(int(match["counted"] or 0), begin.lstrip(), match["standard"], end.rstrip())


def _own_environment(name: str, body: str) -> str:
    own = re.compile(r"\\(?:begin|end)\s*" + re.escape(name))
    return _XSPACE.sub("", own.sub(lambda use: veil(use.group()), body))


def _with_parameters(parameters: str, body: str) -> Macro | None:
    r"""A macro of ``\def``: its parameters stand for themselves, or between delimiters."""
    if _PLAIN_PARAMETERS.fullmatch(parameters):
        return Macro(parameters.count("#"), body)
    parameters = parameters.lstrip()
    if not _DELIMITED_PARAMETERS.fullmatch(parameters):
        return None
    first, *others = parameters.split("#")
    if [other[0] for other in others] != [str(n) for n in range(1, len(others) + 1)]:
        return None
    delimiters = (first, *(other[1:] for other in others))
    if any(re.search(r"\s|\\\Z", delimiter) for delimiter in delimiters):
        return None  # how many spaces a use may have there is not said by the text alone
    return Macro(len(others), body, delimiters=delimiters)
