"""Migrations: from nothing to exactly the tables the code knows, and back, on both databases."""

from __future__ import annotations

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect

import db.tables  # noqa: F401 (fills the metadata)
from db.base import Base
from db.upgrade import alembic_config, upgrade


def differences(connection: Connection) -> list[object]:
    context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
    return list(compare_metadata(context, Base.metadata))


def tables(connection: Connection) -> set[str]:
    return set(inspect(connection).get_table_names())


async def test_migrations_from_empty_equal_the_tables(empty_engine):
    await upgrade(empty_engine)
    async with empty_engine.connect() as connection:
        assert await connection.run_sync(differences) == []
        assert await connection.run_sync(tables) == {*Base.metadata.tables, "alembic_version"}


async def test_upgrading_twice_changes_nothing(empty_engine):
    await upgrade(empty_engine)
    await upgrade(empty_engine)
    async with empty_engine.connect() as connection:
        assert await connection.run_sync(differences) == []


async def test_every_migration_can_be_undone(empty_engine):
    await upgrade(empty_engine)
    async with empty_engine.begin() as connection:
        await connection.run_sync(lambda sync: command.downgrade(alembic_config(sync), "base"))
    async with empty_engine.connect() as connection:
        assert await connection.run_sync(tables) <= {"alembic_version"}
    await upgrade(empty_engine)
    async with empty_engine.connect() as connection:
        assert await connection.run_sync(differences) == []


async def test_indexes_and_constraints_have_the_same_names_on_both(empty_engine):
    def names(connection: Connection) -> set[str | None]:
        seen = inspect(connection)
        return {
            index["name"]
            for table in Base.metadata.tables
            for index in seen.get_indexes(table)
            if "duplicates_constraint" not in index
        }

    await upgrade(empty_engine)
    async with empty_engine.connect() as connection:
        found = await connection.run_sync(names)
    assert found == {str(index.name) for table in Base.metadata.tables.values() for index in table.indexes}


def test_there_is_one_line_of_migrations():
    assert len(ScriptDirectory.from_config(alembic_config()).get_heads()) == 1
