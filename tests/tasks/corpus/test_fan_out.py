"""Shard groups as runs of a deployment: jobs and results as files in the shared store."""

from __future__ import annotations

import json
import os
import time
import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prefect.client.schemas.objects import FlowRun, State
from prefect.states import Cancelled, Cancelling, Completed, Crashed, Pending, Running, Scheduled

from tasks.corpus import executors, fan_out, same_code, shard_runs
from tasks.corpus.execute import Job, LocalExecutor
from tasks.corpus.fan_out import PrefectExecutor, job_row, row_job, run_group
from tasks.corpus.parameters import CorpusParameters
from tasks.corpus.same_code import OtherCode, code_identity, require_same_code
from tasks.corpus.shard_runs import ShardGroupFailed
from tests.tasks.corpus.test_build import context


class Server:
    """A Prefect server whose worker runs each group at once, in this process.

    states: of groups that are not run, but are in this state. ends: after how many looks a run that
    is cancelled has ended. refuses: cannot cancel. data: of the worker's machine.
    """

    def __init__(self, store: Path, crash: int | None = None, data: Path | None = None) -> None:
        self.store, self.crash, self.data = store, crash, data
        self.runs: dict[uuid.UUID, FlowRun] = {}
        self.cancelled: list[uuid.UUID] = []
        self.states: dict[int, State[Any]] = {}
        self.looks = 0
        self.ends = 0
        self.refuses = False

    def run_deployment(self, deployment: str, parameters: dict[str, Any], **more: Any) -> FlowRun:
        assert deployment == "shards/shards" and more["timeout"] == 0
        form = parameters["parameters"]
        state: State[Any] = Completed()
        if form["group"] == self.crash:
            state = Crashed(message="the node is gone")
        elif form["group"] in self.states:
            state = self.states[form["group"]]
        else:
            run_group(self.store, form["folder"], form["group"], LocalExecutor(1), self.data)
        run = FlowRun(
            id=uuid.uuid4(), flow_id=uuid.uuid4(), name=more["flow_run_name"], state=state
        )
        self.runs[run.id] = run
        return run

    def get_client(self, sync_client: bool) -> Any:
        client = SimpleNamespace(read_flow_run=self.read, set_flow_run_state=self.set_state)
        return _Context(client)

    def read(self, identity: uuid.UUID) -> FlowRun:
        if identity in self.cancelled:
            self.looks += 1
            if self.looks > self.ends:
                self.runs[identity].state = Cancelled()
        return self.runs[identity]

    def state(self, identity: uuid.UUID) -> str | None:
        state = self.runs[identity].state
        return state.name if state else None

    def set_state(self, identity: uuid.UUID, state: State[Any], force: bool = False) -> None:
        if self.refuses:
            raise ConnectionError("the server is gone")
        run = self.runs[identity]
        if force:
            run.state = state
        elif not (run.state and run.state.is_final()):
            self.cancelled.append(identity)


class _Context:
    def __init__(self, client: Any) -> None:
        self.client = client

    def __enter__(self) -> Any:
        return self.client

    def __exit__(self, *error: object) -> None:
        return None


def install(monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
    monkeypatch.setattr(shard_runs, "run_deployment", server.run_deployment)
    monkeypatch.setattr(shard_runs, "get_client", server.get_client)
    monkeypatch.setattr(shard_runs, "POLL_S", 0.01)


def jobs(store: Path, count: int) -> list[Job]:
    crew = "tests.tasks.corpus.crew"
    return [
        Job(
            f"{crew}:note", {"path": str(store / f"work/key/{n}.txt")}, store / f"work/key/{n}.json"
        )
        for n in range(count)
    ]


def executor(store: Path, groups: int = 2) -> PrefectExecutor:
    return PrefectExecutor(store, store / "work/key", groups, {"workers": 1}, LocalExecutor(1))


def test_groups_share_the_jobs_and_results_come_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "work/key").mkdir(parents=True)
    server = Server(tmp_path)
    install(monkeypatch, server)
    wanted = [job.arguments["path"] for job in jobs(tmp_path, 7)]
    assert list(executor(tmp_path, 3).run(jobs(tmp_path, 7))) == wanted
    assert len(server.runs) == 3 and not server.cancelled
    assert next(run.name for run in server.runs.values()).endswith("1 of 3")
    assert list(executor(tmp_path).run([])) == []
    assert list(executor(tmp_path).run(jobs(tmp_path, 1))) == wanted[:1] and len(server.runs) == 3


