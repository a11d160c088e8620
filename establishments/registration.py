"""How an establishment joins, changes and leaves."""

from __future__ import annotations

import hashlib
import re
import secrets
from datetime import datetime

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from channels.port import Recipient
from conversations.languages import chosen_language, languages_of
from db.engine import owe_erasure
from db.statements import changed
from db.tables.deliveries import Lane
from db.tables.establishments import Contact, ContactRole, Establishment, StateChange
from deliveries.ledger import open_delivery
from establishments.facts import Application, Decision, EstablishmentState, PlaceFacts, Withdrawn
from establishments.messages import decision_told
from establishments.requests import ask_officers, close_requests, facts_of
from officers.permissions import Actor, Permission, require
from texts.folding import fold
from texts.markup import clean, is_blank
from texts.refusal import Refusal

#: The wording of the consent an owner gives; a changed wording gets a new version.
CONSENT_VERSION = "2026-11"
NAME_LIMIT = 120
ADDRESS_LIMIT = 200
REASON_LIMIT = 500
#: How many of one chat's applications may wait at once; each one calls every officer who decides.
MOST_WAITING = 10
#: First letters of deep-link payloads: an establishment's own link, and a colleague's.
PLACE_PREFIX = "c"
_CODE = re.compile(r"cs-(\d{1,9})", re.ASCII)


def short_text(text: str, *, limit: int) -> str:
    """One line of what a person typed, cleaned; raises Refusal (`text.empty`, `text.too_long`)."""
    line = " ".join(clean(text).split())
    if is_blank(line):
        raise Refusal("text.empty")
    if len(line) > limit:
        raise Refusal("text.too_long", limit=limit, length=len(line))
    return line


async def apply_for(
    session: AsyncSession, application: Application, *, by: Recipient, language: str, now: datetime
) -> PlaceFacts:
    """Store an owner's application with their consent, and ask the officers who may decide.

    Raises:
        Refusal: `enrol.already` when this chat already speaks for the same name and address; `enrol.too_many` when
            MOST_WAITING of its applications wait for an officer's yes.
    """
    name = short_text(application.name, limit=NAME_LIMIT)
    address = short_text(application.address, limit=ADDRESS_LIMIT)
    folded = fold(f"{name} · {address}")
    same = await session.scalar(
        select(Establishment)
        .join(Contact, Contact.establishment_id == Establishment.id)
        .where(
            Establishment.folded == folded,
            Contact.channel == by.channel,
            Contact.address == by.address,
            Establishment.state.in_([EstablishmentState.PENDING, EstablishmentState.ACTIVE]),
        )
    )
    if same is not None:
        raise Refusal("enrol.already", name=same.name, code=same.code)
    waiting = await session.scalar(
        select(func.count())
        .select_from(Establishment)
        .join(Contact, Contact.establishment_id == Establishment.id)
        .where(
            Contact.channel == by.channel,
            Contact.address == by.address,
            Establishment.state == EstablishmentState.PENDING,
        )
    )
    if (waiting or 0) >= MOST_WAITING:
        raise Refusal("enrol.too_many", limit=MOST_WAITING)
    place = Establishment(
        kind=application.kind,
        name=name,
        address=address,
        folded=folded,
        phone=application.phone,
        area_id=application.area_id,
        state=EstablishmentState.PENDING,
        consent_version=CONSENT_VERSION,
        consented_at=now,
        created_at=now,
    )
    session.add(place)
    await session.flush()
    session.add(StateChange(establishment_id=place.id, state=place.state, at=now))
    await add_contact(session, place.id, by, role=ContactRole.OWNER, now=now)
    applied = facts_of(place)
    await ask_officers(session, applied, now=now)
    return applied


async def invite_place(session: AsyncSession, actor: Actor, establishment_id: int) -> str:
    """A fresh deep-link payload for one establishment; the one before it stops working.

    Raises:
        Refusal: may not, or there is no such establishment (`place.unknown`).
    """
    require(actor, Permission.DECIDE_PLACES)
    place = await session.get(Establishment, establishment_id)
    if place is None:
        raise Refusal("place.unknown")
    return new_invite(place)


def new_invite(place: Establishment) -> str:
    """Give an establishment a new link; returns its payload, kept as a hash only."""
    payload = PLACE_PREFIX + secrets.token_urlsafe(18)
    place.invite_hash = _hash(payload)
    return payload


