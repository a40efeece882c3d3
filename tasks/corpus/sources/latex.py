"""LaTeX source to the text a model reads: comments, macros, front matter, bibliography.

The steps are those of the paper (section 2.1, after Lewkowycz et al. 2022) with the public
replica's defects avoided: an escaped percent sign stays, the character before a comment stays,
every kind of section counts, macros inside macros are expanded.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

MAX_INPUT_DEPTH = 10
MAX_CHARACTERS = 20_000_000
MAX_EXPANSION_DEPTH = 20

MAX_GROUP = 20_000
MAX_UNCLOSED = 1_000
MISSED = 100

_VERBATIM = re.compile(r"\\begin\{(verbatim\*?|Verbatim|lstlisting|minted|alltt)\}")
_COMMENT_BLOCK = re.compile(r"\\begin\{(comment)\}")
# A percent sign after an even number of backslashes, outside of an address.
_COMMENT = re.compile(r"(?P<keep>(?<!\\)(?:\\\\)*)%.*")
_ADDRESS = re.compile(r"\\(?:url|href|path|nolinkurl)\s*\{[^{}\n]*\}")
_INPUT = re.compile(
    r"\\(?:input|include|subfile)(?![A-Za-z])\s*+\{\s*+([^{}\s]++)\s*+\}"
    r"|\\input(?![A-Za-z])\s*+([^\s{}\\%]++)"
)
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
# Possessive: white space between the parts is tried once, not in every way of sharing it out.
_DEFINITION = re.compile(
    r"\\(?:(?P<new>(?:re)?newcommand|providecommand|DeclareRobustCommand)\*?\s*+"
    r"(?:\{\s*+\\(?P<n1>[A-Za-z]+|[^A-Za-z\s])\s*+\}|\\(?P<n2>[A-Za-z]+|[^A-Za-z\s]))"
    r"(?:\s*+\[(?P<count>\d)\])?(?:\s*+(?P<option>\[[^\]\n]{0,200}\]))?\s*+(?=\{)"
    r"|(?:def|gdef)\s*+\\(?P<n3>[A-Za-z]+|[^A-Za-z\s])(?P<arguments>(?:#\d)*)\s*+(?=\{)"
    r"|(?P<operator>DeclareMathOperator)(?P<star>\*?)\s*+\{?\s*+\\(?P<n4>[A-Za-z]+)\s*+\}?\s*+(?=\{))"
)
_COMMAND = re.compile(r"\\([A-Za-z]+|[^A-Za-z])", re.DOTALL)
_PARAMETER = re.compile(r"#([1-9])")
_UNSAFE_BODY = re.compile(
    r"\\(?:def|newcommand|renewcommand|let|csname|expandafter|futurelet|catcode|begingroup|if[a-z]*)"
    r"(?![A-Za-z])|@"
)
_BLANK_LINES = re.compile(r"\n[ \t]*(?:\n[ \t]*){2,}")


@dataclass(frozen=True)
class Macro:
    """A user's macro: number of arguments and body with #1, #2 ..."""

    arguments: int
    body: str


def strip_comments(text: str) -> str:
    """``text`` without comments; ``\\%`` and verbatim environments stay as they are.

    A line that held nothing but a comment disappears.
    """
    parts: list[str] = []
    position = 0
    for start, end in _blocks(text, _VERBATIM):
        line_start = text.rfind("\n", 0, start) + 1
        if _COMMENT.search(text, line_start, start):
            continue  # the environment is itself commented out
        parts.append(_strip_lines(text[position:start]))
        parts.append(text[start:end])
        position = end
    parts.append(_strip_lines(text[position:]))
    stripped = "".join(parts)
    kept, position = [], 0
    for start, end in _blocks(stripped, _COMMENT_BLOCK):
        kept.append(stripped[position:start])
        line_end = stripped.find("\n", end)
        position = len(stripped) if line_end < 0 else line_end
    return "".join(kept) + stripped[position:]


def _blocks(text: str, opening: re.Pattern[str]) -> Iterator[tuple[int, int]]:
    """Spans of closed environments, without nesting, in time linear in the text.

    A regular expression would search the rest of the text anew for every one never closed.
    """
    last: dict[str, int] = {}
    position = 0
    for match in opening.finditer(text):
        closing = f"\\end{{{match.group(1)}}}"
        if closing not in last:
            last[closing] = text.rfind(closing)
        if match.start() < position or last[closing] < match.end():
            continue
        position = text.index(closing, match.end()) + len(closing)
        yield match.start(), position


def _strip_lines(text: str) -> str:
    if "%" not in text:
        return text
    kept = []
    for line in text.split("\n"):
        if "%" not in line:
            kept.append(line)
            continue
        start = _comment_start(line)
        if start is None:
            kept.append(line)
        elif line[:start].strip():
            kept.append(line[:start])
    return "\n".join(kept)


def _comment_start(line: str) -> int | None:
    addresses = [match.span() for match in _ADDRESS.finditer(line)]
    for match in re.finditer("%", line):
        at = match.start()
        backslashes = len(line[:at]) - len(line[:at].rstrip("\\"))
        if backslashes % 2 == 0 and not any(low <= at < high for low, high in addresses):
            return at
    return None


def resolve_inputs(name: str, files: Mapping[str, str]) -> str:
    r"""Text of ``files[name]`` with every ``\input`` and ``\include`` put in its place.

    Only names inside ``files`` (the paper's own archive, POSIX paths) are found: an absolute path
    or one that climbs out of the archive gives nothing, like a file that is not there. Depth and
    total size are bounded, and a file does not include itself.
    """
    budget = [MAX_CHARACTERS]

    def expand(path: str, stack: tuple[str, ...]) -> str:
        text = strip_comments(files[path])
        budget[0] -= len(text)
        if budget[0] < 0 or len(stack) > MAX_INPUT_DEPTH:
            return ""

        def replace(match: re.Match[str]) -> str:
            target = _find(match.group(1) or match.group(2), path, name, files)
            return "" if target is None or target in stack else expand(target, (*stack, target))

        return _INPUT.sub(replace, text)

    return expand(name, (name,))


