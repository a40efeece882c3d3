"""C4: published lines as they are; crawl files under c4 by its rules, whatever the shards."""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import zstandard

from tasks.corpus.chain import check_chain
from tasks.corpus.documents import Document
from tasks.corpus.funnel import Funnel
from tasks.corpus.parameters import CorpusParameters
from tasks.corpus.rules.c4 import C4SourceRules
from tasks.corpus.sources import c4, json_lines
from tasks.corpus.sources.spans import kept_sentences, span_keys
from tests.tasks.corpus.crawl import members, read_sharded, rejected, sentence, wet

RULES = C4SourceRules(c4_language_threshold=0.5)


def passage(first: int, count: int) -> str:
    return " ".join(sentence(number) for number in range(first, first + count))


def read(root: Path, files: Sequence[str]) -> tuple[list[Document], Funnel]:
    funnel = Funnel("c4")
    documents = list(c4.read(root, files, RULES, funnel))
    check_chain(funnel.rows(), {"documents": len(documents)})
    return documents, funnel


def test_crawl_text_goes_through_c4s_rules(tmp_path: Path) -> None:
    german = "Der Hafen lag still, während die Fischer am Morgen ihre Netze flickten. " * 8
    texts = [
        f"Home\nContact us\n{passage(0, 6)}\nRead more...\nWe use cookies, see our policy.",
        german,
        f"{passage(10, 6)}\nfunction() {{ return 1; }}",
        f"{passage(20, 2)}",
        f"{passage(30, 6)}\nPlease turn on javascript to see this page.",
    ]
    data = members(*(wet(f"http://e.org/{n}", text) for n, text in enumerate(texts)))
    (tmp_path / "a.warc.wet.gz").write_bytes(data)
    documents, funnel = read(tmp_path, ["a.warc.wet.gz"])
    assert [d.text for d in documents] == [passage(0, 6), passage(30, 6)]
    assert rejected(funnel, "language") == {"language de": 1}
    assert rejected(funnel, "c4 curly bracket") == {"curly bracket": 1}
    assert rejected(funnel, "c4 sentences") == {"too few sentences": 1}
    assert documents[0].meta == {"file": "a.warc.wet.gz", "offset": 0}
    assert documents[0].language == "en" and documents[0].source == "c4"


def test_language_must_be_sure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = members(*(wet(f"http://e.org/{n}", passage(10 * n, 6)) for n in range(2)))
    (tmp_path / "a.wet.gz").write_bytes(data)
    scores = {passage(0, 6): 0.8, passage(10, 6): 0.7999}
    monkeypatch.setattr(c4, "identify", lambda text: ("en", scores[text]))
    funnel = Funnel("c4")
    documents = list(c4.read(tmp_path, ["a.wet.gz"], C4SourceRules(), funnel))
    assert [d.text for d in documents] == [passage(0, 6)]
    assert rejected(funnel, "language") == {"English, but uncertain": 1}


def test_spans_seen_before_go() -> None:
    text = f"{passage(0, 4)}\n{passage(4, 3)}"
    keys = span_keys(text, 3)
    assert len(keys) == 5 and len(set(keys.tolist())) == 5
    assert span_keys(passage(0, 2), 3).tolist() == [] == span_keys(text, 0).tolist()
    spaced = text.replace(" ", "  ").upper()
    assert span_keys(spaced, 3).tolist() == keys.tolist()
    first = keys == keys
    assert kept_sentences(text, first, 3) is text
    first[1] = False
    assert kept_sentences(text, first, 3) == f"{sentence(0)}\n{passage(4, 3)}"
    first[3] = False
    assert kept_sentences(text, first, 3) == f"{sentence(0)}\n{sentence(6)}"
    first[:] = False
    assert kept_sentences(text, first, 3) == ""


