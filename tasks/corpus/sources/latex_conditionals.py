r"""What a file switches off: ``\iffalse ... \fi`` goes; ``\iftrue ... \fi`` stays.

Flags that a paper declares itself are decided by ``latex_flags``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

_COMMAND_BEFORE = re.compile(r"\\[A-Za-z@]{1,50}\Z")
# Not conditionals of TeX: they take their cases in braces.
BRACED = (
    r"ff|fthenelse|fdef|fundef|fcsdef|fcsundef|fcsmacro|fdefmacro|fdefempty|fdefvoid|fdefstring"
    r"|fcsempty|fcsvoid|fstrequal|fstrempty|fblank|fnotblank|fbool|ftoggle|fnumcomp|fnumequal"
    r"|fnumgreater|fnumless|fdimcomp|fboolexpr|finlist|fpackageloaded|fclassloaded|ffileexists"
    r"|fentrytype|ffieldundef|fKV@[A-Za-z@]*"
)
_TOKEN = re.compile(
    r"\\(?:newif\s*+\\[A-Za-z@]++|let\s*+\\[A-Za-z@]++\s*+=?\s*+\\[A-Za-z@]++"
    # What is compared is no conditional.
    r"|(?P<compared>ifx)(?![A-Za-z@])\s*+\\[A-Za-z@]++"
    r"(?:\s*+\\(?!(?:else|fi)(?![A-Za-z@]))[A-Za-z@]++)?+"
    rf"|(?P<word>i(?!(?:{BRACED})(?![A-Za-z@]))f[A-Za-z@]*+|else(?![A-Za-z@])|fi(?![A-Za-z@])"
    r"|or(?![A-Za-z@]))|.)|[{}]",
    re.DOTALL,
)
_END_OF_INPUT = re.compile(r"^[ \t]*+\\endinput(?![A-Za-z])", re.MULTILINE)
_OPENING = re.compile(
    rf"\\(?:newif\s*+\\[A-Za-z@]++|(?P<if>i(?!(?:{BRACED})(?![A-Za-z@]))f[A-Za-z@]*+)"
    r"|(?P<fi>fi)(?![A-Za-z@]))"
)
MAX_ENDS = 20  # `\\endinput`s of a file that are looked at


def end_of_input(text: str) -> int:
    r"""Where a file without comments ends: at an ``\endinput`` that no conditional holds.

    One behind an ``\if...`` that is still open is a guard against reading a file twice.
    """
    open_ones = at = 0
    for number, end in enumerate(_END_OF_INPUT.finditer(text)):
        if number == MAX_ENDS:
            break
        for match in _OPENING.finditer(text, at, end.start()):
            open_ones += (match["if"] is not None) - (match["fi"] is not None)
            open_ones = max(open_ones, 0)
        if not open_ones:
            return end.start()
        at = end.end()
    return len(text)


@dataclass
class _Open:
    """A conditional not yet closed.

    value: what it is known to be. low: the least depth of braces since it began.
    """

    value: bool | None
    start: int
    behind: int
    low: int
    depth: int
    otherwise: tuple[int, int] | None = None


def drop_false(text: str, value_of: Callable[[str, int], bool | None] | None = None) -> str:
    r"""``text`` without what ``\iffalse`` and ``\iftrue`` switch off, and without these.

    value_of: whether a conditional at a position is true, None for any whose value is not known.

    One pass. A conditional that is not closed, or closed in another group than it began in (the
    halves of a pair of macros), stays as it is.
    """
    if value_of is None:
        if "\\iffalse" not in text and "\\iftrue" not in text:
            return text
        value_of = _constant
    cuts: list[tuple[int, int]] = []
    stack: list[_Open] = []
    depth = 0
    for match in _TOKEN.finditer(text):
        token, word = match.group(), match["word"] or match["compared"]
        if token == "{":
            depth += 1
        elif token == "}":
            depth -= 1
            if stack and depth < stack[-1].low:
                stack[-1].low = depth
        elif word is None or word == "or":
            continue
        elif word == "else":
            if stack and stack[-1].otherwise is None:
                stack[-1].otherwise = match.span()
        elif word == "fi":
            if stack:
                closed = stack.pop()
                if stack:
                    stack[-1].low = min(stack[-1].low, closed.low)
                if closed.low >= closed.depth == depth:
                    cuts += _cuts(closed, *match.span())
        else:
            stack.append(_Open(value_of(word, match.start()), *match.span(), depth, depth))
    return _without(text, cuts) if cuts else text


def _constant(word: str, _at: int) -> bool | None:
    return {"iffalse": False, "iftrue": True}.get(word)


def _cuts(closed: _Open, start: int, end: int) -> list[tuple[int, int]]:
    otherwise = closed.otherwise
    if closed.value is False:
        if otherwise is None:
            return [(closed.start, end)]
        return [(closed.start, otherwise[1]), (start, end)]
    if closed.value is True:
        return [(closed.start, closed.behind), (otherwise[0] if otherwise else start, end)]
    return []


def _without(text: str, cuts: list[tuple[int, int]]) -> str:
    parts, at = [], 0
    for start, end in sorted(cuts):
        if end <= at:
            continue
        parts.append(text[at : max(start, at)])
        at = end
        if text[at : at + 1].isalpha() and _COMMAND_BEFORE.search(parts[-1]):
            parts.append(" ")  # \alpha and a letter are two words
    parts.append(text[at:])
    return "".join(parts)
