"""Wikipedia sample: ``pages-articles`` dumps with siteinfo, wikitext, redirects and templates.

English articles are composed from documentation; the few Spanish ones were written for this file.
"""

from __future__ import annotations

import bz2
import json
import re
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from xml.sax.saxutils import escape

from tasks.sample.archives import SourceReport, moment, write_bytes
from tasks.sample.environment import Docstring, Environment
from tasks.sample.prose import Section, is_prose, plain, sections

PACKAGES = [("networkx", "networkx"), ("sympy", "sympy"), ("mpmath", "mpmath")]
SMALLEST_ARTICLE = 500  # characters of prose
SITEINFO = """\
<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.10/" \
xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" \
xsi:schemaLocation="http://www.mediawiki.org/xml/export-0.10/ \
http://www.mediawiki.org/xml/export-0.10.xsd" version="0.10" xml:lang="{language}">
  <siteinfo>
    <sitename>Wikipedia</sitename>
    <dbname>{language}wiki</dbname>
    <base>https://{language}.wikipedia.org/wiki/Main_Page</base>
    <generator>MediaWiki 1.39.0-wmf.18</generator>
    <case>first-letter</case>
    <namespaces>
      <namespace key="0" case="first-letter" />
      <namespace key="1" case="first-letter">Talk</namespace>
      <namespace key="10" case="first-letter">Template</namespace>
      <namespace key="14" case="first-letter">Category</namespace>
    </namespaces>
  </siteinfo>
"""
PAGE = """\
  <page>
    <title>{title}</title>
    <ns>{namespace}</ns>
    <id>{number}</id>
{redirect}    <revision>
      <id>{revision}</id>
      <timestamp>{time}</timestamp>
      <contributor>
        <username>Sample</username>
        <id>1</id>
      </contributor>
      <model>wikitext</model>
      <format>text/x-wiki</format>
      <text bytes="{size}" xml:space="preserve">{text}</text>
    </revision>
  </page>
"""


def make_wikipedia(folder: Path, environment: Environment, *, characters: int) -> SourceReport:
    """Write an English and a small Spanish dump, about `characters` of text in all."""
    articles: dict[str, tuple[Docstring, list[Section], int]] = {}
    written = 0
    for docstring in environment.docstrings(PACKAGES, minimum=700):
        if written >= characters:
            break
        title = _title(docstring)
        parts = sections(docstring.text)
        size = sum(len(text) for _, text in _texts(parts))
        if title not in articles and size >= SMALLEST_ARTICLE:
            articles[title] = (docstring, parts, size)
            written += size
    titles = set(articles)
    pages = [
        (title, 0, _wikitext(title, docstring, parts, titles))
        for title, (docstring, parts, _) in articles.items()
    ]
    first, second, third = list(articles)[:3]
    pages[3:3] = [
        ("Sample redirect", 0, f"#REDIRECT [[{first}]]"),
        (
            "Sample term",
            0,
            "'''Sample term''' may refer to:\n\n"
            f"* [[{first}]], the first article of this sample\n"
            f"* [[{second}]], the second one\n* [[{third}]], the third one\n\n"
            "{{disambiguation}}",
        ),
        ("Template:Sample note", 10, "<noinclude>Not an article.</noinclude>{{{1}}}"),
        ("Talk:" + first, 1, "This article should have more examples. ~~~~"),
    ]
    _write(folder / "enwiki-sample-pages-articles.xml.bz2", "en", pages)
    spanish = json.loads(
        (resources.files("tasks.sample") / "wikipedia_es.json").read_text(encoding="utf-8")
    )
    _write(
        folder / "eswiki-sample-pages-articles.xml.bz2",
        "es",
        [(article["title"], 0, article["text"]) for article in spanish],
    )
    written += sum(len(article["text"]) for article in spanish)
    return SourceReport(len(articles) + len(spanish), written)


def _title(docstring: Docstring) -> str:
    words = (docstring.name or docstring.module).rsplit(".", 1)[-1].replace("_", " ").strip()
    area = docstring.module.split(".")
    return f"{words[:1].upper()}{words[1:]} ({area[1] if len(area) > 1 else area[0]})"


def _texts(parts: list[Section]) -> Iterator[tuple[str, str]]:
    for part in parts:
        for block in part.blocks:
            if block.kind in ("prose", "item"):
                text = plain(block.text)
                if is_prose(text):
                    yield block.kind, text


def _wikitext(title: str, docstring: Docstring, parts: list[Section], titles: set[str]) -> str:
    name = title.rsplit(" (", 1)[0]
    area = docstring.module.split(".")[1] if "." in docstring.module else docstring.module
    neighbour = min((t for t in titles if t.endswith(f"({area})") and t > title), default=None)
    lines = [
        "{{Short description|Entry of a software library}}",
        "{{Infobox software",
        f"| name = {name}",
        f"| library = [[{docstring.package}]]",
        f"| version = {docstring.version}",
        "}}",
        f"'''{name}''' is an entry of the library ''{docstring.package}'' in its part "
        f"[[{area}]].<ref>{{{{cite web|url=https://example.org/{docstring.path}"
        f"|title=Documentation of {docstring.package}|access-date=2022-07-01}}}}</ref>"
        "<!-- composed from the documentation -->",
        "",
    ]
    for part in parts:
        texts = list(_texts([part]))
        if not texts:
            continue
        if part.title:
            lines += [f"== {part.title} =="]
        for kind, text in texts:
            lines.append(f"* {_linked(text)}" if kind == "item" else f"{_linked(text)}\n")
    if neighbour:
        lines += ["== See also ==", f"* [[{neighbour}|{neighbour.rsplit(' (', 1)[0]}]]"]
    lines += ["== References ==", "{{reflist}}", "", f"[[Category:{docstring.package}]]"]
    return "\n".join(lines)


CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")  # not allowed in XML, or of no use there
LINKS = re.compile(r"\b(graph|matrix|polynomial|algorithm|integer|function|node|edge)\b")


def _linked(text: str) -> str:
    """The first technical noun of a paragraph as a link, the way articles link terms."""
    return LINKS.sub(r"[[\1]]", text, count=1).replace("<", "&lt;")


def _write(path: Path, language: str, pages: list[tuple[str, int, str]]) -> None:
    document = [SITEINFO.format(language=language)]
    for number, (title, namespace, text) in enumerate(pages, 1):
        target = re.match(r"#REDIRECT \[\[(.+)\]\]", text)
        redirect = f'    <redirect title="{escape(target[1])}" />\n' if target else ""
        clean = CONTROL.sub("", text)
        document.append(
            PAGE.format(
                title=escape(title),
                namespace=namespace,
                number=number,
                redirect=redirect,
                revision=100_000 + number,
                time=moment(number).strftime("%Y-%m-%dT%H:%M:%SZ"),
                size=len(clean.encode("utf-8")),
                text=escape(clean),
            )
        )
    document.append("</mediawiki>\n")
    write_bytes(path, bz2.compress("".join(document).encode("utf-8")))
