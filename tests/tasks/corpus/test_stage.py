"""The Prefect tasks of the corpus, run without a server through their plain functions."""

from __future__ import annotations

import json
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from prefect.states import State

from registry import runs
from registry.database import upgrade
from registry.settings import load_settings
from tasks import workplace
from tasks.context import StageResult
from tasks.corpus import build, stage
from tasks.corpus.build import MissingSourceError
from tasks.corpus.parameters import CorpusParameters
from tasks.corpus.stage import assemble_corpus, fingerprint_source, prepare_source
from tasks.runner import RunContext, open_workplace, settled
from tests.tasks.corpus.artifacts import split_in

TEXTS = {"c4": "A text from the web.", "stackexchange": "Q: Why? A: Because."}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunContext:
    monkeypatch.setenv("ARRIERO_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("ARRIERO_REGISTRY_URL", raising=False)
    (tmp_path / "home").mkdir()
    upgrade(load_settings().registry_url)
    place = open_workplace()
    identity = runs.start_run(place.registry, flow="preparation", stage="preparation")
    return RunContext(run_id=identity, flow="preparation")


def test_chain_is_cached_until_a_dump_changes(tmp_path: Path, run: RunContext) -> None:
    root = tmp_path / "data"
    for source, text in TEXTS.items():
        folder = root / "corpus" / source
        folder.mkdir(parents=True)
        lines = [json.dumps({"text": f"{text} {i}"}) for i in range(6)]
        (folder / "a.jsonl").write_text("\n".join(lines))
    parameters = CorpusParameters(allow_missing_sources=True)

    def prepare(parameters: CorpusParameters) -> tuple[list[bool], Path]:
        cached, documents = [], {}
        for source in (*TEXTS, "books"):
            raw = fingerprint_source.fn(source, parameters, str(root), False, run)
            if raw is None:
                assert source == "books"
                continue
            made = prepare_source.fn(source, parameters, settled(raw), str(root), run)
            cached.append(isinstance(made, State))
            documents[source] = settled(made)
        made = assemble_corpus.fn(parameters, documents, run)
        cached.append(isinstance(made, State))
        return cached, open_workplace().store.path(settled(made))

    cached, folder = prepare(parameters)
    assert cached == [False, False, False]
    assert (folder / "train/c4/00000.parquet").is_file()
    assert set(json.loads((folder / "mixture.json").read_text())["weights"]) == set(TEXTS)
    assert prepare(parameters) == ([True, True, True], folder)
    # The split is no concern of the sources.
    assert prepare(parameters.model_copy(update={"validation_fraction": 0.3}))[0] == [
        True, True, False,
    ]  # fmt: skip
    with (root / "corpus/c4/a.jsonl").open("a") as handle:
        handle.write("\n" + json.dumps({"text": "One more."}))
    assert prepare(parameters)[0] == [False, True, False]


def test_missing_source_names_folder_and_option(tmp_path: Path, run: RunContext) -> None:
    (tmp_path / "data/corpus").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"corpus/arxiv.*allow_missing_sources"):
        fingerprint_source.fn("arxiv", CorpusParameters(), str(tmp_path / "data"), False, run)
    with pytest.raises(ValueError, match=r"no folder .*nowhere/corpus"):
        fingerprint_source.fn("arxiv", CorpusParameters(), str(tmp_path / "nowhere"), False, run)


