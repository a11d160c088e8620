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
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from bench.botapi.server import FakeBotApi
from db.engine import Sessions, make_engine
from db.sealing import KeyRing
from db.upgrade import upgrade
from tests.databases import Opened, Postgres, lent_postgresql, postgresql, sqlite
from tests.factories import Factory
from tests.processes import sqlite_url
from tests.worlds import KINDS, Clock, World, open_world

KEYS = KeyRing([b"k" * 32])
#: A Monday morning, 08:00 in Viet Nam.
NOW = datetime(2026, 11, 23, 1, 0, tzinfo=UTC)
DATABASES = os.environ.get("TEST_DATABASES", "sqlite,postgresql").split(",")


#: Tests of processes, browsers, floods and days; and what a second database or channel is asked once more.
_SLOW_FOLDERS = {"attacks", "bench", "browser", "demo", "deploy"}
_SLOW_KINDS = {"postgresql", "web", "text"}


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--fast` is for the inner loop; everything runs without it."""
    parser.addoption("--fast", action="store_true", help="rules and conversations, once each: SQLite, one channel")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what `--fast` leaves out."""
    if not config.getoption("fast"):
        return
    fast = [item for item in items if _is_fast(item)]
    config.hook.pytest_deselected(items=[item for item in items if item not in set(fast)])
    items[:] = fast


def _is_fast(item: pytest.Item) -> bool:
    place = item.path.relative_to(Path(__file__).parent).parts
    if len(place) == 1 and place[0] not in ("test_architecture.py", "test_documents.py"):
        return False
    named = item.name.partition("[")[2].rstrip("]").split("-")
    return not (_SLOW_FOLDERS & set(place) or _SLOW_KINDS & set(named) or "postgresql" in item.name)


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


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One PostgreSQL for the whole run (of each worker)."""
    # Not below pytest's folders: those are closed to the account the server runs under.
    folder = Path(tempfile.mkdtemp(prefix="binhyen-test-"))
    server = Postgres(folder)
    yield server
    server.stop()
    shutil.rmtree(folder, ignore_errors=True)


def _opens(request: pytest.FixtureRequest, kind: str, *, empty: bool = False) -> Opened:
    """How to open a fresh database; servers and templates are made here, where no event loop runs yet."""
    if kind not in DATABASES:
        pytest.skip(f"{kind} is left out by TEST_DATABASES")
    if kind == "sqlite":
        path: Path = request.getfixturevalue("tmp_path") / "binhyen.db"
        template = None if empty else request.getfixturevalue("sqlite_template")
        return lambda: sqlite(path, template)
    server: Postgres = request.getfixturevalue("postgres")
    # A thief looks at pages and at the order of rows: there nobody else's may have been.
    if empty or "attacks" in request.path.parts:
        return lambda: postgresql(server, "template0" if empty else "template")
    return lambda: lent_postgresql(server)


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
def sqlite_file(tmp_path: Path, sqlite_template: Path) -> str:
    """The address of a fresh SQLite file with all tables, `binhyen.db` in `tmp_path`; no process has run on it."""
    shutil.copyfile(sqlite_template, tmp_path / "binhyen.db")
    return sqlite_url(tmp_path)


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


# --- platforms -------------------------------------------------------------------------------------------------


@pytest.fixture
async def api() -> AsyncIterator[FakeBotApi]:
    """A Telegram on loopback, strict in everything but its pace."""
    async with FakeBotApi(rate=None) as server:
        yield server


# --- worlds ----------------------------------------------------------------------------------------------------


@pytest.fixture(params=KINDS)
async def world(request: pytest.FixtureRequest, sqlite_engine: AsyncEngine, clock: Clock) -> AsyncIterator[World]:
    """The whole house on one channel, three times: Telegram-like, our web page, letters."""
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
