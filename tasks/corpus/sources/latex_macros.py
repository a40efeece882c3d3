r"""A paper's own macros and environments: their bodies in place of their uses.

Where a use stays as written (its macro is programming, an argument lacks, a limit is reached) its
definition is kept too, since either alone says nothing. A definition in a group ends with it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence, Set
from dataclasses import dataclass

from tasks.corpus.sources.latex_arguments import Frame, arguments, fill
from tasks.corpus.sources.latex_comments import AT, veil
from tasks.corpus.sources.latex_definitions import (
    COMMAND,
    DEFINITION,
    MAX_UNCLOSED,
    NAME,
    Definition,
    Macro,
    definition_at,
    definitions,
)
from tasks.corpus.sources.latex_groups import group_ends
from tasks.corpus.sources.latex_internals import is_programming

MAX_CHARACTERS = 20_000_000
MAX_DEPTH = 20
# An argument whose end is looked for in vain takes as long as this many expansions.
UNCLOSED = 1_000

_COMMANDS = (
    "long global protected outer newcommand renewcommand providecommand DeclareRobustCommand def"
    " edef gdef xdef DeclareMathOperator NewDocumentCommand RenewDocumentCommand let"
    " ProvideDocumentCommand DeclareDocumentCommand NewExpandableDocumentCommand"
    " RenewExpandableDocumentCommand ProvideExpandableDocumentCommand"
    " DeclareExpandableDocumentCommand DeclarePairedDelimiter newenvironment renewenvironment"
    " provideenvironment newif"
)
_DEFINING = frozenset(_COMMANDS.split())
_RENEWING = ("renewcommand", "RenewDocumentCommand", "RenewExpandableDocumentCommand",
             "renewenvironment")  # fmt: skip
_INTERNAL_COMMAND = re.compile(rf"\\(?:(?:begin|end)\s*+(\{{[^{{}}\n]{{1,100}}\}})|({NAME}))")
_NAMED = re.compile(r"\s*+(\{\s*+([^{}\\\n]{1,100}?)\s*+\})")
# A command's name at the end of a text, also where it is veiled.
_TRAILING_COMMAND = re.compile(f"[\\\\\udc5c][A-Za-z{AT}\udc41-\udc5a\udc61-\udc7a]+\\Z")


@dataclass(eq=False)
class _Entry:
    """A definition in force. in_text: it stays in the text. own: its name is not LaTeX's."""

    definition: Definition
    macro: Macro | None
    number: int
    in_text: bool
    own: bool


