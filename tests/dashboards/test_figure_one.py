"""Losses over tokens of several runs in one chart, and what cannot be drawn named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from lxml import html

from dashboards import figure_one
from dashboards.app import create_app
from registry.artifacts import Kind, Store, recipe_key
from registry.database import Registry, upgrade
from registry.settings import Settings


class Home:
    def __init__(self, folder: Path) -> None:
        self.settings = Settings(home=folder)
        folder.mkdir()
        upgrade(self.settings.registry_url)
        self.store = Store(self.settings.store, Registry(self.settings.registry_address))

    def put(self, name: str, parameters: object, metrics: str | None, stage: str) -> None:
        staging = self.store.new_staging()
        (staging / "summary.json").write_text(json.dumps({"parameters": parameters}))
        if metrics is not None:
            (staging / "logs").mkdir()
            (staging / "logs" / "metrics.jsonl").write_text(metrics)
        self.store.publish(
            staging,
            key=recipe_key(stage, 1, {}, {"name": name}, {}),
            kind=Kind.CHECKPOINT,
            stage=stage,
            stage_version=1,
            parameters={},
            inputs={},
        )

    def page(self) -> html.HtmlElement:
        client = TestClient(create_app(self.settings), base_url="http://127.0.0.1:8000")
        answer = client.get("/training")
        assert answer.status_code == 200
        return html.fromstring(answer.text)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def metrics(steps: int, batch: int, low: float) -> str:
    lines = [
        {"step": s, "tokens": s * batch, "loss": low + 4 / s, "learning_rate": 1e-3}
        for s in range(1, steps + 1)
    ]
    lines.insert(2, {"step": 2, "validation_loss.c4": 3.0})
    lines[5]["loss"] = None  # not finite
    return "".join(json.dumps(line) + "\n" for line in lines)


def test_runs_of_all_sizes_in_one_chart(home: Home) -> None:
    home.put("small", 1_000, metrics(1000, 64, 3.0), "pretraining")
    home.put("large", 9_000, metrics(50, 512, 2.0), "pretraining")
    home.put("answers", 9_000, metrics(50, 512, 1.0), "finetuning")
    page = home.page()
    (region,) = page.xpath("//div[@aria-label='Runs in the chart']")
    rows = [
        [" ".join(cell.text_content().split()) for cell in row.xpath("./td|./th")]
        for row in region.xpath(".//tbody/tr")
    ]
    assert [row[1:] for row in rows] == [
        ["9,000", "25,600", "2.0800", ""],
        ["1,000", "64,000", "3.0040", ""],
    ]
    charts = [json.loads(figure) for figure in page.xpath("//@data-figure")]
    (together,) = [c for c in charts if c["layout"]["xaxis"]["title"]["text"] == "tokens"]
    names = [trace["name"] for trace in together["data"]]
    assert [name.partition(" (")[0] for name in names] == ["9,000 parameters", "1,000 parameters"]
    small = together["data"][1]
    assert small["x"][-1] == 64_000 and len(small["x"]) <= figure_one.POINTS
    assert all(value is not None for value in small["y"])


def test_one_run_needs_no_chart_of_all(home: Home) -> None:
    home.put("only", 1_000, metrics(50, 64, 3.0), "pretraining")
    assert not home.page().xpath("//h2[@id='together']")


def test_what_has_no_line_says_why(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        home.put(name, 1_000, metrics(50, 64, 3.0), "pretraining")
    home.put("none", True, None, "pretraining")
    home.put("empty", 5, '{"step": 1, "loss": 2.0}\n{"step', "pretraining")
    home.put("huge", 6, metrics(60, 64, 3.0), "pretraining")
    monkeypatch.setattr(figure_one, "LARGEST", len(metrics(60, 64, 3.0)) - 1)
    (region,) = home.page().xpath("//div[@aria-label='Runs in the chart']")
    notes = {row.xpath("string(./td[last()])").strip() for row in region.xpath(".//tbody/tr")}
    assert "it keeps no metrics" in notes and "it logged no tokens" in notes
    assert any("more than are read" in note for note in notes)
