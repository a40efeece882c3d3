"""SIGKILL of worker, trainer and flow process: the same weights come out, the energy is kept.

Two homes with empty stores: one is left alone, in the other processes are killed in the middle of
pretraining. The digests of both must be equal.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy import select

from flows import client
from flows.parameters import PipelineParameters, resolve
from registry.database import Registry
from registry.schema import Artifact, Emission, Run
from tests.services import TINY, arriero, living, stack_of, sweep, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.faults, pytest.mark.timeout(1500)]

# Long enough to be hit: some twenty seconds on one busy core, a checkpoint each second.
LONG = [*TINY, "pretraining.steps=240", "pretraining.checkpoint_every=10"]
TRAINER = "tasks.training.engine.main"


@dataclass
class Installation:
    """Services of one home."""

    home: Path

    @property
    def api(self) -> str:
        return f"http://127.0.0.1:{stack_of(self.home)['ports']['prefect']}/api"

    @property
    def registry(self) -> Registry:
        return Registry(f"sqlite:///{self.home / 'registry.sqlite'}")

    def up(self) -> str:
        done = arriero(self.home, "up")
        assert done.returncode == 0, done.stderr
        return done.stderr

    def trigger(self, deployment: str, parameters: dict[str, Any]) -> str:
        run = client.trigger(self.api, deployment, {"parameters": parameters})
        return str(run["id"])

    def follow(self, run_id: str, seconds: float = 400) -> str:
        def final() -> str | None:
            state = client.flow_run(self.api, run_id)["state_type"]
            return state if state in client.FINAL else None

        return str(wait_for(f"end of flow run {run_id}", final, seconds, every=1.0))

    def processes(self, part: str) -> list[psutil.Process]:
        found = []
        for process in living(self.home):
            try:
                if part in " ".join(process.cmdline()):
                    found.append(process)
            except psutil.NoSuchProcess:
                continue
        return found

    def wait_for_checkpoint(self, attempts_before: int) -> list[psutil.Process]:
        """The trainer's processes, once the attempt after so many has a whole checkpoint."""
        wait_for("the attempt", lambda: len(self.attempts()) > attempts_before, 400)
        events = self.home / "store" / "work" / str(self.attempts()[-1].recipe) / "events.jsonl"

        def written() -> bool:
            return events.exists() and '"event": "checkpoint"' in events.read_text()

        wait_for("a checkpoint", written, 200, every=0.05)
        return self.processes(TRAINER)

    def kill(self, *groups: list[psutil.Process]) -> None:
        for process in (p for group in groups for p in group):
            if process.is_running():
                process.send_signal(signal.SIGKILL)

    def worker(self) -> list[psutil.Process]:
        return [psutil.Process(stack_of(self.home)["pids"]["worker"])]

    def digests(self) -> list[str]:
        """Digests of the pretraining checkpoints, in the order they were made."""
        query = (
            select(Artifact).where(Artifact.stage == "pretraining").order_by(Artifact.created_at)
        )
        with self.registry.reading() as session:
            return [row.digest for row in session.scalars(query)]

    def starts(self) -> list[list[int]]:
        """Per pretraining checkpoint: the steps at which its trainer started or went on."""
        query = (
            select(Artifact).where(Artifact.stage == "pretraining").order_by(Artifact.created_at)
        )
        with self.registry.reading() as session:
            folders = [self.home / "store" / row.uri / "logs" for row in session.scalars(query)]
        return [
            [
                int(event["step"])
                for line in (folder / "events.jsonl").read_text().splitlines()
                if (event := json.loads(line))["event"] in ("started", "resumed")
            ]
            for folder in folders
        ]

    def attempts(self) -> list[Run]:
        query = select(Run).where(Run.stage == "pretraining").order_by(Run.started_at)
        with self.registry.reading() as session:
            return list(session.scalars(query))

    def energy(self, run_id: str) -> Emission:
        with self.registry.reading() as session:
            return session.scalars(select(Emission).where(Emission.run_id == run_id)).one()


def pipeline_form() -> dict[str, Any]:
    return PipelineParameters(overrides=LONG).model_dump(mode="json")


