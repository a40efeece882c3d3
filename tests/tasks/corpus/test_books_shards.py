"""Editions and parts of books over shards: the same decisions however the files are shared out."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tasks.corpus import partitions
from tasks.corpus.funnel import Funnel
from tasks.corpus.parameters import CorpusParameters
from tasks.corpus.shingles import shingle_hashes
from tasks.corpus.sources import book_editions, books
from tasks.corpus.sources.book_editions import Library, contained, write_survey
from tests.tasks.corpus.test_books import prose


def replaced(text: str, share: float, seed: int) -> str:
    """``text`` with this share of its words replaced by others."""
    chooser = random.Random(seed)
    return " ".join(
        f"other{chooser.randrange(10**6)}" if chooser.random() < share else word
        for word in text.split()
    )


def write_library(root: Path) -> None:
    """Editions, parts, near misses and their like, in files whose order says nothing."""
    root.mkdir()
    plays = [prose(seed, 1500) for seed in range(6)]
    texts = {"works.txt": "\n\n".join(plays)}
    for number, play in enumerate(plays[:3]):
        texts[f"{9 - number}-play.txt"] = play
    for number in range(8):
        book = prose(100 + number, 2000)
        texts[f"{number}-book.txt"] = book
        texts[f"edition-{number}.txt"] = replaced(book, 0.01, number) + " " + prose(number, 20)
    # Half in common with a book, and all words in common in another order: neither is an edition.
    half = prose(100, 2000).split()
    texts["half.txt"] = " ".join(half[:1000]) + " " + prose(50, 1000)
    texts["shuffled.txt"] = " ".join(random.Random(1).sample(half, len(half)))
    for name, text in texts.items():
        (root / name).write_text(text)


def sharded(
    root: Path, shards: Sequence[Sequence[str]], work: Path, **options: int
) -> tuple[dict[str, tuple[str, list[dict[str, object]]]], list[str]]:
    """Books kept, by file, with their text and editions; and those rejected as near duplicates."""
    parameters = CorpusParameters(**options)
    surveys = []
    for number, files in enumerate(shards):
        surveys.append(work / "survey" / f"{number:05d}")
        surveys[-1].mkdir(parents=True)
        books.survey(root, files, parameters, Funnel("books"), surveys[-1])
    decided = work / "decided"
    decided.mkdir()
    books.decide(surveys, parameters, decided)
    assert {path.name for path in decided.iterdir()} == {f"{path.name}.json" for path in surveys}
    kept, rejected = {}, []
    for files, surveyed in zip(shards, surveys, strict=True):
        funnel = Funnel("books", keep_rejected=True)
        for document in books.read(
            root, files, parameters, funnel, decided=decided, surveyed=surveyed
        ):
            kept[document.uri] = (document.text, document.meta["editions"])
        rejected += [f"{row.id}: {row.reason}" for row in funnel.take_rejected()]
    return kept, sorted(rejected)


def test_decisions_do_not_depend_on_shards_nor_on_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "books"
    write_library(root)
    files = sorted(path.name for path in root.iterdir())
    found = [sharded(root, [files], tmp_path / "one")]
    mixed_up = random.Random(3).sample(files, len(files))
    for shards in (2, 5):
        cut = [mixed_up[number::shards] for number in range(shards)]
        found.append(sharded(root, cut, tmp_path / f"{shards}"))
    monkeypatch.setattr(book_editions, "ROW_BYTES", 2_000_000)
    monkeypatch.setattr(partitions, "OPEN_FILES", 8)
    found.append(sharded(root, [files[:9], files[9:]], tmp_path / "tight", dedup_memory_mb=64))
    assert all(item == found[0] for item in found)
    kept, rejected = found[0]
    assert {"half.txt", "shuffled.txt", "works.txt"} <= set(kept)
    parts = [row for row in rejected if row.endswith("part of a book kept")]
    assert [row.split(":")[0] for row in parts] == ["7-play.txt", "8-play.txt", "9-play.txt"]
    assert len(rejected) == 3 + 8 and len(kept) == 3 + 8
    assert [item["file"] for item in kept["works.txt"][1]] == [
        "7-play.txt", "8-play.txt", "9-play.txt",
    ]  # fmt: skip
    assert all(item["part"] and item["overlap"] == 1.0 for item in kept["works.txt"][1])


def test_the_table_of_books_fits_the_hashes(tmp_path: Path) -> None:
    texts = {"b": prose(1, 900), "a": prose(2, 400), "none": " ... ", "c": prose(3, 1200)}
    write_survey(texts.items(), 5, tmp_path)
    library = Library([tmp_path])
    assert [book.name for book in library.books] == ["c", "b", "a", "none"]
    for rank, book in enumerate(library.books):
        assert (library.hashes(rank) == shingle_hashes(texts[book.name], 5)).all()
    assert contained(library.hashes(0), library.hashes(3)) == 0.0


@pytest.mark.parametrize("words", [300, 1000, 4000])
@pytest.mark.parametrize("ratio", [1, 2, 5, 10])
def test_parts_are_candidates_whatever_the_length_of_the_whole(
    tmp_path: Path, words: int, ratio: int
) -> None:
    """Nine tenths of the shorter one's shingles are in the longer one: found, all but by chance."""
    tries = 30 if words < 4000 else 8
    texts = {}
    for seed in range(tries):
        whole = prose(seed, words * ratio).split()
        start = random.Random(seed).randrange(words * ratio - words + 1)
        part = " ".join(whole[start : start + words])
        texts[f"whole-{seed}"] = " ".join(whole)
        texts[f"part-{seed}"] = replaced(part, 0.015, seed) + " " + prose(1000 + seed, words // 50)
    write_survey(texts.items(), 0, tmp_path)
    library = Library([tmp_path])
    found = book_editions._candidates(library, 0.9, tmp_path, 64)
    rank = {book.name: number for number, book in enumerate(library.books)}
    counted = hits = 0
    for seed in range(tries):
        better, worse = sorted((rank[f"whole-{seed}"], rank[f"part-{seed}"]))
        if contained(library.hashes(worse), library.hashes(better)) > 0.9:
            counted += 1
            hits += better in found.get(worse, [])
    assert counted > tries // 3 and hits >= counted - 1


def test_many_editions_of_one_book_leave_the_best(tmp_path: Path) -> None:
    """More than the hashes of a book pair with one another."""
    book = prose(1, 700)
    texts = {f"{number:03d}": replaced(book, 0.005, number) for number in range(200)}
    texts["zz-best"] = book + " " + prose(2, 200)
    write_survey(texts.items(), 0, tmp_path)
    (tmp_path / "decided").mkdir()
    book_editions.write_decisions([tmp_path], 0.9, tmp_path / "decided")
    removed, editions = book_editions.read_decisions(tmp_path / "decided", tmp_path)
    assert len(removed) == 200 and {item.kept for item in removed.values()} == {"zz-best"}
    assert len(editions["zz-best"]) == 200


def test_sketches_are_a_share_of_the_hash_range(tmp_path: Path) -> None:
    write_survey([("x", " ".join(str(n) for n in range(30_000)))], 0, tmp_path)
    (book,) = Library([tmp_path]).books
    assert book.sketch == book.below and abs(book.below - 30_000 / 64) < 5 * np.sqrt(30_000 / 64)


def test_sketches_are_spread_over_the_partitions(tmp_path: Path) -> None:
    """Their hashes all lie in one corner of the range; what partitions go by does not."""
    write_survey([("x", " ".join(str(n) for n in range(30_000)))], 0, tmp_path)
    keys = np.concatenate([rows["key"] for rows in Library([tmp_path]).sketches()])
    counts = np.bincount((keys >> np.uint64(62)).astype(np.int64), minlength=4)
    assert counts.min() > len(keys) / 6
