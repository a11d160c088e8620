"""Work on many items so that one that cannot be done keeps no other from being done.

Each item has a savepoint of its own. One that fails is tried again a little later, then parked: it is said once, and
tried seldom from then on, for a newer version or a mended row may get it done.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

import structlog
from sqlalchemy import ColumnElement, String, cast, delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from db.marks import day_of
from db.outage import is_outage
from db.statements import insert_ignoring
from db.tables.troubles import Trouble

_T = TypeVar("_T")
log = structlog.get_logger(__name__)

#: How long an item waits after its first failures; after one more it is parked.
_PAUSES = (timedelta(seconds=5), timedelta(seconds=20))
#: How often what is parked is tried.
_PARKED = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Parked:
    """An item that could not be done, as it is told to people."""

    kind: str
    item: str
    reference: str


async def each(
    session: AsyncSession,
    kind: str,
    items: Iterable[_T],
    do: Callable[[_T], Awaitable[Any]],
    *,
    now: datetime,
    name: Callable[[_T], object] = lambda item: item.id,  # type: ignore[attr-defined]
) -> int:
    """Do something with every item, each in a savepoint of its own; returns how many got done.

    Items are chosen by the caller with `may_be_tried`, so that those in trouble take nobody's place.

    Raises:
        SQLAlchemyError, OSError: Storage failed; that is nobody's fault but the database's.
    """
    named = [(str(name(item)), item) for item in items]
    if not named:
        return 0
    troubled = {row.item: row for row in await session.scalars(select(Trouble).where(Trouble.kind == kind))}
    done = 0
    for key, item in named:
        try:
            async with session.begin_nested():
                await do(item)
        except Exception as error:
            if isinstance(error, OSError) or is_outage(error):
                raise  # not the item fails: the transaction is given up, and all of it is tried again
            await _note(session, kind, key, troubled.get(key), error, now=now)
        else:
            done += 1
            if key in troubled:
                await session.delete(troubled[key])
    return done


def may_be_tried(kind: str, column: Any, *, now: datetime) -> ColumnElement[bool]:
    """Whether the item with this id is not in trouble, or its pause is over. None is longer than _PARKED: what says so
    was written while the clock was ahead, or is damaged."""
    waits = (
        select(Trouble.item)
        .where(
            Trouble.kind == kind,
            Trouble.item == cast(column, String),
            Trouble.not_before > now,
            Trouble.not_before <= now + _PARKED,
        )
        .exists()
    )
    return ~waits


async def _note(
    session: AsyncSession, kind: str, item: str, trouble: Trouble | None, error: Exception, *, now: datetime
) -> None:
    if trouble is None:
        trouble = Trouble(kind=kind, item=item, attempts=0, reference=secrets.token_hex(2).upper(), parked=False)
        session.add(trouble)
    trouble.attempts = min(trouble.attempts + 1, 10_000)
    trouble.day = day_of(now)
    is_last = trouble.attempts > len(_PAUSES)
    trouble.not_before = now + (_PARKED if is_last else _PAUSES[trouble.attempts - 1])
    if is_last and not trouble.parked:
        trouble.parked = True
        # The one alarm; which item it is stands in the table, under the same reference.
        log.error("item_parked", kind=kind, item=item, reference=trouble.reference, exc_info=error)
    elif not trouble.parked:
        log.warning("item_failed", kind=kind, item=item, reference=trouble.reference, error=type(error).__name__)


async def park(session: AsyncSession, kind: str, item: str, *, now: datetime) -> None:
    """Say once, in the log and to people, that an item cannot be done, and that trying again would not help."""
    trouble = await session.get(Trouble, (kind, item))
    if trouble is not None and trouble.parked:
        return
    if trouble is None:
        trouble = Trouble(kind=kind, item=item, attempts=1, reference=secrets.token_hex(2).upper(), told=False)
        session.add(trouble)
    trouble.parked, trouble.not_before, trouble.day = True, None, day_of(now)
    log.error("item_parked", kind=kind, item=item, reference=trouble.reference)
    await session.flush()


async def parked_and_not_told(session: AsyncSession, *, limit: int = 20) -> list[Parked]:
    """What was parked since this was last asked; from now on it counts as told."""
    rows = await session.execute(
        update(Trouble)
        .where(
            Trouble.item.in_(
                select(Trouble.item).where(Trouble.parked, Trouble.told.is_(False)).order_by(Trouble.item).limit(limit)
            ),
            Trouble.parked,
            Trouble.told.is_(False),
        )
        .values(told=True)
        .returning(Trouble.kind, Trouble.item, Trouble.reference)
        .execution_options(synchronize_session=False)
    )
    return sorted((Parked(row.kind, row.item, row.reference or "") for row in rows), key=lambda one: one.reference)


async def all_parked(session: AsyncSession) -> list[Parked]:
    """Everything that is parked."""
    rows = await session.scalars(select(Trouble).where(Trouble.parked).order_by(Trouble.kind, Trouble.item).limit(100))
    return [Parked(row.kind, row.item, row.reference or "") for row in rows]


async def forget_troubles(session: AsyncSession, *, before: datetime) -> None:
    """Drop what nobody has tried since then: its item is gone, or got done some other way."""
    await session.execute(delete(Trouble).where(Trouble.day < before).execution_options(synchronize_session=False))


# --- work outside a transaction ---


async def count_attempt(session: AsyncSession, kind: str, item: str, *, now: datetime) -> int:
    """Count an attempt that is about to be made; returns which one it is. Commit before making it."""
    fresh = insert_ignoring(session, Trouble).values(
        kind=kind, item=item, attempts=0, day=day_of(now), parked=False, told=False
    )
    await session.execute(fresh)
    mine = (Trouble.kind == kind, Trouble.item == item)
    counted: int = (
        await session.scalar(
            update(Trouble)
            .where(*mine)
            .values(attempts=Trouble.attempts + 1, day=day_of(now))
            .returning(Trouble.attempts)
            .execution_options(synchronize_session=False)
        )
        or 0
    )
    return counted


async def forget_attempts(session: AsyncSession, kind: str, item: str) -> None:
    """The attempt came to an end, whichever."""
    await session.execute(
        delete(Trouble).where(Trouble.kind == kind, Trouble.item == item).execution_options(synchronize_session=False)
    )