def test_a_group_that_fails_is_named_and_the_others_are_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "work/key").mkdir(parents=True)
    server = Server(tmp_path, crash=0)
    server.states[2] = Running()
    server.ends = 5
    install(monkeypatch, server)
    with pytest.raises(
        ShardGroupFailed, match=r"'fan-out-.* 1 of 3'.*Crashed: the node is gone"
    ) as failed:
        list(executor(tmp_path, 3).run(jobs(tmp_path, 6)))
    # The one that works is cancelled and has ended; the one that had completed stays so.
    identities = list(server.runs)
    assert server.cancelled == [identities[2]] and server.looks == 6
    assert [server.state(name) for name in identities[1:]] == ["Completed", "Cancelled"]
    assert not getattr(failed.value, "__notes__", [])
    assert (tmp_path / "work/key/1.txt").is_file() and not (tmp_path / "work/key/0.txt").exists()


def test_trouble_with_cancelling_stands_beside_the_first_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "work/key").mkdir(parents=True)
    server = Server(tmp_path, crash=0)
    server.states = {1: Running(), 2: Running()}
    install(monkeypatch, server)
    server.refuses = True
    with pytest.raises(ShardGroupFailed, match="the node is gone") as failed:
        list(executor(tmp_path, 3).run(jobs(tmp_path, 6)))
    notes = failed.value.__notes__
    assert len(notes) == 2 and all("could not be cancelled: ConnectionError" in n for n in notes)
    # Nor is one waited for that does not end.
    server.refuses, server.ends = False, 10**9
    monkeypatch.setattr(shard_runs, "END_S", 0.05)
    with pytest.raises(ShardGroupFailed, match="the node is gone") as failed:
        list(executor(tmp_path, 3).run(jobs(tmp_path, 6)))
    assert len(failed.value.__notes__) == 2
    assert all("had not ended 0.05 s later" in note for note in failed.value.__notes__)


@pytest.mark.parametrize(
    ("begun", "silent", "pending"), [(Running(), 0.05, 60.0), (Pending(), 60.0, 0.05)]
)
def test_a_run_whose_machine_is_gone_is_not_waited_for(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    begun: State[Any],
    silent: float,
    pending: float,
) -> None:
    (tmp_path / "work/key").mkdir(parents=True)
    server = Server(tmp_path)
    server.states = {1: begun}
    install(monkeypatch, server)
    patient = PrefectExecutor(
        tmp_path,
        tmp_path / "work/key",
        2,
        {},
        LocalExecutor(1),
        silent_seconds=silent,
        pending_seconds=pending,
    )
    with pytest.raises(ShardGroupFailed, match=r"2 of 2'.*no sign of life for 0.05 s"):
        list(patient.run(jobs(tmp_path, 4)))
    run = server.runs[list(server.runs)[1]]
    assert run.state is not None and run.state.is_crashed()


def test_a_run_that_shows_itself_or_waits_for_a_worker_is_waited_for(tmp_path: Path) -> None:
    run = shard_runs._Run("r", tmp_path / "beat")
    assert not shard_runs._is_silent(run, Running(), 0.0)
    for number in range(1, 4):
        os.utime(make(run.beat), ns=(number, number))
        assert not shard_runs._is_silent(run, Running(), 0.0)
    assert shard_runs._is_silent(run, Running(), 0.0)
    run = shard_runs._Run("r", tmp_path / "none")
    assert not any(shard_runs._is_silent(run, Scheduled(), 0.0) for _ in range(3))


def make(path: Path) -> Path:
    path.touch()
    return path


def test_a_group_shows_that_it_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fan_out, "BEAT_S", 0.01)
    beat = tmp_path / "beat"
    with fan_out._beating(beat):
        stamps: set[int] = set()
        while len(stamps) < 3:
            stamps.add(beat.stat().st_mtime_ns)
    last = beat.stat().st_mtime_ns
    time.sleep(0.05)
    assert beat.stat().st_mtime_ns == last


def test_a_machine_with_other_code_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = dict(code_identity())
    require_same_code(own)
    assert {"tasks", "model", "registry", "python", "pyarrow", "lxml"} <= own.keys()
    with pytest.raises(OtherCode, match=r"lxml is .* here and 0\.1 there.*requirements.lock"):
        require_same_code(own | {"lxml": "0.1"})
    (tmp_path / "work/key").mkdir(parents=True)
    server = Server(tmp_path)
    install(monkeypatch, server)
    monkeypatch.setattr(fan_out, "code_identity", lambda: own | {"tasks": "f" * 64})
    with pytest.raises(OtherCode, match=r"tasks is .* here and ffffffffffff there"):
        list(executor(tmp_path).run(jobs(tmp_path, 4)))
    assert not list((tmp_path / "work/key").glob("*.txt"))


