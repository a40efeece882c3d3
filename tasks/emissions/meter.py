"""The node meter: one process per machine that outlives stages and survives being killed.

``python -m tasks.emissions.meter --home DIR --interval S [--supervisor-pid N]`` measures until
SIGTERM or until its supervisor is gone, and appends one fsynced, chained record per interval. A
second one on the same node ends at once: machine-wide power counted twice is wrong twice.
Sessions are renewed daily, because CodeCarbon's memory grows with every measurement. When the
sensor falls silent the process replaces itself: threads that hang in a driver do not end otherwise.
``tasks.emissions.watch`` has it started again when it was killed.
"""

from __future__ import annotations

import argparse
import fcntl
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Literal

from pydantic import BaseModel, ConfigDict

from tasks.context import atomic_write_json
from tasks.emissions.meter_session import MeterSession
from tasks.emissions.records import emissions_folder, node_id, seal
from tasks.emissions.sensors import CodeCarbonSensor, SensorError, clean_environment
from tasks.identity import Started, process_alive, process_started

SESSION_SECONDS = 86_400.0
# Silence is two intervals without a reading, and never less than a busy machine needs for one.
PATIENCE_SECONDS = 5.0
SILENT = 2  # exit code of run_meter: the sensor spoke and fell silent
SOURCE_ROOT = Path(__file__).resolve().parent.parent.parent
log = logging.getLogger("arriero.emissions")


class MeterInfo(BaseModel):
    """State of this node's meter.

    status: ``metering``; or ``unmetered``: no reading arrived, energy is accrued at the TDP bound.
    """

    model_config = ConfigDict(frozen=True)

    status: Literal["metering", "unmetered"]
    node_id: str
    pid: int
    pid_started: Started | None = None
    interval: float
    supervisor_pid: int | None = None
    supervisor_started: Started | None = None
    session: str | None = None
    reason: str | None = None


def node_folder(home: Path) -> Path:
    """``<home>/emissions/<node>``, made on first use."""
    folder = emissions_folder(home) / node_id()
    folder.mkdir(exist_ok=True)
    return folder


def run_meter(
    home: Path,
    interval: float,
    supervisor_pid: int | None = None,
    *,
    session_seconds: float = SESSION_SECONDS,
    stopping: threading.Event | None = None,
) -> int:
    """Meter this node until told to stop. Returns the exit code: 0 also when one runs already,
    ``SILENT`` when the sensor fell silent and a new process should go on."""
    home = home.resolve()
    folder = node_folder(home)
    with (folder / "meter.lock").open("a") as lock:
        if not _take(lock):
            log.info("a meter runs on this node already")
            return 0
        for path in sorted(folder.glob("*.jsonl")):
            if seal(path):
                log.warning("sealed %s: its meter was killed", path.name)
        clean_environment(folder / "empty")
        stopping = stopping or threading.Event()
        info = MeterInfo(
            status="unmetered",
            node_id=node_id(),
            pid=os.getpid(),
            pid_started=process_started(os.getpid()),
            interval=interval,
            supervisor_pid=supervisor_pid,
            supervisor_started=process_started(supervisor_pid) if supervisor_pid else None,
            reason="starting",
        )
        while True:
            reason = _run_session(home, folder, info, session_seconds, stopping)
            if reason != "renewed":
                break
        log.info("meter ends: %s", reason)
        if reason.startswith("silent"):
            return SILENT
        return 0 if reason in ("stopped", "supervisor gone") else 1


def _take(lock: IO[str]) -> bool:
    """Have the node's lock; False when another meter has it. Who looks holds it for a moment."""
    for _ in range(5):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.05)
        else:
            return True
    return False


def _run_session(
    home: Path, folder: Path, info: MeterInfo, seconds: float, stopping: threading.Event
) -> str:
    """One CodeCarbon session. Returns why it ended."""

    def publish(status: Literal["metering", "unmetered"], reason: str | None) -> None:
        state = info.model_copy(update={"status": status, "session": session.id, "reason": reason})
        atomic_write_json(folder / "meter.json", state.model_dump(mode="json"))

    session = MeterSession(folder, home, info.interval)
    publish("unmetered", "starting")
    started = time.monotonic()
    try:
        sensor = session.sensor = CodeCarbonSensor(info.interval, session.reading)
        sensor.start()
    except SensorError as error:
        session.end(f"unmetered: {error}")
        publish("unmetered", str(error))
        return "unmetered"
    gpus = sensor.hardware()
    if gpus["gpus"] and not any(name.startswith("gpu") for name in sensor.sensors()):
        log.error("NVML reports %d GPUs, no sensor reads them", len(gpus["gpus"]))
    metering = False
    reason = "stopped"
    patience = max(2 * info.interval, PATIENCE_SECONDS)
    while not stopping.wait(min(0.5, info.interval)):
        last = session.last_heard
        silent = time.monotonic() - (started if last is None else last)
        if silent > patience:
            what = "unmetered: no reading" if last is None else "silent: no further reading"
            reason = f"{what} for {silent:.1f} s ({session.error or 'no error'})"
            break
        if not metering and last is not None:
            metering = True
            publish("metering", None)
        if info.supervisor_pid and not process_alive(info.supervisor_pid, info.supervisor_started):
            reason = "supervisor gone"
            break
        if time.monotonic() - started > seconds:
            reason = "renewed"
            break
    if not reason.startswith("silent"):  # it may hang, and would take the end of the session along
        try:
            sensor.stop()
        except SensorError as error:
            log.error("%s", error)
    session.end(reason)
    if reason != "renewed":
        publish("unmetered", reason)
    return reason


