"""An executor that hands shards to runs of the deployment ``shards``, one for each shard group.

The groups' jobs and results are files in the work folder of the recipe, which all machines of the
work pool must share, as they share the store. Paths in them are relative to the store, and to the
data folder where that is this machine's ``ARRIERO_DATA``: each machine has its own. What a run did
before it failed or was cancelled stays done.
"""

from __future__ import annotations

import json
import logging
import threading
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tasks.context import atomic_write_json
from tasks.corpus.execute import Job, LocalExecutor
from tasks.corpus.remote import is_url
from tasks.corpus.same_code import code_identity, require_same_code
from tasks.corpus.shard_runs import beat_file, run_groups

BEAT_S = 15.0
STEP = "step.json"
_STORE = "{store}"
_DATA = "{data}"
_log = logging.getLogger("arriero")


@dataclass(frozen=True)
class PrefectExecutor:
    """Fans a step out over ``groups`` runs of the deployment ``shards``.

    store: the store's root, known to every machine as its own. folder: for jobs and results, in the
    store. form: parameters of the runs, beside folder and group. local: does what is one job alone.
    data: this machine's ``ARRIERO_DATA``. silent_seconds: longest time without a sign of life of a
    run that works; one whose machine is gone is given up then. pending_seconds: longest time
    in which a run that a worker took waits for its machine.
    """

    store: Path
    folder: Path
    groups: int
    form: dict[str, Any]
    local: LocalExecutor
    data: Path | None = None
    silent_seconds: float = 600.0
    pending_seconds: float = 24 * 3600.0

    def run(self, jobs: Iterable[Job]) -> Iterator[Any]:
        """All jobs are drawn at once; the results come when every group is done."""
        drawn = list(jobs)
        if len(drawn) < 2:  # starting a run takes seconds
            yield from self.local.run(drawn)
            return
        place = self.folder / f"fan-out-{uuid.uuid4().hex[:12]}"
        place.mkdir(parents=True)
        atomic_write_json(place / STEP, {"code": dict(code_identity())})
        groups = min(self.groups, len(drawn))
        for group in range(groups):
            rows = [
                {"number": number, **job_row(drawn[number], self.store, self.data)}
                for number in range(group, len(drawn), groups)
            ]
            atomic_write_json(place / f"jobs-{group}.json", rows)
        folder = place.relative_to(self.store).as_posix()
        run_groups(self.form, place, folder, groups, self.silent_seconds, self.pending_seconds)
        for number in range(len(drawn)):
            yield json.loads((place / f"result-{number}.json").read_text("utf-8"))


def run_group(
    store: Path, folder: str, group: int, executor: LocalExecutor, data: Path | None = None
) -> int:
    """The jobs of one group, their results to files; returns how many. Runs in a ``shards`` run.

    Args:
        folder: of the fan-out, relative to ``store``. data: this machine's ``ARRIERO_DATA``.

    Raises:
        ValueError: the folder leaves the store, or holds no such group; this machine has other
            code, or not the data.
    """
    place = (store / folder).resolve()
    path = place / f"jobs-{group}.json"
    if not place.is_relative_to(store.resolve()) or not path.is_file():
        raise ValueError(
            f"{folder!r} holds no shard group {group}: this deployment is started by"
            " `preparation` with the executor `prefect`, and needs its store"
        )
    require_same_code(json.loads((place / STEP).read_text("utf-8"))["code"])
    rows = json.loads(path.read_text("utf-8"))
    open_rows = [row for row in rows if not (place / f"result-{row['number']}.json").is_file()]
    jobs = [row_job(row, store, data) for row in open_rows]
    for job in jobs:
        _require_data(job)
    own = replace(executor, scratch=executor.scratch or place.parent / "scratch")
    with _beating(beat_file(place, group)):
        for row, result in zip(open_rows, own.run(jobs), strict=True):
            atomic_write_json(place / f"result-{row['number']}.json", result)
            _log.info("%s: job %d done", folder, row["number"])
    return len(rows)


@contextmanager
def _beating(path: Path) -> Iterator[None]:
    """Touch ``path`` again and again meanwhile: whoever waits sees that this machine is there."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(BEAT_S):
            with suppress(OSError):  # a store that is away for a moment; for longer, who waits sees
                path.touch()

    path.touch()
    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _require_data(job: Job) -> None:
    for name in ("root", "bench"):
        folder = job.arguments.get(name)
        if isinstance(folder, str) and not is_url(folder) and not Path(folder).is_dir():
            raise ValueError(
                f"this machine has no folder {folder}, which {job.function} reads. Mount the dumps"
                " there; or set ARRIERO_DATA on every machine, the one that starts `preparation`"
                " too, to where it has them, and leave the form's data folder empty."
            )


def job_row(job: Job, store: Path, data: Path | None = None) -> dict[str, Any]:
    """A job as JSON, with the store's root and the data folder left out."""
    moved: Any = [job.arguments, str(job.skips) if job.skips else ""]
    moved = _moved(moved, str(store), _STORE)
    if data is not None:
        moved = _moved(moved, str(data), _DATA)
    return {
        "function": job.function,
        "arguments": moved[0],
        "skips": moved[1],
        "bounded": job.bounded,
    }


def row_job(row: dict[str, Any], store: Path, data: Path | None = None) -> Job:
    """The job of :func:`job_row`, on this machine.

    Raises:
        ValueError: it reads the data folder, and this machine has none.
    """
    moved: Any = [row["arguments"], row["skips"]]
    if data is None:
        if _moved(moved, _DATA, "") != moved:
            raise ValueError(
                "ARRIERO_DATA is not set on this machine: the one that started the step reads its"
                " dumps from there. Set it for this machine's worker to where it has them."
            )
    else:
        moved = _moved(moved, _DATA, str(data))
    arguments, skips = _moved(moved, _STORE, str(store))
    return Job(row["function"], arguments, Path(skips) if skips else None, row["bounded"])


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
