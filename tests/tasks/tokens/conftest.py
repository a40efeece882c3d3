"""A small corpus artifact and what the stages make of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.tokens.parameters import TokensParameters
from tasks.tokens.shards import build_tokens
from tasks.tokens.tokenizer import build_tokenizer
from tests.tasks.tokens.corpora import SMALL, stage, write_corpus


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of the artifacts ``corpus``, ``tokenizer`` and ``tokens``."""
    base = tmp_path_factory.mktemp("tokens")
    corpus = write_corpus(base / "corpus")
    build_tokenizer(SMALL, corpus, one := stage(base / "tokenizer"))
    build_tokens(TokensParameters(workers=1), corpus, one.out, two := stage(base / "tokens"))
    return {"corpus": corpus, "tokenizer": one.out, "tokens": two.out}


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A corpus of a few kilobytes in many parts, some of them inside a row group."""
    monkeypatch.setattr("tasks.tokens.parts.SMALLEST_PART", 5_000)
