"""What ran: attempts of stages and flows, their events, metric summaries and evaluations.

Functions that begin with ``add_`` write inside the caller's transaction; the others open their
own. State changes are conditional updates, so two reporters of one end cannot both win.
"""

from __future__ import annotations

import getpass
import json
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from registry import outbox
from registry.database import Registry
from registry.evaluations import (
    EvaluationRow,
    list_evaluations,
    models_without_evaluation,
    record_evaluations,
)
from registry.schema import RUN_STATUSES, Event, MetricSummary, Run, now

__all__ = [
    "EvaluationRow",
    "MetricRow",
    "RunAlreadyEnded",
    "UnknownRun",
    "add_event",
    "finish_run",
    "get_run",
    "link_run",
    "list_evaluations",
    "list_events",
    "list_metrics",
    "list_runs",
    "mark_lost",
    "models_without_evaluation",
    "record_evaluations",
    "record_event",
    "record_events_once",
    "record_metric_summary",
    "start_run",
]


class UnknownRun(ValueError):
    """No run of that id."""


class RunAlreadyEnded(ValueError):
    """The run had ended with another status before."""


class MetricRow(BaseModel):
    """One metric of one run, summed up."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str = Field(min_length=1)
    last: float
    min: float
    max: float
    count: int = Field(ge=1)
    last_step: int


def start_run(
    registry: Registry,
    *,
    flow: str,
    stage: str | None = None,
    recipe: str | None = None,
    parent_id: str | None = None,
    attempt: int | None = None,
    parameters: Mapping[str, Any] | None = None,
    user: str | None = None,
    git_commit: str | None = None,
    prefect_flow_run_id: str | None = None,
    prefect_task_run_id: str | None = None,
    mlflow_run_id: str | None = None,
    run_id: str | None = None,
    clock: Callable[[], datetime] = now,
) -> str:
    """Record that a flow (``stage`` None) or an attempt of a stage runs now; its id (uuid).

    ``attempt`` None counts on from the attempts of the same recipe under the same parent. The
    user defaults to the account of this process.
    """
    identity = run_id or str(uuid.uuid4())
    with registry.session() as session:
        if attempt is None:
            attempt = _next_attempt(session, parent_id, stage, recipe)
        session.add(
            Run(
                id=identity,
                parent_id=parent_id,
                flow=flow,
                stage=stage,
                recipe=recipe,
                attempt=attempt,
                status="running",
                user=user or _account(),
                git_commit=git_commit,
                prefect_flow_run_id=prefect_flow_run_id,
                prefect_task_run_id=prefect_task_run_id,
                mlflow_run_id=mlflow_run_id,
                parameters=dict(parameters or {}),
                started_at=clock(),
            )
        )
    return identity


def finish_run(
    registry: Registry,
    run_id: str,
    status: str,
    *,
    artifact_key: str | None = None,
    error: str | None = None,
    clock: Callable[[], datetime] = now,
) -> bool:
    """End a run; True when this call ended it, False when it had ended so before.

    A run marked ``lost`` that turns out to live may still end properly. Raises ``UnknownRun``, or
    ``RunAlreadyEnded`` when another status was recorded first.
    """
    if status not in RUN_STATUSES or status == "running":
        raise ValueError(f"a run cannot end as {status!r}; one of {', '.join(RUN_STATUSES[1:])}")
    with registry.session() as session:
        changed = session.execute(
            update(Run)
            .where(Run.id == run_id, Run.status.in_(("running", "lost")))
            .values(status=status, ended_at=clock(), artifact_key=artifact_key, error=error)
            .execution_options(synchronize_session=False)
        )
        if _count(changed) == 1:
            return True
        run = session.get(Run, run_id)
    if run is None:
        raise UnknownRun(f"no run {run_id} in the registry")
    if run.status == status:
        return False
    raise RunAlreadyEnded(f"run {run_id} ended as {run.status} before; it cannot become {status}")


def link_run(
    registry: Registry,
    run_id: str,
    *,
    mlflow_run_id: str | None = None,
    prefect_flow_run_id: str | None = None,
    prefect_task_run_id: str | None = None,
) -> None:
    """Record ids of other systems that became known after the start."""
    given = {
        "mlflow_run_id": mlflow_run_id,
        "prefect_flow_run_id": prefect_flow_run_id,
        "prefect_task_run_id": prefect_task_run_id,
    }
    values = {name: value for name, value in given.items() if value is not None}
    if not values:
        raise ValueError("link_run was given no id to record")
    with registry.session() as session:
        changed = session.execute(update(Run).where(Run.id == run_id).values(**values))
        if _count(changed) == 0:
            raise UnknownRun(f"no run {run_id} in the registry")


def mark_lost(
    registry: Registry,
    *,
    is_alive: Callable[[Run], bool],
    message: Callable[[Run], outbox.Message] | None = None,
    older_than: timedelta = timedelta(0),
    clock: Callable[[], datetime] = now,
) -> list[str]:
    """End as ``lost`` every run that is still "running" though ``is_alive`` denies it; their ids.

    ``is_alive`` asks whoever runs it, ``message`` makes what the outbox is told of the loss, in one
    transaction with it; both are called outside any transaction.
    """
    limit = clock() - older_than
    with registry.reading() as session:
        running = session.scalars(
            select(Run).where(Run.status == "running", Run.started_at <= limit)
        ).all()
    lost: list[str] = []
    for run in running:
        if is_alive(run):
            continue
        told = None if message is None else message(run)
        with registry.session() as session:
            changed = session.execute(
                update(Run)
                .where(Run.id == run.id, Run.status == "running")
                .values(status="lost", ended_at=clock(), error="its process is gone")
            )
            if _count(changed) == 1:
                add_event(session, "run-lost", {"stage": run.stage}, run_id=run.id)
                if told is not None:
                    outbox.enqueue(session, *told)
                lost.append(run.id)
    return lost


def add_event(
    session: Session, kind: str, payload: Mapping[str, Any], *, run_id: str | None = None
) -> None:
    """Record an event inside the caller's transaction."""
    session.add(Event(run_id=run_id, kind=kind, payload=dict(payload)))


