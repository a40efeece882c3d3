"""The page of a scaling study, over a report that the stage's own builder wrote."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from lxml import html

from dashboards.app import create_app
from registry.artifacts import ArtifactRef, Kind, Store, recipe_key
from registry.database import Registry, upgrade
from registry.settings import Settings
from tasks.context import StageContext
from tasks.emissions.parameters import EmissionsParameters
from tasks.scaling.build import build_report
from tasks.scaling.parameters import ScalingParameters
from tests.tasks.scaling.ladders import write_ladder

Publish = Callable[..., ArtifactRef]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = Settings(home=tmp_path / "home")
    made.home.mkdir()
    upgrade(made.registry_url)
    return made


@pytest.fixture
def client(settings: Settings) -> TestClient:
    return TestClient(create_app(settings), base_url="http://127.0.0.1:8000")


@pytest.fixture
def publish(settings: Settings, tmp_path: Path) -> Publish:
    """Publish a report for some numbers of served tokens; ``files`` replace what was written."""
    ladder = write_ladder(tmp_path / "ladder")

    def put(
        served: tuple[int, ...], files: dict[str, str] | None = None, stage: str = "scaling"
    ) -> ArtifactRef:
        registry = Registry(settings.registry_address)
        store = Store(settings.store, registry)
        staging = store.new_staging()
        parameters = ScalingParameters(draws=100, served_tokens=served)
        build_report(
            parameters, EmissionsParameters(), ladder, StageContext(out=staging, work=tmp_path)
        )
        for name, text in (files or {}).items():
            (staging / name).write_text(text)
        return store.publish(
            staging,
            key=recipe_key(stage, 1, {}, {"served": served, "files": files}, {}),
            kind=Kind.REPORT,
            stage=stage,
            stage_version=1,
            parameters={},
            inputs={},
        )

    return put


def rows(page: str, caption: str) -> list[list[str]]:
    """Cells of the table whose region has this label."""
    (region,) = html.fromstring(page).xpath(f"//div[@aria-label='{caption}']")
    return [
        [" ".join(cell.text_content().split()) for cell in row.xpath("./td|./th")]
        for row in region.xpath(".//tbody/tr")
    ]


def test_no_study_says_how_to_make_one(client: TestClient) -> None:
    page = client.get("/scaling")
    assert page.status_code == 200 and "deployment <code>scaling</code>" in page.text
    assert "plotly" not in page.text


def test_answers_law_and_runs_stand_beside_their_charts(
    client: TestClient, publish: Publish
) -> None:
    publish((0, 10**9))
    page = client.get("/scaling").text
    answers = rows(page, "Answers")
    assert [row[0] for row in answers] == ["0", "1,000,000,000"]
    assert all(" to " in row[2] and row[13] for row in answers)
    law = {row[0]: row[1] for row in rows(page, "Parameters of the law")}
    assert (law["E"], law["alpha"], law["beta"]) == ("2.50", "0.400", "0.500")
    runs = rows(page, "Runs of the ladder")
    assert len(runs) == 12 and all(row[4] == row[5] for row in runs)
    charts = html.fromstring(page).xpath("//div[@class='chart']")
    cost, loss = (json.loads(chart.get("data-figure")) for chart in charts)
    assert [t["name"] for t in cost["data"]] == [
        "0 served tokens",
        "1,000,000,000 served tokens",
        "least cost",
    ]
    assert len(loss["data"]) == 8 and loss["layout"]["xaxis"]["type"] == "log"
    measured = [trace for trace in loss["data"] if trace["mode"] == "markers"]
    assert all(len(trace["x"]) == 3 for trace in measured)
    for chart in charts:
        assert chart.get("aria-label")


def test_studies_are_listed_and_chosen_by_key(client: TestClient, publish: Publish) -> None:
    first, second = publish((0,)), publish((7,))
    other = publish((1,), stage="another report")
    page = client.get(f"/scaling/{first.key}").text
    assert [row[0] for row in rows(page, "Answers")] == ["0"]
    links = html.fromstring(page).xpath("//a/@href")
    assert {f"/scaling/{first.key}", f"/scaling/{second.key}"} <= set(links)
    assert f"/scaling/{other.key}" not in links
    assert client.get(f"/scaling/{other.key}").status_code == 404
    assert client.get("/scaling/none").status_code == 404


@pytest.mark.parametrize("text", ["{", "{}", '{"law": {"E": "<script>"}}'])
def test_a_report_that_is_not_as_agreed_is_told(
    client: TestClient, publish: Publish, text: str
) -> None:
    publish((0,), {"law.json": text})
    page: Any = client.get("/scaling")
    assert page.status_code == 200 and "law.json" in page.text
    assert "<script>" not in page.text.replace("<script src", "")


def test_notes_are_escaped(client: TestClient, publish: Publish, settings: Settings) -> None:
    folder = Store(settings.store, Registry(settings.registry_address)).path(publish((0,)))
    law = json.loads((folder / "law.json").read_text())
    publish((0,), {"law.json": json.dumps({**law, "notes": ["<img src=x>"]})})
    page = client.get("/scaling").text
    assert "&lt;img" in page and "<img" not in page
