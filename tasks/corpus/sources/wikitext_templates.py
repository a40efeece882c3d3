"""Templates: matched with a stack of braces, and removed but for those that are text."""

from __future__ import annotations

import re

from tasks.corpus.sources.wikitext_marks import NOTHING, UNCLOSED
from tasks.corpus.sources.wikitext_renderings import renderer

# MediaWiki expands templates to this depth; what is deeper is removed unseen, so that the text of
# nested ones is joined a bounded number of times.
MAX_DEPTH = 40
_BLANK = f" \n\t{NOTHING}"
_BRACES = re.compile(r"\{\{+|\}\}+")
_ARGUMENT_EDGE = re.compile(r"\[\[|\]\]|\|")


def without_templates(text: str) -> str:
    """``text`` with templates, parser functions and ``{{{arguments}}}`` gone or rendered.

    Runs of braces match as in MediaWiki: two are a template, three an argument, the inner ones
    first. Closing braces that nothing opened go; where a template never ends stands a mark.
    """
    if "{{" not in text and "}}" not in text:
        return text
    parts: list[str] = []
    # Place in ``parts`` where the content begins, and how many braces are open there.
    stack: list[tuple[int, int]] = []
    position = 0
    for braces in _BRACES.finditer(text):
        start, end = braces.span()
        parts.append(text[position:start])
        position = end
        count = end - start
        if text[start] == "{":
            stack.append((len(parts), count))
            continue
        while count >= 2 and stack:
            begin, opened = stack.pop()
            taken = 3 if opened >= 3 and count >= 3 else 2
            if taken == 3 or len(stack) >= MAX_DEPTH:
                content = NOTHING
            else:
                content = _rendered(parts, begin)
            del parts[begin:]
            opened -= taken
            count -= taken
            if opened >= 2:
                stack.append((begin, opened))
            elif opened == 1:
                parts.append("{")
            parts.append(content)
        parts.append("}" if count == 1 else NOTHING if count else "")
    parts.append(text[position:])
    for begin, _ in stack:
        parts[begin] = UNCLOSED + parts[begin]
    return "".join(parts)


def _rendered(parts: list[str], begin: int) -> str:
    """What the template whose content is ``parts[begin:]`` leaves in the text."""
    first = parts[begin]
    bar = first.find("|")
    name = first if bar < 0 else first[:bar]
    if len(name) > 100:
        return NOTHING
    render = renderer(name)
    if render is None:
        return NOTHING
    if len(parts) - begin > 1:
        first = "".join(parts[begin:])
        bar = first.find("|")
    named: dict[str, str] = {}
    positional: list[str] = []
    if bar >= 0:
        for argument in _arguments(first[bar + 1 :]):
            key, equals, value = argument.partition("=")
            if equals and "[[" not in key:  # one inside a link names no argument
                named[key.strip(_BLANK)] = value.strip(_BLANK)
            else:
                positional.append(argument.strip(_BLANK))
    for number, value in enumerate(positional, 1):
        named.setdefault(str(number), value)
    return render(named)


def _arguments(content: str) -> list[str]:
    """``content`` split at the pipes outside links."""
    if "[[" not in content:
        return content.split("|")
    arguments: list[str] = []
    depth = begin = 0
    for edge in _ARGUMENT_EDGE.finditer(content):
        token = edge.group()
        if token == "|":
            if not depth:
                arguments.append(content[begin : edge.start()])
                begin = edge.end()
        elif token == "[[":
            depth += 1
        else:
            depth = max(0, depth - 1)
    arguments.append(content[begin:])
    return arguments
