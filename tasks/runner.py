"""One way for every stage to run: look the recipe up, build, publish, record, meter.

A stage's plain code knows none of this; it gets a :class:`~tasks.context.StageContext` and
returns a :class:`~tasks.context.StageResult`. A stage whose artifact exists is not run again: the
task ends in the Prefect state *Cached* (DESIGN section 3).
"""

from __future__ import annotations

import logging
import os
import time
import uuid
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any, Protocol

from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.context import TaskRunContext
from prefect.exceptions import MissingContextError
from prefect.logging import get_run_logger
from prefect.states import Completed, State
from pydantic import BaseModel, ConfigDict

from registry import outbox, runs
from registry.artifacts import ArtifactRef, Kind, Store, recipe_key
from registry.database import Registry, open_registry
from registry.files import out_of_space
from registry.fingerprints import (
    FINGERPRINTS,
    Stamp,
    read_listing,
    require_unchanged,
    stamp_files,
)
from registry.settings import Settings, load_settings
from tasks import liveness
from tasks.context import StageContext, StageResult, recipe_parameters
from tasks.emissions import marks
from tasks.emissions.parameters import PAPER_FACTORS, EmissionsParameters
from tasks.environment import environment_facts, git_commit
from tasks.locks import exclusive


class Preempted(RuntimeError):
    """The stage was told to stop, wrote a checkpoint and can be continued by a retry."""


class CorruptInput(RuntimeError):
    """An input artifact does not hash to what its manifest says; names the files."""


class RunContext(BaseModel):
    """Which recorded flow run a task belongs to. Small and JSON, so it is a task parameter."""

    model_config = ConfigDict(frozen=True)

    run_id: str
    flow: str
    purpose: str = "final"
    model_size: str | None = None
    emissions: EmissionsParameters = PAPER_FACTORS


@dataclass(frozen=True)
class Stage:
    """Identity of a stage's code: part of every recipe key it makes.

    version: integer, raised whenever the stage's output for the same input changes.
    libraries: distributions whose version decides the output.
    """

    name: str
    version: int
    kind: Kind
    libraries: tuple[str, ...] = ()

    def library_versions(self) -> dict[str, str]:
        """Installed versions, local build tags (``+cpu``) kept: they change numerics."""
        return {name: installed_version(name) for name in self.libraries}


@dataclass(frozen=True)
class Workplace:
    """The registry and the store of this process's settings."""

    settings: Settings
    registry: Registry
    store: Store


def open_workplace(settings: Settings | None = None) -> Workplace:
    """Open the registry (checking its revision) and the store."""
    settings = settings or load_settings()
    registry = open_registry(settings)
    return Workplace(settings, registry, Store(settings.store, registry))


def settled(value: Any) -> Any:
    """Result of a task call: Prefect hands back the state itself when a task returned one."""
    return value.result() if isinstance(value, State) else value


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


def key_of(
    stage: Stage,
    parameters: BaseModel,
    inputs: Mapping[str, ArtifactRef],
    extra_recipe: Mapping[str, Any] | None = None,
) -> str:
    """Key of the recipe that ``run_stage`` looks up."""
    recipe = {**recipe_parameters(parameters), **(extra_recipe or {})}
    digests = {name: ref.digest for name, ref in inputs.items()}
    return recipe_key(stage.name, stage.version, stage.library_versions(), recipe, digests)


def run_stage(
    stage: Stage,
    parameters: BaseModel,
    inputs: Mapping[str, ArtifactRef],
    run: RunContext,
    build: Callable[[dict[str, Path], StageContext], StageResult],
    *,
    sample: bool = False,
    extra_recipe: Mapping[str, Any] | None = None,
    raw_root: Path | None = None,
) -> ArtifactRef | State:
    """Return the artifact of this recipe, building it only when it is not there.

    Args:
        inputs: artifacts by role; their *digests* enter the recipe.
        build: ``build(paths of the inputs, context)``; writes into ``context.out``.
        sample: marks an artifact made from the generated sample (inherited by descendants).
        extra_recipe: facts beside the parameters that decide the result (a listing's hash).
        raw_root: data folder that the listings of the raw inputs are relative to. The store holds
            their listings only, so the files themselves are checked before and after the build.

    Raises:
        RawFilesChanged: a raw file was written after it was listed; nothing is published.
        CorruptInput: an input's file differs from its manifest; the input is quarantined, so the
            next run makes it again.
    """
    place = open_workplace()
    log = _logger()
    recipe = {**recipe_parameters(parameters), **(extra_recipe or {})}
    libraries = stage.library_versions()
    key = key_of(stage, parameters, inputs, extra_recipe)
    # Two flows that want the same artifact: the second waits and finds it.
    lock = place.store.root / "work" / f"{key}.lock"
    with exclusive(lock, what=stage.name, log=log):
        hit = _intact(place, stage, key, log)
        if hit is not None:
            _record_cached(place, stage, parameters, run, key, hit)
            return Completed(name="Cached", data=hit, message=f"{stage.name} {hit.digest[:12]}")
        attempt = _Attempt(
            place, stage, parameters, dict(inputs), run, key, recipe, libraries, raw_root
        )
        made = attempt.make(build, sample, log)
        place.store.remove_work(key)
        return made


