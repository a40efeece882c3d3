"""READMEs (Markdown or reStructuredText, read alike) to HTML pages of a small web site.

Only what shows in text is rendered: headings, paragraphs, lists, code and links. Every page
carries the navigation and the footer of its site, so line-level deduplication has work to do.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass

PAGE_CHARACTERS = 3_500  # after which the next heading opens a new page
RULE = re.compile(r"([-=~^*#])\1{2,}")
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title} - {site}</title>
<style>body {{ font-family: sans-serif }}</style>
<script>var page = "{site}";</script>
</head>
<body>
<nav><ul><li><a href="/">Home</a></li><li><a href="/guide">User guide</a></li>
<li><a href="/reference">Reference</a></li><li><a href="/changes">Release notes</a></li>
<li><a href="/search">Search the documentation</a></li></ul></nav>
<main>
<h1>{title}</h1>
{body}
</main>
<footer><p>Was this page helpful? Tell us what you think about it.</p>
<p>Copyright the authors of {site}. All pages are under the licence of the project.</p>
<p>Subscribe to our newsletter to hear about new releases.</p></footer>
</body>
</html>
"""


@dataclass(frozen=True)
class WebPage:
    """One page; `text` is what a text extractor should find in the body."""

    title: str
    markup: str
    text: str


def pages(site: str, title: str, source: str) -> Iterator[WebPage]:
    """The source cut into pages at headings; `site` and `title` name them."""
    body: list[str] = []
    text: list[str] = []
    name = title
    for kind, content in blocks(source):
        if kind == "heading" and sum(map(len, text)) > PAGE_CHARACTERS:
            yield _page(site, name, body, text)
            body, text, name = [], [], content
        body.append(_render(kind, content))
        text.append(content)
    if sum(map(len, text)) > 400:
        yield _page(site, name, body, text)


def blocks(source: str) -> Iterator[tuple[str, str]]:
    """(kind, text) with kind one of heading, prose, item, code."""
    source = re.sub(r"<!--.*?-->", "", source, flags=re.DOTALL)
    parts = re.split(r"^(?:```|~~~).*$", source, flags=re.MULTILINE)
    for index, part in enumerate(parts):
        if index % 2:
            if part.strip():
                yield "code", part.strip("\n")
            continue
        for block in re.split(r"\n\s*\n", part):
            yield from _block(block.rstrip().expandtabs(4))


def _block(block: str) -> Iterator[tuple[str, str]]:
    lines = [line for line in block.splitlines() if line.strip()]
    lines = [line for line in lines if not re.match(r"\.\. |:\w[\w-]*:|\[!\[|!\[", line.strip())]
    while len(lines) > 1 and RULE.fullmatch(lines[0].strip()):
        lines = lines[1:]
    if not lines:
        return
    if lines[0].startswith("#"):
        yield "heading", inline(lines[0].strip("# "))
        lines = lines[1:]
    elif len(lines) > 1 and RULE.fullmatch(lines[1].strip()):
        yield "heading", inline(lines[0])
        lines = lines[2:]
    if not lines or RULE.fullmatch(lines[0].strip()):
        return
    if all(line.startswith("   ") for line in lines) or lines[0].lstrip().startswith((">>>", "$ ")):
        yield "code", "\n".join(lines)
    elif re.match(r"\s*([-*+]|\d+[.)]) ", lines[0]):
        for item in re.split(r"\n\s*(?:[-*+]|\d+[.)]) ", "\n" + "\n".join(lines))[1:]:
            yield "item", inline(" ".join(item.split()))
    else:
        text = inline(" ".join(" ".join(lines).split()))
        if text and not text.startswith("|"):
            yield "prose", text


def inline(text: str) -> str:
    """Text without emphasis, code marks, images and link targets."""
    text = re.sub(r"<[^<>\n]*>", "", text)
    text = re.sub(r"\[!\[[^\]]*\](?:\([^)]*\))?\]\([^)]*\)", "", text)  # linked badges
    text = re.sub(r"!\[[^\]]*\]\([^)]*\)", "", text)
    text = re.sub(r"\[([^\]]*)\](?:\([^)]*\)|\[[^\]]*\])", r"\1", text)
    text = re.sub(r":[A-Za-z][\w:+-]*:`([^`]*)`", r"\1", text)
    text = re.sub(r"`{1,2}([^`]+)`{1,2}_{0,2}", r"\1", text)
    text = re.sub(r"(\*{1,2}|__)(\S[^*]*?)\1", r"\2", text)
    return html.unescape(text).replace("::", ":").strip()


def _render(kind: str, content: str) -> str:
    escaped = html.escape(content, quote=False)
    tag = {"heading": "h2", "prose": "p", "item": "li"}.get(kind)
    if tag is None:
        return f"<pre><code>{escaped}</code></pre>"
    return f"<{tag}>{escaped}</{tag}>"


def _page(site: str, title: str, body: list[str], text: list[str]) -> WebPage:
    # Neighbouring items share one list; browsers and extractors accept bare ones less well.
    markup = re.sub(r"((?:<li>.*?</li>\n?)+)", r"<ul>\n\1</ul>\n", "\n".join(body))
    fields = {"title": html.escape(title), "site": html.escape(site)}
    return WebPage(title, PAGE.format(**fields, body=markup), "\n".join([title, *text]))