def lock_held(home: Path) -> bool:
    """Whether a meter of this node is alive: only a living process holds the lock."""
    path = home / "emissions" / node_id() / "meter.lock"
    if not path.exists():
        return False
    with path.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def read_info(home: Path) -> MeterInfo | None:
    """What the node's meter last said about itself; None when it never ran."""
    path = home / "emissions" / node_id() / "meter.json"
    return MeterInfo.model_validate_json(path.read_bytes()) if path.exists() else None


def ensure_meter(
    home: Path,
    interval: float = 15.0,
    supervisor_pid: int | None = None,
    *,
    timeout: float = 20.0,
    clock: Callable[[], float] = time.monotonic,
) -> MeterInfo:
    """Have exactly one meter on this node; returns when its first record is on disk.

    Idempotent: a living meter is kept, whatever its interval. ``status`` is ``unmetered``, with
    the reason, when no reading came within ``timeout`` seconds or the sensor refused.
    """
    home = home.resolve()
    folder = node_folder(home)
    deadline = clock() + timeout
    process: subprocess.Popen[bytes] | None = None
    while clock() < deadline:
        held = lock_held(home)
        info = read_info(home)
        if held and info is not None and info.status == "metering":
            orphan = info.supervisor_pid is not None and not process_alive(
                info.supervisor_pid, info.supervisor_started
            )
            if process_alive(info.pid, info.pid_started) and not orphan:
                return info
        elif not held and process is None:
            process = spawn_meter(home, interval, supervisor_pid)
        elif process is not None and process.poll() is not None and not held:
            break  # ended without a reading; its state says why
        time.sleep(0.05)
    info = read_info(home)
    return MeterInfo(
        status="unmetered",
        node_id=node_id(),
        pid=process.pid if process else (info.pid if info else 0),
        interval=interval,
        supervisor_pid=supervisor_pid,
        reason=(info.reason if info and info.reason else f"no reading within {timeout:g} s")
        + f"; see {folder / 'meter.log'}",
    )


def spawn_meter(home: Path, interval: float, supervisor_pid: int | None) -> subprocess.Popen[bytes]:
    """Start the process; returns at once. It ends by itself where one runs already."""
    folder = node_folder(home)
    with (folder / "meter.log").open("ab") as output:
        return subprocess.Popen(
            _command(home, interval, supervisor_pid),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # a signal to a stage's group is none of the meter's business
            cwd=folder,
            env=_environment(),
        )


def _command(home: Path, interval: float, supervisor_pid: int | None) -> list[str]:
    command = [sys.executable, "-m", "tasks.emissions.meter", "--home", str(home)]
    command += ["--interval", repr(interval)]
    if supervisor_pid is not None:
        command += ["--supervisor-pid", str(supervisor_pid)]
    return command


def _environment() -> dict[str, str]:
    path = os.pathsep.join(filter(None, [str(SOURCE_ROOT), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path}


def stop_meter(home: Path, timeout: float = 15.0) -> bool:
    """Ask this node's meter for its final record and wait. False when none ran.

    Raises:
        TimeoutError: it did not end; its pid is named.
    """
    info = read_info(home)
    if not lock_held(home) or info is None:
        return False
    if process_alive(info.pid, info.pid_started):
        os.kill(info.pid, signal.SIGTERM)
    deadline = time.monotonic() + timeout
    while lock_held(home):
        if time.monotonic() > deadline:
            raise TimeoutError(f"the meter (pid {info.pid}) did not end within {timeout:g} s")
        time.sleep(0.05)
    return True


def main(arguments: list[str] | None = None) -> int:
    """Entry of ``python -m tasks.emissions.meter``."""
    parser = argparse.ArgumentParser(prog="tasks.emissions.meter", description=__doc__)
    parser.add_argument("--home", type=Path, required=True, help="state folder (ARRIERO_HOME)")
    parser.add_argument("--interval", type=float, default=15.0, help="seconds between records")
    parser.add_argument("--supervisor-pid", type=int, help="end when this process is gone")
    options = parser.parse_args(arguments)
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr
    )
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    home = options.home.resolve()  # metering changes the working folder
    code = run_meter(home, options.interval, options.supervisor_pid, stopping=stopping)
    if code == SILENT:
        command = _command(home, options.interval, options.supervisor_pid)
        os.execve(command[0], command, _environment())
    return code


if __name__ == "__main__":
    sys.exit(main())
