"""CommonCrawl's documents do not depend on how its files are cut into shards; cc_net's rules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tasks.corpus import language
from tasks.corpus.chain import check_chain
from tasks.corpus.documents import Document
from tasks.corpus.funnel import Funnel
from tasks.corpus.guard import Guard
from tasks.corpus.parameters import CorpusParameters
from tasks.corpus.sources import commoncrawl
from tasks.corpus.sources.lines import normalise_line
from tests.tasks.corpus.crawl import members, page, read_sharded, rejected, sentence, wet


def text_of(file: int, each: int) -> str:
    """A page that shares lines with those before it and after it, in its own file and others."""
    first = 5 * file + 2 * each
    lines = [sentence(number) for number in range(first, first + 9)]
    return "\n".join(["Home page 12", *lines, f"Page {file} of 11", "  "])


def some_files(root: Path) -> list[str]:
    """Eleven files of four pages each; two of them are cut off."""
    names = []
    for file in range(11):
        data = members(*(wet(f"http://e.org/{file}/{n}", text_of(file, n)) for n in range(4)))
        name = f"CC-{file:02d}.warc.wet.gz"
        (root / name).write_bytes(data[:-40] if file in (4, 9) else data)
        names.append(name)
    return names


def one_pass(group: int, least: int) -> list[str]:
    """The texts that are left, by a set for each group."""
    texts = []
    seen: set[str] = set()
    for file in range(11):
        if file % group == 0:
            seen = set()
        for each in range(3 if file in (4, 9) else 4):
            kept = []
            for line in text_of(file, each).split("\n"):
                normal = normalise_line(line)
                if normal and normal not in seen:
                    kept.append(line.strip())
                seen.add(normal)
            if len(text := "\n".join(kept)) >= least:
                texts.append(text)
    return texts


def cut(names: list[str], shards: int) -> list[list[str]]:
    size = -(-len(names) // shards)
    return [names[at : at + size] for at in range(0, len(names), size)]


@pytest.mark.parametrize("group", [1, 3, 4, 50])
def test_shards_change_nothing(tmp_path: Path, group: int) -> None:
    root = tmp_path / "data"
    root.mkdir()
    names = some_files(root)
    parameters = CorpusParameters(line_dedup_files=group, minimum_characters=200)
    results = []
    for number in (1, 2, 5, 11):
        work = tmp_path / f"work-{number}"
        documents, funnel = read_sharded(commoncrawl, root, cut(names, number), parameters, work)
        bad = [(row["path"], row["offset"]) for row in funnel.bad_files]
        results.append(([vars(d) for d in documents], funnel.rows(), bad))
    assert results[1:] == results[:1] * 3
    made, rows, bad = results[0]
    assert [row["text"] for row in made] == one_pass(group, 200)
    assert [path for path, _ in bad] == ["CC-04.warc.wet.gz", "CC-09.warc.wet.gz"]
    assert rows[0]["documents_out"] == 42 and rows[0]["rejected"]["truncated record"] == 2


def test_without_shards_it_is_one(tmp_path: Path) -> None:
    root = tmp_path / "data"
    root.mkdir()
    names = some_files(root)
    parameters = CorpusParameters(line_dedup_files=3)
    alone = Funnel("commoncrawl")
    documents = list(commoncrawl.read(root, names, parameters, alone))
    sharded, funnel = read_sharded(commoncrawl, root, cut(names, 4), parameters, tmp_path / "work")
    assert [vars(d) for d in documents] == [vars(d) for d in sharded]
    assert alone.rows() == funnel.rows() and alone.bad_files == funnel.bad_files
    check_chain(alone.rows(), {"documents": len(documents)})


def test_documents_say_where_they_are(tmp_path: Path) -> None:
    names = some_files(tmp_path)
    documents = list(
        commoncrawl.read(tmp_path, names[:1], CorpusParameters(), Funnel("commoncrawl"))
    )
    data = (tmp_path / names[0]).read_bytes()
    assert documents[0].meta == {"file": names[0], "offset": 0}
    for document in documents:
        one = tmp_path / "one.wet.gz"
        one.write_bytes(data[document.meta["offset"] :])
        (first, *_) = commoncrawl.read(
            tmp_path, [one.name], CorpusParameters(), Funnel("commoncrawl")
        )
        assert first.uri == document.uri


def read_texts(root: Path, *texts: str, **options: Any) -> tuple[list[Document], Funnel]:
    (root / "a.wet").write_bytes(
        b"".join(wet(f"http://e.org/{n}", text) for n, text in enumerate(texts))
    )
    funnel = Funnel("commoncrawl")
    parameters = CorpusParameters(**options)
    return list(commoncrawl.read(root, ["a.wet"], parameters, funnel)), funnel


def test_length_counts_after_deduplication(tmp_path: Path) -> None:
    base = " ".join(sentence(n) for n in range(3))
    exact, short = base[:300], f"x{base[:298]}"
    assert len(exact) == 300 and len(short) == 299
    documents, funnel = read_texts(tmp_path, exact, short, f"{base[:290]}!\n{exact}")
    assert [d.text for d in documents] == [exact]
    assert rejected(funnel, "length") == {"shorter than the minimum": 2}


def test_language_threshold_is_the_least_that_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = {"a": ("en", 0.5), "b": ("en", 0.4999), "c": ("de", 0.9), "d": ("fr", 0.3)}
    monkeypatch.setattr(commoncrawl, "identify", lambda text, sure: scores[text[0]])
    texts = [letter + sentence(n) * 3 for n, letter in enumerate("abcd")]
    documents, funnel = read_texts(tmp_path, *texts)
    assert [d.text[0] for d in documents] == ["a"]
    assert rejected(funnel, "language") == {"uncertain": 2, "language de": 1}


def test_a_page_given_up_while_reading_is_counted_once(tmp_path: Path) -> None:
    root = tmp_path / "data"
    root.mkdir()
    names = some_files(root)[:2]
    survey, decided = tmp_path / "00000", tmp_path / "decided"
    survey.mkdir()
    decided.mkdir()
    parameters = CorpusParameters()
    commoncrawl.survey(root, names, parameters, Funnel("commoncrawl"), survey)
    commoncrawl.decide([survey], parameters, decided)
    funnel = Funnel("commoncrawl")
    funnel.watch = Guard(None, {(names[0], 0): "took longer than 1 s"})
    documents = list(
        commoncrawl.read(root, names, parameters, funnel, decided=decided, surveyed=survey)
    )
    assert (names[0], 0) not in {(d.meta["file"], d.meta["offset"]) for d in documents}
    check_chain(funnel.rows(), {"documents": len(documents)})
    assert rejected(funnel, "lines")["took longer than 1 s"] == 1
    assert rejected(funnel, "read") == {}


def test_a_record_given_up_while_surveying_is_counted_and_passed(tmp_path: Path) -> None:
    (tmp_path / "a.warc.gz").write_bytes(members(page(1), page(2)))
    survey, decided = tmp_path / "00000", tmp_path / "decided"
    survey.mkdir()
    decided.mkdir()
    parameters = CorpusParameters()
    watched = Funnel("commoncrawl")
    watched.watch = Guard(None, {("a.warc.gz", 0): "ended its reader (signal 11)"})
    commoncrawl.survey(tmp_path, ["a.warc.gz"], parameters, watched, survey)
    commoncrawl.decide([survey], parameters, decided)
    funnel = Funnel("commoncrawl")
    documents = list(
        commoncrawl.read(
            tmp_path, ["a.warc.gz"], parameters, funnel, decided=decided, surveyed=survey
        )
    )
    assert [d.uri for d in documents] == ["http://e.org/2"]
    assert rejected(funnel, "read") == {"ended its reader (signal 11)": 1}
    rows = funnel.take_rejected()
    assert [(row.file, row.offset, row.filter) for row in rows] == [("a.warc.gz", 0, "read")]


def test_rejected_pages_are_kept_for_reading_from_both_steps(tmp_path: Path) -> None:
    pages = [wet(f"http://e.org/{n}", "short text") for n in range(2)]
    (tmp_path / "a.warc.gz").write_bytes(members(*pages, page(3, "<html><p> </p></html>")))
    funnel = Funnel("commoncrawl", keep_rejected=True)
    assert not list(commoncrawl.read(tmp_path, ["a.warc.gz"], CorpusParameters(), funnel))
    rows = [(row.id[-1], row.filter, row.text) for row in funnel.take_rejected()]
    assert sorted(rows) == [
        ("0", "length", "short text"),
        ("1", "lines", "short text"),
        ("3", "extract", "<html><p> </p></html>"),
    ]


def test_the_language_is_that_of_more_than_a_line() -> None:
    head = "Welcome to our home page: news, weather, sports, travel, contact, about us, search. "
    german = "Der Hafen lag still, während die Fischer am Morgen ihre Netze flickten. " * 20
    assert len(head) > 80
    assert language.identify(head + german)[0] == "de"
    assert language.identify(head.upper() * 5)[0] == "en"
    assert language.identify(" \n ") == ("", 0.0)


def test_a_start_decides_only_where_it_is_sure() -> None:
    german = "Der Hafen lag still, während die Fischer am Morgen ihre Netze flickten. " * 20
    english = " ".join(sentence(n) for n in range(9))
    mixed = english[:250] + german[:250] + english
    unsure = language.identify(mixed[:500])[1]
    assert unsure < language.SURE
    assert language.identify(mixed, language.SURE) == language.identify(mixed)
    assert language.identify(english + german, language.SURE) == language.identify(english[:500])
