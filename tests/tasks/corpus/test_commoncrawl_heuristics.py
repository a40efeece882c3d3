"""C4's and Gopher's rules on CommonCrawl's pages, behind its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tasks.corpus.build import build_source
from tasks.corpus.execute import InlineExecutor
from tasks.corpus.parameters import CorpusParameters
from tests.tasks.corpus.artifacts import documents_in
from tests.tasks.corpus.test_build import context

PROSE = (
    "The harbour was quiet that morning and {0} boats lay at the old stone pier. An old man mended"
    " his nets beside a fire that would not burn. Gulls circled above and waited for somebody."
    " Nobody had been out since the storm, which took the roof of the chapel with it. People said"
    " that such weather would come again before spring, and they carried wood from the hills to"
    " their sheds. Children ran between barrels until their mothers called. Later, when clouds"
    " opened, a ship with brown sails came round the cape and anchored far from shore."
)


def wet(root: Path, texts: list[str]) -> dict[str, int]:
    record = "WARC/1.0\r\nWARC-Type: conversion\r\nWARC-Target-URI: http://{0}.org/\r\n"
    record += "Content-Length: {1}\r\n\r\n{2}\r\n\r\n"
    path = root / "corpus/commoncrawl/a.wet"
    path.parent.mkdir(parents=True)
    path.write_text("".join(record.format(n, len(t), t) for n, t in enumerate(texts)))
    return {"corpus/commoncrawl/a.wet": path.stat().st_size}


@pytest.mark.parametrize("on", [False, True])
def test_rules_follow_the_language_and_are_counted(tmp_path: Path, on: bool) -> None:
    page = PROSE.format("two")
    texts = [page + "\nMenu", PROSE.format("three") + "\nA { bracket.", "word " * 100]
    sizes = wet(tmp_path, texts)
    place = context(tmp_path / "made")
    options: dict[str, Any] = {"c4_rules": on, "gopher_rules": on, "c4_min_sentences": 3}
    parameters = CorpusParameters(allow_missing_sources=True, **options)
    build_source("commoncrawl", tmp_path, sizes, parameters, place, InlineExecutor())
    found = [row["text"] for row in documents_in(place.out)]
    rows = json.loads((place.out / "funnel.json").read_text())
    names = [row["filter"] for row in rows]
    if not on:
        assert len(found) >= 2 and "gopher quality" not in names
        return
    assert found == [page.strip()]
    assert names.index("language") < names.index("c4 sentences") < names.index("gopher quality")
    rejected = {row["filter"]: row["rejected"] for row in rows if row["rejected"]}
    assert "c4 curly bracket" in rejected


def test_a_bad_words_file_is_no_part_of_the_recipe_but_its_words_are(tmp_path: Path) -> None:
    path = tmp_path / "bad.txt"
    path.write_text("# ours\nflurb\n")
    rules = CorpusParameters(bad_words_file=path).source_rules("commoncrawl").rules
    assert rules["bad_words"] == ("flurb",) and "bad_words_file" not in rules
