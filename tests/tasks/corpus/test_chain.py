"""The funnels of all seven sources join, from the records of the dumps to the documents written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tasks.context import StageContext
from tasks.corpus.assemble import build_corpus
from tasks.corpus.build import build_source
from tasks.corpus.chain import FunnelError, check_chain
from tasks.corpus.execute import InlineExecutor
from tasks.corpus.funnel import Funnel
from tasks.corpus.locate import locate_sources
from tasks.corpus.mixture import SOURCES
from tasks.corpus.parameters import CorpusParameters
from tests.golden.inputs import write_data
from tests.tasks.corpus.artifacts import documents_in, split_in

UNITS = ("documents", "characters", "bytes")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Dumps in which every source has something to reject, and texts that must be repaired."""
    root = write_data(tmp_path_factory.mktemp("data"))
    text = "A record with a \x00 and a \ud800 inside it."
    (root / "corpus/c4/odd.jsonl").write_text(json.dumps({"text": text}))
    (root / "corpus/stackexchange/ready.jsonl").write_text(json.dumps({"text": f" {text}\n"}))
    wet = "WARC/1.0\r\nWARC-Type: conversion\r\nWARC-Target-URI: http://{0}.org/\r\n"
    wet += "Content-Length: {1}\r\n\r\n{2}\r\n\r\n"
    bodies = ["", " \n ", "One \x00 line.\r\n  Another line. " * 30]
    records = "".join(wet.format(n, len(body), body) for n, body in enumerate(bodies))
    (root / "corpus/commoncrawl/odd.wet").write_bytes(records.encode())
    return root


def prepare(root: Path, folder: Path, **options: Any) -> dict[str, Path]:
    """Every source built on its own, and the corpus of all: artifact folders by name."""
    parameters = CorpusParameters(validation_fraction=0.1, **options)
    made = {}
    for source, files in locate_sources(root).items():
        context = new_context(folder / source)
        build_source(source, root, dict.fromkeys(files, 1), parameters, context, InlineExecutor())
        made[source] = context.out
    context = new_context(folder / "corpus")
    build_corpus(made, parameters, context, InlineExecutor())
    return made | {"corpus": context.out}


def new_context(folder: Path) -> StageContext:
    for name in ("out", "work"):
        (folder / name).mkdir(parents=True)
    return StageContext(out=folder / "out", work=folder / "work")


def rows_of(artifact: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((artifact / "funnel.json").read_text("utf-8"))
    return rows


def breaks(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Where one source's rows do not join, in this test's own arithmetic."""
    for row in rows:
        if row["documents_in"] - row["documents_out"] != (
            sum(row["rejected"].values()) + row.get("joined", 0)
        ):
            yield f"{row['source']} {row['filter']}: {row}"
    for one, next_one in pairwise(rows):
        for unit in UNITS:
            if one[f"{unit}_out"] != next_one[f"{unit}_in"]:
                yield f"{one['source']}: {one['filter']} -> {next_one['filter']}, {unit}"


def sizes(rows: Iterator[dict[str, Any]]) -> tuple[int, int, int]:
    texts = [row["text"] for row in rows]
    return len(texts), sum(map(len, texts)), sum(len(text.encode()) for text in texts)


CAPS = {
    "whole": {},
    "capped": {name: {"max_documents": 2} for name in SOURCES},
}


@pytest.mark.parametrize("caps", CAPS.values(), ids=CAPS)
def test_funnels_of_all_sources_join(tmp_path: Path, data: Path, caps: dict[str, Any]) -> None:
    made = prepare(data, tmp_path, workers=1, caps=caps, keep_rejected=True)
    corpus = rows_of(made["corpus"])
    assert {row["source"] for row in corpus} == set(SOURCES)
    for source in SOURCES:
        rows = rows_of(made[source])
        assert not list(breaks(rows)), source
        last = tuple(rows[-1][f"{unit}_out"] for unit in UNITS)
        assert last == sizes(documents_in(made[source])), source
        whole = [row for row in corpus if row["source"] == source]
        assert whole[: len(rows)] == rows and len(whole) == len(rows) + 2
        assert not list(breaks(whole)), source
        last = tuple(whole[-1][f"{unit}_out"] for unit in UNITS)
        assert last == sizes(split_in(made["corpus"], "train", source)), source


def test_units_change_at_one_filter_and_a_cap_leaves_whole_pages(
    tmp_path: Path, data: Path
) -> None:
    whole = prepare(data, tmp_path / "whole", workers=1)["stackexchange"]
    thread = next(row for row in rows_of(whole) if row["filter"] == "thread")
    assert thread["joined"] > 0 and "read ahead of the cap" not in thread["rejected"]
    caps = {"stackexchange": {"max_documents": 1}}
    capped = prepare(data, tmp_path / "capped", workers=1, caps=caps)["stackexchange"]
    rows = rows_of(capped)
    assert rows[-1]["documents_out"] == 1 and not list(breaks(rows))


def test_a_chain_that_does_not_join_is_named() -> None:
    funnel = Funnel("c4")
    funnel.keep("read", "one text")
    funnel.keep("length", "one text", "a text")
    check_chain(funnel.rows(), {"documents": 1, "characters": 6, "bytes": 6})
    with pytest.raises(FunnelError, match=r"c4: 'length' let 6 characters through, 7 were written"):
        check_chain(funnel.rows(), {"documents": 1, "characters": 7})
    funnel.keep("language", "one text")
    message = r"c4: 'length' let 6 characters through, 'language' was given 8"
    with pytest.raises(FunnelError, match=message):
        check_chain(funnel.rows(), {})
    funnel.entries["read"].documents_in += 1
    with pytest.raises(FunnelError, match=r"'read' was given 2 documents, let 1 through"):
        check_chain(funnel.rows(), {})
