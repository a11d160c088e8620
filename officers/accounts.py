"""Who a chat is: officers, their invitations, and the administrators the settings name."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from channels.port import Recipient
from conversations.languages import language_key, languages_of
from db.engine import keys_of
from db.statements import changed
from db.tables.officers import Invitation, InvitationState, Officer, OfficerChat, Role
from deliveries.calling_off import call_off_for
from officers.facts import InvitationFacts, OfficerAt, OfficerFacts
from officers.messages import name_from_settings
from officers.permissions import TABLE, Actor, Permission, require
from texts.refusal import Refusal

INVITATION_LIFETIME = timedelta(hours=24)
#: First letters of deep-link payloads that are officers' invitations.
INVITATION_PREFIX = "o"
NAME_LIMIT = 120


_OFFICER = (
    "SELECT o.{} FROM officers AS o JOIN officer_chats AS c ON c.officer_id = o.id"
    " WHERE c.channel = :of_channel AND c.address = :of_address AND o.revoked_at IS NULL"
)
#: What every turn begins with, in one statement: who the chat is, and what language it has chosen.
WHO_ASKS = (
    *(_OFFICER.format(column) for column in ("id", "name", "role")),
    "SELECT l.language FROM chat_languages AS l WHERE l.chat = :of_hash",
)


def asking_of(session: AsyncSession, chat: Recipient) -> dict[str, str]:
    """The values that go with WHO_ASKS."""
    return {"of_channel": chat.channel, "of_address": chat.address, "of_hash": language_key(keys_of(session), chat)}


def who_asked(chat: Recipient, officer_id: int | None, name: str, role: str) -> Actor:
    """The actor behind a chat, from the answers to WHO_ASKS, as `actor_for` says."""
    return Actor(chat) if officer_id is None else Actor(chat, officer_id, name, Role(role))


async def actor_for(session: AsyncSession, chat: Recipient) -> Actor:
    """The actor behind a chat; an actor without an officer when none is known or the officer was revoked."""
    row = (
        await session.execute(
            select(Officer)
            .join(OfficerChat, OfficerChat.officer_id == Officer.id)
            .where(
                OfficerChat.channel == chat.channel,
                OfficerChat.address == chat.address,
                Officer.revoked_at.is_(None),
            )
        )
    ).scalar_one_or_none()
    return Actor(chat) if row is None else Actor(chat, row.id, row.name, row.role)


async def officers_who_may(session: AsyncSession, permission: Permission) -> list[OfficerAt]:
    """Every chat of every officer the table allows `permission`, oldest officer first."""
    return await officers_with(session, TABLE[permission])


async def officers_with(session: AsyncSession, roles: Iterable[Role]) -> list[OfficerAt]:
    """Every chat of every officer with one of the roles, oldest officer first."""
    rows = await session.execute(
        select(Officer, OfficerChat)
        .join(OfficerChat, OfficerChat.officer_id == Officer.id)
        .where(Officer.role.in_(list(roles)), Officer.revoked_at.is_(None))
        .order_by(Officer.id, OfficerChat.id)
    )
    return await in_their_languages(session, [(officer, chat) for officer, chat in rows])


async def in_their_languages(session: AsyncSession, rows: Sequence[tuple[Officer, OfficerChat]]) -> list[OfficerAt]:
    """Officers at their chats, each with the language it has chosen."""
    chats = [Recipient(chat.channel, chat.address) for _, chat in rows]
    languages = await languages_of(session, chats)
    return [
        OfficerAt(officer.id, officer.name, officer.role, chat, languages[chat])
        for (officer, _), chat in zip(rows, chats, strict=True)
    ]


async def chats_of(session: AsyncSession, officer_id: int) -> list[Recipient]:
    """The chats one officer is known by; none when the officer was revoked."""
    rows = await session.scalars(
        select(OfficerChat)
        .join(Officer, Officer.id == OfficerChat.officer_id)
        .where(OfficerChat.officer_id == officer_id, Officer.revoked_at.is_(None))
        .order_by(OfficerChat.id)
    )
    return [Recipient(row.channel, row.address) for row in rows]


async def sync_administrators(session: AsyncSession, chats: Sequence[Recipient], *, now: datetime) -> int:
    """Make the chats the settings name administrators from the settings; others made so before lose it.

    Whoever was revoked in chat stays so, for the settings outlive a lost phone: to give the access back, take the chat
    out of the settings, start once, and put it back in.

    Returns:
        How many of the chats stay revoked.
    """
    known = {
        Recipient(chat.channel, chat.address): officer
        for officer, chat in await session.execute(
            select(Officer, OfficerChat).join(OfficerChat, OfficerChat.officer_id == Officer.id)
        )
    }
    named = {officer.id for chat, officer in known.items() if chat in chats}
    refused = 0
    for chat in chats:
        officer = known.get(chat)
        if officer is None:
            officer = Officer(name=name_from_settings(chat), role=Role.ADMIN, created_at=now)
            session.add(officer)
            await session.flush()
            session.add(OfficerChat(officer_id=officer.id, channel=chat.channel, address=chat.address))
        elif was_revoked_in_chat(officer):
            refused += 1
            continue
        officer.from_settings = True
        officer.role = Role.ADMIN
        officer.revoked_at = None
    for chat, officer in known.items():
        if officer.from_settings and officer.id not in named:
            officer.from_settings = False
            if officer.revoked_at is None:
                await call_off_for(session, [chat], now=now)
                officer.revoked_at = now
    return refused


def was_revoked_in_chat(officer: Officer) -> bool:
    """Whether a colleague took away what the settings give: who loses it by the settings is not in them any more."""
    return officer.from_settings and officer.revoked_at is not None


async def revoked_in_chat(session: AsyncSession, chats: Sequence[Recipient]) -> list[str]:
    """The names of those the settings let in and a colleague did not."""
    rows = await session.execute(
        select(Officer, OfficerChat).join(OfficerChat, OfficerChat.officer_id == Officer.id).order_by(Officer.id)
    )
    return [
        officer.name
        for officer, chat in rows
        if Recipient(chat.channel, chat.address) in chats and was_revoked_in_chat(officer)
    ]


async def adopt_name(session: AsyncSession, actor: Actor, name: str) -> None:
    """Call an administrator the settings made by the name of their account, as long as nobody gave a better one."""
    officer = await session.get(Officer, actor.officer_id) if actor.officer_id is not None else None
    if officer is not None and officer.name == name_from_settings(actor.chat) and name:
        officer.name = name[:NAME_LIMIT]


async def invite_officer(session: AsyncSession, actor: Actor, *, name: str, role: Role, now: datetime) -> str:
    """Make an invitation bound to a name; returns the deep-link payload, which is kept as a hash only.

    Raises:
        Refusal: the actor may not; or would give a role above their own (`officers.above_you`).
    """
    inviter = require(actor, Permission.MANAGE_OFFICERS)
    if role is Role.ADMIN and actor.role is not Role.ADMIN:
        raise Refusal("officers.above_you")
    return await _new_invitation(session, name=name, role=role, invited_by=inviter, now=now)


async def first_invitation(session: AsyncSession, *, name: str, now: datetime) -> str:
    """An administrator's invitation made on the machine itself (`binhyen init`), which needs no confirmation."""
    return await _new_invitation(session, name=name, role=Role.ADMIN, invited_by=None, now=now)


