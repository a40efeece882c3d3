"""A version per content of a model: a recipe that was made anew with other bytes is another one.

Revision ID: 0005
Revises: 0004
"""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

KEY = "uq_model_version_name_artifact_key"
CONTENT = "uq_model_version_name_artifact_key_digest"


def upgrade() -> None:
    """One version per name, recipe and content."""
    with op.batch_alter_table("model_version") as table:
        table.drop_constraint(KEY, type_="unique")
        table.create_unique_constraint(op.f(CONTENT), ["name", "artifact_key", "digest"])


def downgrade() -> None:
    """One version per name and recipe. Refused by the database when a recipe has two: their
    verdicts cannot be taken back."""
    with op.batch_alter_table("model_version") as table:
        table.drop_constraint(CONTENT, type_="unique")
        table.create_unique_constraint(op.f(KEY), ["name", "artifact_key"])
