"""Shingles, signatures and near-duplicate clusters, and the split that keeps each on one side."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from tasks.corpus import clusters, partitions, shingles
from tasks.corpus.assemble import build_corpus
from tasks.corpus.clusters import BANDS, cluster, sign_file, signed
from tasks.corpus.documents import Document, write_documents
from tasks.corpus.parameters import CorpusParameters
from tests.tasks.corpus.artifacts import split_in
from tests.tasks.corpus.test_build import context

VOCABULARY = (
    "river stone lantern market captain winter garden letter bridge copper shadow evening forest"
    " station harbour village mountain window journey silver teacher orchard compass thunder"
)
WORDS = VOCABULARY.split()


def prose(seed: int, words: int) -> list[str]:
    chooser = random.Random(seed)
    return [f"{chooser.choice(WORDS)}{chooser.randrange(30)}" for _ in range(words)]


def changed(words: list[str], every: int, seed: int = 0) -> str:
    """A near-duplicate: one word in ``every`` is another one."""
    chooser = random.Random(seed)
    return " ".join(
        f"other{chooser.randrange(10**6)}" if place % every == every // 2 else word
        for place, word in enumerate(words)
    )


def labels(folder: Path, texts: list[str], **options: int) -> list[int]:
    path, place = folder / "signed", folder / "work"
    place.mkdir(exist_ok=True)
    assert sign_file(texts, 0, path) == len(texts)
    found: list[int] = cluster([path], place, **options).tolist()
    assert [made.name for made in place.iterdir()] == ["labels"]
    return found


def test_clusters_are_near_duplicates_whatever_the_partitions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = []
    for seed in range(60):
        words = prose(seed, 40 + 20 * seed)
        texts += [" ".join(words), " ".join(prose(1000 + seed, 300))]
        texts += [changed(words, 60, 1), changed(words, 60, 2)] if seed % 3 == 0 else []
    texts += ["", " ... ", "--"]  # nothing in common with anything, each other included
    found = labels(tmp_path, texts)
    expected = []
    for seed in range(60):
        base = len(expected)
        expected += [base, base + 1] + ([base, base] if seed % 3 == 0 else [])
    expected += [len(expected) + extra for extra in range(3)]
    assert found == expected
    monkeypatch.setattr(clusters, "KEY_BYTES", 2000)
    assert labels(tmp_path, texts, memory_mb=1) == found
    monkeypatch.setattr(partitions, "OPEN_FILES", 4)
    monkeypatch.setattr(clusters, "BATCH_TEXTS", 7)
    assert labels(tmp_path, texts, memory_mb=1) == found


def test_documents_linked_in_a_row_are_one_cluster(tmp_path: Path) -> None:
    words = prose(3, 400)
    texts = []
    for step in range(40):  # each like the one before; the first and the last have little in common
        words[step * 10] = f"changed{step}"
        texts.append(" ".join(words))
    random.Random(1).shuffle(texts)
    assert labels(tmp_path, texts) == [0] * 40


def test_recall_at_the_similarity_named() -> None:
    hits = {0.8: 0, 0.5: 0}
    for similarity, tries in ((0.8, 200), (0.5, 200)):
        for seed in range(tries):
            # Shared and own parts of one length make the similarity.
            shared = round(600 * similarity)
            own = round((600 - shared) / 2)
            common = prose(seed, shared)
            pair = [" ".join(common + prose(seed + n * 10**6, own)) for n in (1, 2)]
            keys = signed(pair, 0)["band"]
            hits[similarity] += bool((keys[0] == keys[1]).any())
    assert hits[0.8] >= 195 and hits[0.5] <= 60
    assert BANDS * 8 == shingles.BINS


def artifact(folder: Path, source: str, texts: list[str]) -> Path:
    folder.mkdir(parents=True)
    documents = [
        Document(id=f"{source}:{n}", text=text, source=source, uri=f"{source}/{n}")
        for n, text in enumerate(texts)
    ]
    write_documents(folder / "documents" / "00000.parquet", documents)
    size = sum(map(len, texts))
    row = {"source": source, "filter": "read", "joined": 0, "rejected": {}}
    for side in ("in", "out"):
        row |= {f"documents_{side}": len(texts), f"characters_{side}": size, f"bytes_{side}": size}
    (folder / "funnel.json").write_text(json.dumps([row]))
    (folder / "bad_files.json").write_text("[]")
    return folder


def test_no_cluster_crosses_the_split_within_or_between_sources(tmp_path: Path) -> None:
    """Near-duplicates: three of each text in one source, a fourth in another."""
    families = [prose(seed, 200) for seed in range(60)]
    inputs = {
        "c4": [changed(words, 70, copy) for words in families for copy in (1, 2, 3)],
        "wikipedia": [changed(words, 70, 4) for words in families]
        + [" ".join(prose(500 + n, 150)) for n in range(60)],
        "books": [" ".join(prose(700 + n, 150)) for n in range(5)],
    }
    folders = {name: artifact(tmp_path / name, name, texts) for name, texts in inputs.items()}
    parameters = CorpusParameters(
        allow_missing_sources=True, validation_fraction=0.2, validation_minimum=2
    )
    place = context(tmp_path / "corpus")
    result = build_corpus(folders, parameters, place)
    sides: dict[int, set[str]] = {}
    held = dict.fromkeys(inputs, 0)
    for split in ("train", "validation"):
        for name in inputs:
            for row in split_in(place.out, split, name):
                held[name] += split == "validation"
                number = int(row["id"].partition(":")[2])
                family = number // 3 if name == "c4" else number
                if name != "books" and family < 60:
                    sides.setdefault(family, set()).add(split)
    assert len(sides) == 60 and all(len(found) == 1 for found in sides.values())
    assert 15 <= held["c4"] <= 60 and held["c4"] % 3 == 0 and held["books"] == 2
    assert result.counts["near_duplicates"] == {"clusters": 60, "documents": 240, "largest": 4}


def test_a_cluster_of_most_of_a_source_stays_in_training_and_is_said(tmp_path: Path) -> None:
    words = prose(1, 300)
    texts = [changed(words, 100, copy) for copy in range(9)] + [" ".join(prose(2, 300))]
    for name, own in (("one", texts), ("all", texts[:9])):
        place = context(tmp_path / f"corpus-{name}")
        parameters = CorpusParameters(allow_missing_sources=True, validation_fraction=0.0)
        folder = artifact(tmp_path / name, "c4", own)
        result = build_corpus({"c4": folder}, parameters, place)
        held = list(split_in(place.out, "validation", "c4"))
        assert [row["text"] for row in held] == texts[9 : len(own)]
        assert any("clusters" in note for note in result.notes) == (not held)


def test_side_does_not_depend_on_the_order_of_documents(tmp_path: Path) -> None:
    texts = [changed(prose(seed, 200), 70, copy) for seed in range(40) for copy in (1, 2)]
    parameters = CorpusParameters(allow_missing_sources=True, validation_fraction=0.3)
    held = []
    for number, order in enumerate((texts, texts[::-1])):
        place = context(tmp_path / f"corpus-{number}")
        folder = artifact(tmp_path / str(number), "c4", order)
        build_corpus({"c4": folder}, parameters, place)
        rows = split_in(place.out, "validation", "c4")
        held.append({row["text"] for row in rows})
    assert held[0] == held[1] and 4 <= len(held[0]) <= 44
