"""Promotions are only ever added: the database refuses to change or delete one.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

MESSAGE = "promotion rows are append-only"


def upgrade() -> None:
    """Add the triggers. A later migration that copies the table must add them again."""
    if op.get_bind().dialect.name == "sqlite":
        for action in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER promotion_no_{action.lower()} BEFORE {action} ON promotion "
                f"BEGIN SELECT RAISE(ABORT, '{MESSAGE}'); END"
            )
        return
    op.execute(
        "CREATE FUNCTION promotion_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{MESSAGE}' USING ERRCODE = 'integrity_constraint_violation'; "
        "END $$"
    )
    op.execute(
        "CREATE TRIGGER promotion_append_only BEFORE UPDATE OR DELETE ON promotion "
        "FOR EACH ROW EXECUTE FUNCTION promotion_append_only()"
    )


def downgrade() -> None:
    """Drop the triggers."""
    if op.get_bind().dialect.name == "sqlite":
        op.execute("DROP TRIGGER promotion_no_update")
        op.execute("DROP TRIGGER promotion_no_delete")
        return
    op.execute("DROP TRIGGER promotion_append_only ON promotion")
    op.execute("DROP FUNCTION promotion_append_only()")
