"""Cards that ask several officers for one yes, and close for all of them once somebody has given it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from uuid import uuid4

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from channels.port import Outgoing, Recipient
from db.tables.deliveries import Delivery, DeliveryState, Lane
from deliveries.calling_off import call_off_origin
from deliveries.copies import message_id_of
from deliveries.ledger import open_delivery


async def show_card(session: AsyncSession, card: Outgoing, *, about: str, to: Recipient, now: datetime) -> None:
    """Queue a card. `about` names what it asks for yes or no; everything under that name is closed together."""
    await open_delivery(session, card, to=to, key=f"{about}/{uuid4().hex}", origin=about, lane=Lane.REPLY, now=now)


async def close_cards(
    session: AsyncSession,
    closed: Callable[[str], Outgoing],
    *,
    about: str,
    readers: Mapping[Recipient, str],
    decided_in: Recipient | None = None,
    besides: int | None = None,
    now: datetime,
) -> None:
    """Rewrite every card about something so that it says what was decided, without buttons; what waits is called off.

    Args:
        closed: What the cards say from now on, in a language; its `brief` is said where messages cannot be rewritten.
        readers: Chats that may still read it, and their languages; those of officers who no longer may are left as
            they are.
        decided_in: The chat that heard of it already: its copies are rewritten without another word.
        besides: The delivery whose card was pressed and is rewritten by whoever answers the press.
    """
    await call_off_origin(session, about, now=now)
    shown = await session.scalars(
        select(Delivery).where(Delivery.origin == about, Delivery.edits.is_(None), Delivery.state == DeliveryState.SENT)
    )
    for delivery in shown:
        chat = Recipient(delivery.channel, delivery.address)
        message_id = message_id_of(session, delivery)
        if delivery.id == besides or not message_id or chat not in readers:
            continue
        said = closed(readers[chat])
        await open_delivery(
            session,
            replace(said, buttons=(), brief="" if chat == decided_in else said.brief),
            to=chat,
            key=f"{about}/{uuid4().hex}",
            origin=about,
            lane=Lane.REPLY,
            edits=message_id,
            now=now,
        )
