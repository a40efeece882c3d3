"""A stage's progress bar: seldom, and never the end of a stage."""

from __future__ import annotations

import logging
import uuid
from typing import Any

import pytest

from tasks import progress
from tasks.progress import TaskProgress


class Server:
    """Prefect's answers to progress artifacts, some of them errors."""

    def __init__(self, errors: list[Exception | None]) -> None:
        self.errors = errors
        self.shown: list[tuple[str, float]] = []

    def answer(self, what: str, percent: float) -> uuid.UUID:
        error = self.errors.pop(0) if self.errors else None
        if error is not None:
            raise error
        self.shown.append((what, percent))
        return uuid.UUID(int=1)


def bar(
    monkeypatch: pytest.MonkeyPatch, server: Server
) -> tuple[TaskProgress, list[float], logging.Logger]:
    def create(progress: float, **_: Any) -> uuid.UUID:
        return server.answer("made", progress)

    def update(progress: float, **_: Any) -> None:
        server.answer("moved", progress)

    monkeypatch.setattr(progress, "create_progress_artifact", create)
    monkeypatch.setattr(progress, "update_progress_artifact", update)
    now = [0.0]
    log = logging.getLogger("progress test")
    made = TaskProgress("raw.c4", log, lambda: now[0])
    made._enabled = True
    return made, now, log


def test_it_is_shown_once_a_second_and_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server([])
    show, now, _ = bar(monkeypatch, server)
    for tenth in range(30):
        now[0] = tenth / 10
        show(tenth / 100, "reading")
    show(1.0, "published")
    assert server.shown == [("made", 0.0), ("moved", 10.0), ("moved", 20.0), ("moved", 100.0)]


def test_a_server_that_fails_costs_the_bar_only(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broken = RuntimeError("500 from the server")
    server = Server([broken, broken, None, broken])
    show, now, _ = bar(monkeypatch, server)
    with caplog.at_level(logging.WARNING):
        for second in range(5):
            now[0] = float(second)
            show(second / 10, "step")
    assert server.shown == [("made", 20.0), ("moved", 40.0)]
    told = [record.getMessage() for record in caplog.records]
    assert told == ["the progress bar was not updated: 500 from the server"] * 2
