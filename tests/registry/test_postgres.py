"""The same registry on PostgreSQL: a private server on a Unix socket, no network."""

from __future__ import annotations

import grp
import multiprocessing
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.exc import IntegrityError

from registry import outbox, promotion, runs
from registry.artifacts import ArtifactRef, Kind, Store
from registry.database import (
    Registry,
    RegistryForeign,
    RegistryNotMigrated,
    alembic_config,
    downgrade,
    upgrade,
)
from registry.emissions import EmissionEntry, run_totals, upsert_emissions
from registry.fingerprints import fingerprint
from registry.lineage import ancestors, lineage_problems, lineage_tree, resolve
from registry.promotion import Facts, GatePolicy, promote
from registry.schema import Base, Event, Run, now

pytestmark = pytest.mark.postgres

SPAWN = multiprocessing.get_context("spawn")


def binaries() -> Path | None:
    """Folder of ``initdb`` and ``postgres``: Debian keeps them off the PATH."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    config = shutil.which("pg_config")
    if config is not None:
        said = subprocess.run([config, "--bindir"], capture_output=True, text=True, check=True)
        folders.insert(0, Path(said.stdout.strip()))
    on_path = shutil.which("postgres")
    if on_path is not None:
        folders.append(Path(on_path).parent)
    for folder in folders:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    return None


def account() -> dict[str, Any]:
    """Arguments for subprocess: PostgreSQL refuses to run as root."""
    if os.getuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    pytest.skip("running as root and no ordinary account to run PostgreSQL as")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Address of a server without a database name."""
    folder = binaries()
    if folder is None:
        pytest.skip("no PostgreSQL server binaries (initdb, postgres) on this machine")
    who = account()
    home = Path(tempfile.mkdtemp(prefix="pg"))  # short: a socket's path has about 100 bytes
    try:
        if who:
            os.chown(home, who["user"], who["group"])
        data = home / "data"
        initdb = [str(folder / "initdb"), "-D", str(data), "-U", "arriero", "-A", "trust"]
        subprocess.run(
            [*initdb, "-E", "UTF8", "--locale=C", "-N"],
            check=True,
            capture_output=True,
            cwd=home,
            **who,
        )
        settings = ("listen_addresses=", f"unix_socket_directories={home}", "fsync=off")
        options = [part for setting in settings for part in ("-c", setting)]
        with (home / "log").open("wb") as log:
            process = subprocess.Popen(
                [str(folder / "postgres"), "-D", str(data), *options],
                stdout=log,
                stderr=log,
                cwd=home,
                **who,
            )
        try:
            address = f"postgresql+psycopg://arriero@/{{name}}?host={home}"
            wait_for(address.format(name="postgres"), process, home / "log")
            yield address
        finally:
            process.send_signal(signal.SIGINT)  # fast shutdown
            process.wait(30)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def wait_for(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Until the server answers, at most 30 s."""
    engine = create_engine(address)
    deadline = time.monotonic() + 30
    while True:
        try:
            engine.connect().close()
            engine.dispose()
            return
        except Exception:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not start: {log.read_text()}") from None
            time.sleep(0.1)


def make_database(server: str, template: str = "template1") -> str:
    """A new database's address."""
    name = f"t{uuid.uuid4().hex}"
    engine = create_engine(server.format(name="postgres"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {template}"))
    engine.dispose()
    return server.format(name=name)


@pytest.fixture
def url(server: str) -> str:
    """A migrated database of this test's own; conftest's registry and store use it."""
    address = make_database(server)
    upgrade(address)
    return address


@pytest.fixture
def registry(url: str) -> Iterator[Registry]:
    """An empty registry, its connections closed at the end."""
    made = Registry(url)
    yield made
    made.close()


def test_server_runs_as_somebody_ordinary(server: str) -> None:
    who = account()
    if who:
        assert who["user"] != 0
        assert grp.getgrgid(who["group"]).gr_name != "root"


def test_migrations_up_down_and_no_drift(registry: Registry, url: str) -> None:
    registry.check()
    with registry.engine.connect() as connection:
        command.check(alembic_config(connection))
    run_id = runs.start_run(registry, flow="pipeline", user="ada")
    downgrade(url, "-1")
    with pytest.raises(RegistryNotMigrated, match="has the older revision"):
        registry.check()
    upgrade(url)
    registry.check()
    assert runs.get_run(registry, run_id).user == "ada"
    downgrade(url, "base")
    assert not set(inspect(registry.engine).get_table_names()) & Base.metadata.tables.keys()


def test_foreign_database_is_refused(server: str) -> None:
    address = make_database(server)
    engine = create_engine(address)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE alembic_version (version_num TEXT)"))
    engine.dispose()
    with pytest.raises(RegistryForeign, match="Prefect or MLflow"):
        upgrade(address)


def test_concurrent_upgrades_all_succeed(server: str) -> None:
    address = make_database(server)
    workers = [SPAWN.Process(target=upgrade, args=(address,)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    registry = Registry(address)
    registry.check()
    registry.close()


@pytest.mark.parametrize(
    "change", [{"status": "sleeping"}, {"status": "completed"}, {"parent_id": "nobody"}]
)
def test_database_refuses_impossible_runs(registry: Registry, change: dict[str, object]) -> None:
    values = {"id": "r", "flow": "f", "user": "u", "parameters": {}} | change
    with pytest.raises(IntegrityError), registry.session() as session:
        session.add(Run(**values))


def test_chain_from_raw_files_to_champion(
    registry: Registry, store: Store, chain: dict[str, ArtifactRef], put: Any, tmp_path: Path
) -> None:
    model = chain["model"]
    assert len(ancestors(registry, model.key)) == 5
    assert lineage_problems(lineage_tree(registry, store, model)) == []
    artifact = put(Kind.EVALUATION, "evaluation", None, {"model": model})
    row = {"benchmark": "boolq", "metric": "acc", "value": 0.5, "n": 10}
    with registry.session() as session:
        runs.record_evaluations(session, artifact=artifact, model=model, rows=[row])
    decision = promote(
        registry,
        name="llama-i",
        model=model,
        policy=GatePolicy(),
        facts=Facts(lineage_problems=()),
        decided_by="ada",
    )
    assert decision.approved
    assert resolve(registry, "champion") == model
    with pytest.raises(IntegrityError, match="append-only"), registry.session() as session:
        session.execute(text("DELETE FROM promotion"))
    first = outbox.pending(registry)[0]
    assert outbox.mark_delivered(registry, first.id)
    assert [m.topic for m in outbox.pending(registry)] == ["champion"]
    (tmp_path / "dump").mkdir()
    (tmp_path / "dump" / "a").write_text("a")
    assert fingerprint(tmp_path / "dump", registry) == fingerprint(tmp_path / "dump", registry)


def test_ledger(registry: Registry) -> None:
    run_id = runs.start_run(registry, flow="f")
    entry = EmissionEntry(
        entry_id="e",
        run_id=run_id,
        stage="s",
        node="n",
        began_at=now(),
        kwh_total=2.0,
        pue=1.1,
        intensity_kg_per_kwh=0.385,
        intensity_source="paper",
        method="codecarbon",
    )
    assert upsert_emissions(registry, [entry]) == upsert_emissions(registry, [entry]) == 1
    assert run_totals(registry, run_id).kwh == 2.0


def _work(root: str, url: str, number: int, barrier: Any) -> None:
    """Race for a key, a counter, a message and a champion."""
    registry = Registry(url)
    store = Store(Path(root), registry)
    staging = store.new_staging()
    (staging / "data").write_text(f"from {number}")
    barrier.wait(60)
    store.publish(
        staging,
        key="ab" * 32,
        kind=Kind.TOKENS,
        stage="tokens",
        stage_version=1,
        parameters={},
        inputs={},
    )
    for _ in range(10):
        with registry.session() as session:
            event = session.query(Event).filter_by(kind="counter").with_for_update().one()
            event.payload = {"count": event.payload["count"] + 1}
    with registry.session() as session:
        outbox.enqueue(session, "flow", "same key", {})
    staging = store.new_staging()
    (staging / "weights").write_text(f"weights {number}")
    model = store.publish(
        staging,
        key=f"{number}" * 64,
        kind=Kind.MODEL,
        stage="export",
        stage_version=1,
        parameters={},
        inputs={},
    )
    policy = GatePolicy(require_lineage=False)
    promote(
        registry,
        name="llama-i",
        model=model,
        policy=policy,
        facts=Facts(),
        decided_by="ada",
        force_reason="a race",
    )
    registry.close()


def test_concurrent_writers(registry: Registry, store: Store, url: str) -> None:
    runs.record_event(registry, "counter", {"count": 0})
    barrier = SPAWN.Barrier(3)
    workers = [
        SPAWN.Process(target=_work, args=(str(store.root), url, number, barrier))
        for number in range(3)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert runs.list_events(registry, kind="counter")[0].payload == {"count": 30}
    assert len(runs.list_events(registry, kind="digest-mismatch")) == 2
    ref = store.lookup("ab" * 32)
    assert ref is not None and store.verify(ref) == []
    rows = promotion.list_promotions(registry)
    assert [version.version for _, version in rows] == [3, 2, 1]
    assert [p.verdict for p, _ in rows] == ["approved"] * 3
    incumbents = [p.incumbent_id for p, _ in rows]
    assert incumbents[2] is None and None not in incumbents[:2]
    assert len([m for m in outbox.pending(registry) if m.topic == "flow"]) == 1
