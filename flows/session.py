"""The recorded run around a flow: who, what, which parent; MLflow and emissions at its end."""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar

from prefect.context import FlowRunContext
from prefect.logging import get_run_logger
from pydantic import BaseModel

from registry import outbox, runs
from registry.schema import Run
from tasks import liveness
from tasks.emissions.parameters import PAPER_FACTORS, EmissionsParameters
from tasks.environment import git_commit
from tasks.runner import RunContext, Workplace, open_workplace

log = logging.getLogger("arriero")
_current: ContextVar[RunContext | None] = ContextVar("arriero_run", default=None)


@contextmanager
def recorded(
    flow: str, parameters: BaseModel, *, model_size: str | None = None
) -> Iterator[RunContext]:
    """Record this flow run in the registry, as a child of the flow that called it.

    Its attempts are charged with the ``emissions`` of its parameters; a form without them takes
    those of the flow above, else the paper's.
    The outermost session also runs the node meter's settlement and drains the outbox to MLflow:
    a number is in the registry first, its projection follows.
    """
    from tasks import tracking

    place = open_workplace()
    parent = _current.get()
    flow_run = FlowRunContext.get()
    home = place.settings.home
    settle_lost(place)
    # The file before the row: a row without one would be taken for a lost run by another flow.
    run_id = str(uuid.uuid4())
    liveness.begin(home, run_id)
    runs.start_run(
        place.registry,
        run_id=run_id,
        flow=flow,
        parent_id=parent.run_id if parent else None,
        parameters=parameters.model_dump(mode="json"),
        git_commit=git_commit(),
        prefect_flow_run_id=str(flow_run.flow_run.id) if flow_run and flow_run.flow_run else None,
    )
    above = parent.emissions if parent else PAPER_FACTORS
    run = RunContext(
        run_id=run_id,
        flow=flow,
        model_size=model_size or (parent.model_size if parent else None),
        emissions=getattr(parameters, "emissions", above),
    )
    token = _current.set(run)
    outer = parent is None
    status, error = "failed", None
    try:
        if outer:
            _start_meter(place, run.emissions)
            tracking.install(place, run)
        with _kept_meter(place, run.emissions) if outer else nullcontext():
            yield run
        status = "completed"
    except BaseException as failure:
        status = "failed" if isinstance(failure, Exception) else "cancelled"
        error = f"{type(failure).__name__}: {failure}"
        raise
    finally:
        _current.reset(token)
        # Before the end of the run: killed in between, the run is found lost and still told.
        with place.registry.session() as session:
            outbox.enqueue(
                session,
                topic="flow",
                dedupe_key=f"flow:{run_id}:{status}",
                payload={
                    "run_id": run_id,
                    "parent_id": parent.run_id if parent else None,
                    "flow": flow,
                    "status": status,
                },
            )
        runs.finish_run(place.registry, run_id, status, error=error)
        liveness.end(home, run_id)
        if outer:
            _afterwards(place, run.emissions)


def _afterwards(place: Workplace, emissions: EmissionsParameters) -> None:
    """Settle the ledger and tell MLflow; neither may fail a flow or hide its error."""
    from tasks import tracking

    for what, act in (
        ("the emissions ledger", lambda: settle_emissions(place, emissions)),
        ("the delivery to MLflow", lambda: tracking.deliver(place)),
    ):
        try:
            act()
        except Exception as failure:
            # Recorded, and done again at the end of the next flow: both are idempotent.
            log.exception("%s failed and is done again later", what)
            runs.record_event(
                place.registry,
                "afterwards-failed",
                {"what": what, "error": f"{type(failure).__name__}: {failure}"},
            )


def settle_lost(place: Workplace) -> list[str]:
    """Record runs whose process was killed as lost, and tell MLflow, where they would run on."""
    home = place.settings.home
    lost = runs.mark_lost(
        place.registry,
        is_alive=lambda run: liveness.is_alive(home, run),
        message=lambda run: _loss(place, run),
    )
    for run_id in lost:
        liveness.end(home, run_id)
    return lost


def _loss(place: Workplace, run: Run) -> outbox.Message:
    """What MLflow is told of a lost run."""
    topic = "flow" if run.stage is None else "stage"
    made = place.store.lookup(run.recipe) if run.recipe else None
    if made is not None and place.store.manifest(made).run_id != run.id:
        made = None  # another attempt published it, and told of it
    payload = {
        "run_id": run.id,
        "parent_id": run.parent_id,
        "flow": run.flow,
        "stage": run.stage,
        "status": "lost",
        "artifact": made.model_dump(mode="json") if made else None,
    }
    return outbox.Message(topic, f"{topic}:{run.id}:lost", payload)


def settle_emissions(place: Workplace, emissions: EmissionsParameters) -> None:
    """Turn meter records and stage marks into ledger rows (idempotent)."""
    from tasks.emissions.settle import settle

    settle(place.settings.home, place.registry, emissions)


def _start_meter(place: Workplace, emissions: EmissionsParameters) -> None:
    from tasks.emissions.meter import ensure_meter

    info = ensure_meter(place.settings.home, emissions.measure_interval_s, _meter_supervisor())
    if info.status == "unmetered" and FlowRunContext.get():
        get_run_logger().warning(
            "energy is not metered (%s): the ledger accrues it at the TDP bound", info.reason
        )


def _kept_meter(place: Workplace, emissions: EmissionsParameters) -> AbstractContextManager[None]:
    from tasks.emissions.watch import kept_alive

    return kept_alive(place.settings.home, emissions.measure_interval_s, _meter_supervisor())


def _meter_supervisor() -> int | None:
    """Under `arriero up` the stack ends the meter; elsewhere it ends with this process."""
    return None if os.environ.get("ARRIERO_STACK") else os.getpid()
