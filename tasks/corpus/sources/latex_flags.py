r"""Flags of a paper: what ``\newif`` declares and the preamble sets, where that is certain."""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tasks.corpus.sources.latex_conditionals import BRACED, drop_false
from tasks.corpus.sources.latex_definitions import Definition, definitions

MAX_FLAGS = 50

_NEW = re.compile(r"\\newif\s*+\\if([A-Za-z@]{1,100}+)")
# Commands that make another thing of the conditional behind them.
_TAKEN = re.compile(r"\\(?:unless|expandafter|noexpand|string)\s*\Z")
# Commands of ifthen and etoolbox, names that are put together, other names for what sets one.
_BY_NAME = re.compile(
    r"\\(?:set(?:boolean|bool|toggle)|(?:new|provide)(?:boolean|bool)|bool(?:true|false))"
    r"(?![A-Za-z])\s*+\{\s*+([A-Za-z@]{1,100}+)\s*+\}"
)
_SPELLED = re.compile(
    r"\\csname\s*+([^{}\n]{0,100}?(?:true|false))\s*+\\endcsname"
    r"|\\[@\udc80]nameuse\s*+\{\s*+([^{}\n]{0,100}?(?:true|false))\s*+\}"
)
_RENAMED = re.compile(
    r"\\let\s*+\\[A-Za-z@]++\s*+=?\s*+\\([A-Za-z@]{1,100}?)(?:true|false)(?![A-Za-z@])"
)
_BEGIN = re.compile(r"\\begin\s*\{document\}")


@dataclass
class _Flag:
    """What is known of a flag. places, values: from where on it has which value; False at first."""

    places: list[int] = field(default_factory=list)
    values: list[bool] = field(default_factory=list)
    is_certain: bool = True

    def value(self, at: int) -> bool | None:
        before = bisect.bisect(self.places, at)
        return self.values[before - 1] if before else None


def without_flags(text: str, packages: Iterable[str] = ()) -> str:
    r"""``text`` without what its flags switch off, and without the conditionals they decide.

    A flag decides when everything that sets it is known: its ``\newif`` and each ``\...true`` and
    ``\...false`` of it stand in the preamble, in no group, conditional or definition, and none in
    ``packages`` (texts of the paper's own). Any other stays as written.
    """
    begin = _BEGIN.search(text)
    end = len(text) if begin is None else begin.start()
    if text.find("\\newif", 0, end) < 0:
        return text
    names = sorted(set(_NEW.findall(text, 0, end)))[:MAX_FLAGS]
    names = [name for name in names if not any(_sets(name, package) for package in packages)]
    names = [n for n in names if not any(_sets_otherwise(n, t) for t in (text, *packages))]
    if not names:
        return text
    found = [definition for definition in definitions(text) if definition.kind != "newif"]
    flags = _certain(text, names, found, end)
    if not flags:
        return text
    starts = [definition.start for definition in found]

    def value_of(word: str, at: int) -> bool | None:
        flag = flags.get(word[2:])
        if flag is None or _TAKEN.search(text[max(0, at - 20) : at]):
            return None
        before = bisect.bisect(starts, at)
        is_later = at >= end or (before > 0 and at < found[before - 1].end)
        return flag.value(end if is_later else at)

    return drop_false(text, value_of)


def _sets(name: str, package: str) -> bool:
    return f"\\{name}true" in package or f"\\{name}false" in package


def _sets_otherwise(name: str, text: str) -> bool:
    r"""Whether a flag is set by a command that takes its name, or under another name."""
    if "\\csname" in text or "nameuse" in text:
        for spelled in map("".join, _SPELLED.findall(text)):
            if spelled in (f"{name}true", f"{name}false") or "\\" in spelled or "#" in spelled:
                return True
    if any(found == name for found in _BY_NAME.findall(text)):
        return True
    return any(found == name for found in _RENAMED.findall(text))


def _certain(
    text: str, names: Sequence[str], found: Sequence[Definition], end: int
) -> dict[str, _Flag]:
    """The flags of which everything is known; end: of the preamble."""
    flags = {name: _Flag() for name in names}
    depth = conditionals = number = 0
    for match in _tokens(names).finditer(text):
        at = match.start()
        while number < len(found) and found[number].end <= at:
            number += 1
        is_inside = number < len(found) and found[number].start <= at
        name = match["new"] or match["set"] or match["given"]
        if name is not None:
            flag = flags[name]
            is_first = match["new"] is not None and not flag.places
            is_set = match["set"] is not None and bool(flag.places)
            is_plain = at < end and not (depth or conditionals or is_inside)
            flag.is_certain &= is_plain and (is_first or is_set)
            flag.places.append(at)
            flag.values.append(match["value"] == "true")
        elif not is_inside:
            depth += (match["opens"] is not None) - (match["closes"] is not None)
            depth += (match.group() == "{") - (match.group() == "}")
            conditionals += (match["if"] is not None) - (match["fi"] is not None)
            depth, conditionals = max(depth, 0), max(conditionals, 0)
    return {name: flag for name, flag in flags.items() if flag.is_certain and flag.places}


def _tokens(names: Sequence[str]) -> re.Pattern[str]:
    known = "|".join(map(re.escape, names))
    return re.compile(
        rf"\\(?:newif\s*+\\if(?P<new>{known})(?![A-Za-z@])"
        rf"|let\s*+\\(?:if)?(?P<given>{known})(?:true|false)?(?![A-Za-z@])"
        rf"|(?P<set>{known})(?P<value>true|false)(?![A-Za-z@])"
        r"|newif\s*+\\[A-Za-z@]++|let\s*+\\[A-Za-z@]++\s*+=?\s*+\\[A-Za-z@]++"
        r"|(?P<opens>b(?:egin)?group)(?![A-Za-z@])|(?P<closes>e(?:nd)?group)(?![A-Za-z@])"
        rf"|(?P<if>i(?!(?:{BRACED})(?![A-Za-z@]))f[A-Za-z@]*+)|(?P<fi>fi)(?![A-Za-z@])"
        r"|[^A-Za-z])|[{}]",
        re.DOTALL,
    )
