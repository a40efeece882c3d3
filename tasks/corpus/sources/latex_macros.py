r"""A paper's own macros: their bodies in place of their uses.

Where a use stays as written (its macro is programming, an argument lacks, a limit is reached) its
definition is kept too, since either alone says nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tasks.corpus.sources.latex_definitions import (
    COMMAND,
    DEFINITION,
    MAX_UNCLOSED,
    NAME,
    Definition,
    Macro,
    braced,
    bracketed,
    definition_at,
)

MAX_CHARACTERS = 20_000_000
MAX_DEPTH = 20
# An argument whose end is looked for in vain takes as long as this many expansions.
UNCLOSED = 1_000

_COMMANDS = (
    "long global protected outer newcommand renewcommand providecommand DeclareRobustCommand def"
    " edef gdef xdef DeclareMathOperator NewDocumentCommand RenewDocumentCommand let"
    " ProvideDocumentCommand DeclareDocumentCommand NewExpandableDocumentCommand"
    " RenewExpandableDocumentCommand ProvideExpandableDocumentCommand"
    " DeclareExpandableDocumentCommand DeclarePairedDelimiter"
)
_DEFINING = frozenset(_COMMANDS.split())
_RENEWING = ("renewcommand", "RenewDocumentCommand", "RenewExpandableDocumentCommand")
_INTERNAL_COMMAND = re.compile(rf"\\({NAME})")
_TRAILING_COMMAND = re.compile(r"\\[A-Za-z]+\Z")
_PARAMETER = re.compile(r"(\\[A-Za-z]++)?#([1-9])")
_BLANK = re.compile(r"\s*+")


@dataclass(eq=False)
class _Entry:
    """A definition in force. in_text: it stays in the text. own: its name is not LaTeX's."""

    definition: Definition
    number: int
    in_text: bool
    own: bool


@dataclass
class _Frame:
    """Text being read: up to ``done`` it is written, from ``at`` on it is unread."""

    text: str
    depth: int
    done: int = 0
    at: int = 0


