"""Tables of the registry, as SQLAlchemy 2 typed models.

Uniqueness and allowed states are constraints of the database, so that concurrent writers cannot
break them. Only portable types: every table exists on SQLite and PostgreSQL alike.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    DateTime,
    Dialect,
    ForeignKey,
    ForeignKeyConstraint,
    Integer,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

NAMING_CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

RUN_STATUSES = ("running", "completed", "cached", "failed", "cancelled", "preempted", "lost")
ARTIFACT_STATES = ("present", "missing", "quarantined")
EMISSION_STATUSES = (
    "open",
    "completed",
    "failed",
    "cancelled",
    "lost",
    "preempted",
    "stopped_by_budget",
)


def now() -> datetime:
    """The present moment in UTC."""
    return datetime.now(UTC)


class UtcDateTime(TypeDecorator[datetime]):
    """Aware UTC on both databases: SQLite drops the zone, so it is put back on reading."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse a naive time, and store UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("the registry stores aware times only; use datetime.now(UTC)")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give UTC back."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _one_of(column: str, values: tuple[str, ...]) -> str:
    """SQL of "column is one of values"; the values are constants of this file."""
    return f"{column} IN ({', '.join(repr(value) for value in values)})"


class Base(DeclarativeBase):
    """Base of all tables; names every constraint, which SQLite migrations need."""

    metadata = MetaData(naming_convention=NAMING_CONVENTION)
    type_annotation_map = {  # noqa: RUF012 (SQLAlchemy reads a plain class attribute)
        dict[str, Any]: JSON(),
        datetime: UtcDateTime(),
        int: BigInteger().with_variant(Integer(), "sqlite"),
    }


class Artifact(Base):
    """One immutable directory of the store; ``key`` is its recipe, ``digest`` its content."""

    __tablename__ = "artifact"
    __table_args__ = (CheckConstraint(_one_of("state", ARTIFACT_STATES), name="state"),)

    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    digest: Mapped[str] = mapped_column(String(64), index=True)
    kind: Mapped[str] = mapped_column(String(32), index=True)
    stage: Mapped[str] = mapped_column(String(128), index=True)
    stage_version: Mapped[int]
    uri: Mapped[str] = mapped_column(Text)
    size: Mapped[int] = mapped_column(doc="Bytes of all files, logs included.")
    manifest: Mapped[dict[str, Any]]
    sample: Mapped[bool] = mapped_column(default=False)
    reproducibility: Mapped[str] = mapped_column(Text, default="bit")
    state: Mapped[str] = mapped_column(String(16), default="present")
    created_at: Mapped[datetime] = mapped_column(default=now)
    run_id: Mapped[str | None] = mapped_column(String(36), ForeignKey("run.id"), index=True)


class ArtifactInput(Base):
    """Edge of the lineage graph: ``artifact_key`` was made from ``input_key`` as ``name``."""

    __tablename__ = "artifact_input"
    __table_args__ = (CheckConstraint("artifact_key <> input_key", name="not_itself"),)

    artifact_key: Mapped[str] = mapped_column(
        String(64), ForeignKey("artifact.key"), primary_key=True
    )
    name: Mapped[str] = mapped_column(String(128), primary_key=True)
    input_key: Mapped[str] = mapped_column(String(64), ForeignKey("artifact.key"), index=True)
    input_digest: Mapped[str] = mapped_column(String(64), index=True)


class Run(Base):
    """One attempt of one stage, or one flow (``stage`` is null); ``parent_id`` makes the tree."""

    __tablename__ = "run"
    __table_args__ = (
        CheckConstraint(_one_of("status", RUN_STATUSES), name="status"),
        CheckConstraint(
            "(status = 'running' AND ended_at IS NULL)"
            " OR (status <> 'running' AND ended_at IS NOT NULL)",
            name="ended_when_not_running",
        ),
        CheckConstraint("attempt >= 1", name="attempt"),
    )

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    parent_id: Mapped[str | None] = mapped_column(String(36), ForeignKey("run.id"), index=True)
    flow: Mapped[str] = mapped_column(String(128), index=True)
    stage: Mapped[str | None] = mapped_column(String(128), index=True)
    recipe: Mapped[str | None] = mapped_column(String(64), index=True)
    attempt: Mapped[int] = mapped_column(default=1)
    status: Mapped[str] = mapped_column(String(16), default="running", index=True)
    user: Mapped[str] = mapped_column(String(255))
    git_commit: Mapped[str | None] = mapped_column(String(64))
    prefect_flow_run_id: Mapped[str | None] = mapped_column(String(64), index=True)
    prefect_task_run_id: Mapped[str | None] = mapped_column(String(64), index=True)
    mlflow_run_id: Mapped[str | None] = mapped_column(String(64), index=True)
    parameters: Mapped[dict[str, Any]] = mapped_column(default=dict)
    error: Mapped[str | None] = mapped_column(Text)
    started_at: Mapped[datetime] = mapped_column(default=now, index=True)
    ended_at: Mapped[datetime | None]
    # No foreign key: a cached run may name an artifact before its row is adopted.
    artifact_key: Mapped[str | None] = mapped_column(String(64), index=True)


