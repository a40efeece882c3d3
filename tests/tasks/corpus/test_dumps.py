"""The real dumps: figures known beforehand, and rules seen to hold on them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest

from tasks.corpus.documents import Document
from tasks.corpus.funnel import Funnel
from tasks.corpus.locate import locate_sources
from tasks.corpus.parameters import CorpusParameters
from tasks.corpus.sources import commoncrawl
from tests.tasks.corpus.crawl import read_sharded

pytestmark = pytest.mark.data
Read = Callable[..., tuple[list[Document], Funnel]]


@pytest.fixture
def read(arriero_data: Path) -> Read:
    def collect(source: str, *names: str, **options: object) -> tuple[list[Document], Funnel]:
        """Documents of the source's files whose path ends in one of ``names`` (none: all)."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the folder `english` is no source
            files = locate_sources(arriero_data)[source]
        chosen = [name for name in files if not names or name.endswith(names)]
        assert len(chosen) >= len(names)
        reader = import_module(f"tasks.corpus.sources.{source}")
        funnel = Funnel(source)
        parameters = CorpusParameters(workers=1, **options)  # type: ignore[arg-type]
        return list(reader.read(arriero_data, chosen, parameters, funnel)), funnel

    return collect


def rejected(funnel: Funnel, name: str) -> dict[str, int]:
    return next(row["rejected"] for row in funnel.rows() if row["filter"] == name)


def entry(funnel: Funnel, name: str) -> tuple[int, int]:
    row = next(row for row in funnel.rows() if row["filter"] == name)
    return row["documents_in"], row["documents_out"]


def test_folder_holds_six_sources_and_one_that_is_none(arriero_data: Path) -> None:
    with pytest.warns(UserWarning, match="'english' is none of the sources"):
        found = locate_sources(arriero_data)
    counts = {name: len(files) for name, files in found.items()}
    assert counts["commoncrawl"] == 21 and counts["c4"] == 5 and counts["wikipedia"] == 26
    assert counts["books"] == 55 and counts["stackexchange"] == 6
    assert not any("SOURCES" in name for files in found.values() for name in files)


def test_damaged_and_odd_web_archives(read: Read) -> None:
    documents, funnel = read("commoncrawl")
    assert {Path(item["path"]).name: item["reason"] for item in funnel.bad_files} == {
        "resiliparse-clipped.warc.gz": "truncated gzip",
        "warcio-example-trunc.warc": "malformed WARC",
    }
    assert rejected(funnel, "read")["WAT file: metadata without text"] == 1
    assert rejected(funnel, "read")["truncated record"] == 1
    assert {d.language for d in documents} == {"en"}
    assert len({d.id for d in documents}) == len(documents)
    assert any("aut-example.arc.gz" in d.meta["file"] for d in documents)


def test_a_crawl_in_three_formats_gives_its_pages_once(read: Read) -> None:
    both, _ = read("commoncrawl", "/aut-example.arc.gz", "/aut-example.warc.gz")
    old, _ = read("commoncrawl", "/aut-example.arc.gz")
    assert [d.text for d in both if d.meta["file"].endswith(".arc.gz")] == [d.text for d in old]
    texts = [d.text for d in both]
    assert len(set(texts)) == len(texts)
    lines = [line for text in texts for line in text.split("\n")]
    assert len(lines) == len(set(lines))


def test_non_html_responses_are_left_out(read: Read) -> None:
    documents, funnel = read("commoncrawl", "aut-example.docs.warc.gz")
    assert documents == [] and rejected(funnel, "html") == {"not HTML": 9}


def test_headers_that_end_in_line_feeds(read: Read) -> None:
    documents, funnel = read("commoncrawl", "resiliparse-clueweb-quirk.warc.gz")
    assert documents == [] and not funnel.bad_files
    assert entry(funnel, "html") == (29, 29)
    assert rejected(funnel, "language")["language ja"] >= 10


def test_damaged_and_odd_files_give_the_pages_that_can_be_had(read: Read) -> None:
    expected = {
        "cc_net-sample.wet.txt": (3, 1),  # saved anew: its lengths are not those of its records
        "warcio-example-bad.warc.gz.bad": (1, 0),
        "warcio-example-iana.org-chunked.warc": (1, 1),
        "dolma-sample-0000.warc.gz": (22, 21),  # its addresses stand in angle brackets
        "dolma-sample-0001.warc.gz": (15, 13),
        "aut-example.warc.gz": (94, 57),
    }
    for name, (pages, kept) in expected.items():
        documents, funnel = read("commoncrawl", f"/{name}")
        assert (entry(funnel, "extract")[0], len(documents)) == (pages, kept), name
        assert not funnel.bad_files and all(d.uri.startswith("http") for d in documents)
    _, funnel = read("commoncrawl", "warcio-example-trunc.warc")
    assert [(row["reason"], row["offset"]) for row in funnel.bad_files] == [
        ("malformed WARC", 1197)
    ]
    assert entry(funnel, "read") == (4, 0)


