"""The run card: self-contained, complete, escaped, the same bytes every time."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from lxml import html

from dashboards.card import render_card
from registry.runs import UnknownRun, start_run


@pytest.fixture
def home(example: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example's place as the environment's, which is where a flow run finds it."""
    monkeypatch.setenv("ARRIERO_HOME", str(example.settings.home))
    for name in ("ARRIERO_REGISTRY_URL", "ARRIERO_STORE", "ARRIERO_DATA"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("home")
def test_card_needs_nothing_else_and_holds_everything(example: Any, hostile: str) -> None:
    card = render_card(example.registry, example.run_id)
    assert hostile not in card and "&lt;script&gt;" in card
    root = html.fromstring(card)
    assert not root.xpath("//script | //link | //iframe | //object | //*[@onload]")
    sources = root.xpath("//@src")
    assert len(sources) == 1 and sources[0].startswith("data:image/svg+xml;base64,")
    picture = base64.b64decode(sources[0].split(",", 1)[1])
    assert b"<svg" in picture and b"loss, nats per token" in picture and b"<script" not in picture
    text = root.text_content()
    for ref in example.refs.values():
        if ref.digest == example.refs["raw"].digest:
            assert ref.digest[:12] in text
    assert example.refs["model"].digest in text
    for expected in ("corpus.cap", "80.0 %", "uncertain (500)", "26.2 ± 3.0", "84.2", "3.0000"):
        assert expected in text
    for expected in ("its process is gone", "0.0105 kWh", "thresholds", "sentencepiece", "c0ffee"):
        assert expected in text
    assert "Sample." not in text


@pytest.mark.usefixtures("home")
def test_card_is_the_same_every_time(example: Any) -> None:
    first = render_card(example.registry, example.run_id)
    assert render_card(example.registry, example.run_id) == first


@pytest.mark.usefixtures("home")
def test_sample_card_says_so_and_has_no_paper_figures(example: Any) -> None:
    text = html.fromstring(render_card(example.registry, example.sample_run_id)).text_content()
    assert "Sample." in text and "not comparable" in text
    assert "LLaMA 7B" not in text and "26.2 ± 3.0" in text


@pytest.mark.usefixtures("home")
def test_card_of_a_run_under_way(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from registry.database import Registry, upgrade

    monkeypatch.setenv("ARRIERO_HOME", str(tmp_path))
    upgrade(f"sqlite:///{tmp_path}/registry.sqlite")
    registry = Registry(f"sqlite:///{tmp_path}/registry.sqlite")
    card = render_card(registry, start_run(registry, flow="pipeline"))
    assert "No stage has run" in card and "No artifact yet" in card
    with pytest.raises(UnknownRun):
        render_card(registry, "missing")