async def place_for(session: AsyncSession, payload: str) -> PlaceFacts:
    """The establishment a link was made for; raises Refusal (`place.link_dead`)."""
    return facts_of(await _place_for(session, payload))


async def _place_for(session: AsyncSession, payload: str) -> Establishment:
    place = (
        await session.execute(select(Establishment).where(Establishment.invite_hash == _hash(payload)))
    ).scalar_one_or_none()
    if place is None or place.state in (EstablishmentState.SUSPENDED, EstablishmentState.REJECTED):
        raise Refusal("place.link_dead")
    return place


async def join_by_link(session: AsyncSession, payload: str, *, by: Recipient, now: datetime) -> PlaceFacts:
    """One tap of consent: the chat speaks for the establishment the link was made for, which is active from now on.

    The link itself shows that an officer knows the place, so nobody needs to approve; it works once.
    """
    place = await _place_for(session, payload)
    won = await changed(
        session,
        update(Establishment)
        .where(Establishment.id == place.id, Establishment.invite_hash == _hash(payload))
        .values(invite_hash=None),
    )
    if won != 1:
        raise Refusal("place.link_dead")
    place.consent_version = CONSENT_VERSION
    place.consented_at = now
    await _change(session, place, EstablishmentState.ACTIVE, now=now)
    await add_contact(session, place.id, by, role=ContactRole.OWNER, now=now)
    return facts_of(place)


async def add_contact(
    session: AsyncSession, establishment_id: int, chat: Recipient, *, role: ContactRole, now: datetime
) -> None:
    """Let a chat speak for an establishment; a chat that does already keeps its role."""
    known = await session.scalar(
        select(Contact).where(
            Contact.establishment_id == establishment_id,
            Contact.channel == chat.channel,
            Contact.address == chat.address,
        )
    )
    if known is None:
        session.add(
            Contact(
                establishment_id=establishment_id,
                channel=chat.channel,
                address=chat.address,
                role=role,
                language=await chosen_language(session, chat),
                created_at=now,
            )
        )
        await session.flush()


async def decide(
    session: AsyncSession,
    actor: Actor,
    establishment_id: int,
    *,
    approve: bool,
    reason: str = "",
    pressed: int | None = None,
    now: datetime,
) -> PlaceFacts:
    """Approve or reject an application and tell its contacts; the first officer's word counts, and the cards of all
    others say so.

    Args:
        pressed: The delivery of the card whose button was pressed; the caller answers under it.

    Raises:
        Refusal: may not; `place.decided` when somebody was faster.
    """
    officer_id = require(actor, Permission.DECIDE_PLACES)
    state = EstablishmentState.ACTIVE if approve else EstablishmentState.REJECTED
    won = await changed(
        session,
        update(Establishment)
        .where(Establishment.id == establishment_id, Establishment.state == EstablishmentState.PENDING)
        .values(state=state, state_reason=reason or None, decided_by=officer_id),
    )
    place = await session.get(Establishment, establishment_id, populate_existing=True)
    if place is None:
        raise Refusal("place.unknown")
    if won != 1:
        raise Refusal("place.decided", code=place.code, name=place.name)
    session.add(
        StateChange(establishment_id=place.id, state=state, officer_id=officer_id, reason=reason or None, at=now)
    )
    decided, decision = facts_of(place), Decision(actor.name, approve, reason)
    await _tell_contacts(session, decided, decision, now=now)
    await close_requests(session, decided, decision, decided_in=actor.chat, pressed=pressed, now=now)
    return decided


async def _tell_contacts(session: AsyncSession, place: PlaceFacts, decision: Decision, *, now: datetime) -> None:
    contacts = {
        Recipient(contact.channel, contact.address): contact.id for contact in await contacts_of(session, place.id)
    }
    for chat, language in (await languages_of(session, contacts)).items():
        await open_delivery(
            session,
            decision_told(place, decision, language),
            to=chat,
            key=f"place:{place.id}/{place.state}/{contacts[chat]}/{now.isoformat()}",
            origin=f"place:{place.id}",
            lane=Lane.REPLY,
            now=now,
        )


