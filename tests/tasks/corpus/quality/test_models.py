"""What is off without KenLM, and how it is said; cut-offs and buckets."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tasks.corpus.quality import kenlm, models, perplexity
from tasks.corpus.quality.models import build_models, load_models
from tasks.corpus.quality.ngrams import LanguageText, QualityTrainingError, train_pieces
from tasks.corpus.quality.parameters import QualityModelParameters
from tasks.corpus.quality.perplexity import Cutoffs, LanguageModel, cutoffs_of
from tests.conftest import ROOT
from tests.tasks.corpus.quality.pages import KNOWLEDGE, SMALL, context_in, crawl, prose


@pytest.fixture
def no_kenlm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As on a machine where nobody installed the extra."""
    monkeypatch.delenv(kenlm.FOLDER, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(kenlm, "find_spec", lambda name: None)
    monkeypatch.setattr(perplexity, "installed_module", lambda: None)


def test_without_kenlm_perplexity_is_off_and_said(tmp_path: Path, no_kenlm: None) -> None:
    inputs = crawl(tmp_path / "data")
    wanted = SMALL.model_copy(update={"perplexity": "auto"})
    result = build_models(inputs, wanted, context := context_in(tmp_path / "models"))
    (note,) = [note for note in result.notes if "perplexity filter is off" in note]
    assert "arriero[quality]" in note and "deploy/build_lmplz.sh" in note
    assert json.loads((context.out / "cutoffs.json").read_text()) == {}
    loaded = load_models(context.out)
    assert "arriero[quality]" in loaded.perplexity_off and not loaded.languages
    assert loaded.classifier is not None and not loaded.reference_off


def test_perplexity_on_without_kenlm_says_what_to_install(tmp_path: Path, no_kenlm: None) -> None:
    inputs = crawl(tmp_path / "data")
    wanted = SMALL.model_copy(update={"perplexity": "on"})
    with pytest.raises(ValueError, match=r"arriero\[quality\].*deploy/build_lmplz.sh.*KENLM_BIN"):
        build_models(inputs, wanted, context_in(tmp_path / "models"))


def test_what_must_be_there_is_missed_before_the_long_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_kenlm: None
) -> None:
    """The classifier of cited pages takes minutes, the language models hours."""
    inputs = crawl(tmp_path / "data", pages=20, cited=3)

    def never(*arguments: object) -> None:
        raise AssertionError("trained although the run must fail")

    monkeypatch.setattr(models, "train_language_models", never)
    wanted = SMALL.model_copy(update={"reference": "on", "perplexity": "auto"})
    with pytest.raises(ValueError, match="reference is on and cannot be trained"):
        build_models(inputs, wanted, context_in(tmp_path / "models"))
    monkeypatch.setattr(models, "train_reference_classifier", never)
    wanted = SMALL.model_copy(update={"perplexity": "on"})
    with pytest.raises(ValueError, match="perplexity is on and cannot be trained"):
        build_models(inputs, wanted, context_in(tmp_path / "more"))


def test_the_module_alone_does_not_train(monkeypatch: pytest.MonkeyPatch, no_kenlm: None) -> None:
    monkeypatch.setattr(kenlm, "find_spec", lambda name: object())
    assert kenlm.missing(kenlm.find_programs()) == kenlm.PROGRAMS
    assert kenlm.missing(kenlm.Kenlm(Path("lmplz"), Path("build_binary"))) == ""


def test_programs_are_found_by_the_variable_first(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, no_kenlm: None
) -> None:
    for folder in ("named", "path"):
        (tmp_path / folder).mkdir()
        for name in ("lmplz", "build_binary"):
            (tmp_path / folder / name).touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    assert kenlm.find_programs() == kenlm.Kenlm(
        tmp_path / "path/lmplz", tmp_path / "path/build_binary"
    )
    monkeypatch.setenv(kenlm.FOLDER, str(tmp_path / "named"))
    found = kenlm.find_programs()
    assert found is not None and found.lmplz == tmp_path / "named/lmplz"
    (tmp_path / "named/lmplz").unlink()
    with pytest.raises(ValueError, match=r"ARRIERO_KENLM_BIN names .*named, which lacks"):
        kenlm.find_programs()


