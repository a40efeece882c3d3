"""Shards over two real workers: the same corpus as one process makes, to the digest."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
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

SECOND = "second"
FINAL = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
Stamps = dict[Path, tuple[int, int]]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The golden fixture, a shard a source, and books that are a shard and half a second each."""
    root = write_data(tmp_path_factory.mktemp("data"))
    for number in range(8):
        lines = [
            f"The miller of village {30_000 * number + i} counted {i * 7} crows upon the ice and"
            f" went home by the {i % 13}th road."
            for i in range(24_000)
        ]
        (root / "corpus" / "books" / f"miller-{number}.txt").write_text("\n".join(lines))
    return root


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
                [*second, "--type", "process", "--name", SECOND, "--limit", "1"],
                # It asks more often and takes one at a time: of two groups each takes one.
                env=own.environ() | {"PREFECT_WORKER_QUERY_SECONDS": "0.2"},
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


def api_of(home: Path) -> str:
    return f"http://127.0.0.1:{stack_of(home)['ports']['prefect']}/api"


def start(home: Path, data: Path, **corpus: Any) -> str:
    """A run of the deployment ``preparation``, taken by the stack's own worker; its id.

    The second one takes a run at a time, which shall be groups.
    """
    api = api_of(home)
    rules = {"validation_fraction": 0.1, "workers": 1, **corpus}
    form = {"parameters": {"data": str(data), "corpus": rules}}
    (second,) = [p for p in living(home) if p.cmdline()[-4:-2] == ["--name", SECOND]]
    second.suspend()
    try:
        run_id = str(client.trigger(api, "preparation/preparation", form)["id"])
        assert taken_by(api, run_id) != SECOND
    finally:
        second.resume()
    return run_id


def follow(api: str, run_id: str) -> dict[str, Any]:
    """The run when it has ended."""

    def ended() -> dict[str, Any] | None:
        found = client.flow_run(api, run_id)
        return found if found["state_type"] in FINAL else None

    found: dict[str, Any] = wait_for("the preparation", ended, 400, every=1.0)
    return found


def groups_of(api: str) -> dict[str, dict[str, Any]]:
    """Runs of the deployment ``shards`` by id."""
    deployment = client.deployment(api, "shards/shards")
    return {run["id"]: run for run in client.runs_of_deployment(api, deployment["id"])}


def taken_by(api: str, run_id: str) -> str:
    """Name of the worker that took a run."""

    def name() -> str | None:
        said = [str(row["message"]) for row in client.run_logs(api, run_id, 0)]
        names = [re.match(r"Worker '(.+)' submitting flow run", line) for line in said]
        return next((found.group(1) for found in names if found), None)

    return str(wait_for(f"the worker of {run_id}", name, 30))


def alone(data: Path, home: Path, **corpus: Any) -> dict[str, str]:
    """Digests of the documents artifacts that one process makes, undisturbed."""
    script = (
        "import json, sys\n"
        "from flows.preparation import PreparationParameters, preparation\n"
        "from tasks.corpus.parameters import CorpusParameters\n"
        "from registry.database import upgrade\n"
        "from registry.settings import load_settings\n"
        "upgrade(load_settings().registry_url)\n"
        "rules = {'validation_fraction': 0.1, 'workers': 1, **json.loads(sys.argv[2])}\n"
        "corpus = CorpusParameters(**rules)\n"
        "preparation(PreparationParameters(data=sys.argv[1], corpus=corpus))\n"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("ARRIERO_", "PREFECT"))}
    environment |= {"ARRIERO_HOME": str(home), "PREFECT_HOME": str(home / "prefect")}
    done = subprocess.run(
        [sys.executable, "-c", script, str(data), json.dumps(corpus)],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return digests(home)


def test_two_workers_give_the_digest_of_one_process(
    home: Path, data: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    api = api_of(home)
    run = follow(api, start(home, data, executor="prefect", shard_groups=2))
    assert run["state_type"] == "COMPLETED", run
    groups = groups_of(api)
    assert len(groups) >= 2 and {g["state_type"] for g in groups.values()} == {"COMPLETED"}
    workers = {taken_by(api, run_id) for run_id in groups}
    assert SECOND in workers and len(workers) == 2, workers

    expected = alone(data, tmp_path_factory.mktemp("alone"))
    assert digests(home) == expected and "corpus" in expected


def finished(home: Path, folder: str = "*") -> Stamps:
    """Inode and time of what is in the folders of finished shards, of recipes not published yet."""
    found: Stamps = {}
    recipes = entries(home / "store" / "work") if folder == "*" else [home / "store/work" / folder]
    steps = [step for recipe in recipes for step in entries(recipe)]
    shards = [shard for step in steps for shard in entries(step) if shard.name.startswith("0")]
    for path in (path for shard in shards for path in entries(shard)):
        with suppress(FileNotFoundError):
            stat = path.stat()
            found[path] = (stat.st_ino, stat.st_mtime_ns)
    return found


def entries(folder: Path) -> list[Path]:
    """What is in a folder; nothing where it is a file, or is published and gone meanwhile."""
    try:
        return list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def test_a_killed_shard_run_is_named_and_its_shards_stay(
    home: Path, data: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The next run goes on with what is done; nobody's shards are lost."""
    api = api_of(home)
    rules: dict[str, Any] = {"executor": "prefect", "shard_groups": 2, "book_overlap": 0.85}
    before = set(groups_of(api))

    def kill_one() -> tuple[str, Stamps] | None:
        """Name of a run that was killed at work in a step, and the step's finished shards."""
        for process in living(home):
            try:
                if "tasks.corpus.worker" not in process.cmdline():
                    continue
                parent = psutil.Process(process.ppid())
                run_id = parent.environ().get("PREFECT__FLOW_RUN_ID", "")
                group = groups_of(api).get(run_id)
                if group is None or run_id in before:
                    continue  # the flow itself, which does what is one job
                recipe = Path(group["parameters"]["parameters"]["folder"]).parent.name
                done = finished(home, recipe)
                if not done:
                    continue
                parent.kill()
            except psutil.Error:
                continue
            return str(group["name"]), done
        return None

    run_id = start(home, data, **rules)
    name, done = wait_for("a shard run to kill", kill_one, 200, every=0.02)
    failed = follow(api, run_id)
    assert failed["state_type"] == "FAILED", failed
    assert name in failed["state"]["message"], failed["state"]
    # Nothing of it runs on: the group that was killed is settled, the others were waited for.
    assert {group["state_type"] for group in groups_of(api).values()} <= set(FINAL)
    left = finished(home)
    assert {path: left.get(path) for path in done} == done

    again = start(home, data, **rules)
    other: list[Path] = []

    def ended() -> bool:
        now = finished(home)
        other.extend(path for path in left if path in now and now[path] != left[path])
        return client.flow_run(api, again)["state_type"] in FINAL

    wait_for("the second run", ended, 400, every=0.05)
    assert client.flow_run(api, again)["state_type"] == "COMPLETED"
    assert not other, "a finished shard was done again"
    undisturbed = alone(
        data, tmp_path_factory.mktemp("undisturbed"), **{**rules, "executor": "processes"}
    )
    assert digests(home) == undisturbed
