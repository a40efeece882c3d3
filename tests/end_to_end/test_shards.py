"""Shards over two real workers: the same corpus as one process makes, to the digest."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy import create_engine, text

from flows import client
from flows.registration import POOL
from tests.golden.inputs import write_data
from tests.services import ROOT, arriero, living, stack_of, sweep, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Services with a second worker beside the stack's own."""
    folder = tmp_path_factory.mktemp("home")
    try:
        started = arriero(folder, "up")
        assert started.returncode == 0, started.stderr
        own = next(p for p in living(folder) if "worker" in p.cmdline() and "start" in p.cmdline())
        second = [sys.executable, "-m", "prefect", "worker", "start", "--pool", POOL]
        with (folder / "second.log").open("wb") as log:
            other = subprocess.Popen(
                [*second, "--type", "process", "--name", "second"],
                env=own.environ(),
                cwd=own.cwd(),
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        yield folder
        other.terminate()
        other.wait(timeout=60)
    finally:
        arriero(folder, "down")
        sweep(folder)


def digests(home: Path) -> dict[str, str]:
    """Digest of every documents artifact by stage."""
    engine = create_engine(f"sqlite:///{home / 'registry.sqlite'}")
    with engine.connect() as connection:
        query = text("SELECT stage, digest FROM artifact WHERE kind = 'documents'")
        return {str(stage): str(digest) for stage, digest in connection.execute(query)}


def prepare(api: str, data: Path, **corpus: Any) -> dict[str, Any]:
    """A run of the deployment ``preparation``, to its end."""
    rules = {"validation_fraction": 0.1, "workers": 1, **corpus}
    form = {"parameters": {"data": str(data), "corpus": rules}}
    run = client.trigger(api, "preparation/preparation", form)
    final = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")

    def ended() -> dict[str, Any] | None:
        found = client.flow_run(api, run["id"])
        return found if found["state_type"] in final else None

    found: dict[str, Any] = wait_for("the preparation", ended, 400, every=1.0)
    return found


def test_two_workers_give_the_digest_of_one_process(
    home: Path, data: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    stack = stack_of(home)
    api = f"http://127.0.0.1:{stack['ports']['prefect']}/api"
    run = prepare(api, data, executor="prefect", shard_groups=2)
    assert run["state_type"] == "COMPLETED", run
    deployment = client.deployment(api, "shards/shards")
    groups = client.runs_of_deployment(api, deployment["id"])
    assert len(groups) >= 2 and {g["state_type"] for g in groups} == {"COMPLETED"}

    alone = tmp_path_factory.mktemp("alone")
    script = (
        "import sys\n"
        "from flows.preparation import PreparationParameters, preparation\n"
        "from tasks.corpus.parameters import CorpusParameters\n"
        "from registry.database import upgrade\n"
        "from registry.settings import load_settings\n"
        "upgrade(load_settings().registry_url)\n"
        "corpus = CorpusParameters(validation_fraction=0.1, workers=1)\n"
        "preparation(PreparationParameters(data=sys.argv[1], corpus=corpus))\n"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("ARRIERO_", "PREFECT"))}
    environment |= {"ARRIERO_HOME": str(alone), "PREFECT_HOME": str(alone / "prefect")}
    done = subprocess.run(
        [sys.executable, "-c", script, str(data)],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert digests(home) == digests(alone) and "corpus" in digests(home)


def test_a_killed_shard_run_is_named_and_its_shards_stay(home: Path, data: Path) -> None:
    """The next run goes on with what is done; nobody's shards are lost."""
    stack = stack_of(home)
    api = f"http://127.0.0.1:{stack['ports']['prefect']}/api"
    killed: list[int] = []

    def kill_one() -> bool:
        for process in living(home):
            line = " ".join(process.cmdline())
            if "tasks.corpus.worker" in line:
                try:
                    parent = psutil.Process(process.ppid())
                    parent.kill()
                except psutil.Error:
                    continue
                killed.append(parent.pid)
                return True
        return False

    form = {
        "parameters": {
            "data": str(data),
            "corpus": {
                "validation_fraction": 0.1,
                "workers": 1,
                "seed": 5,
                "executor": "prefect",
                "shard_groups": 2,
            },
        }
    }
    run = client.trigger(api, "preparation/preparation", form)
    wait_for("a shard run to kill", kill_one, 200, every=0.1)
    final = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
    wait_for(
        "the end of the run",
        lambda: client.flow_run(api, run["id"])["state_type"] in final,
        300,
        every=1.0,
    )
    assert killed
    # Nothing of it runs on: the group that was killed is settled, the others were waited for.
    deployment = client.deployment(api, "shards/shards")
    wait_for(
        "the end of its groups",
        lambda: (
            {group["state_type"] for group in client.runs_of_deployment(api, deployment["id"])}
            <= set(final)
        ),
        30,
        every=1.0,
    )
    again = prepare(api, data, executor="prefect", shard_groups=2, seed=5)
    assert again["state_type"] == "COMPLETED", again
