"""What is not sent any more, or later: held, called off, expired, forgotten."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

from sqlalchemy import (
    ColumnElement,
    delete,
    select,
    text,
    true,
    update,
)
from sqlalchemy.ext.asyncio import AsyncSession

from channels.port import Recipient
from db.statements import erase_rows
from db.tables.deliveries import Content, Delivery, DeliveryState, Purpose
from deliveries.buttons import drop_rows
from deliveries.copies import settled_on

_ALL: ColumnElement[bool] = true()


async def expire(session: AsyncSession, *, now: datetime) -> None:
    """Give up what waits but whose time has passed."""
    await _end_waiting(
        session, text("expires_at IS NOT NULL") & (Delivery.expires_at < now), state=DeliveryState.EXPIRED, now=now
    )


async def hold(session: AsyncSession, broadcast_id: int, *, until: datetime, which: ColumnElement[bool] = _ALL) -> None:
    """Let what a broadcast still has to send wait (`which` of it); nothing of it is claimed before `until`."""
    waiting = Delivery.state.in_([DeliveryState.PENDING, DeliveryState.SENDING])
    await session.execute(
        update(Delivery)
        .where(Delivery.broadcast_id == broadcast_id, waiting, which)
        .values(due_at=until)
        .execution_options(synchronize_session=False)
    )


async def cancel(session: AsyncSession, broadcast_id: int, *, now: datetime, which: ColumnElement[bool] = _ALL) -> None:
    """Call off what a broadcast still has to send (`which` of it)."""
    await _call_off(session, (Delivery.broadcast_id == broadcast_id) & which, now=now)


async def call_off(session: AsyncSession, purpose: Purpose, subject_id: int, *, now: datetime) -> None:
    """Call off the messages for a purpose about one thing that have not left yet."""
    await _call_off(session, (Delivery.purpose == purpose) & (Delivery.subject_id == subject_id), now=now)


async def call_off_origin(session: AsyncSession, origin: str, *, now: datetime) -> None:
    """Call off everything on behalf of `origin` that has not left yet."""
    await _call_off(session, Delivery.origin == origin, now=now)


async def call_off_for(session: AsyncSession, chats: Iterable[Recipient], *, now: datetime) -> None:
    """Call off what waits for chats that may not read it any more; notices still reach them."""
    for chat in chats:
        to_chat = (Delivery.channel == chat.channel) & (Delivery.address == chat.address)
        await _call_off(session, to_chat & Delivery.broadcast_id.is_(None), now=now)


async def forget_hidden(session: AsyncSession, origins: Collection[str]) -> None:
    """Drop every row on behalf of `origins` whose address is sealed, with what it says, whatever became of it."""
    hidden = Delivery.origin.in_(origins) & Delivery.address_sealed
    await erase_rows(session, delete(Content).where(Content.id.in_(select(Delivery.content_id).where(hidden))))
    await erase_rows(session, delete(Delivery).where(hidden).execution_options(synchronize_session=False))


async def forget_left_over(session: AsyncSession, *, before: datetime) -> None:
    """Drop answers and edits that came to another end than being sent before then, with what they said."""
    left = text("passing AND settled_at IS NOT NULL"), Delivery.settled_at < before
    await erase_rows(session, delete(Content).where(Content.id.in_(select(Delivery.content_id).where(*left))))
    await erase_rows(session, delete(Delivery).where(*left).execution_options(synchronize_session=False))


async def erase_origin(session: AsyncSession, origin: str) -> None:
    """Forget what was said on behalf of `origin`; the ledger keeps that it was said."""
    await erase_rows(session, delete(Content).where(Content.origin == origin))


async def _call_off(session: AsyncSession, which: ColumnElement[bool], *, now: datetime) -> None:
    """End what waits. What is under way may arrive; put back or lost, it does not leave again."""
    await _end_waiting(session, which, state=DeliveryState.CANCELLED, now=now)
    await session.execute(
        update(Delivery)
        .where(text("state = 'sending'"), which)
        .values(called_off=True)
        .execution_options(synchronize_session=False)
    )


async def _end_waiting(
    session: AsyncSession, which: ColumnElement[bool], *, state: DeliveryState, now: datetime
) -> None:
    """End what waits; the buttons of what was once about to leave go with it."""
    tried = select(Delivery.id).where(
        text("state = 'pending'"), which, Delivery.reason.is_not(None), Delivery.parts == 0
    )
    await drop_rows(session, tried)
    await session.execute(
        update(Delivery)
        .where(text("state = 'pending'"), which)
        .values(state=state, settled_at=settled_on(now), due_at=None)
        .execution_options(synchronize_session=False)
    )


async def end_rows(
    session: AsyncSession, delivery_ids: Sequence[int], *, state: DeliveryState, reason: str, now: datetime
) -> None:
    if not delivery_ids:
        return
    await drop_rows(session, delivery_ids)
    await session.execute(
        update(Delivery)
        .where(Delivery.id.in_(delivery_ids))
        .values(state=state, reason=reason, settled_at=settled_on(now), due_at=None, leased_until=None, leased_by=None)
        .execution_options(synchronize_session=False)
    )