def test_shards_of_the_crawl_change_nothing(read: Read, arriero_data: Path, tmp_path: Path) -> None:
    documents, funnel = read("commoncrawl")
    files = sorted({row["path"] for row in funnel.bad_files} | {d.meta["file"] for d in documents})
    alone, funnel = read("commoncrawl", *files)
    parameters = CorpusParameters(workers=1)
    shards = [files[:1], files[1:4], files[4:]]
    sharded, total = read_sharded(commoncrawl, arriero_data, shards, parameters, tmp_path)
    assert [vars(d) for d in sharded] == [vars(d) for d in alone]
    assert total.rows() == funnel.rows() and total.bad_files == funnel.bad_files


def test_c4_records(read: Read) -> None:
    documents, funnel = read("c4")
    assert len(documents) == 1040 and not funnel.bad_files
    assert sum(d.uri.startswith("http") for d in documents) >= 1020


def test_dump_without_siteinfo_and_dump_in_utf16(read: Read) -> None:
    documents, funnel = read("wikipedia", "table-markup.xml.bz2")
    assert entry(funnel, "read") == (5, 5) and len(documents) == 5
    for document in documents:
        assert not any(mark in document.text for mark in ("{|", "|}", "|-", "<ref", "[[", "<!--"))
    bulgarian, _ = read("wikipedia", "bgwiki-latest-pages-articles-shortened.xml.bz2")
    assert bulgarian and {d.language for d in bulgarian} == {"bg"}


def test_minidumps_go_by_their_file_names(read: Read) -> None:
    names = ("arwiki.xml.bz2", "jawiki.xml.bz2", "simplewiki.xml.bz2", "svwiki.xml.bz2")
    documents, funnel = read("wikipedia", *names)
    assert {d.language for d in documents} == {"sv"}
    assert rejected(funnel, "language") == {
        "language ar": 3, "language ja": 1, "language simple": 1,
    }  # fmt: skip


def test_editions_of_books(read: Read) -> None:
    documents, _ = read(
        "books", "Pride_and_Prejudice_JaneAusten.txt", "pg1342.txt", "/120-0.txt", "/pg120.txt",
        "Death_at_the_Excelsior_PGWodehouse.txt", "pg59254.txt",
        "Voyage-au-Centre-de-la-Terre-.txt",
    )  # fmt: skip
    kept = {Path(d.uri).name: d for d in documents}
    assert set(kept) == {
        "pg1342.txt", "pg120.txt", "Death_at_the_Excelsior_PGWodehouse.txt", "pg59254.txt",
        "Voyage-au-Centre-de-la-Terre-.txt",
    }  # fmt: skip
    (edition,) = kept["pg1342.txt"].meta["editions"]
    assert Path(edition["file"]).name == "Pride_and_Prejudice_JaneAusten.txt"
    assert edition["overlap"] == pytest.approx(0.953, abs=0.005)
    assert kept["Voyage-au-Centre-de-la-Terre-.txt"].language == "fr"
    assert not any("PROJECT GUTENBERG" in d.text for d in documents)


def test_papers_of_archive_and_folders(read: Read) -> None:
    documents, funnel = read("arxiv")
    assert sum(".tar#" in d.uri for d in documents) == 26
    assert rejected(funnel, "read")["PDF only"] == 1
    for document in documents:
        assert document.text.startswith("\\")
        assert "\\begin{document}" not in document.text
        assert "thebibliography" not in document.text and "\\bibliography{" not in document.text
    chapter = next(d for d in documents if d.id == "arxiv:stacks-adequate")
    assert "\\QCoh" not in chapter.text and "\\mathit{QCoh}" in chapter.text  # from preamble.tex


def test_answers_of_matheducators_stand_by_number(read: Read) -> None:
    documents, _ = read("stackexchange", "matheducators.stackexchange.com/Posts.xml")
    wrong_as_strings = 0
    for document in documents:
        scores = document.meta["answer_scores"]
        assert scores == sorted(scores, reverse=True)
        wrong_as_strings += scores != sorted(scores, key=str, reverse=True)
        assert document.text.count("\n\nA: ") >= len(scores)
    assert wrong_as_strings > 100  # the public replica's order differs this often
