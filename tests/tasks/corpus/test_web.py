"""CommonCrawl and C4 on small files of our own."""

from __future__ import annotations

import gzip
import io
import json
import time
from pathlib import Path

import pytest
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from tasks.corpus.documents import Document
from tasks.corpus.funnel import BadFileError, Funnel
from tasks.corpus.parameters import CorpusParameters
from tasks.corpus.sources import c4, commoncrawl
from tasks.corpus.sources import html as html_of
from tasks.corpus.sources.lines import normalise_line

SENTENCES = [
    "The harbour lay quiet while the fishermen mended their nets in the morning sun.",
    "A narrow road climbs from the village to the old lighthouse above the bay.",
    "Every autumn the storks leave the roofs of the town and fly to the south.",
    "The baker opens his shop long before the first train reaches the station.",
    "In winter the lake freezes and the children skate from one shore to the other.",
    "Nobody remembers who planted the large chestnut tree in front of the school.",
]
PAGE = "".join(f"<p>{line}</p>" for line in SENTENCES)
OTHER = "".join(f"<p>Long ago, {line} So it was.</p>" for line in SENTENCES)


def html(body: str) -> str:
    return f"<html><head><title>t</title></head><body><article>{body}</article></body></html>"


def warc(path: Path, *pages: tuple[str, str, str, str]) -> None:
    """(uri, status, content type, body) as response records."""
    with path.open("wb") as stream:
        writer = WARCWriter(stream, gzip=path.suffix == ".gz")
        for uri, status, kind, body in pages:
            http = StatusAndHeaders(status, [("Content-Type", kind)], protocol="HTTP/1.1")
            writer.write_record(
                writer.create_warc_record(
                    uri, "response", payload=io.BytesIO(body.encode()), http_headers=http
                )
            )


def collect(root: Path, **options: object) -> tuple[list[Document], Funnel]:
    parameters = CorpusParameters(workers=1, **options)  # type: ignore[arg-type]
    funnel = Funnel("commoncrawl", strict=parameters.strict)
    files = sorted(path.name for path in root.iterdir())
    return list(commoncrawl.read(root, files, parameters, funnel)), funnel


def rejected(funnel: Funnel, name: str) -> dict[str, int]:
    return next(row["rejected"] for row in funnel.rows() if row["filter"] == name)


def test_html_is_extracted_and_the_rest_counted(tmp_path: Path) -> None:
    german = "Der Hafen lag still, während die Fischer am Morgen ihre Netze flickten. " * 6
    warc(
        tmp_path / "a.warc.gz",
        ("http://example.org/a", "200 OK", "text/html; charset=utf-8", html(PAGE)),
        ("http://example.org/b", "404 Not Found", "text/html", html("gone")),
        ("http://example.org/c", "200 OK", "image/png", "png"),
        ("http://example.org/d", "200 OK", "text/html", html("<p>Short.</p>")),
        ("http://example.org/e", "200 OK", "text/html; charset=utf-8", html(f"<p>{german}</p>")),
        ("http://example.org/f", "200 OK", "text/html; charset=utf-8", html(PAGE)),
    )
    documents, funnel = collect(tmp_path)
    assert [d.uri for d in documents] == ["http://example.org/a"]
    assert documents[0].text.split("\n") == SENTENCES or all(
        line in documents[0].text for line in SENTENCES
    )
    assert documents[0].language == "en" and documents[0].language_score >= 0.5
    assert rejected(funnel, "read") == {"HTTP status 404": 1}
    assert rejected(funnel, "html") == {"not HTML": 1}
    assert rejected(funnel, "lines") == {"every line seen before": 1}
    assert rejected(funnel, "length") == {"shorter than the minimum": 1}
    assert rejected(funnel, "language") == {"language de": 1}


def test_each_filter_gets_what_the_last_one_let_through(tmp_path: Path) -> None:
    warc(tmp_path / "a.warc", ("http://a.org/", "200 OK", "text/html", html(PAGE)))
    _, funnel = collect(tmp_path)
    rows = funnel.rows()
    assert [row["filter"] for row in rows] == [
        "read", "html", "extract", "lines", "length", "language",
    ]  # fmt: skip
    for row in rows:
        assert row["documents_in"] == row["documents_out"] + sum(row["rejected"].values())


def test_line_key_is_cc_nets() -> None:
    assert normalise_line("  Posted: 12 May, 2019! ") == "posted 00 may 0000"
    assert normalise_line("Élan vital…") == "élan vital"


def test_line_groups_forget(tmp_path: Path) -> None:
    for name in ("a.warc", "b.warc"):
        warc(tmp_path / name, (f"http://{name}/", "200 OK", "text/html", html(PAGE)))
    assert len(collect(tmp_path)[0]) == 1
    assert len(collect(tmp_path, line_dedup_files=1)[0]) == 2


