"""The whole chain on the real dumps, shortened: what is bad in them is counted, nothing is sample,
and the automation finds the evaluation that the pipeline made."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from sqlalchemy import select

from registry.database import Registry
from registry.schema import Artifact, Evaluation, ModelVersion, Run
from tests.services import SOURCES, TINY, arriero, living, one_object, sweep

pytestmark = [pytest.mark.slow, pytest.mark.data, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("home")
    yield folder
    sweep(folder)


@pytest.fixture(scope="module")
def done(home: Path, arriero_data: Path) -> CompletedProcess[str]:
    # All of the crawl and the forums: what is damaged or of another kind is behind a small cap.
    caps = [f"corpus.caps.{name}.max_bytes=100000000" for name in ("commoncrawl", "stackexchange")]
    options = [f"--set={line}" for line in (*TINY, *caps)]
    return arriero(
        home,
        "run",
        "--preset",
        "nano",
        "--once",
        "--data",
        str(arriero_data),
        *options,
        timeout=800,
    )


@pytest.fixture(scope="module")
def registry(done: CompletedProcess[str], home: Path) -> Registry:
    assert done.returncode == 0, done.stderr[-4000:] + done.stdout
    return Registry(f"sqlite:///{home / 'registry.sqlite'}")


def test_the_chain_completes_on_real_dumps(
    registry: Registry, done: CompletedProcess[str], home: Path
) -> None:
    assert living(home) == []
    for part in (*SOURCES, "kWh", "tCO2eq", "llama-i"):
        assert part in done.stdout, part
    assert "sample" not in done.stdout.lower()
    with registry.reading() as session:
        assert set(session.scalars(select(Artifact.sample))) == {False}
        assert set(session.scalars(select(Evaluation.sample))) == {False}
        versions = session.scalars(select(ModelVersion)).all()
        assert [(v.name, v.version) for v in versions] == [("llama-i", 1)]


def test_bad_files_are_counted_with_their_reason(
    registry: Registry, done: CompletedProcess[str], home: Path
) -> None:
    """The dumps hold truncated WARCs and empty files; the run's summary says so."""
    assert "malformed WARC (1), truncated gzip (1)" in done.stdout
    with registry.reading() as session:
        query = select(Artifact.uri).where(Artifact.stage == "documents.stackexchange")
        (folder,) = session.scalars(query)
    funnel = json.loads((home / "store" / folder / "funnel.json").read_text())
    assert funnel[0]["rejected"]["file without posts"] == 1


def test_the_automation_finds_the_evaluation_of_the_pipeline(registry: Registry) -> None:
    with registry.reading() as session:
        automatic = session.scalars(
            select(Run).where(
                Run.flow == "evaluation", Run.stage.is_(None), Run.parent_id.is_(None)
            )
        ).all()
        assert [run.status for run in automatic] == ["completed"]
        stages = session.scalars(select(Run).where(Run.parent_id == automatic[0].id)).all()
    assert {run.stage: run.status for run in stages} == {
        "raw.bench": "cached",
        "evaluation": "cached",
    }


def test_lineage_ends_at_the_raw_dumps(registry: Registry, home: Path) -> None:
    tree = str(one_object(arriero(home, "lineage", "champion", "--json")))
    assert all(f"raw.{source}" in tree for source in SOURCES)