def record_event(
    registry: Registry, kind: str, payload: Mapping[str, Any], *, run_id: str | None = None
) -> None:
    """Record an event: something worth telling that is no state of a run."""
    with registry.session() as session:
        add_event(session, kind, payload, run_id=run_id)


def record_events_once(
    registry: Registry, run_id: str, events: Sequence[tuple[str, Mapping[str, Any]]]
) -> int:
    """Record ``(kind, payload)`` events of a run, without those that it or another attempt of its
    recipe has recorded in the same words; how many were new.

    For events that are read from a log that outlives attempts. One writer per recipe at a time.
    """
    with registry.session() as session:
        run = session.get(Run, run_id)
        if run is None:
            raise UnknownRun(f"no run {run_id} in the registry")
        same = Run.id == run_id if run.recipe is None else Run.recipe == run.recipe
        known = session.execute(
            select(Event.kind, Event.payload)
            .join(Run, Event.run_id == Run.id)
            .where(same, Event.kind.in_({kind for kind, _ in events}))
        )
        recorded = {(kind, _words(payload)) for kind, payload in known}
        before = len(recorded)
        for kind, payload in events:
            if (kind, _words(payload)) not in recorded:
                recorded.add((kind, _words(payload)))
                add_event(session, kind, payload, run_id=run_id)
        return len(recorded) - before


def record_metric_summary(registry: Registry, run_id: str, rows: Iterable[MetricRow]) -> None:
    """Record or replace the metric summaries of a run."""
    with registry.session() as session:
        for row in rows:
            session.merge(MetricSummary(run_id=run_id, **row.model_dump()))


def get_run(registry: Registry, run_id: str) -> Run:
    """One run by its id or an unambiguous prefix; raises ``UnknownRun``."""
    with registry.reading() as session:
        exact = session.get(Run, run_id)
        if exact is not None:
            return exact
        pattern = run_id.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
        found = session.scalars(select(Run).where(Run.id.like(pattern, escape="\\")).limit(2)).all()
    if len(found) != 1:
        what = "no run" if not found else "more than one run"
        raise UnknownRun(f"{what} in the registry has an id that begins with {run_id!r}")
    return found[0]


def list_runs(
    registry: Registry,
    *,
    limit: int = 20,
    flow: str | None = None,
    status: str | None = None,
    parent_id: str | None = None,
    top_level: bool = False,
) -> Sequence[Run]:
    """Runs, newest first. ``top_level`` leaves the children of flows out."""
    query = select(Run).order_by(Run.started_at.desc(), Run.id).limit(limit)
    if flow is not None:
        query = query.where(Run.flow == flow)
    if status is not None:
        query = query.where(Run.status == status)
    if parent_id is not None:
        query = query.where(Run.parent_id == parent_id)
    if top_level:
        query = query.where(Run.parent_id.is_(None))
    with registry.reading() as session:
        return session.scalars(query).all()


def list_events(
    registry: Registry, *, run_id: str | None = None, kind: str | None = None, limit: int = 100
) -> Sequence[Event]:
    """Events, newest first."""
    query = select(Event).order_by(Event.id.desc()).limit(limit)
    if run_id is not None:
        query = query.where(Event.run_id == run_id)
    if kind is not None:
        query = query.where(Event.kind == kind)
    with registry.reading() as session:
        return session.scalars(query).all()


def list_metrics(registry: Registry, run_id: str) -> Sequence[MetricSummary]:
    """Metric summaries of a run, by name."""
    query = select(MetricSummary).where(MetricSummary.run_id == run_id).order_by(MetricSummary.name)
    with registry.reading() as session:
        return session.scalars(query).all()


def _words(payload: Mapping[str, Any]) -> str:
    return json.dumps(payload, sort_keys=True)


def _next_attempt(
    session: Session, parent_id: str | None, stage: str | None, recipe: str | None
) -> int:
    """1 + the attempts recorded for this recipe under this parent."""
    if recipe is None or parent_id is None:
        return 1
    attempts = session.scalars(
        select(Run.attempt).where(
            Run.parent_id == parent_id, Run.stage == stage, Run.recipe == recipe
        )
    ).all()
    return max(attempts, default=0) + 1


def _count(result: Any) -> int:
    """Rows that an UPDATE changed (typed as Any: SQLAlchemy 2.0 and 2.1 name the class apart)."""
    return int(result.rowcount)


def _account() -> str:
    """Name of the account of this process, also in a container whose uid has no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
