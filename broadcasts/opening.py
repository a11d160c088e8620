"""A due notice becomes a broadcast: every delivery is written in the transaction that opens it, in a few statements."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, String, case, cast, func, insert, literal, null, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from broadcasts.notices import MOST_LATE, author_of, render_notice
from channels.inbound import insert_ignoring
from db.tables.broadcasts import (
    Broadcast,
    BroadcastPlace,
    BroadcastReach,
    Notice,
    NoticePlace,
    NoticeState,
)
from db.tables.deliveries import Delivery, DeliveryState, Lane
from db.tables.establishments import Contact, Establishment, EstablishmentState
from deliveries.ledger import open_content, open_delivery
from deliveries.wording import message
from officers.policy import Policy


async def open_due(session: AsyncSession, *, now: datetime, policy: Policy) -> list[int]:
    """Open a broadcast for every notice that is due; returns the ids of the broadcasts opened.

    A notice that is more than MOST_LATE late is called off, and its author is told.
    """
    due = await session.scalars(
        select(Notice)
        .where(Notice.state == NoticeState.SCHEDULED, Notice.scheduled_for <= now)
        .order_by(Notice.urgent.desc(), Notice.scheduled_for)
        .limit(20)
        .with_for_update(skip_locked=True)
    )
    opened = []
    for notice in due:
        if notice.scheduled_for is not None and now - notice.scheduled_for > MOST_LATE:
            await _skip(session, notice, now=now)
            continue
        broadcast_id = await open_broadcast(session, notice, now=now, policy=policy)
        if broadcast_id is not None:
            opened.append(broadcast_id)
    return opened


async def open_broadcast(session: AsyncSession, notice: Notice, *, now: datetime, policy: Policy) -> int | None:
    """Open one broadcast of a notice, once per planned instant; returns its id, or None if it was open already."""
    planned_at = notice.scheduled_for or now
    fresh = await session.execute(
        insert_ignoring(session, Broadcast).values(notice_id=notice.id, planned_at=planned_at, opened_at=now)
    )
    if fresh.rowcount != 1:  # type: ignore[attr-defined]
        return None
    found = await session.execute(
        select(Broadcast.id).where(Broadcast.notice_id == notice.id, Broadcast.planned_at == planned_at)
    )
    broadcast_id = found.scalar_one()
    notice.state = NoticeState.RUNNING
    notice.sent_at = notice.sent_at or now
    await session.execute(
        insert(BroadcastPlace).from_select(
            ["broadcast_id", "establishment_id"],
            select(literal(broadcast_id), NoticePlace.establishment_id).where(NoticePlace.notice_id == notice.id),
        )
    )
    await _open_deliveries(session, notice, broadcast_id, now=now, policy=policy)
    return broadcast_id


async def _open_deliveries(
    session: AsyncSession, notice: Notice, broadcast_id: int, *, now: datetime, policy: Policy
) -> None:
    """One delivery per chat that speaks for anybody in the audience, however many establishments it speaks for."""
    outgoing = render_notice(
        notice.html,
        number=notice.number,
        policy=policy,
        response=notice.response,
        media_id=notice.media_id,
        attachment_kind=notice.attachment_kind,
        notice_id=broadcast_id,
    )
    origin = f"notice:{notice.id}"
    content_id = await open_content(session, outgoing, origin=origin, now=now)
    chats = (
        select(Contact.channel, Contact.address, Contact.blocked_at, Contact.establishment_id)
        .join(NoticePlace, NoticePlace.establishment_id == Contact.establishment_id)
        .join(Establishment, Establishment.id == Contact.establishment_id)
        .where(NoticePlace.notice_id == notice.id, Establishment.state == EstablishmentState.ACTIVE)
        .subquery()
    )
    key = literal(f"broadcast:{broadcast_id}/") + chats.c.channel + literal(":") + chats.c.address
    # A chat may speak for several: it is tried unless it is known as blocked for all of them.
    blocked = func.count(chats.c.blocked_at) == func.count()
    lane = Lane.URGENT if notice.urgent else Lane.ROUTINE
    columns: dict[str, ColumnElement[Any]] = {
        "key": key,
        "origin": literal(origin),
        "broadcast_id": literal(broadcast_id),
        "content_id": literal(content_id),
        "channel": chats.c.channel,
        "address": chats.c.address,
        "address_sealed": literal(False),
        "passing": literal(False),
        "lane": literal(int(lane)),
        "state": case(
            (blocked, literal(DeliveryState.UNDELIVERABLE.value, String)),
            else_=literal(DeliveryState.PENDING.value, String),
        ),
        "reason": case((blocked, literal("blocked")), else_=null()),
        "attempts": literal(0),
        "due_at": literal(now, Delivery.due_at.type),
        "opened_at": literal(now, Delivery.opened_at.type),
    }
    await session.execute(
        insert(Delivery).from_select(
            list(columns),
            select(*columns.values()).group_by(chats.c.channel, chats.c.address),
            include_defaults=False,
        )
    )
    reached = literal(f"broadcast:{broadcast_id}/") + cast(chats.c.channel, String) + literal(":") + chats.c.address
    await session.execute(
        insert(BroadcastReach).from_select(
            ["broadcast_id", "establishment_id", "delivery_id"],
            select(literal(broadcast_id), chats.c.establishment_id, Delivery.id).join(
                Delivery, Delivery.key == reached
            ),
        )
    )


async def finish_done(session: AsyncSession, *, now: datetime) -> None:
    """Finish the broadcasts of which nothing is waiting or under way any more."""
    open_ones = (
        select(Delivery.id)
        .where(
            Delivery.broadcast_id == Broadcast.id,
            Delivery.state.in_([DeliveryState.PENDING, DeliveryState.SENDING]),
        )
        .exists()
    )
    done = await session.execute(
        update(Broadcast)
        .where(Broadcast.finished_at.is_(None), ~open_ones)
        .values(finished_at=now)
        .returning(Broadcast.notice_id)
    )
    ids = [row.notice_id for row in done]
    if ids:
        await session.execute(
            update(Notice)
            .where(Notice.id.in_(ids), Notice.state == NoticeState.RUNNING)
            .values(state=NoticeState.FINISHED)
        )


async def _skip(session: AsyncSession, notice: Notice, *, now: datetime) -> None:
    notice.state = NoticeState.CANCELLED
    await open_delivery(
        session,
        message("vi", "notice.too_late", number=notice.number, title=notice.title),
        to=author_of(notice),
        key=f"notice:{notice.id}/too_late",
        origin=f"notice:{notice.id}",
        lane=Lane.REMINDER,
        now=now,
    )
