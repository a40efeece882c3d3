"""Migrations, named errors, and transactions that concurrent processes can rely on."""

from __future__ import annotations

import multiprocessing
import sqlite3
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from sqlalchemy import CheckConstraint, inspect, select, text
from sqlalchemy.exc import IntegrityError

from registry import database, runs
from registry.artifacts import Kind
from registry.database import (
    VERSION_TABLE,
    Registry,
    RegistryBusy,
    RegistryForeign,
    RegistryNotMigrated,
    RegistryNotWritable,
    RegistryTooNew,
    RegistryUnreachable,
    alembic_config,
    current_revision,
    downgrade,
    upgrade,
)
from registry.promotion import Facts, GatePolicy, list_promotions, promote
from registry.schema import Base, Event, Run

SPAWN = multiprocessing.get_context("spawn")


def test_migrations_match_the_models(registry: Registry) -> None:
    with registry.engine.connect() as connection:
        command.check(alembic_config(connection))  # raises when a table drifted


def test_drift_is_noticed(registry: Registry) -> None:
    """The check above can fail."""
    with registry.session() as session:
        session.execute(text("ALTER TABLE run ADD COLUMN stray TEXT"))
    with registry.engine.connect() as connection, pytest.raises(Exception, match="stray"):
        command.check(alembic_config(connection))


def test_last_revision_goes_down_and_up_with_data(url: str) -> None:
    registry = Registry(url)
    run_id = runs.start_run(registry, flow="pipeline")
    head = current_revision(url)
    downgrade(url, "-1")
    assert current_revision(url) != head
    with pytest.raises(RegistryNotMigrated, match="has the older revision"):
        registry.check()
    upgrade(url)
    registry.check()
    assert runs.get_run(registry, run_id).flow == "pipeline"


def test_rows_of_two_models_survive_both_ways_of_the_constraint(
    registry: Registry, url: str, put: Any
) -> None:
    row = {"benchmark": "boolq", "metric": "acc", "value": 0.5, "n": 4}
    models = [put(Kind.MODEL, "export", {"m": "weights"}, seed=seed) for seed in (1, 2)]
    artifact = put(Kind.EVALUATION, "evaluation", None, {"model": models[0]})
    for model in models:
        with registry.session() as session:
            runs.record_evaluations(session, artifact=artifact, model=model, rows=[row])
    downgrade(url, "0002")
    upgrade(url)
    (kept,) = runs.list_evaluations(registry, artifact_key=artifact.key)
    assert (kept.model_key, kept.value) == (models[0].key, 0.5)
    # The copied table has its check again.
    with pytest.raises(IntegrityError, match="value_when_ok"), registry.session() as session:
        session.execute(text("UPDATE evaluation SET value = NULL"))


def test_versions_keep_their_numbers_when_the_table_is_copied(
    registry: Registry, url: str, put: Any
) -> None:
    model = put(Kind.MODEL, "export")
    facts = Facts(lineage_problems=())
    promote(registry, name="m", model=model, policy=GatePolicy(), facts=facts, decided_by="ada")
    downgrade(url, "0004")
    upgrade(url)
    ((verdict, version),) = list_promotions(registry)
    assert (verdict.model_version_id, version.version, version.digest) == (1, 1, model.digest)
    # The copied table has its check again.
    with pytest.raises(IntegrityError, match="version"), registry.session() as session:
        session.execute(text("UPDATE model_version SET version = 0"))


@pytest.mark.parametrize("revision", [None, "0004", "0002"])
def test_checks_are_there_once_however_a_database_came_to_head(
    registry: Registry, url: str, revision: str | None
) -> None:
    if revision is not None:
        downgrade(url, revision)
        upgrade(url)
    inspector = inspect(registry.engine)
    for name, table in Base.metadata.tables.items():
        wanted = [check.name for check in table.constraints if isinstance(check, CheckConstraint)]
        assert sorted(check["name"] or "" for check in inspector.get_check_constraints(name)) == (
            sorted(str(check) for check in wanted)
        )


def test_all_the_way_down_leaves_no_table(url: str) -> None:
    downgrade(url, "base")
    tables = set(inspect(Registry(url).engine).get_table_names())
    assert not tables & Base.metadata.tables.keys()


def test_database_of_the_first_revision_is_upgraded_with_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "old.sqlite"
    url = f"sqlite:///{path}"
    upgrade(url, "0001")
    with sqlite3.connect(path) as old:
        old.execute(
            "INSERT INTO run (id, flow, attempt, status, user, parameters, started_at)"
            " VALUES ('r1', 'pipeline', 1, 'running', 'ada', '{}', '2026-01-02 03:04:05.000000')"
        )
        old.execute(
            "INSERT INTO artifact (key, digest, kind, stage, stage_version, uri, size, manifest,"
            " sample, reproducibility, state, created_at, run_id) VALUES ('k', 'd', 'model',"
            " 'export', 1, 'model/k/k', 5, '{}', 0, 'bit', 'present',"
            " '2026-01-02 03:04:05.000000', 'r1')"
        )
    upgrade(url)
    registry = Registry(url)
    registry.check()
    run = runs.get_run(registry, "r1")
    assert run.started_at == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert run.user == "ada"


def test_new_database_must_be_migrated_and_is_not_made_by_looking(tmp_path: Path) -> None:
    path = tmp_path / "none.sqlite"
    with pytest.raises(RegistryNotMigrated, match=r"was never migrated.*run `arriero up`"):
        Registry(f"sqlite:///{path}").check()
    assert not path.exists()