@pytest.mark.parametrize(
    ("name", "cut", "reason"),
    [
        ("cut.warc.gz", 200, "truncated gzip"),
        ("empty.warc.gz", 0, "empty file"),
        ("text.warc", -1, "malformed WARC"),
        ("notes.txt", -1, "no WARC, WET or ARC file"),
        ("bad.arc.gz", -1, "malformed ARC"),
    ],
)
def test_bad_file_is_counted_or_ends_a_strict_run(
    tmp_path: Path, name: str, cut: int, reason: str
) -> None:
    bad = tmp_path / name
    if cut > 0:
        warc(bad, ("http://a.org/", "200 OK", "text/html", html(PAGE)))
        bad.write_bytes(bad.read_bytes()[:-cut])
    else:
        bad.write_bytes(b"" if cut == 0 else b"nothing of the kind\n" * 20)
    warc(tmp_path / "good.warc", ("http://g.org/", "200 OK", "text/html", html(PAGE)))
    documents, funnel = collect(tmp_path)
    assert [d.uri for d in documents] == ["http://g.org/"]
    assert funnel.bad_files == [{"path": name, "reason": reason, "offset": 0}]
    with pytest.raises(BadFileError, match=f"{name}: {reason}"):
        collect(tmp_path, strict=True)


def test_page_that_unpacks_too_large_is_refused(tmp_path: Path) -> None:
    packed = gzip.compress(b"<html>" + b" " * 20_000_000)
    headers = [("Content-Type", "text/html"), ("Content-Encoding", "gzip")]
    with (tmp_path / "a.warc.gz").open("wb") as stream:
        writer = WARCWriter(stream, gzip=True)
        http = StatusAndHeaders("200 OK", headers, protocol="HTTP/1.1")
        payload = io.BytesIO(packed)
        writer.write_record(
            writer.create_warc_record("http://a.org/", "response", payload, http_headers=http)
        )
    documents, funnel = collect(tmp_path)
    assert documents == [] and rejected(funnel, "read") == {"record too large": 1}


@pytest.mark.parametrize(
    "unit",
    ["<div>", "<div>a</span>", "<div><!--</div>-->", "<div><object></div>", "<b><div></b>",
     "<div title='</div>'>"],
)  # fmt: skip
def test_page_nested_to_stall_is_refused(tmp_path: Path, unit: str) -> None:
    warc(
        tmp_path / "a.warc.gz",
        ("http://a.org/", "200 OK", "text/html", html(unit * 16_000 + PAGE)),
        ("http://b.org/", "200 OK", "text/html", html("<p><br>" * 5_000 + PAGE)),
        ("http://c.org/", "200 OK", "text/html", html("<div>a</div>" * 5_000 + OTHER)),
    )
    started = time.monotonic()
    documents, funnel = collect(tmp_path)
    assert time.monotonic() - started < 8
    assert [d.uri for d in documents] == ["http://b.org/", "http://c.org/"]
    assert rejected(funnel, "html") == {"nested too deeply": 1}


def test_formatting_left_open_to_fill_the_memory_is_refused() -> None:
    started = time.monotonic()
    assert html_of.parse("".join(f"<p><b id={i}>" for i in range(20_000))) is None
    assert html_of.parse("<p><b>a</b>" * 20_000) is not None
    assert time.monotonic() - started < 8


def test_c4_reads_json_lines_and_counts_what_is_none(tmp_path: Path) -> None:
    records = [
        json.dumps({"text": SENTENCES[0], "url": "http://a.org/1", "timestamp": "2019-04-25"}),
        "{broken",
        json.dumps({"body": "no text"}),
        json.dumps({"text": "  "}),
        json.dumps({"text": SENTENCES[1], "meta": {"url": "http://a.org/2"}}),
    ]
    (tmp_path / "a.json").write_text("\n".join(records))
    with gzip.open(tmp_path / "b.json.gz", "wt") as handle:
        handle.write(json.dumps({"text": SENTENCES[2]}))
    (tmp_path / "c.jsonl").write_bytes(b"")
    funnel = Funnel("c4")
    documents = list(
        c4.read(tmp_path, ["a.json", "b.json.gz", "c.jsonl"], CorpusParameters(), funnel)
    )
    assert [d.uri for d in documents] == ["http://a.org/1", "http://a.org/2", "b.json.gz#1"]
    assert documents[0].created == "2019-04-25" and documents[0].license == "ODC-BY-1.0"
    assert len({d.id for d in documents}) == 3
    assert rejected(funnel, "read") == {
        "empty file": 1, "malformed JSON": 1, "no text": 1, "no text field": 1,
    }  # fmt: skip
