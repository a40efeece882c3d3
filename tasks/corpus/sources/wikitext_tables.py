"""Tables of wikitext and of HTML."""

from __future__ import annotations

import re

from tasks.corpus.sources.wikitext_marks import NOTHING, TABLE, TABLE_END

# Possessive: a line's blanks are read once. A line feed first: it is what the search looks for.
_EDGE = re.compile(rf"\n(?:[ \t:*#;]*+\{{\||[ \t{NOTHING}]*+\|\}}(?!\}}))|{TABLE}|{TABLE_END}")
_OPENS = ("{|", TABLE)


def without_tables(text: str) -> str:
    """``text`` without the tables that are opened and closed, nested ones with those around.

    Of one that is never closed only the marks of ``<table>`` go here; its rows go with the lines.
    """
    if "{|" not in text and TABLE not in text and TABLE_END not in text:
        return text
    parts: list[str] = []
    # The places in ``parts`` where the open tables of each kind begin.
    wiki: list[int] = []
    html: list[int] = []
    position = 0
    text = f"\n{text}"
    for edge in _EDGE.finditer(text):
        token = edge.group()
        is_html = token in (TABLE, TABLE_END)
        start = edge.start() if is_html else edge.start() + 1
        parts.append(text[position:start])
        stack, other = (html, wiki) if is_html else (wiki, html)
        if token.endswith(_OPENS):
            stack.append(len(parts))
            # The line's own mark is the table's text, for tables that never close.
            position = edge.end() if is_html else start
            continue
        position = edge.end()
        if not stack:
            parts.append(NOTHING)
            continue
        begin = stack.pop()
        del parts[begin:]
        parts.append(NOTHING)
        while other and other[-1] >= begin:  # opened inside the table that ends here
            other.pop()
    parts.append(text[position:])
    return "".join(parts)[1:]
