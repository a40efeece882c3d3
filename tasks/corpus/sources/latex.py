"""LaTeX source to the text a model reads: front matter and bibliography go, macros are expanded.

The steps are those of the paper (section 2.1, after Lewkowycz et al. 2022) with the public
replica's defects avoided: an escaped percent sign stays, the character before a comment stays,
every kind of section counts, macros inside macros are expanded, the appendix stays. Comments and
parts come first: ``latex_comments`` and ``latex_inputs``.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Sequence, Set
from dataclasses import dataclass

from tasks.corpus.sources.latex_bibliography import SECTION, without_bibliography
from tasks.corpus.sources.latex_comments import reveal
from tasks.corpus.sources.latex_definitions import Definition, definitions
from tasks.corpus.sources.latex_internals import plain_internals, with_internals
from tasks.corpus.sources.latex_macros import Macros

MAX_SECTION_MACROS = 50

_BEGIN = re.compile(r"\\begin\s*\{document\}")
_END = re.compile(r"\\end\s*\{document\}")
# AMS-TeX's style of papers, which names its parts otherwise than LaTeX.
_AMSPPT = re.compile(r"\\documentstyle\s*+(?:\[[^\]\n]{0,200}\]\s*+)?\{amsppt\}")
_AMSPPT_HEAD = 20_000
_AMSPPT_SECTION = r"\\(?:sub){0,2}head(?:ing)?(?![A-Za-z])"
_AMSPPT_BEGIN = re.compile(r"\\document(?![A-Za-z])")
_AMSPPT_END = re.compile(r"\\enddocument(?![A-Za-z])")
_BLANK_LINES = re.compile(r"\n[ \t]*(?:\n[ \t]*){2,}")


@dataclass(frozen=True)
class Sections:
    r"""A paper from its first section on. before: what stands ahead of it, with the preamble.

    found: the definitions in ``before``. defines: whether there are some in ``body``. packages:
    those of the paper's own packages. internals: names with an at sign that a body stands for.
    """

    before: str
    body: str
    found: Sequence[Definition]
    defines: bool
    packages: Sequence[Definition] = ()
    internals: Set[str] = frozenset()


@dataclass(frozen=True)
class Expanded:
    """A paper's text. macros: how many it defines. bounded: whether a limit ended the expansion."""

    text: str
    macros: int
    bounded: bool


def from_first_section(source: str, packages: Sequence[Definition] = ()) -> Sections | None:
    r"""The paper from its first section header to ``\end{document}``; None when it has none.

    ``source`` has no comments and its verbatim text veiled. A macro of the paper whose body holds a
    section command begins a section, too, and in AMS-TeX ``\head`` and its like do. packages:
    definitions of the paper's own packages.
    """
    source = with_internals(source)
    found = list(definitions(source))
    is_amsppt = _AMSPPT.search(source, 0, _AMSPPT_HEAD) is not None
    opening = _outside(_AMSPPT_BEGIN if is_amsppt else _BEGIN, source, 0, found)
    begin = 0 if opening is None else opening.end()
    closing = _outside(_AMSPPT_END if is_amsppt else _END, source, begin, found)
    end = len(source) if closing is None else closing.start()
    pattern = _section_pattern([*packages, *found], _AMSPPT_SECTION if is_amsppt else "")
    section = _outside(pattern, source, begin, found)
    if section is None or section.start() >= end:
        return None
    start = section.start()
    ahead = [definition for definition in found if definition.end <= start]
    internals = plain_internals([*packages, *found])
    defines = len(ahead) < len(found)
    return Sections(source[:start], source[start:end], ahead, defines, packages, internals)


def expanded(body: str, sections: Sections, expansions: int) -> Expanded:
    """``body`` with the paper's macros expanded, at most ``expansions`` times.

    A definition from before the first section whose uses stay as written is put ahead of it.
    """
    macros = Macros(expansions, sections.internals)
    for definition in sections.packages:
        macros.define(definition)
    macros.define_all(sections.found, sections.before)
    body = macros.expand(body, defines=sections.defines)
    if "{thebibliography}" in body:  # begun by a macro
        body = without_bibliography(body)
    text = "\n".join([*macros.needed(), body])
    text = "\n".join(map(str.rstrip, text.split("\n")))
    return Expanded(reveal(_BLANK_LINES.sub("\n\n", text).strip()), macros.count, macros.exhausted)


def body_from_first_section(source: str, expansions: int) -> tuple[str, int] | None:
    """All steps on a source without comments: its text and the number of its macros.

    None when there is no section header.
    """
    sections = from_first_section(source)
    if sections is None:
        return None
    result = expanded(without_bibliography(sections.body), sections, expansions)
    return result.text, result.macros


def _section_pattern(found: Sequence[Definition], besides: str = "") -> re.Pattern[str]:
    names = {
        definition.name
        for definition in found
        if definition.macro is not None and SECTION.search(definition.macro.body)
    }
    commands = sorted(name for name in names if name.isalpha())[:MAX_SECTION_MACROS]
    if not commands and not besides:
        return SECTION
    own = [rf"\\(?:{'|'.join(commands)})(?![A-Za-z])"] if commands else []
    return re.compile("|".join([SECTION.pattern, *own, *([besides] if besides else [])]))


def _outside(
    pattern: re.Pattern[str], text: str, start: int, found: Sequence[Definition]
) -> re.Match[str] | None:
    """First match from ``start`` on that stands in no definition."""
    for match in pattern.finditer(text, start):
        before = bisect.bisect(found, match.start(), key=lambda definition: definition.start)
        if before == 0 or found[before - 1].end <= match.start():
            return match
    return None
