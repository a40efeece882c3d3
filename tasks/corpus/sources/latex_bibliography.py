r"""The bibliography of a paper: as a command, as an environment, as a section of that name."""

from __future__ import annotations

import re

from tasks.corpus.sources.latex_groups import braced

_SECTION_NAMES = "part|chapter|section|subsection|subsubsection|paragraph|subparagraph"
SECTION = re.compile(rf"\\(?:{_SECTION_NAMES})\*?\s*+[\[{{]")

_ENVIRONMENT = re.compile(
    r"\\begin\s*\{(thebibliography|bibliography|references|biblist|bibdiv)\*?\}"
)
_COMMAND = re.compile(
    r"\\(?:bibliography|bibliographystyle|addbibresource|nobibliography|nocite|bibliographyunit)"
    r"\*?\s*+\{[^{}]*\}"
    r"|\\printbibliography(?![A-Za-z])\s*+(?:\[[^\]]{0,500}\])?"
    r"|\\(?:printbibheading|putbib)(?![A-Za-z])(?:\[[^\]\n]{0,200}\])?"
)
# Where a section of references ends at the latest.
_NEXT = re.compile(
    rf"\\(?:{_SECTION_NAMES})\*?\s*+[\[{{]|\\appendix(?![A-Za-z])"
    r"|\\(?:begin|end)\s*\{(?:document|appendix|appendices|figure\*?|table\*?)\}"
)
_TITLE = re.compile(
    r"(?:the )?(?:references?(?: and (?:notes|links|bibliography))?|bibliograph(?:y|ie)"
    r"|(?:literature|works) cited|cited literature|cited references|list of references"
    r"|notes and references|bibliography and references|literatur(?:verzeichnis)?"
    r"|quellenverzeichnis|références(?: bibliographiques)?|referencias(?: bibliográficas)?"
    r"|bibliograf[ií]a|riferimenti(?: bibliografici)?|referências(?: bibliográficas)?"
    r"|список литературы|литература|参考文献|参考資料)"
)
_LIST = re.compile(r"\\(?:bibliography|printbibliography|putbib)(?![A-Za-z])")
_REFS = re.compile(r"\\Refs(?![A-Za-z])")
_TITLE_LENGTH = 200
_MARKUP = re.compile(r"\\[A-Za-z@]+\*?|[{}~\s.:\[\]\d]+")


def without_bibliography(body: str) -> str:
    r"""``body`` without its bibliography, wherever it stands; appendices stay.

    ``\bibliography`` and its like, ``thebibliography``, REVTeX's ``references``, amsrefs'
    ``biblist``, AMS-TeX's ``\Refs``, and sections that are called References (in eight languages),
    up to the next section, figure, table or the appendix. An environment that is not closed goes up
    to the end.
    """
    body = _without_sections(body)
    if "bib" in body or "references" in body or "\\nocite" in body:
        body = _COMMAND.sub("", _without_environments(body))
    return _without_refs(body) if "\\endRefs" in body else body


def _without_refs(body: str) -> str:
    parts, at = [], 0
    while (begin := _REFS.search(body, at)) is not None:
        end = body.find("\\endRefs", begin.end())
        if end < 0:
            break
        parts.append(body[at : begin.start()])
        at = end + len("\\endRefs")
    parts.append(body[at:])
    return "".join(parts)


def _without_environments(body: str) -> str:
    parts, at = [], 0
    for match in _ENVIRONMENT.finditer(body):
        if match.start() < at:
            continue
        parts.append(body[at : match.start()])
        closing = re.compile(rf"\\end\s*\{{{match[1]}\*?\}}").search(body, match.end())
        at = len(body) if closing is None else closing.end()
    parts.append(body[at:])
    return "".join(parts)


def _without_sections(body: str) -> str:
    """Where the section holds a bibliography that ends by itself, only its header goes."""
    parts, at = [], 0
    for match in SECTION.finditer(body):
        start = match.start()
        behind = -1 if start < at else _behind_references(body, match)
        if behind < 0:
            continue
        parts.append(body[at:start])
        following = _NEXT.search(body, behind)
        end = len(body) if following is None else following.start()
        closed = any(pattern.search(body, behind, end) for pattern in (_ENVIRONMENT, _LIST))
        at = behind if closed else end
    parts.append(body[at:])
    return "".join(parts)


def _behind_references(body: str, match: re.Match[str]) -> int:
    """Position behind a header whose title says that references follow; -1 for any other."""
    at = match.end() - 1
    if body[at] == "[":
        # The short title stands before the title.
        closing = body.find("]{", at, at + _TITLE_LENGTH)
        if closing < 0:
            return -1
        at = closing + 1
    title = braced(body[at : at + _TITLE_LENGTH], 0)
    if title is None:
        return -1
    words = " ".join(_MARKUP.sub(" ", title[0]).casefold().split())
    return at + title[1] if _TITLE.fullmatch(words) else -1
