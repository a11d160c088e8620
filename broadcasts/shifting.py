"""What a broadcast still has to send follows its notice: held, going on, put off to the morning, called off.

A large broadcast follows in short steps. Pause and cancel act before the next send all the same: until the last row
has followed, nothing leaves the broadcast's lane.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, select
from sqlalchemy.ext.asyncio import AsyncSession

from broadcasts.facts import NoticeFacts
from db.tables.broadcasts import Broadcast, Notice, NoticeState
from db.tables.deliveries import Delivery, DeliveryState, Lane
from deliveries import calling_off
from unit.policy import Policy
from unit.quiet import is_quiet, quiet_ends

#: How many rows one short transaction writes, unless its caller knows better.
STEP = 250
#: A paused notice goes on when an officer says so, and not by itself.
_PAUSED = timedelta(days=3650)


def lane_of(notice: Notice) -> Lane:
    """The lane a notice is sent in."""
    return Lane.URGENT if notice.urgent else Lane.ROUTINE


def leaves_at(notice: Notice | NoticeFacts, *, now: datetime, policy: Policy) -> datetime:
    """When a notice that could leave now leaves: unless it is urgent, or its author said so, not in quiet hours."""
    if notice.urgent or notice.at_night or not is_quiet(now, policy):
        return now
    return quiet_ends(now, policy)


async def broadcasts_of(session: AsyncSession, notice_id: int) -> list[Broadcast]:
    """Every sending of a notice, for this transaction to change."""
    found = await session.scalars(
        select(Broadcast).where(Broadcast.notice_id == notice_id).order_by(Broadcast.id).with_for_update()
    )
    return list(found)


async def shift_all(session: AsyncSession, notice: Notice, *, now: datetime) -> None:
    """Let every unfinished broadcast of a notice follow it."""
    for broadcast in await broadcasts_of(session, notice.id):
        if broadcast.finished_at is None:
            await shift(session, broadcast, notice, now=now)


async def shift(session: AsyncSession, broadcast: Broadcast, notice: Notice, *, now: datetime) -> None:
    """Let a broadcast follow its notice: at once as far as its next send goes, the rest of it in steps."""
    is_called_off = notice.state is NoticeState.CANCELLED
    is_held = is_called_off or _held_until(broadcast, notice, now=now) is not None
    broadcast.shifts_after = 0
    broadcast.halts_lane = int(lane_of(notice)) if is_held else None
    await _step(session, broadcast, notice, now=now, size=STEP)


async def shift_more(session: AsyncSession, *, now: datetime, size: int = STEP) -> bool:
    """Let `size` more deliveries of a large broadcast follow; returns whether there was one."""
    found = await session.execute(
        select(Broadcast, Notice)
        .join(Notice, Notice.id == Broadcast.notice_id)
        .where(Broadcast.finished_at.is_(None), Broadcast.shifts_after.is_not(None))
        .order_by(Broadcast.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    for broadcast, notice in found:
        await _step(session, broadcast, notice, now=now, size=size)
        return True
    return False


async def _step(session: AsyncSession, broadcast: Broadcast, notice: Notice, *, now: datetime, size: int) -> None:
    after = broadcast.shifts_after or 0
    through = await session.scalar(
        select(Delivery.id)
        .where(Delivery.broadcast_id == broadcast.id, Delivery.state == DeliveryState.PENDING, Delivery.id > after)
        .order_by(Delivery.id)
        .offset(size - 1)
        .limit(1)
    )
    # What is under way among them as well: it may be put back.
    which = Delivery.id > after if through is None else Delivery.id.between(after + 1, through)
    await _follow(session, broadcast, notice, which, now=now)
    broadcast.shifts_after = through
    if through is None:
        broadcast.halts_lane = None


async def _follow(
    session: AsyncSession, broadcast: Broadcast, notice: Notice, which: ColumnElement[bool], *, now: datetime
) -> None:
    if notice.state is NoticeState.CANCELLED:
        await calling_off.cancel(session, broadcast.id, now=now, which=which)
    else:
        await calling_off.hold(session, broadcast.id, until=_held_until(broadcast, notice, now=now) or now, which=which)


def _held_until(broadcast: Broadcast, notice: Notice, *, now: datetime) -> datetime | None:
    """Until when nothing of a broadcast leaves; None when it may leave."""
    if notice.state is NoticeState.PAUSED:
        return now + _PAUSED
    return broadcast.held_until if broadcast.held_until is not None and broadcast.held_until > now else None