def test_newer_schema_is_refused_with_both_revisions(url: str) -> None:
    registry = Registry(url)
    head = current_revision(url)
    with registry.session() as session:
        session.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
    with pytest.raises(
        RegistryTooNew, match=rf"revision 9999.*knows up to {head}.*upgrade arriero"
    ):
        registry.check()
    with pytest.raises(RegistryTooNew):
        upgrade(url)


@pytest.mark.parametrize(
    ("table", "owner"),
    [("alembic_version", "Prefect or MLflow"), ("flow_run", "Prefect"), ("experiments", "MLflow")],
)
def test_database_of_another_program_is_refused(tmp_path: Path, table: str, owner: str) -> None:
    path = tmp_path / "theirs.sqlite"
    with sqlite3.connect(path) as theirs:
        theirs.execute(f"CREATE TABLE {table} (id INTEGER)")
    with pytest.raises(RegistryForeign, match=f"holds tables of {owner}.*{table}"):
        upgrade(f"sqlite:///{path}")
    with sqlite3.connect(path) as theirs:
        names = [row[0] for row in theirs.execute("SELECT name FROM sqlite_master")]
    assert names == [table]


def test_tables_of_our_names_that_we_did_not_make_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "strange.sqlite"
    with sqlite3.connect(path) as strange:
        strange.execute("CREATE TABLE run (id INTEGER)")
    with pytest.raises(RegistryForeign, match="tables named run"):
        upgrade(f"sqlite:///{path}")


def test_unwritable_and_broken_files_are_named(tmp_path: Path, url: str) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RegistryNotWritable, match="cannot make its folder"):
        upgrade(f"sqlite:///{tmp_path}/file/registry.sqlite")
    (tmp_path / "broken.sqlite").write_text("this is no database, and long enough to tell" * 30)
    with pytest.raises(RegistryUnreachable, match="not a database"):
        Registry(f"sqlite:///{tmp_path}/broken.sqlite").check()
    registry = Registry(url)
    with pytest.raises(RegistryNotWritable, match="cannot be written"), registry.session() as s:
        s.execute(text("PRAGMA query_only=ON"))
        s.execute(text("DELETE FROM run"))


def test_unknown_server_is_named() -> None:
    registry = Registry("postgresql+psycopg://me@127.0.0.1:1/none?connect_timeout=2")
    with pytest.raises(RegistryUnreachable, match="cannot be opened"):
        registry.check()


def test_sqlite_is_set_up_for_concurrent_writers(registry: Registry) -> None:
    with registry.reading() as session:
        pragmas = {
            name: session.execute(text(f"PRAGMA {name}")).scalar()
            for name in ("journal_mode", "foreign_keys", "busy_timeout")
        }
    assert pragmas == {"journal_mode": "wal", "foreign_keys": 1, "busy_timeout": 60_000}


def test_session_rolls_back_everything(registry: Registry) -> None:
    with pytest.raises(RuntimeError, match="stop"), registry.session() as session:
        session.add(Event(kind="half", payload={}))
        session.flush()
        raise RuntimeError("stop")
    assert runs.list_events(registry) == []


def test_write_inside_a_write_fails_at_once(registry: Registry) -> None:
    with pytest.raises(RuntimeError, match="pass its session on"), registry.session():
        runs.record_event(registry, "nested", {})
    runs.record_event(registry, "after", {})
    assert [event.kind for event in runs.list_events(registry)] == ["after"]


def test_times_are_aware_utc(registry: Registry) -> None:
    at = datetime(2026, 5, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    run_id = runs.start_run(registry, flow="x", clock=lambda: at)
    assert runs.get_run(registry, run_id).started_at == datetime(2026, 5, 1, 10, tzinfo=UTC)
    with pytest.raises(Exception, match="aware times only"):
        runs.start_run(registry, flow="x", clock=lambda: datetime(2026, 5, 1))


@pytest.mark.parametrize(
    "change",
    [
        {"status": "sleeping"},
        {"status": "completed"},  # without an end
        {"attempt": 0},
        {"parent_id": "nobody"},
    ],
)
def test_database_refuses_impossible_runs(registry: Registry, change: dict[str, object]) -> None:
    values = {"id": "r", "flow": "f", "user": "u", "parameters": {}} | change
    with pytest.raises(IntegrityError), registry.session() as session:
        session.add(Run(**values))


def _count_up(url: str, times: int) -> None:
    """Read a counter and write it back, as a racing process would."""
    registry = Registry(url)
    for _ in range(times):
        with registry.session() as session:
            event = session.scalars(select(Event)).one()
            event.payload = {"count": event.payload["count"] + 1}


def test_concurrent_writers_lose_no_update(url: str) -> None:
    registry = Registry(url)
    runs.record_event(registry, "counter", {"count": 0})
    workers = [SPAWN.Process(target=_count_up, args=(url, 25)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert runs.list_events(registry)[0].payload == {"count": 75}


def test_registry_held_too_long_is_named(
    registry: Registry, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT_MS", 50)
    with registry.session(), pytest.raises(RegistryBusy, match="held by another process"):
        runs.record_event(Registry(url), "late", {})
    assert runs.list_events(registry) == []


def test_concurrent_upgrades_all_succeed(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/new.sqlite"
    workers = [SPAWN.Process(target=upgrade, args=(url,)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    Registry(url).check()
