"""The processes of a run are found and ended, also when they end by themselves in between."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tasks.training.processes import Processes


def ended() -> int:
    """Process id that just became free."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    return gone.pid


def tell(ranks: Path, rank: int, pid: int, attempt: str) -> None:
    ranks.mkdir(exist_ok=True)
    told = {"pid": pid, "host": platform.node(), "attempt": attempt, "code": None}
    (ranks / f"{rank}.json").write_text(json.dumps(told))


def test_rank_that_ends_while_it_is_looked_up_does_not_stop_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    tell(tmp_path / "ranks", 0, ended(), "now")
    monkeypatch.setattr(psutil, "pid_exists", lambda pid: True)  # it still did, an instant ago
    processes = Processes(child, tmp_path / "ranks", "now")
    processes.end(5.0, time.monotonic)
    assert child.returncode is not None and processes.alive() == []
    assert processes.rank_pids.keys() == {0}
