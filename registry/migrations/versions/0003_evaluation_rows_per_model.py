"""Evaluation rows per model: two models with the same content share an evaluation artifact.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

ONE = "uq_evaluation_artifact_key_benchmark_metric_shots"
EACH = "uq_evaluation_artifact_key_model_key_benchmark_metric_shots"
FIGURE = ["benchmark", "metric", "shots"]


def upgrade() -> None:
    """One row per evaluation, model and figure."""
    with op.batch_alter_table("evaluation") as table:
        table.drop_constraint(ONE, type_="unique")
        table.create_unique_constraint(op.f(EACH), ["artifact_key", "model_key", *FIGURE])


def downgrade() -> None:
    """One row per evaluation and figure: of several models the first keeps its rows."""
    op.execute(
        "DELETE FROM evaluation WHERE id NOT IN (SELECT MIN(id) FROM evaluation"
        " GROUP BY artifact_key, benchmark, metric, shots)"
    )
    with op.batch_alter_table("evaluation") as table:
        table.drop_constraint(EACH, type_="unique")
        table.create_unique_constraint(op.f(ONE), ["artifact_key", *FIGURE])