async def leave(
    session: AsyncSession, chat: Recipient, establishment_id: int, *, now: datetime, forget: bool = False
) -> PlaceFacts:
    """Take a chat off an establishment; the last contact to go takes the establishment with it.

    Args:
        forget: With the last contact, forget the phone number and the consent too; what is painted on the sign
            (name, kind, address) stays on the ward's list.

    Raises:
        Refusal: `place.unknown` when the chat does not speak for it.
    """
    contact = await session.scalar(
        select(Contact).where(
            Contact.establishment_id == establishment_id,
            Contact.channel == chat.channel,
            Contact.address == chat.address,
        )
    )
    place = await session.get(Establishment, establishment_id)
    if contact is None or place is None:
        raise Refusal("place.unknown")
    await session.delete(contact)
    await session.flush()
    owe_erasure(session)
    if not await contacts_of(session, establishment_id):
        if place.state is EstablishmentState.PENDING:
            await close_requests(session, facts_of(place), Withdrawn(), now=now)
        await _change(session, place, EstablishmentState.LEFT, now=now)
        if forget:
            place.phone = place.consent_version = place.consented_at = None
    return facts_of(place)


async def contacts_of(session: AsyncSession, establishment_id: int) -> list[Contact]:
    """The chats that speak for an establishment, first come first."""
    return list(
        await session.scalars(select(Contact).where(Contact.establishment_id == establishment_id).order_by(Contact.id))
    )


async def places_of(session: AsyncSession, chat: Recipient) -> list[PlaceFacts]:
    """The establishments a chat speaks for."""
    found = await session.scalars(
        select(Establishment)
        .join(Contact, Contact.establishment_id == Establishment.id)
        .where(Contact.channel == chat.channel, Contact.address == chat.address)
        .order_by(Establishment.id)
    )
    return [facts_of(place) for place in found]


async def set_blocked(session: AsyncSession, chat: Recipient, *, blocked: bool, now: datetime) -> None:
    """Remember that a chat has blocked or unblocked us."""
    await session.execute(
        update(Contact)
        .where(Contact.channel == chat.channel, Contact.address == chat.address)
        .values(blocked_at=now if blocked else None)
    )


async def find_places(
    session: AsyncSession, actor: Actor, typed: str = "", *, limit: int = 10, offset: int = 0
) -> list[PlaceFacts]:
    """Establishments whose name, address or code contain what was typed; without words, those not yet connected."""
    require(actor, Permission.SEE_PLACES)
    query = select(Establishment).where(_found_by(typed)).order_by(Establishment.id)
    return [facts_of(place) for place in await session.scalars(query.limit(limit).offset(offset))]


async def count_places(session: AsyncSession, actor: Actor, typed: str = "") -> int:
    """How many establishments `find_places` finds."""
    require(actor, Permission.SEE_PLACES)
    return await session.scalar(select(func.count()).select_from(Establishment).where(_found_by(typed))) or 0


def _found_by(typed: str) -> ColumnElement[bool]:
    folded = fold(clean(typed))
    code = _CODE.fullmatch(folded)
    if code is not None:
        return Establishment.id == int(code[1])
    if folded:
        return Establishment.folded.contains(folded, autoescape=True)
    return Establishment.state == EstablishmentState.INVITED


async def pending_places(session: AsyncSession, actor: Actor, *, after: int = 0, limit: int = 5) -> list[PlaceFacts]:
    """Establishments that wait for an officer's yes, oldest first, from the one after the id `after` on; raises
    Refusal when the actor may not give it."""
    require(actor, Permission.DECIDE_PLACES)
    query = select(Establishment).where(Establishment.state == EstablishmentState.PENDING, Establishment.id > after)
    return [facts_of(place) for place in await session.scalars(query.order_by(Establishment.id).limit(limit))]


async def count_pending(session: AsyncSession, actor: Actor, *, after: int = 0) -> int:
    """How many `pending_places` has, without a limit."""
    require(actor, Permission.DECIDE_PLACES)
    waiting = (Establishment.state == EstablishmentState.PENDING) & (Establishment.id > after)
    return await session.scalar(select(func.count()).select_from(Establishment).where(waiting)) or 0


async def _change(session: AsyncSession, place: Establishment, state: EstablishmentState, *, now: datetime) -> None:
    if place.state is not state:
        place.state = state
        session.add(StateChange(establishment_id=place.id, state=state, at=now))


def _hash(payload: str) -> str:
    return hashlib.sha256(payload.encode()).hexdigest()
