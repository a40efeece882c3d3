"""Records given up: told by every executor alike, and nothing else is lost in their favour."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tasks.context import StageContext
from tasks.corpus import build, shards
from tasks.corpus.build import build_source
from tasks.corpus.execute import InlineExecutor, Job
from tasks.corpus.guard import Place, add_skip, read_skips
from tasks.corpus.parameters import CorpusParameters
from tasks.corpus.worker_ends import WorkerFailed
from tests.tasks.corpus.artifacts import documents_in
from tests.tasks.corpus.crawl import members, sentence, wet
from tests.tasks.corpus.test_books import prose
from tests.tasks.corpus.test_books_shards import replaced
from tests.tasks.corpus.test_build import context, files

WHY = "took longer than 1 s"


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of one file."""
    monkeypatch.setattr(shards, "LEAST_BYTES", 1)


class Failing:
    """An executor in which records fail at a step, as in a worker: then they are passed."""

    def __init__(self, step: str, places: Iterable[Place]) -> None:
        self.step, self.places = step, list(places)
        self.done: list[str] = []

    def run(self, jobs: Iterable[Job]) -> Iterator[Any]:
        for job in jobs:
            step = job.function.partition(":")[2]
            for place in self.places:
                if step == self.step and place[0] in job.arguments["files"]:
                    assert job.skips is not None
                    add_skip(job.skips, place, WHY)
            self.done.append(f"{step} {Path(job.arguments['folder']).name}")
            yield from InlineExecutor().run([job])


def books(root: Path) -> dict[str, int]:
    """Two books, two editions of each in files that are shards; the better one has more."""
    folder = root / "corpus/books"
    folder.mkdir(parents=True)
    for number in range(2):
        book = prose(100 + number, 2000)
        (folder / f"a{number}.txt").write_text(replaced(book, 0.01, number))
        (folder / f"b{number}.txt").write_text(f"{book} {prose(number, 30)}")
    return {f"corpus/books/{path.name}": 100 for path in sorted(folder.iterdir())}


def crawl(root: Path) -> dict[str, int]:
    """Three files of two pages that share lines."""
    folder = root / "corpus/commoncrawl"
    folder.mkdir(parents=True)
    for file in range(3):
        texts = [
            "\n".join(sentence(n) for n in range(4 * file + 2 * each, 4 * file + 2 * each + 9))
            for each in range(2)
        ]
        data = members(*(wet(f"http://e.org/{file}/{n}", text) for n, text in enumerate(texts)))
        (folder / f"{file}.warc.wet.gz").write_bytes(data)
    return {f"corpus/commoncrawl/{n}.warc.wet.gz": 100 for n in range(3)}


def made(
    source: str, root: Path, sizes: dict[str, int], place: StageContext, executor: Any, **more: Any
) -> tuple[list[dict[str, Any]], list[str]]:
    parameters = CorpusParameters(minimum_characters=100, **more)
    result = build_source(source, root, sizes, parameters, place, executor)
    return list(documents_in(place.out)), result.notes


@pytest.mark.parametrize("caps", [{}, {"max_documents": 100}])
@pytest.mark.parametrize("source", ["books", "commoncrawl"])
def test_what_went_in_favour_of_a_record_given_up_later_comes_back(
    tmp_path: Path, source: str, caps: dict[str, int]
) -> None:
    root = tmp_path / "data"
    sizes = books(root) if source == "books" else crawl(root)
    name = "corpus/books/b1.txt" if source == "books" else "corpus/commoncrawl/0.warc.wet.gz"
    more = {"caps": {source: caps}}
    whole, _ = made(source, root, sizes, context(tmp_path / "whole"), InlineExecutor(), **more)
    at = next(json.loads(row["meta"])["offset"] for row in whole if name in row["meta"])
    # As if it had failed from the start: that is what must come out.
    never = context(tmp_path / "never")
    early = Failing("survey_shard", [(name, at)])
    expected, notes = made(source, root, sizes, never, early, **more)
    assert expected != whole and notes[-1] == f"{name}, record {at}: {WHY}; given up."
    late = Failing("read_shard", [(name, at)])
    place = context(tmp_path / "late")
    assert made(source, root, sizes, place, late, **more) == (expected, notes)
    assert files(place.out) == files(never.out)
    # Another attempt, which finds all of it done, says the same and does nothing again.
    shutil.rmtree(place.out)
    place.out.mkdir()
    stamps = {p: p.stat().st_mtime_ns for p in place.work.rglob("done.json")}
    assert made(source, root, sizes, place, InlineExecutor(), **more) == (expected, notes)
    assert stamps == {p: p.stat().st_mtime_ns for p in place.work.rglob("done.json")}
    # One that was killed between the failure and the new survey goes on from there.
    cut = context(tmp_path / "cut")
    made(source, root, sizes, cut, InlineExecutor(), **more)
    for path in (place.work / "skips").iterdir():
        shutil.copy(path, cut.work / "skips")
    shutil.rmtree(cut.out)
    cut.out.mkdir()
    assert made(source, root, sizes, cut, InlineExecutor(), **more) == (expected, notes)