def _find(target: str, current: str, main: str, files: Mapping[str, str]) -> str | None:
    """LaTeX looks from the main file's folder; some papers count from the including file's."""
    for base in (posixpath.dirname(main), posixpath.dirname(current)):
        path = posixpath.normpath(posixpath.join(base, target))
        if path.startswith(("/", "../")):
            continue
        for candidate in (f"{path}.tex", path):
            if candidate in files:
                return candidate
    return None


def take_definitions(text: str) -> tuple[str, dict[str, Macro]]:
    """``text`` without the user's macro definitions, and the macros that can be expanded.

    Definitions with an optional argument, with delimited parameters, or with programming in their
    body are removed too, but their uses stay as written. The last definition of a name counts.
    """
    macros: dict[str, Macro] = {}
    kept: list[str] = []
    position = unclosed = 0
    for match in _DEFINITION.finditer(text):
        if match.start() < position:
            continue
        group = _group(text, match.end())
        if group is None:
            unclosed += 1
            if unclosed > MAX_UNCLOSED:
                break
            continue
        body, end = group
        kept.append(text[position : match.start()])
        position = end
        name = match["n1"] or match["n2"] or match["n3"] or match["n4"]
        if match["operator"]:
            macros[name] = Macro(0, f"\\operatorname{match['star']}{{{body}}}")
            continue
        count = int(match["count"] or 0) if match["new"] else len(match["arguments"]) // 2
        if match["option"] or _UNSAFE_BODY.search(body):
            macros.pop(name, None)
        else:
            macros[name] = Macro(count, body.replace("\\xspace", "").strip())
    kept.append(text[position:])
    return "".join(kept), macros


def _group(text: str, start: int) -> tuple[str, int] | None:
    """Content of the braces that open at ``start`` and the position behind them.

    None when they do not close within 20,000 characters: longer than any macro or argument.
    """
    if start >= len(text) or text[start] != "{":
        return None
    depth, at = 0, start
    stop = min(len(text), start + MAX_GROUP)
    while at < stop:
        character = text[at]
        if character == "\\":
            at += 2
            continue
        if character == "{":
            depth += 1
        elif character == "}":
            depth -= 1
            if depth == 0:
                return text[start + 1 : at], at + 1
        at += 1
    return None


def expand_macros(text: str, macros: Mapping[str, Macro], limit: int) -> str:
    """``text`` with the macros' bodies in place of their uses, innermost definitions included.

    At most ``limit`` expansions, 20 deep, never a macro inside itself, and never more than 20
    million characters: a definition made to explode ends as written.
    """
    if not macros:
        return text
    budget = [limit, MAX_CHARACTERS]

    def expand(part: str, active: frozenset[str], depth: int) -> str:
        out: list[str] = []
        position = 0
        while (match := _COMMAND.search(part, position)) is not None:
            name = match.group(1)
            macro = macros.get(name)
            usable = macro is not None and name not in active and depth < MAX_EXPANSION_DEPTH
            usable = usable and budget[0] > 0
            call = _arguments(part, match.end(), macro.arguments) if macro and usable else None
            if macro is not None and usable and call is None:
                budget[0] -= MISSED  # looking for an argument in vain is what takes time
            if macro is None or call is None or budget[0] <= 0 or budget[1] <= 0:
                out.append(part[position : match.end()])
                position = match.end()
                continue
            values, end = call
            budget[0] -= 1
            body = _fill(macro.body, values)
            budget[1] -= len(body)
            out.append(part[position : match.start()])
            new = expand(body, active | {name}, depth + 1)
            if re.search(r"\\[A-Za-z]+\Z", new) and part[end : end + 1].isalpha():
                new += " "
            out.append(new)
            position = end
        out.append(part[position:])
        return "".join(out)

    return expand(text, frozenset(), 0)


def _arguments(text: str, start: int, count: int) -> tuple[list[str], int] | None:
    """``count`` arguments from ``start``: braced groups or single tokens; None when they lack."""
    values: list[str] = []
    at = start
    for _ in range(count):
        while at < len(text) and text[at] in " \t\n":
            at += 1
        if at >= len(text) or text[at] == "}":
            return None
        if text[at] == "{":
            group = _group(text, at)
            if group is None:
                return None
            value, at = group
        else:
            token = _COMMAND.match(text, at)
            value = token.group() if token else text[at]
            at += len(value)
        values.append(value)
    return values, at


def _fill(body: str, values: list[str]) -> str:
    def value(match: re.Match[str]) -> str:
        index = int(match.group(1)) - 1
        if index >= len(values):
            return match.group()
        after_command = re.search(r"\\[A-Za-z]+\Z", body[: match.start()])
        return (" " if after_command and values[index][:1].isalpha() else "") + values[index]

    return _PARAMETER.sub(value, body)


def body_from_first_section(text: str) -> str | None:
    r"""What follows ``\begin{document}`` from the first section header on, without bibliography.

    None when there is no section header. Appendices stay.
    """
    _, begin, body = text.partition(r"\begin{document}")
    body = (body if begin else text).partition(r"\end{document}")[0]
    section = _SECTION.search(body)
    if section is None:
        return None
    body = _BIBLIOGRAPHY.sub("", body[section.start() :])
    body = _BIBLIOGRAPHY_COMMAND.sub("", body)
    body = "\n".join(line.rstrip() for line in body.split("\n"))
    return _BLANK_LINES.sub("\n\n", body).strip()
