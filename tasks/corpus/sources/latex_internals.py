r"""Names with an at sign, and names in ``\csname``: those that a paper keeps for its own use.

Between ``\makeatletter`` and ``\makeatother`` (all through a package) an at sign is a letter. There
the at signs of commands become a character that no decoded file holds, so that the steps behind
tell ``\my@x`` from ``\my`` and an at sign; ``latex_comments.reveal`` gives them back.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Set

from tasks.corpus.sources.latex_comments import AT
from tasks.corpus.sources.latex_definitions import PRIMITIVES, Definition

# Patterns begin with a whole word, for which a text is searched fast.
_ON = re.compile(r"\\makeatletter(?![A-Za-z@])")
_OFF = re.compile(r"\\makeatother(?![A-Za-z@])")
_CATEGORY = re.compile(r"\\catcode\s*+`\\?@\s*+=?\s*+1([12])(?!\d)[ ]?")
_BEGIN = re.compile(r"\\begin\s*\{document\}")
_TOKEN = re.compile(r"\\(?:([A-Za-z@]++)|.)", re.DOTALL)
# A definition of a name that is spelled out is one of the command of that name.
_SPELLED = re.compile(
    r"\\expandafter\s*+\\(?P<define>(?:(?:global|long)\s*+\\){0,2}+(?:[egx]?def|let"
    r"|(?:(?:re)?newcommand|providecommand)\*?))"
    r"\s*+\\csname\s*+(?P<name>[A-Za-z@]{1,100}+)\s*+\\endcsname"
)
_NAMED = re.compile(rf"\\{AT}name(?P<define>e?def)\s*+\{{\s*+(?P<name>[A-Za-z@]{{1,100}}+)\s*+\}}")


def with_internals(text: str) -> str:
    r"""``text`` with the at signs of its internal names marked, and spelled-out names as commands.

    ``\expandafter\def\csname foo\endcsname`` becomes ``\def\foo``. Where at signs stay letters to
    the end, they do up to ``\begin{document}``.
    """
    if "\\catcode" in text:
        text = _CATEGORY.sub(lambda m: f"\\makeat{'letter' if m[1] == '1' else 'other'} ", text)
    if "\\makeatletter" in text:
        text = _with_regions(text)
    return _SPELLED.sub(_as_command, text) if "\\endcsname" in text else text


def of_package(text: str) -> str:
    """The same for a package or class, in which at signs are letters throughout."""
    return _SPELLED.sub(_as_command, _marked(text))


def _with_regions(text: str) -> str:
    parts: list[str] = []
    at = 0
    begin = _BEGIN.search(text)
    document = len(text) if begin is None else begin.start()
    while (on := _ON.search(text, at)) is not None:
        start = on.end()
        off = _OFF.search(text, start)
        if off is not None:
            end = off.start()
        elif start < document:
            end = document
        else:
            break
        parts += text[at:start], _marked(text[start:end])
        at = end
        if off is None:
            break
    parts.append(text[at:])
    return "".join(parts)


def _marked(text: str) -> str:
    def letters(match: re.Match[str]) -> str:
        name = match[1]
        if name is None or "@" not in name or name == "@":  # \@ is LaTeX's, for spacing
            return match.group()
        return "\\" + name.replace("@", AT)

    if "@" not in text:
        return text
    text = _TOKEN.sub(letters, text)
    return _NAMED.sub(_as_command, text) if "namedef" in text or "nameedef" in text else text


def _as_command(match: re.Match[str]) -> str:
    return f"\\{match['define']}\\{match['name'].replace('@', AT)}"


def closed(uses: Mapping[str, Iterable[str]], broken: Iterable[str]) -> set[str]:
    """The names in ``uses`` that lead, through the names they use, to none of ``broken``."""
    users: dict[str, list[str]] = defaultdict(list)
    for name, used in uses.items():
        for other in used:
            users[other].append(name)
    lost = set(broken)
    unseen = list(lost)
    while unseen:
        for user in users.pop(unseen.pop(), ()):
            if user not in lost:
                lost.add(user)
                unseen.append(user)
    return set(uses) - lost


def plain_internals(found: Iterable[Definition]) -> Set[str]:
    """Internal names among those defined by ``found`` whose uses a body can stand for, all of it.

    Not those of programming, nor of LaTeX, nor those that lead to such.
    """
    uses: dict[str, set[str]] = {}
    broken: set[str] = set()
    for definition in found:
        if AT not in definition.name:
            continue
        used = uses.setdefault(definition.name, set())
        used |= definition.internals
        if definition.meaning and not is_programming(definition.meaning):
            used.update(name for name in [definition.meaning[1:]] if AT in name)
        elif definition.macro is None:
            broken.add(definition.name)
    broken.update(name for used in uses.values() for name in used if name not in uses)
    return closed(uses, broken)


def is_programming(meaning: str) -> bool:
    r"""Whether what ``\let`` gives has a use only in programs."""
    name = meaning[1:]
    if meaning[0] != "\\":
        return meaning in "{}%#&~^_$"
    return "@" in name or name in PRIMITIVES or (name[:2] == "if" and name != "iff")
