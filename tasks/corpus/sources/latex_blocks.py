r"""Blocks that a paper declares to be verbatim text or comments: names of its own environments."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tasks.corpus.sources.latex_groups import braced

MAX_NAMES = 50
MAX_UNCLOSED = 100

_NAME = r"[A-Za-z][A-Za-z0-9]{0,49}\*?"
_VERBATIM = re.compile(
    r"\\(?:lstnewenvironment|(?:Define|Custom|Recustom)VerbatimEnvironment|newtcblisting"
    r"|(?:Declare|New|Renew|Provide)TCBListing)\s*+(?:\[[^\]\n]{0,200}\]\s*+)?"
    rf"\{{\s*+(?P<name>{_NAME})\s*+\}}"
    rf"|\\newminted\s*+(?:\[(?P<alias>{_NAME})\]\s*+)?\{{(?P<language>[a-z0-9+#-]{{1,30}})\}}"
)
_ENVIRONMENT = re.compile(
    rf"\\(?:re)?newenvironment\*?\s*+\{{\s*+(?P<name>{_NAME})\s*+\}}"
    r"(?:\s*+\[[^\]\n]{0,200}\]){0,2}\s*+(?=\{)"
)
_BODY = re.compile(
    r"\\(?:(?P<verbatim>[BL]?[Vv]erbatim\*?|lstlisting|minted|alltt|VerbatimEnvironment"
    r"|lst@Key|verbatim@start|begin\{(?:[Vv]erbatim|lstlisting|alltt|minted)\*?\})"
    r"|(?P<comment>comment|begin\{comment\}))(?![A-Za-z])"
)
_COMMENT = re.compile(rf"\\excludecomment\s*+\{{\s*+(?P<name>{_NAME})\s*+\}}")
_SHORT = re.compile(r"\\(?:Make|Define)ShortVerb\*?\s*+(?:\{\s*+\\(\S)\s*+\}|\\(\S))")
_KEYS = ("erbatim", "TCBListing", "newtcblisting", "lstnew", "newminted", "alltt", "omment",
         "ShortVerb", "lstlisting")  # fmt: skip


@dataclass(frozen=True)
class Blocks:
    """Names of environments. marks: characters that enclose verbatim text without ``\\verb``."""

    verbatim: tuple[str, ...] = ()
    comment: tuple[str, ...] = ()
    marks: str = ""


NONE = Blocks()


def own_blocks(texts: Iterable[str]) -> Blocks:
    """What the files of a paper declare; at most 50 names, in alphabetical order."""
    verbatim: set[str] = set()
    comment: set[str] = set()
    marks: set[str] = set()
    for text in texts:
        if not any(key in text for key in _KEYS):
            continue
        for match in _VERBATIM.finditer(text):
            verbatim.add(match["name"] or match["alias"] or f"{match['language']}code")
        for name, use in _environments(text):
            (verbatim if use == "verbatim" else comment).add(name)
        comment.update(match["name"] for match in _COMMENT.finditer(text))
        marks.update(match[1] or match[2] for match in _SHORT.finditer(text))
    comment -= verbatim
    if not (verbatim or comment or marks):
        return NONE
    kept = sorted(mark for mark in marks if mark.isascii() and not mark.isalnum())
    return Blocks(
        tuple(sorted(verbatim)[:MAX_NAMES]),
        tuple(sorted(comment)[:MAX_NAMES]),
        "".join(mark for mark in kept if mark not in "\\{}%$&"),
    )


def marks_begin(text: str) -> int:
    """Where marks are in force from: behind their declaration, from the start without one."""
    match = _SHORT.search(text)
    return match.end() if match is not None else 0


def _environments(text: str) -> Iterator[tuple[str, str]]:
    """Environments whose begin starts verbatim text or a comment, and which of the two."""
    behind = unclosed = 0
    for match in _ENVIRONMENT.finditer(text):
        if match.start() < behind:
            continue
        body = braced(text, match.end())
        if body is None:
            unclosed += 1
            if unclosed > MAX_UNCLOSED:
                return
            continue
        behind = body[1]
        use = _BODY.search(body[0])
        if use is not None:
            yield match["name"], "verbatim" if use["verbatim"] else "comment"
