"""Brings a database to the newest schema."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, text
from sqlalchemy.ext.asyncio import AsyncEngine

if TYPE_CHECKING:
    from alembic.config import Config

_MIGRATIONS = Path(__file__).parent / "migrations"


def newest_revision() -> str:
    """The revision this version of the program works with: the migration whose file sorts last."""
    return max(path.name for path in (_MIGRATIONS / "versions").glob("[0-9]*.py")).split("_")[0]


def alembic_config(connection: Connection | None = None) -> Config:
    """Alembic's configuration, without a file; `connection` is the one to work on."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.attributes["connection"] = connection
    return config


def revision_of(connection: Connection) -> str | None:
    """The revision a database is at; None for an empty one."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return found


async def upgrade(engine: AsyncEngine) -> None:
    """Run the migrations that are missing; on a new database, all of them. All or none is kept."""
    async with engine.begin() as connection:
        if await connection.run_sync(revision_of) != newest_revision():
            await connection.run_sync(_upgrade)


def _upgrade(connection: Connection) -> None:
    # Imported here: a database that is up to date, as on most starts, does not need it.
    from alembic import command

    command.upgrade(alembic_config(connection), "head")
