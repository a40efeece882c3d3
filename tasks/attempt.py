"""One try at building an artifact, from the record of its start to that of its end."""

from __future__ import annotations

import logging
import os
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from prefect.context import TaskRunContext
from pydantic import BaseModel
from sqlalchemy.exc import SQLAlchemyError

from registry import outbox, runs
from registry.artifacts import ArtifactRef, Kind
from registry.database import Registry, RegistryError
from registry.files import out_of_space
from registry.fingerprints import (
    FINGERPRINTS,
    Stamp,
    read_listing,
    require_unchanged,
    stamp_files,
)
from tasks import liveness
from tasks.context import StageContext, StageResult
from tasks.emissions import marks
from tasks.environment import environment_facts, git_commit
from tasks.progress import TaskProgress
from tasks.workplace import RunContext, Stage, Workplace

EVENT_PAUSE_S = 60.0  # after the registry took no event


class Preempted(RuntimeError):
    """The stage was told to stop, wrote a checkpoint and can be continued by a retry."""


class CorruptInput(RuntimeError):
    """An input artifact does not hash to what its manifest says; names the files."""


class MetricsSink(Protocol):
    """Where a running stage's metrics go; must never block and never raise."""

    def __call__(self, values: Mapping[str, float], step: int) -> None:
        """Take one step's values."""

    def close(self) -> None:
        """Deliver what is left, within seconds."""


# Set by tasks.tracking when a tracker is there; a stage without one loses nothing but the live
# curve: its metrics.jsonl is delivered with the artifact.
open_metrics_sink: ContextVar[Callable[[str], MetricsSink] | None] = ContextVar(
    "open_metrics_sink", default=None
)


