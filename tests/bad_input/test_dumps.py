"""Unreadable dumps: counted with a reason, or with strict the end, in one message."""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.context import StageContext, StageResult
from tasks.corpus.assemble import build_corpus
from tasks.corpus.build import MissingSourceError, build_source
from tasks.corpus.execute import InlineExecutor
from tasks.corpus.funnel import BadFileError
from tasks.corpus.locate import locate_sources
from tasks.corpus.parameters import CorpusParameters
from tests.bad_input import dumps

MIB = 1 << 20
NOISY = [
    ("commoncrawl", "a.warc.gz"),
    ("commoncrawl", "a.warc"),
    ("c4", "a.json.gz"),
    ("github", "a.tar.gz"),
    ("wikipedia", "enwiki.xml.bz2"),
    ("wikipedia", "enwiki.xml"),
    ("books", "a.txt.gz"),
    ("arxiv", "a.tar"),
    ("stackexchange", "a.stackexchange.com/Posts.xml"),
    ("stackexchange", "a.stackexchange.com.7z"),
]


def build(
    folder: Path, source: str, files: list[str], **options: Any
) -> tuple[StageResult, dict[str, int], Path]:
    """Result, what the first funnel entry rejected, and the artifact folder."""
    place = StageContext(out=folder / f"{source}-out", work=folder / f"{source}-work")
    place.out.mkdir()
    place.work.mkdir()
    parameters = CorpusParameters(**options)
    sizes = dict.fromkeys(files, 1)
    result = build_source(source, folder / "data", sizes, parameters, place, InlineExecutor())
    rejected = json.loads((place.out / "funnel.json").read_text())[0]["rejected"]
    return result, rejected, place.out


@pytest.mark.parametrize(("source", "name"), NOISY)
def test_noise_is_counted_with_its_reason(tmp_path: Path, source: str, name: str) -> None:
    file = dumps.put(tmp_path / "data", source, name, dumps.NOISE)
    result, rejected, out = build(tmp_path, source, [file], allow_missing_sources=True)
    assert result.counts["documents"] == 0 and result.counts["bad_files"] == 1
    assert sum(rejected.values()) >= 1
    bad = json.loads((out / "bad_files.json").read_text())
    assert [row["path"] for row in bad] == [file] and bad[0]["reason"] in rejected


@pytest.mark.parametrize(("source", "name"), NOISY)
def test_strict_ends_naming_file_reason_and_way_out(tmp_path: Path, source: str, name: str) -> None:
    file = dumps.put(tmp_path / "data", source, name, dumps.NOISE)
    with pytest.raises(BadFileError) as caught:
        build(tmp_path, source, [file], strict=True, allow_missing_sources=True)
    message = str(caught.value)
    assert message.startswith(f"{source}: {file}: ") and "without strict" in message
    assert not list((tmp_path / f"{source}-out").glob("documents*")), "half a result was left"


@pytest.mark.parametrize(("source", "name"), NOISY)
def test_source_of_empty_files_names_folder_reason_and_option(
    tmp_path: Path, source: str, name: str
) -> None:
    file = dumps.put(tmp_path / "data", source, name, b"")
    with pytest.raises(MissingSourceError) as caught:
        build(tmp_path, source, [file])
    message = str(caught.value)
    assert str(tmp_path / "data" / "corpus" / source) in message
    assert "from 1 files" in message and "allow_missing_sources" in message
    assert "(1)" in message, "the reason is counted in the message"


@pytest.mark.parametrize(
    ("source", "name", "whole"),
    [
        ("commoncrawl", "a.warc.wet.gz", lambda: dumps.warc([dumps.text_of(i) for i in range(40)])),
        (
            "c4",
            "a.json.gz",
            lambda: dumps.gzip.compress(
                b"\n".join(
                    json.dumps({"text": dumps.text_of(i), "n": dumps.NOISE.hex()[i:]}).encode()
                    for i in range(200)
                )
            ),
        ),
        ("arxiv", "a.tar", lambda: dumps.tar({f"{i}.gz": dumps.NOISE for i in range(9)})),
    ],
)
def test_broken_download_gives_what_came_before_the_break(
    tmp_path: Path, source: str, name: str, whole: Callable[[], bytes]
) -> None:
    file = dumps.put(tmp_path / "data", source, name, dumps.half(whole()))
    result, rejected, _ = build(tmp_path, source, [file], allow_missing_sources=True)
    assert result.counts["bad_files"] == 1
    assert set(rejected) & {"truncated gzip", "corrupt archive", "malformed WARC"}
    if source != "arxiv":
        assert result.counts["documents"] > 0


