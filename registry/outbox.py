"""Messages to other systems: written with the fact they tell, delivered later, each once.

A message is enqueued in the transaction of its fact, so neither exists without the other. Delivery
is at least once; the receiver's side must be idempotent by ``dedupe_key``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from registry.database import Registry
from registry.schema import Outbox, now

FIRST_DELAY_S = 2.0
LONGEST_DELAY_S = 3600.0


class Message(NamedTuple):
    """What ``enqueue`` adds."""

    topic: str
    dedupe_key: str
    payload: Mapping[str, Any]


def enqueue(
    session: Session,
    topic: str,
    dedupe_key: str,
    payload: Mapping[str, Any],
    *,
    clock: Callable[[], datetime] = now,
) -> bool:
    """Add a message inside the caller's transaction; False when that ``dedupe_key`` is there."""
    if session.scalar(select(Outbox.id).where(Outbox.dedupe_key == dedupe_key)) is not None:
        return False
    at = clock()
    message = Outbox(
        topic=topic,
        dedupe_key=dedupe_key,
        payload=dict(payload),
        created_at=at,
        next_attempt_at=at,
    )
    try:
        with session.begin_nested():
            session.add(message)
    except IntegrityError:
        return False  # another process enqueued it between our look and our insert
    return True


def pending(
    registry: Registry,
    limit: int = 100,
    *,
    topic: str | None = None,
    clock: Callable[[], datetime] = now,
) -> Sequence[Outbox]:
    """Messages that are due, oldest first."""
    query = (
        select(Outbox)
        .where(Outbox.delivered_at.is_(None), Outbox.next_attempt_at <= clock())
        .order_by(Outbox.id)
        .limit(limit)
    )
    if topic is not None:
        query = query.where(Outbox.topic == topic)
    with registry.reading() as session:
        return session.scalars(query).all()


def mark_delivered(
    registry: Registry, message_id: int, *, clock: Callable[[], datetime] = now
) -> bool:
    """Record a delivery; False when another deliverer recorded it before."""
    with registry.session() as session:
        changed: Any = session.execute(
            update(Outbox)
            .where(Outbox.id == message_id, Outbox.delivered_at.is_(None))
            .values(delivered_at=clock(), attempts=Outbox.attempts + 1, last_error=None)
        )
        return int(changed.rowcount) == 1


def mark_failed(
    registry: Registry, message_id: int, error: str, *, clock: Callable[[], datetime] = now
) -> datetime:
    """Record a failed delivery and when to try again: 2 s, 4 s, 8 s, ... at most an hour."""
    with registry.session() as session:
        message = session.get(Outbox, message_id, with_for_update=True)
        if message is None:
            raise ValueError(f"no message {message_id} in the outbox")
        message.attempts += 1
        message.last_error = error
        message.next_attempt_at = clock() + timedelta(seconds=delay_s(message.attempts))
        return message.next_attempt_at


def delay_s(attempts: int) -> float:
    """Seconds to wait after so many failed attempts (1 or more)."""
    # The exponent is capped as well: 2.0 ** attempts overflows on a message that fails for years.
    return float(min(LONGEST_DELAY_S, FIRST_DELAY_S * 2.0 ** min(attempts - 1, 20)))
