"""Small inputs of the golden run: dumps of the seven sources in their real formats, items,
instructions. Written by us; every byte is a function of this file.

Gzip members are stored, not deflated, and tar headers are fixed: what a zlib build or a clock
decides is not in here.
"""

from __future__ import annotations

import bz2
import hashlib
import io
import json
import struct
import tarfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

PLACES = "the harbour,the old mill,a narrow valley,the market,the northern road,a mountain pass"
PEOPLE = "the muleteer,a young baker,the ferryman,the widow,a travelling doctor,the schoolmaster"
DEEDS = "carries,counts,repairs,sells,borrows,forgets,paints,describes"
THINGS = "six sacks of flour,a copper kettle,the broken wheel,two letters,a map,the winter coats"
TIMES = "before sunrise,every autumn,in the rain,without a word,for the third time,with great care"

MIT = (
    "Permission is hereby granted, free of charge, to any person obtaining a copy of this software"
    " to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies.\n"
)


def choose(options: str, *key: object) -> str:
    """One of the comma-separated options, by hash: no generator whose stream could change."""
    held = options.split(",")
    digest = hashlib.sha256(repr(key).encode()).digest()
    return held[int.from_bytes(digest[:4], "big") % len(held)]


def sentence(*key: object) -> str:
    person, deed = choose(PEOPLE, 0, *key), choose(DEEDS, 1, *key)
    thing, place, time = choose(THINGS, 2, *key), choose(PLACES, 3, *key), choose(TIMES, 4, *key)
    return f"{person.capitalize()} {deed} {thing} near {place} {time}."


def paragraph(*key: object, sentences: int = 5) -> str:
    return " ".join(sentence(*key, number) for number in range(sentences))


def stored_gzip(data: bytes) -> bytes:
    """A gzip member of one stored block: the same bytes from every zlib. At most 65,535 bytes."""
    assert len(data) <= 0xFFFF
    head = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
    block = struct.pack("<BHH", 1, len(data), len(data) ^ 0xFFFF) + data
    return head + block + struct.pack("<II", zlib.crc32(data), len(data))


