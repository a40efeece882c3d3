r"""The parts of a paper: ``\input``, ``\include``, ``\subfile``, ``\import`` put in their place."""

from __future__ import annotations

import posixpath
import re
from collections import Counter, deque
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tasks.corpus.sources.latex_blocks import own_blocks
from tasks.corpus.sources.latex_comments import strip_comments
from tasks.corpus.sources.latex_conditionals import end_of_input
from tasks.corpus.sources.latex_definitions import Definition
from tasks.corpus.sources.latex_flags import without_flags
from tasks.corpus.sources.latex_packages import own_packages

MAX_DEPTH = 10
MAX_PARTS = 5_000
MAX_CHARACTERS = 20_000_000

# A name may hold spaces inside; what stands in quotes, too.
_NAME = r"[^{}\s\"][^{}\n\"]{0,300}?"
_INPUT = re.compile(
    r"\\(?:@?input|include|subfile(?:include)?|InputIfFileExists)(?![A-Za-z])\s*+"
    rf"\{{\s*+\"?(?P<braced>{_NAME})\"?\s*+\}}"
    r"|\\input(?![A-Za-z])\s*+(?:\"(?P<quoted>[^\"{}\n]{1,300})\"|(?P<bare>[^\s{}\\%\"]++))"
    r"|\\(?P<sub>sub)?(?:import|inputfrom|includefrom)(?![A-Za-z])\*?+\s*+"
    rf"\{{\s*+(?P<folder>[^{{}}\s]*+)\s*+\}}\s*+\{{\s*+(?P<file>{_NAME})\s*+\}}"
)
_BEGIN = re.compile(r"\\begin\s*\{document\}")
_DOCUMENT = re.compile(r"\\begin\s*\{document\}(.*?)(?:\\end\s*\{document\}|\Z)", re.DOTALL)
_MAIN = re.compile(r"\\documentclass|\\documentstyle|\\begin\s*\{document\}")
_COMMAND_BEFORE = re.compile(r"\\[A-Za-z@]{1,99}\Z")
_COMMON_MAIN_NAMES = ("main.tex", "ms.tex", "paper.tex", "article.tex")
_PART_CLASS = re.compile(
    r"\\documentclass\s*+(?:\[[^\]]{0,1000}\]\s*+)?\{\s*(?:subfiles|standalone)\s*\}"
)


class Sources:
    """The files of one paper, each without comments when that was asked for once."""

    def __init__(self, files: Mapping[str, str]) -> None:
        self.files = files
        self._blocks = own_blocks(files.values())
        self._stripped: dict[str, str] = {}

    def stripped(self, name: str) -> str:
        r"""A file up to ``\endinput``, without comments, with verbatim text veiled."""
        if name not in self._stripped:
            text = strip_comments(self.files[name], self._blocks)
            self._stripped[name] = text[: end_of_input(text)]
        return self._stripped[name]


def main_file(sources: Sources) -> str | None:
    r"""The file a paper starts from: ``\documentclass`` or ``\begin{document}`` outside comments.

    Of several, one that is no part by its class, then one with both, then one that no other puts
    in, then one with a usual name, then the longest, then by name.
    """
    found = _commands(sources)
    put_in = _put_in(sources, found) if len(found) > 1 else set()

    def rank(name: str) -> tuple[bool, int, bool, bool, int, str]:
        text, usual = sources.files[name], posixpath.basename(name).lower() in _COMMON_MAIN_NAMES
        part = is_part(sources.stripped(name))
        return part, -len(found[name]), name in put_in, not usual, -len(text), name

    return min(found, key=rank, default=None)


def documents(sources: Sources) -> list[str]:
    """Files that are a whole document each: no part by their class, nor put in by another."""
    found = _commands(sources)
    whole = {
        name
        for name, commands in found.items()
        if len(commands) > 1 and not is_part(sources.stripped(name))
    }
    if len(whole) > 1:
        whole -= _put_in(sources, found)
    return sorted(whole)


def _commands(sources: Sources) -> dict[str, set[str]]:
    """Which commands of a main file each file has; those with none left out."""
    found = {}
    for name, text in sources.files.items():
        if _MAIN.search(text) and (commands := set(_MAIN.findall(sources.stripped(name)))):
            found[name] = {command.partition("{")[0].rstrip() for command in commands}
    return found


def _put_in(sources: Sources, names: Iterable[str]) -> set[str]:
    """Files that one of ``names`` puts in."""
    result = set()
    for name in names:
        for match in _INPUT.finditer(sources.stripped(name)):
            target = None if _is_template(match) else _find(match, name, name, sources.files)
            if target is not None and target != name:
                result.add(target)
    return result


