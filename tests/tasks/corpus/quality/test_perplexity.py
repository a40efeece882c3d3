"""Perplexity with KenLM itself: needs the extra `quality`, and lmplz (deploy/build_lmplz.sh)."""

from __future__ import annotations

import json
import math
import random
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tasks.corpus.documents import document_files, read_documents
from tasks.corpus.quality import language_models, perplexity
from tasks.corpus.quality.filter import filter_documents
from tasks.corpus.quality.models import build_models, load_models
from tasks.corpus.quality.normalise import normalised_segments
from tasks.corpus.quality.parameters import QualityParameters
from tasks.corpus.quality.perplexity import LanguageModel
from tests.tasks.corpus.quality.pages import (
    KNOWLEDGE,
    SALE,
    SMALL,
    article,
    context_in,
    page,
    prose,
    write_artifact,
)

pytestmark = pytest.mark.quality
WANTED = SMALL.model_copy(update={"perplexity": "on", "reference": "off"})
PAGES = 40


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Wikipedia of one language, and pages of which each is a little less like it."""
    folder = tmp_path_factory.mktemp("inputs")
    random_words = random.Random(3)
    pages = []
    for number in range(PAGES):
        words = prose(KNOWLEDGE, number).split()
        for _ in range(number * 3):
            words[random_words.randrange(len(words))] = f"qx{random_words.randrange(10**6)}zv"
        pages.append(page(number, " ".join(words), f"http://h{number}.example/"))
    pages.append(page(900, "ein kurzer text", "", language="de"))
    articles = [article(n, prose(KNOWLEDGE, 1000 + n)) for n in range(60)]
    articles.append(article(77, "The tags <s> and </s> and <unk>. A mark \u2581 and NUL \x00."))
    return {
        "wikipedia": write_artifact(folder / "wikipedia", articles),
        "pages": write_artifact(folder / "pages", pages[:25], pages[25:]),
    }


@pytest.fixture(scope="module")
def built(inputs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    context = context_in(tmp_path_factory.mktemp("built") / "models")
    return build_models(inputs, WANTED, context), context.out


@pytest.fixture(scope="module")
def model(built: tuple[Any, Path]) -> LanguageModel:
    return load_models(built[1]).languages["en"]


def judged(model: LanguageModel, text: str) -> float:
    return model.perplexity(normalised_segments(text))


def test_two_trainings_give_the_same_bytes(
    inputs: dict[str, Path], built: tuple[Any, Path], tmp_path: Path
) -> None:
    build_models(inputs, WANTED, context := context_in(tmp_path))
    names = [path.relative_to(built[1]) for path in built[1].rglob("*") if path.is_file()]
    names = [name for name in names if name.parts[0] != "logs"]
    assert {name.name for name in names} >= {"ngram.binary", "sentencepiece.model", "cutoffs.json"}
    for name in names:
        assert (built[1] / name).read_bytes() == (context.out / name).read_bytes(), name
    assert not list(context.work.iterdir())


def test_the_report_says_what_was_read_and_what_was_left_out(built: tuple[Any, Path]) -> None:
    result, out = built
    report = json.loads((out / "report.json").read_text())["perplexity"]
    assert report["en"]["documents"] == report["en"]["ngram_documents"] == 61
    assert report["en"]["deciles"] == sorted(report["en"]["deciles"])
    assert report["de"]["off"] == "0 bytes of Wikipedia, 1000 are wanted"
    assert json.loads((out / "cutoffs.json").read_text())["en"]["pages"] == PAGES
    assert "quality: no perplexity for de: 0 bytes of Wikipedia, 1000 are wanted." in result.notes
    assert any("the text of en allows" in note for note in result.notes)
    assert result.counts["languages"] == ["en"]


def test_text_like_wikipedia_is_less_perplexing(model: LanguageModel) -> None:
    like, unlike = prose(KNOWLEDGE, 5000), prose(SALE, 5000)
    shuffled = " ".join(random.Random(0).sample(like.split(), len(like.split())))
    assert judged(model, like) < judged(model, shuffled) < judged(model, unlike)
    assert judged(model, like) == judged(model, like.upper().replace(" ", "\n"))


def test_it_is_the_perplexity_of_the_whole_sequence(model: LanguageModel, built: Any) -> None:
    import kenlm

    text = prose(KNOWLEDGE, 7)
    (pieces,) = model.pieces(normalised_segments(text))
    known = kenlm.Model(str(built[1] / "perplexity/en/ngram.binary"))
    assert judged(model, text) == pytest.approx(known.perplexity(" ".join(pieces)), rel=1e-3)


def test_a_long_document_is_scored_in_parts(
    model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = " ".join(prose(KNOWLEDGE, n) for n in range(600))
    assert len(list(normalised_segments(text))) > 20
    whole = judged(model, text)
    monkeypatch.setattr(perplexity, "PART", 1000)
    assert judged(model, text) == pytest.approx(whole, rel=0.02)


def test_hostile_text_gets_a_finite_perplexity_in_bounded_time(model: LanguageModel) -> None:
    started = time.monotonic()
    for text in ("", "\x00\x01", "x" * 10_000_000, "<s> </s> <unk>", "\u2581\u2585", "\U0010ffff"):
        assert math.isfinite(judged(model, text))
    assert time.monotonic() - started < 60


def test_the_filter_keeps_head_and_middle(
    inputs: dict[str, Path], built: tuple[Any, Path], tmp_path: Path
) -> None:
    context = context_in(tmp_path)
    given = {"pages": inputs["pages"], "models": built[1]}
    result = filter_documents(given, QualityParameters(), context)
    metas = {
        row["id"]: json.loads(row["meta"])
        for path in document_files(context.out)
        for row in read_documents(path)
    }
    buckets = [meta.get("bucket") for meta in metas.values()]
    assert buckets.count("head") == buckets.count("middle") == 12  # 30 % of 40
    assert buckets.count(None) == 1 == result.counts["unjudged"]
    least, most = metas["commoncrawl:00000"], max(m.get("perplexity", 0) for m in metas.values())
    assert least["bucket"] == "head" and least["perplexity"] < most
    assert "quality: the reference filter is off: by the parameters." in result.notes
    funnel = json.loads((context.out / "funnel.json").read_text())
    assert [row["filter"] for row in funnel[-2:]] == ["perplexity", "reference (off)"]
    assert funnel[-2]["rejected"] == {"bucket tail": 16}


def two_languages(folder: Path) -> dict[str, Path]:
    """Wikipedia and pages of two languages, in files and row groups of their own."""
    articles, pages = [], []
    for first, language in ((0, "en"), (1000, "fr")):
        articles.append(
            [article(first + n, prose(KNOWLEDGE, first + n), (), language) for n in range(40)]
        )
        pages.append(
            [
                page(first + n, prose((KNOWLEDGE, SALE)[n % 2], first + n), "", language=language)
                for n in range(30)
            ]
        )
    return {
        "wikipedia": write_artifact(folder / "wikipedia", *articles),
        "pages": write_artifact(folder / "pages", pages[0] + pages[1]),
    }


def test_an_ended_training_goes_on_with_the_languages_that_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = two_languages(tmp_path)
    build_models(inputs, WANTED, whole := context_in(tmp_path / "whole"))
    trained: list[str] = []
    real = language_models.train_language

    def ending(limit: int) -> None:
        def train(files: Any, language: str, *more: Any) -> Any:
            if len(trained) == limit:
                raise KeyboardInterrupt
            trained.append(language)
            return real(files, language, *more)

        monkeypatch.setattr(language_models, "train_language", train)

    context = context_in(tmp_path / "ended")
    ending(1)
    with pytest.raises(KeyboardInterrupt):
        build_models(inputs, WANTED, context)
    again = replace(context, out=tmp_path / "again")
    again.out.mkdir()
    ending(9)
    build_models(inputs, WANTED, again)
    assert trained == ["en", "fr"]
    for path in (path for path in whole.out.rglob("*") if path.is_file()):
        name = path.relative_to(whole.out)
        if name.parts[0] != "logs":
            assert path.read_bytes() == (again.out / name).read_bytes(), name


def test_pages_are_gone_through_once_for_all_languages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = two_languages(tmp_path)
    read: list[str] = []
    real = pq.ParquetFile.__init__

    def noted(file: pq.ParquetFile, source: Any, *more: Any, **options: Any) -> None:
        read.append(str(source))
        real(file, source, *more, **options)

    monkeypatch.setattr(pq.ParquetFile, "__init__", noted)
    build_models(inputs, WANTED, context_in(tmp_path / "models"))
    # To choose those that the cut-offs are taken on, and to judge them.
    assert sum(name.startswith(str(inputs["pages"])) for name in read) == 2
