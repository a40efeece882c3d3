"""Books: Gutenberg's wrapping, encodings, editions of one book."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tasks.corpus.documents import Document
from tasks.corpus.funnel import Funnel
from tasks.corpus.parameters import CorpusParameters
from tasks.corpus.sources import books

VOCABULARY = (
    "the old captain walked along a quiet shore and told his young friend about ships storms"
    " islands letters winter lamps gardens horses bread music rivers mountains evening"
)
WORDS = VOCABULARY.split()


def prose(seed: int, words: int) -> str:
    chooser = random.Random(seed)
    return " ".join(chooser.choice(WORDS) for _ in range(words))


def wrapped(text: str) -> str:
    return (
        "The Project Gutenberg EBook of X\n\nTitle: A Voyage\nAuthor: Some One\n\n"
        "*** START OF THIS PROJECT GUTENBERG EBOOK\nA VOYAGE ***\n\nProduced by Somebody\n\n"
        f"{text}\n\nEnd of Project Gutenberg's A Voyage\n\n*** END OF THIS PROJECT GUTENBERG"
        " EBOOK A VOYAGE ***\nlicence text"
    )


def collect(root: Path, **options: object) -> tuple[list[Document], Funnel]:
    funnel = Funnel("books")
    parameters = CorpusParameters(**options)  # type: ignore[arg-type]
    files = sorted(path.name for path in root.iterdir())
    return list(books.read(root, files, parameters, funnel)), funnel


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "utf-16"])
def test_encodings(encoding: str) -> None:
    assert books.decode("café\r\nnoël".encode(encoding))[0] == "café\nnoël"


def test_editions_are_merged_and_parts_are_not(tmp_path: Path) -> None:
    base = prose(1, 4000)
    (tmp_path / "a.txt").write_text(wrapped(base))
    # A longer edition that holds all of it: less than 90 % alike, but 100 % contained.
    (tmp_path / "b.txt").write_text(wrapped(base + " " + prose(2, 1500)), "utf-8")
    # A third of another book in common.
    (tmp_path / "c.txt").write_text(" ".join(base.split()[:1300]) + " " + prose(3, 2700))
    (tmp_path / "d.txt").write_text(prose(4, 4000))
    documents, funnel = collect(tmp_path)
    assert [d.uri for d in documents] == ["b.txt", "c.txt", "d.txt"]
    kept = documents[0]
    assert [item["file"] for item in kept.meta["editions"]] == ["a.txt"]
    assert kept.meta["editions"][0]["overlap"] > 0.99
    assert kept.meta["title"] == "A Voyage" and kept.license == "Public-Domain-US"
    row = funnel.rows()[-1]
    assert row["filter"] == "near duplicate"
    assert row["rejected"] == {"edition of a book kept": 1}


def test_overlap_is_a_threshold(tmp_path: Path) -> None:
    base = prose(1, 4000)
    changed = " ".join(base.split()[:3400]) + " " + prose(9, 600)
    (tmp_path / "a.txt").write_text(base)
    (tmp_path / "b.txt").write_text(changed)
    assert len(collect(tmp_path)[0]) == 2  # 85 % in common
    assert len(collect(tmp_path, book_overlap=0.8)[0]) == 1


def test_copyrighted_books_are_rejected_and_counted(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(wrapped(prose(1, 500)))
    (tmp_path / "b.txt").write_text(
        "This is a COPYRIGHTED Project Gutenberg eBook, details below\n" + wrapped(prose(2, 500))
    )
    documents, funnel = collect(tmp_path)
    assert [d.uri for d in documents] == ["a.txt"]
    row = next(row for row in funnel.rows() if row["filter"] == "header")
    assert row["rejected"] == {"copyrighted Project Gutenberg book": 1}


def test_bad_files_and_other_languages_are_counted(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(prose(1, 500))
    (tmp_path / "b.txt").write_bytes(b"")
    (tmp_path / "c.txt").write_bytes(b"PK\x03\x04\x00\x00\x00")
    (tmp_path / "d.epub").write_bytes(b"x")
    (tmp_path / "e.txt").write_text("吾輩は猫である。名前はまだ無い。" * 50)
    documents, funnel = collect(tmp_path)
    assert [d.uri for d in documents] == ["a.txt"]
    assert [item["reason"] for item in funnel.bad_files] == [
        "empty file", "not text", "no text file",
    ]  # fmt: skip
    assert {"language ja": 1} in [row["rejected"] for row in funnel.rows()]


def test_the_licence_names_the_country_in_which_a_book_is_free(tmp_path: Path) -> None:
    head = (
        "* A Project Gutenberg Canada Ebook *\n\nThis ebook is made available at no cost.\n\n"
        "Title: A Voyage\nAuthor: Some One\n\n"
    )
    (tmp_path / "a.txt").write_text(wrapped(prose(1, 500)))
    (tmp_path / "b.txt").write_text(head + prose(2, 500))
    (tmp_path / "c.txt").write_text(prose(3, 500))
    documents, _ = collect(tmp_path)
    assert [d.license for d in documents] == ["Public-Domain-US", "Public-Domain-CA", ""]
    assert documents[1].text == prose(2, 500) and documents[1].meta["author"] == "Some One"
