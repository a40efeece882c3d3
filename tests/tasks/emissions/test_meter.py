"""The real meter as a process: kills, tampering, silence, sockets, supervisors."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry.database import Registry, upgrade
from registry.emissions import sum_up
from tasks.emissions import marks
from tasks.emissions.meter import (
    SOURCE_ROOT,
    MeterInfo,
    ensure_meter,
    lock_held,
    read_info,
    stop_meter,
)
from tasks.emissions.parameters import EmissionsParameters
from tasks.emissions.records import boottime, read_session, session_files
from tasks.emissions.settle import read_ledger, settle

INTERVAL = 0.2
# What a loaded machine may delay one record by.
SLACK = 1.0


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    info = read_info(tmp_path)
    if info is not None and lock_held(tmp_path):
        stop_meter(tmp_path)


def ensure(home: Path, **extra: int) -> MeterInfo:
    info = ensure_meter(home, INTERVAL, timeout=60, **extra)
    assert info.status == "metering", info.reason
    return info


def wait_for(condition: object, seconds: float = 20.0) -> None:
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


@pytest.mark.faults
def test_kill_loses_at_most_an_interval_and_the_chain_holds(home: Path) -> None:
    entry = "attempt"
    for _ in range(2):
        info = ensure(home)
        marks.begin(home, entry_id=entry, run_id="run", stage="corpus", attempt=1)
        entry += "+"
        time.sleep(0.7)
        killed = boottime()
        os.kill(info.pid, signal.SIGKILL)
        (path,) = [p for p in session_files(home) if info.session and info.session in p.name]
        last = read_session(path).records[-1]
        assert killed - last["boottime_s"] <= INTERVAL + SLACK
        wait_for(lambda: not lock_held(home))
    ensure(home)
    for name in ("attempt", "attempt+"):
        marks.end(home, entry_id=name, status="completed")
    time.sleep(2 * INTERVAL)
    assert stop_meter(home)
    sessions = [read_session(p) for p in session_files(home)]
    assert len(sessions) == 3
    assert all(s.sealed and s.problems == [] for s in sessions)
    ledger = read_ledger(home, EmissionsParameters())
    assert ledger.problems == []
    assert [e.status for e in ledger.entries] == ["completed", "completed", "open"]
    assert all(e.microjoules > 0 for e in ledger.entries)
    # The restart is a gap, or the bound if the machine took long over it.
    assert ledger.entries[0].kwh_gap + ledger.entries[0].kwh_bound > 0
    assert sum(e.microjoules for e in ledger.entries) == ledger.totals[0].microjoules


def test_one_meter_per_node_however_many_ask(home: Path) -> None:
    found: list[MeterInfo] = []
    threads = [threading.Thread(target=lambda: found.append(ensure(home))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({info.pid for info in found}) == 1
    assert len(list(session_files(home))) == 1
    started = time.monotonic()
    assert ensure(home).pid == found[0].pid
    assert time.monotonic() - started < 0.5
    assert stop_meter(home)
    assert not stop_meter(home)
    (path,) = session_files(home)
    last = [line for line in path.read_text().splitlines() if line][-1]
    assert '"reason":"stopped"' in last


def test_hostile_environment_still_meters_at_the_right_factor(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "4711")  # and no scontrol: CodeCarbon would go silent
    monkeypatch.setenv("CODECARBON_PUE", "3")
    monkeypatch.setenv("CODECARBON_FORCE_CARBON_INTENSITY_G_CO2E_KWH", "-5")
    monkeypatch.setenv("CODECARBON_FORCE_RAM_POWER", "100000")
    info = ensure(home)
    (path,) = session_files(home)
    wait_for(lambda: len(read_session(path).records) >= 4)
    stop_meter(home)
    records = [r for r in read_session(path).records if r["kind"] == "reading"]
    assert len(records) >= 3 and records[-1]["session_id"] == info.session
    watts = records[-1]["joules"]["ram"] / (records[-1]["boottime_s"] - records[0]["boottime_s"])
    assert 1 < watts < 1000
    assert records[0]["hardware"]["cpu_count"] == os.cpu_count()
    assert not list((path.parent / "empty").iterdir())


def test_the_meter_ends_with_its_supervisor(home: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as supervisor:
        ensure(home, supervisor_pid=supervisor.pid)
        supervisor.kill()
    wait_for(lambda: not lock_held(home))
    info = read_info(home)
    assert info is not None and (info.status, info.reason) == ("unmetered", "supervisor gone")


def test_a_silent_sensor_is_called_unmetered(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # CodeCarbon's way to fail: the constructor swallows its error and leaves half an object.
    package = tmp_path / "shim" / "codecarbon" / "output_methods"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").write_text(
        "class OfflineEmissionsTracker:\n    def __init__(self, **_): ...\n"
    )
    (package / "__init__.py").write_text("")
    (package / "base_output.py").write_text("class BaseOutput: ...\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "shim"))
    info = ensure_meter(home, INTERVAL, timeout=30)
    assert info.status == "unmetered"
    assert info.reason is not None and "half an object" in info.reason


def test_metering_opens_no_socket_and_renews_its_session(tmp_path: Path) -> None:
    # urllib3, which CodeCarbon imports, binds ::1 once to see whether IPv6 is there; nothing
    # leaves the machine and it is not the meter's doing, so it is imported before the hook.
    code = f"""