def crawl_files(root: Path) -> list[str]:
    """Crawl files whose pages share passages, and JSON lines between them."""
    names = []
    for number in range(6):
        pages = [
            wet(
                f"http://e.org/{number}/{n}", f"{passage(9 * number + 3 * n, 7)}\n{passage(500, 3)}"
            )
            for n in range(3)
        ]
        name = f"{number}.warc.wet.gz"
        (root / name).write_bytes(members(*pages))
        names.append(name)
        lines = [{"text": f"as it is {{ {number}", "url": f"http://j.org/{number}"}, "broken"]
        name = f"{number}.x.json"
        (root / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
        names.append(name)
    return names


def test_shards_change_nothing(tmp_path: Path) -> None:
    root = tmp_path / "data"
    root.mkdir()
    names = crawl_files(root)
    results = []
    for size in (12, 6, 5, 1):
        shards = [names[at : at + size] for at in range(0, len(names), size)]
        documents, funnel = read_sharded(c4, root, shards, RULES, tmp_path / f"work-{size}")
        results.append(([vars(d) for d in documents], funnel.rows()))
    assert results[1:] == results[:1] * 3
    alone, funnel = read(root, names)
    assert [vars(d) for d in alone] == results[0][0] and funnel.rows() == results[0][1]
    texts = [d.text for d in alone]
    assert sum(text.startswith("as it is") for text in texts) == 6
    spans = [key for text in texts for key in span_keys(text, 3).tolist()]
    assert len(spans) == len(set(spans))
    assert sum(passage(500, 3) in text for text in texts) == 1
    assert rejected(funnel, "spans")["too few sentences left"] > 0
    assert [d.meta["file"] for d in alone] == sorted(d.meta["file"] for d in alone)


def test_published_lines_pass_every_filter_as_they_are(tmp_path: Path) -> None:
    text = "lorem ipsum { javascript"
    (tmp_path / "a.json").write_text(json.dumps({"text": text, "url": "http://a.org/"}) + "\n")
    funnel = Funnel("c4")
    (document,) = c4.read(tmp_path, ["a.json"], CorpusParameters(), funnel)
    assert document.text == text and document.meta == {"file": "a.json", "offset": 1}
    assert list(funnel.entries) == ["read", *c4.FILTERS]
    assert all(entry.documents_out == 1 for entry in funnel.entries.values())


ROWS = [json.dumps({"text": passage(n, 3), "n": n}).encode() for n in range(400)]


def test_zstd_lines(tmp_path: Path) -> None:
    data = zstandard.compress(b"\n".join(ROWS[:200]) + b"\n") + zstandard.compress(
        b"\n".join(ROWS[200:])
    )
    (tmp_path / "a.jsonl.zst").write_bytes(data)
    documents, funnel = read(tmp_path, ["a.jsonl.zst"])
    assert len(documents) == 400 and not funnel.bad_files
    (tmp_path / "a.jsonl.zst").write_bytes(data[:-30])
    documents, funnel = read(tmp_path, ["a.jsonl.zst"])
    assert 200 <= len(documents) < 400 and funnel.bad_files[0]["reason"] == "truncated zstd"
    (tmp_path / "a.jsonl.zst").write_bytes(b"no zstd" * 99)
    documents, funnel = read(tmp_path, ["a.jsonl.zst"])
    assert not documents and funnel.bad_files[0]["reason"] == "corrupt zstd"


def test_zstandard_that_is_not_installed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.json.zst").write_bytes(zstandard.compress(ROWS[0]))
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(
        ValueError, match=r"a\.json\.zst is packed with zstd: pip install zstandard"
    ):
        read(tmp_path, ["a.json.zst"])


def test_a_line_too_long_costs_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_lines, "MAX_LINE_BYTES", 10_000)
    monkeypatch.setattr(json_lines, "_READ", 999)
    data = b"\n".join([ROWS[0], b"x" * 10_001, b"", ROWS[1], b"y" * 30_000, ROWS[2], b"z" * 20_000])
    for name, content in (("a.json", data), ("b.json.gz", gzip.compress(data))):
        (tmp_path / name).write_bytes(content)
        documents, funnel = read(tmp_path, [name])
        assert [d.meta["offset"] for d in documents] == [1, 4, 6]
        assert rejected(funnel, "read") == {"line too long": 3}
        places = [row.offset for row in funnel.take_rejected()]
        assert places == [2, 5, 7]


@pytest.mark.slow
def test_a_line_of_200_megabytes(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "a.json.gz", "wb", compresslevel=1) as handle:
        handle.write(ROWS[0] + b'\n{"text": "')
        for _ in range(200):
            handle.write(b"x" * 1_000_000)
        handle.write(b'"}\n' + ROWS[1])
    documents, funnel = read(tmp_path, ["a.json.gz"])
    assert [d.meta["offset"] for d in documents] == [1, 3]
    assert rejected(funnel, "read") == {"line too long": 1}
