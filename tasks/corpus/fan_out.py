"""An executor that hands shards to runs of the deployment ``shards``, one for each shard group.

The groups' jobs and results are files in the work folder of the recipe, which all machines of the
work pool must share, as they share the store. Paths in them are relative to the store and to the
data folder. What a run did before it failed or was cancelled stays done.
"""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.deployments import run_deployment
from prefect.states import Cancelling

from tasks.context import atomic_write_json
from tasks.corpus.execute import Job, LocalExecutor

DEPLOYMENT = "shards/shards"
POLL_S = 2.0
_STORE = "{store}"
_log = logging.getLogger("arriero")


class ShardGroupFailed(RuntimeError):
    """A run of the deployment ``shards`` did not complete; names it and its state."""


@dataclass(frozen=True)
class PrefectExecutor:
    """Fans a step out over ``groups`` runs of the deployment ``shards``.

    store: the store's root, known to every machine as its own. folder: for jobs and results, in the
    store. form: parameters of the runs, beside folder and group. local: does what is one job alone.
    """

    store: Path
    folder: Path
    groups: int
    form: dict[str, Any]
    local: LocalExecutor

    def run(self, jobs: Iterable[Job]) -> Iterator[Any]:
        """All jobs are drawn at once; the results come when every group is done."""
        drawn = list(jobs)
        if len(drawn) < 2:  # starting a run takes seconds
            yield from self.local.run(drawn)
            return
        place = self.folder / f"fan-out-{uuid.uuid4().hex[:12]}"
        place.mkdir(parents=True)
        groups = min(self.groups, len(drawn))
        for group in range(groups):
            rows = [
                {"number": number, **job_row(drawn[number], self.store)}
                for number in range(group, len(drawn), groups)
            ]
            atomic_write_json(place / f"jobs-{group}.json", rows)
        self._run_groups(place.relative_to(self.store).as_posix(), groups)
        for number in range(len(drawn)):
            yield json.loads((place / f"result-{number}.json").read_text("utf-8"))

    def _run_groups(self, folder: str, groups: int) -> None:
        waiting: dict[uuid.UUID, FlowRun] = {}
        try:
            for group in range(groups):
                made = run_deployment(
                    DEPLOYMENT,
                    parameters={"parameters": self.form | {"folder": folder, "group": group}},
                    timeout=0,
                    flow_run_name=f"{Path(folder).name} {group + 1} of {groups}",
                )
                assert isinstance(made, FlowRun)
                waiting[made.id] = made
            _wait(waiting)
        except BaseException:
            _cancel(waiting)
            raise


def _wait(waiting: dict[uuid.UUID, FlowRun]) -> None:
    """Until all have completed; raises at the first that ends otherwise."""
    with get_client(sync_client=True) as client:
        while waiting:
            for identity in list(waiting):
                run = client.read_flow_run(identity)
                state = run.state
                if state is None or not state.is_final():
                    continue
                del waiting[identity]
                if not state.is_completed():
                    raise ShardGroupFailed(
                        f"the run {run.name!r} of the deployment {DEPLOYMENT} ended as"
                        f" {state.name}: {state.message or 'see its log'}. The shards it had"
                        " finished stay; start the flow again to go on with the others."
                    )
            if waiting:
                time.sleep(POLL_S)


def _cancel(waiting: dict[uuid.UUID, FlowRun]) -> None:
    with get_client(sync_client=True) as client:
        for identity in waiting:
            client.set_flow_run_state(identity, Cancelling(), force=True)


def run_group(store: Path, folder: str, group: int, executor: LocalExecutor) -> int:
    """The jobs of one group, their results to files; returns how many. Runs in a ``shards`` run.

    Args:
        folder: of the fan-out, relative to ``store``.

    Raises:
        ValueError: the folder leaves the store, or holds no such group.
    """
    place = (store / folder).resolve()
    path = place / f"jobs-{group}.json"
    if not place.is_relative_to(store.resolve()) or not path.is_file():
        raise ValueError(
            f"{folder!r} holds no shard group {group}: this deployment is started by"
            " `preparation` with the executor `prefect`, and needs its store"
        )
    rows = json.loads(path.read_text("utf-8"))
    open_rows = [row for row in rows if not (place / f"result-{row['number']}.json").is_file()]
    results = executor.run([row_job(row, store) for row in open_rows])
    for row, result in zip(open_rows, results, strict=True):
        atomic_write_json(place / f"result-{row['number']}.json", result)
        _log.info("%s: job %d done", folder, row["number"])
    return len(rows)


def job_row(job: Job, store: Path) -> dict[str, Any]:
    """A job as JSON, with the store's root left out."""
    skips = str(job.skips) if job.skips else ""
    moved = _moved([job.arguments, skips], str(store), _STORE)
    return {"function": job.function, "arguments": moved[0], "skips": moved[1]}


def row_job(row: dict[str, Any], store: Path) -> Job:
    """The job of :func:`job_row`, on this machine."""
    arguments, skips = _moved([row["arguments"], row["skips"]], _STORE, str(store))
    return Job(row["function"], arguments, Path(skips) if skips else None)


def _moved(value: Any, old: str, new: str) -> Any:
    """A JSON value whose strings that begin with the path ``old`` begin with ``new``."""
    if isinstance(value, str):
        inside = value == old or value.startswith(old + "/")
        return new + value[len(old) :] if inside else value
    if isinstance(value, dict):
        return {key: _moved(item, old, new) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [_moved(item, old, new) for item in value]
    return value