def test_code_is_known_by_its_names_and_bytes_alone(tmp_path: Path) -> None:
    for place in ("a", "b"):
        (tmp_path / place / "inner").mkdir(parents=True)
        (tmp_path / place / "inner/x.py").write_text("1")
    assert same_code._sources(tmp_path / "a") == same_code._sources(tmp_path / "b")
    (tmp_path / "b/inner/x.py").write_text("2")
    assert same_code._sources(tmp_path / "a") != same_code._sources(tmp_path / "b")


def test_each_machine_has_its_own_data_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, here, there = (tmp_path / name for name in ("store", "here", "there"))
    for folder in (store / "work/key", here, there):
        folder.mkdir(parents=True)
    (there / "file").write_text("of the other machine")
    crew = "tests.tasks.corpus.crew"
    wanted = [
        Job(f"{crew}:show", {"root": str(here), "name": "file"}, store / f"work/key/{n}.json")
        for n in range(3)
    ]
    server = Server(store, data=there)
    install(monkeypatch, server)
    fanned = PrefectExecutor(store, store / "work/key", 2, {}, LocalExecutor(1), data=here)
    assert list(fanned.run(wanted)) == ["of the other machine"] * 3
    server.data = None
    with pytest.raises(ValueError, match="ARRIERO_DATA is not set on this machine"):
        list(fanned.run(wanted))
    # A folder that a form names is the same for all: one that has it not says so.
    here.rmdir()
    named = PrefectExecutor(store, store / "work/key", 2, {}, LocalExecutor(1))
    with pytest.raises(ValueError, match=r"no folder .*here, which .*show reads.*ARRIERO_DATA"):
        list(named.run(wanted))


@pytest.mark.parametrize("workers", [None, 3])
def test_what_the_executor_takes_from_parameters_and_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int | None
) -> None:
    monkeypatch.setenv("ARRIERO_DATA", str(tmp_path))
    place = context(tmp_path / "c")
    chosen = executors.choose_executor(
        CorpusParameters(executor="prefect", workers=workers, silent_minutes=3, pending_hours=2),
        place,
    )
    assert isinstance(chosen, PrefectExecutor)
    assert (chosen.silent_seconds, chosen.pending_seconds) == (180.0, 7200.0)
    assert chosen.form["workers"] is workers  # None: as many as the machine of the run has cores
    assert chosen.data == tmp_path.resolve()
    assert chosen.local.scratch is not None and chosen.local.scratch.is_relative_to(place.work)


def test_jobs_name_no_path_of_a_machine(tmp_path: Path) -> None:
    job = Job("a:b", {"folder": f"{tmp_path}/work/x", "files": [str(tmp_path)]}, tmp_path / "s")
    row = job_row(job, tmp_path)
    assert str(tmp_path) not in json.dumps(row)
    assert row_job(row, tmp_path) == job
    assert row_job(row, Path("/elsewhere")).arguments["folder"] == "/elsewhere/work/x"
    unbounded = Job("a:b", {}, bounded=False)
    assert row_job(job_row(unbounded, tmp_path), tmp_path) == unbounded


def test_a_folder_outside_the_store_is_refused(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "jobs-0.json").write_text("[]")
    for folder in ("..", "/", "nowhere"):
        with pytest.raises(ValueError, match="shard group 0"):
            run_group(tmp_path / "store", folder, 0, LocalExecutor(1))


def test_a_run_that_is_cancelled_once_its_machine_is_gone_is_not_waited_for(
    tmp_path: Path,
) -> None:
    run = shard_runs._Run("r", tmp_path / "none")
    shard_runs._is_silent(run, Cancelling(), 0.0)
    assert shard_runs._is_silent(run, Cancelling(), 0.0)


def test_a_run_awaits_its_machine_until_it_shows_or_begins(tmp_path: Path) -> None:
    run = shard_runs._Run("r", tmp_path / "beat")
    assert shard_runs._awaits_machine(run, Pending())
    assert not shard_runs._awaits_machine(run, Running())
    assert not shard_runs._awaits_machine(run, Cancelling())
    make(run.beat)
    assert not shard_runs._awaits_machine(run, Pending())
