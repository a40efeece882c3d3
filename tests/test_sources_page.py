"""Every example in docs/sources.md is what the product's own code makes of its raw text."""

from __future__ import annotations

import bz2
import re
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from types import ModuleType

import pytest

from tasks.corpus.documents import Document
from tasks.corpus.finish import Finish
from tasks.corpus.funnel import Funnel
from tasks.corpus.mixture import SOURCES
from tasks.corpus.parameters import CorpusParameters
from tasks.corpus.sources import arxiv, books, c4, commoncrawl, github, stackexchange, wikipedia
from tests.tasks.corpus.crawl import http, members, record, wet

PAGE = Path(__file__).parent.parent / "docs/sources.md"
# A fence may be longer than three marks, for text that holds fences itself.
BLOCK = re.compile(r"^(`{3,})(before|after) (\S+)\n(.*?)^\1$", re.MULTILINE | re.DOTALL)
NEXT = "=== next page ===\n"
PARAMETERS = CorpusParameters(private_data=("email", "ip", "key"))
MIT = (
    "Permission is hereby granted, free of charge, to any person ... copies ... sublicense, and/or"
)


def blocks(kind: str) -> dict[str, str]:
    found = [(name, text) for _, what, name, text in BLOCK.findall(PAGE.read_text("utf-8"))
             if what == kind]  # fmt: skip
    assert len(found) == len(dict(found)), "two examples have one name"
    return dict(found)


def read(reader: ModuleType, root: Path, names: Sequence[str]) -> str:
    """The documents of a source's files, or which filter gives which reason against them."""
    funnel = Funnel(reader.__name__.rpartition(".")[2])
    documents = list(reader.read(root, names, PARAMETERS, funnel))
    assert not funnel.bad_files
    if documents:
        return f"\n{NEXT}".join(document.text for document in documents)
    # `read` counts what is no record of the example, such as the licence file of a project.
    rows = [row for row in funnel.rows() if row["filter"] != "read"]
    return "\n".join(
        f"removed by {row['filter']}: {reason}" for row in rows for reason in row["rejected"]
    )


def of_commoncrawl(root: Path, name: str, raw: str) -> str:
    """Pages of HTML as a WARC file."""
    return _crawl(commoncrawl, root, "a.warc.gz", raw)


def of_c4(root: Path, name: str, raw: str) -> str:
    """A file as published, or texts of pages as a WET file."""
    if name.endswith(".json"):
        (root / name).write_text(raw, encoding="utf-8")
        return read(c4, root, [name])
    return _crawl(c4, root, "a.warc.wet.gz", raw)


def of_lines(root: Path, name: str, raw: str) -> str:
    """Texts of pages as CommonCrawl's WET file."""
    return _crawl(commoncrawl, root, "a.warc.wet.gz", raw)


def _crawl(reader: ModuleType, root: Path, file: str, raw: str) -> str:
    pages = [page.strip() for page in raw.split(NEXT)]
    addresses = [f"http://e.org/{number}" for number in range(len(pages))]
    if ".wet." in file:
        records = [wet(uri, page) for uri, page in zip(addresses, pages, strict=True)]
    else:
        records = [
            record(uri, http(page.encode())) for uri, page in zip(addresses, pages, strict=True)
        ]
    (root / file).write_bytes(members(*records))
    return read(reader, root, [file])


def of_github(root: Path, name: str, raw: str) -> str:
    """A file of a project under the MIT licence."""
    (root / "github/project").mkdir(parents=True)
    (root / "github/project/LICENSE").write_text(MIT, encoding="utf-8")
    (root / "github/project" / name).write_text(raw, encoding="utf-8")
    return read(github, root, [f"github/project/{file}" for file in ("LICENSE", name)])


def of_wikipedia(root: Path, name: str, raw: str) -> str:
    """The wikitext of an article called Fellbrook."""
    xml = (
        "<mediawiki><page><title>Fellbrook</title><ns>0</ns><id>1</id><revision>"
        f"<timestamp>2022-06-01T00:00:00Z</timestamp><text>{escape(raw)}</text></revision></page>"
        "</mediawiki>"
    )
    (root / "enwiki.xml.bz2").write_bytes(bz2.compress(xml.encode()))
    return read(wikipedia, root, ["enwiki.xml.bz2"])


def of_books(root: Path, name: str, raw: str) -> str:
    (root / "1.txt").write_text(raw, encoding="utf-8")
    return read(books, root, ["1.txt"])


def of_arxiv(root: Path, name: str, raw: str) -> str:
    (root / "paper").mkdir()
    (root / "paper/main.tex").write_text(raw, encoding="utf-8")
    return read(arxiv, root, ["paper/main.tex"])


def of_stackexchange(root: Path, name: str, raw: str) -> str:
    """The rows of a site's posts, or the HTML of one question."""
    if not raw.startswith("<row"):
        body = escape(raw).replace("\n", "&#xA;")  # as the dumps write it
        raw = f'<row Id="1" PostTypeId="1" Score="1" Title="Notes" Body="{body}" />'
    (root / "mills.org").mkdir()
    (root / "mills.org/Posts.xml").write_text(f"<posts>{raw}</posts>", encoding="utf-8")
    return read(stackexchange, root, ["mills.org/Posts.xml"])


def of_finish(root: Path, name: str, raw: str) -> str:
    """The end of every source's chain, as it is for CommonCrawl."""
    document = Document(id="1", text=raw, source="commoncrawl", uri="", language="en",
                        language_score=1.0)  # fmt: skip
    Finish(PARAMETERS, "commoncrawl").apply(document, Funnel("commoncrawl"))
    return document.text


MAKERS: dict[str, Callable[[Path, str, str], str]] = {
    "commoncrawl": of_commoncrawl,
    "c4": of_c4,
    "github": of_github,
    "wikipedia": of_wikipedia,
    "books": of_books,
    "arxiv": of_arxiv,
    "stackexchange": of_stackexchange,
    "lines": of_lines,
    "finish": of_finish,
}


def made(root: Path, name: str, raw: str) -> str:
    source, _, example = name.partition("/")
    return MAKERS[source](root, example, raw)


def shape(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.rstrip().split("\n"))


@pytest.mark.parametrize("name", blocks("before"))
def test_an_example_is_what_the_code_gives(name: str, tmp_path: Path) -> None:
    assert shape(made(tmp_path, name, blocks("before")[name])) == shape(blocks("after")[name])


def test_every_source_has_an_example_and_every_example_two_sides() -> None:
    before, after = blocks("before"), blocks("after")
    assert list(before) == list(after)
    # A block that the pattern passes over is an example that nothing checks.
    assert len(re.findall(r"^`{3,}\w", PAGE.read_text("utf-8"), re.MULTILINE)) == 2 * len(before)
    assert {name.partition("/")[0] for name in before} == set(MAKERS) >= set(SOURCES)
