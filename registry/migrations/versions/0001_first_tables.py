"""First tables: artifacts, runs, evaluations, emissions, promotions, outbox.

Revision ID: 0001
Revises:
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# SQLite numbers rows by itself only for the type INTEGER.
WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "fingerprint",
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("size", WHOLE, nullable=False),
        sa.Column("mtime_ns", WHOLE, nullable=False),
        sa.Column("inode", WHOLE, nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("path", name=op.f("pk_fingerprint")),
    )
    op.create_table(
        "outbox",
        sa.Column(
            "id",
            WHOLE,
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("topic", sa.String(length=64), nullable=False),
        sa.Column("dedupe_key", sa.String(length=255), nullable=False),
        sa.Column("payload", sa.JSON(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("delivered_at", TIME, nullable=True),
        sa.Column("attempts", WHOLE, nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("next_attempt_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
        sa.UniqueConstraint("dedupe_key", name=op.f("uq_outbox_dedupe_key")),
    )
    op.create_index("ix_outbox_delivered_at", "outbox", ["delivered_at"])
    op.create_index("ix_outbox_next_attempt_at", "outbox", ["next_attempt_at"])
    op.create_index("ix_outbox_topic", "outbox", ["topic"])

    op.create_table(
        "run",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("parent_id", sa.String(length=36), nullable=True),
        sa.Column("flow", sa.String(length=128), nullable=False),
        sa.Column("stage", sa.String(length=128), nullable=True),
        sa.Column("recipe", sa.String(length=64), nullable=True),
        sa.Column("attempt", WHOLE, nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("user", sa.String(length=255), nullable=False),
        sa.Column("git_commit", sa.String(length=64), nullable=True),
        sa.Column("prefect_flow_run_id", sa.String(length=64), nullable=True),
        sa.Column("prefect_task_run_id", sa.String(length=64), nullable=True),
        sa.Column("mlflow_run_id", sa.String(length=64), nullable=True),
        sa.Column("parameters", sa.JSON(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("started_at", TIME, nullable=False),
        sa.Column("ended_at", TIME, nullable=True),
        sa.Column("artifact_key", sa.String(length=64), nullable=True),
        sa.CheckConstraint(
            "(status = 'running' AND ended_at IS NULL)"
            " OR (status <> 'running' AND ended_at IS NOT NULL)",
            name=op.f("ck_run_ended_when_not_running"),
        ),
        sa.CheckConstraint(
            "status IN ('running', 'completed', 'cached', 'failed', 'cancelled', 'preempted',"
            " 'lost')",
            name=op.f("ck_run_status"),
        ),
        sa.CheckConstraint("attempt >= 1", name=op.f("ck_run_attempt")),
        sa.ForeignKeyConstraint(["parent_id"], ["run.id"], name=op.f("fk_run_parent_id_run")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_run")),
    )
    op.create_index("ix_run_artifact_key", "run", ["artifact_key"])
    op.create_index("ix_run_flow", "run", ["flow"])
    op.create_index("ix_run_mlflow_run_id", "run", ["mlflow_run_id"])
    op.create_index("ix_run_parent_id", "run", ["parent_id"])
    op.create_index("ix_run_prefect_flow_run_id", "run", ["prefect_flow_run_id"])
    op.create_index("ix_run_prefect_task_run_id", "run", ["prefect_task_run_id"])
    op.create_index("ix_run_recipe", "run", ["recipe"])
    op.create_index("ix_run_stage", "run", ["stage"])
    op.create_index("ix_run_started_at", "run", ["started_at"])
    op.create_index("ix_run_status", "run", ["status"])

    op.create_table(
        "artifact",
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("stage", sa.String(length=128), nullable=False),
        sa.Column("stage_version", WHOLE, nullable=False),
        sa.Column("uri", sa.Text(), nullable=False),
        sa.Column("size", WHOLE, nullable=False),
        sa.Column("manifest", sa.JSON(), nullable=False),
        sa.Column("sample", sa.Boolean(), nullable=False),
        sa.Column("reproducibility", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("run_id", sa.String(length=36), nullable=True),
        sa.CheckConstraint(
            "state IN ('present', 'missing', 'quarantined')", name=op.f("ck_artifact_state")
        ),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_artifact_run_id_run")),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_artifact")),
    )
    op.create_index("ix_artifact_digest", "artifact", ["digest"])
    op.create_index("ix_artifact_kind", "artifact", ["kind"])
    op.create_index("ix_artifact_run_id", "artifact", ["run_id"])
    op.create_index("ix_artifact_stage", "artifact", ["stage"])

    op.create_table(
        "emission",
        sa.Column("entry_id", sa.String(length=128), nullable=False),
        sa.Column("run_id", sa.String(length=36), nullable=True),
        sa.Column("stage", sa.String(length=128), nullable=False),
        sa.Column("attempt", WHOLE, nullable=False),
        sa.Column("purpose", sa.String(length=32), nullable=False),
        sa.Column("status", sa.String(length=32), nullable=False),
        sa.Column("node", sa.String(length=255), nullable=False),
        sa.Column("began_at", TIME, nullable=False),
        sa.Column("ended_at", TIME, nullable=True),
        sa.Column("wall_s", sa.Float(), nullable=False),
        sa.Column("gpu_hours", sa.Float(), nullable=False),
        sa.Column("kwh_cpu", sa.Float(), nullable=False),
        sa.Column("kwh_gpu", sa.Float(), nullable=False),
        sa.Column("kwh_ram", sa.Float(), nullable=False),
        sa.Column("kwh_total", sa.Float(), nullable=False),
        sa.Column("pue", sa.Float(), nullable=False),
        sa.Column("intensity_kg_per_kwh", sa.Float(), nullable=False),
        sa.Column("intensity_source", sa.Text(), nullable=False),
        sa.Column("method", sa.String(length=64), nullable=False),
        sa.Column("measured_share", sa.Float(), nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.CheckConstraint(
            "status IN ('open', 'completed', 'failed', 'cancelled', 'lost', 'preempted',"
            " 'stopped_by_budget')",
            name=op.f("ck_emission_status"),
        ),
        sa.CheckConstraint("intensity_kg_per_kwh >= 0", name=op.f("ck_emission_intensity")),
        sa.CheckConstraint("kwh_total >= 0", name=op.f("ck_emission_kwh_total")),
        sa.CheckConstraint(
            "measured_share >= 0 AND measured_share <= 1", name=op.f("ck_emission_measured_share")
        ),
        sa.CheckConstraint("pue >= 1.0", name=op.f("ck_emission_pue")),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_emission_run_id_run")),
        sa.PrimaryKeyConstraint("entry_id", name=op.f("pk_emission")),
    )
    op.create_index("ix_emission_began_at", "emission", ["began_at"])
    op.create_index("ix_emission_run_id", "emission", ["run_id"])
    op.create_index("ix_emission_stage", "emission", ["stage"])

    op.create_table(
        "event",
        sa.Column(
            "id",
            WHOLE,
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("run_id", sa.String(length=36), nullable=True),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("payload", sa.JSON(), nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_event_run_id_run")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_event")),
    )
    op.create_index("ix_event_at", "event", ["at"])
    op.create_index("ix_event_kind", "event", ["kind"])
    op.create_index("ix_event_run_id", "event", ["run_id"])

    op.create_table(
        "metric_summary",
        sa.Column("run_id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("last", sa.Float(), nullable=False),
        sa.Column("min", sa.Float(), nullable=False),
        sa.Column("max", sa.Float(), nullable=False),
        sa.Column("count", WHOLE, nullable=False),
        sa.Column("last_step", WHOLE, nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_metric_summary_run_id_run")),
        sa.PrimaryKeyConstraint("run_id", "name", name=op.f("pk_metric_summary")),
    )
    op.create_table(
        "artifact_input",
        sa.Column("artifact_key", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("input_key", sa.String(length=64), nullable=False),
        sa.Column("input_digest", sa.String(length=64), nullable=False),
        sa.CheckConstraint("artifact_key <> input_key", name=op.f("ck_artifact_input_not_itself")),
        sa.ForeignKeyConstraint(
            ["artifact_key"], ["artifact.key"], name=op.f("fk_artifact_input_artifact_key_artifact")
        ),
        sa.ForeignKeyConstraint(
            ["input_key"], ["artifact.key"], name=op.f("fk_artifact_input_input_key_artifact")
        ),
        sa.PrimaryKeyConstraint("artifact_key", "name", name=op.f("pk_artifact_input")),
    )
    op.create_index("ix_artifact_input_input_digest", "artifact_input", ["input_digest"])
    op.create_index("ix_artifact_input_input_key", "artifact_input", ["input_key"])

    op.create_table(
        "evaluation",
        sa.Column(
            "id",
            WHOLE,
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("artifact_key", sa.String(length=64), nullable=False),
        sa.Column("model_key", sa.String(length=64), nullable=False),
        sa.Column("model_digest", sa.String(length=64), nullable=False),
        sa.Column("benchmark", sa.String(length=128), nullable=False),
        sa.Column("metric", sa.String(length=128), nullable=False),
        sa.Column("value", sa.Float(), nullable=True),
        sa.Column("stderr", sa.Float(), nullable=True),
        sa.Column("n", WHOLE, nullable=False),
        sa.Column("shots", WHOLE, nullable=False),
        sa.Column("protocol_version", WHOLE, nullable=False),
        sa.Column("prompt_hash", sa.String(length=64), nullable=True),
        sa.Column("data_sha256", sa.String(length=64), nullable=True),
        sa.Column("truncated", WHOLE, nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("sample", sa.Boolean(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.CheckConstraint(
            "(status = 'ok' AND value IS NOT NULL) OR (status = 'not run' AND value IS NULL)",
            name=op.f("ck_evaluation_value_when_ok"),
        ),
        sa.ForeignKeyConstraint(
            ["artifact_key"], ["artifact.key"], name=op.f("fk_evaluation_artifact_key_artifact")
        ),
        sa.ForeignKeyConstraint(
            ["model_key"], ["artifact.key"], name=op.f("fk_evaluation_model_key_artifact")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_evaluation")),
        sa.UniqueConstraint(
            "artifact_key",
            "benchmark",
            "metric",
            "shots",
            name=op.f("uq_evaluation_artifact_key_benchmark_metric_shots"),
        ),
    )
    op.create_index("ix_evaluation_benchmark", "evaluation", ["benchmark"])
    op.create_index("ix_evaluation_model_digest", "evaluation", ["model_digest"])
    op.create_index("ix_evaluation_model_key", "evaluation", ["model_key"])

    op.create_table(
        "model_version",
        sa.Column(
            "id",
            WHOLE,
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("version", WHOLE, nullable=False),
        sa.Column("artifact_key", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.CheckConstraint("version >= 1", name=op.f("ck_model_version_version")),
        sa.ForeignKeyConstraint(
            ["artifact_key"], ["artifact.key"], name=op.f("fk_model_version_artifact_key_artifact")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model_version")),
        sa.UniqueConstraint(
            "name", "artifact_key", name=op.f("uq_model_version_name_artifact_key")
        ),
        sa.UniqueConstraint("name", "version", name=op.f("uq_model_version_name_version")),
    )
    op.create_index("ix_model_version_artifact_key", "model_version", ["artifact_key"])
    op.create_index("ix_model_version_digest", "model_version", ["digest"])

    op.create_table(
        "promotion",
        sa.Column(
            "id",
            WHOLE,
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("model_version_id", WHOLE, nullable=False),
        sa.Column("verdict", sa.String(length=16), nullable=False),
        sa.Column("incumbent_id", WHOLE, nullable=True),
        sa.Column("policy", sa.JSON(), nullable=False),
        sa.Column("policy_hash", sa.String(length=64), nullable=False),
        sa.Column("evidence", sa.JSON(), nullable=False),
        sa.Column("decided_by", sa.String(length=255), nullable=False),
        sa.Column("forced", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("at", TIME, nullable=False),
        sa.CheckConstraint("verdict IN ('approved', 'refused')", name=op.f("ck_promotion_verdict")),
        sa.CheckConstraint(
            "NOT forced OR reason IS NOT NULL", name=op.f("ck_promotion_forced_needs_reason")
        ),
        sa.ForeignKeyConstraint(
            ["incumbent_id"],
            ["model_version.id"],
            name=op.f("fk_promotion_incumbent_id_model_version"),
        ),
        sa.ForeignKeyConstraint(
            ["model_version_id"],
            ["model_version.id"],
            name=op.f("fk_promotion_model_version_id_model_version"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_promotion")),
    )
    op.create_index("ix_promotion_at", "promotion", ["at"])
    op.create_index("ix_promotion_model_version_id", "promotion", ["model_version_id"])

    op.create_table(
        "model_alias",
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("alias", sa.String(length=64), nullable=False),
        sa.Column("version", WHOLE, nullable=False),
        sa.Column("promotion_id", WHOLE, nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["name", "version"],
            ["model_version.name", "model_version.version"],
            name=op.f("fk_model_alias_name_model_version"),
        ),
        sa.ForeignKeyConstraint(
            ["promotion_id"], ["promotion.id"], name=op.f("fk_model_alias_promotion_id_promotion")
        ),
        sa.PrimaryKeyConstraint("name", "alias", name=op.f("pk_model_alias")),
    )


def downgrade() -> None:
    """Drop the tables."""
    op.drop_table("model_alias")
    op.drop_index("ix_promotion_model_version_id", table_name="promotion")
    op.drop_index("ix_promotion_at", table_name="promotion")

    op.drop_table("promotion")
    op.drop_index("ix_model_version_digest", table_name="model_version")
    op.drop_index("ix_model_version_artifact_key", table_name="model_version")

    op.drop_table("model_version")
    op.drop_index("ix_evaluation_model_key", table_name="evaluation")
    op.drop_index("ix_evaluation_model_digest", table_name="evaluation")
    op.drop_index("ix_evaluation_benchmark", table_name="evaluation")

    op.drop_table("evaluation")
    op.drop_index("ix_artifact_input_input_key", table_name="artifact_input")
    op.drop_index("ix_artifact_input_input_digest", table_name="artifact_input")

    op.drop_table("artifact_input")
    op.drop_table("metric_summary")
    op.drop_index("ix_event_run_id", table_name="event")
    op.drop_index("ix_event_kind", table_name="event")
    op.drop_index("ix_event_at", table_name="event")

    op.drop_table("event")
    op.drop_index("ix_emission_stage", table_name="emission")
    op.drop_index("ix_emission_run_id", table_name="emission")
    op.drop_index("ix_emission_began_at", table_name="emission")

    op.drop_table("emission")
    op.drop_index("ix_artifact_stage", table_name="artifact")
    op.drop_index("ix_artifact_run_id", table_name="artifact")
    op.drop_index("ix_artifact_kind", table_name="artifact")
    op.drop_index("ix_artifact_digest", table_name="artifact")

    op.drop_table("artifact")
    op.drop_index("ix_run_status", table_name="run")
    op.drop_index("ix_run_started_at", table_name="run")
    op.drop_index("ix_run_stage", table_name="run")
    op.drop_index("ix_run_recipe", table_name="run")
    op.drop_index("ix_run_prefect_task_run_id", table_name="run")
    op.drop_index("ix_run_prefect_flow_run_id", table_name="run")
    op.drop_index("ix_run_parent_id", table_name="run")
    op.drop_index("ix_run_mlflow_run_id", table_name="run")
    op.drop_index("ix_run_flow", table_name="run")
    op.drop_index("ix_run_artifact_key", table_name="run")

    op.drop_table("run")
    op.drop_index("ix_outbox_topic", table_name="outbox")
    op.drop_index("ix_outbox_next_attempt_at", table_name="outbox")
    op.drop_index("ix_outbox_delivered_at", table_name="outbox")

    op.drop_table("outbox")
    op.drop_table("fingerprint")
