r"""Groups of LaTeX: braces, brackets, environments; where they open and where they close."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

MAX_GROUP = 20_000

_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_BRACKET = re.compile(r"\\.|[{}\]]", re.DOTALL)
_DELIMITED = re.compile(r"\\(?:[A-Za-z@]+|.)|[{}]|\n[ \t]*\n", re.DOTALL)
# Commands that read definitions out of braces, which are no group.
_CASES = (
    r"AtBeginDocument|AtEndPreamble|AtEndOfPackage|AfterEndPreamble"
    r"|[@\udc80](?:ifundefined|ifpackageloaded|ifclassloaded)"
    r"|ifthenelse|IfFileExists|InputIfFileExists|ifdef|ifundef|ifcsdef|ifcsundef"
    r"|ifbool|iftoggle|ifdefempty"
)
_TOKEN = re.compile(
    r"\\(?:(?P<env>begin|end)\s*+\{(?P<name>[^{}\n]{0,100})\}"
    rf"|(?P<case>{_CASES})(?![A-Za-z@])"
    r"|(?P<group>(?:begin|end|b|e)group)(?![A-Za-z@])|[\\{}])|[{}]",
)


@dataclass(slots=True)
class _Group:
    """An open group. members: numbers of the spans right in it."""

    kind: str
    is_case: bool
    members: list[int] = field(default_factory=list)


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


def delimited(text: str, start: int, delimiter: str) -> tuple[str, int] | None:
    r"""Text up to ``delimiter`` outside braces and the position behind that.

    As in TeX the braces go where they enclose the whole argument, and a paragraph's end ends the
    search: None, as when the delimiter does not come within 20,000 characters or before the group
    closes.
    """
    limit = min(len(text), start + MAX_GROUP)
    depth, hit = 0, text.find(delimiter, start, limit)
    tokens = _DELIMITED.finditer(text, start, limit)
    while hit >= 0:
        match = next(tokens, None)
        begin, end = match.span() if match else (limit, limit)
        while 0 <= hit < begin or (hit == begin and delimiter[0] == "\\"):
            behind = hit + len(delimiter)
            whole = not (delimiter[-1].isalpha() and "\\" in delimiter) or not (
                text[behind : behind + 1].isalpha()
            )
            if depth == 0 and whole:
                return _without_braces(text[start:hit]), behind
            hit = text.find(delimiter, hit + 1, limit)
        if match is None:
            return None
        if 0 <= hit < end:
            hit = text.find(delimiter, end, limit)
        token = match.group()
        if token == "{":
            depth += 1
        elif token == "}":
            depth -= 1
            if depth < 0:
                return None
        elif token[0] == "\n" and depth == 0:
            return None
    return None


def _without_braces(argument: str) -> str:
    if argument[:1] == "{" and argument[-1:] == "}":
        inner = braced(argument, 0)
        if inner is not None and inner[1] == len(argument):
            return inner[0]
    return argument


def group_ends(text: str, spans: Sequence[tuple[int, int]]) -> list[int]:
    """For each span (in order, apart) where the innermost group around it ends.

    ``len(text) + 1`` when it stands in none, or in one that is never closed. One pass; what stands
    inside the spans opens and closes nothing, nor do the braces around the cases of a condition.
    """
    ends = [len(text) + 1] * len(spans)
    if not spans:
        return ends
    open_groups: list[_Group] = []
    counts: Counter[str] = Counter()
    number = behind = waiting = 0
    cases = -1  # behind a condition or one of its cases
    for match in _TOKEN.finditer(text):
        at = match.start()
        while number < len(spans) and spans[number][0] <= at:
            if open_groups:
                open_groups[-1].members.append(number)
                waiting += 1
            behind = spans[number][1]
            number += 1
        if number == len(spans) and not waiting:
            break
        if at < behind:
            continue
        token = match.group()
        if token == "{" or token == "}":
            kind, opens = "{", token == "{"
        elif match["case"]:
            cases = match.end()
            continue
        else:
            kind, opens = _kind(match)
        if opens:
            is_case = kind == "{" and 0 <= cases <= at and not text[cases:at].strip()
            open_groups.append(_Group(kind, is_case))
            counts[kind] += 1
        elif kind and counts[kind]:
            # What was opened inside and not closed ends here, too.
            while True:
                group = open_groups.pop()
                counts[group.kind] -= 1
                if group.is_case:
                    cases = match.end()
                    if open_groups:
                        open_groups[-1].members += group.members
                    else:
                        waiting -= len(group.members)
                else:
                    waiting -= len(group.members)
                    for member in group.members:
                        ends[member] = at
                if group.kind == kind:
                    break
        cases = cases if cases >= at else -1
    return ends


def _kind(match: re.Match[str]) -> tuple[str, bool]:
    """What a command opens or closes, "" for nothing."""
    if match["env"]:
        return f"\\{match['name']}", match["env"] == "begin"
    if match["group"]:
        kind = "{" if match["group"] in ("bgroup", "egroup") else "group"
        return kind, match["group"] in ("bgroup", "begingroup")
    return "", False
