"""The flow finds the documents that preparation made, and trains on them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from flows.quality_models import QualityModelsFlowParameters, quality_models
from registry.artifacts import ArtifactRef, Kind, recipe_key
from registry.lineage import UnknownArtifact
from tasks.corpus.quality.stage import train_quality_models
from tasks.runner import Workplace
from tests.tasks.corpus.quality.pages import SMALL, crawl


@pytest.fixture(autouse=True)
def without_prefect(monkeypatch: pytest.MonkeyPatch) -> None:
    """The task's plain function; a task called outside of a flow run starts a server."""
    monkeypatch.setattr("flows.quality_models.train_quality_models", train_quality_models.fn)


def publish(place: Workplace, source: str, folder: Path) -> ArtifactRef:
    staging = place.store.new_staging()
    shutil.copytree(folder, staging, dirs_exist_ok=True)
    return place.store.publish(
        staging,
        key=recipe_key(f"documents.{source}", 1, {}, {"folder": folder.name}, {}),
        kind=Kind.DOCUMENTS,
        stage=f"documents.{source}",
        stage_version=1,
        parameters={},
        inputs={},
    )


def test_the_newest_documents_are_taken_or_those_that_are_named(
    place: Workplace, no_meter: None, tmp_path: Path
) -> None:
    made = crawl(tmp_path / "data")
    shop = crawl(tmp_path / "c4", 30, source="c4", host="shop")["pages"]
    wikipedia = publish(place, "wikipedia", made["wikipedia"])
    pages = publish(place, "commoncrawl", made["pages"])
    c4 = publish(place, "c4", shop)
    models = quality_models.fn(QualityModelsFlowParameters(models=SMALL))
    assert models.kind is Kind.QUALITY
    assert place.store.manifest(models).inputs == {
        "wikipedia": wikipedia.digest, "pages": pages.digest,
    }  # fmt: skip
    named = QualityModelsFlowParameters(
        wikipedia=wikipedia.digest[:12], pages=pages.digest, c4="latest", models=SMALL
    )
    assert place.store.manifest(quality_models.fn(named)).inputs["c4"] == c4.digest
    assert quality_models.fn(named) == quality_models.fn(named)


def test_what_is_missing_is_named(place: Workplace, no_meter: None, tmp_path: Path) -> None:
    publish(place, "commoncrawl", crawl(tmp_path)["pages"])
    with pytest.raises(UnknownArtifact, match=r"documents artifact of documents\.wikipedia"):
        quality_models.fn(QualityModelsFlowParameters(models=SMALL))
