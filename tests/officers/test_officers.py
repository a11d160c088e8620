"""Officers at the use cases: one table says who may what; shifts, quiet hours, invitations; on both databases."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, time, timedelta

import pytest

from channels.port import Recipient
from officers.accounts import (
    INVITATION_LIFETIME,
    actor_for,
    chats_of,
    confirm_invitation,
    first_invitation,
    invite_officer,
    open_invitation,
    revoke_officer,
    sync_administrators,
)
from officers.permissions import TABLE, Actor, Permission, Role, require
from officers.roster import LONGEST_SHIFT, end_shift, hand_over, on_duty, shifts_at, start_shift
from texts.refusal import Refusal
from unit.policy import Policy
from unit.quiet import is_quiet, quiet_ends

LAN, BINH, CHI, DUNG = (Recipient("memory", name) for name in ("lan", "binh", "chi", "dung"))
NOBODY = Actor(LAN)


async def refusal(sessions, step) -> str:
    with pytest.raises(Refusal) as told:
        async with sessions.begin() as session:
            await step(session)
    return told.value.key


# --- the table ---


def test_every_permission_is_in_the_table():
    assert set(TABLE) == set(Permission)


@pytest.mark.parametrize("permission", list(Permission))
def test_nobody_may_anything_without_a_role(permission):
    assert not NOBODY.may(permission)
    with pytest.raises(Refusal) as told:
        require(NOBODY, permission)
    assert told.value.key == "refused.officers"


@pytest.mark.parametrize("permission", list(Permission))
@pytest.mark.parametrize("role", list(Role))
def test_require_says_what_the_table_says(permission, role):
    actor = Actor(LAN, 7, "Lan", role)
    if role in TABLE[permission]:
        assert require(actor, permission) == 7
    else:
        with pytest.raises(Refusal) as told:
            require(actor, permission)
        assert told.value.key == "refused.role"


def test_the_front_never_sees_a_report():
    assert Role.FRONT not in TABLE[Permission.HANDLE_REPORTS] | TABLE[Permission.SEE_SILENT]


# --- who a chat is ---


async def test_a_chat_nobody_knows_is_no_officer(sessions, make):
    await make.officer(BINH)
    async with sessions.reading() as session:
        assert not (await actor_for(session, LAN)).is_officer
        assert not (await actor_for(session, Recipient("telegram", "binh"))).is_officer
        assert (await actor_for(session, BINH)).role is Role.COMMANDER


async def test_a_revoked_officer_is_nobody_and_has_no_chats(sessions, make, now):
    admin, duty = await make.officer(BINH, Role.ADMIN), await make.officer(DUNG, Role.DUTY)
    async with sessions.begin() as session:
        await revoke_officer(session, admin, duty.officer_id, now=now)
    async with sessions.reading() as session:
        assert not (await actor_for(session, DUNG)).is_officer
        assert await chats_of(session, duty.officer_id) == []


async def test_who_may_revoke_whom(sessions, make, now):
    admin, chief = await make.officer(BINH, Role.ADMIN), await make.officer(CHI, Role.COMMANDER)
    duty = await make.officer(DUNG, Role.DUTY)

    async def key(actor, which) -> str:
        return await refusal(sessions, lambda s: revoke_officer(s, actor, which, now=now))

    assert await key(admin, admin.officer_id) == "officers.not_yourself"
    assert await key(chief, admin.officer_id) == "officers.above_you"
    assert await key(duty, chief.officer_id) == "refused.role"
    assert await key(admin, 999) == "officers.unknown"


async def test_administrators_of_the_settings_come_and_go_and_come_back(sessions, make, now):
    invited = await make.officer(CHI, Role.ADMIN)
    for chats, expected in (([LAN, BINH], {LAN, BINH, CHI}), ([LAN], {LAN, CHI}), ([], {CHI}), ([BINH], {BINH, CHI})):
        async with sessions.begin() as session:
            await sync_administrators(session, chats, now=now)
        async with sessions.reading() as session:
            found = {chat for chat in (LAN, BINH, CHI) if (await actor_for(session, chat)).role is Role.ADMIN}
        assert found == expected
    assert invited.is_officer


# --- invitations ---


async def test_two_who_open_an_invitation_at_once_and_one_of_them_gets_it(sessions, make, now):
    chief = await make.officer(BINH)
    async with sessions.begin() as session:
        payload = await invite_officer(session, chief, name="An", role=Role.DUTY, now=now)

    async def opens(chat):
        async with sessions.begin() as session:
            return (await open_invitation(session, payload, by=Actor(chat), now=now)).name

    results = await asyncio.gather(opens(LAN), opens(DUNG), return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["Refusal", "str"]


async def test_two_who_confirm_at_once_make_one_officer(sessions, make, now):
    inviter, *others = [await make.officer(chat) for chat in (BINH, CHI, DUNG)]
    async with sessions.begin() as session:
        payload = await invite_officer(session, inviter, name="An", role=Role.DUTY, now=now)
    async with sessions.begin() as session:
        which = (await open_invitation(session, payload, by=NOBODY, now=now)).id

    async def confirms(actor):
        async with sessions.begin() as session:
            await confirm_invitation(session, actor, which, is_right_person=True, now=now)

    results = await asyncio.gather(*(confirms(actor) for actor in others), return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["NoneType", "Refusal"]
    async with sessions.reading() as session:
        assert (await actor_for(session, LAN)).name == "An"


async def test_the_inviter_does_not_confirm_when_somebody_else_can(sessions, make, now):
    inviter, _ = await make.officer(BINH), await make.officer(CHI)
    async with sessions.begin() as session:
        payload = await invite_officer(session, inviter, name="An", role=Role.DUTY, now=now)
        which = (await open_invitation(session, payload, by=NOBODY, now=now)).id

    async def confirms(session):
        await confirm_invitation(session, inviter, which, is_right_person=True, now=now)

    assert await refusal(sessions, confirms) == "refused.role"


async def test_an_invitation_is_over_after_a_day(sessions, now):
    async with sessions.begin() as session:
        payload = await first_invitation(session, name="An", now=now)
    late = now + INVITATION_LIFETIME

    async def opens(session):
        await open_invitation(session, payload, by=NOBODY, now=late)

    assert await refusal(sessions, opens) == "invitation.dead"


async def test_a_revoked_officer_may_come_back_by_invitation(sessions, make, now):
    admin, duty = await make.officer(BINH, Role.ADMIN), await make.officer(DUNG, Role.DUTY)
    async with sessions.begin() as session:
        await revoke_officer(session, admin, duty.officer_id, now=now)
        payload = await first_invitation(session, name="Dung", now=now)
    async with sessions.begin() as session:
        await open_invitation(session, payload, by=Actor(DUNG), now=now)
    async with sessions.reading() as session:
        back = await actor_for(session, DUNG)
    assert back.role is Role.ADMIN and back.officer_id != duty.officer_id


async def test_only_who_manages_officers_invites(sessions, make, now):
    duty, chief = await make.officer(DUNG, Role.DUTY), await make.officer(CHI, Role.COMMANDER)

    async def key(actor, role) -> str:
        return await refusal(sessions, lambda s: invite_officer(s, actor, name="x", role=role, now=now))

    assert await key(duty, Role.FRONT) == "refused.role"
    assert await key(chief, Role.ADMIN) == "officers.above_you"
    assert await key(NOBODY, Role.FRONT) == "refused.officers"


# --- shifts ---


async def on_duty_at(sessions, at) -> list[str]:
    async with sessions.reading() as session:
        return [officer.chat.address for officer in await on_duty(session, at=at)]


async def test_a_shift_covers_its_beginning_and_not_its_end(sessions, make, now):
    duty = await make.officer(DUNG, Role.DUTY)
    async with sessions.begin() as session:
        await start_shift(session, duty, now=now)
    assert await on_duty_at(sessions, now - timedelta(microseconds=1)) == []
    assert await on_duty_at(sessions, now) == ["dung"]
    assert await on_duty_at(sessions, now + LONGEST_SHIFT - timedelta(seconds=1)) == ["dung"]
    assert await on_duty_at(sessions, now + LONGEST_SHIFT) == []


async def test_one_officer_has_one_shift_at_a_time(sessions, make, now):
    duty = await make.officer(DUNG, Role.DUTY)
    async with sessions.begin() as session:
        await start_shift(session, duty, now=now)
    assert await refusal(sessions, lambda s: start_shift(s, duty, now=now)) == "duty.already"


async def test_ending_says_whether_somebody_else_is_on_duty(sessions, make, now):
    first, second = await make.officer(DUNG, Role.DUTY), await make.officer(CHI)
    async with sessions.begin() as session:
        await start_shift(session, first, now=now)
        await start_shift(session, second, now=now)
    async with sessions.begin() as session:
        assert await end_shift(session, first, now=now + timedelta(hours=1)) is True
        assert await end_shift(session, second, now=now + timedelta(hours=1)) is False
    assert await refusal(sessions, lambda s: end_shift(s, first, now=now + timedelta(hours=1))) == "duty.not_on"


async def test_a_hand_over_leaves_no_instant_without_somebody(sessions, make, now):
    first, second = await make.officer(DUNG, Role.DUTY), await make.officer(CHI)
    async with sessions.begin() as session:
        await start_shift(session, first, now=now)
    at = now + timedelta(hours=1)
    async with sessions.begin() as session:
        await hand_over(session, first, second.officer_id, now=at)
    assert await on_duty_at(sessions, at - timedelta(microseconds=1)) == ["dung"]
    assert await on_duty_at(sessions, at) == ["chi"]


async def test_a_shift_is_handed_only_to_who_may_stand_duty(sessions, make, now):
    first, front = await make.officer(DUNG, Role.DUTY), await make.officer(CHI, Role.FRONT)
    await make.shift(first)
    assert await refusal(sessions, lambda s: hand_over(s, first, front.officer_id, now=now)) == "duty.not_able"
    assert await on_duty_at(sessions, now) == ["dung"]


async def test_a_revoked_officer_is_not_on_duty(sessions, make, now):
    admin, duty = await make.officer(BINH, Role.ADMIN), await make.officer(DUNG, Role.DUTY)
    await make.shift(duty)
    async with sessions.begin() as session:
        await revoke_officer(session, admin, duty.officer_id, now=now)
    assert await on_duty_at(sessions, now) == []
    async with sessions.reading() as session:
        assert await shifts_at(session, at=now) == []


# --- quiet hours ---


@pytest.mark.parametrize(
    ("local", "quiet"), [("20:59", False), ("21:00", True), ("23:59", True), ("06:59", True), ("07:00", False)]
)
def test_quiet_hours_span_midnight(local, quiet):
    policy = Policy()
    at = datetime.fromisoformat(f"2026-11-23T{local}").replace(tzinfo=policy.zone)
    assert is_quiet(at.astimezone(UTC), policy) is quiet


def test_quiet_hours_within_a_day():
    policy = Policy(quiet_hours=(time(12), time(14)))
    noon = datetime(2026, 11, 23, 13, tzinfo=policy.zone)
    assert is_quiet(noon, policy) and not is_quiet(noon + timedelta(hours=1), policy)


@pytest.mark.parametrize(("local", "day"), [("22:00", 24), ("03:00", 23), ("07:00", 24)])
def test_quiet_hours_end_at_the_next_morning(local, day):
    policy = Policy()
    at = datetime.fromisoformat(f"2026-11-23T{local}").replace(tzinfo=policy.zone)
    assert quiet_ends(at, policy) == datetime(2026, 11, day, 7, tzinfo=policy.zone)
