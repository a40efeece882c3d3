"""The registry's database: engine, transactions, migrations and the errors users see."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import NullPool

from registry.schema import Base
from registry.settings import Settings

VERSION_TABLE = "registry_alembic_version"
BUSY_TIMEOUT_MS = 60_000
MIGRATIONS = Path(__file__).parent / "migrations"

# Tables that only Prefect or MLflow make; both use the version table name ``alembic_version``.
FOREIGN_TABLES = {
    "alembic_version": "Prefect or MLflow",
    "flow_run": "Prefect",
    "task_run": "Prefect",
    "work_pool": "Prefect",
    "experiments": "MLflow",
    "registered_models": "MLflow",
}


class RegistryError(ValueError):
    """The registry cannot be used as it is; the message says what to do."""


class RegistryTooNew(RegistryError):
    """The database was migrated by a newer Arriero."""


class RegistryNotMigrated(RegistryError):
    """The database is new or older than this Arriero."""


class RegistryNotWritable(RegistryError):
    """The database file or its folder cannot be written."""


class RegistryUnreachable(RegistryError):
    """The database server does not answer, or the file is no database."""


class RegistryBusy(RegistryError):
    """Another process held the SQLite registry for longer than a minute."""


class RegistryForeign(RegistryError):
    """The database belongs to another program."""


class Registry:
    """Sessions on one registry database.

    ``session()`` writes: on SQLite it takes the write lock at once (BEGIN IMMEDIATE), so that
    concurrent writers wait for each other instead of failing half-way. ``reading()`` only reads.
    Keep both short; never hold one across a stage.
    """

    def __init__(self, url: str | URL) -> None:
        self.url = make_url(url)
        self.engine = _make_engine(self.url)
        self._read_engine = self.engine.execution_options(registry_read=True)
        self._writing = threading.local()

    @contextmanager
    def session(self) -> Iterator[Session]:
        """One write transaction: committed at the end, rolled back on any exception.

        Raises ``RuntimeError`` inside another one of the same thread: on SQLite the two would wait
        for each other.
        """
        if getattr(self._writing, "now", False):
            raise RuntimeError("a write transaction is open in this thread; pass its session on")
        maker = sessionmaker(self.engine, expire_on_commit=False)
        self._writing.now = True
        try:
            with _named_errors(self.url), maker.begin() as session:
                session.connection()  # takes the write lock now, not at the first statement
                yield session
        finally:
            self._writing.now = False

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """One read transaction: a consistent view that blocks no writer."""
        with _named_errors(self.url), Session(self._read_engine, expire_on_commit=False) as session:
            yield session

    def check(self) -> None:
        """Raise a named ``RegistryError`` unless the schema is exactly the one of this code."""
        if _missing_sqlite_file(self.url):
            raise RegistryNotMigrated(_not_migrated(self.url, None))
        with _named_errors(self.url), self._read_engine.connect() as connection:
            found = _revision(connection, self.url)
        head = _scripts().get_current_head()
        if found == head:
            return
        if found is not None and found not in _known_revisions():
            raise RegistryTooNew(_too_new(self.url, found))
        raise RegistryNotMigrated(_not_migrated(self.url, found))

    def close(self) -> None:
        """Close the pooled connections."""
        self.engine.dispose()


def open_registry(settings: Settings) -> Registry:
    """The registry of ``settings``, its revision checked; raises a named ``RegistryError``."""
    registry = Registry(settings.registry_address)
    registry.check()
    return registry


def upgrade(url: str | URL, revision: str = "head") -> None:
    """Create or migrate the registry at ``url``, in one transaction.

    Safe to call from several processes at once. Refuses the database of Prefect or MLflow
    (``RegistryForeign``) and one of a newer Arriero (``RegistryTooNew``).
    """
    _migrate(make_url(url), revision, command.upgrade)


def downgrade(url: str | URL, revision: str) -> None:
    """Undo migrations down to ``revision`` (``-1`` for the last one)."""
    _migrate(make_url(url), revision, command.downgrade)


def current_revision(url: str | URL) -> str | None:
    """Revision of the database, or None when it was never migrated."""
    address = make_url(url)
    if _missing_sqlite_file(address):
        return None
    engine = _make_engine(address)
    try:
        with _named_errors(address), engine.connect() as connection:
            return _revision(connection, address)
    finally:
        engine.dispose()


def alembic_config(connection: Connection) -> Config:
    """Alembic's configuration of the packaged migrations, bound to ``connection``."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def _migrate(url: URL, revision: str, operation: Any) -> None:
    if url.get_backend_name() == "sqlite" and url.database not in (None, "", ":memory:"):
        _make_parent(Path(str(url.database)))
    # Foreign keys are off while SQLite tables are copied (batch mode drops the old table), and
    # everything is checked before the commit.
    engine = _make_engine(url, foreign_keys=False)
    try:
        with _named_errors(url), engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('arriero'))"))
            found = _revision(connection, url)
            if found is not None and found not in _known_revisions():
                raise RegistryTooNew(_too_new(url, found))
            operation(alembic_config(connection), revision)
            if connection.dialect.name == "sqlite":
                broken = connection.execute(text("PRAGMA foreign_key_check")).fetchall()
                assert not broken, f"migration broke foreign keys: {broken[:3]}"
    finally:
        engine.dispose()


