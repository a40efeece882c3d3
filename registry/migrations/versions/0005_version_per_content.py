"""A version per content of a model: a recipe that was made anew with other bytes is another one.

Revision ID: 0005
Revises: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

KEY = "uq_model_version_name_artifact_key"
CONTENT = "uq_model_version_name_artifact_key_digest"


def from_one() -> sa.CheckConstraint:
    """A copied SQLite table keeps only the checks that it is told of."""
    return sa.CheckConstraint("version >= 1", name=op.f("ck_model_version_version"))


def upgrade() -> None:
    """One version per name, recipe and content."""
    checks = () if op.get_bind().dialect.name != "sqlite" else (from_one(),)
    with op.batch_alter_table("model_version", table_args=checks) as table:
        table.drop_constraint(KEY, type_="unique")
        table.create_unique_constraint(op.f(CONTENT), ["name", "artifact_key", "digest"])


def downgrade() -> None:
    """One version per name and recipe. Refused by the database when a recipe has two: their
    verdicts cannot be taken back."""
    checks = () if op.get_bind().dialect.name != "sqlite" else (from_one(),)
    with op.batch_alter_table("model_version", table_args=checks) as table:
        table.drop_constraint(CONTENT, type_="unique")
        table.create_unique_constraint(op.f(KEY), ["name", "artifact_key"])
