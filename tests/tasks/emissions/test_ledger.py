"""The ledger as a pure function: sharing, gaps, lost attempts, the unmetered bound."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tasks.emissions.ledger import Ledger, build_ledger
from tasks.emissions.methods import three_methods
from tasks.emissions.parameters import EmissionsParameters

PARAMETERS = EmissionsParameters()
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
PLACE = {"node_id": "n", "boot_id": "b"}
KWH = 3.6e6
# Bound of the node the marks describe: 4 threads x 8 W + 16 GB x 1 W.
BOUND_W = 48.0


def wall(t: float) -> str:
    return (EPOCH + timedelta(seconds=t)).isoformat()


def reading(
    t: float,
    cpu: float,
    session: str = "s1",
    alive: tuple[str, ...] = (),
    sensor: str = "tdp_model",
    **extra: Any,
) -> dict[str, Any]:
    return {
        **PLACE,
        "kind": "reading",
        "session_id": session,
        "seq": round(t * 1000),
        "boottime_s": t,
        "wall_utc": wall(t),
        "interval_s": 1.0,
        "joules": {"cpu": cpu, "ram": 0.0},
        "sensors": {"cpu": sensor, "ram": "constant"},
        "alive": list(alive),
        **extra,
    }


def begin(t: float, entry: str, **extra: Any) -> dict[str, Any]:
    return {
        **PLACE,
        "event": "begin",
        "entry_id": entry,
        "run_id": "run",
        "stage": entry.rstrip("0123456789"),
        "attempt": 1,
        "purpose": "final",
        "model_size": None,
        "pid": 1,
        "pid_started": None,
        "gpus": None,
        "cpu_count": 4,
        "ram_gb": 16.0,
        "boottime_s": t,
        "wall_utc": wall(t),
        **extra,
    }


def end(t: float, entry: str, status: str = "completed") -> dict[str, Any]:
    return {
        **PLACE,
        "event": "end",
        "entry_id": entry,
        "status": status,
        "boottime_s": t,
        "wall_utc": wall(t),
    }


def ledger(
    records: list[dict[str, Any]],
    marks: list[dict[str, Any]],
    now: float = 100.0,
    alive: tuple[str, ...] = (),
) -> Ledger:
    return build_ledger(records, marks, {**PLACE, "boottime_s": now}, PARAMETERS, alive)


def joules(result: Ledger) -> dict[str, float]:
    return {e.entry_id: e.microjoules / 1e6 for e in result.entries}


def constant(watts: float, first: int, last: int, **extra: Any) -> list[dict[str, Any]]:
    return [reading(t, watts * (t - first), **extra) for t in range(first, last + 1)]


def test_energy_between_marks_is_interpolated_and_the_rest_is_idle() -> None:
    result = ledger(constant(100, 0, 10), [begin(2.25, "a"), end(5.5, "a")])
    assert joules(result) == {"a": 325.0, "idle:n:b": 675.0}
    entry = result.entries[0]
    assert entry.kwh_total == pytest.approx(325 / KWH)
    assert (entry.wall_s, entry.status) == (3.25, "completed")
    assert entry.measured_share == 0.0 and not entry.unmetered and not entry.estimated
    assert entry.began_at == EPOCH + timedelta(seconds=2.25)


def test_overlapping_stages_share_equally_and_add_up_to_the_node_exactly() -> None:
    # Awkward energies: thirds of a microjoule would be lost by rounding each share.
    records = [reading(t, 33.333333 * t + 0.1234567 * t * t) for t in range(11)]
    marks = [begin(1.1, "a"), begin(2.2, "b"), begin(3.3, "c")]
    marks += [end(7.7, "a"), end(8.8, "b"), end(9.1, "c")]
    result = ledger(records, marks)
    node = round((33.333333 * 10 + 0.1234567 * 100) * 1e6)
    assert sum(e.microjoules for e in result.entries) == node == result.totals[0].microjoules
    # While all three ran they got the same, but for the indivisible microjoules.
    flat = ledger(constant(90, 0, 10), [m for e in "abc" for m in (begin(2, e), end(8, e))])
    assert [joules(flat)[e] for e in "abc"] == [180.0, 180.0, 180.0]


def test_order_of_records_and_marks_does_not_matter() -> None:
    records = constant(50, 0, 20)
    marks = [begin(1, "a"), begin(4, "b"), end(8, "a"), end(9.5, "b")]
    shuffled = [marks[0], marks[1], marks[3], marks[2]]
    assert ledger(records, marks) == ledger(records[::-1], shuffled)


def test_a_killed_meter_is_filled_with_the_last_known_power() -> None:
    records = constant(100, 0, 4) + constant(100, 7, 12, session="s2")
    result = ledger(records, [begin(2, "a"), end(10, "a")])
    entry = result.entries[0]
    assert joules(result)["a"] == 800.0  # the truth: 8 s at 100 W
    assert entry.kwh_gap == pytest.approx(300 / KWH)
    assert entry.estimated and not entry.unmetered
    assert sum(e.microjoules for e in result.entries) == result.totals[0].microjoules


def test_a_long_gap_is_the_bound_and_only_while_a_stage_ran() -> None:
    records = constant(10, 0, 4) + constant(10, 64, 70, session="s2")
    result = ledger(records, [begin(2, "a"), end(50, "a")])
    entry = result.entries[0]
    assert entry.unmetered
    assert joules(result)["a"] == pytest.approx(2 * 10 + 46 * BOUND_W)
    assert joules(result)["idle:n:b"] == pytest.approx(20 + 60)


def test_no_records_is_the_bound_and_never_zero() -> None:
    result = ledger([], [begin(5, "a"), end(15, "a")])
    (entry,) = result.entries
    assert entry.unmetered and entry.estimated
    assert entry.microjoules == round(10 * BOUND_W * 1e6)
    assert entry.kwh_bound == entry.kwh_total > 0


def test_the_bound_is_never_below_what_was_seen() -> None:
    result = ledger(constant(300, 0, 4), [begin(20, "a"), end(30, "a")])
    assert joules(result)["a"] == pytest.approx(10 * (300 + 16))


def test_a_silent_meter_becomes_unmetered_after_two_intervals() -> None:
    result = ledger(constant(10, 0, 4), [begin(1, "a")], now=12, alive=("a",))
    entry = result.entries[0]
    assert (entry.status, entry.ended_at) == ("open", None)
    assert entry.unmetered
    assert joules(result)["a"] == pytest.approx(30 + 2 * 10 + 6 * BOUND_W)
    fresh = ledger(constant(10, 0, 4), [begin(1, "a")], now=5.5, alive=("a",))
    assert not fresh.entries[0].unmetered
    assert joules(fresh)["a"] == pytest.approx(45)


def test_a_lost_attempt_keeps_its_energy() -> None:
    records = constant(100, 0, 3, alive=("a",)) + [reading(t, 100.0 * t) for t in range(4, 10)]
    result = ledger(records, [begin(0.5, "a")])
    entry = result.entries[0]
    assert entry.status == "lost"
    assert entry.ended_at == EPOCH + timedelta(seconds=4)
    assert joules(result)["a"] == 350.0  # at most one interval more than it used
    # Killed before any record saw it: charged until the first one that did not.
    early = ledger(constant(100, 0, 9), [begin(2.5, "a")])
    assert joules(early)["a"] == 50.0


def test_a_lost_attempt_whose_meter_died_too_ends_within_two_intervals() -> None:
    records = constant(100, 0, 3, alive=("a",)) + constant(100, 5000, 5003, session="s2")
    entry = ledger(records, [begin(0, "a")], now=6000).entries[0]
    assert entry.wall_s == 5.0


def test_a_retry_is_an_entry_of_its_own_and_bad_marks_are_named() -> None:
    marks = [
        begin(1, "a1"),
        end(3, "a1", "failed"),
        begin(4, "a2", attempt=2),
        end(6, "a2"),
        begin(5, "a2"),
        end(7, "zz"),
    ]
    result = ledger(constant(100, 0, 9), marks)
    entries = {e.entry_id: e for e in result.entries}
    assert entries["a1"].status == "failed"
    assert joules(result)["a1"] == joules(result)["a2"] == 200.0
    assert entries["a2"].attempt == 2
    assert len(result.problems) == 2 and "begun twice" in result.problems[0]


def test_nodes_and_boots_do_not_mix() -> None:
    other = [{**r, "node_id": "m"} for r in constant(30, 0, 9)]
    rebooted = [{**r, "boot_id": "b2"} for r in constant(70, 0, 9)]
    result = ledger(constant(100, 0, 9) + other + rebooted, [begin(1, "a"), end(2, "a")])
    assert joules(result) == {
        "a": 100.0,
        "idle:n:b": 800.0,
        "idle:m:b": 270.0,
        "idle:n:b2": 630.0,
    }


def test_measured_share_counts_counters_only() -> None:
    result = ledger(constant(10, 0, 9, sensor="rapl"), [begin(1, "a"), end(3, "a")])
    assert result.entries[0].measured_share == 1.0
    gap = constant(10, 0, 2, sensor="rapl") + constant(10, 4, 9, sensor="rapl", session="s2")
    assert ledger(gap, [begin(0, "a"), end(8, "a")]).entries[0].measured_share == 0.75


def test_gpus_are_counted_and_bounded_by_their_power_limit() -> None:
    gpu = {"uuid": "GPU-1", "index": 0, "power_limit_w": 500.0}
    hardware = {"gpus": [gpu, {**gpu, "uuid": "GPU-2"}]}
    records = constant(10, 0, 4)
    for record in records:
        t = record["boottime_s"]
        record["joules"] |= {"gpu:GPU-1": 400 * t, "gpu:GPU-2": 300 * t}
        record["sensors"] |= {"gpu:GPU-1": "nvml_counter", "gpu:GPU-2": "nvml_counter"}
    records[0]["hardware"] = hardware
    entry = ledger(records, [begin(1, "a"), end(3, "a")]).entries[0]
    assert entry.gpus == 2 and entry.gpu_hours == pytest.approx(4 / 3600)
    assert entry.kwh_gpu == pytest.approx(1400 / KWH)
    assert entry.measured_share == pytest.approx(1400 / 1420)
    late = ledger(records, [begin(50, "a"), end(60, "a")]).entries[0]
    assert late.kwh_gpu == pytest.approx(10_000 / KWH)
    half = ledger(records, [begin(1, "a", gpus=1), end(3, "a")]).entries[0]
    methods = three_methods(half, PARAMETERS, idle_kwh=0.001)
    assert methods["paper"].kwh == pytest.approx(2 / 3600 * 0.4 * 1.1)
    assert methods["measured"].kwh == pytest.approx(half.kwh_total * 1.1)
    full = methods["full"].kwh
    assert full is not None and full == pytest.approx((half.kwh_total + 0.001) * 1.1)


def test_three_methods_each_at_both_intensities() -> None:
    entry = ledger(constant(100, 0, 9), [begin(1, "a"), end(3, "a")]).entries[0]
    methods = three_methods(entry, EmissionsParameters(intensity=0.057, pue=1.2), 0.0)
    measured = methods["measured"]
    assert measured.kwh == pytest.approx(200 / KWH * 1.2)
    assert measured.tco2eq == pytest.approx(200 / KWH * 1.2 * 0.057 / 1000)
    assert measured.tco2eq_paper_intensity == pytest.approx(200 / KWH * 1.2 * 0.385 / 1000)
    assert methods["paper"].kwh is None and "no GPU" in methods["paper"].note


def test_the_bound_of_an_attempt_is_made_of_its_own_factors() -> None:
    """Of the attempts open at a moment the highest; a later one changes nothing before it."""
    hot = EmissionsParameters(cpu_tdp_per_thread=20, gpu_tdp=700)
    marks = [begin(0, "a"), end(10, "a")]
    alone = joules(ledger([], marks))["a"]
    marks += [begin(8, "b", factors=hot.factors()), end(20, "b"), begin(30, "c"), end(31, "c")]
    shared = (4 * 20 + 16) * 2 / 2  # two seconds of both, in equal parts
    result = ledger([], marks)
    assert alone == 10 * BOUND_W
    assert joules(result) == {"a": 8 * BOUND_W + shared, "b": shared + 96 * 10, "c": BOUND_W}
    assert [e.factors for e in result.entries] == [None, hot, None]
    assert sum(e.microjoules for e in result.entries) == result.totals[0].microjoules


def test_idle_time_has_the_factors_of_the_newest_attempt_on_the_node() -> None:
    green = EmissionsParameters(intensity=0.05).factors()
    marks = [begin(1, "a"), end(2, "a"), begin(4, "b", factors=green), end(5, "b")]
    idle = ledger(constant(10, 0, 9), marks).entries[-1]
    assert idle.factors is not None and idle.factors.intensity == 0.05
    assert ledger(constant(10, 0, 9), marks[:2]).entries[-1].factors is None
