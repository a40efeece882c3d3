"""Shards: the same documents however they are cut, and nothing is read twice after a kill."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tasks.context import StageContext
from tasks.corpus import shards
from tasks.corpus.build import build_source
from tasks.corpus.execute import InlineExecutor, Job, LocalExecutor
from tasks.corpus.parameters import CorpusParameters
from tasks.corpus.shards import plan_shards
from tests.tasks.corpus.artifacts import documents_in, rejected_in
from tests.tasks.corpus.test_build import context, files


def dumps(root: Path, count: int = 12, rows: int = 8) -> dict[str, int]:
    """JSON lines with texts that repeat within and across files."""
    folder = root / "corpus/c4"
    folder.mkdir(parents=True)
    for number in range(count):
        lines = [
            json.dumps(
                {"text": f"Text {(number * 5 + row) % 37} of the web.", "url": f"http://{row}"}
            )
            for row in range(rows)
        ]
        (folder / f"{number:02d}.jsonl").write_text("\n".join(lines))
    return {f"corpus/c4/{n:02d}.jsonl": 100 for n in range(count)}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of one file."""
    monkeypatch.setattr(shards, "LEAST_BYTES", 1)


class Dying:
    """An executor whose power is cut after so many jobs."""

    def __init__(self, jobs: int) -> None:
        self.left = jobs
        self.done: list[str] = []

    def run(self, jobs: Iterable[Job]) -> Iterator[Any]:
        for job in jobs:
            if not self.left:
                raise KeyboardInterrupt
            self.left -= 1
            self.done.append(Path(job.arguments["folder"]).parent.name)
            yield from InlineExecutor().run([job])


def build(
    root: Path, sizes: dict[str, int], place: StageContext, executor: Any, **more: Any
) -> Path:
    build_source("c4", root, sizes, CorpusParameters(**more), place, executor)
    return place.out


def test_plan_keeps_units_and_order() -> None:
    names = [f"{project}/{n}" for project in "abc" for n in range(3)]
    reader = SimpleNamespace(units=lambda files: [files[:3], files[3:6], files[6:]])
    plan = plan_shards(cast(Any, reader), names, dict.fromkeys(names, 300_000), 10**6)
    assert [shard.files for shard in plan] == [
        tuple(names[:3]),
        tuple(names[3:6]),
        tuple(names[6:]),
    ]
    plan = plan_shards(cast(Any, SimpleNamespace()), names, dict.fromkeys(names, 10), 10**6)
    assert [shard.files for shard in plan] == [tuple(names)]
    assert plan_shards(cast(Any, SimpleNamespace()), [], {}, 10) == []


def test_cuts_and_workers_do_not_change_the_documents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = dumps(tmp_path / "data")
    root = tmp_path / "data"
    whole = build(root, sizes, context(tmp_path / "whole"), InlineExecutor())
    monkeypatch.setattr(shards, "LEAST_BYTES", 1)
    cut = build(root, sizes, context(tmp_path / "cut"), InlineExecutor())
    assert (
        list(documents_in(cut)) == list(documents_in(whole)) and len(list(documents_in(cut))) == 37
    )
    for name in ("funnel.json", "licenses.json", "bad_files.json"):
        assert json.loads((cut / name).read_text()) == json.loads((whole / name).read_text())
    assert len(list(rejected_in(cut))) == len(list(rejected_in(whole))) == 12 * 8 - 37
    workers = build(root, sizes, context(tmp_path / "workers"), LocalExecutor(2))
    assert files(workers) == files(cut)
    by_shard = json.loads((cut / "funnel_shards.json").read_text())
    assert {row["shard"] for row in by_shard} == set(range(12))
    read = [row["documents_in"] for row in by_shard if row["filter"] == "read"]
    assert read == [8] * 12


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("kills", [0, 1, 5, 11])
def test_a_killed_run_goes_on_with_the_shards_that_are_there(tmp_path: Path, kills: int) -> None:
    sizes = dumps(tmp_path / "data")
    expected = files(build(tmp_path / "data", sizes, context(tmp_path / "a"), InlineExecutor()))
    place = context(tmp_path / "b")
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path / "data", sizes, place, Dying(kills))
    stamps = {p: p.stat().st_mtime_ns for p in (place.work / "read").rglob("*") if p.is_file()}
    shutil.rmtree(place.out)
    place.out.mkdir()
    assert files(build(tmp_path / "data", sizes, place, InlineExecutor())) == expected
    assert stamps == {path: path.stat().st_mtime_ns for path in stamps}