class _AnyOf:
    """What one of several holds."""

    def __init__(self, *holders: Container[str]) -> None:
        self._holders = holders

    def __contains__(self, name: object) -> bool:
        return any(name in holder for holder in self._holders)


@dataclass
class Resolved:
    """A paper's source with its parts put in. found: how many; lost: the others by reason.

    packages: how many of its own packages were read. definitions: what they define.
    """

    text: str = ""
    found: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    packages: int = 0
    definitions: Sequence[Definition] = ()


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
    name: str,
    files: Mapping[str, str] | Sources,
    unread: Mapping[str, str] | None = None,
    packages: Mapping[str, str] | None = None,
) -> Resolved:
    r"""Source of ``files[name]`` with every part in its place, without comments.

    Only names inside ``files`` (the paper's own, POSIX paths) are found: an absolute path or one
    that climbs out of the paper gives nothing, like a file that is not there. Depth, number and
    total size are bounded, and a file does not include itself. A ``.bbl`` is the bibliography: it
    is not put in, and not lost. Of a part that is a document of its
    own (``\subfile``) the body is put in. ``unread`` are files of the paper that :func:`with_parts`
    did not load, with the reason. ``packages`` are its own, by their path: of one that is loaded or
    put in only the definitions count.
    """
    result = Resolved()
    unread = unread or {}
    packages = {} if packages is None else packages
    put_in: list[str] = []
    unknown: list[bool] = []  # parts of the preamble that are not there
    sources = files if isinstance(files, Sources) else Sources(files)
    known = _AnyOf(sources.files, unread, packages)
    left = MAX_CHARACTERS

    def expand(path: str, stack: tuple[str, ...], begun: bool) -> str:
        nonlocal left
        text = sources.stripped(path)
        document = _DOCUMENT.search(text) if begun else None
        if document is not None:
            text = document.group(1)
        left -= len(text)
        begin = None if begun else _BEGIN.search(text)
        preamble = 0 if begun else len(text) if begin is None else begin.start()
        begun = begun or begin is not None
        position = 0
        parts: list[str] = []
        for match in _INPUT.finditer(text):
            if _is_template(match):
                continue
            _append(parts, text[position : match.start()])
            position = match.end()
            if _target(match).lower().endswith(".bbl"):
                continue
            target = _find(match, path, name, known)
            if target is not None and target in packages and target not in sources.files:
                put_in.append(target)
                continue
            reason = refusal(target, stack)
            if target is None or reason:
                result.lost[reason] += 1
                unknown.extend([True] * (match.start() < preamble))
                continue
            result.found += 1
            _append(parts, expand(target, (*stack, target), begun))
        _append(parts, text[position:])
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
        return "parts too large" if len(sources.files[target]) > left else ""

    text = expand(name, (name,), False)
    own = own_packages(text, name, packages, put_in)
    result.text = text if unknown else without_flags(text, own.texts)
    if result.text != text:  # what a flag switches off may have loaded some
        own = own_packages(result.text, name, packages, put_in)
    result.packages, result.definitions = len(own.texts), own.definitions
    result.lost += own.lost
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


def _append(parts: list[str], text: str) -> None:
    """Add ``text``, a letter apart from the command that stands before it."""
    if not text:
        return
    if parts and text[0].isalpha() and _COMMAND_BEFORE.search(parts[-1][-100:]):
        parts.append(" ")
    parts.append(text)


def _is_template(match: re.Match[str]) -> bool:
    """Whether it stands in a macro's definition and names its argument."""
    return "#" in match.group()


def _target(match: re.Match[str]) -> str:
    """The path that is named."""
    name = match["braced"] or match["quoted"] or match["bare"]
    return (name or posixpath.join(match["folder"], match["file"])).strip()


def _find(match: re.Match[str], current: str, main: str, files: Container[str]) -> str | None:
    r"""LaTeX looks from the main file's folder; some papers count from the including file's.

    ``\subimport`` always counts from the including file's.
    """
    target = _target(match)
    bases = [posixpath.dirname(main), posixpath.dirname(current)]
    for base in bases[::-1] if match["sub"] else bases:
        path = posixpath.normpath(posixpath.join(base, target))
        if path.startswith(("/", "../")):
            continue
        for candidate in (f"{path}.tex", path):
            if candidate in files:
                return candidate
    return None
