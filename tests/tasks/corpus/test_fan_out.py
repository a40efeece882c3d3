"""Shard groups as runs of a deployment: jobs and results as files in the shared store."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prefect.client.schemas.objects import FlowRun
from prefect.states import Completed, Crashed

from tasks.corpus import fan_out
from tasks.corpus.execute import Job, LocalExecutor
from tasks.corpus.fan_out import PrefectExecutor, ShardGroupFailed, job_row, row_job, run_group


class Server:
    """A Prefect server whose worker runs each group at once, in this process."""

    def __init__(self, store: Path, crash: int | None = None) -> None:
        self.store, self.crash = store, crash
        self.runs: dict[uuid.UUID, FlowRun] = {}
        self.cancelled: list[uuid.UUID] = []

    def run_deployment(self, deployment: str, parameters: dict[str, Any], **more: Any) -> FlowRun:
        assert deployment == "shards/shards" and more["timeout"] == 0
        form = parameters["parameters"]
        state = Completed()
        if form["group"] == self.crash:
            state = Crashed(message="the node is gone")
        else:
            run_group(self.store, form["folder"], form["group"], LocalExecutor(1))
        run = FlowRun(
            id=uuid.uuid4(), flow_id=uuid.uuid4(), name=more["flow_run_name"], state=state
        )
        self.runs[run.id] = run
        return run

    def get_client(self, sync_client: bool) -> Any:
        client = SimpleNamespace(
            read_flow_run=self.runs.__getitem__,
            set_flow_run_state=lambda identity, state, force: self.cancelled.append(identity),
        )
        return _Context(client)


class _Context:
    def __init__(self, client: Any) -> None:
        self.client = client

    def __enter__(self) -> Any:
        return self.client

    def __exit__(self, *error: object) -> None:
        return None


def install(monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
    monkeypatch.setattr(fan_out, "run_deployment", server.run_deployment)
    monkeypatch.setattr(fan_out, "get_client", server.get_client)
    monkeypatch.setattr(fan_out, "POLL_S", 0.01)


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
    install(monkeypatch, server)
    with pytest.raises(ShardGroupFailed, match=r"'fan-out-.* 1 of 2'.*Crashed: the node is gone"):
        list(executor(tmp_path).run(jobs(tmp_path, 4)))
    assert server.cancelled == [list(server.runs)[1]]
    assert (tmp_path / "work/key/1.txt").is_file() and not (tmp_path / "work/key/0.txt").exists()


def test_jobs_name_no_path_of_a_machine(tmp_path: Path) -> None:
    job = Job("a:b", {"folder": f"{tmp_path}/work/x", "files": [str(tmp_path)]}, tmp_path / "s")
    row = job_row(job, tmp_path)
    assert str(tmp_path) not in json.dumps(row)
    assert row_job(row, tmp_path) == job
    assert row_job(row, Path("/elsewhere")).arguments["folder"] == "/elsewhere/work/x"


def test_a_folder_outside_the_store_is_refused(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "jobs-0.json").write_text("[]")
    for folder in ("..", "/", "nowhere"):
        with pytest.raises(ValueError, match="shard group 0"):
            run_group(tmp_path / "store", folder, 0, LocalExecutor(1))