import sys, threading, urllib3
from pathlib import Path
events = []
sys.addaudithook(lambda name, _: events.append(name) if name.startswith("socket.") else None)
from tasks.emissions.meter import run_meter
stopping = threading.Event()
threading.Timer(4, stopping.set).start()
assert run_meter(Path({str(tmp_path)!r}), 0.2, session_seconds=1.0, stopping=stopping) == 0
print(len(events), sorted(set(events)))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(SOURCE_ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "0 []\n"
    sessions = [read_session(path) for path in session_files(tmp_path)]
    assert len(sessions) >= 2
    assert all(s.problems == [] and s.sealed for s in sessions)


def test_settling_gives_a_lost_attempt_its_energy(home: Path) -> None:
    url = f"sqlite:///{home / 'registry.sqlite'}"
    upgrade(url)
    registry = Registry(url)
    ensure(home)
    code = (
        "import sys, time; from pathlib import Path; from tasks.emissions import marks\n"
        f"marks.begin(Path({str(home)!r}), entry_id='lost', run_id='r', stage='s', attempt=1)\n"
        "print('up', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(SOURCE_ROOT)},
    ) as trainer:
        assert trainer.stdout is not None and trainer.stdout.readline() == b"up\n"
        time.sleep(4 * INTERVAL)
        open_row = next(
            r for r in settle(home, registry, EmissionsParameters()) if r.run_id is None
        )
        assert open_row.status == "open" and open_row.kwh_total > 0
        trainer.kill()
    time.sleep(4 * INTERVAL)
    first = {r.entry_id: r for r in settle(home, registry, EmissionsParameters())}
    lost = first["lost"]
    assert lost.status == "lost" and lost.ended_at is not None
    assert lost.kwh_total >= open_row.kwh_total > 0
    assert 0 < lost.wall_s < 4 * INTERVAL + 2 * SLACK + 5
    # Another run's factors do not rewrite what is settled; settling again changes nothing.
    other = EmissionsParameters(pue=2.0, intensity=0.05)
    again = {r.entry_id: r for r in settle(home, registry, other)}
    assert (again["lost"].pue, again["lost"].intensity_kg_per_kwh) == (1.1, 0.385)
    assert again["lost"].kwh_total == lost.kwh_total
    totals = sum_up([again["lost"]])
    assert totals.tco2eq == pytest.approx(lost.kwh_total * 1.1 * 0.385 / 1000)
    assert lost.measured_share < 1 or lost.method == "counters"
    registry.close()
