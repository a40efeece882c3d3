"""Runs a step over shards: an executor takes jobs in order and gives their results in order.

A job is a plain function over one shard, named so that any machine can call it, and its JSON
arguments; what it makes goes to files, its result is small. The result of a step does not depend
on the executor. Local processes are supervised: see :mod:`tasks.corpus.guard`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Protocol

from tasks.corpus.crew_folder import crew_folder
from tasks.corpus.guard import (
    Beat,
    Guard,
    Place,
    add_skip,
    new_heartbeat,
    read_heartbeat,
    read_skips,
)
from tasks.corpus.worker import call
from tasks.corpus.worker_ends import FROM_OUTSIDE, WorkerFailed, named, raised

POLL_S = 0.25
# Results that wait for an earlier one: bounds what a slow shard can pile up behind it.
WINDOW = 4
# Records given up in one shard: with more the fault is hardly theirs.
MOST_GIVEN_UP = 50
_MOST_RETRIES = 3


@dataclass(frozen=True)
class Job:
    """``function`` is "module:name", called as ``name(guard, **arguments)``.

    skips: file of the records to pass; grows when one is given up. None: the job has no records.
    bounded: whether the bound on a worker's memory holds, which is for records: not for a job that
    holds what all shards say together.
    """

    function: str
    arguments: dict[str, Any]
    skips: Path | None = None
    bounded: bool = True


class Executor(Protocol):
    """Runs jobs; results come in the order of the jobs, which are drawn only as needed."""

    def run(self, jobs: Iterable[Job]) -> Iterator[Any]:
        """Results of ``jobs``; closing the iterator ends what is running."""


Given = Callable[[Place, str], None]


def _no_report(place: Place, reason: str) -> None:
    """Nobody asked which records were given up."""


class InlineExecutor:
    """Runs jobs in this process, unsupervised: for tests and for tiny inputs."""

    def run(self, jobs: Iterable[Job]) -> Iterator[Any]:
        for job in jobs:
            skips = read_skips(job.skips) if job.skips else {}
            yield call(job.function, Guard(None, skips), job.arguments)


@dataclass(frozen=True)
class LocalExecutor:
    """Runs jobs in processes of this machine, each record watched.

    record_seconds: longest time on one record. megabytes: memory of one worker's own data.
    given_up: told of each record that was given up, with the reason.
    scratch: folder for the workers' temporary files, large ones too; by default the system's.
    """

    workers: int = 1
    record_seconds: float = 120.0
    megabytes: int = 8192
    given_up: Given = _no_report
    scratch: Path | None = None
    crew: _Crew | None = None

    def run(self, jobs: Iterable[Job]) -> Iterator[Any]:
        if self.crew is not None:
            yield from self.crew.run(iter(jobs))
            return
        with self.kept() as own:
            yield from own.run(jobs)

    @contextmanager
    def kept(self) -> Iterator[LocalExecutor]:
        """This executor with processes that serve one `run` after another, until the end."""
        with crew_folder(self.scratch) as folder:
            crew = _Crew(self, folder)
            try:
                yield replace(self, crew=crew)
            finally:
                crew.end()


def kept(executor: Executor) -> AbstractContextManager[Executor]:
    """The executor for several steps: one that starts processes keeps them from step to step."""
    return executor.kept() if isinstance(executor, LocalExecutor) else nullcontext(executor)


@dataclass
class _Worker:
    """One process with the job it has in hand."""

    process: subprocess.Popen[bytes]
    connection: Connection
    life: int
    heartbeat: Path
    temporary: Path
    bounded: bool = True
    number: int = -1
    job: Job | None = None


@dataclass
class _Crew:
    """The processes of one run and the jobs between them."""

    limits: LocalExecutor
    folder: Path
    workers: list[_Worker] = field(default_factory=list)
    results: dict[int, Any] = field(default_factory=dict)
    started: int = 0
    strikes: dict[tuple[int, str, int], int] = field(default_factory=dict)

    def dismiss(self) -> None:
        """End what still works, for nobody waits for it."""
        for worker in [worker for worker in self.workers if worker.job is not None]:
            self._discard(worker)
        self.results.clear()
        self.strikes.clear()

    def run(self, jobs: Iterator[Job]) -> Iterator[Any]:
        """Results in order; a new job is drawn when a worker is free and the window is open."""
        try:
            yield from self._run(jobs)
        finally:
            self.dismiss()

    def _run(self, jobs: Iterator[Job]) -> Iterator[Any]:
        drawn, given, open_ = 0, 0, True
        while True:
            while (
                open_
                and drawn - given < self.limits.workers * WINDOW
                and self._busy() < (self.limits.workers)
            ):
                job = next(jobs, None)
                if job is None:
                    open_ = False
                    break
                self._give(drawn, job)
                drawn += 1
            while given in self.results:
                yield self.results.pop(given)
                given += 1
            if not open_ and given == drawn:
                return
            if self._busy():
                self._look()

    def end(self) -> None:
        """End every process."""
        for worker in list(self.workers):
            self._discard(worker)

    def _busy(self) -> int:
        return sum(worker.job is not None for worker in self.workers)

    def _give(self, number: int, job: Job) -> None:
        message = {
            "function": job.function,
            "arguments": job.arguments,
            "skips": str(job.skips) if job.skips else "",
        }
        data = json.dumps(message).encode()
        while True:
            # One without a bound does one job: what it has taken would be the next job's fault.
            free = (w for w in self.workers if w.job is None and job.bounded)
            worker = next(free, None)
            fresh = worker is None
            worker = worker or self._hire(job.bounded)
            try:
                worker.connection.send_bytes(data)
            except OSError:
                # One that ended while it had nothing to do is replaced.
                self._discard(worker)
                if fresh:
                    raise
                continue
            worker.number, worker.job = number, job
            return

    def _hire(self, bounded: bool) -> _Worker:
        self.started += 1
        heartbeat = new_heartbeat(self.folder / f"heartbeat-{self.started}")
        temporary = self.folder / f"temporary-{self.started}"
        temporary.mkdir()
        ours, theirs = Pipe()
        life_read, life_write = os.pipe()
        environment = os.environ | {
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "TMPDIR": str(temporary),  # who is killed removes nothing
        }
        with theirs:
            process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "tasks.corpus.worker",
                    str(theirs.fileno()),
                    str(life_read),
                    str(heartbeat),
                    str(self.limits.megabytes if bounded else 0),
                ],
                pass_fds=(theirs.fileno(), life_read),
                stdin=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,  # Ctrl-C is the supervisor's
            )
        os.close(life_read)
        worker = _Worker(process, ours, life_write, heartbeat, temporary, bounded)
        self.workers.append(worker)
        return worker

    def _look(self) -> None:
        """Wait a moment for answers; end workers that hang."""
        busy = {worker.connection: worker for worker in self.workers if worker.job is not None}
        for ready in wait(list(busy), timeout=POLL_S):
            assert isinstance(ready, Connection)
            worker = busy.pop(ready)
            try:
                answer = json.loads(ready.recv_bytes())
            except (EOFError, OSError):
                self._ended(worker)
                continue
            self._take(worker, answer)
        now = time.monotonic()
        for worker in busy.values():
            beat = read_heartbeat(worker.heartbeat)
            if beat.since and now - beat.since > self.limits.record_seconds:
                # With this beat: by now the worker may have another record in hand.
                self._gave_up(worker, f"took longer than {self.limits.record_seconds:g} s", beat)

    def _take(self, worker: _Worker, answer: dict[str, Any]) -> None:
        if answer.get("memory"):
            beat = read_heartbeat(worker.heartbeat)  # the worker waits: nothing moves
            bound = f"{self.limits.megabytes} MB of memory" if worker.bounded else "there is"
            self._gave_up(worker, f"needed more than {bound}", beat)
        elif "error" in answer:
            raise raised(answer)
        else:
            self.results[worker.number] = answer["result"]
            worker.job = None
            if not worker.bounded:
                self._discard(worker)

    def _ended(self, worker: _Worker) -> None:
        """A worker ended by itself: its record is blamed only when the same one ends two.

        Whoever runs out of memory or stops the machine kills workers, too.
        """
        try:
            status = worker.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            worker.process.kill()
            status = worker.process.wait()
        beat = read_heartbeat(worker.heartbeat)
        place = (worker.number, beat.file, beat.offset)
        self.strikes[place] = self.strikes.get(place, 0) + 1
        outside = status in FROM_OUTSIDE
        again = self.strikes[place] <= (_MOST_RETRIES if outside else 1)
        if beat.since and again:
            job, number = worker.job, worker.number
            assert job is not None
            self._discard(worker)
            self._give(number, job)
            return
        self._gave_up(worker, f"ended its reader ({named(status)})", beat)

    def _gave_up(self, worker: _Worker, reason: str, beat: Beat) -> None:
        """Have the worker's shard done again without the record of ``beat``, its last one."""
        job, number = worker.job, worker.number
        assert job is not None
        self._discard(worker)
        if not beat.since or job.skips is None:
            raise WorkerFailed(
                f"a worker of {job.function} {reason} while no record was in its hand"
                f" (last: {beat.file or 'none'}); its shard: {json.dumps(job.arguments)[:500]}"
            )
        if len(read_skips(job.skips)) >= MOST_GIVEN_UP:
            raise WorkerFailed(
                f"a worker of {job.function} {reason} at {beat.file}, record {beat.offset}, after"
                f" {MOST_GIVEN_UP} records of its shard were given up: this is no bad record. They"
                f" are listed in {job.skips.name} of the work folder; remove it to try them again."
            )
        place = (beat.file, beat.offset)
        add_skip(job.skips, place, reason)
        self.limits.given_up(place, reason)
        self._give(number, job)

    def _discard(self, worker: _Worker) -> None:
        self.workers.remove(worker)
        worker.process.kill()
        worker.process.wait()
        worker.connection.close()
        os.close(worker.life)
        shutil.rmtree(worker.temporary, ignore_errors=True)
