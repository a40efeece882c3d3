"""A meter that was killed, fell silent or slept through a suspend goes on without being asked."""

from __future__ import annotations

import fcntl
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tasks.emissions import marks, meter, meter_session
from tasks.emissions.meter import MeterInfo, ensure_meter, lock_held, read_info, stop_meter
from tasks.emissions.parameters import EmissionsParameters
from tasks.emissions.records import boottime, read_session, session_files
from tasks.emissions.settle import read_ledger
from tasks.emissions.watch import LONGEST_PAUSE_SECONDS, MeterWatch, kept_alive

INTERVAL = 0.2


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    if lock_held(tmp_path):
        stop_meter(tmp_path)


def wait_for(condition: Callable[[], object], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


@pytest.mark.faults
def test_a_meter_that_is_killed_in_a_long_stage_is_started_again(home: Path) -> None:
    first = ensure_meter(home, INTERVAL, timeout=60)
    assert first.status == "metering", first.reason
    with kept_alive(home, INTERVAL, None, every=0.1):
        marks.begin(home, entry_id="long", run_id="run", stage="pretraining", attempt=1)
        os.kill(first.pid, signal.SIGKILL)
        wait_for(lambda: (i := read_info(home)) and i.status == "metering" and i.pid != first.pid)
        time.sleep(3 * INTERVAL)
        marks.end(home, entry_id="long", status="completed")
        time.sleep(2 * INTERVAL)
    assert stop_meter(home)
    sessions = [read_session(path) for path in session_files(home)]
    assert len(sessions) == 2 and all(s.sealed and s.problems == [] for s in sessions)
    (entry, _) = read_ledger(home, EmissionsParameters()).entries
    assert entry.kwh_total > entry.kwh_gap + entry.kwh_bound


class FakeSensor:
    """Speaks every 20 ms unless it is muted."""

    muted = threading.Event()
    stopped: ClassVar[list[FakeSensor]] = []

    def __init__(self, interval: float, on_reading: Callable[[dict[str, float]], None]) -> None:
        self._on_reading, self._over = on_reading, threading.Event()
        self._joules = 0.0
        self.check: dict[str, float] = {}

    def start(self) -> None:
        self._read()
        threading.Thread(target=self._loop, daemon=True).start()

    def stop(self) -> None:
        self._over.set()
        self.stopped.append(self)

    def hardware(self) -> dict[str, Any]:
        return {"gpus": []}

    def sensors(self) -> dict[str, str]:
        return {"cpu": "tdp_model"}

    def _read(self) -> None:
        self._joules += 1.0
        self._on_reading({"cpu": self._joules})

    def _loop(self) -> None:
        while not self._over.wait(0.02):
            if not self.muted.is_set():
                self._read()


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[FakeSensor]]:
    """The meter in this process, with a sensor that can be muted and half a second of patience."""
    monkeypatch.setattr(meter, "CodeCarbonSensor", FakeSensor)
    monkeypatch.setattr(meter, "clean_environment", lambda empty: None)
    monkeypatch.setattr(meter, "PATIENCE_SECONDS", 0.5)
    FakeSensor.muted.clear()
    FakeSensor.stopped.clear()
    yield FakeSensor
    FakeSensor.muted.set()


class Running:
    """`run_meter` in a thread."""

    def __init__(self, home: Path) -> None:
        self.home, self.stopping, self.codes = home, threading.Event(), list[int]()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        wait_for(lambda: (info := read_info(home)) and info.status == "metering")

    def _run(self) -> None:
        self.codes.append(meter.run_meter(self.home, 0.05, stopping=self.stopping))

    def end(self, ask: bool = True) -> int:
        if ask:
            self.stopping.set()
        self._thread.join(20)
        return self.codes[0]


def test_a_sensor_that_falls_silent_is_replaced_with_its_process(
    tmp_path: Path, fake: type[FakeSensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    running = Running(tmp_path)
    fake.muted.set()
    assert running.end(ask=False) == meter.SILENT
    assert fake.stopped == []  # a sensor that hangs would never come back from it
    info = read_info(tmp_path)
    assert info is not None and info.status == "unmetered"
    assert info.reason is not None and info.reason.startswith("silent: no further reading for 0.")
    (path,) = session_files(tmp_path)
    assert read_session(path).sealed

    became: list[list[str]] = []
    monkeypatch.setattr(meter, "run_meter", lambda *arguments, **named: meter.SILENT)
    monkeypatch.setattr(meter.signal, "signal", lambda *arguments: None)
    monkeypatch.setattr(meter.os, "execve", lambda path, command, env: became.append(command))
    given = ["--home", str(tmp_path), "--interval", "0.5", "--supervisor-pid", "7"]
    meter.main(given)
    assert [command[1:] for command in became] == [["-m", "tasks.emissions.meter", *given]]


def test_a_suspend_is_no_silence(
    tmp_path: Path, fake: type[FakeSensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """CLOCK_BOOTTIME jumps over the suspend; the sensor had no time to speak in it."""
    running = Running(tmp_path)
    fake.muted.set()
    monkeypatch.setattr(meter_session, "boottime", lambda: boottime() + 3600)
    time.sleep(0.1)
    fake.muted.clear()
    time.sleep(0.3)
    assert running.end() == 0
    (path,) = session_files(tmp_path)
    readings = [r for r in read_session(path).records if r["kind"] == "reading"]
    (over,) = [b for a, b in pairwise(readings) if b["boottime_s"] - a["boottime_s"] > 3600]
    assert over["gap"]  # a model's energy of that time is called an estimate


def test_a_probe_of_the_lock_does_not_turn_a_starting_meter_away(
    tmp_path: Path, fake: type[FakeSensor]
) -> None:
    with (meter.node_folder(tmp_path) / "meter.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        threading.Timer(0.1, lock.close).start()
        running = Running(tmp_path)
    assert running.end() == 0
    assert len(list(session_files(tmp_path))) == 1


class Ended:
    """A process that ended at once."""

    def poll(self) -> int:
        return 1


@pytest.fixture
def starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Times at which a watch on a node without a meter started one; all of them in vain."""
    times: list[float] = []

    def spawn(home: Path, interval: float, supervisor: int | None) -> Ended:
        times.append(clock.now)
        return Ended()

    monkeypatch.setattr(meter, "spawn_meter", spawn)
    return times


class Clock:
    """A clock that is set."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


clock = Clock()


def test_starts_in_vain_have_growing_pauses(tmp_path: Path, starts: list[float]) -> None:
    watch = MeterWatch(tmp_path, 15.0, None, clock=clock)
    for second in range(2000):
        clock.now = float(second)
        watch.look()
    assert starts[:5] == [0.0, 2.0, 6.0, 14.0, 30.0]
    assert starts[-1] - starts[-2] == LONGEST_PAUSE_SECONDS


@pytest.mark.parametrize(("supervisor", "expected"), [(None, 0), (os.getpid(), 1)])
def test_a_meter_that_the_services_stopped_stays_down(
    tmp_path: Path, starts: list[float], supervisor: int | None, expected: int
) -> None:
    info = MeterInfo(status="unmetered", node_id="n", pid=1, interval=1.0, reason="stopped")
    (meter.node_folder(tmp_path) / "meter.json").write_text(info.model_dump_json())
    MeterWatch(tmp_path, 15.0, supervisor, clock=clock).look()
    assert len(starts) == expected
