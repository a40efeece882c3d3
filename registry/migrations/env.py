"""Alembic's entry: runs the migrations on the connection that registry.database hands over."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection

from registry.database import VERSION_TABLE, Registry
from registry.schema import Base


def run(connection: Connection) -> None:
    """Run the migrations inside the caller's transaction."""
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        version_table=VERSION_TABLE,
        render_as_batch=True,
        compare_type=True,
        # SQLite does have transactional DDL once the driver leaves BEGIN to us.
        transactional_ddl=True,
    )
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    url = context.get_x_argument(as_dictionary=True).get("url")
    if not url:
        raise ValueError("say which database: alembic -c registry/alembic.ini -x url=<url> ...")
    with Registry(url).engine.begin() as own:
        run(own)