def test_the_build_script_explains_itself_and_refuses_another_archive(tmp_path: Path) -> None:
    script = str(ROOT / "deploy" / "build_lmplz.sh")
    alone = subprocess.run(["bash", script], capture_output=True, text=True, check=False)
    assert alone.returncode == 2
    assert "ARRIERO_KENLM_BIN" in alone.stderr and "libboost" in alone.stderr
    (tmp_path / "kenlm.tar.gz").write_bytes(b"another")
    command = ["bash", script, str(tmp_path / "prefix"), str(tmp_path / "kenlm.tar.gz")]
    other = subprocess.run(command, capture_output=True, text=True, check=False)
    assert other.returncode == 1 and not (tmp_path / "prefix" / "bin").exists()


def test_a_program_that_fails_is_quoted(tmp_path: Path) -> None:
    script = tmp_path / "lmplz"
    script.write_text(f"#!{sys.executable}\nprint('no memory for this'); raise SystemExit(3)\n")
    script.chmod(0o755)
    programs = kenlm.Kenlm(script, script)
    with pytest.raises(kenlm.KenlmFailed, match=r"lmplz ended with 3:\nno memory for this"):
        programs.train(tmp_path / "text", 5, "1G", tmp_path, tmp_path / "out", tmp_path / "log.txt")


def test_models_that_need_kenlm_are_not_loaded_without_it(tmp_path: Path, no_kenlm: None) -> None:
    with pytest.raises(ValueError, match=r"en holds an n-gram model.*arriero\[quality\]"):
        LanguageModel(tmp_path / "en")


def test_cut_offs_are_percentiles_and_part_the_buckets() -> None:
    cutoffs = cutoffs_of(np.arange(101, dtype=np.float64), 30.0, 60.0)
    assert cutoffs == Cutoffs(head=30.0, middle=60.0, pages=101)
    assert [cutoffs.bucket(p) for p in (0.0, 29.999, 30.0, 59.999, 60.0, 1e9)] == [
        "head", "head", "middle", "middle", "tail", "tail",
    ]  # fmt: skip
    counts = [cutoffs.bucket(float(p)) for p in range(101)]
    assert (counts.count("head"), counts.count("middle"), counts.count("tail")) == (30, 30, 41)


def test_the_sample_is_the_lowest_hashes_that_hold_its_bytes() -> None:
    text = LanguageText()
    for hashed, size in ((50, 10), (10, 10), (40, 10), (20, 10)):
        text.add(hashed, size)
    assert [text.greatest_hash(quota) for quota in (1, 10, 11, 20, 25, 40, 9999)] == [
        10, 10, 20, 20, 40, 50, 50,
    ]  # fmt: skip
    assert (text.documents, text.bytes) == (4, 40)


def test_a_vocabulary_too_small_for_the_characters_is_explained() -> None:
    letters = "".join(chr(0x4E00 + n) for n in range(900))
    given = QualityModelParameters(vocabulary=300, character_coverage=1.0)
    with pytest.raises(QualityTrainingError, match=r"300 pieces cannot hold .* raise vocabulary"):
        train_pieces([letters] * 20, given)


def test_pieces_are_the_same_bytes_each_time() -> None:
    given = QualityModelParameters(vocabulary=400)
    texts = [prose(KNOWLEDGE, n) for n in range(50)]
    assert train_pieces(texts, given) == train_pieces(texts, given)


def test_percentiles_must_be_in_order() -> None:
    with pytest.raises(ValueError, match=r"head_percentile 60.0 must be below middle_percentile"):
        QualityModelParameters(head_percentile=60.0)


def test_an_input_without_documents_is_named(tmp_path: Path) -> None:
    inputs = crawl(tmp_path / "data")
    for path in (inputs["wikipedia"] / "documents").glob("*"):
        path.unlink()
    with pytest.raises(ValueError, match=r"'wikipedia' at .* holds no documents"):
        build_models(inputs, SMALL, context_in(tmp_path / "models"))
