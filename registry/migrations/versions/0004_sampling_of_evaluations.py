"""How the answers of an evaluation were drawn, beside its figures.

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Rows that are there already say nothing about it: an empty object."""
    op.add_column(
        "evaluation", sa.Column("sampling", sa.JSON(), nullable=False, server_default="{}")
    )


def downgrade() -> None:
    """Forget it."""
    op.drop_column("evaluation", "sampling")
