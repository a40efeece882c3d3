"""Reading curves and funnels, and writing numbers."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from dashboards import contents, formats
from dashboards.contents import ContentError, decimate, read_curve
from registry.artifacts import Store


def test_curve_skips_what_is_not_finite_or_cut_off(example: Any) -> None:
    store = Store(example.settings.store, example.registry)
    curve = contents.curve(store, example.refs["checkpoint"])
    assert curve is not None
    assert curve.points == 1199  # of 1200 steps one was null
    assert len(curve.loss.steps) == contents.CURVE_POINTS
    assert curve.loss.steps == sorted(curve.loss.steps)
    assert (curve.table[0][0], curve.table[-1][0], len(curve.table)) == (1, 1200, 24)
    assert curve.table[0][1] == pytest.approx(3 + 5.3 * math.exp(-1 / 150) + 0.02 * math.sin(1))
    assert [series.name for series in curve.validation] == ["c4"]
    assert curve.validation[0].steps == [300, 600, 900, 1200]
    assert curve.tokens == 1200 * 4096


def test_decimation_keeps_spikes() -> None:
    points = [(step, 1.0) for step in range(10_000)]
    points[5_001] = (5_001, 99.0)
    points[7_777] = (7_777, -99.0)
    kept = decimate(points, 100)
    assert len(kept) <= 100 and (5_001, 99.0) in kept and (7_777, -99.0) in kept
    assert decimate(points[:100], 100) == points[:100]


def test_curve_of_hostile_or_empty_files(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    assert read_curve(path) is None
    lines = ['{"step": "1", "loss": 2}', "[]", "nonsense", '{"step": 2, "loss": "3"}', "\xff"]
    path.write_text("\n".join(lines), encoding="latin-1")
    assert read_curve(path) is None
    path.write_text('{"step": 1, "loss": 1e999}\n{"step": 2, "loss": 2.5, "tokens": true}\n')
    curve = read_curve(path)
    assert curve is not None and curve.table == [(2, 2.5, None)] and curve.tokens is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "funnel.json"),
        (json.dumps([{"source": "c4"}]), "Field required"),
        (json.dumps([{"source": "c4", "filter": "x", "documents_in": -1, "documents_out": 0}]), ""),
    ],
)
def test_funnel_that_is_none_names_the_file(
    example: Any, tmp_path: Path, text: str, said: str
) -> None:
    ref = example.refs["corpus"]
    store = Store(tmp_path, example.registry)
    folder = tmp_path / ref.uri
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")
    (folder / "funnel.json").write_text(text)
    with pytest.raises(ContentError, match=r"funnel\.json") as caught:
        contents.funnel(store, ref)
    assert said in str(caught.value)


def test_funnel_by_shard(example: Any, tmp_path: Path) -> None:
    store = Store(tmp_path, example.registry)
    ref = example.refs["corpus"]
    folder = tmp_path / ref.uri
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")
    assert contents.funnel_by_shard(store, ref) == []
    rows = [
        {"shard": shard, "source": "c4", "filter": name, "documents_in": 9, "documents_out": out}
        for shard in (0, 1)
        for name, out in (("read", 9), ("length", 9 - shard))
    ]
    (folder / "funnel_shards.json").write_text(json.dumps(rows))
    found = contents.funnel_by_shard(store, ref)
    assert [(row.source, row.shard, row.documents_out) for row in found] == [
        ("c4", 0, 9),
        ("c4", 1, 8),
    ]
    (folder / "funnel_shards.json").write_text('[{"shard": "x"}]')
    with pytest.raises(ContentError, match=r"funnel_shards\.json"):
        contents.funnel_by_shard(store, ref)


def test_live_curve_stays_in_the_store(example: Any) -> None:
    store = Store(example.settings.store, example.registry)
    assert contents.live_curve(store, "../../etc") is None
    assert contents.live_curve(store, "ab" * 32) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0, "0"),
        (4.75e-7, "4.75×10⁻⁷"),
        (0.00012345, "0.000123"),
        (0.0105, "0.0105"),
        (1.5, "1.50"),
        (12.34, "12.3"),
        (123456.7, "123,457"),
        (2.5e9, "2.50×10⁹"),
        (-0.25, "-0.250"),
    ],
)
def test_significant_digits(value: float | None, text: str) -> None:
    assert formats.significant(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "–"), (0.44, "0.4 s"), (59.7, "1 min 00 s"), (185, "3 min 05 s"), (7440, "2 h 04 min")],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert formats.duration(seconds) == text


def test_joined_documents_count_as_let_through() -> None:
    step = contents.FunnelStep(
        source="stackexchange", filter="thread", documents_in=10, documents_out=3, joined=5
    )
    assert step.share == 0.8
    older = contents.FunnelStep(source="c4", filter="read", documents_in=0, documents_out=0)
    assert older.joined == 0 and older.share is None
