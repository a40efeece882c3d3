"""Which process works on a recorded run: one small file per run, gone when the run ends.

A run whose file names a process that is gone was killed; the next flow records it as lost.
"""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

from registry.schema import Run
from tasks.context import atomic_write_json
from tasks.identity import process_alive, process_started


def _file(home: Path, run_id: str) -> Path:
    return home / "running" / f"{run_id}.json"


def begin(home: Path, run_id: str) -> None:
    """Say that this process works on the run."""
    path = _file(home, run_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    pid = os.getpid()
    atomic_write_json(
        path, {"pid": pid, "started": process_started(pid), "host": socket.gethostname()}
    )


def end(home: Path, run_id: str) -> None:
    """Say that the run has ended."""
    _file(home, run_id).unlink(missing_ok=True)


def is_alive(home: Path, run: Run) -> bool:
    """Whether the run's process lives.

    A run without a file here belongs to another installation that shares the registry, and a
    process on another host cannot be asked: both count as alive.
    """
    try:
        said = json.loads(_file(home, run.id).read_text())
    except FileNotFoundError:
        return True
    if said["host"] != socket.gethostname():
        return True
    return process_alive(said["pid"], said["started"])