class Event(Base):
    """Something that happened and is never changed: a skipped step, a digest mismatch."""

    __tablename__ = "event"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    run_id: Mapped[str | None] = mapped_column(String(36), ForeignKey("run.id"), index=True)
    kind: Mapped[str] = mapped_column(String(64), index=True)
    payload: Mapped[dict[str, Any]] = mapped_column(default=dict)
    at: Mapped[datetime] = mapped_column(default=now, index=True)


class MetricSummary(Base):
    """One metric of one run, summed up; the curve itself is in metrics.jsonl and MLflow."""

    __tablename__ = "metric_summary"

    run_id: Mapped[str] = mapped_column(String(36), ForeignKey("run.id"), primary_key=True)
    name: Mapped[str] = mapped_column(String(255), primary_key=True)
    last: Mapped[float]
    min: Mapped[float]
    max: Mapped[float]
    count: Mapped[int]
    last_step: Mapped[int]


class Evaluation(Base):
    """One figure of one benchmark for one model, or why there is none."""

    __tablename__ = "evaluation"
    __table_args__ = (
        UniqueConstraint("artifact_key", "model_key", "benchmark", "metric", "shots"),
        CheckConstraint(
            "(status = 'ok' AND value IS NOT NULL) OR (status = 'not run' AND value IS NULL)",
            name="value_when_ok",
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    artifact_key: Mapped[str] = mapped_column(String(64), ForeignKey("artifact.key"))
    model_key: Mapped[str] = mapped_column(String(64), ForeignKey("artifact.key"), index=True)
    model_digest: Mapped[str] = mapped_column(String(64), index=True)
    benchmark: Mapped[str] = mapped_column(String(128), index=True)
    metric: Mapped[str] = mapped_column(String(128))
    value: Mapped[float | None]
    stderr: Mapped[float | None]
    n: Mapped[int] = mapped_column(default=0)
    shots: Mapped[int] = mapped_column(default=0)
    protocol_version: Mapped[int] = mapped_column(default=1)
    prompt_hash: Mapped[str | None] = mapped_column(String(64))
    data_sha256: Mapped[str | None] = mapped_column(String(64))
    truncated: Mapped[int] = mapped_column(default=0)
    # Temperature, top-p, number of samples, precision: what decides a figure beside its prompts.
    sampling: Mapped[dict[str, Any]] = mapped_column(default=dict, server_default="{}")
    status: Mapped[str] = mapped_column(String(16), default="ok")
    reason: Mapped[str | None] = mapped_column(Text)
    sample: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime] = mapped_column(default=now)


class Emission(Base):
    """One ledger entry: the energy of one attempt of one stage on one node.

    Energies are kWh of the IT equipment, before PUE; carbon is derived, never stored.
    """

    __tablename__ = "emission"
    __table_args__ = (
        CheckConstraint(_one_of("status", EMISSION_STATUSES), name="status"),
        CheckConstraint("pue >= 1.0", name="pue"),
        CheckConstraint("intensity_kg_per_kwh >= 0", name="intensity"),
        CheckConstraint("kwh_total >= 0", name="kwh_total"),
        CheckConstraint("measured_share >= 0 AND measured_share <= 1", name="measured_share"),
    )

    entry_id: Mapped[str] = mapped_column(String(128), primary_key=True)
    run_id: Mapped[str | None] = mapped_column(String(36), ForeignKey("run.id"), index=True)
    stage: Mapped[str] = mapped_column(String(128), index=True)
    attempt: Mapped[int] = mapped_column(default=1)
    purpose: Mapped[str] = mapped_column(String(32), default="final")
    status: Mapped[str] = mapped_column(String(32), default="open")
    node: Mapped[str] = mapped_column(String(255))
    began_at: Mapped[datetime] = mapped_column(index=True)
    ended_at: Mapped[datetime | None]
    wall_s: Mapped[float] = mapped_column(default=0.0)
    gpu_hours: Mapped[float] = mapped_column(default=0.0)
    kwh_cpu: Mapped[float] = mapped_column(default=0.0)
    kwh_gpu: Mapped[float] = mapped_column(default=0.0)
    kwh_ram: Mapped[float] = mapped_column(default=0.0)
    kwh_total: Mapped[float] = mapped_column(default=0.0)
    pue: Mapped[float]
    intensity_kg_per_kwh: Mapped[float]
    intensity_source: Mapped[str] = mapped_column(Text)
    method: Mapped[str] = mapped_column(String(64))
    measured_share: Mapped[float] = mapped_column(default=0.0)
    details: Mapped[dict[str, Any]] = mapped_column(default=dict)


class ModelVersion(Base):
    """The content of a model artifact under a name; numbers go 1, 2, 3 per name."""

    __tablename__ = "model_version"
    __table_args__ = (
        UniqueConstraint("name", "version"),
        UniqueConstraint("name", "artifact_key", "digest"),
        CheckConstraint("version >= 1", name="version"),
    )

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    name: Mapped[str] = mapped_column(String(128))
    version: Mapped[int]
    artifact_key: Mapped[str] = mapped_column(String(64), ForeignKey("artifact.key"), index=True)
    digest: Mapped[str] = mapped_column(String(64), index=True)
    created_at: Mapped[datetime] = mapped_column(default=now)


class Promotion(Base):
    """One verdict on one model version with its evidence; rows are only ever added."""

    __tablename__ = "promotion"
    __table_args__ = (
        CheckConstraint("verdict IN ('approved', 'refused')", name="verdict"),
        CheckConstraint("NOT forced OR reason IS NOT NULL", name="forced_needs_reason"),
    )

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    model_version_id: Mapped[int] = mapped_column(ForeignKey("model_version.id"), index=True)
    verdict: Mapped[str] = mapped_column(String(16))
    incumbent_id: Mapped[int | None] = mapped_column(ForeignKey("model_version.id"))
    policy: Mapped[dict[str, Any]]
    policy_hash: Mapped[str] = mapped_column(String(64))
    evidence: Mapped[dict[str, Any]]
    decided_by: Mapped[str] = mapped_column(String(255))
    forced: Mapped[bool] = mapped_column(default=False)
    reason: Mapped[str | None] = mapped_column(Text)
    at: Mapped[datetime] = mapped_column(default=now, index=True)


class ModelAlias(Base):
    """Which version a name's alias (``champion``) points at; moved with the promotion row."""

    __tablename__ = "model_alias"
    __table_args__ = (
        ForeignKeyConstraint(["name", "version"], ["model_version.name", "model_version.version"]),
    )

    name: Mapped[str] = mapped_column(String(128), primary_key=True)
    alias: Mapped[str] = mapped_column(String(64), primary_key=True)
    version: Mapped[int]
    promotion_id: Mapped[int] = mapped_column(ForeignKey("promotion.id"))
    at: Mapped[datetime] = mapped_column(default=now)


class Outbox(Base):
    """A message to another system, written with the fact it tells and delivered later."""

    __tablename__ = "outbox"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    topic: Mapped[str] = mapped_column(String(64), index=True)
    dedupe_key: Mapped[str] = mapped_column(String(255), unique=True)
    payload: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(default=now)
    delivered_at: Mapped[datetime | None] = mapped_column(index=True)
    attempts: Mapped[int] = mapped_column(default=0)
    last_error: Mapped[str | None] = mapped_column(Text)
    next_attempt_at: Mapped[datetime] = mapped_column(default=now, index=True)


class Fingerprint(Base):
    """What a raw file hashed to when it last had this size, time and inode."""

    __tablename__ = "fingerprint"

    path: Mapped[str] = mapped_column(Text, primary_key=True)
    size: Mapped[int]
    mtime_ns: Mapped[int]
    inode: Mapped[int]
    sha256: Mapped[str] = mapped_column(String(64))