@pytest.mark.parametrize(
    ("source", "name", "reason"),
    [
        ("books", "a.txt.gz", "file too large"),
        ("c4", "a.json.gz", "line too long"),
        ("arxiv", "2207.00001.gz", "paper too large"),
    ],
)
def test_small_file_that_unpacks_to_much_is_bounded(
    tmp_path: Path, source: str, name: str, reason: str
) -> None:
    bomb = dumps.gzip_bomb(400 * MIB)
    assert len(bomb) < 2 * MIB
    file = dumps.put(tmp_path / "data", source, name, bomb)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.monotonic()
    result, rejected, _ = build(tmp_path, source, [file], allow_missing_sources=True)
    assert rejected[reason] == 1 and result.counts["documents"] == 0
    assert time.monotonic() - started < 20
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown < 350, f"{grown:.0f} MiB more memory than before"


def test_dump_with_one_endless_page_is_bounded(tmp_path: Path) -> None:
    page = dumps.wiki([dumps.text_of(0), "x" * (50 * MIB), dumps.text_of(1)])
    assert len(page) < MIB
    file = dumps.put(tmp_path / "data", "wikipedia", "enwiki.xml.bz2", page)
    result, rejected, _ = build(tmp_path, "wikipedia", [file], allow_missing_sources=True)
    assert result.counts["documents"] == 2 and rejected == {"page too large": 1}
    assert result.counts["bad_files"] == 0


def test_entities_are_not_expanded(tmp_path: Path) -> None:
    levels = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    text = (
        f'<!DOCTYPE m [<!ENTITY l0 "lol"><!ENTITY f SYSTEM "file:///etc/hostname">{levels}]>'
        "<mediawiki><page><title>A</title><ns>0</ns><id>1</id><revision><text>&l9;&f;"
        "</text></revision></page><page><title>B</title><ns>0</ns><id>2</id><revision><text>"
        f"{dumps.text_of(0)}</text></revision></page></mediawiki>"
    )
    file = dumps.put(tmp_path / "data", "wikipedia", "enwiki.xml", text.encode())
    started = time.monotonic()
    result, rejected, _ = build(tmp_path, "wikipedia", [file], allow_missing_sources=True)
    assert result.counts["documents"] == 1 and time.monotonic() - started < 10
    assert rejected == {"XML entity": 1}


def test_folders_and_dangling_links_in_place_of_files_are_no_files(tmp_path: Path) -> None:
    root = tmp_path / "data"
    kept = dumps.put(root, "books", "whole.txt", dumps.text_of(0).encode())
    (root / "corpus/books/pg1.txt").mkdir()
    (root / "corpus/books/gone.txt").symlink_to(tmp_path / "nowhere")
    assert locate_sources(root) == {"books": [kept]}


def test_bad_files_and_missing_sources_are_in_the_notes_of_the_corpus(tmp_path: Path) -> None:
    rows = "\n".join(json.dumps({"text": dumps.text_of(i)}) for i in range(40)).encode()
    files = [
        dumps.put(tmp_path / "data", "c4", "a.json", rows),
        dumps.put(tmp_path / "data", "c4", "b.json.gz", dumps.NOISE),
    ]
    _, _, out = build(tmp_path, "c4", files, allow_missing_sources=True)
    place = StageContext(out=tmp_path / "corpus", work=tmp_path / "work")
    place.out.mkdir()
    place.work.mkdir()
    result = build_corpus({"c4": out}, CorpusParameters(allow_missing_sources=True), place)
    mix = json.loads((place.out / "mixture.json").read_text())
    assert mix["weights"] == {"c4": 1.0} and mix["renormalised"] is True
    assert mix["missing"] == [
        "commoncrawl", "github", "wikipedia", "books", "arxiv", "stackexchange"
    ]  # fmt: skip
    renormalised, unread, unchecked = result.notes
    assert "wikipedia" in renormalised and "renormalised" in renormalised
    assert unread == "c4: files that could not be read to their end: corrupt gzip (1)."
    assert "not compared with the benchmarks" in unchecked
