r"""A paper's own packages and classes (``.sty``, ``.cls``): their definitions, never their text.

Only what stands for its uses is taken: a macro that is programming or page layout, that a package
defines in two ways, or that leads through what it uses to such a one, is left alone, as is every
name that LaTeX or its common packages give a meaning that readers know. Packages that papers ship
though everybody has them are not read.
"""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tasks.corpus.sources.latex_comments import AT, strip_comments
from tasks.corpus.sources.latex_conditionals import end_of_input
from tasks.corpus.sources.latex_definitions import COMMAND, Definition, definitions
from tasks.corpus.sources.latex_groups import group_ends
from tasks.corpus.sources.latex_internals import closed, is_programming, of_package
from tasks.corpus.sources.latex_names import COMMON_PACKAGES, KNOWN_NAMES

MAX_PACKAGES = 100
MAX_CHARACTERS = 2_000_000
MAX_DEPTH = 10

_LOAD = re.compile(
    r"\\(?:(?P<package>usepackage|RequirePackage(?:WithOptions)?)"
    r"|(?P<class>documentclass|LoadClass(?:WithOptions)?)|documentstyle)(?![A-Za-z@])\s*+"
    r"(?:\[(?P<options>[^\]]{0,2000}+)\]\s*+)?\{(?P<names>[^{}\\]{1,2000}+)\}"
    r"|\\@?input(?![A-Za-z@])\s*+(?:\{\s*+(?P<braced>[^{}\s\\]{1,300}+)\s*+\}"
    r"|(?P<bare>[^\s{}\\%]{1,300}+))"
)
_BEGIN = re.compile(r"\\begin\s*\{document\}")
# Registers: names that mean nothing outside their package.
_REGISTER = re.compile(
    r"\\new(?:length|dimen|skip|muskip|count|box|savebox|toks|if|write|read)(?![A-Za-z@])\s*+"
    rf"\{{?\s*+\\([A-Za-z{AT}]++)"
)
_LAYOUT = re.compile(
    r"\\(?:list|endlist|trivlist|endtrivlist|[hv]skip|setlength|addtolength|setcounter"
    r"|addtocounter|refstepcounter|stepcounter|par(?:indent|skip)|baselineskip|hsize|vsize|vfill"
    r"|(?:left|right)(?:skip|margin)|vbox|vtop|setbox|rlap|llap|raise|lower|kern|penalty"
    r"|addvspace|everypar|hangindent|halign|advance|global|immediate|write|openout|newpage"
    r"|clearpage|pagestyle|thispagestyle|markboth|markright|addcontentsline)(?![A-Za-z])"
)


@dataclass
class Packages:
    """What a paper's own packages give. definitions: in the order in which they come in force.

    texts: of the packages that were read. lost: those that were not, by reason.
    """

    definitions: list[Definition] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    lost: Counter[str] = field(default_factory=Counter)


def own_packages(
    source: str, main: str, packages: Mapping[str, str], put_in: Sequence[str] = ()
) -> Packages:
    """The packages of a paper that its preamble loads, and those that they load.

    source: of the paper, with its parts, without comments. main: its main file's path, from whose
    folder packages are named. packages: by their path in the paper; nothing else is read. put_in:
    paths of those that ``source`` had as parts. Bounded: 100 packages, 10 deep, 2 million
    characters.
    """
    result = Packages()
    if not packages:
        return result
    begin = _BEGIN.search(source)
    folders = dict.fromkeys((posixpath.dirname(main), ""))
    seen: set[str] = set()
    found: list[Definition] = []
    registers: set[str] = set()
    left = MAX_CHARACTERS

    def load(path: str, depth: int) -> None:
        nonlocal left
        if path in seen:
            return
        seen.add(path)
        text = packages[path]
        reason = "packages nested too deep" if depth > MAX_DEPTH else ""
        reason = "packages too large" if len(text) > left else reason
        if reason or len(result.texts) >= MAX_PACKAGES:
            result.lost[reason or "too many packages"] += 1
            return
        left -= len(text)
        text = strip_comments(text)
        text = text[: end_of_input(text)]
        result.texts.append(text)
        for other in _loaded(text, folders, packages):
            load(other, depth + 1)
        text = of_package(text)
        found.extend(_in_force(text))
        registers.update(_REGISTER.findall(text))

    for path in _loaded(source[: begin.start() if begin else len(source)], folders, packages):
        load(path, 0)
    for path in put_in:
        if not _is_common(path):
            load(path, 0)
    result.definitions = _plain(found, registers)
    return result


def _loaded(text: str, folders: Mapping[str, None], packages: Mapping[str, str]) -> Iterator[str]:
    """Paths of the packages that ``text`` loads, in order."""
    for match in _LOAD.finditer(text):
        if match["names"] is None:
            candidates = [match["braced"] or match["bare"]]
        else:
            names = [name.strip() for name in match["names"].split(",")]
            if match["package"]:
                candidates = [f"{name}.sty" for name in names]
            elif match["class"]:
                candidates = [f"{name}.cls" for name in names]
            else:  # LaTeX 2.09, whose options are packages
                options = (match["options"] or "").split(",")
                candidates = [f"{name}.cls" for name in names]
                candidates += [f"{name.strip()}.sty" for name in (*names, *options)]
        for candidate in candidates:
            paths = [posixpath.normpath(posixpath.join(folder, candidate)) for folder in folders]
            path = next((path for path in paths if path in packages), None)
            if path is not None and not _is_common(candidate):
                yield path


def _is_common(path: str) -> bool:
    """Whether it is called as a package that everybody has."""
    name = posixpath.splitext(posixpath.basename(path))[0]
    return COMMON_PACKAGES.fullmatch(name.lower()) is not None


def _in_force(text: str) -> list[Definition]:
    """Definitions in a package that hold where it ends."""
    found = list(definitions(text))
    ends = group_ends(text, [(definition.start, definition.end) for definition in found])
    return [
        definition
        for definition, end in zip(found, ends, strict=True)
        if end > len(text) or not definition.local
    ]


def _plain(found: Sequence[Definition], registers: set[str]) -> list[Definition]:
    """Those of ``found`` that stand for their uses with all that they lead to."""
    sources: dict[str, str] = {}
    uses: dict[str, set[str]] = {}
    broken = registers - KNOWN_NAMES
    for definition in found:
        name = definition.name
        if name in KNOWN_NAMES:
            continue
        if not _is_plain(definition) or sources.setdefault(name, definition.source) != (
            definition.source
        ):
            broken.add(name)
        uses[name] = set(COMMAND.findall(definition.source)) - {name}
    broken.update(
        other for used in uses.values() for other in used if AT in other and other not in uses
    )
    taken = closed(uses, broken)
    return [definition for definition in found if definition.name in taken]


def _is_plain(definition: Definition) -> bool:
    if definition.meaning:
        meaning = definition.meaning
        return meaning[1:].isalpha() and not is_programming(meaning)
    return definition.macro is not None and not _LAYOUT.search(definition.source)
