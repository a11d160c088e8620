"""Shifts: who is on duty at a given instant, and what happens when nobody is."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from db.tables.officers import Officer, OfficerChat, Role, Shift
from officers.accounts import in_their_languages, officers_with
from officers.facts import OfficerAt, OnShift
from officers.permissions import TABLE, Actor, Permission, require
from texts.refusal import Refusal

#: A shift nobody ends is over after this long.
LONGEST_SHIFT = timedelta(hours=12)


async def on_duty(session: AsyncSession, *, at: datetime) -> list[OfficerAt]:
    """Every chat of every officer whose shift covers `at`; the one who came last first."""
    rows = await session.execute(
        select(Officer, OfficerChat)
        .join(Shift, Shift.officer_id == Officer.id)
        .join(OfficerChat, OfficerChat.officer_id == Officer.id)
        .where(Shift.starts_at <= at, Shift.ends_at > at, Officer.revoked_at.is_(None))
        .order_by(Shift.starts_at.desc(), OfficerChat.id)
    )
    found = {(officer.id, chat.id): (officer, chat) for officer, chat in rows}
    return await in_their_languages(session, list(found.values()))


async def fallback(session: AsyncSession) -> list[OfficerAt]:
    """Who answers when no shift covers an instant: the administrators."""
    return await officers_with(session, {Role.ADMIN})


async def shifts_at(session: AsyncSession, *, at: datetime) -> list[OnShift]:
    """The shifts that cover `at`, the one that ends first first."""
    rows = await session.execute(
        select(Officer, Shift)
        .join(Shift, Shift.officer_id == Officer.id)
        .where(Shift.starts_at <= at, Shift.ends_at > at, Officer.revoked_at.is_(None))
        .order_by(Shift.ends_at)
    )
    return [OnShift(officer.id, officer.name, shift.starts_at, shift.ends_at) for officer, shift in rows]


async def start_shift(
    session: AsyncSession, actor: Actor, *, now: datetime, length: timedelta = LONGEST_SHIFT
) -> OnShift:
    """Put the actor on duty from now on.

    Raises:
        Refusal: may not, or is on duty already (`duty.already`).
    """
    officer_id = require(actor, Permission.STAND_DUTY)
    if await _shift_of(session, officer_id, now=now) is not None:
        raise Refusal("duty.already")
    shift = Shift(officer_id=officer_id, starts_at=now, ends_at=now + length)
    session.add(shift)
    await session.flush()
    return OnShift(officer_id, actor.name, shift.starts_at, shift.ends_at)


async def end_shift(session: AsyncSession, actor: Actor, *, now: datetime) -> bool:
    """End the actor's shift; returns whether somebody else is still on duty.

    Raises:
        Refusal: may not, or is not on duty (`duty.not_on`).
    """
    officer_id = require(actor, Permission.STAND_DUTY)
    shift = await _shift_of(session, officer_id, now=now)
    if shift is None:
        raise Refusal("duty.not_on")
    shift.ends_at = now
    await session.flush()
    return bool(await on_duty(session, at=now))


async def hand_over(session: AsyncSession, actor: Actor, to_officer_id: int, *, now: datetime) -> str:
    """End the actor's shift and start the other's in the same instant, so that no gap opens; returns the other's name.

    Raises:
        Refusal: may not, is not on duty, or the other may not stand duty (`duty.not_able`).
    """
    officer_id = require(actor, Permission.STAND_DUTY)
    shift = await _shift_of(session, officer_id, now=now)
    if shift is None:
        raise Refusal("duty.not_on")
    other = await session.get(Officer, to_officer_id)
    if other is None or other.revoked_at is not None or other.role not in TABLE[Permission.STAND_DUTY]:
        raise Refusal("duty.not_able")
    shift.ends_at = now
    if await _shift_of(session, other.id, now=now) is None:
        session.add(Shift(officer_id=other.id, starts_at=now, ends_at=now + LONGEST_SHIFT))
    return other.name


async def _shift_of(session: AsyncSession, officer_id: int, *, now: datetime) -> Shift | None:
    found: Shift | None = await session.scalar(
        select(Shift).where(Shift.officer_id == officer_id, Shift.starts_at <= now, Shift.ends_at > now)
    )
    return found