def test_only_what_changed_is_done_again(tmp_path: Path) -> None:
    """The other shards of a step are found done: each is asked, none is made."""
    root = tmp_path / "data"
    sizes = books(root)
    place = context(tmp_path / "a")
    made("books", root, sizes, place, InlineExecutor())
    before = {p: p.stat().st_mtime_ns for p in place.work.rglob("done.json")}
    add_skip(place.work / "skips/00003.json", ("corpus/books/b1.txt", 0), WHY)
    shutil.rmtree(place.out)
    place.out.mkdir()
    made("books", root, sizes, place, InlineExecutor())
    again = {
        path.parent.relative_to(place.work).as_posix()
        for path, stamp in before.items()
        if path.stat().st_mtime_ns != stamp
    }
    assert again == {"survey/00003", "decided", "read/00001", "read/00003"}


def test_record_after_record_given_up_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "ROUNDS", 3)
    root = tmp_path / "data"
    sizes = books(root)
    number = iter(range(100))

    class Worse(Failing):
        def run(self, jobs: Iterable[Job]) -> Iterator[Any]:
            self.places = [("corpus/books/b1.txt", next(number))]
            return super().run(jobs)

    with pytest.raises(WorkerFailed, match=r"3 times a record was given up.*skips/"):
        made("books", root, sizes, context(tmp_path / "a"), Worse("read_shard", []))


def test_notes_and_events_are_those_of_every_attempt(tmp_path: Path) -> None:
    """Whoever gave a record up, and whenever: as when one process did all at once."""
    folder = tmp_path / "data/corpus/c4"
    folder.mkdir(parents=True)
    sizes = {}
    for number in range(4):
        lines = [{"text": f"Text {number} {row}.", "url": f"http://{row}"} for row in range(4)]
        (folder / f"{number}.jsonl").write_text("\n".join(map(json.dumps, lines)))
        sizes[f"corpus/c4/{number}.jsonl"] = 100
    bad = [("corpus/c4/1.jsonl", 2), ("corpus/c4/3.jsonl", 1), ("corpus/c4/1.jsonl", 1)]
    told: list[tuple[str, Any]] = []
    place = replace(context(tmp_path / "a"), events=told.extend)
    _, notes = made("c4", tmp_path / "data", sizes, place, Failing("read_shard", bad))
    assert notes[-3:] == [f"{file}, record {at}: {WHY}; given up." for file, at in sorted(bad)]
    assert told == [
        ("record_given_up", {"file": file, "offset": at, "reason": WHY}) for file, at in sorted(bad)
    ]
    shutil.rmtree(place.out)
    place.out.mkdir()
    assert made("c4", tmp_path / "data", sizes, place, InlineExecutor())[1] == notes
    # What was given up beyond a cap, by workers that read ahead, is not told.
    capped = context(tmp_path / "b")
    (capped.work / "skips").mkdir()
    add_skip(capped.work / "skips/00003.json", bad[1], WHY)
    caps = {"c4": {"max_documents": 6}}
    _, notes = made("c4", tmp_path / "data", sizes, capped, InlineExecutor(), caps=caps)
    assert not any("given up" in note for note in notes)
    assert read_skips(capped.work / "skips/00003.json")


class Ahead(Failing):
    """As several workers: what is behind a cap is read before it is known that it is behind."""

    def run(self, jobs: Iterable[Job]) -> Iterator[Any]:
        yield from list(super().run(jobs))


def test_what_is_given_up_behind_a_cap_changes_nothing_before_it(tmp_path: Path) -> None:
    root = tmp_path / "data"
    sizes = books(root)
    bad = [("corpus/books/b1.txt", 0)]
    more = {"caps": {"books": {"max_documents": 1}}}
    one = made("books", root, sizes, context(tmp_path / "1"), Failing("read_shard", bad), **more)
    several = made("books", root, sizes, context(tmp_path / "2"), Ahead("read_shard", bad), **more)
    assert one == several and len(one[0]) == 1


class Killed(Failing):
    """As several workers that are killed when they have read what is behind a cap."""

    def run(self, jobs: Iterable[Job]) -> Iterator[Any]:
        results = list(super().run(jobs))
        if any(done.startswith("read_shard") for done in self.done):
            raise KeyboardInterrupt
        yield from results


def test_what_a_killed_attempt_read_ahead_of_a_cap_changes_nothing(tmp_path: Path) -> None:
    root = tmp_path / "data"
    sizes = books(root)
    bad = [("corpus/books/b1.txt", 0)]
    more = {"caps": {"books": {"max_documents": 1}}}
    one = made("books", root, sizes, context(tmp_path / "1"), Failing("read_shard", bad), **more)
    place = context(tmp_path / "2")
    with pytest.raises(KeyboardInterrupt):
        made("books", root, sizes, place, Killed("read_shard", bad), **more)
    shutil.rmtree(place.out)
    place.out.mkdir()
    assert made("books", root, sizes, place, InlineExecutor(), **more) == one
    assert files(place.out) == files(tmp_path / "1/out")