def test_a_dump_that_changes_while_it_is_read_is_not_published(
    tmp_path: Path, run: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "data"
    dump = root / "corpus/c4/a.jsonl"
    dump.parent.mkdir(parents=True)
    dump.write_text(json.dumps({"text": "The first text."}))
    parameters = CorpusParameters(allow_missing_sources=True)
    raw = settled(fingerprint_source.fn("c4", parameters, str(root), False, run))
    real = build.build_source

    def change(*arguments: Any, **options: Any) -> StageResult:
        result = real(*arguments, **options)
        dump.write_text(json.dumps({"text": "Another one"}))
        return result

    monkeypatch.setattr(build, "build_source", change)
    with pytest.raises(ValueError, match=r"corpus/c4/a\.jsonl.*Nothing was published"):
        prepare_source.fn("c4", parameters, raw, str(root), run)
    monkeypatch.undo()
    assert not (tmp_path / "home/store/documents").exists()


def test_dumps_behind_a_url_give_the_same_documents(tmp_path: Path, run: RunContext) -> None:
    folder = tmp_path / "data/corpus/c4"
    folder.mkdir(parents=True)
    for name in ("a.jsonl", "b.jsonl", "SOURCES.md", ".hidden"):
        (folder / name).write_text(json.dumps({"text": f"A text of {name}."}))
    local = CorpusParameters(allow_missing_sources=True)
    far = CorpusParameters(allow_missing_sources=True, raw_url=f"file://{tmp_path}/data/corpus")
    made = []
    for parameters, root in ((local, str(tmp_path / "data")), (far, far.raw_url or "")):
        raw = settled(fingerprint_source.fn("c4", parameters, root, False, run))
        made.append(settled(prepare_source.fn("c4", parameters, raw, root, run)))
    assert made[0] == made[1]  # one listing, one artifact: the second was there
    assert fingerprint_source.fn("books", far, far.raw_url or "", False, run) is None
    (folder / "b.jsonl").write_text(json.dumps({"text": "Other text."}))
    raw = settled(fingerprint_source.fn("c4", far, far.raw_url or "", False, run))
    other = settled(prepare_source.fn("c4", far, raw, far.raw_url or "", run))
    assert other.digest != made[0].digest
    (folder / "b.jsonl").write_text(json.dumps({"text": "Changed since."}))
    fresh = far.model_copy(update={"seed": 1})
    with pytest.raises(ValueError, match=r"corpus/c4/b\.jsonl under file://.*is not the file"):
        prepare_source.fn("c4", fresh, raw, far.raw_url or "", run)
    (folder / "b.jsonl").unlink()
    with pytest.raises(ValueError, match=r"corpus/c4/b\.jsonl is gone"):
        prepare_source.fn("c4", fresh, raw, far.raw_url or "", run)
    unknown = far.model_copy(update={"raw_url": "nosuch://bucket/corpus"})
    with pytest.raises(ValueError, match="nosuch://bucket/corpus"):
        fingerprint_source.fn("c4", unknown, "", False, run)


def test_dumps_with_names_that_are_no_utf8_go_through_the_chain(
    tmp_path: Path, run: RunContext
) -> None:
    root = tmp_path / "data"
    folder = root / "corpus/c4"
    folder.mkdir(parents=True)
    for number, name in enumerate((b"caf\xe9.jsonl", b"caf\\xe9.jsonl", b"line\xe2\x80\xa8.jsonl")):
        lines = [json.dumps({"text": f"Text {number} {i}"}) for i in range(3)]
        (folder / os.fsdecode(name)).write_text("\n".join(lines))
    parameters = CorpusParameters(allow_missing_sources=True)
    raw = settled(fingerprint_source.fn("c4", parameters, str(root), False, run))
    documents = settled(prepare_source.fn("c4", parameters, raw, str(root), run))
    corpus = settled(assemble_corpus.fn(parameters, {"c4": documents}, run))
    rows = [
        row
        for split in ("train", "validation")
        for row in split_in(open_workplace().store.path(corpus), split, "c4")
    ]
    assert {row["uri"].partition("#")[0] for row in rows} == {
        "corpus/c4/caf\\xe9.jsonl", "corpus/c4/caf\\\\xe9.jsonl", "corpus/c4/line\u2028.jsonl",
    }  # fmt: skip
    assert len({row["id"] for row in rows}) == len(rows) == 9


def test_what_a_lenient_run_made_is_none_for_a_strict_one(tmp_path: Path, run: RunContext) -> None:
    root = tmp_path / "data"
    for source, text in (("c4", json.dumps({"text": "A text."})), ("books", "")):
        folder = root / "corpus" / source
        folder.mkdir(parents=True)
        (folder / "a.jsonl").write_text(text)
    lenient, strict = CorpusParameters(allow_missing_sources=True), CorpusParameters()
    documents = {}
    for source in ("c4", "books"):
        raw = settled(fingerprint_source.fn(source, lenient, str(root), False, run))
        documents[source] = settled(prepare_source.fn(source, lenient, raw, str(root), run))
        if source == "c4":  # its documents are the same ones, and not read again
            again = prepare_source.fn(source, strict, raw, str(root), run)
            assert isinstance(again, State) and settled(again) == documents[source]
    with pytest.raises(MissingSourceError, match=r"'books' .*no documents.*allow_missing_sources"):
        prepare_source.fn("books", strict, raw, str(root), run)
    again = prepare_source.fn("books", lenient, raw, str(root), run)
    assert isinstance(again, State) and settled(again) == documents["books"]
    settled(assemble_corpus.fn(lenient, documents, run))
    with pytest.raises(MissingSourceError, match=r"no documents for .*books"):
        assemble_corpus.fn(strict, documents, run)


def test_python_and_the_extractor_decide_what_is_made(
    tmp_path: Path, run: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "data/corpus/c4"
    folder.mkdir(parents=True)
    (folder / "a.jsonl").write_text(json.dumps({"text": "A text."}))
    versions = {"trafilatura": "2.0.0", "justext": "3.0.2"}
    monkeypatch.setattr(stage, "find_spec", lambda name: name in versions)
    monkeypatch.setattr(
        workplace, "installed_version", lambda name: versions.get(name) or version(name)
    )

    def key(**values: Any) -> tuple[str, str]:
        parameters = CorpusParameters(allow_missing_sources=True, **values)
        raw = settled(fingerprint_source.fn("c4", parameters, str(tmp_path / "data"), False, run))
        documents = settled(prepare_source.fn("c4", parameters, raw, str(tmp_path / "data"), run))
        return documents.key, settled(assemble_corpus.fn(parameters, {"c4": documents}, run)).key

    before, extracted = key(), key(web_extractor="trafilatura")
    for name in versions:
        monkeypatch.setitem(versions, name, "4.0.0")
        assert key() == before
        changed = key(web_extractor="trafilatura")
        assert changed[0] != extracted[0]
        extracted = changed
    versions.clear()  # not installed: no page needs it here
    assert key(web_extractor="trafilatura")[0] != extracted[0]
    monkeypatch.setattr(platform, "python_version_tuple", lambda: ("3", "11", "99"))
    assert key() == before
    monkeypatch.setattr(platform, "python_version_tuple", lambda: ("3", "99", "0"))
    after = key()
    assert after[0] != before[0] and after[1] != before[1]
