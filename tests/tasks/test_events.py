"""Events of a running stage while the registry does not answer."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from registry.database import Registry, RegistryUnreachable
from tasks import attempt
from tasks.attempt import EVENT_PAUSE_S, EventSink

Told = Sequence[tuple[str, Mapping[str, Any]]]


def test_a_registry_that_does_not_answer_is_told_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    down, now = [True], [0.0]
    asked: list[int] = []
    recorded: list[str] = []

    def record(registry: object, run_id: str, told: Told) -> int:
        asked.append(len(told))
        if down[0]:
            raise RegistryUnreachable("the database restarts")
        recorded.extend(kind for kind, _ in told)
        return len(told)

    monkeypatch.setattr(attempt.runs, "record_events_once", record)
    registry = Registry(f"sqlite:///{tmp_path / 'registry.sqlite'}")
    sink = EventSink(registry, "run", logging.getLogger("events"), lambda: now[0])
    sink([])
    assert asked == []
    sink([("step-skipped", {"step": 3})])
    sink([("rolling-back", {"step": 9})])  # no second try at once: it would hold up the watch
    assert asked == [1] and "1 events are not recorded yet: the database restarts" in caplog.text
    now[0] += EVENT_PAUSE_S
    sink([])
    assert asked == [1, 2] and recorded == []
    down[0] = False
    sink.flush()
    assert recorded == ["step-skipped", "rolling-back"]
    sink.flush()
    assert asked == [1, 2, 2]