def _make_engine(url: URL, *, foreign_keys: bool = True) -> Engine:
    if url.get_backend_name() != "sqlite":
        try:
            return create_engine(url, pool_pre_ping=True)
        except ModuleNotFoundError as error:
            raise RegistryUnreachable(
                f"registry {_shown(url)} needs the Python package {error.name}, which is not "
                "installed: pip install 'arriero[postgres]' and write postgresql+psycopg://"
            ) from error
    # No pool: a SQLite connection must not cross a fork, and opening one is cheap.
    memory = url.database in (None, "", ":memory:")
    engine = create_engine(url) if memory else create_engine(url, poolclass=NullPool)

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # transactions are begun below, not by the driver
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
        cursor.execute(f"PRAGMA foreign_keys={'ON' if foreign_keys else 'OFF'}")
        if cursor.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        reading = connection.get_execution_options().get("registry_read", False)
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")

    return engine


def _scripts() -> ScriptDirectory:
    return ScriptDirectory(str(MIGRATIONS))


def _known_revisions() -> set[str]:
    return {script.revision for script in _scripts().walk_revisions()}


def _revision(connection: Connection, url: URL) -> str | None:
    """Revision found in the database; refuses a database that is not ours."""
    tables = set(inspect(connection).get_table_names())
    if VERSION_TABLE in tables:
        rows = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).fetchall()
        if rows:
            return str(rows[0][0])
    foreign = sorted(tables & FOREIGN_TABLES.keys())
    if foreign:
        owners = " and ".join(sorted({FOREIGN_TABLES[name] for name in foreign}))
        raise RegistryForeign(
            f"registry {_shown(url)} holds tables of {owners} ({', '.join(foreign)}); the registry "
            "needs a database of its own: set ARRIERO_REGISTRY_URL to another one"
        )
    ours = sorted(tables & Base.metadata.tables.keys())
    if ours:
        raise RegistryForeign(
            f"registry {_shown(url)} has tables named {', '.join(ours)} but no {VERSION_TABLE}; "
            "Arriero did not make them: set ARRIERO_REGISTRY_URL to an empty database"
        )
    return None


def _missing_sqlite_file(url: URL) -> bool:
    if url.get_backend_name() != "sqlite" or url.database in (None, "", ":memory:"):
        return False
    return not Path(str(url.database)).exists()


def _make_parent(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RegistryNotWritable(
            f"registry {path}: cannot make its folder ({error.strerror}); "
            "free or unlock it, or set ARRIERO_HOME or ARRIERO_REGISTRY_URL"
        ) from error


@contextmanager
def _named_errors(url: URL) -> Iterator[None]:
    """Turn the driver's errors that a user can act on into named ones."""
    try:
        yield
    except DBAPIError as error:
        cause = str(error.orig)
        if "readonly" in cause or "read-only" in cause or "disk is full" in cause:
            raise RegistryNotWritable(
                f"registry {_shown(url)} cannot be written ({cause}); free or unlock the file and "
                "its folder, or set ARRIERO_REGISTRY_URL"
            ) from error
        if "database is locked" in cause:
            raise RegistryBusy(
                f"registry {_shown(url)} was held by another process for "
                f"{BUSY_TIMEOUT_MS // 1000} s; end that process, or use PostgreSQL"
            ) from error
        unreachable = isinstance(error, OperationalError) and (
            error.connection_invalidated or "unable to open" in cause or "connection" in cause
        )
        if unreachable or "not a database" in cause:
            raise RegistryUnreachable(
                f"registry {_shown(url)} cannot be opened ({cause.strip()}); check "
                "ARRIERO_REGISTRY_URL, that its folder exists and that the server runs"
            ) from error
        raise


def _shown(url: URL) -> str:
    return url.render_as_string(hide_password=True)


def _too_new(url: URL, found: str) -> str:
    return (
        f"registry {_shown(url)} has revision {found}, this Arriero knows up to "
        f"{_scripts().get_current_head()}: a newer Arriero migrated it; upgrade arriero"
    )


def _not_migrated(url: URL, found: str | None) -> str:
    state = "was never migrated" if found is None else f"has the older revision {found}"
    return (
        f"registry {_shown(url)} {state}, this Arriero needs {_scripts().get_current_head()}; "
        "run `arriero up`, which migrates it"
    )
