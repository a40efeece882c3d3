"""The ledger is idempotent, sums trees with their failed attempts, and derives carbon once."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from registry.database import Registry
from registry.emissions import (
    EmissionEntry,
    entries_of_run,
    run_totals,
    sum_up,
    upsert_emissions,
)
from registry.paper import table
from registry.runs import start_run
from registry.schema import Emission, now


def entry(**change: Any) -> EmissionEntry:
    fields = {
        "entry_id": "e1",
        "stage": "pretraining",
        "status": "completed",
        "node": "node-1",
        "began_at": now(),
        "ended_at": now(),
        "wall_s": 3600.0,
        "gpu_hours": 8.0,
        "kwh_cpu": 0.5,
        "kwh_gpu": 3.2,
        "kwh_ram": 0.3,
        "kwh_total": 4.0,
        "pue": 1.1,
        "intensity_kg_per_kwh": 0.2,
        "intensity_source": "test",
        "method": "codecarbon",
        "measured_share": 0.5,
    }
    return EmissionEntry.model_validate(fields | change)


def test_entry_is_replaced_and_not_added(registry: Registry) -> None:
    run_id = start_run(registry, flow="f")
    opened = entry(run_id=run_id, status="open", ended_at=None, kwh_total=0.0)
    assert upsert_emissions(registry, [opened]) == 1
    assert upsert_emissions(registry, [entry(run_id=run_id)]) == 1
    assert upsert_emissions(registry, [entry(run_id=run_id)]) == 1
    assert upsert_emissions(registry, [opened]) == 0  # a late beginning opens nothing again
    (row,) = entries_of_run(registry, run_id)
    assert (row.status, row.kwh_total) == ("completed", 4.0)


def test_energy_of_an_unknown_run_is_kept(registry: Registry) -> None:
    assert upsert_emissions(registry, [entry(run_id="of another registry")]) == 1
    with registry.reading() as session:
        (row,) = session.query(Emission).all()
    assert (row.run_id, row.kwh_total) == (None, 4.0)
    assert row.details == {"unknown_run_id": "of another registry"}


def test_totals_of_a_run_tree(registry: Registry) -> None:
    root = start_run(registry, flow="pipeline")
    child = start_run(registry, flow="pretraining", parent_id=root)
    leaf = start_run(registry, flow="pretraining", stage="pretraining", parent_id=child)
    other = start_run(registry, flow="pipeline")
    upsert_emissions(
        registry,
        [
            entry(entry_id="a", run_id=child),
            entry(entry_id="b", run_id=leaf, status="lost", kwh_total=6.0, measured_share=1.0),
            entry(entry_id="c", run_id=leaf, status="open", kwh_total=0.0, wall_s=0, gpu_hours=0),
            entry(entry_id="d", run_id=other),
        ],
    )
    totals = run_totals(registry, root)
    assert (totals.entries, totals.open_entries) == (3, 1)
    assert totals.kwh == pytest.approx(10.0)
    assert totals.kwh_facility == pytest.approx(11.0)
    assert totals.tco2eq == pytest.approx(11.0 * 0.2 / 1000)
    assert totals.tco2eq_paper == pytest.approx(11.0 * 0.385 / 1000)
    assert totals.measured_share == pytest.approx((4 * 0.5 + 6) / 10)
    assert (totals.gpu_hours, totals.wall_s) == (16.0, 7200.0)
    assert run_totals(registry, other).entries == 1
    assert run_totals(registry, "nobody") == sum_up([])


def test_idle_time_is_no_attempt_and_its_energy_counts() -> None:
    totals = sum_up([entry(), entry(entry_id="idle:n:b", stage="idle", status="open", wall_s=9e6)])
    assert (totals.entries, totals.open_entries, totals.wall_s) == (1, 0, 3600.0)
    assert (totals.kwh, totals.idle_kwh) == (8.0, 4.0)
    assert totals.kwh_facility == pytest.approx(8.8)


@pytest.mark.parametrize("name", ["LLaMA-7B", "LLaMA-13B", "LLaMA-33B", "LLaMA-65B"])
def test_paper_method_gives_table_15(name: str) -> None:
    """GPU-hours x 400 W x PUE 1.1 x 0.385 kg/kWh; the paper prints whole tonnes."""
    (published,) = [row for row in table("table15_carbon") if row["model"] == name]
    hours = float(published["gpu_hours"])
    kwh = hours * float(published["gpu_power_W"]) / 1000
    totals = sum_up([entry(kwh_total=kwh, gpu_hours=hours, intensity_kg_per_kwh=0.385)])
    assert int(totals.kwh_facility / 1000) == int(published["total_MWh"])
    assert round(totals.tco2eq_paper) == int(published["tCO2eq"])
    assert totals.tco2eq == pytest.approx(totals.tco2eq_paper)


@pytest.mark.parametrize(
    "change",
    [
        {"intensity_kg_per_kwh": 385.0},  # grams given for kilograms
        {"pue": 0.9},
        {"kwh_total": -1.0},
        {"kwh_total": float("nan")},
        {"measured_share": 1.1},
        {"status": "done"},
    ],
)
def test_impossible_entries_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        entry(**change)
