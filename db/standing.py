"""Which database this is and how far it got: a number inside it and in a file outside.

A copy that is restored brings its old number with it, and the file does not: that is how we know that what it has
waiting may have been sent long ago.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import structlog
from sqlalchemy import update
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncSession

from db.statements import insert_ignoring
from db.tables.standing import Standing

_ID = 1
#: Where a unit on a database server keeps its mark: with its other data, below the working directory.
MARKS = Path("data")
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Mark:
    """Which database, and how far it got."""

    identity: str
    number: int


class Outside:
    """The file with the mark: beside a SQLite database, in `folder` for one on a server.

    Without a place (a database in memory, which nobody finds again) nothing is kept.
    """

    def __init__(self, url: URL, folder: Path) -> None:
        self._url = url
        self._folder = folder

    def path(self, identity: str) -> Path | None:
        """Where the file is, whether or not it exists."""
        if self._url.get_backend_name() != "sqlite":
            return self._folder / f"binhyen-{identity[:12]}.run"
        in_memory = not self._url.database or self._url.database == ":memory:"
        return None if in_memory else Path(f"{self._url.database}.run")

    def read(self, identity: str) -> Mark | None:
        """What stands there of this database."""
        path = self.path(identity)
        with contextlib.suppress(OSError, ValueError):
            if path is not None:
                found, number = path.read_text("ascii").split()
                return Mark(found, int(number)) if found == identity else None
        return None

    def keep(self, mark: Mark) -> None:
        """Put a mark there; that it cannot be is said, and no reason not to work."""
        try:
            self.write(mark)
        except OSError as error:
            log.error(
                "mark_not_written", error=type(error).__name__, advice="a restored copy could not be told from this"
            )

    def write(self, mark: Mark) -> None:
        """Put a mark there, whole or not at all; raises OSError."""
        path = self.path(mark.identity)
        if path is None:
            return
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = path.with_name(f"{path.name}.new")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "w", encoding="ascii") as file:
            file.write(f"{mark.identity} {mark.number}\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, path)


@dataclass(frozen=True, slots=True)
class Arrival:
    """What a process finds when it starts. Its mark is to be written outside once the transaction is committed."""

    mark: Mark
    is_restored: bool
    seen_at: datetime | None


async def enter(session: AsyncSession, read: Callable[[str], Mark | None]) -> Arrival:
    """Begin to work on the database, and find out whether it is an older copy: the file outside is further, or it is
    gone though a process has worked on the database, also one that ended in peace: a copy may have been made then."""
    row = await _row(session)
    outside = read(row.identity)
    behind = _is_behind(row, outside)
    row.number = max(row.number, outside.number if outside is not None else 0) + 1
    await session.flush()
    return Arrival(Mark(row.identity, row.number), behind, row.seen_at)


async def advance(session: AsyncSession) -> Mark:
    """Go one further; what a copy made before this does not know has begun."""
    row = (
        await session.execute(
            update(Standing)
            .where(Standing.id == _ID)
            .values(number=Standing.number + 1)
            .returning(Standing.identity, Standing.number)
            .execution_options(synchronize_session=False)
        )
    ).one()
    return Mark(row.identity, row.number)


async def would_be_restored(session: AsyncSession, read: Callable[[str], Mark | None]) -> bool:
    """Whether the next start will take the database for an older copy; for one that no process works on."""
    row = await session.get(Standing, _ID)
    if row is None:
        return False
    return _is_behind(row, read(row.identity))


def _is_behind(row: Standing, outside: Mark | None) -> bool:
    return outside.number > row.number if outside is not None else row.number > 0


async def newest_seen(session: AsyncSession) -> datetime | None:
    """The newest minute any process has seen."""
    row = await session.get(Standing, _ID)
    return None if row is None else row.seen_at


async def remember_seen(session: AsyncSession, now: datetime) -> datetime | None:
    """Write down the minute; returns what stood there before."""
    row = await _row(session)
    before, row.seen_at = row.seen_at, minute_of(now)
    return before


def minute_of(at: datetime) -> datetime:
    """The minute of an instant."""
    return at.replace(second=0, microsecond=0)


async def _row(session: AsyncSession) -> Standing:
    fresh = insert_ignoring(session, Standing).values(id=_ID, identity=secrets.token_hex(16), number=0, seen_at=None)
    await session.execute(fresh)
    return await session.get_one(Standing, _ID, with_for_update=True)