async def is_administrator_invited(session: AsyncSession, *, now: datetime) -> bool:
    """Whether somebody holds an invitation as administrator that still works."""
    waiting = select(Invitation.id).where(
        Invitation.role == Role.ADMIN, Invitation.state == InvitationState.OPEN, Invitation.expires_at > now
    )
    return await session.scalar(waiting.limit(1)) is not None


async def _new_invitation(
    session: AsyncSession, *, name: str, role: Role, invited_by: int | None, now: datetime
) -> str:
    payload = INVITATION_PREFIX + secrets.token_urlsafe(24)
    session.add(
        Invitation(
            token_hash=_hash(payload),
            name=name,
            role=role,
            invited_by=invited_by,
            expires_at=now + INVITATION_LIFETIME,
            created_at=now,
        )
    )
    return payload


async def open_invitation(session: AsyncSession, payload: str, *, by: Actor, now: datetime) -> InvitationFacts:
    """Use an invitation's link, once. It makes an officer at once only when it came from the machine itself;
    otherwise an officer must confirm that the right person opened it.

    Raises:
        Refusal: `invitation.dead` (unknown, used, too old), `invitation.already` (an officer's chat).
    """
    if by.is_officer:
        raise Refusal("invitation.already")
    invitation = (
        await session.execute(select(Invitation).where(Invitation.token_hash == _hash(payload)))
    ).scalar_one_or_none()
    if invitation is None or invitation.expires_at <= now:
        raise Refusal("invitation.dead")
    claimed = await changed(
        session,
        update(Invitation)
        .where(Invitation.id == invitation.id, Invitation.state == InvitationState.OPEN)
        .values(state=InvitationState.CLAIMED, channel=by.chat.channel, address=by.chat.address),
    )
    if claimed != 1:
        raise Refusal("invitation.dead")
    await session.refresh(invitation)
    if invitation.invited_by is None:
        await _accept(session, invitation, now=now)
    return _facts_of(invitation)


