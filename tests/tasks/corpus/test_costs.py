"""The costs that docs/operating.md tells are those of the recorded rates."""

from __future__ import annotations

import copy
import json

import pytest

from benchmarks.corpus_costs import RATES, SURVIVAL, cost, hours, report, share
from benchmarks.measure import ROOT
from tasks.corpus.mixture import SOURCES


def test_the_page_tells_what_the_recorded_rates_make() -> None:
    rates, survival = (json.loads(path.read_text("utf-8")) for path in (RATES, SURVIVAL))
    page = (ROOT / "docs" / "operating.md").read_text("utf-8")
    assert report(rates, survival) in page


def test_input_is_output_over_what_survives() -> None:
    assert hours(3.6, 1000) == pytest.approx(1.0)
    rows = [["read", 100, 80], ["markup", 80, 40], ["exact duplicate", 40, 20], ["none", 0, 0]]
    assert share({"filters": rows}) == pytest.approx(0.4)
    rates, survival = (json.loads(path.read_text("utf-8")) for path in (RATES, SURVIVAL))
    costs = [cost(source, rates, survival) for source in SOURCES]
    assert sum(one.out_tb for one in costs) == pytest.approx(4.749)
    for one in costs:
        assert one.read_tb >= 0.99 * one.out_tb and all(one.hours.values())
    wider = copy.deepcopy(rates)
    wider["assumed"]["classifier_share"][0] /= 2
    assert cost("commoncrawl", wider, survival).raw_tb == pytest.approx(2 * costs[0].raw_tb)