class Macros:
    """The paper's macros as they are in force while its text is read from front to back.

    At most ``limit`` expansions, 20 deep, and never more than 20 million characters: a definition
    made to explode ends as written, and :attr:`exhausted` says so. internals: names with an at sign
    that a body stands for: see :func:`latex_internals.plain_internals`.
    """

    def __init__(self, limit: int, internals: Set[str] = frozenset()) -> None:
        self._left = limit
        self._characters = MAX_CHARACTERS
        self._unclosed = 0
        self._numbers = 0
        self._entries: dict[str, _Entry] = {}
        self._expandable: set[str] = set()
        self._needed: dict[int, _Entry] = {}
        self._frames: list[Frame] = []
        self._out: list[str] = []
        self._joint = False
        # Ends of groups in the text that is read, by the definition's start; what to undo there.
        self._group_ends: dict[int, int] = {}
        self._undo: list[tuple[int, str, _Entry | None]] = []
        # Environments that are open in the text, and how each was begun.
        self._begun: dict[str, list[_Entry | None]] = {}
        self._watched = set(_DEFINING)
        self._internals = internals

    @property
    def count(self) -> int:
        """How many names had a definition that can be expanded."""
        return len(self._expandable)

    @property
    def exhausted(self) -> bool:
        """Whether a limit was reached, so that uses stay as written."""
        return self._left <= 0 or self._characters <= 0

    def define_all(self, found: Sequence[Definition], text: str) -> None:
        """Let those of ``found`` be in force that are at the end of ``text``, where they stand."""
        ends = group_ends(text, [(d.start, d.end) for d in found])
        for definition, end in zip(found, ends, strict=True):
            if end > len(text) or not definition.local:
                self.define(definition)

    def define(self, definition: Definition, *, in_text: bool = False) -> None:
        """Let ``definition`` be in force from here on."""
        name = definition.name
        known = self._entries.get(name)
        if known is not None and definition.kind.lower().startswith("provide"):
            return
        own = definition.kind not in _RENEWING or (known is not None and known.own)
        macro = self._meaning(definition) if definition.meaning else definition.macro
        if not definition.internals <= self._internals:
            macro = None  # it leads to programming, or to LaTeX's own
        self._numbers += 1
        entry = _Entry(definition, macro, self._numbers, in_text and macro is None, own)
        if macro is not None:
            self._expandable.add(name)
        if entry.in_text:
            self._need_uses(definition)
        self._entries[name] = entry
        self._watched.update(("begin", "end") if name[0] == "{" else (name,))

    def needed(self) -> list[str]:
        """Definitions that left the text, or stand before it, and whose uses are in it."""
        done: set[int] = set()
        while open_numbers := self._needed.keys() - done:
            for number in sorted(open_numbers):
                self._need_uses(self._needed[number].definition)
            done |= open_numbers
        return [self._needed[number].definition.source for number in sorted(self._needed)]

    def expand(self, text: str, *, defines: bool = True) -> str:
        """``text`` with the macros' bodies in place of their uses and without their definitions.

        Like TeX, a body is read again together with what follows it. defines: False when it is
        known that no definition stands in ``text``.
        """
        found = list(definitions(text)) if defines else []
        ends = group_ends(text, [(d.start, d.end) for d in found])
        self._group_ends = {d.start: end for d, end in zip(found, ends, strict=True)}
        self._frames, self._out = [Frame(text, 0)], []
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
            if name == "begin" or name == "end":
                self._environment(name, frame, match.start())
                continue
            entry = self._entries.get(name)
            if entry is not None and not self._replace(entry, frame, match.start()):
                self._need(entry)
        return "".join(self._out)

    def _next(self, frame: Frame) -> re.Match[str] | None:
        """The frame's next command that is a macro in force or defines one."""
        watched, is_text = self._watched, len(self._frames) == 1
        for match in COMMAND.finditer(frame.text, frame.at):
            if match[1] in watched:
                if is_text:
                    while self._undo and self._undo[-1][0] <= match.start():
                        self._leave_group()
                return match
        return None

    def _leave_group(self) -> None:
        _, name, before = self._undo.pop()
        if before is None:
            self._entries.pop(name, None)
        else:
            self._entries[name] = before

    def _take_definition(self, frame: Frame, start: int) -> bool:
        match = DEFINITION.match(frame.text, start)
        if match is None or self._unclosed > MAX_UNCLOSED:
            return False
        definition = definition_at(frame.text, match)
        if definition is None:
            self._unclosed += 1
            return False
        if len(self._frames) == 1 and definition.local:
            end = self._group_ends.get(start, len(frame.text) + 1)
            if end <= len(frame.text):
                before = self._entries.get(definition.name)
                self._undo.append((end, definition.name, before))
        self.define(definition, in_text=True)
        entry = self._entries[definition.name]
        if entry.definition is not definition or not entry.in_text:
            self._write(frame, start)
            frame.done = definition.end
        frame.at = definition.end
        return True

    def _meaning(self, definition: Definition) -> Macro | None:
        r"""What ``\let`` gives: the macro as it is now, or the command that is LaTeX's own."""
        meaning = definition.meaning
        name = meaning[1:]
        if "@" in meaning or "@" in definition.name or definition.name[:2] == "if":
            return None
        if name in self._entries:
            return self._entries[name].macro
        if is_programming(meaning) or AT in name:
            return None
        if meaning[0] != "\\":
            return Macro(0, meaning)
        return Macro(0, veil(meaning))  # whatever is defined later under that name

    def _environment(self, name: str, frame: Frame, start: int) -> None:
        r"""At ``\begin`` or ``\end``: replaced when the environment is the paper's own."""
        named = _NAMED.match(frame.text, frame.at)
        if named is None:
            return
        key = f"{{{named[2]}}}"
        if name == "begin":
            entry = self._entries.get(key)
            if entry is None and key not in self._begun:
                return
            frame.at = named.end()
            replaced = entry is not None and self._replace(entry, frame, start)
            if entry is not None and not replaced:
                self._need(entry)
            self._begun.setdefault(key, []).append(entry if replaced else None)
            return
        begun = self._begun.get(key)
        entry = begun.pop() if begun else None
        if entry is None or entry.macro is None or entry.macro.ending is None:
            return
        frame.at = named.end()
        self._read_next(Frame(entry.macro.ending, frame.depth + 1), start, 0, frame.at)

    def _replace(self, entry: _Entry, frame: Frame, start: int) -> bool:
        """Read the macro's body next instead of its use at ``start``; False when it must stay."""
        macro = entry.macro
        if macro is None or frame.depth >= MAX_DEPTH or self._left <= 0 or self._characters <= 0:
            return False
        call = arguments(macro, self._frames)
        self._left -= 1
        if call is None:
            return False
        if call.level < 0:
            self._left -= UNCLOSED
            return False
        self._read_next(
            Frame(fill(call.body, call.values), frame.depth + 1),
            start,
            len(self._frames) - 1 - call.level,
            call.at,
        )
        return True

    def _read_next(self, body: Frame, start: int, above: int, at: int) -> None:
        """Put ``body`` in place of what the frames hold from ``start`` to ``at``.

        above: how many frames the last argument's lies below the use's.
        """
        self._characters -= len(body.text)
        self._write(self._frames[-1], start)
        if above:  # the frames above the last argument's hold nothing more
            del self._frames[-above:]
        self._frames[-1].done = self._frames[-1].at = at
        self._frames.append(body)
        self._joint = True

    def _write(self, frame: Frame, end: int) -> None:
        """Write the frame's text up to ``end``; a letter is kept apart from a command before it."""
        text = frame.text[frame.done : end]
        frame.done = end
        if not text:
            return
        before = self._out[-1] if self._joint and self._out else ""
        if text[0].isalpha() and _TRAILING_COMMAND.search(before[-100:]):
            self._out.append(" ")
        self._joint = False
        self._out.append(text)

    def _need(self, entry: _Entry) -> None:
        if entry.own and not entry.in_text:
            self._needed[entry.number] = entry

    def _need_uses(self, definition: Definition) -> None:
        for environment, command in _INTERNAL_COMMAND.findall(definition.source):
            name = environment or command
            entry = self._entries.get(name)
            if entry is not None and name != definition.name:
                self._need(entry)
