"""A due notice becomes a broadcast. A large one is opened in steps, each a short transaction that writes some places,
their deliveries, and how far it has come: stopped anywhere, it goes on there, with nothing lost and nothing doubled.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, String, and_, case, func, insert, literal, null, select
from sqlalchemy.ext.asyncio import AsyncSession

from broadcasts.contents import content_in, say
from broadcasts.facts import NoticeState
from broadcasts.messages import ToAuthor, put_off, rests, too_late
from broadcasts.notices import MOST_LATE, facts_of, name_more
from broadcasts.shifting import STEP, broadcasts_of, lane_of, leaves_at, shift, shift_more
from conversations.languages import language_of
from db.base import FAR_FUTURE
from db.statements import changed, insert_ignoring
from db.tables.broadcasts import (
    Broadcast,
    BroadcastPlace,
    BroadcastReach,
    Notice,
    NoticePart,
    NoticePlace,
)
from db.tables.deliveries import Delivery, DeliveryState, Lane
from db.tables.establishments import Contact, Establishment, EstablishmentState
from db.troubles import each, may_be_tried
from deliveries.ledger import open_delivery
from unit.policy import Policy
from unit.quiet import is_quiet, quiet_ends

#: How long before the quiet hours begin what is under way is put off: ticks come once a second.
_BEFORE_NIGHT = timedelta(seconds=5)


async def open_due(session: AsyncSession, *, now: datetime, policy: Policy) -> list[int]:
    """Begin a broadcast for every notice that is due, and open the first STEP of their establishments; `go_on` opens
    the others. Returns the ids of the broadcasts begun.

    A notice that is more than MOST_LATE late is called off; one that would leave in quiet hours, though its author was
    not asked, waits for their end. Its author is told of either. One that cannot be opened keeps no other from it.
    """
    due = await session.scalars(
        select(Notice)
        .where(
            Notice.state == NoticeState.SCHEDULED,
            # One that is damaged is read as long past, and called off like any that is too late.
            (Notice.scheduled_for <= now) | (Notice.scheduled_for > FAR_FUTURE),
            # Its audience is still being written down.
            ~select(NoticePart.part).where(NoticePart.notice_id == Notice.id).exists(),
            may_be_tried("notice", Notice.id, now=now),
        )
        .order_by(Notice.urgent.desc(), Notice.scheduled_for)
        .limit(20)
        .with_for_update(skip_locked=True)
    )
    begun: list[int] = []

    async def begin_one(notice: Notice) -> None:
        if notice.scheduled_for is not None and now - notice.scheduled_for > MOST_LATE:
            await _skip(session, notice, now=now, policy=policy)
        elif (morning := leaves_at(notice, now=now, policy=policy)) > now:
            await _put_off(session, notice, morning, now=now, policy=policy)
        elif (broadcast_id := await _begin(session, notice, now=now, policy=policy)) is not None:
            begun.append(broadcast_id)

    await each(session, "notice", due, begin_one, now=now)
    if begun:
        await _open_more(session, now=now, policy=policy, size=STEP)
    return begun


async def go_on(session: AsyncSession, *, now: datetime, policy: Policy, size: int = STEP) -> bool:
    """One short step of what is too large for one transaction: let a broadcast follow its notice, write an audience
    down, open more of a broadcast.

    Args:
        size: How many establishments or deliveries.

    Returns:
        Whether there was anything to do.
    """
    return (
        await shift_more(session, now=now, size=size)
        or await name_more(session, size=size)
        or await _open_more(session, now=now, policy=policy, size=size)
    )


async def open_whole(session: AsyncSession, notice: Notice, *, now: datetime, policy: Policy) -> int:
    """Open all that is left of a notice in this transaction, however long it takes: for what is not being sent now.

    A scheduled one is begun; one that was begun goes on from where it stands, also while it is paused.

    Returns:
        The id of its newest broadcast.
    """
    while await name_more(session, size=STEP):
        pass
    if notice.state is NoticeState.SCHEDULED:
        await _begin(session, notice, now=now, policy=policy)
    broadcasts = await broadcasts_of(session, notice.id)
    for broadcast in broadcasts:
        while broadcast.finished_at is None and broadcast.opens_after is not None:
            await _open_step(session, broadcast, notice, limit=STEP, now=now, policy=policy)
    return broadcasts[-1].id


def is_half_open() -> ColumnElement[bool]:
    """Whether a broadcast of a notice was begun and has establishments left to open."""
    return (
        select(Broadcast.id)
        .where(
            Broadcast.notice_id == Notice.id,
            Broadcast.finished_at.is_(None),
            Broadcast.opens_after.is_not(None),
        )
        .exists()
    )


async def keep_the_night(session: AsyncSession, *, now: datetime, policy: Policy) -> list[int]:
    """Put off to the morning what notices under way still have to send when the quiet hours begin, and tell their
    authors. Urgent ones and those whose author wanted it go on. Returns the broadcasts put off."""
    soon = now + _BEFORE_NIGHT
    if not is_quiet(soon, policy):
        return []
    morning = quiet_ends(soon, policy)
    held = []
    for broadcast, notice in await session.execute(
        select(Broadcast, Notice)
        .join(Notice, Notice.id == Broadcast.notice_id)
        .where(
            Broadcast.finished_at.is_(None),
            Broadcast.held_until.is_(None) | (Broadcast.held_until <= now),
            Notice.state == NoticeState.RUNNING,
            ~Notice.urgent,
            ~Notice.at_night,
            Broadcast.opens_after.is_not(None) | _has_waiting(),
        )
        .with_for_update(skip_locked=True)
    ):
        broadcast.held_until = morning
        await shift(session, broadcast, notice, now=now)
        what = f"notice.rests/{morning.isoformat()}"
        await _tell_author(session, notice, rests(morning), what=what, now=now, policy=policy)
        held.append(broadcast.id)
    return held


async def _begin(session: AsyncSession, notice: Notice, *, now: datetime, policy: Policy) -> int | None:
    """Begin one broadcast of a notice, once per planned instant; returns its id, or None if it was begun already."""
    planned_at = notice.scheduled_for or now
    fresh = await changed(
        session,
        insert_ignoring(session, Broadcast).values(
            notice_id=notice.id, planned_at=planned_at, opened_at=now, opens_after=0
        ),
    )
    if fresh != 1:
        return None
    broadcast = (
        await session.scalars(
            select(Broadcast).where(Broadcast.notice_id == notice.id, Broadcast.planned_at == planned_at)
        )
    ).one()
    await say(session, broadcast, notice, now=now, policy=policy)
    notice.state = NoticeState.RUNNING
    notice.sent_at = notice.sent_at or now
    return broadcast.id


async def _open_more(session: AsyncSession, *, now: datetime, policy: Policy, size: int) -> bool:
    """Open `size` more establishments of what has begun, urgent notices first. Those of a notice that was called off
    meanwhile are written down as not sent, a paused one rests. Returns whether there were any."""
    opening = await session.execute(
        select(Broadcast, Notice)
        .join(Notice, Notice.id == Broadcast.notice_id)
        .where(
            Broadcast.finished_at.is_(None),
            Broadcast.opens_after.is_not(None),
            Notice.state.in_([NoticeState.RUNNING, NoticeState.CANCELLED]),
        )
        .order_by(Notice.urgent.desc(), Broadcast.id)
        .limit(20)
        .with_for_update(skip_locked=True)
    )
    left = size
    for broadcast, notice in opening:
        left -= await _open_step(session, broadcast, notice, limit=left, now=now, policy=policy)
        if left <= 0:
            break
    return left < size


async def _open_step(
    session: AsyncSession, broadcast: Broadcast, notice: Notice, *, limit: int, now: datetime, policy: Policy
) -> int:
    """Open up to `limit` more establishments of a broadcast; returns how many."""
    after = broadcast.opens_after or 0
    places = (
        select(NoticePlace.establishment_id)
        .where(NoticePlace.notice_id == notice.id, NoticePlace.establishment_id > after)
        .order_by(NoticePlace.establishment_id)
    )
    through = await session.scalar(places.offset(limit - 1).limit(1))
    these = (NoticePlace.notice_id == notice.id) & (NoticePlace.establishment_id > after)
    if through is not None:
        these = these & (NoticePlace.establishment_id <= through)
    opened = await changed(
        session,
        insert(BroadcastPlace).from_select(
            ["broadcast_id", "establishment_id"],
            select(literal(broadcast.id), NoticePlace.establishment_id).where(these),
        ),
    )
    await _open_deliveries(session, broadcast, notice, these, now=now, policy=policy)
    broadcast.opens_after = through
    count = opened
    return max(1, count)


async def _open_deliveries(
    session: AsyncSession,
    broadcast: Broadcast,
    notice: Notice,
    these: ColumnElement[bool],
    *,
    now: datetime,
    policy: Policy,
) -> None:
    """One delivery per chat that speaks for anybody in the audience, however many establishments it speaks for."""
    is_reached = Establishment.state == EstablishmentState.ACTIVE
    chats = (
        select(Contact.channel, Contact.address, Contact.language, Contact.blocked_at, Contact.establishment_id)
        .join(NoticePlace, NoticePlace.establishment_id == Contact.establishment_id)
        .join(Establishment, Establishment.id == Contact.establishment_id)
        .where(these, is_reached)
        .subquery()
    )
    key = literal(f"broadcast:{broadcast.id}/") + chats.c.channel + literal(":") + chats.c.address
    # A chat may speak for several: it is tried unless it is known as blocked for all of them.
    elsewhere = (
        select(Contact.id)
        .join(NoticePlace, NoticePlace.establishment_id == Contact.establishment_id)
        .join(Establishment, Establishment.id == Contact.establishment_id)
        .where(
            Contact.channel == chats.c.channel,
            Contact.address == chats.c.address,
            Contact.blocked_at.is_(None),
            NoticePlace.notice_id == notice.id,
            is_reached,
        )
        .exists()
    )
    blocked = and_(func.count(chats.c.blocked_at) == func.count(), ~elsewhere)
    is_called_off = notice.state is NoticeState.CANCELLED
    waits = DeliveryState.CANCELLED if is_called_off else DeliveryState.PENDING
    columns: dict[str, ColumnElement[Any]] = {
        "key": key,
        "origin": literal(f"notice:{notice.id}"),
        "broadcast_id": literal(broadcast.id),
        "content_id": content_in(chats.c.language, broadcast),
        "channel": chats.c.channel,
        "address": chats.c.address,
        "address_sealed": literal(False),
        "passing": literal(False),
        "lane": literal(int(lane_of(notice))),
        "state": case(
            (blocked, literal(DeliveryState.UNDELIVERABLE.value, String)), else_=literal(waits.value, String)
        ),
        "reason": case((blocked, literal("blocked")), else_=null()),
        "attempts": literal(0),
        "due_at": literal(leaves_at(notice, now=now, policy=policy), Delivery.due_at.type),
        "opened_at": literal(now, Delivery.opened_at.type),
    }
    await session.execute(
        # It may speak for an establishment that was opened before.
        insert_ignoring(session, Delivery).from_select(
            list(columns),
            select(*columns.values()).group_by(chats.c.channel, chats.c.address, chats.c.language),
            include_defaults=False,
        )
    )
    await session.execute(
        insert(BroadcastReach).from_select(
            ["broadcast_id", "establishment_id", "delivery_id"],
            select(literal(broadcast.id), chats.c.establishment_id, Delivery.id).join(Delivery, Delivery.key == key),
        )
    )


async def finish_done(session: AsyncSession, *, now: datetime) -> None:
    """Finish the broadcasts that are open as a whole and of which nothing is waiting or under way any more."""
    done = await session.execute(
        select(Broadcast, Notice)
        .join(Notice, Notice.id == Broadcast.notice_id)
        .where(
            Broadcast.finished_at.is_(None),
            Broadcast.opens_after.is_(None),
            Broadcast.shifts_after.is_(None),
            ~_has_waiting(),
        )
        .with_for_update(skip_locked=True)
    )
    for broadcast, notice in done:
        broadcast.finished_at = now
        if notice.state is NoticeState.RUNNING:
            notice.state = NoticeState.FINISHED


def _has_waiting() -> ColumnElement[bool]:
    """Whether a broadcast has deliveries without an outcome."""
    return (
        select(Delivery.id)
        .where(
            Delivery.broadcast_id == Broadcast.id,
            Delivery.state.in_([DeliveryState.PENDING, DeliveryState.SENDING]),
        )
        .exists()
    )


async def _put_off(session: AsyncSession, notice: Notice, until: datetime, *, now: datetime, policy: Policy) -> None:
    notice.scheduled_for = until
    what = f"notice.put_off/{until.isoformat()}"
    await _tell_author(session, notice, put_off(until), what=what, now=now, policy=policy)


async def _skip(session: AsyncSession, notice: Notice, *, now: datetime, policy: Policy) -> None:
    notice.state = NoticeState.CANCELLED
    await _tell_author(session, notice, too_late, what="too_late", now=now, policy=policy)


async def _tell_author(
    session: AsyncSession, notice: Notice, words: ToAuthor, *, what: str, now: datetime, policy: Policy
) -> None:
    """Queue a word to whoever wrote a notice; `what` it is about is said once."""
    facts = facts_of(notice)
    await open_delivery(
        session,
        words(facts, await language_of(session, facts.author), policy.zone),
        to=facts.author,
        key=f"notice:{notice.id}/{what}",
        origin=f"notice:{notice.id}",
        lane=Lane.REMINDER,
        now=now,
    )