class EventSink:
    """Events of a running stage; what the registry does not take now is offered again.

    A database that restarts must not end hours of training, nor hold up who watches it: after a
    failure there is a pause. Raises nothing that the database could cause.
    """

    def __init__(
        self,
        registry: Registry,
        record_id: str,
        log: logging.Logger,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._registry, self._record_id, self._log, self._clock = registry, record_id, log, clock
        self._waiting: list[tuple[str, Mapping[str, Any]]] = []
        self._not_before = float("-inf")

    def __call__(self, told: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
        """Record events, each once (`registry.runs.record_events_once`)."""
        self._waiting += told
        if self._clock() >= self._not_before:
            self.flush()

    def flush(self) -> None:
        """Offer what waits."""
        if not self._waiting:
            return
        try:
            runs.record_events_once(self._registry, self._record_id, self._waiting)
        except (RegistryError, SQLAlchemyError) as failure:
            self._not_before = self._clock() + EVENT_PAUSE_S
            self._log.warning("%d events are not recorded yet: %s", len(self._waiting), failure)
        else:
            self._waiting = []


@dataclass(frozen=True)
class Attempt:
    """One try at building an artifact, from the record of its start to that of its end."""

    place: Workplace
    stage: Stage
    parameters: BaseModel
    inputs: dict[str, ArtifactRef]
    run: RunContext
    key: str
    recipe: dict[str, Any]
    libraries: dict[str, str]
    raw_root: Path | str | None

    def make(
        self,
        build: Callable[[dict[str, Path], StageContext], StageResult],
        sample: bool,
        log: logging.Logger,
    ) -> ArtifactRef:
        """Verify the inputs, build, publish, record; what fails is recorded and raised."""
        place, stage = self.place, self.stage
        paths = self._verified_inputs()
        record_id, attempt = self._begin()
        staging: Path | None = None
        started = time.monotonic()
        opener = open_metrics_sink.get()
        metrics = opener(record_id) if opener else None
        events = EventSink(place.registry, record_id, log)
        status, error = "failed", None
        ref: ArtifactRef | None = None
        try:
            marks.begin(
                place.settings.home,
                entry_id=record_id,
                run_id=record_id,
                stage=stage.name,
                attempt=attempt,
                purpose=self.run.purpose,
                model_size=self.run.model_size,
                pid=os.getpid(),
                parameters=self.run.emissions,
            )
            staging = place.store.new_staging()
            progress = TaskProgress(stage.name, log)
            context = StageContext(
                out=staging,
                work=place.store.work_dir(self.key),
                progress=progress,
                events=events,
                log=log,
                attempt=attempt,
                **({"metrics": metrics} if metrics else {}),
            )
            stamps = self._raw_stamps(paths)
            try:
                result = build(paths, context)
            except Exception:
                require_unchanged(stamps)  # what a reader stumbles over then is not the cause
                raise
            require_unchanged(stamps)
            ref = self._publish(staging, result, sample, record_id)
            status = "completed"
            progress(1.0, "published")
            log.info("%s: %s in %.1f s", stage.name, ref.digest[:12], time.monotonic() - started)
            return ref
        except BaseException as failure:
            # Libraries hide a full disk in errors of their own; a user needs the one message.
            full = out_of_space(failure, place.store.root)
            status = _status_of(failure)
            error = f"{type(full or failure).__name__}: {full or failure}"
            if full is not None:
                raise full from failure
            raise
        finally:
            if metrics is not None:
                metrics.close()
            events.flush()
            if ref is None and staging is not None:
                place.store.discard(staging)
            self._end(record_id, status, error, ref, log)
            events.flush()  # the registry answers again, or _end would have raised

    def _verified_inputs(self) -> dict[str, Path]:
        paths: dict[str, Path] = {}
        for name, given in self.inputs.items():
            problems = self.place.store.verify(given)
            if problems:
                self.place.store.quarantine(given, "; ".join(problems))
                raise CorruptInput(
                    f"input {name!r} of {self.stage.name} is damaged: {'; '.join(problems)}. It"
                    " was moved aside; start the flow again and its stage makes it anew."
                )
            paths[name] = self.place.store.path(given)
        return paths

    def _raw_stamps(self, paths: Mapping[str, Path]) -> list[Stamp]:
        """Stamps of the files that the raw inputs list, each file known to be the one listed."""
        listings = [
            paths[name] / FINGERPRINTS
            for name, given in self.inputs.items()
            if given.kind is Kind.RAW
        ]
        if not listings:
            return []
        if self.raw_root is None:
            raise ValueError(f"{self.stage.name} has raw inputs: run_stage needs their raw_root")
        if isinstance(self.raw_root, str):
            return []  # a URL: what is fetched is compared with the listing as it comes
        files = [file for listing in listings for file in read_listing(listing)]
        return stamp_files(self.raw_root, files, self.place.registry)

    def _begin(self) -> tuple[str, int]:
        # The file before the row: a row without one would be taken for another installation's.
        record_id = str(uuid.uuid4())
        liveness.begin(self.place.settings.home, record_id)
        runs.start_run(
            self.place.registry,
            run_id=record_id,
            flow=self.run.flow,
            stage=self.stage.name,
            parent_id=self.run.run_id,
            recipe=self.key,
            parameters=self.parameters.model_dump(mode="json"),
            git_commit=git_commit(),
            prefect_task_run_id=task_run_id(),
        )
        return record_id, runs.get_run(self.place.registry, record_id).attempt

    def _publish(
        self, staging: Path, result: StageResult, sample: bool, record_id: str
    ) -> ArtifactRef:
        return self.place.store.publish(
            staging,
            key=self.key,
            kind=self.stage.kind,
            stage=self.stage.name,
            stage_version=self.stage.version,
            parameters=self.recipe,
            inputs=self.inputs,
            libraries=self.libraries,
            counts=result.counts,
            seeds=result.seeds,
            notes=result.notes,
            reproducibility=result.reproducibility,
            environment=environment_facts(),
            sample=sample,
            run_id=record_id,
        )

    def _end(
        self,
        record_id: str,
        status: str,
        error: str | None,
        ref: ArtifactRef | None,
        log: logging.Logger,
    ) -> None:
        """Record the end, whatever the disk says to the meter's mark."""
        home = self.place.settings.home
        try:
            marks.end(home, entry_id=record_id, status=status)
        except OSError as failure:
            log.warning("the meter's mark of %s was not written: %s", self.stage.name, failure)
        # Before the end of the run: killed in between, the run is found lost and still told.
        with self.place.registry.session() as session:
            outbox.enqueue(
                session,
                topic="stage",
                dedupe_key=f"stage:{record_id}",
                payload={
                    "run_id": record_id,
                    "parent_id": self.run.run_id,
                    "stage": self.stage.name,
                    "status": status,
                    "artifact": ref.model_dump(mode="json") if ref else None,
                },
            )
        runs.finish_run(
            self.place.registry,
            record_id,
            status,
            error=error,
            artifact_key=ref.key if ref else None,
        )
        liveness.end(home, record_id)


def _status_of(failure: BaseException) -> str:
    if isinstance(failure, Preempted):
        return "preempted"
    # Prefect cancels with TerminationSignal, a user with Ctrl-C: both are no Exception.
    return "failed" if isinstance(failure, Exception) else "cancelled"


def task_run_id() -> str | None:
    """The Prefect task run that this code runs in; None outside of one."""
    context = TaskRunContext.get()
    return None if context is None else str(context.task_run.id)
