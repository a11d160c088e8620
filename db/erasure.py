"""What was erased is wiped from the disk as well, and nothing on it keeps telling in what order rows were written.

A database keeps more than its rows. SQLite leaves old pages in the `-wal` file, PostgreSQL old versions of rows among
the new; and where a row lies, or which transaction wrote it, ties what one message caused in different tables together.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import structlog
from sqlalchemy import LargeBinary, Table, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

import db.tables  # noqa: F401 (fills the metadata)
from db.base import Base
from db.engine import BUSY_TIMEOUT_MS, Sessions

log = structlog.get_logger(__name__)

#: Tables of people who gave their names, of notices and of the ledger, whose rows take random numbers once they have
#: left (see Delivery): the order of the others is no secret, and some are large.
#: Every other table stands beside a reporter's traffic, so that a new one is among them unless it is named here.
_IN_THE_OPEN = frozenset(
    {
        "areas",
        "broadcast_contents",
        "broadcast_places",
        "broadcast_reach",
        "broadcasts",
        "contacts",
        "deliveries",
        "establishments",
        "group_members",
        "groups",
        "invitations",
        "notice_places",
        "notices",
        "officer_chats",
        "officers",
        "sealed_words",
        "shifts",
        "state_changes",
    }
)
#: Whoever has a table open is not made to wait for us longer than this; we come again.
_PATIENCE_MS = 100
_TRIES = 20
#: What is rewritten is closed meanwhile. So large a table takes a second by day, and a minute at night.
_LARGEST_BY_DAY = 64 * 2**20
_LARGEST_AT_NIGHT = 2**30
#: The largest SQLite file that is written anew at night: a few seconds in which nobody else writes.
_LARGEST_FILE = 512 * 2**20
_LOCK_NOT_AVAILABLE = "55P03"


def beside_reports() -> list[Table]:
    """The tables in which a reporter's messages leave rows."""
    return [table for table in Base.metadata.sorted_tables if table.name not in _IN_THE_OPEN]


async def settle_erasure(sessions: Sessions) -> bool:
    """Wipe from the disk what transactions have erased; cheap when nothing was. Open no transaction around it.

    Returns:
        Whether nothing is owed any more; otherwise somebody was reading, and it is to be tried again.
    """
    if not sessions.owes_erasure:
        return True
    sessions.owes_erasure = False  # what is erased from here on is owed anew
    done = False
    try:
        done = await (_truncate_wal(sessions.engine) if _is_sqlite(sessions) else _drop_old_rows(sessions.engine))
    finally:
        sessions.owes_erasure |= not done
    return done


async def shuffle_rows(sessions: Sessions) -> bool:
    """Undo the order in which rows were written; for the night. Open no transaction around it.

    Returns:
        Whether all was done; otherwise somebody was in the way, and it is to be tried again.
    """
    return await (_write_anew(sessions.engine) if _is_sqlite(sessions) else _cluster(sessions.engine))


def _is_sqlite(sessions: Sessions) -> bool:
    return sessions.engine.dialect.name == "sqlite"


# --- SQLite -------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def _impatient(engine: AsyncEngine) -> AsyncIterator[Any]:
    """The driver's own connection, outside any transaction, that gives up soon when somebody is in the way."""
    async with engine.connect() as connection:
        driver: Any = (await connection.get_raw_connection()).driver_connection
        await driver.execute(f"PRAGMA busy_timeout={_PATIENCE_MS}")
        try:
            yield driver
        finally:
            await driver.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")


async def _truncate_wal(engine: AsyncEngine) -> bool:
    """Bring all pages into the database file, where `secure_delete` has overwritten what is gone, and empty `-wal`.

    Source: https://www.sqlite.org/pragma.html#pragma_wal_checkpoint, the first column is 1 when it was kept from
    finishing; read 2026-11.
    """
    async with _impatient(engine) as driver:
        # The long part first, in which nobody waits.
        await driver.execute("PRAGMA wal_checkpoint(PASSIVE)")
        for _ in range(_TRIES):
            cursor = await driver.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            was_kept, *_rest = await cursor.fetchone()
            if not was_kept:
                return True
            await asyncio.sleep(_PATIENCE_MS / 1000)
    return False


async def _write_anew(engine: AsyncEngine) -> bool:
    """The whole file anew, in the order of keys: page numbers tell no order, and no page holds leftovers."""
    async with _impatient(engine) as driver:
        pages = await (await driver.execute("PRAGMA page_count")).fetchone()
        size = await (await driver.execute("PRAGMA page_size")).fetchone()
        if pages[0] * size[0] > _LARGEST_FILE:
            log.warning("too_large_to_shuffle", table="all", bytes=pages[0] * size[0])
            return True
        try:
            await driver.execute("VACUUM")
        except Exception as error:
            if _sqlite_was_busy(error):
                return False
            raise
    return await _truncate_wal(engine)


