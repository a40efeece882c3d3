"""All real Wikipedia dumps: nothing of the markup is left, nothing readable is lost."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tasks.corpus.documents import Document
from tasks.corpus.funnel import Funnel
from tasks.corpus.parameters import CorpusParameters
from tasks.corpus.sources import wikipedia

pytestmark = pytest.mark.data
RESIDUE = re.compile(
    r"\[\[|\]\]|''|\{\||\|\}|</?(?:ref|div|span|br|small|table)\b|__[A-Z]{4,}__|\bthumb\||&nbsp;"
    r"|^[|!*#:;]\s*$|^\||[\x00-\x08\x0b-\x1f]",
    re.MULTILINE,
)


@pytest.fixture(scope="module")
def articles(arriero_data: Path) -> tuple[list[Document], Funnel]:
    root = arriero_data / "corpus" / "wikipedia"
    files = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.bz2"))
    assert len(files) == 26
    funnel = Funnel("wikipedia")
    return list(wikipedia.read(root, files, CorpusParameters(), funnel)), funnel


def test_no_markup_is_left(articles: tuple[list[Document], Funnel]) -> None:
    documents, funnel = articles
    assert len(documents) > 130 and not funnel.bad_files
    for document in documents:
        assert not RESIDUE.search(document.text), document.id
        assert document.text == document.text.strip()


def test_text_that_only_templates_hold_is_there(articles: tuple[list[Document], Funnel]) -> None:
    texts = {f"{d.language}:{d.meta['title']}": d.text for d in articles[0]}
    assert "Greek ἀναρχία" in texts["en:Anarchism"]
    assert "Берлин (Berlin; Barliń)" in texts["sr:Берлин"]
    assert " segle XIII" in texts["ca:Berlín"] and "892 km²" in texts["fr:Berlin"]
    assert not any("-{" in text for text in texts.values())


def test_references_are_harvested(articles: tuple[list[Document], Funnel]) -> None:
    references = [url for document in articles[0] for url in document.meta["references"]]
    assert len(references) > 8000
    assert all(url.startswith(("http://", "https://")) for url in references)


def test_places_find_each_article_again(articles: tuple[list[Document], Funnel]) -> None:
    places = [(d.meta["file"], d.meta["offset"]) for d in articles[0]]
    assert len(set(places)) == len(places) and places == sorted(places)
