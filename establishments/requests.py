"""The cards that ask officers for their yes to an application, and close for all of them once it is decided."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from channels.port import Recipient
from db.tables.establishments import Establishment
from establishments.facts import Decision, PlaceCard, PlaceFacts, Withdrawn
from establishments.messages import request_closed, request_shown
from officers.accounts import officers_who_may
from officers.cards import close_cards, show_card
from officers.permissions import Permission
from unit.areas import area_name


def facts_of(place: Establishment) -> PlaceFacts:
    """An establishment as it stands now, for others."""
    return PlaceFacts(
        place.id, place.code, place.kind, place.name, place.address, place.phone, place.area_id, place.state
    )


async def card_of(session: AsyncSession, place: PlaceFacts) -> PlaceCard:
    """All that is shown of an establishment."""
    return PlaceCard(place, await area_name(session, place.area_id))


async def show_request(
    session: AsyncSession, place: PlaceFacts, to: Recipient, *, language: str, now: datetime
) -> None:
    """Show an officer an application; the card closes when anybody decides."""
    card = await card_of(session, place)
    await show_card(session, request_shown(card, language), about=_request(place), to=to, now=now)


async def ask_officers(session: AsyncSession, place: PlaceFacts, *, now: datetime) -> None:
    """Ask everybody who may decide an application, each in their language."""
    card = await card_of(session, place)
    for officer in await officers_who_may(session, Permission.DECIDE_PLACES):
        shown = request_shown(card, officer.language)
        await show_card(session, shown, about=_request(place), to=officer.chat, now=now)


async def close_requests(
    session: AsyncSession,
    place: PlaceFacts,
    what: Decision | Withdrawn,
    *,
    decided_in: Recipient | None = None,
    pressed: int | None = None,
    now: datetime,
) -> None:
    """Write what became of an application into every card that shows it."""
    card = await card_of(session, place)
    readers = await officers_who_may(session, Permission.DECIDE_PLACES)
    await close_cards(
        session,
        lambda language: request_closed(card, what, language),
        about=_request(place),
        readers={officer.chat: officer.language for officer in readers},
        decided_in=decided_in,
        besides=pressed,
        now=now,
    )


def _request(place: PlaceFacts) -> str:
    """What the cards of an application are about, in the ledger."""
    return f"place-request:{place.id}"
