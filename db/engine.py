"""Engines and sessions: the SQLite pragmas, and one writer at a time where the database needs it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, event
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session

from db.one_hop import OneHop, one_hop
from db.outage import Outages
from db.sealing import KeyRing

_READS = "binhyen_reads"
_ERASED = "erased"
#: How long a writer waits for another before SQLite gives up, milliseconds.
BUSY_TIMEOUT_MS = 15_000


class NotOurs(ConnectionError):
    """The database is not this process's at the moment: another one may be at work on it."""


@dataclass(frozen=True, slots=True)
class Run:
    """This process at work on a database: what its leases are marked with, and which of them are alive here."""

    id: str = field(default_factory=lambda: secrets.token_hex(8))
    alive: set[int] = field(default_factory=set)


class Sessions:
    """Opens transactions. `begin()` may write; `reading()` never waits for a writer.

    Every session carries the key ring, so that what is sealed can be opened where it is read.
    """

    def __init__(self, engine: AsyncEngine, keys: KeyRing) -> None:
        self.engine = engine
        self.keys = keys
        #: Whether something was erased that may still lie on the disk (see db.erasure). Who has just started does not
        #: know what the process before it left.
        self.owes_erasure = True
        self.outages = Outages()
        self._writer = asyncio.Lock() if engine.dialect.name == "sqlite" else None
        info: dict[Any, Any] = {"keys": keys}
        self._write = async_sessionmaker(engine, expire_on_commit=False, info=info)
        self._is_ours = True
        self._closing: set[asyncio.Future[None]] = set()
        self._read = async_sessionmaker(engine.execution_options(**{_READS: True}), expire_on_commit=False, info=info)
        self.run = info["run"] = Run()

    def hold_writers(self) -> None:
        """Let nobody write, and with that claim or act, until `let_write`."""
        self._is_ours = False

    def let_write(self) -> None:
        """The database is ours again."""
        self._is_ours = True

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncSession]:
        """One transaction: committed when the block ends, rolled back when it raises.

        On SQLite, which has one writer at a time, they come in turn here: there the next one would be found by trying
        again and again, and whoever came first need not be the first.

        Raises:
            NotOurs: The database was lost to this process; to whoever works, as if it were out of reach.
        """
        await self._take_turn()
        try:
            if not self._is_ours:
                raise NotOurs
            session = self._write()
            try:
                yield session
                await session.run_sync(_commit)
            except BaseException:
                # Also when this task is cancelled: what is half done must not hold the next one up.
                await self._close(session)
                raise
            self.owes_erasure |= _ERASED in session.info
        finally:
            if self._writer is not None:
                self._writer.release()

    async def _take_turn(self) -> None:
        if self._writer is None:
            return
        if not self._writer.locked():
            await self._writer.acquire()
            return
        async with asyncio.timeout(BUSY_TIMEOUT_MS / 1000):
            await self._writer.acquire()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncSession]:
        """A snapshot to read from; nothing written here is kept."""
        session = self._read()
        try:
            yield session
        finally:
            await self._close(session)

    async def _close(self, session: AsyncSession) -> None:
        """Close it whatever happens to this task meanwhile: whoever hangs up is cancelled at every step, and what is
        not held by anybody would be collected half closed."""
        closing = asyncio.ensure_future(session.close())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)
        await asyncio.shield(closing)


def _commit(session: Session) -> None:
    """All there is to do at the end, in one go: each step on its own is a switch of its own."""
    session.commit()
    session.close()


def keys_of(session: AsyncSession) -> KeyRing:
    """The key ring the session was opened with."""
    keys: KeyRing = session.info["keys"]
    return keys


def owe_erasure(session: AsyncSession) -> None:
    """Say that this transaction erases something of a person's: it is wiped from the disk soon after the commit."""
    session.info[_ERASED] = True


def run_of(session: AsyncSession) -> Run:
    """The run the session belongs to."""
    run: Run = session.info["run"]
    return run


def is_sqlite(session: AsyncSession) -> bool:
    """Whether the session speaks to SQLite, where statements differ by necessity."""
    return session.get_bind().dialect.name == "sqlite"


def make_engine(url: str) -> AsyncEngine:
    """An engine for `url`, a `sqlite+aiosqlite` or `postgresql+asyncpg` address.

    SQLite is opened with WAL, full synchronisation (a confirmed report survives a power cut), enforced foreign keys
    and `BEGIN IMMEDIATE`: with the driver's deferred transactions, concurrent read-then-write updates are lost.
    Statement parameters never appear in errors or logs.
    """
    if make_url(url).get_backend_name() != "sqlite":
        return create_async_engine(url, hide_parameters=True, pool_size=10, max_overflow=10, pool_pre_ping=True)
    database = make_url(url).database
    if database and database != ":memory:" and not database.startswith("file:"):
        # Names and phone numbers are not sealed: what we make is closed to the machine's other accounts. SQLite gives
        # the files it makes beside the database the same mode.
        Path(database).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not Path(database).exists():
            Path(database).touch(mode=0o600)
    engine = create_async_engine(
        url,
        hide_parameters=True,
        connect_args={
            "isolation_level": None,
            "timeout": BUSY_TIMEOUT_MS / 1000,
            "async_creator_fn": one_hop,
        },
        pool_size=24,
        max_overflow=0,
        pool_timeout=60,
    )
    event.listen(engine.sync_engine, "connect", _set_pragmas)
    event.listen(engine.sync_engine, "begin", _begin)
    return engine


def _set_pragmas(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        f"busy_timeout={BUSY_TIMEOUT_MS}",
        "foreign_keys=ON",
        "secure_delete=ON",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: Connection) -> None:
    reads = connection.get_execution_options().get(_READS)
    driver: OneHop = connection.connection.driver_connection  # type: ignore[assignment]
    driver.begin("BEGIN" if reads else "BEGIN IMMEDIATE")
