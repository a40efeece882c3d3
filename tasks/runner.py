"""One way for every stage to run: look the recipe up, build, publish, record, meter.

A stage's plain code knows none of this; it gets a :class:`~tasks.context.StageContext` and
returns a :class:`~tasks.context.StageResult`. A stage whose artifact exists is not run again: the
task ends in the Prefect state *Cached* (DESIGN section 3).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from prefect.exceptions import MissingContextError
from prefect.logging import get_run_logger
from prefect.states import Completed, State
from pydantic import BaseModel

from registry import runs
from registry.artifacts import ArtifactRef
from tasks.attempt import (
    Attempt,
    CorruptInput,
    MetricsSink,
    Preempted,
    open_metrics_sink,
    task_run_id,
)
from tasks.context import StageContext, StageResult, recipe_parameters
from tasks.locks import exclusive
from tasks.workplace import RunContext, Stage, Workplace, key_of, open_workplace

__all__ = [
    "CorruptInput",
    "MetricsSink",
    "Preempted",
    "RunContext",
    "Stage",
    "Workplace",
    "key_of",
    "open_metrics_sink",
    "open_workplace",
    "run_stage",
    "settled",
]


def settled(value: Any) -> Any:
    """Result of a task call: Prefect hands back the state itself when a task returned one."""
    return value.result() if isinstance(value, State) else value


def run_stage(
    stage: Stage,
    parameters: BaseModel,
    inputs: Mapping[str, ArtifactRef],
    run: RunContext,
    build: Callable[[dict[str, Path], StageContext], StageResult],
    *,
    sample: bool = False,
    extra_recipe: Mapping[str, Any] | None = None,
    raw_root: Path | str | None = None,
) -> ArtifactRef | State:
    """Return the artifact of this recipe, building it only when it is not there.

    Args:
        inputs: artifacts by role; their *digests* enter the recipe.
        build: ``build(paths of the inputs, context)``; writes into ``context.out``.
        sample: marks an artifact made from the generated sample (inherited by descendants).
        extra_recipe: facts beside the parameters that decide the result (a listing's hash).
        raw_root: data folder that the listings of the raw inputs are relative to. The store holds
            their listings only, so the files themselves are checked before and after the build;
            those under a URL by who fetches them.

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
        attempt = Attempt(
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
        prefect_task_run_id=task_run_id(),
    )
    runs.finish_run(place.registry, record_id, "cached", artifact_key=hit.key)


def _logger() -> logging.Logger:
    try:
        logger = get_run_logger()
    except MissingContextError:
        return logging.getLogger("arriero")
    return logger.logger if isinstance(logger, logging.LoggerAdapter) else logger
