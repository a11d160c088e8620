"""What statements of both databases have in common."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Executable
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from db.engine import is_sqlite, owe_erasure


def insert_ignoring(session: AsyncSession, table: Any) -> sqlite.Insert | postgresql.Insert:
    """An INSERT that leaves rows already there as they are."""
    if is_sqlite(session):
        return sqlite.insert(table).on_conflict_do_nothing()
    return postgresql.insert(table).on_conflict_do_nothing()


async def changed(session: AsyncSession, statement: Executable) -> int:
    """Execute an INSERT, UPDATE or DELETE; how many rows it has written."""
    done = await session.execute(statement)
    return done.rowcount  # type: ignore[attr-defined,no-any-return]


async def erase_rows(session: AsyncSession, statement: Executable) -> int:
    """Execute a DELETE of what a person wrote or sent, or of what leads to them; returns how many rows are gone. Where
    there were any they are wiped from the disk soon after the commit: every such DELETE goes this way."""
    gone = await changed(session, statement)
    if gone:
        owe_erasure(session)
    return gone
