"""Who confirmed a broadcast, and who has not."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from channels.port import Recipient
from db.tables.broadcasts import Broadcast, BroadcastPlace, BroadcastReach, Notice, NoticePlace, Response
from db.tables.deliveries import Delivery, DeliveryState
from db.tables.establishments import Contact, Establishment
from officers.permissions import Actor, Permission, require
from texts.refusal import Refusal


@dataclass(frozen=True, slots=True)
class Confirmed:
    """What a confirmation settled: the notice, and the establishments it counts for."""

    notice: Notice
    names: tuple[str, ...]
    at: datetime
    is_first: bool


@dataclass(frozen=True, slots=True)
class Silent:
    """An establishment that has not confirmed. `why` is a key under `silent.`."""

    establishment_id: int
    name: str
    address: str
    phone: str | None
    why: str


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
        marked = await session.execute(
            update(BroadcastPlace)
            .where(
                BroadcastPlace.broadcast_id == broadcast_id,
                BroadcastPlace.establishment_id == establishment_id,
                BroadcastPlace.acknowledged_at.is_(None),
            )
            .values(acknowledged_at=now, acknowledged_by=contact_id)
        )
        fresh += marked.rowcount  # type: ignore[attr-defined]
    notice = (
        await session.execute(
            select(Notice).join(Broadcast, Broadcast.notice_id == Notice.id).where(Broadcast.id == broadcast_id)
        )
    ).scalar_one()
    at = now if fresh else min((row.acknowledged_at for row in mine if row.acknowledged_at), default=now)
    return Confirmed(notice, tuple(row.name for row in mine), at, bool(fresh))


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


async def silent(session: AsyncSession, actor: Actor, notice_id: int) -> list[Silent]:
    """The establishments of a notice's newest broadcast that have not confirmed, by name, each with the reason.

    For a notice that asks for nothing, those it did not reach.
    """
    require(actor, Permission.SEE_SILENT)
    notice = await session.get(Notice, notice_id)
    broadcast_id = await session.scalar(
        select(Broadcast.id).where(Broadcast.notice_id == notice_id).order_by(Broadcast.id.desc()).limit(1)
    )
    if notice is None or broadcast_id is None:
        raise Refusal("notice.not_sent_yet")
    again = aliased(Delivery)
    rows = await session.execute(
        select(
            NoticePlace.establishment_id,
            NoticePlace.name,
            NoticePlace.address,
            Establishment.phone,
            func.coalesce(again.state, Delivery.state),
        )
        .join(
            BroadcastPlace,
            (BroadcastPlace.establishment_id == NoticePlace.establishment_id)
            & (BroadcastPlace.broadcast_id == broadcast_id),
        )
        .join(Establishment, Establishment.id == NoticePlace.establishment_id)
        .outerjoin(
            BroadcastReach,
            (BroadcastReach.broadcast_id == broadcast_id)
            & (BroadcastReach.establishment_id == NoticePlace.establishment_id),
        )
        .outerjoin(Delivery, Delivery.id == BroadcastReach.delivery_id)
        .outerjoin(again, (again.resend_of == Delivery.id) & again.resend_of.is_not(None))
        .where(NoticePlace.notice_id == notice_id, BroadcastPlace.acknowledged_at.is_(None))
        .order_by(Establishment.folded, NoticePlace.establishment_id)
    )
    found: dict[int, Silent] = {}
    for establishment_id, name, address, phone, state in rows:
        why = _why(state)
        known = found.get(establishment_id)
        if known is None or _WHY_ORDER.index(why) < _WHY_ORDER.index(known.why):
            found[establishment_id] = Silent(establishment_id, name, address, phone, why)
    everybody = list(found.values())
    if notice.response.value == "none":
        return [one for one in everybody if one.why != "not_pressed"]
    return everybody


#: The best that is known about an establishment with several chats comes first.
_WHY_ORDER = ["not_pressed", "waiting", "unknown", "failed", "cancelled", "blocked", "not_connected"]


def _why(state: DeliveryState | None) -> str:
    match state:
        case None:
            return "not_connected"
        case DeliveryState.SENT:
            return "not_pressed"
        case DeliveryState.PENDING | DeliveryState.SENDING:
            return "waiting"
        case DeliveryState.UNKNOWN:
            return "unknown"
        case DeliveryState.UNDELIVERABLE:
            return "blocked"
        case DeliveryState.CANCELLED | DeliveryState.EXPIRED:
            return "cancelled"
        case _:
            return "failed"
