"""The tasks, run without a server through their plain functions."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect.states import State

from registry import runs
from registry.artifacts import ArtifactRef, Kind, recipe_key
from tasks.corpus import executors
from tasks.corpus.execute import InlineExecutor, Job
from tasks.corpus.guard import add_skip
from tasks.corpus.quality import kenlm, language_models
from tasks.corpus.quality.parameters import QualityParameters
from tasks.corpus.quality.stage import filter_pages, train_quality_models
from tasks.runner import RunContext, Workplace, settled
from tests.tasks.corpus.quality.pages import SMALL, crawl

AUTO = SMALL.model_copy(update={"perplexity": "auto"})


@pytest.fixture
def run(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> RunContext:
    identity = runs.start_run(place.registry, flow="quality_models", stage="quality_models")
    # The same on every machine: nobody installed KenLM here.
    for module in (kenlm, language_models):
        monkeypatch.setattr(module, "find_programs", lambda: None)
    monkeypatch.setattr(kenlm, "find_spec", lambda name: None)
    monkeypatch.setattr(kenlm, "installed_module", lambda: None)
    return RunContext(run_id=identity, flow="quality_models")


@pytest.fixture
def made(place: Workplace, tmp_path: Path) -> dict[str, ArtifactRef]:
    refs = {}
    for name, folder in crawl(tmp_path / "data").items():
        staging = place.store.new_staging()
        shutil.copytree(folder, staging, dirs_exist_ok=True)
        source = "commoncrawl" if name == "pages" else name
        refs[name] = place.store.publish(
            staging,
            key=recipe_key(f"documents.{source}", 1, {}, {}, {}),
            kind=Kind.DOCUMENTS,
            stage=f"documents.{source}",
            stage_version=1,
            parameters={},
            inputs={},
        )
    return refs


def test_models_are_made_once_and_pages_filtered_by_them(
    place: Workplace, run: RunContext, made: dict[str, ArtifactRef]
) -> None:
    def train() -> ArtifactRef | State:
        return train_quality_models.fn(AUTO, made["wikipedia"], made["pages"], None, run)

    models = settled(train())
    assert models.kind is Kind.QUALITY and models.uri.startswith("quality/")
    assert isinstance(train(), State)
    notes = place.store.manifest(models).notes
    assert any("perplexity filter is off" in note for note in notes)
    filtered = settled(filter_pages.fn(QualityParameters(), made["pages"], models, run))
    assert filtered.kind is Kind.DOCUMENTS and filtered.stage == "quality.commoncrawl"
    manifest = place.store.manifest(filtered)
    assert manifest.inputs == {"pages": made["pages"].digest, "models": models.digest}
    assert any("perplexity filter is off" in note for note in manifest.notes)
    funnel = json.loads((place.store.path(filtered) / "funnel.json").read_text())
    assert [row["filter"] for row in funnel[-2:]] == ["perplexity (off)", "reference"]
    assert 30 <= manifest.counts["documents"] < 80
    assert isinstance(filter_pages.fn(QualityParameters(), made["pages"], models, run), State)


def test_models_made_without_kenlm_are_not_found_where_it_is(
    run: RunContext, made: dict[str, ArtifactRef], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = settled(train_quality_models.fn(AUTO, made["wikipedia"], made["pages"], None, run))
    monkeypatch.setattr(kenlm, "installed_module", lambda: "0.3.0")
    again = settled(train_quality_models.fn(AUTO, made["wikipedia"], made["pages"], None, run))
    assert again.key != first.key
    # With perplexity off by the parameters it does not matter.
    keys = set()
    for version in ("0.3.0", None):
        monkeypatch.setattr(kenlm, "installed_module", lambda version=version: version)
        off = train_quality_models.fn(SMALL, made["wikipedia"], made["pages"], None, run)
        keys.add(settled(off).key)
    assert len(keys) == 1


def test_a_page_that_was_given_up_is_in_the_notes(
    place: Workplace,
    run: RunContext,
    made: dict[str, ArtifactRef],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class GivesUp(InlineExecutor):
        """As another machine or an earlier attempt would have left it."""

        def run(self, jobs: Iterable[Job]) -> Iterator[Any]:
            for job in jobs:
                assert job.skips is not None
                add_skip(job.skips, ("a.wet", 7), "took longer than 120 s")
                yield from super().run([job])

    monkeypatch.setattr(executors, "choose_executor", lambda *given: GivesUp())
    models = settled(train_quality_models.fn(SMALL, made["wikipedia"], made["pages"], None, run))
    filtered = settled(filter_pages.fn(QualityParameters(), made["pages"], models, run))
    assert any("a.wet, record 7" in note for note in place.store.manifest(filtered).notes)
