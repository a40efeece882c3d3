"""Fixtures of the flows' tests: a home of their own, and no meter process beside them."""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path

import pytest

from registry.database import upgrade
from tasks.emissions import meter, watch
from tasks.runner import Workplace, open_workplace


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workplace:
    for name in [n for n in os.environ if n.startswith(("ARRIERO_", "MLFLOW_TRACKING"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("ARRIERO_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "home").mkdir()
    upgrade(f"sqlite:///{tmp_path / 'home' / 'registry.sqlite'}")
    return open_workplace()


@pytest.fixture
def no_meter(monkeypatch: pytest.MonkeyPatch) -> None:
    """The node meter has its own tests; here it would be a process of its own."""
    info = meter.MeterInfo(
        status="unmetered", node_id="test", pid=1, interval=5.0, reason="not started by this test"
    )
    monkeypatch.setattr(meter, "ensure_meter", lambda *arguments: info)
    monkeypatch.setattr(watch, "kept_alive", lambda *arguments: nullcontext())