def _intact(place: Workplace, stage: Stage, key: str, log: logging.Logger) -> ArtifactRef | None:
    """The stored artifact, when its files still hash to its manifest."""
    hit = place.store.lookup(key)
    if hit is None:
        return None
    problems = place.store.verify(hit)
    if not problems:
        return hit
    log.warning("%s: stored artifact is damaged, made again: %s", stage.name, problems)
    place.store.quarantine(hit, "; ".join(problems))
    return None


@dataclass(frozen=True)
class _Attempt:
    """One try at building an artifact, from the record of its start to that of its end."""

    place: Workplace
    stage: Stage
    parameters: BaseModel
    inputs: dict[str, ArtifactRef]
    run: RunContext
    key: str
    recipe: dict[str, Any]
    libraries: dict[str, str]
    raw_root: Path | None

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
            progress = _Progress(stage.name, log)
            context = StageContext(
                out=staging,
                work=place.store.work_dir(self.key),
                progress=progress,
                events=lambda told: runs.record_events_once(place.registry, record_id, told),
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
            if ref is None and staging is not None:
                place.store.discard(staging)
            self._end(record_id, status, error, ref, log)

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
            prefect_task_run_id=_task_run(),
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


def _record_cached(
    place: Workplace,
    stage: Stage,
    parameters: BaseModel,
    run: RunContext,
    key: str,
    hit: ArtifactRef,
) -> None:
    record_id = runs.start_run(
        place.registry,
        flow=run.flow,
        stage=stage.name,
        parent_id=run.run_id,
        recipe=key,
        parameters=parameters.model_dump(mode="json"),
        prefect_task_run_id=_task_run(),
    )
    runs.finish_run(place.registry, record_id, "cached", artifact_key=hit.key)


def _status_of(failure: BaseException) -> str:
    if isinstance(failure, Preempted):
        return "preempted"
    # Prefect cancels with TerminationSignal, a user with Ctrl-C: both are no Exception.
    return "failed" if isinstance(failure, Exception) else "cancelled"


def _task_run() -> str | None:
    context = TaskRunContext.get()
    return None if context is None else str(context.task_run.id)


def _logger() -> logging.Logger:
    try:
        logger = get_run_logger()
    except MissingContextError:
        return logging.getLogger("arriero")
    return logger.logger if isinstance(logger, logging.LoggerAdapter) else logger


class _Progress:
    """Prefect progress artifact, made on the first call, updated at most every second."""

    def __init__(self, name: str, log: logging.Logger) -> None:
        self._name, self._log = name, log
        self._artifact: uuid.UUID | None = None
        self._last = 0.0
        self._last_logged = 0.0
        self._enabled = TaskRunContext.get() is not None

    def __call__(self, fraction: float, line: str) -> None:
        now = time.monotonic()
        percent = round(100 * min(1.0, max(0.0, fraction)), 1)
        if fraction < 1 and now - self._last < 1.0:
            return
        self._last = now
        if now - self._last_logged >= 5 or fraction >= 1:
            self._last_logged = now
            self._log.info("%s %5.1f %% %s", self._name, percent, line)
        if not self._enabled:
            return
        if self._artifact is None:
            key = self._name.replace(".", "-").replace("_", "-")
            self._artifact = create_progress_artifact(  # type: ignore[assignment]
                progress=percent, key=key, description=line
            )
        elif self._artifact is not None:
            update_progress_artifact(artifact_id=self._artifact, progress=percent, description=line)
