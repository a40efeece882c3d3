"""The reference classifier: the same bytes in every process, and back from its files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tasks.corpus.quality import classifier
from tasks.corpus.quality.classifier import FeatureFile, Features, ReferenceClassifier
from tasks.corpus.quality.models import build_models, load_models
from tests.conftest import ROOT
from tests.tasks.corpus.quality.pages import KNOWLEDGE, SALE, SMALL, context_in, crawl, prose


def test_two_processes_train_the_same_bytes(tmp_path: Path) -> None:
    inputs = crawl(tmp_path)
    result = build_models(inputs, SMALL, context_in(tmp_path / "here"))
    code = (
        "from tests.tasks.corpus.quality.pages import train_in_process as train;"
        f"train({str(tmp_path)!r}, {str(tmp_path / 'there')!r})"
    )
    subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | {"PYTHONHASHSEED": "77", "OMP_NUM_THREADS": "2"},
        check=True,
    )
    one, two = (
        {
            path.relative_to(tmp_path / name).as_posix(): path.read_bytes()
            for path in sorted((tmp_path / name / "out").rglob("*"))
            if path.is_file()
        }
        for name in ("here", "there")
    )
    assert one == two
    assert {"out/reference/weights.npz", "out/reference/settings.json", "out/report.json"} <= set(
        one
    )
    report = json.loads(one["out/report.json"])["reference"]
    assert report["pools"] == {"pages": {"pages": 80, "url_matches": 40, "host_matches": 40}}
    assert report["held_out"]["roc_auc"] > 0.95 and report["held_out"]["accuracy"] > 0.9
    assert report["trained"]["cited"] + report["held_out"]["cited"] == 40
    assert result.counts["cited_pages"] == report["trained"]["cited"]


def test_the_loaded_classifier_scores_as_the_trained_one(tmp_path: Path) -> None:
    features = Features(bits=12, characters=500)
    texts = [prose(kind, n) for n in range(20) for kind in (KNOWLEDGE, SALE)]
    file = FeatureFile(tmp_path / "features", features)
    file.write((n, features.start(text)) for n, text in enumerate(texts))
    labels = np.arange(40) % 2 == 0
    options = {"epochs": 3, "penalty": 1e-4, "seed": 0}
    trained = classifier.train(file, np.arange(40), labels, features, **options)
    trained.save(tmp_path / "saved", {"match": "url"})
    loaded = ReferenceClassifier.load(tmp_path / "saved")
    starts = [features.start(prose(kind, 99)) for kind in (KNOWLEDGE, SALE)] + [""]
    assert list(loaded.score(starts)) == list(trained.score(starts))
    known, sale, _ = loaded.score(starts)
    assert known > 0.8 and sale < 0.2
    assert np.load(tmp_path / "saved" / "weights.npz", allow_pickle=False)["weight"].shape == (
        4096,
    )
    settings = json.loads((tmp_path / "saved" / "settings.json").read_text())
    (tmp_path / "saved" / "settings.json").write_text(
        json.dumps(settings | {"features": {"bits": 13, "characters": 500}})
    )
    with pytest.raises(ValueError, match="weights, the settings want 8192"):
        ReferenceClassifier.load(tmp_path / "saved")


def test_rows_come_back_from_the_file_in_any_order(tmp_path: Path) -> None:
    features = Features(bits=10, characters=500)
    texts = ["", *(prose(KNOWLEDGE, n, 20) for n in range(600)), "\x00", "the the the"]
    file = FeatureFile(tmp_path, features)
    starts = [features.start(text) for text in texts]
    assert list(file.write(enumerate(starts))) == list(range(603))
    whole = features.matrix(starts).toarray()
    order = np.array([602, 0, 300, 300, 601, 255, 256])
    np.testing.assert_array_equal(file.rows(order).toarray(), whole[order])


def test_wordless_pages_have_empty_rows(tmp_path: Path) -> None:
    features = Features(bits=10, characters=500)
    file = FeatureFile(tmp_path, features)
    file.write([(0, ""), (1, "!")])
    assert file.rows(np.array([1, 0])).nnz == 0


def test_only_the_start_of_a_page_is_read() -> None:
    features = Features(bits=10, characters=100)
    start = features.start("Né en 1901. " * 1_000_000)
    assert start.startswith("ne en 0000. ne en") and len(start) <= 100


def test_too_few_cited_pages_turn_the_classifier_off(tmp_path: Path) -> None:
    inputs = crawl(tmp_path / "data", cited=9)
    result = build_models(inputs, SMALL, context := context_in(tmp_path / "models"))
    (note,) = [note for note in result.notes if "reference filter is off" in note]
    assert "9 of 80 crawl pages" in note and "10 are wanted" in note
    assert not (context.out / "reference").exists()
    models = load_models(context.out)
    assert models.classifier is None and "9 of 80" in models.reference_off
    wanted = SMALL.model_copy(update={"reference": "on"})
    with pytest.raises(ValueError, match="reference is on and cannot be trained: 9 of 80"):
        build_models(inputs, wanted, context_in(tmp_path / "again"))


def test_host_matches_count_only_where_the_parameter_says_so(tmp_path: Path) -> None:
    inputs = crawl(tmp_path / "data", path="another")
    off = build_models(inputs, SMALL, context_in(tmp_path / "url"))
    assert any("0 of 80 crawl pages" in note for note in off.notes)
    by_host = SMALL.model_copy(update={"reference_match": "host"})
    on = build_models(inputs, by_host, context := context_in(tmp_path / "host"))
    report = json.loads((context.out / "report.json").read_text())["reference"]
    assert report["match"] == "host" and report["pools"]["pages"]["host_matches"] == 40
    assert any("host is cited were taken for cited pages" in note for note in on.notes)


def test_c4_is_a_pool_of_its_own(tmp_path: Path) -> None:
    inputs = crawl(tmp_path / "data") | {
        "c4": crawl(tmp_path / "c4", 30, source="c4", host="shop")["pages"]
    }
    build_models(inputs, SMALL, context := context_in(tmp_path / "models"))
    pools = json.loads((context.out / "report.json").read_text())["reference"]["pools"]
    assert pools == {
        "pages": {"pages": 80, "url_matches": 40, "host_matches": 40},
        "c4": {"pages": 30, "url_matches": 0, "host_matches": 0},
    }
