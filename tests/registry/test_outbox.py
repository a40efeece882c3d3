"""Messages live and die with their fact, wait longer after each failure, and go out once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from registry import outbox
from registry.database import Registry

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


def add(registry: Registry, key: str, topic: str = "flow") -> bool:
    with registry.session() as session:
        return outbox.enqueue(session, topic, key, {"key": key}, clock=lambda: NOON)


def due(registry: Registry, seconds: float = 0, **filters: str) -> list[str]:
    at = NOON + timedelta(seconds=seconds)
    return [m.dedupe_key for m in outbox.pending(registry, clock=lambda: at, **filters)]


def test_in_order_and_once(registry: Registry) -> None:
    assert add(registry, "b") and add(registry, "a", topic="champion")
    assert not add(registry, "b")
    assert due(registry) == ["b", "a"]
    assert due(registry, topic="champion") == ["a"]
    first = outbox.pending(registry, 1, clock=lambda: NOON)[0]
    assert first.payload == {"key": "b"}
    assert outbox.mark_delivered(registry, first.id) is True
    assert outbox.mark_delivered(registry, first.id) is False
    assert due(registry) == ["a"]
    assert not add(registry, "b")  # delivered messages are not sent again


def test_message_of_a_fact_that_was_rolled_back_is_gone(registry: Registry) -> None:
    with pytest.raises(RuntimeError), registry.session() as session:
        outbox.enqueue(session, "flow", "x", {})
        raise RuntimeError
    assert due(registry, 10**6) == []


def test_back_off_doubles_up_to_an_hour(registry: Registry) -> None:
    add(registry, "x")
    (message,) = outbox.pending(registry, clock=lambda: NOON)
    at = NOON
    for delay in (2, 4, 8):
        moment = at
        at = outbox.mark_failed(registry, message.id, "MLflow is down", clock=lambda m=moment: m)
        assert at - moment == timedelta(seconds=delay)
        assert due(registry, (at - NOON).total_seconds() - 1) == []
        assert due(registry, (at - NOON).total_seconds()) == ["x"]
    (kept,) = outbox.pending(registry, clock=lambda: at)
    assert (kept.attempts, kept.last_error) == (3, "MLflow is down")
    assert outbox.delay_s(12) == outbox.delay_s(10_000) == 3600.0
    with pytest.raises(ValueError, match="no message 99"):
        outbox.mark_failed(registry, 99, "x")
