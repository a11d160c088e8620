"""One process at a time on one database: only then is a send nobody settled known to be nobody's."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine

#: PostgreSQL's advisory locks are numbers; this one is ours ("binhyen" in ASCII, 56 bits).
_LOCK = int.from_bytes(b"binhyen", "big")
#: How long to wait for a process that is just ending, seconds.
_PATIENCE = 10.0


class AlreadyRunning(Exception):
    """Another process works on this database."""


@asynccontextmanager
async def sole_process(engine: AsyncEngine) -> AsyncIterator[None]:
    """Hold the database for this process; released by the operating system or the server however it ends.

    Raises:
        AlreadyRunning: another process held it for as long as we were willing to wait.
    """
    url = make_url(str(engine.url))
    holding = _advisory_lock(engine) if url.get_backend_name() == "postgresql" else _file_lock(url.database)
    async with holding:
        yield


@asynccontextmanager
async def _advisory_lock(engine: AsyncEngine) -> AsyncIterator[None]:
    async with engine.connect() as connection:
        connection = await connection.execution_options(isolation_level="AUTOCOMMIT")
        for _ in range(int(_PATIENCE * 5)):
            if await connection.scalar(text("SELECT pg_try_advisory_lock(:lock)"), {"lock": _LOCK}):
                break
            await asyncio.sleep(0.2)
        else:
            raise AlreadyRunning
        try:
            yield
        finally:
            await connection.scalar(text("SELECT pg_advisory_unlock(:lock)"), {"lock": _LOCK})


@asynccontextmanager
async def _file_lock(database: str | None) -> AsyncIterator[None]:
    if not database or database == ":memory:":
        yield
        return
    handle = os.open(Path(f"{database}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        for _ in range(int(_PATIENCE * 5)):
            if _try_lock(handle):
                break
            await asyncio.sleep(0.2)
        else:
            raise AlreadyRunning
        yield
    finally:
        os.close(handle)


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
