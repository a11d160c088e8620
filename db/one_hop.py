"""SQLite with one hop to its thread for a statement, where the driver makes four.

aiosqlite lets every call of a connection run in the connection's thread. Making a cursor, executing, fetching and
closing are four, and the hops cost several times what SQLite needs for a short statement. Here a statement and its
rows are one, and BEGIN goes along with the first statement: a transaction in which nothing is asked costs nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import aiosqlite
from sqlalchemy.engine.interfaces import DBAPICursor


class OneHop(aiosqlite.Connection):
    """A connection whose cursors run in one hop each."""

    def __init__(self, connector: Callable[[], sqlite3.Connection]) -> None:
        super().__init__(connector, iter_chunk_size=64)
        self._thread.daemon = True
        self._begins: str | None = None
        self._is_begun = False
        self._given_up: sqlite3.Error | None = None

    def cursor(self) -> Any:  # the driver's is a coroutine; SQLAlchemy takes both
        """Something to execute a statement with."""
        return _Cursor(self)

    def begin(self, statement: str) -> None:
        """Begin a transaction with the next statement."""
        self._begins = statement
        self._is_begun = True

    async def commit(self) -> None:
        """Commit; nothing happens when nothing was asked since `begin`. Raises what gave the transaction up."""
        if self._given_up is not None:
            raise self._given_up
        if self._begins is None:
            await super().commit()
        self._begins, self._is_begun = None, False

    async def rollback(self) -> None:
        """Roll back; nothing happens when nothing was asked since `begin`."""
        if self._begins is None:
            await super().rollback()
        self._begins, self._is_begun, self._given_up = None, False, None

    async def ask(self, method: str, statement: str, parameters: Any) -> tuple[DBAPICursor, Sequence[Any]]:
        """Execute a statement in the thread; its cursor, closed, and all its rows.

        When there is no room, SQLite gives the whole transaction up and not only the statement. What was asked next
        would be kept at once, and savepoints are gone: it fails as the first did, until the transaction is rolled back.
        Source: https://www.sqlite.org/lang_transaction.html, "Response To Errors Within A Transaction"; read 2026-11.
        """
        if self._given_up is not None:
            raise self._given_up
        begins, self._begins = self._begins, None
        try:
            return await self._execute(partial(_ask, self._conn, begins, method, statement, parameters))  # type: ignore[no-any-return,no-untyped-call]
        except sqlite3.Error as error:
            if self._is_begun and not self.in_transaction:
                self._given_up = error
            raise


def one_hop(database: str, **options: Any) -> OneHop:
    """A connection to be opened, for SQLAlchemy's `async_creator_fn`."""
    return OneHop(partial(sqlite3.connect, database, **options))


def _ask(
    connection: sqlite3.Connection, begins: str | None, method: str, statement: str, parameters: Any
) -> tuple[sqlite3.Cursor, Sequence[Any]]:
    if begins is not None:
        connection.execute(begins)
    cursor = connection.cursor()
    getattr(cursor, method)(statement, parameters)
    rows = cursor.fetchall() if cursor.description else ()
    return cursor, rows


class _Cursor:
    """What SQLAlchemy asks of a cursor."""

    arraysize = 1

    def __init__(self, connection: OneHop) -> None:
        self._connection = connection
        self._rows: Sequence[Any] = ()
        self.description: Any = None
        self.lastrowid: int | None = None
        self.rowcount = -1

    async def __aenter__(self) -> _Cursor:
        return self

    async def execute(self, statement: str, parameters: Iterable[Any] = ()) -> None:
        """Execute, and fetch what there is."""
        await self._ask("execute", statement, parameters)

    async def executemany(self, statement: str, parameters: Iterable[Iterable[Any]]) -> None:
        """Execute once for each set of parameters."""
        await self._ask("executemany", statement, parameters)

    async def fetchall(self) -> Sequence[Any]:
        """The rows."""
        return self._rows

    async def close(self) -> None:
        """Forget the rows."""
        self._rows = ()

    async def _ask(self, method: str, statement: str, parameters: Any) -> None:
        cursor, self._rows = await self._connection.ask(method, statement, parameters)
        self.description, self.lastrowid, self.rowcount = cursor.description, cursor.lastrowid, cursor.rowcount
