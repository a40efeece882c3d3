"""The story of a document: its file and offset, the rules it passed or the one that stopped it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pytest

from tasks.corpus.assemble import build_corpus
from tasks.corpus.execute import InlineExecutor
from tasks.corpus.parameters import CorpusParameters
from tasks.corpus.show import Passage, describe_document
from tests.tasks.corpus.artifacts import documents_in, rejected_in, split_in
from tests.tasks.corpus.test_build import context, source


@pytest.fixture
def stages(tmp_path: Path) -> list[tuple[str, Path]]:
    texts = [f"Text number {n} of some length." for n in [*range(40), 3]]
    documents = source(tmp_path, "c4", texts)
    place = context(tmp_path / "corpus")
    parameters = CorpusParameters(allow_missing_sources=True, validation_fraction=0.1)
    build_corpus({"c4": documents}, parameters, place, InlineExecutor())
    return [("corpus", place.out), ("documents.c4", documents)]


def test_a_document_of_each_split_names_its_record(stages: list[tuple[str, Path]]) -> None:
    for split in ("train", "validation"):
        row = next(split_in(stages[0][1], split, "c4"))
        story = describe_document(row["id"], "c4", stages)
        assert story is not None and story.fate == split and story.stage == "corpus"
        assert story.file == "corpus/c4/a.jsonl"
        assert story.offset == json.loads(row["meta"])["offset"]
        assert story.text == row["text"] and all(rule.passed for rule in story.rules)
        assert Passage("exact duplicate", True) in story.rules
        assert describe_document(row["uri"], "c4", stages) == story


def test_a_reject_names_the_rule(stages: list[tuple[str, Path]]) -> None:
    (row,) = rejected_in(stages[1][1])
    story = describe_document(row["id"], "c4", stages)
    assert story is not None and story.fate == "rejected" and story.stage == "documents.c4"
    assert story.rules[-1] == Passage("exact duplicate", False)
    assert story.reason == "same text in this source" and story.rules[0] == Passage("read", True)
    assert (story.file, story.offset) == ("corpus/c4/a.jsonl", 41)
    assert story.text == "Text number 3 of some length."


def test_unknown_ids_and_documents_without_a_corpus(stages: list[tuple[str, Path]]) -> None:
    assert describe_document("c4:nothing", "c4", stages) is None
    row = next(documents_in(stages[1][1]))
    story = describe_document(row["id"], "c4", stages[1:])
    assert story is not None and story.fate == "documents"


def test_texts_are_read_of_the_file_alone_that_holds_the_document(
    stages: list[tuple[str, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large corpus is searched by its ids and addresses."""
    read: list[tuple[str, object]] = []
    real = ds.dataset

    class Noted:
        def __init__(self, path: Path) -> None:
            self.path, self.data = path, real(path)

        def scanner(self, columns: object = None, **more: Any) -> Any:
            read.append((str(self.path), columns))
            return self.data.scanner(columns=columns, **more)

    monkeypatch.setattr(ds, "dataset", Noted)
    row = next(split_in(stages[0][1], "validation", "c4"))
    story = describe_document(row["id"], "c4", stages)
    assert story is not None and story.text == row["text"]
    whole = [path for path, columns in read if columns is None]
    assert len(whole) == 1 and "validation" in whole[0] and len(read) >= 3
