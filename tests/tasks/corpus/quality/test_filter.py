"""The filter: thresholds, chain of the funnel, what is carried, what is off and said."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.corpus.chain import check_chain
from tasks.corpus.documents import document_files, read_documents
from tasks.corpus.execute import Executor, InlineExecutor, LocalExecutor
from tasks.corpus.guard import Guard
from tasks.corpus.quality import filter as quality_filter
from tasks.corpus.quality.classifier import Features, ReferenceClassifier
from tasks.corpus.quality.filter import (
    Shard,
    filter_documents,
    filter_file,
    filter_shard,
    write_filtered,
)
from tasks.corpus.quality.models import QualityModels, build_models
from tasks.corpus.quality.parameters import QualityParameters
from tasks.corpus.quality.perplexity import Cutoffs, LanguageModel
from tests.tasks.corpus.quality.pages import SMALL, context_in, crawl, page, write_artifact


class Counting(LanguageModel):
    """Stands in for a language model: as perplexed as the text is long."""

    def __init__(self) -> None:
        pass

    def perplexity(self, segments: Iterable[str]) -> float:
        return float(sum(map(len, segments)))


class Vowels(ReferenceClassifier):
    """Stands in for the classifier: the score is the share of the letter a."""

    def __init__(self) -> None:
        super().__init__(Features(8, 1000), np.zeros(256, np.float32), 0.0)

    def score(self, starts: Iterable[str]) -> Any:
        return np.array([start.count("a") / max(1, len(start)) for start in starts])


JUDGES = QualityModels({"en": Counting()}, {"en": Cutoffs(10.0, 20.0, 99)}, Vowels(), "", "")
OFF = QualityModels({}, {}, None, "kenlm is not installed", "3 of 9 pages are cited")


def run(
    pages: Path, models: QualityModels, folder: Path, parameters: QualityParameters | None = None
) -> tuple[Any, Path]:
    context = context_in(folder)
    given = parameters or QualityParameters()

    def shards() -> Iterator[Shard]:
        for path in document_files(pages):
            out = context.work / path.stem
            out.mkdir()
            yield path.name, out, filter_file(pages, path.name, models, given, Guard(), out)

    return write_filtered(pages, models, shards(), context), context.out


def rows_of(folder: Path) -> dict[str, Any]:
    return {row["filter"]: row for row in json.loads((folder / "funnel.json").read_text())}


def kept(folder: Path) -> dict[str, dict[str, Any]]:
    return {
        row["id"].partition(":")[2]: json.loads(row["meta"])
        for path in document_files(folder)
        for row in read_documents(path)
    }


def rejected(folder: Path, name: str = "*.parquet") -> list[dict[str, Any]]:
    return [
        row for path in sorted((folder / "rejected").glob(name)) for row in read_documents(path)
    ]


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    texts = ["aaaaaaaaa", "aaaaaaaaaa", "a" * 19, "a" * 20, "aabbbbbb", "abbbbbb", "bbb"]
    first = [page(n, text, f"http://h{n}.example/", license="L") for n, text in enumerate(texts)]
    second = [page(10, "", ""), page(11, "ein text", "", language="de")]
    return write_artifact(tmp_path / "pages", first, second, [], [page(12, "b" * 50, "")])


def test_pages_stay_by_bucket_then_by_score(pages: Path, tmp_path: Path) -> None:
    result, out = run(pages, JUDGES, tmp_path / "run")
    found = kept(out)
    # Under a cut-off is inside, at it is out; a score at the threshold stays.
    assert {name: (meta["perplexity"], meta["bucket"]) for name, meta in found.items()} == {
        "00000": (9.0, "head"), "00001": (10.0, "middle"), "00002": (19.0, "middle"),
        "00004": (8.0, "head"),
    }  # fmt: skip
    assert found["00004"]["reference_score"] == 0.25
    assert found["00000"]["file"] == "corpus/commoncrawl/a.wet"
    assert result.counts["documents"] == 4
    funnel = rows_of(out)
    assert list(funnel) == ["read", "length", "perplexity", "reference"]
    assert funnel["perplexity"]["rejected"] == {"bucket tail": 2}
    assert funnel["reference"]["rejected"] == {"score under the threshold": 4}


def test_parameters_move_the_thresholds(pages: Path, tmp_path: Path) -> None:
    tail = QualityParameters(perplexity_keep=("tail",), reference_threshold=0.0)
    assert set(kept(run(pages, JUDGES, tmp_path / "tail", tail)[1])) == {"00003", "00011", "00012"}
    strict = QualityParameters(reference_threshold=1.0)
    assert set(kept(run(pages, JUDGES, tmp_path / "strict", strict)[1])) == {
        "00000", "00001", "00002",
    }  # fmt: skip


def test_the_funnel_joins_over_shards_and_within_each(pages: Path, tmp_path: Path) -> None:
    result, out = run(pages, JUDGES, tmp_path / "run")
    rows = json.loads((out / "funnel.json").read_text())
    written = {name: result.counts[name] for name in ("documents", "characters", "bytes")}
    check_chain(rows, written)
    by_shard: dict[int, list[dict[str, Any]]] = {}
    for row in json.loads((out / "funnel_shards.json").read_text()):
        by_shard.setdefault(row["shard"], []).append(row)
    assert [len(rows) for rows in by_shard.values()] == [4, 4, 2, 4]
    for held in by_shard.values():
        check_chain(held, {})
    for name in ("perplexity", "reference"):
        total = sum(row["documents_in"] for held in by_shard.values() for row in held
                    if row["filter"] == name)  # fmt: skip
        assert total == rows_of(out)[name]["documents_in"]


def test_earlier_rejects_bad_files_and_licences_are_carried(pages: Path, tmp_path: Path) -> None:
    _, out = run(pages, JUDGES, tmp_path / "run", QualityParameters(keep_rejected=True))
    assert json.loads((out / "bad_files.json").read_text())[0]["offset"] == 7
    assert json.loads((out / "licenses.json").read_text()) == {"L": 4}
    assert [row["id"] for row in rejected(out, "00002.parquet")] == ["short-2"]
    first = rejected(out, "00000.parquet")
    assert first[0]["id"] == "short-0" and first[0]["filter"] == "length"
    assert {(row["id"], row["filter"], row["offset"]) for row in first[1:]} == {
        ("commoncrawl:00003", "perplexity", 3),
        ("commoncrawl:00005", "reference", 5),
        ("commoncrawl:00006", "reference", 6),
    }
    assert {row["file"] for row in first[1:]} == {"corpus/commoncrawl/a.wet"}
    assert rejected(out, "00003.parquet")[-1]["text"] == "b" * 50
    # A shard of which nothing stays has no file of documents.
    assert [path.name for path in document_files(out)] == ["00000.parquet"]


def test_pages_in_a_language_without_a_model_pass_unjudged(pages: Path, tmp_path: Path) -> None:
    alone = QualityParameters(reference_threshold=0.0)
    result, out = run(pages, JUDGES, tmp_path / "run", alone)
    assert "bucket" not in kept(out)["00011"] and "reference_score" in kept(out)["00011"]
    assert result.counts["unjudged"] == 1
    assert result.notes == [
        "quality: 1 pages in languages without a model were not judged by perplexity."
    ]


def test_what_is_off_is_said_in_funnel_and_notes(pages: Path, tmp_path: Path) -> None:
    result, out = run(pages, OFF, tmp_path / "run")
    funnel = rows_of(out)
    assert list(funnel)[2:] == ["perplexity (off)", "reference (off)"]
    assert funnel["perplexity (off)"]["documents_out"] == 10 == result.counts["documents"]
    assert result.notes == [
        "quality: the perplexity filter is off: kenlm is not installed.",
        "quality: the reference filter is off: 3 of 9 pages are cited.",
    ]
    one = replace(JUDGES, classifier=None, reference_off="by the parameters")
    _, out = run(pages, one, tmp_path / "one")
    assert list(rows_of(out))[2:] == ["perplexity", "reference (off)"]


def test_the_bytes_do_not_depend_on_how_shards_are_batched(
    pages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, one = run(pages, JUDGES, tmp_path / "one")
    monkeypatch.setattr(quality_filter, "BATCH", 2)
    _, two = run(pages, JUDGES, tmp_path / "two")
    names = sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file())
    for name in names:
        if "rejected" not in name.parts:
            assert (one / name).read_bytes() == (two / name).read_bytes(), name
    assert sorted(map(str, rejected(one))) == sorted(map(str, rejected(two)))


def test_hostile_pages_are_judged_like_others(tmp_path: Path) -> None:
    texts = ["", "\x00\x01", "a" * 10_000_000, "\u0300" * 100_000, "</s> <s> a\u2581b <unk> a a"]
    pages = write_artifact(tmp_path / "pages", [page(n, t, "") for n, t in enumerate(texts)])
    result, out = run(pages, JUDGES, tmp_path / "run", QualityParameters(reference_threshold=0.0))
    assert result.counts["documents"] == 3
    assert rows_of(out)["perplexity"]["rejected"] == {"bucket tail": 2}


def test_a_crawl_without_pages_is_filtered_to_nothing(tmp_path: Path) -> None:
    pages = write_artifact(tmp_path / "pages", [], [])
    result, out = run(pages, JUDGES, tmp_path / "run")
    assert result.counts["documents"] == 0 and "quality: no page was left." in result.notes
    assert list(rows_of(out)) == ["read", "length", "perplexity", "reference"]
    assert len(rejected(out)) == 2


def test_a_folder_without_models_is_refused(pages: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no models\.json"):
        filter_documents(
            {"pages": pages, "models": tmp_path}, QualityParameters(), context_in(tmp_path / "x")
        )


def test_processes_give_the_bytes_of_one_and_go_on_where_one_ended(tmp_path: Path) -> None:
    inputs = crawl(tmp_path / "data")
    build_models(inputs, SMALL, made := context_in(tmp_path / "models"))
    given = {"pages": inputs["pages"], "models": made.out}
    contexts = [context_in(tmp_path / name) for name in ("one", "two")]
    executors: list[Executor] = [InlineExecutor(), LocalExecutor(workers=2)]
    results = [
        filter_documents(given, QualityParameters(), context, executor)
        for context, executor in zip(contexts, executors, strict=True)
    ]
    assert results[0] == results[1] and 30 <= results[0].counts["documents"] < 80
    for path in (path for path in contexts[0].out.rglob("*") if path.is_file()):
        other = contexts[1].out / path.relative_to(contexts[0].out)
        assert path.read_bytes() == other.read_bytes(), path
    # Another attempt finds the shards done: the folder of the pages' texts is not asked again.
    again = replace(contexts[1], out=tmp_path / "again")
    again.out.mkdir()
    (inputs["pages"] / "documents/00001.parquet").write_bytes(b"gone")
    assert filter_documents(given, QualityParameters(), again) == results[0]


def test_a_page_that_was_given_up_is_counted_with_its_reason(pages: Path, tmp_path: Path) -> None:
    skips = {("corpus/commoncrawl/a.wet", 2): "too slow"}
    said = filter_file(
        pages, "00000.parquet", JUDGES, QualityParameters(), Guard(None, skips), tmp_path
    )
    assert said["funnel"][0]["rejected"] == {"bucket tail": 1, "too slow": 1}
    last = [row["id"] for row in read_documents(tmp_path / "rejected.parquet")]
    assert "commoncrawl:00002" in last


def test_a_shard_is_filtered_again_when_what_is_passed_changed(tmp_path: Path) -> None:
    inputs = crawl(tmp_path / "data")
    build_models(inputs, SMALL, made := context_in(tmp_path / "models"))
    arguments = {
        "pages": str(inputs["pages"]),
        "name": "00000.parquet",
        "models": str(made.out),
        "parameters": QualityParameters().model_dump(mode="json"),
        "folder": str(tmp_path / "filtered"),
    }
    row = next(read_documents(inputs["pages"] / "documents/00000.parquet"))
    meta = json.loads(row["meta"])
    place = (meta["file"], meta["offset"])
    counts = [
        filter_shard(Guard(None, skips), **arguments)["funnel"][0]["rejected"].get("too slow", 0)
        for skips in ({}, {place: "too slow"}, {})
    ]
    assert counts == [0, 1, 0]


def test_files_are_copied_where_the_store_has_no_links(
    pages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*names: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    _, one = run(pages, JUDGES, tmp_path / "one")
    monkeypatch.setattr(os, "link", refuse)
    _, two = run(pages, JUDGES, tmp_path / "two")
    for path in (path for path in one.rglob("*.parquet") if path.is_file()):
        assert path.read_bytes() == (two / path.relative_to(one)).read_bytes()


def test_few_long_pages_are_held_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch is as many characters as it may be, or one page: whole row groups of them fit."""
    monkeypatch.setattr(quality_filter, "BATCH_CHARACTERS", 5_000)
    texts = ["a " * (2_000 if n % 3 else 40) for n in range(30)]
    pages = write_artifact(
        tmp_path / "pages",
        [page(n, f"{n} {text}", f"http://x/{n}") for n, text in enumerate(texts)],
    )
    held: list[int] = []

    class Noting(Vowels):
        def score(self, starts: Iterable[str]) -> Any:
            held.append(len(list(starts)))
            return super().score(starts)

    models = replace(JUDGES, classifier=Noting(), languages={}, cutoffs={})
    (tmp_path / "out").mkdir()
    said = filter_file(
        pages, "00000.parquet", models, QualityParameters(), Guard(), tmp_path / "out"
    )
    assert said["documents"] == 30 == sum(held) and max(held) <= 3
    (tmp_path / "more").mkdir()
    monkeypatch.setattr(quality_filter, "BATCH_CHARACTERS", 10_000_000)
    again = filter_file(
        pages, "00000.parquet", models, QualityParameters(), Guard(), tmp_path / "more"
    )
    assert again == said and held[-1] == 30
    one, two = (tmp_path / name / "documents.parquet" for name in ("out", "more"))
    assert one.read_bytes() == two.read_bytes()