class Macros:
    """The paper's macros as they are in force while its text is read from front to back.

    At most ``limit`` expansions, 20 deep, and never more than 20 million characters: a definition
    made to explode ends as written.
    """

    def __init__(self, limit: int) -> None:
        self._left = limit
        self._characters = MAX_CHARACTERS
        self._unclosed = 0
        self._numbers = 0
        self._entries: dict[str, _Entry] = {}
        self._expandable: set[str] = set()
        self._needed: dict[int, _Entry] = {}
        self._frames: list[_Frame] = []
        self._out: list[str] = []
        self._joint = False

    @property
    def count(self) -> int:
        """How many names had a definition that can be expanded."""
        return len(self._expandable)

    def define(self, definition: Definition, *, in_text: bool = False) -> None:
        """Let ``definition`` be in force from here on."""
        known = self._entries.get(definition.name)
        if known is not None and definition.kind.lower().startswith("provide"):
            return
        own = definition.kind not in _RENEWING or (known is not None and known.own)
        self._numbers += 1
        entry = _Entry(definition, self._numbers, in_text, own)
        if definition.macro is not None:
            self._expandable.add(definition.name)
        if in_text:
            self._need_uses(definition)
        self._entries[definition.name] = entry

    def needed(self) -> list[str]:
        """Definitions that left the text, or stand before it, and whose uses are in it."""
        done: set[int] = set()
        while open_numbers := self._needed.keys() - done:
            for number in sorted(open_numbers):
                self._need_uses(self._needed[number].definition)
            done |= open_numbers
        return [self._needed[number].definition.source for number in sorted(self._needed)]

    def expand(self, text: str) -> str:
        """``text`` with the macros' bodies in place of their uses and without their definitions.

        Like TeX, a body is read again together with what follows it.
        """
        self._frames, self._out = [_Frame(text, 0)], []
        while self._frames:
            frame = self._frames[-1]
            match = self._next(frame)
            if match is None:
                self._write(frame, len(frame.text))
                self._frames.pop()
                self._joint = True
                continue
            frame.at = match.end()
            name = match.group(1)
            if name in _DEFINING and self._take_definition(frame, match.start()):
                continue
            entry = self._entries.get(name)
            if entry is not None and not self._replace(entry, frame, match.start()):
                self._need(entry)
        return "".join(self._out)

    def _next(self, frame: _Frame) -> re.Match[str] | None:
        """The frame's next command that is a macro in force or defines one."""
        entries = self._entries
        for match in COMMAND.finditer(frame.text, frame.at):
            name = match[1]
            if name in entries or name in _DEFINING:
                return match
        return None

    def _take_definition(self, frame: _Frame, start: int) -> bool:
        match = DEFINITION.match(frame.text, start)
        if match is None or self._unclosed > MAX_UNCLOSED:
            return False
        definition = definition_at(frame.text, match)
        if definition is None:
            self._unclosed += 1
            return False
        in_text = definition.macro is None
        if not in_text:
            self._write(frame, start)
            frame.done = definition.end
        frame.at = definition.end
        self.define(definition, in_text=in_text)
        return True

    def _replace(self, entry: _Entry, frame: _Frame, start: int) -> bool:
        """Read the macro's body next instead of its use at ``start``; False when it must stay."""
        macro = entry.definition.macro
        if macro is None or frame.depth >= MAX_DEPTH or self._left <= 0 or self._characters <= 0:
            return False
        call = self._arguments(macro)
        self._left -= 1
        if call is None:
            return False
        values, level, at = call
        body = _fill(macro.body, values)
        self._characters -= len(body)
        self._write(frame, start)
        # The frames above the last argument's hold nothing more.
        del self._frames[level + 1 :]
        self._frames[level].done = self._frames[level].at = at
        self._frames.append(_Frame(body, frame.depth + 1))
        self._joint = True
        return True

    def _arguments(self, macro: Macro) -> tuple[list[str], int, int] | None:
        """Arguments from the reading position: braced groups or single tokens; None if they lack.

        With the frame that the last of them stood in and the position behind it there.
        """
        values: list[str] = []
        level, at = len(self._frames) - 1, self._frames[-1].at
        for number in range(macro.arguments):
            next_level, next_at = self._skip_blank(level, at)
            text = self._frames[next_level].text
            mark = text[next_at : next_at + 1]
            if number == 0 and macro.default is not None and mark != "[":
                values.append(macro.default)
                continue
            if mark in ("", "}"):
                return None
            if mark == "{" or (mark == "[" and number == 0 and macro.default is not None):
                found = braced(text, next_at) if mark == "{" else bracketed(text, next_at)
                if found is None:
                    self._left -= UNCLOSED
                    return None
                value, at = found
            else:
                token = COMMAND.match(text, next_at)
                value = token.group() if token else mark
                at = next_at + len(value)
            level = next_level
            values.append(value)
        return values, level, at

    def _skip_blank(self, level: int, at: int) -> tuple[int, int]:
        """Next position that holds no white space, in this frame or one below."""
        while True:
            text = self._frames[level].text
            match = _BLANK.match(text, at)
            assert match is not None
            if match.end() < len(text) or level == 0:
                return level, match.end()
            level -= 1
            at = self._frames[level].at

    def _write(self, frame: _Frame, end: int) -> None:
        """Write the frame's text up to ``end``; a letter is kept apart from a command before it."""
        text = frame.text[frame.done : end]
        frame.done = end
        if not text:
            return
        before = self._out[-1] if self._joint and self._out else ""
        if text[0].isalpha() and _TRAILING_COMMAND.search(before):
            self._out.append(" ")
        self._joint = False
        self._out.append(text)

    def _need(self, entry: _Entry) -> None:
        if entry.own and not entry.in_text:
            self._needed[entry.number] = entry

    def _need_uses(self, definition: Definition) -> None:
        for name in _INTERNAL_COMMAND.findall(definition.source):
            entry = self._entries.get(name)
            if entry is not None and name != definition.name:
                self._need(entry)


def _fill(body: str, values: list[str]) -> str:
    def value(match: re.Match[str]) -> str:
        command, index = match[1] or "", int(match[2]) - 1
        if index >= len(values):
            return match.group()
        apart = " " if command and values[index][:1].isalpha() else ""
        return command + apart + values[index]

    return _PARAMETER.sub(value, body) if values else body
