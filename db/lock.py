"""One process at a time on one database: only then is a send nobody settled known to be nobody's.

The lock vanishes with the process, however it ends. It can also vanish from under a living one: a database server that
is restarted forgets it, and a lock file that somebody removes locks nothing. So it is looked after all the time.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import structlog
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

log = structlog.get_logger(__name__)

#: PostgreSQL's advisory locks are numbers; this one is ours ("binhyen" in ASCII, 56 bits).
_LOCK = int.from_bytes(b"binhyen", "big")
#: How long to wait for a process that is just ending, seconds.
_PATIENCE = 10.0
#: How often the lock is looked after, and how long an answer may take, seconds.
_BEAT, _ANSWER = 2.0, 5.0
_OUT_OF_REACH = (SQLAlchemyError, OSError, TimeoutError)


class AlreadyRunning(Exception):
    """Another process works on this database."""


class Ended(Exception):
    """The process ends though nobody told it to; the message is one sentence for whoever runs it."""


class Superseded(Ended):
    """Another process has the database now, or it is another database."""


class Lock(ABC):
    """What keeps other processes out."""

    @abstractmethod
    async def take(self) -> bool:
        """Try to take it; False when another process has it."""

    @abstractmethod
    async def is_held(self) -> bool:
        """Whether it is still ours.

        Raises:
            Superseded: There is nothing left to take again.
        """

    async def wait(self, seconds: float) -> None:
        """Wait, less long when it is known to be lost."""
        await asyncio.sleep(seconds)

    @abstractmethod
    async def release(self) -> None:
        """Give it back."""

    async def keep(self, *, lost: Callable[[], None], retaken: Callable[[], Awaitable[None]]) -> None:
        """Look after the lock until cancelled. When it is lost, `lost` is called at once; then it is tried to take it
        again, for as long as the database is out of reach, and `retaken` is called.

        Raises:
            Superseded: another process was faster, or the database was put away.
        """
        while True:
            await self.wait(_BEAT)
            try:
                if await self.is_held():
                    continue
            except Superseded:
                lost()
                raise
            lost()
            log.error("lock_lost", advice="nothing is sent or acted upon until it is taken again")
            await self._take_again()
            await retaken()
            log.warning("lock_taken_again")

    async def _take_again(self) -> None:
        others_since: float | None = None
        while True:
            try:
                if await self.take():
                    return
            except _OUT_OF_REACH:
                others_since = None
            else:
                others_since = others_since or time.monotonic()
                if time.monotonic() - others_since > _PATIENCE:
                    raise Superseded(
                        "Another Bình Yên has taken this database while it was out of reach; this one ends."
                    )
            await asyncio.sleep(0.2)


@asynccontextmanager
async def sole_process(engine: AsyncEngine) -> AsyncIterator[Lock]:
    """Hold the database for this process; released by the operating system or the server however it ends.

    Raises:
        AlreadyRunning: another process held it for as long as we were willing to wait.
    """
    lock = _lock_of(engine)
    try:
        for _ in range(int(_PATIENCE * 5)):
            if await lock.take():
                break
            await asyncio.sleep(0.2)
        else:
            raise AlreadyRunning
        yield lock
    finally:
        await lock.release()


def _lock_of(engine: AsyncEngine) -> Lock:
    if engine.url.get_backend_name() == "postgresql":
        return _AdvisoryLock(engine)
    database = engine.url.database
    return _NoLock() if not database or database == ":memory:" else _FileLock(Path(database))


class _NoLock(Lock):
    """A database in memory is nobody else's."""

    async def take(self) -> bool:
        return True

    async def is_held(self) -> bool:
        return True

    async def release(self) -> None:
        pass


class _AdvisoryLock(Lock):
    """PostgreSQL: held by a connection, and gone with it."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._connection: AsyncConnection | None = None
        self._ended = asyncio.Event()

    async def take(self) -> bool:
        await self.release()
        async with asyncio.timeout(_ANSWER):
            connection = await self._engine.connect()
            try:
                await connection.execution_options(isolation_level="AUTOCOMMIT")
                taken = await connection.scalar(text("SELECT pg_try_advisory_lock(:lock)"), {"lock": _LOCK})
                if taken:
                    self._ended.clear()
                    driver = (await connection.get_raw_connection()).driver_connection
                    driver.add_termination_listener(self._on_end)  # type: ignore[union-attr]
                    self._connection = connection
            finally:
                if self._connection is None:
                    await connection.close()
        return bool(taken)

    async def is_held(self) -> bool:
        if self._connection is None or self._ended.is_set():
            return False
        try:
            async with asyncio.timeout(_ANSWER):
                held = await self._connection.scalar(
                    text(
                        "SELECT EXISTS (SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND granted"
                        " AND pid = pg_backend_pid() AND (classid::bigint << 32 | objid::bigint) = :lock)"
                    ),
                    {"lock": _LOCK},
                )
        except _OUT_OF_REACH:
            return False
        return bool(held)

    async def wait(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._ended.wait(), seconds)

    async def release(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        with contextlib.suppress(*_OUT_OF_REACH):
            async with asyncio.timeout(_ANSWER):
                if not self._ended.is_set():
                    await connection.scalar(text("SELECT pg_advisory_unlock(:lock)"), {"lock": _LOCK})
        with contextlib.suppress(*_OUT_OF_REACH):
            async with asyncio.timeout(_ANSWER):
                await connection.invalidate()
                await connection.close()

    def _on_end(self, _connection: object) -> None:
        self._ended.set()


class _FileLock(Lock):
    """SQLite: an exclusive lock on a file beside the database."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._path = Path(f"{database}.lock")
        self._handle: int | None = None
        self._of: tuple[int, int] | None = None

    async def take(self) -> bool:
        await self.release()
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        if not _try_lock(handle) or _identity(os.fstat(handle)) != self._file(self._path):
            os.close(handle)
            return False
        self._handle = handle
        self._of = self._of or self._file(self._database)
        return True

    async def is_held(self) -> bool:
        if self._file(self._database) != self._of:
            raise Superseded(
                f"The database {self._database} was moved, removed or replaced while Bình Yên was running; it ends, so "
                "that nothing more is written to the old one."
            )
        return self._handle is not None and self._file(self._path) == _identity(os.fstat(self._handle))

    async def release(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)

    @staticmethod
    def _file(path: Path) -> tuple[int, int] | None:
        try:
            return _identity(os.stat(path))
        except OSError:
            return None


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _try_lock(handle: int) -> bool:
    if os.name == "nt":
        import msvcrt

        with contextlib.suppress(OSError):
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
            return True
        return False
    import fcntl

    with contextlib.suppress(OSError):
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False
