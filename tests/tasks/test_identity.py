"""A process is told from a later one with its number, whatever happens to the clock."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from registry.schema import Run
from tasks import identity, liveness
from tasks.emissions import marks
from tasks.identity import process_alive, process_started


@pytest.fixture
def stepped_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time of day is set back an hour: psutil gives other starts than before."""
    real = psutil.Process.create_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda process: real(process) - 3600)


def test_a_step_of_the_clock_ends_nobody(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    liveness.begin(tmp_path, "run")
    marks.begin(tmp_path, entry_id="mine", run_id="run", stage="corpus", attempt=1)
    request.getfixturevalue("stepped_clock")
    assert liveness.is_alive(tmp_path, Run(id="run"))
    assert marks.OpenMarks(tmp_path).alive() == ["mine"]


def test_another_process_with_the_number_is_another_process() -> None:
    mine = process_started(os.getpid())
    assert isinstance(mine, str)
    boot, ticks = mine.split("/")
    assert process_alive(os.getpid(), mine) and process_alive(os.getpid(), None)
    assert not process_alive(os.getpid(), f"{boot}/{int(ticks) + 1}")
    assert not process_alive(os.getpid(), f"{boot[::-1]}/{ticks}")


def test_the_dead_and_zombies_are_not_alive() -> None:
    # A name with a bracket and a blank: the fields behind it are found from the right.
    named = "import ctypes; ctypes.CDLL(None).prctl(15, b'a) b (c', 0, 0, 0)"
    code = f"{named}; print(flush=True); input()"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None and process.stdout.readline()
    started = process_started(process.pid)
    assert process_alive(process.pid, started)
    process.kill()
    deadline = time.monotonic() + 10
    while process_alive(process.pid, started):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert process_started(process.pid) == started  # nobody has asked for its end yet
    process.communicate()
    assert process_started(process.pid) is None
    assert not process_alive(process.pid, started) and not process_alive(process.pid, None)


def test_without_proc_and_in_old_files_the_time_of_day_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    liveness.begin(tmp_path, "run")
    path = tmp_path / "running" / "run.json"
    said = json.loads(path.read_text())
    for written, alive in ((0.5, True), (-60.0, False)):
        said["started"] = psutil.Process().create_time() + written
        path.write_text(json.dumps(said))
        assert liveness.is_alive(tmp_path, Run(id="run")) is alive
    monkeypatch.setattr(identity, "PROC", tmp_path)
    started = process_started(os.getpid())
    assert isinstance(started, float) and process_alive(os.getpid(), started)
    assert not process_alive(os.getpid(), started - 2)
