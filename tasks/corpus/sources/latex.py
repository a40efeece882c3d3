"""LaTeX source to the text a model reads: front matter and bibliography go, macros are expanded.

The steps are those of the paper (section 2.1, after Lewkowycz et al. 2022) with the public
replica's defects avoided: an escaped percent sign stays, the character before a comment stays,
every kind of section counts, macros inside macros are expanded. Comments and parts come first:
``latex_comments`` and ``latex_inputs``.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Sequence

from tasks.corpus.sources.latex_comments import reveal
from tasks.corpus.sources.latex_definitions import Definition, definitions
from tasks.corpus.sources.latex_macros import Macros

_BEGIN = re.compile(r"\\begin\s*\{document\}")
_END = re.compile(r"\\end\s*\{document\}")
_SECTION = re.compile(
    r"\\(?:part|chapter|section|subsection|subsubsection|paragraph|subparagraph)\*?\s*[\[{]"
)
_BIBLIOGRAPHY = re.compile(
    r"\\begin\{(thebibliography|bibliography|references)\}.*?(?:\\end\{\1\}|\Z)", re.DOTALL
)
_BIBLIOGRAPHY_COMMAND = re.compile(
    r"\\(?:bibliography|bibliographystyle|addbibresource|nobibliography)\s*\{[^{}]*\}"
    r"|\\printbibliography\s*(?:\[[^\]]{0,500}\])?"
)
_BLANK_LINES = re.compile(r"\n[ \t]*(?:\n[ \t]*){2,}")


def body_from_first_section(source: str, expansions: int) -> tuple[str, int] | None:
    r"""Text of a paper from its first section header on, and the number of its macros.

    ``source`` has no comments and its verbatim text veiled. None when there is no section header.
    The bibliography goes, appendices stay. Uses of the paper's macros are replaced at most
    ``expansions`` times; a definition from before the first section whose uses stay as written is
    put ahead of it.
    """
    found = list(definitions(source))
    opening = _outside(_BEGIN, source, 0, found)
    begin = 0 if opening is None else opening.end()
    closing = _outside(_END, source, begin, found)
    end = len(source) if closing is None else closing.start()
    section = _outside(_SECTION, source, begin, found)
    if section is None or section.start() >= end:
        return None
    body = _BIBLIOGRAPHY.sub("", source[section.start() : end])
    body = _BIBLIOGRAPHY_COMMAND.sub("", body)
    macros = Macros(expansions)
    for definition in found:
        if definition.end <= section.start():
            macros.define(definition)
    body = macros.expand(body)
    text = "\n".join([*macros.needed(), body])
    text = "\n".join(line.rstrip() for line in text.split("\n"))
    return reveal(_BLANK_LINES.sub("\n\n", text).strip()), macros.count


def _outside(
    pattern: re.Pattern[str], text: str, start: int, found: Sequence[Definition]
) -> re.Match[str] | None:
    """First match from ``start`` on that stands in no definition."""
    for match in pattern.finditer(text, start):
        before = bisect.bisect(found, match.start(), key=lambda definition: definition.start)
        if before == 0 or found[before - 1].end <= match.start():
            return match
    return None