def tar(members: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in members.items():
            information = tarfile.TarInfo(name)
            information.size = len(data)
            archive.addfile(information, io.BytesIO(data))
    return buffer.getvalue()


def put(path: Path, data: bytes | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)


def json_lines(rows: Sequence[Any]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def write_data(root: Path) -> Path:
    """The data folder: ``corpus/``, ``bench/`` and ``instruct/`` below ``root``."""
    corpus = root / "corpus"
    write_commoncrawl(corpus / "commoncrawl")
    write_c4(corpus / "c4")
    write_github(corpus / "github")
    write_wikipedia(corpus / "wikipedia")
    write_books(corpus / "books")
    write_arxiv(corpus / "arxiv")
    write_stackexchange(corpus / "stackexchange")
    write_bench(root / "bench")
    write_instructions(root / "instruct")
    return root


# ---- corpus ----------------------------------------------------------------------------------


def warc_record(kind: str, number: int, uri: str, content_type: str, body: bytes) -> bytes:
    fields = {
        "WARC-Type": kind,
        "WARC-Record-ID": f"<urn:uuid:00000000-0000-4000-8000-{number:012d}>",
        "WARC-Date": f"2022-07-01T00:{number:02d}:00Z",
        "WARC-Target-URI": uri,
        "Content-Type": content_type,
        "Content-Length": str(len(body)),
    }
    head = "WARC/1.0\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return stored_gzip(head.encode() + b"\r\n" + body + b"\r\n\r\n")


def http(body: str, status: str = "200 OK", kind: str = "text/html; charset=utf-8") -> bytes:
    data = body.encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(data)}\r\n\r\n"
    return head.encode() + data


def write_commoncrawl(folder: Path) -> None:
    """A WARC of pages, repeated lines, Spanish and a 404; a WET of other pages."""
    bodies = []
    for page in range(8):
        article = "".join(f"<p>{paragraph('web', page, part)}</p>" for part in range(4))
        bodies.append(
            http(
                f"<html><head><title>Page {page}</title></head><body><nav><a href='/'>Home</a>"
                f"</nav><main><h1>Travels, part {page}</h1>{article}<p>{paragraph('repeated')}</p>"
                "</main><script>var x = 1;</script></body></html>"
            )
        )
    spanish = " ".join(["La biblioteca del barrio abre todos los días de la semana."] * 9)
    bodies.append(http(f"<html><body><main><p>{spanish}</p></main></body></html>"))
    bodies.append(http("<p>Not found</p>", status="404 Not Found"))
    bodies.append(http("User-agent: *", kind="text/plain"))
    kind = "application/http; msgtype=response"
    records = [
        warc_record("response", number, f"https://site.example.org/{number}", kind, body)
        for number, body in enumerate(bodies)
    ]
    put(folder / "CC-MAIN-golden-00000.warc.gz", b"".join(records))
    texts = ["\n".join(paragraph("wet", page, part) for part in range(4)) for page in range(4)]
    records = [
        warc_record("conversion", n, f"https://wet.example.org/{n}", "text/plain", text.encode())
        for n, text in enumerate(texts)
    ]
    put(folder / "CC-MAIN-golden-00000.warc.wet.gz", b"".join(records))


def write_c4(folder: Path) -> None:
    """Records of C4, among them one that CommonCrawl's WET has and lines that are no records."""
    texts = [paragraph("c4", n, sentences=8) for n in range(14)]
    texts.append("\n".join(paragraph("wet", 1, part) for part in range(4)))
    rows = [
        {"text": text, "timestamp": "2019-04-25T12:57:54Z", "url": f"https://c4.example.org/{n}"}
        for n, text in enumerate(texts)
    ]
    data = json_lines(rows) + "{not json}\n" + json_lines([{"words": "no text"}])
    put(folder / "c4-train.00000-of-00001.json.gz", stored_gzip(data.encode()))


def code(name: str, more: str = "") -> str:
    """A Python file; ``more`` follows the copyright line of its header."""
    lines = [
        f"def {name}_{number}(width, height):\n"
        f'    """{sentence("code", name, number)}"""\n'
        f"    return width * {number + 2} + height\n"
        for number in range(6)
    ]
    return f"# Copyright 2020 A. Person\n{more}\n" + "\n\n".join(lines)


def write_github(folder: Path) -> None:
    """A permitted project as a folder, one as a tar, one without licence, and filtered files.

    Two files of the permitted project have a header of their own: a choice between a licence that
    is permitted and one that is not, and another licence in a paragraph behind the copyright.
    """
    put(folder / "good" / "LICENSE", MIT)
    for name in ("area", "volume", "weight"):
        put(folder / "good" / f"{name}.py", code(name))
    put(folder / "good" / "wide.py", ("a" * 150 + "\n") * 5)
    choice = "# SPDX-License-Identifier: MIT OR GPL-2.0-only\n"
    put(folder / "good" / "length.py", code("length", choice))
    foreign = "#\n# GNU General Public License, version 2 or later.\n"
    put(folder / "good" / "height.py", code("height", foreign))
    put(folder / "unlicensed" / "area.py", code("hidden"))
    members = {f"tool-1/{name}.py": code(name).encode() for name in ("road", "bridge")}
    put(folder / "tool-1.tar", tar({**members, "tool-1/LICENSE": MIT.encode()}))


def wiki_page(number: int, title: str, text: str, namespace: int = 0, redirect: str = "") -> str:
    to = f'<redirect title="{redirect}" />' if redirect else ""
    return (
        f"<page><title>{escape(title)}</title><ns>{namespace}</ns><id>{number}</id>{to}<revision>"
        f"<id>{number}9</id><timestamp>2022-07-01T00:00:00Z</timestamp>"
        f'<text xml:space="preserve">{escape(text)}</text></revision></page>\n'
    )


def write_wikipedia(folder: Path) -> None:
    """A pages-articles dump: articles with markup, a redirect, a talk page, a stub."""
    pages = []
    for number in range(1, 9):
        pages.append(
            wiki_page(
                number,
                f"Journey {number}",
                "{{Infobox journey|length=4}}\n'''Journey''' is [[travel|a long way]]. "
                f"{paragraph('wiki', number)}<ref>{sentence('ref', number)}</ref>\n\n"
                f"== History ==\n{paragraph('history', number)} <!-- note -->\n"
                '{| class="wikitable"\n| a || b\n|}\n'
                f"* {sentence('item', number)}\n* [[Mill]] &amp; [[Kettle (copper)|kettle]]\n\n"
                "== Empty ==\n\n[[File:Map.png|thumb|A map]]\n[[Category:Journeys]]\n",
            )
        )
    pages.append(wiki_page(20, "Trip", "#REDIRECT [[Journey 1]]", redirect="Journey 1"))
    pages.append(wiki_page(21, "Talk:Journey", paragraph("talk"), namespace=1))
    pages.append(wiki_page(22, "Stub", "Short."))
    xml = (
        '<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.10/" xml:lang="en">\n'
        + "".join(pages)
        + "</mediawiki>\n"
    )
    put(folder / "enwiki-20220701-pages-articles.xml.bz2", bz2.compress(xml.encode()))


def write_books(folder: Path) -> None:
    """Three books with Project Gutenberg's frame; the third is an edition of the first."""

    def book(title: str, chapters: Sequence[str]) -> str:
        body = "\n\n".join(f"CHAPTER {n}\n\n{text}" for n, text in enumerate(chapters, 1))
        return (
            f"The Project Gutenberg eBook of {title}\n\nTitle: {title}\nAuthor: A. Person\n"
            f"Language: English\n\n*** START OF THE PROJECT GUTENBERG EBOOK {title.upper()} ***\n"
            f"\n{body}\n\n*** END OF THE PROJECT GUTENBERG EBOOK {title.upper()} ***\nLicence.\n"
        )

    first = [paragraph("book", 1, n, sentences=30) for n in range(3)]
    second = [paragraph("book", 2, n, sentences=30) for n in range(3)]
    put(folder / "first.txt", book("The Long Road", first))
    put(folder / "second.txt", book("The Short Road", second))
    put(folder / "third.txt", book("The Long Road, revised", [*first, sentence("new")]))


def write_arxiv(folder: Path) -> None:
    """A bulk tar: two papers as one file, one as a tar with an included part, one withdrawn."""

    def paper(number: int, body: str) -> bytes:
        return (
            "\\documentclass{article}\n\\newcommand{\\mule}{stubborn \\emph{mule}}\n"
            "\\begin{document}\n\\title{Abstract to remove}\n"
            f"\\section{{Introduction}}\n{body} The \\mule{{}} waits % a comment\n"
            f"\\begin{{equation}} a_{number} = b + c \\end{{equation}}\n"
            "\\section{Proof}\n" + paragraph("proof", number, sentences=9) + "\n\\end{document}\n"
        ).encode()

    members = {
        f"2207/2207.{number:05d}.gz": stored_gzip(paper(number, paragraph("tex", number)))
        for number in range(1, 4)
    }
    parts = {"main.tex": paper(4, "\\input{part}"), "part.tex": paragraph("part").encode()}
    members["2207/2207.00004.gz"] = stored_gzip(tar(parts))
    members["2207/2207.00005.gz"] = stored_gzip(b"%auto-ignore\nWithdrawn.\n")
    put(folder / "arXiv_src_2207_001.tar", tar(members))


def write_stackexchange(folder: Path) -> None:
    """One site: questions with answers whose scores sort as numbers, an orphan, a wiki post."""
    rows: list[dict[str, object]] = []
    for number in range(8):
        question = 10 * number + 1
        body = f"<p>{paragraph('ask', number)}</p><pre><code>turn({number})\n</code></pre>"
        rows.append(
            {"Id": question, "PostTypeId": 1, "Score": number, "Body": body, "Tags": "<mule><road>"}
            | {"Title": f"Why turn {number} times?", "CreationDate": "2022-07-01T00:00:00.000"}
        )
        for place, score in enumerate((9, 10)):
            body = f"<p>{paragraph('answer', number, place)}</p><ul><li>One &amp; two</li></ul>"
            rows.append(
                {"Id": question + 1 + place, "PostTypeId": 2, "ParentId": question, "Body": body}
                | {"Score": score, "ContentLicense": "CC BY-SA 4.0"}
            )
    rows.append({"Id": 900, "PostTypeId": 2, "ParentId": 899, "Score": 1, "Body": "<p>Lost</p>"})
    rows.append({"Id": 901, "PostTypeId": 5, "Score": 0, "Body": "<p>About this tag</p>"})
    lines = [
        "  <row " + " ".join(f"{name}={quoteattr(str(v))}" for name, v in row.items()) + " />\n"
        for row in rows
    ]
    head = '<?xml version="1.0" encoding="utf-8"?>\n<posts>\n'
    put(folder / "roads.example.com" / "Posts.xml", head + "".join(lines) + "</posts>\n")


# ---- benchmarks and instructions -------------------------------------------------------------


def write_bench(folder: Path) -> None:
    """Items of four protocols: endings, yes or no, letters with shots, a generated answer.

    A fifth benchmark is only looked for in the documents: an item whose goal two sentences of an
    article are, one that no document holds, one too short to be looked for.
    """
    endings = [
        {
            "activity_label": "Travelling",
            "ctx": sentence("ctx", n),
            "endings": [sentence("ending", n, k) for k in range(4)],
            "label": n % 4,
        }
        for n in range(6)
    ]
    put(folder / "hellaswag" / "val_full_preprocessed.jsonl", json_lines(endings))
    questions = [
        {"question": f"is {n} even", "answer": n % 2 == 0, "passage": sentence("passage", n)}
        for n in range(6)
    ]
    put(folder / "boolq" / "validation.jsonl", json_lines(questions))
    for split, count in (("dev", 5), ("test", 3)):
        rows = [
            {
                "question": f"What is {n} and {n + 1}?",
                "subject": subject,
                "choices": [str(2 * n + 1 + k) for k in range(4)],
                "answer": 0,
            }
            for subject in ("road_maps", "copper")
            for n in range(count)
        ]
        put(folder / "mmlu" / f"{split}.jsonl", json_lines(rows))
    answers = [
        {
            "context": f"Question: What comes after {n}?\nAnswer:",
            "answer": str(n + 1),
            "aliases": [str(n + 1)],
        }
        for n in range(12)
    ]
    put(folder / "triviaqa" / "triviaqa_sm_sub.jsonl", json_lines(answers))
    goals = [paragraph("wiki", 3, sentences=2), "How to read thirteen words " * 4, "Carry it."]
    solutions = {"sol1": "with a mule", "sol2": "without one"}
    put(
        folder / "piqa" / "valid.jsonl", json_lines([{"goal": goal, **solutions} for goal in goals])
    )
    put(folder / "piqa" / "valid-labels.lst", "0\n" * len(goals))


def write_instructions(folder: Path) -> None:
    """Alpaca's and Dolly's forms, with a repeated example and one that is too long."""
    alpaca = [
        {"instruction": f"Who is at stage {n}?", "input": "", "output": choose(PEOPLE, "who", n)}
        for n in range(40)
    ]
    alpaca += [alpaca[0]]
    alpaca += [{"instruction": "Tell all.", "input": "", "output": paragraph(1, sentences=90)}]
    put(folder / "alpaca" / "alpaca.json", json.dumps(alpaca))
    dolly = [
        {
            "instruction": "Name the thing.",
            "context": sentence("dolly", n),
            "response": choose(THINGS, 2, "dolly", n),
            "category": "closed_qa",
        }
        for n in range(30)
    ]
    put(folder / "dolly" / "dolly.jsonl", json_lines(dolly))
