"""Alembic's environment: it works on the connection it is handed."""

from alembic import context
from sqlalchemy import Connection

import db.tables  # noqa: F401 (fills the metadata)
from db.base import Base

connection: Connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=Base.metadata,
    render_as_batch=True,
    compare_type=True,
    # The caller's transaction is the only one: a migration that fails leaves nothing behind.
    transactional_ddl=False,
)
context.run_migrations()