def pretraining_form(seed: int = 7) -> dict[str, Any]:
    """Another recipe on the same tokens."""
    config = resolve(PipelineParameters(overrides=[*LONG, f"pretraining.seed={seed}"]))
    return {"pretraining": config.pretraining.model_dump(mode="json")}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """Digests of the pipeline's checkpoint and of a second pretraining when nothing is killed."""
    calm = Installation(tmp_path_factory.mktemp("calm"))
    try:
        calm.up()
        assert calm.follow(calm.trigger("pipeline/pipeline", pipeline_form())) == "COMPLETED"
        second = calm.trigger("pretraining/pretraining", pretraining_form())
        assert calm.follow(second) == "COMPLETED"
        digests = calm.digests()
        assert len(set(digests)) == 2
        assert [run.status for run in calm.attempts()] == ["completed", "completed"]
        yield digests
    finally:
        arriero(calm.home, "down")
        sweep(calm.home)


@pytest.fixture(scope="module")
def disturbed(
    undisturbed: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    installation = Installation(tmp_path_factory.mktemp("disturbed"))
    try:
        installation.up()
        yield installation
    finally:
        arriero(installation.home, "down")
        sweep(installation.home)


def test_worker_and_trainer_killed_and_the_run_goes_on(
    disturbed: Installation, undisturbed: list[str]
) -> None:
    """The flow process outlives its worker and starts the trainer again."""
    run_id = disturbed.trigger("pipeline/pipeline", pipeline_form())
    trainer = disturbed.wait_for_checkpoint(0)
    assert trainer
    disturbed.kill(disturbed.worker(), trainer)
    first = disturbed.attempts()[0]
    assert disturbed.digests() == []

    # Services are repaired under the run, not restarted: it must not be cancelled.
    assert "worker is gone; starting it again" in disturbed.up()
    assert disturbed.worker()[0].is_running()
    assert disturbed.follow(run_id) == "COMPLETED"

    assert disturbed.digests() == undisturbed[:1]
    attempts = disturbed.attempts()
    assert [(run.attempt, run.status) for run in attempts] == [(1, "failed"), (2, "completed")]
    assert attempts[0].id == first.id and "-9" in (attempts[0].error or "")
    begun, resumed = disturbed.starts()[0]
    assert begun == 0 and resumed >= 10 and resumed % 10 == 0, "it did not go on, it began anew"
    lost = disturbed.energy(attempts[0].id)
    assert (lost.status, lost.attempt) == ("failed", 1)
    assert lost.kwh_total > 0 and lost.wall_s > 0
    assert disturbed.energy(attempts[1].id).kwh_total > 0


def test_everything_of_a_run_killed_and_triggered_again(
    disturbed: Installation, undisturbed: list[str]
) -> None:
    """No process of the run is left to tell its end; the next run continues its work."""
    before = len(disturbed.attempts())
    zombie = disturbed.trigger("pretraining/pretraining", pretraining_form())
    disturbed.wait_for_checkpoint(before)
    engines = disturbed.processes(zombie) or disturbed.processes("flow_engine")
    engines = engines or disturbed.processes("prefect.engine")
    assert engines, [p.cmdline() for p in living(disturbed.home)]
    disturbed.kill(disturbed.worker(), engines, disturbed.processes(TRAINER))
    assert disturbed.digests() == undisturbed[:1]

    disturbed.up()
    again = disturbed.trigger("pretraining/pretraining", pretraining_form())
    assert disturbed.follow(again) == "COMPLETED"
    assert disturbed.digests() == undisturbed

    assert disturbed.starts()[1][1] >= 10
    killed, finished = disturbed.attempts()[before:]
    assert (killed.status, finished.status) == ("lost", "completed")
    entry = disturbed.energy(killed.id)
    assert entry.status == "lost" and entry.kwh_total > 0

    # The automation settles the run that no process will end.
    assert disturbed.follow(zombie, seconds=240) == "CRASHED"


def test_down_ends_a_run_whose_worker_is_gone(disturbed: Installation) -> None:
    before = len(disturbed.attempts())
    run_id = disturbed.trigger("pretraining/pretraining", pretraining_form(seed=8))
    disturbed.wait_for_checkpoint(before)
    disturbed.kill(disturbed.worker())
    assert arriero(disturbed.home, "down").returncode == 0
    assert sweep(disturbed.home) == []
    # The next stack neither waits for that run nor shows it as running.
    disturbed.up()
    assert client.flow_run(disturbed.api, run_id)["state_type"] == "CANCELLED"
    assert client.active_runs(disturbed.api) == []
    assert arriero(disturbed.home, "down").returncode == 0
    assert sweep(disturbed.home) == []
