r"""The parts of a paper: ``\input``, ``\include``, ``\subfile``, ``\import`` put in their place."""

from __future__ import annotations

import posixpath
import re
from collections import Counter, deque
from collections.abc import Container, Mapping
from dataclasses import dataclass, field

from tasks.corpus.sources.latex_comments import strip_comments

MAX_DEPTH = 10
MAX_PARTS = 5_000
MAX_CHARACTERS = 20_000_000

_INPUT = re.compile(
    r"\\(?:input|include|subfile(?:include)?)(?![A-Za-z])\s*+\{\s*+(?P<braced>[^{}\s]++)\s*+\}"
    r"|\\input(?![A-Za-z])\s*+(?P<bare>[^\s{}\\%]++)"
    r"|\\(?P<sub>sub)?(?:import|inputfrom|includefrom)(?![A-Za-z])\*?+\s*+"
    r"\{\s*+(?P<folder>[^{}\s]*+)\s*+\}\s*+\{\s*+(?P<file>[^{}\s]++)\s*+\}"
)
_BEGIN = re.compile(r"\\begin\s*\{document\}")
_DOCUMENT = re.compile(r"\\begin\s*\{document\}(.*?)(?:\\end\s*\{document\}|\Z)", re.DOTALL)
_PART_CLASS = re.compile(
    r"\\documentclass\s*+(?:\[[^\]]{0,1000}\]\s*+)?\{\s*(?:subfiles|standalone)\s*\}"
)


@dataclass
class Resolved:
    """A paper's source with its parts put in. found: how many; lost: the others by reason."""

    text: str = ""
    found: int = 0
    lost: Counter[str] = field(default_factory=Counter)


def starts_document(text: str) -> bool:
    r"""Whether a file begins a document of its own.

    One of the classes ``subfiles`` and ``standalone`` is a part that can also be set alone.
    """
    if not _BEGIN.search(text):
        return False
    stripped = strip_comments(text)
    return bool(_BEGIN.search(stripped)) and not is_part(stripped)


def is_part(stripped: str) -> bool:
    """Whether a file says by its class that it belongs to another."""
    return bool(_PART_CLASS.search(stripped))


def resolve_inputs(
    name: str, files: Mapping[str, str], unread: Mapping[str, str] | None = None
) -> Resolved:
    r"""Source of ``files[name]`` with every part in its place, without comments.

    Only names inside ``files`` (the paper's own, POSIX paths) are found: an absolute path or one
    that climbs out of the paper gives nothing, like a file that is not there. Depth, number and
    total size are bounded, and a file does not include itself. Of a part that is a document of its
    own (``\subfile``) the body is put in. ``unread`` are files of the paper that :func:`with_parts`
    did not load, with the reason.
    """
    result = Resolved()
    unread = unread or {}
    known = files.keys() | unread.keys()
    stripped: dict[str, str] = {}
    left = MAX_CHARACTERS

    def expand(path: str, stack: tuple[str, ...], begun: bool) -> str:
        nonlocal left
        if path not in stripped:
            stripped[path] = strip_comments(files[path])
        text = stripped[path]
        document = _DOCUMENT.search(text) if begun else None
        if document is not None:
            text = document.group(1)
        left -= len(text)
        begun = begun or _BEGIN.search(text) is not None
        position, parts = 0, []
        for match in _INPUT.finditer(text):
            if _is_template(match):
                continue
            target = _find(match, path, name, known)
            reason = refusal(target, stack)
            parts.append(text[position : match.start()])
            position = match.end()
            if target is None or reason:
                result.lost[reason] += 1
                continue
            result.found += 1
            parts.append(expand(target, (*stack, target), begun))
        parts.append(text[position:])
        return "".join(parts)

    def refusal(target: str | None, stack: tuple[str, ...]) -> str:
        if result.found + result.lost.total() >= MAX_PARTS:
            return "too many parts"
        if target is None:
            return "part not in the paper"
        if target in unread:
            return unread[target]
        if target in stack:
            return "part includes itself"
        if len(stack) > MAX_DEPTH:
            return "parts nested too deep"
        return "parts too large" if len(files[target]) > left else ""

    result.text = expand(name, (name,), False)
    return result


@dataclass
class Loaded:
    """A main file and the files it puts in. unread: those left out, with the reason."""

    texts: dict[str, str]
    unread: dict[str, str] = field(default_factory=dict)


def with_parts(name: str, files: Mapping[str, str]) -> Loaded:
    """Texts of ``name`` and of the files that it puts in, first directly, then through others.

    Bounded like :func:`resolve_inputs`, so that no more is held at once than it can put in.
    """
    result = Loaded({name: files[name]})
    left = MAX_CHARACTERS - len(result.texts[name])
    unsearched = deque([name])
    while unsearched:
        current = unsearched.popleft()
        for match in _INPUT.finditer(strip_comments(result.texts[current])):
            target = None if _is_template(match) else _find(match, current, name, files)
            if target is None or target in result.texts or target in result.unread:
                continue
            if len(result.texts) > MAX_PARTS:
                result.unread[target] = "too many parts"
                continue
            text = files[target]
            if len(text) > left:
                result.unread[target] = "parts too large"
                continue
            left -= len(text)
            result.texts[target] = text
            unsearched.append(target)
    return result


def _is_template(match: re.Match[str]) -> bool:
    """Whether it stands in a macro's definition and names its argument."""
    return "#" in match.group()


def _find(match: re.Match[str], current: str, main: str, files: Container[str]) -> str | None:
    r"""LaTeX looks from the main file's folder; some papers count from the including file's.

    ``\subimport`` always counts from the including file's.
    """
    target = match["braced"] or match["bare"] or posixpath.join(match["folder"], match["file"])
    bases = [posixpath.dirname(main), posixpath.dirname(current)]
    for base in bases[::-1] if match["sub"] else bases:
        path = posixpath.normpath(posixpath.join(base, target))
        if path.startswith(("/", "../")):
            continue
        for candidate in (f"{path}.tex", path):
            if candidate in files:
                return candidate
    return None
