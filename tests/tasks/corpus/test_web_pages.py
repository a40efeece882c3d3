"""Pages out of crawl files: encodings, lies and bombs are undone or counted, and bounded."""

from __future__ import annotations

import gzip
import sys
import time
import tracemalloc
import types
import zlib
from pathlib import Path
from typing import Any

import brotli
import pytest
from resiliparse.parse.html import HTMLTree

from tasks.corpus.funnel import Funnel
from tasks.corpus.rules.web import ExtractionRules
from tasks.corpus.sources import html
from tasks.corpus.sources.pages import Page, pages
from tasks.corpus.sources.responses import read_response
from tests.tasks.corpus.crawl import arc, article, http, members, record, rejected, sentence, wet

BODY = article(0).encode()
GZIP = "Content-Encoding: gzip"
CHUNKED = "Transfer-Encoding: chunked"


def chunked(body: bytes, size: int = 300) -> bytes:
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in [*parts, b""])


def raw_deflate(body: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(body) + packer.flush()


@pytest.mark.parametrize(
    ("content", "headers"),
    [
        (BODY, ()),
        (gzip.compress(BODY), (GZIP,)),
        (gzip.compress(BODY), ("Content-Encoding: x-gzip",)),
        (zlib.compress(BODY), ("Content-Encoding: deflate",)),
        (raw_deflate(BODY), ("Content-Encoding: deflate",)),
        (brotli.compress(BODY), ("Content-Encoding: br",)),
        (chunked(BODY), (CHUNKED,)),
        (chunked(gzip.compress(BODY)), (CHUNKED, GZIP)),
        # Crawls store bodies unpacked and leave the headers as they were.
        (BODY, (GZIP,)),
        (BODY, (CHUNKED,)),
        (BODY, (CHUNKED, GZIP)),
        (BODY, ("Content-Encoding: br",)),
        (BODY, ("Content-Encoding: deflate",)),
        (BODY, ("Content-Encoding: utf-8",)),
        (BODY, ("Content-Length: 99999999",)),
    ],
    ids=lambda value: " ".join(value) or "plain" if isinstance(value, tuple) else "",
)
def test_bodies_come_as_they_were_meant(content: bytes, headers: tuple[str, ...]) -> None:
    response = read_response(http(content, *headers))
    assert response is not None and response.body == BODY
    assert response.status == 200 and response.kind == "text/html" and not response.cut


PACKED = gzip.compress(BODY)
TWO_MEMBERS = gzip.compress(BODY[:300]) + gzip.compress(BODY[300:])
CUT: list[tuple[bytes, tuple[str, ...]]] = [
    (chunked(BODY)[:700], (CHUNKED,)),
    (chunked(BODY)[:307] + b"no chunk" + chunked(BODY)[307:], (CHUNKED,)),
    (PACKED[:150], (GZIP,)),
    (TWO_MEMBERS[:-60], (GZIP,)),
    (chunked(PACKED, 60)[:190], (CHUNKED, GZIP)),
    (chunked(PACKED[:150]), (CHUNKED, GZIP)),
    (zlib.compress(BODY)[:150], ("Content-Encoding: deflate",)),
    (raw_deflate(BODY)[:150], ("Content-Encoding: deflate",)),
]
WHOLE: list[tuple[bytes, tuple[str, ...], bytes]] = [
    (chunked(BODY)[:-5], (CHUNKED,), BODY),  # the last, empty chunk
    (PACKED[:-8], (GZIP,), BODY),  # the checksum
    (TWO_MEMBERS, (GZIP,), BODY),
    (chunked(TWO_MEMBERS), (CHUNKED, GZIP), BODY),
    # No markup to be seen: another encoding, leading blank lines, plain text, nothing.
    (chunked(BODY.decode().encode("utf-16")), (CHUNKED,), BODY.decode().encode("utf-16")),
    (chunked(b"\n" * 6000 + BODY), (CHUNKED,), b"\n" * 6000 + BODY),
    (chunked(b"words, no tag"), (CHUNKED,), b"words, no tag"),
    (chunked(b""), (CHUNKED,), b""),
    (
        BODY.decode().encode("utf-16"),
        ("Content-Encoding: identity",),
        BODY.decode().encode("utf-16"),
    ),
]


@pytest.mark.parametrize(("content", "headers", "body"), WHOLE)
def test_bodies_that_lack_nothing_are_whole(
    content: bytes, headers: tuple[str, ...], body: bytes
) -> None:
    response = read_response(http(content, *headers))
    assert response is not None and response.body == body and not response.cut


def test_short_pages_packed_by_brotli_are_unpacked() -> None:
    for number in range(300):
        page = f"<html><p>{' '.join(sentence(number).split()[: 9 + number % 14])}</p>".encode()
        response = read_response(http(brotli.compress(page), "Content-Encoding: br"))
        assert response is not None and response.body == page and not response.cut


@pytest.mark.parametrize(("content", "headers"), CUT)
@pytest.mark.parametrize("kind", ["warc", "arc"])
def test_cut_bodies_give_their_start_and_cost_the_page(
    tmp_path: Path, content: bytes, headers: tuple[str, ...], kind: str
) -> None:
    if kind == "warc":
        response = read_response(http(content, *headers))
        assert response is not None and response.cut
        assert response.body and BODY.startswith(response.body)
    form, name = (record, "a.warc.gz") if kind == "warc" else (arc, "a.arc.gz")
    damaged, whole = (
        form("http://e.org/1", http(content, *headers)),
        form("http://e.org/2", http(BODY)),
    )
    found, funnel = read(tmp_path, members(damaged, whole), name)
    assert [page.uri[-1] for page in found] == ["2"]
    assert rejected(funnel, "read") == {"truncated body": 1}


def test_bodies_of_nothing_readable() -> None:
    noise = bytes((i * 197 + 83) % 251 for i in range(3000))
    assert read_response(http(noise, GZIP)) is None
    assert read_response(http(noise, "Content-Encoding: br")) is None
    assert read_response(b"no HTTP at all") is None and read_response(b"") is None


def read(
    root: Path, data: bytes, name: str = "a.warc.gz", **options: Any
) -> tuple[list[Page], Funnel]:
    (root / name).write_bytes(data)
    funnel = Funnel("commoncrawl")
    return list(pages(root, [name], ExtractionRules(**options), funnel)), funnel


def test_arc_pages(tmp_path: Path) -> None:
    start = b"filedesc://a.arc 0.0.0.0 20080430204825 text/plain 77\n1 1 Archive\n"
    start += b"URL IP-address Archive-date Content-type Archive-length\n".ljust(65) + b"\n"
    data = members(
        start,
        arc("dns:e.org", b"20080430 192.0.2.1"),
        arc("http://e.org/1", http(BODY)),
        arc("http://e.org/2", http(gzip.compress(BODY), GZIP)),
        arc("http://e.org/3", http(BODY, GZIP)),
        arc("http://e.org/4", http(BODY, status="404 Not Found")),
        arc("http://e.org/5", b"no HTTP"),
    )
    found, funnel = read(tmp_path, data, "a.arc.gz")
    assert [page.uri[-1] for page in found] == ["1", "2", "3"]
    assert {page.created for page in found} == {"2008-04-30T20:48:25Z"}
    assert len({page.text for page in found}) == 1 and sentence(0) in found[0].text
    counted = rejected(funnel, "read")
    assert counted["not an HTTP response"] == 2 and counted["HTTP status 404"] == 1
    assert counted["malformed HTTP response"] == 1


@pytest.mark.parametrize(
    ("charset", "encoding"),
    [
        ("utf-8", "utf-8"), ('"utf-8"', "utf-8"), ("iso-8859-1", "latin-1"), ("", "utf-8"),
        ("no-such-charset", "utf-8"), ("x" * 9000, "utf-8"), ("utf-8\x01", "utf-8"),
        ("utf-16", "utf-16"),
    ],
)  # fmt: skip
def test_charsets(tmp_path: Path, charset: str, encoding: str) -> None:
    body = article(0).replace("old town", "Städtchen").encode(encoding)
    kind = f"text/html; charset={charset}" if charset else "text/html"
    found, _ = read(tmp_path, members(record("http://e.org/", http(body, kind=kind))))
    assert len(found) == 1 and "Städtchen" in found[0].text


@pytest.mark.parametrize(
    "body",
    [
        b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n1 0 obj" + bytes(range(256)) * 9,
        b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 9,
        b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(range(256)) * 9,
        b"GIF89a" + bytes(range(256)) * 9,
        b"PK\x03\x04" + bytes(range(256)) * 9,
    ],
    ids=["pdf", "png", "jpeg", "gif", "zip"],
)
def test_files_that_say_they_are_html(tmp_path: Path, body: bytes) -> None:
    found, funnel = read(tmp_path, members(record("http://e.org/", http(body))))
    assert not found and rejected(funnel, "html") == {"not HTML, though it says so": 1}


def test_media_types(tmp_path: Path) -> None:
    untyped = b"HTTP/1.1 200 OK\r\nServer: x\r\n\r\n" + BODY
    found, funnel = read(
        tmp_path,
        members(
            record("http://e.org/1", untyped),
            record("http://e.org/2", http(BODY, kind="Text/HTML ; charset=utf-8")),
            record("http://e.org/3", http(BODY, kind="application/xhtml+xml")),
            record("http://e.org/4", http(BODY, kind="text/plain")),
        ),
    )
    assert [page.uri[-1] for page in found] == ["1", "2", "3"]
    assert rejected(funnel, "html") == {"not HTML": 1}


def test_addresses_in_angle_brackets(tmp_path: Path) -> None:
    found, _ = read(tmp_path, members(record("<http://e.org/1>", http(BODY))))
    assert [page.uri for page in found] == ["http://e.org/1"]


def test_nul_bytes_go(tmp_path: Path) -> None:
    body = BODY.replace(b"old town", b"old\0 to\0wn")
    text = sentence(1).replace("old", "o\0ld")
    found, _ = read(
        tmp_path, members(record("http://e.org/1", http(body)), wet("http://e.org/2", text))
    )
    assert len(found) == 2 and not any("\0" in page.text for page in found)
    assert found[1].text == sentence(1)


def test_nested_a_hundred_thousand_deep(tmp_path: Path) -> None:
    deep = "<div>" * 100_000 + sentence(0) + "</div>" * 100_000
    started = time.monotonic()
    found, funnel = read(
        tmp_path,
        members(
            record("http://e.org/1", http(deep.encode())), record("http://e.org/2", http(BODY))
        ),
    )
    assert time.monotonic() - started < 10
    assert [page.uri[-1] for page in found] == ["2"]
    assert rejected(funnel, "html") == {"nested too deeply": 1}


@pytest.mark.slow
def test_pages_too_large_are_counted_in_bounded_memory(tmp_path: Path) -> None:
    """A page of 100 MB, stored, packed by gzip and by brotli; a WET text that is one long line."""
    filler = b"<p>" + b"word " * 20_000_000
    packed = gzip.compress(filler, 1)
    data = members(
        record("http://e.org/1", http(filler)),
        record("http://e.org/2", http(packed, GZIP)),
        record("http://e.org/3", http(brotli.compress(filler, quality=1), "Content-Encoding: br")),
        record("http://e.org/4", b"x" * 200_000_000, kind="conversion"),
        record("http://e.org/5", http(BODY)),
    )
    del filler
    started = time.monotonic()
    tracemalloc.start()
    found, funnel = read(tmp_path, data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [page.uri[-1] for page in found] == ["5"]
    assert rejected(funnel, "read") == {"record too large": 4}
    assert peak < 80_000_000 and time.monotonic() - started < 60


def test_trafilatura_that_is_not_installed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "trafilatura", None)
    data = members(record("http://e.org/1", http(BODY)))
    with pytest.raises(ValueError, match=r"pip install 'arriero\[trafilatura\]'"):
        read(tmp_path, data, web_extractor="trafilatura")


def test_trafilatura_takes_the_place_of_resiliparse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = types.ModuleType("trafilatura")
    answers = iter(["  By the other one.  ", None])
    vars(module)["extract"] = lambda html, **options: next(answers)
    monkeypatch.setitem(sys.modules, "trafilatura", module)
    data = members(record("http://e.org/1", http(BODY)), record("http://e.org/2", http(BODY)))
    found, funnel = read(tmp_path, data, web_extractor="trafilatura")
    assert [page.text for page in found] == ["By the other one."]
    assert rejected(funnel, "extract") == {"no main content": 1}


@pytest.mark.parametrize(
    "unit",
    ["<div>", "<b><div>", "<div><!--</div>-->", "<div title='\">'>", "<div></span>", "<p><b>a</b>",
     "<div><script></div></script>", "<svg><style></div></style>", "<table><tr><td>", "<div><br>",
     "<div><script><!--<script></script></div>--></script>", "<math><div>", "<div></div>"],
)  # fmt: skip
@pytest.mark.parametrize("times", [600, 2500])
def test_depth_is_told_from_markup_as_from_the_tree(unit: str, times: int) -> None:
    tree = HTMLTree.parse(f"<html><body>{unit * times}x")
    told = html._deep_markup(tree.document.html)
    assert told is None or told == html._deep(tree.document)


def test_a_status_that_is_none_is_named_so(tmp_path: Path) -> None:
    data = members(
        arc("http://e.org/1", http(BODY, status="9999 Call me")),
        arc("http://e.org/2", http(BODY, status="0 No")),
        arc("http://e.org/3", http(BODY, status="503 Busy")),
    )
    _, funnel = read(tmp_path, data, "a.arc.gz")
    assert rejected(funnel, "read") == {"HTTP status unknown": 2, "HTTP status 503": 1}