def _sqlite_was_busy(error: Exception) -> bool:
    return getattr(error, "sqlite_errorname", "").startswith("SQLITE_BUSY")


# --- PostgreSQL ---------------------------------------------------------------------------------------------------


async def _drop_old_rows(engine: AsyncEngine) -> bool:
    """Rewrite every table that may hold old versions of erased rows; the larger ones wait for the night."""
    async with _at_once(engine) as connection:
        if not await _readers_have_left(connection):
            return False
        done = True
        for name in await _up_to(connection, list(Base.metadata.tables), _LARGEST_BY_DAY):
            done = await _do(connection, f'VACUUM (FULL) "{name}"') and done
        return done


async def _cluster(engine: AsyncEngine) -> bool:
    """Give all rows of a table one writer and the order of their random or keyed primary key.

    CLUSTER alone keeps who wrote a row (since 9.4 also when it freezes it), hence the update before; and it keeps the
    numbers under which large values lie apart, hence `|| ''`, which makes new ones. It makes them row by row as these
    lie, so that the rows must lie in the order of their keys before the update as well.
    Source: https://www.postgresql.org/docs/current/sql-cluster.html and routine-vacuuming.html; read 2026-11.
    """
    tables = {table.name: table for table in beside_reports()}
    async with _at_once(engine) as connection:
        small = await _up_to(connection, list(tables), _LARGEST_AT_NIGHT)
        for name in sorted(tables.keys() - small):
            log.warning("too_large_to_shuffle", table=name)
        done = True
        for name in small:
            done = await _rewrite(connection, tables[name]) and done
        if not done or not await _readers_have_left(connection):
            return False
        for name in small:
            done = await _do(connection, f'CLUSTER "{name}" USING "pk_{name}"') and done
        return done


async def _rewrite(connection: AsyncConnection, table: Table) -> bool:
    keys = [f'"{column.name}" = "{column.name}"' for column in table.primary_key]
    large = [f'"{c.name}" = "{c.name}" || \'\'' for c in table.columns if isinstance(c.type, LargeBinary)]
    return await _do(
        connection,
        "BEGIN",
        f'LOCK TABLE "{table.name}" IN ACCESS EXCLUSIVE MODE',
        f'CLUSTER "{table.name}" USING "pk_{table.name}"',
        f'UPDATE "{table.name}" SET {", ".join(keys + large)}',  # noqa: S608 (names of our own tables)
        "COMMIT",
    )


@asynccontextmanager
async def _at_once(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A connection without a transaction around its statements, that waits for no lock for long."""
    async with engine.connect() as opened:
        connection = await opened.execution_options(isolation_level="AUTOCOMMIT")
        await connection.execute(text(f"SET lock_timeout = {_PATIENCE_MS}"))
        try:
            yield connection
        finally:
            await connection.execute(text("RESET lock_timeout"))


async def _do(connection: AsyncConnection, *statements: str) -> bool:
    """Run statements; False when a lock could not be had, and then nothing of them is kept."""
    try:
        for statement in statements:
            await connection.execute(text(statement))
    except DBAPIError as error:
        if len(statements) > 1:
            await connection.execute(text("ROLLBACK"))
        if getattr(error.orig, "sqlstate", None) != _LOCK_NOT_AVAILABLE:
            raise
        return False
    return True


async def _up_to(connection: AsyncConnection, names: list[str], largest: int) -> list[str]:
    """Those of our tables that are no larger than that, with all that belongs to them."""
    found = await connection.scalars(
        text(
            "SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r'"
            " AND relname = ANY(:names) AND pg_total_relation_size(oid) <= :largest ORDER BY relname"
        ),
        {"names": names, "largest": largest},
    )
    return list(found)


async def _readers_have_left(connection: AsyncConnection) -> bool:
    """Wait for the transactions that may still see what was erased before now; False when one is open for long."""
    before = await _open_transactions(connection)
    for _ in range(_TRIES):
        if not before & await _open_transactions(connection):
            return True
        await asyncio.sleep(_PATIENCE_MS / 1000)
    return False


async def _open_transactions(connection: AsyncConnection) -> set[str]:
    """Each open transaction of this database holds a lock on its own number, which everybody may see."""
    found = await connection.scalars(
        text(
            "SELECT virtualxid FROM pg_locks JOIN pg_stat_activity USING (pid)"
            " WHERE locktype = 'virtualxid' AND mode = 'ExclusiveLock' AND datname = current_database()"
            " AND pid <> pg_backend_pid()"
        )
    )
    return set(found)
