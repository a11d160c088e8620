"""Copies of what may not have arrived: queued when a send ends in doubt, called off when it turns out to have arrived.

Each copy is a row of its own, marked as sent again, so that each that is in doubt stays listed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import ColumnElement, case, delete, literal, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from db.engine import keys_of
from db.marks import day_of
from db.sealing import CannotUnseal, KeyRing
from db.statements import insert_ignoring
from db.tables.broadcasts import Broadcast
from db.tables.deliveries import ButtonRow, Delivery, DeliveryState, Lane
from deliveries.retry import next_delay

log = structlog.get_logger(__name__)

#: How many marked copies follow a send nobody knows the end of, while each of them is lost as well.
COPIES = 5
_MESSAGE_ID = "message-id"
#: Platforms' ids of messages are shorter than this; all are kept equally long.
_ID_LENGTH = 24


def settled_on(now: datetime) -> ColumnElement[datetime]:
    """What `settled_at` becomes: the day, for the instant would tell who was spoken to; a broadcast's is exact."""
    return case((Delivery.broadcast_id.is_(None), _instant(day_of(now))), else_=_instant(now))


def _instant(at: datetime) -> ColumnElement[datetime]:
    return literal(at, Delivery.settled_at.type)


async def send_again(session: AsyncSession, delivery_ids: Iterable[int], *, now: datetime) -> None:
    """Queue unknown sends once more, unless they are edits or copies of a routine notice; a copy lost too is queued
    again, a while later, COPIES at most."""
    ids = list(delivery_ids)
    if not ids:
        return
    rows = await session.scalars(
        select(Delivery).where(
            Delivery.id.in_(ids),
            Delivery.edits.is_(None),
            Delivery.called_off.is_(False),
            Delivery.copies < COPIES,
            or_(Delivery.expires_at.is_(None), Delivery.expires_at > now),
            or_(Delivery.broadcast_id.is_(None), Delivery.lane <= Lane.URGENT),
        )
    )
    for row in rows:
        await session.execute(insert_ignoring(session, Delivery).values(**_copy(session, row, now=now)))


def _copy(session: AsyncSession, row: Delivery, *, now: datetime) -> dict[str, object]:
    delay = (next_delay(row.copies) if row.copies else None) or timedelta()
    due_at = max(now + delay, row.due_at or now)
    first = row.resend_of or row.id
    return {
        "key": keys_of(session).fingerprint("delivery-copy", str(first), str(row.copies + 1)),
        "origin": row.origin,
        "purpose": row.purpose,
        "subject_id": row.subject_id,
        "broadcast_id": row.broadcast_id,
        "content_id": row.content_id,
        "channel": row.channel,
        "address": row.address,
        "address_sealed": row.address_sealed,
        "passing": row.passing,
        "lane": row.lane,
        "urgent": row.urgent,
        "state": DeliveryState.PENDING,
        "attempts": 0,
        "due_at": due_at if due_at > now else None,
        "expires_at": row.expires_at,
        "opened_at": now if row.broadcast_id is not None else day_of(now),
        "resend_of": first,
        "copies": row.copies + 1,
    }


async def arrived(session: AsyncSession, message_ids: Mapping[int, str | None], *, reason: str, now: datetime) -> None:
    """What was listed as unknown has arrived after all: say so, and call its copies off.

    A copy that has not left is no more; one under way does not leave again; of one that has left the ledger and the
    log say that the message was sent twice.

    Args:
        message_ids: What the platform calls each message, by delivery.
    """
    for delivery_id, message_id in message_ids.items():
        found = await session.execute(
            update(Delivery)
            .where(Delivery.id == delivery_id, Delivery.state == DeliveryState.UNKNOWN)
            .values(
                state=DeliveryState.SENT,
                reason=reason,
                # The id of a message in a reporter's chat would be found again where the channel keeps it.
                message_id=await _kept(session, delivery_id, message_id),
                settled_at=settled_on(now),
            )
            .returning(Delivery.resend_of, Delivery.broadcast_id)
            .execution_options(synchronize_session=False)
        )
        row = found.one_or_none()
        if row is None:
            continue
        left = await _call_off(session, row.resend_of or delivery_id, besides=delivery_id)
        if left:
            log.warning("sent_twice", delivery=delivery_id, copies=left)
        if row.broadcast_id is not None:
            # Counted and said already; it is to be counted and said anew.
            await session.execute(update(Broadcast).where(Broadcast.id == row.broadcast_id).values(finished_at=None))


async def _kept(session: AsyncSession, delivery_id: int, message_id: str | None) -> str | None:
    columns = (Delivery.content_id, Delivery.broadcast_id, Delivery.address_sealed)
    row = (await session.execute(select(*columns).where(Delivery.id == delivery_id))).one_or_none()
    if row is None or message_id is None or row.broadcast_id is not None:
        return message_id
    # The id of a message in a reporter's chat would be found again where the channel keeps it.
    return None if row.address_sealed else seal_message_id(keys_of(session), row.content_id, message_id)


def seal_message_id(keys: KeyRing, content_id: str, message_id: str) -> str:
    """A platform's id of a message, for a row that is not a broadcast's: such ids count upwards for all chats."""
    return keys.seal_text(_MESSAGE_ID, message_id.ljust(_ID_LENGTH), bound_to=content_id)


def message_id_of(session: AsyncSession, row: Any) -> str | None:
    """What the platform calls a message that was sent, from its row's `message_id`, `content_id` and `broadcast_id`;
    None when that is not known, or cannot be read any more."""
    kept: str | None = row.message_id
    if kept is None or row.broadcast_id is not None:
        return kept
    try:
        return keys_of(session).unseal_text(_MESSAGE_ID, kept, bound_to=row.content_id).rstrip()
    except (CannotUnseal, ValueError):
        return None


async def _call_off(session: AsyncSession, first: int, *, besides: int) -> int:
    """Call off the copies of a send that wait or are under way; returns how many may have arrived as well."""
    others = (Delivery.resend_of == first) & (Delivery.id != besides)
    waiting = select(Delivery.id).where(others, Delivery.state == DeliveryState.PENDING)
    await session.execute(
        delete(ButtonRow).where(ButtonRow.delivery_id.in_(waiting)).execution_options(synchronize_session=False)
    )
    await session.execute(
        delete(Delivery)
        .where(others, Delivery.state == DeliveryState.PENDING)
        .execution_options(synchronize_session=False)
    )
    await session.execute(
        update(Delivery)
        .where(others, Delivery.state == DeliveryState.SENDING)
        .values(called_off=True)
        .execution_options(synchronize_session=False)
    )
    left = [DeliveryState.SENDING, DeliveryState.SENT, DeliveryState.UNKNOWN]
    return len(list(await session.scalars(select(Delivery.id).where(others, Delivery.state.in_(left)))))