@pytest.mark.usefixtures("small")
def test_a_damaged_shard_is_read_again(tmp_path: Path) -> None:
    sizes = dumps(tmp_path / "data")
    place = context(tmp_path / "a")
    expected = files(build(tmp_path / "data", sizes, place, InlineExecutor()))
    damaged = place.work / "read" / "00003" / "documents.parquet"
    data = bytearray(damaged.read_bytes())
    data[len(data) // 2] ^= 1
    damaged.unlink()  # the artifact holds a link to it
    damaged.write_bytes(data)
    shutil.rmtree(place.out)
    place.out.mkdir()
    assert files(build(tmp_path / "data", sizes, place, InlineExecutor())) == expected


@pytest.mark.usefixtures("small")
def test_a_shard_of_a_file_that_was_another_one_is_read_again(tmp_path: Path) -> None:
    """Overwritten and put back between two attempts: the recipe is the same, the shard is not."""
    sizes = dumps(tmp_path / "data", count=3)
    path = tmp_path / "data/corpus/c4/01.jsonl"
    listed = path.read_text()
    expected = files(build(tmp_path / "data", sizes, context(tmp_path / "a"), InlineExecutor()))
    place = context(tmp_path / "b")
    path.write_text(json.dumps({"text": "Of another day."}))
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path / "data", sizes, place, Dying(6))
    path.write_text(listed)
    assert files(build(tmp_path / "data", sizes, place, InlineExecutor())) == expected


@pytest.mark.usefixtures("small")
def test_more_shards_than_a_byte_counts(tmp_path: Path) -> None:
    sizes = dumps(tmp_path / "data", count=300, rows=2)
    out = build(tmp_path / "data", sizes, context(tmp_path / "a"), InlineExecutor())
    assert len({row["text"] for row in documents_in(out)}) == len(list(documents_in(out))) == 37


@pytest.mark.usefixtures("small")
def test_a_first_shard_without_documents_and_a_cap(tmp_path: Path) -> None:
    sizes = dumps(tmp_path / "data", count=3)
    (tmp_path / "data/corpus/c4/00.jsonl").write_bytes(b"")
    caps = {"c4": {"max_documents": 9}}
    place = context(tmp_path / "a")
    out = build(tmp_path / "data", sizes, place, InlineExecutor(), caps=caps, keep_rejected=True)
    assert len(list(documents_in(out))) == 9
    late = [row for row in rejected_in(out) if row["filter"] == "cap"]
    assert late and all(row["file"].endswith("02.jsonl") and row["offset"] for row in late)
    assert all(row["text"] for row in late)


@pytest.mark.usefixtures("small")
def test_a_cap_reads_no_more_shards_than_it_needs(tmp_path: Path) -> None:
    sizes = dumps(tmp_path / "data")
    everything = build(tmp_path / "data", sizes, context(tmp_path / "all"), InlineExecutor())
    executor = Dying(100)
    caps = {"c4": {"max_documents": 20}}
    out = build(tmp_path / "data", sizes, context(tmp_path / "cap"), executor, caps=caps)
    rows = list(documents_in(out))
    assert rows == list(documents_in(everything))[:20]
    assert executor.done.count("read") < 6
    funnel = json.loads((out / "funnel.json").read_text())
    assert funnel[-1]["filter"] == "cap" and funnel[-1]["documents_out"] == 20
    assert funnel[-1]["rejected"] == {"read ahead of the cap": funnel[-1]["documents_in"] - 20}
    two = build(tmp_path / "data", sizes, context(tmp_path / "two"), LocalExecutor(2), caps=caps)
    assert files(two) == files(out)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("bound", ["max_bytes", "max_documents"])
def test_a_cap_takes_a_prefix_of_what_comes_without_one(tmp_path: Path, bound: str) -> None:
    """Also where a shard stops at the cap by texts that an earlier shard has, written wider."""
    folder = tmp_path / "data/corpus/c4"
    folder.mkdir(parents=True)
    shared = [f"Text {number} of all files." for number in range(3)]
    for file in range(4):
        wider = [text.replace(" ", " " * (1 + 40 * file)) for text in shared]
        texts = [*wider, *(f"Text {row} of file {file} alone." for row in range(5))]
        rows = [json.dumps({"text": text, "url": "http://e.org"}) for text in texts]
        (folder / f"{file}.jsonl").write_text("\n".join(rows))
    sizes = {f"corpus/c4/{n}.jsonl": 100 for n in range(4)}
    root = tmp_path / "data"
    everything = list(documents_in(build(root, sizes, context(tmp_path / "all"), InlineExecutor())))
    assert len(everything) == 23
    lengths = [len(row["text"].encode()) for row in everything]
    again = False
    for wanted in range(1, 23, 3):
        cap = wanted if bound == "max_documents" else sum(lengths[:wanted]) - 1
        place = context(tmp_path / f"{wanted}")
        caps = {"c4": {bound: cap}}
        assert (
            list(documents_in(build(root, sizes, place, InlineExecutor(), caps=caps)))
            == everything[:wanted]
        )
        again = again or (place.work / "whole").is_dir()
    assert again == (bound == "max_bytes")
    two = context(tmp_path / "two")
    caps = {"c4": {"max_bytes": sum(lengths[:10])}}
    assert (
        list(documents_in(build(root, sizes, two, LocalExecutor(2), caps=caps))) == everything[:10]
    )
