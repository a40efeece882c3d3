r"""Comments and verbatim text of a LaTeX file: what is taken out, and what is no LaTeX at all.

The two decide each other (a percent sign in ``\verb`` starts no comment, a ``\begin{verbatim}`` in
a comment starts no block), so one scan from the front finds both. Verbatim text is *veiled*: each
of its ASCII characters becomes a code point that no decoded file holds, one for one. The steps
behind (inputs, sections, bibliography, macros) see no LaTeX in it; :func:`reveal` gives it back.
What ``\iffalse`` switches off is a comment, too.
"""

from __future__ import annotations

import re
from functools import lru_cache

from tasks.corpus.sources.latex_blocks import NONE, Blocks, marks_begin
from tasks.corpus.sources.latex_conditionals import drop_false

# Lone surrogates: no decoder gives them, and no pattern of LaTeX matches them.
_VEIL = {code: 0xDC00 + code for code in range(128)}
# An at sign that is a letter: see `latex_internals`.
AT = "\udc80"
_UNVEIL = {veiled: code for code, veiled in _VEIL.items()} | {ord(AT): ord("@")}
_VEILED = re.compile(f"[\udc00-\udc7f{AT}]+")

_VERBATIM = (
    r"[BLV]?[Vv]erbatim\*?|lstlisting\*?|minted\*?|alltt\*?|spverbatim|verbatimtab|tcblisting"
    r"|filecontents\*?"
)


def _marked(number: int) -> str:
    """Text between two of the same mark, as in ``\\verb``; bounded, as a mark may never close."""
    return rf"(?P<mark{number}>[^\s\\{{}}A-Za-z*])[^\n]{{0,1000}}?(?P=mark{number})"


_OPTIONS = r"(?:\[[^\]\n]{0,500}\])?"
_BRACED = r"\{[^{}\n]{0,1000}\}"


@lru_cache(maxsize=32)
def _tokens(blocks: Blocks) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """What decides where comments are, and where a comment block ends."""
    verbatim = "|".join([_VERBATIM, *map(re.escape, blocks.verbatim)])
    comment = "|".join(["comment", *map(re.escape, blocks.comment)])
    short = rf"|(?P<short>[{re.escape(blocks.marks)}])[^\n]{{0,1000}}?(?P=short)"
    token = re.compile(
        rf"%|\\(?:begin[ \t]*+\{{(?P<environment>{comment}|{verbatim})\}}"
        rf"|(?P<inline>[Vv]erb\*?+{_marked(1)}"
        rf"|lstinline{_OPTIONS}(?:{_marked(2)}|{_BRACED})"
        rf"|mintinline{_OPTIONS}\{{[^{{}}\n]{{1,50}}\}}(?:{_marked(3)}|{_BRACED}))"
        r"|(?:url|href|path|nolinkurl)\s*+\{[^{}\n]*+\}"  # a percent sign in an address stays
        r"|[^A-Za-z])" + (short if blocks.marks else "")  # \% and \\
    )
    # The end of a comment block does not count when it is itself commented out.
    end = re.compile(rf"(?<!\\)%.*|\\end\{{(?P<environment>{comment})\}}")
    return token, end


def veil(text: str) -> str:
    """``text`` as no step takes it for LaTeX."""
    return text.translate(_VEIL)


def reveal(text: str) -> str:
    """``text`` with its veiled parts as they were."""
    if text.isascii():
        return text
    return _VEILED.sub(lambda match: match.group().translate(_UNVEIL), text)


def strip_comments(text: str, blocks: Blocks = NONE) -> str:
    r"""``text`` without comments and comment blocks, with verbatim text veiled.

    ``\%`` stays. A line that held nothing but a comment disappears. blocks: environments that the
    paper declares itself.
    """
    parts: list[str] = []
    done = at = 0
    unclosed: set[str] = set()
    token = _tokens(blocks)[0]
    marked_from = marks_begin(text) if blocks.marks else 0
    while (match := token.search(text, at)) is not None:
        start, at = match.span()
        environment = match["environment"]
        if text[start] == "%":
            line, end = text.rfind("\n", 0, start) + 1, _line_end(text, start)
            if text[line:start].strip():
                parts.append(text[done:start])
            else:  # nothing else on the line
                parts.append(text[done:line])
                end = min(end + 1, len(text))
            done = at = end
        elif text[start] in blocks.marks and start < marked_from:
            at = start + 1
        elif match["inline"] is not None or text[start] in blocks.marks:
            parts += text[done:start], veil(text[start:at])
            done = at
        elif environment is not None and environment not in unclosed:
            is_comment = environment == "comment" or environment in blocks.comment
            closed = _end(text, environment, at, blocks, is_comment)
            if closed is None:
                unclosed.add(environment)  # from here on none closes: looked for once
                continue
            parts.append(text[done:start])
            if is_comment:
                closed = _line_end(text, closed)
            else:
                parts.append(veil(text[start:closed]))
            done = at = closed
    parts.append(text[done:])
    return drop_false("".join(parts))


def _line_end(text: str, at: int) -> int:
    end = text.find("\n", at)
    return len(text) if end < 0 else end


def _end(text: str, environment: str, at: int, blocks: Blocks, is_comment: bool) -> int | None:
    if is_comment:
        ends = _tokens(blocks)[1].finditer(text, at)
        return next((match.end() for match in ends if match["environment"] == environment), None)
    closing = f"\\end{{{environment}}}"
    found = text.find(closing, at)
    return None if found < 0 else found + len(closing)
