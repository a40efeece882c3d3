r"""The arguments of a macro's use: where they are in what is still to be read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tasks.corpus.sources.latex_comments import AT
from tasks.corpus.sources.latex_definitions import COMMAND, Macro
from tasks.corpus.sources.latex_groups import braced, bracketed, delimited

_PARAMETER = re.compile(f"([\\\\\udc5c][A-Za-z{AT}\udc41-\udc5a\udc61-\udc7a]++)?#([1-9])")
_BLANK = re.compile(r"\s*+")


@dataclass
class Frame:
    """Text being read: up to ``done`` it is written, from ``at`` on it is unread."""

    text: str
    depth: int
    done: int = 0
    at: int = 0


@dataclass(frozen=True)
class Call:
    """A use's arguments, and the body they go into.

    level, at: the frame that the last stood in, and the position behind it. level is -1 when the
    end of an argument was looked for in vain.
    """

    body: str
    values: list[str]
    level: int
    at: int


_IN_VAIN = Call("", [], -1, 0)


def arguments(macro: Macro, frames: Sequence[Frame]) -> Call | None:
    """Arguments from the reading position of the last frame on; None if they lack.

    Braced groups or single tokens, or, for a macro with delimiters, what stands between these. A
    frame that is read to its end is continued by the one below it.
    """
    level, at = len(frames) - 1, frames[-1].at
    values: list[str] = []
    body = macro.body
    if macro.starred is not None:
        starred_level, starred_at = _skip_blank(frames, level, at)
        mark = frames[starred_level].text[starred_at : starred_at + 1]
        if mark == "[":
            return None  # a size
        if mark == "*":
            body, level, at = macro.starred, starred_level, starred_at + 1
    if macro.delimiters and macro.delimiters[0]:
        level, at = _skip_blank(frames, level, at)
        if not frames[level].text.startswith(macro.delimiters[0], at):
            return None
        at += len(macro.delimiters[0])
    for number in range(macro.arguments):
        next_level, next_at = _skip_blank(frames, level, at)
        text = frames[next_level].text
        if macro.delimiters and macro.delimiters[number + 1]:
            found = delimited(text, next_at, macro.delimiters[number + 1])
            if found is None:
                return _IN_VAIN
            value, at = found
            level = next_level
            values.append(value)
            continue
        mark = text[next_at : next_at + 1]
        optional = number == 0 and macro.default is not None
        if optional and mark != "[":
            assert macro.default is not None
            values.append(macro.default)
            continue
        if mark in ("", "}"):
            return None
        if mark == "{" or optional:
            found = braced(text, next_at) if mark == "{" else bracketed(text, next_at)
            if found is None:
                return _IN_VAIN
            value, at = found
        else:
            token = COMMAND.match(text, next_at)
            value = token.group() if token else mark
            at = next_at + len(value)
        level = next_level
        values.append(value)
    return Call(body, values, level, at)


def _skip_blank(frames: Sequence[Frame], level: int, at: int) -> tuple[int, int]:
    """Next position that holds no white space, in this frame or one below."""
    while True:
        text = frames[level].text
        match = _BLANK.match(text, at)
        assert match is not None
        if match.end() < len(text) or level == 0:
            return level, match.end()
        level -= 1
        at = frames[level].at


def fill(body: str, values: Sequence[str]) -> str:
    """``body`` with the arguments in place of their numbers."""

    def value(match: re.Match[str]) -> str:
        command, index = match[1] or "", int(match[2]) - 1
        if index >= len(values):
            return match.group()
        apart = " " if command and values[index][:1].isalpha() else ""
        return command + apart + values[index]

    return _PARAMETER.sub(value, body) if values else body
