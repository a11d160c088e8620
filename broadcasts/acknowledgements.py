"""Who confirmed a broadcast, and who has not."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Subquery, case, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from broadcasts.facts import Confirmed, Response, Silent
from broadcasts.notices import facts_of
from channels.port import Recipient
from db.statements import changed
from db.tables.broadcasts import Broadcast, BroadcastPlace, BroadcastReach, Notice, NoticePlace
from db.tables.deliveries import Delivery, DeliveryState
from db.tables.establishments import Contact, Establishment
from officers.permissions import Actor, Permission, require
from texts.refusal import Refusal


async def acknowledge(session: AsyncSession, chat: Recipient, broadcast_id: int, *, now: datetime) -> Confirmed:
    """Confirm a broadcast for every establishment of its audience the chat speaks for. Once is enough, twice is once.

    Raises:
        Refusal: `notice.not_yours` when the chat speaks for none of them (any more).
    """
    mine = (
        await session.execute(
            select(BroadcastPlace.establishment_id, BroadcastPlace.acknowledged_at, Establishment.name, Contact.id)
            .join(Contact, Contact.establishment_id == BroadcastPlace.establishment_id)
            .join(Establishment, Establishment.id == BroadcastPlace.establishment_id)
            .where(
                BroadcastPlace.broadcast_id == broadcast_id,
                Contact.channel == chat.channel,
                Contact.address == chat.address,
            )
            .order_by(Establishment.name)
        )
    ).all()
    if not mine:
        raise Refusal("notice.not_yours")
    fresh = 0
    for establishment_id, _, _, contact_id in mine:
        marked = await changed(
            session,
            update(BroadcastPlace)
            .where(
                BroadcastPlace.broadcast_id == broadcast_id,
                BroadcastPlace.establishment_id == establishment_id,
                BroadcastPlace.acknowledged_at.is_(None),
            )
            .values(acknowledged_at=now, acknowledged_by=contact_id),
        )
        fresh += marked
    notice = (
        await session.execute(
            select(Notice).join(Broadcast, Broadcast.notice_id == Notice.id).where(Broadcast.id == broadcast_id)
        )
    ).scalar_one()
    at = now if fresh else min((row.acknowledged_at for row in mine if row.acknowledged_at), default=now)
    return Confirmed(facts_of(notice), tuple(row.name for row in mine), at, bool(fresh))


async def newest_waiting(session: AsyncSession, chat: Recipient) -> int | None:
    """The newest broadcast that waits for this chat's confirmation."""
    found: int | None = await session.scalar(
        select(BroadcastPlace.broadcast_id)
        .join(Contact, Contact.establishment_id == BroadcastPlace.establishment_id)
        .join(Broadcast, Broadcast.id == BroadcastPlace.broadcast_id)
        .join(Notice, Notice.id == Broadcast.notice_id)
        .where(
            Contact.channel == chat.channel,
            Contact.address == chat.address,
            BroadcastPlace.acknowledged_at.is_(None),
            Notice.response == Response.CONFIRM,
        )
        .order_by(BroadcastPlace.broadcast_id.desc())
        .limit(1)
    )
    return found


async def silent(
    session: AsyncSession, actor: Actor, notice_id: int, *, limit: int = 100, offset: int = 0
) -> list[Silent]:
    """The establishments of a notice's newest broadcast that have not confirmed, each with the reason: first those it
    did not reach, whom only a call helps, each part by name. For a notice that asks for nothing, just the former.

    It walks the whole audience: a large one is looked through in a session that reads.

    Args:
        limit: How many at most, after the first `offset`.
    """
    each = await _silent_places(session, actor, notice_id)
    rows = await session.execute(
        select(NoticePlace.establishment_id, NoticePlace.name, NoticePlace.address, Establishment.phone, each.c.why)
        .join(each, each.c.place == NoticePlace.establishment_id)
        .join(Establishment, Establishment.id == NoticePlace.establishment_id)
        .where(NoticePlace.notice_id == notice_id)
        .order_by(each.c.why == _NOT_PRESSED, Establishment.folded, NoticePlace.establishment_id)
        .limit(limit)
        .offset(offset)
    )
    return [Silent(row[0], row[1], row[2], row[3], _WHY_ORDER[row.why]) for row in rows]


async def count_silent(session: AsyncSession, actor: Actor, notice_id: int) -> dict[str, int]:
    """How many are `silent`, by reason; a reason nobody has is left out. To be asked like `silent`."""
    each = await _silent_places(session, actor, notice_id)
    rows = await session.execute(select(each.c.why, func.count()).group_by(each.c.why).order_by(each.c.why))
    return {_WHY_ORDER[why]: size for why, size in rows}


async def _silent_places(session: AsyncSession, actor: Actor, notice_id: int) -> Subquery:
    """The silent by `place`, and `why`: an index of _WHY_ORDER."""
    require(actor, Permission.SEE_SILENT)
    notice = await session.get(Notice, notice_id)
    broadcast_id = await session.scalar(
        select(Broadcast.id).where(Broadcast.notice_id == notice_id).order_by(Broadcast.id.desc()).limit(1)
    )
    if notice is None or broadcast_id is None:
        raise Refusal("notice.not_sent_yet")
    again = aliased(Delivery)
    state = func.coalesce(again.state, Delivery.state)
    known = case(
        *((state.in_(states), _WHY_ORDER.index(why)) for why, states in _WHY.items()),
        # Still to be opened, or nobody speaks for it.
        (BroadcastPlace.establishment_id.is_(None), _WHY_ORDER.index("waiting")),
        else_=_WHY_ORDER.index("not_connected"),
    )
    why = func.min(known)
    asked = select(NoticePlace.establishment_id.label("place"), why.label("why"))
    found = (
        asked.outerjoin(
            BroadcastPlace,
            (BroadcastPlace.establishment_id == NoticePlace.establishment_id)
            & (BroadcastPlace.broadcast_id == broadcast_id),
        )
        .outerjoin(
            BroadcastReach,
            (BroadcastReach.broadcast_id == broadcast_id)
            & (BroadcastReach.establishment_id == NoticePlace.establishment_id),
        )
        .outerjoin(Delivery, Delivery.id == BroadcastReach.delivery_id)
        .outerjoin(again, (again.resend_of == Delivery.id) & again.resend_of.is_not(None))
        .where(NoticePlace.notice_id == notice_id, BroadcastPlace.acknowledged_at.is_(None))
        .group_by(NoticePlace.establishment_id)
    )
    if notice.response is Response.NONE:
        found = found.having(why != _NOT_PRESSED)
    return found.subquery()


#: The best that is known about an establishment with several chats comes first.
_WHY_ORDER = ["not_pressed", "waiting", "unknown", "failed", "cancelled", "blocked", "not_connected"]
_NOT_PRESSED = _WHY_ORDER.index("not_pressed")
_WHY = {
    "not_pressed": (DeliveryState.SENT,),
    "waiting": (DeliveryState.PENDING, DeliveryState.SENDING),
    "unknown": (DeliveryState.UNKNOWN,),
    "failed": (DeliveryState.FAILED,),
    "cancelled": (DeliveryState.CANCELLED, DeliveryState.EXPIRED),
    "blocked": (DeliveryState.UNDELIVERABLE,),
}