def _facts_of(invitation: Invitation) -> InvitationFacts:
    chat = Recipient(invitation.channel, invitation.address or "") if invitation.channel is not None else None
    return InvitationFacts(invitation.id, invitation.name, invitation.role, chat, invitation.invited_by is None)


async def who_confirms(session: AsyncSession, invitation_id: int) -> list[OfficerAt]:
    """Who is asked whether the right person opened the link: others than the inviter, if there are any."""
    invitation = await session.get_one(Invitation, invitation_id)
    able = await officers_who_may(session, Permission.MANAGE_OFFICERS)
    if invitation.role is Role.ADMIN:
        able = [officer for officer in able if officer.role is Role.ADMIN]
    others = [officer for officer in able if officer.officer_id != invitation.invited_by]
    return others or able


async def confirm_invitation(
    session: AsyncSession, actor: Actor, invitation_id: int, *, is_right_person: bool, now: datetime
) -> InvitationFacts:
    """Say whether the person who opened the link is the one invited.

    Raises:
        Refusal: the actor may not, or it has been answered (`invitation.answered`).
    """
    officer_id = require(actor, Permission.MANAGE_OFFICERS)
    invitation = await session.get(Invitation, invitation_id, with_for_update=True)
    if invitation is None or invitation.state is not InvitationState.CLAIMED:
        raise Refusal("invitation.answered")
    if officer_id not in {officer.officer_id for officer in await who_confirms(session, invitation.id)}:
        raise Refusal("refused.role")
    if is_right_person:
        await _accept(session, invitation, now=now)
    else:
        invitation.state = InvitationState.REFUSED
    return _facts_of(invitation)


async def revoke_officer(session: AsyncSession, actor: Actor, officer_id: int, *, now: datetime) -> OfficerFacts:
    """Take an officer's access away; effective with the very next message.

    Raises:
        Refusal: the actor may not; nobody revokes themselves (`officers.not_yourself`), a commander no administrator.
    """
    if require(actor, Permission.MANAGE_OFFICERS) == officer_id:
        raise Refusal("officers.not_yourself")
    officer = await session.get(Officer, officer_id)
    if officer is None or officer.revoked_at is not None:
        raise Refusal("officers.unknown")
    if officer.role is Role.ADMIN and actor.role is not Role.ADMIN:
        raise Refusal("officers.above_you")
    # What waits for them is called off: it may be a report.
    await call_off_for(session, await chats_of(session, officer_id), now=now)
    officer.revoked_at = now
    return _known(officer)


async def all_officers(session: AsyncSession) -> list[OfficerFacts]:
    """Everybody who was not revoked, by name."""
    rows = await session.scalars(select(Officer).where(Officer.revoked_at.is_(None)).order_by(Officer.name, Officer.id))
    return [_known(officer) for officer in rows]


def _known(officer: Officer) -> OfficerFacts:
    return OfficerFacts(officer.id, officer.name, officer.role, officer.from_settings)


async def _accept(session: AsyncSession, invitation: Invitation, *, now: datetime) -> None:
    taken = await session.scalar(
        select(OfficerChat)
        .join(Officer, Officer.id == OfficerChat.officer_id)
        .where(OfficerChat.channel == invitation.channel, OfficerChat.address == invitation.address)
    )
    officer = Officer(name=invitation.name, role=invitation.role, created_at=now)
    session.add(officer)
    await session.flush()
    if taken is None:
        taken = OfficerChat(channel=invitation.channel or "", address=invitation.address or "")
        session.add(taken)
    taken.officer_id = officer.id
    invitation.state = InvitationState.ACCEPTED


def _hash(payload: str) -> str:
    return hashlib.sha256(payload.encode()).hexdigest()
