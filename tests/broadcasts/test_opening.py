"""A due notice becomes a broadcast, once, with one delivery for every chat it reaches."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import func, select

from broadcasts.acknowledgements import acknowledge, newest_waiting, silent
from broadcasts.facts import Draft
from broadcasts.notices import (
    MOST_LATE,
    cancel_notice,
    find_notice,
    pause_notice,
    resume_notice,
    schedule_notice,
    title_of,
)
from broadcasts.opening import finish_done, open_due
from broadcasts.progress import count_progress
from channels.port import Recipient
from db.tables.broadcasts import Broadcast, BroadcastReach, Notice, NoticePlace, NoticeState, Response
from db.tables.deliveries import Delivery, DeliveryState, Lane
from db.tables.establishments import Contact, Establishment, EstablishmentState
from establishments.registration import leave, set_blocked
from officers.permissions import Actor, Role
from texts.refusal import Refusal
from unit.policy import Policy

LAN, NIGHT, MINH, BINH = (Recipient("memory", name) for name in ("lan", "dem", "minh", "binh"))
POLICY = Policy()


@pytest.fixture
async def officer(make):
    return await make.officer(BINH)


@pytest.fixture
def write(sessions, officer, now):
    async def write(text="Xin chào", audience="all", response=Response.CONFIRM, **about) -> int:
        async with sessions.begin() as session:
            return (await schedule_notice(session, officer, Draft(text, audience, response, **about), now=now)).id

    return write


@pytest.fixture
def tick(sessions, now):
    async def tick(**later) -> list[int]:
        async with sessions.begin() as session:
            return await open_due(session, now=now + timedelta(**later), policy=POLICY)

    return tick


@pytest.fixture
def all_of(sessions):
    async def all_of(table) -> list:
        async with sessions.reading() as session:
            return list(await session.scalars(select(table)))

    return all_of


async def test_two_sessions_racing_open_one_broadcast(make, write, tick, all_of):
    await make.place("Hoa Mai", LAN)
    await write()
    opened = await asyncio.gather(*(tick() for _ in range(4)))
    assert sum(len(one) for one in opened) == 1
    assert len(await all_of(Broadcast)) == len(await all_of(Delivery)) == 1


async def test_a_notice_opens_at_its_time_and_not_before(make, write, tick, now):
    await make.place("Hoa Mai", LAN)
    await write(scheduled_for=now + timedelta(hours=1))
    assert await tick(minutes=59) == []
    assert len(await tick(hours=1)) == 1
    assert await tick(hours=1) == []


async def test_everybody_who_speaks_for_a_place_gets_it_once(make, write, tick, all_of):
    await make.place("Hoa Mai", LAN, NIGHT)
    await make.place("Hoa Sen", LAN, address="2 Lê Lợi")
    await make.place("Chưa nối", address="3 Lê Lợi", state=EstablishmentState.INVITED)
    await write()
    await tick()
    deliveries = await all_of(Delivery)
    assert sorted(delivery.address for delivery in deliveries) == ["dem", "lan"]
    assert {delivery.lane for delivery in deliveries} == {Lane.ROUTINE}
    assert len(await all_of(BroadcastReach)) == 3


async def test_an_urgent_notice_takes_the_urgent_lane(make, write, tick, all_of):
    await make.place("Hoa Mai", LAN)
    await write(urgent=True)
    await tick()
    assert [delivery.lane for delivery in await all_of(Delivery)] == [Lane.URGENT]


async def test_who_joins_after_the_officer_said_send_does_not_get_it(make, write, tick, all_of, now):
    await make.place("Hoa Mai", LAN)
    await write(scheduled_for=now + timedelta(hours=1))
    await make.place("Hoa Sen", MINH, address="2 Lê Lợi")
    await tick(hours=1)
    assert [delivery.address for delivery in await all_of(Delivery)] == ["lan"]


async def test_who_has_left_meanwhile_does_not_get_it(make, write, tick, all_of, sessions, now):
    place = await make.place("Hoa Mai", LAN)
    await write(scheduled_for=now + timedelta(hours=1))
    async with sessions.begin() as session:
        await leave(session, LAN, place, now=now)
    await tick(hours=1)
    assert await all_of(Delivery) == []


async def test_a_chat_known_as_blocked_is_listed_and_not_tried(make, write, tick, all_of, sessions, officer, now):
    await make.place("Hoa Mai", LAN)
    async with sessions.begin() as session:
        await set_blocked(session, LAN, blocked=True, now=now)
    notice = await write()
    await tick()
    assert [delivery.state for delivery in await all_of(Delivery)] == [DeliveryState.UNDELIVERABLE]
    async with sessions.reading() as session:
        assert [one.why for one in await silent(session, officer, notice)] == ["blocked"]


async def test_a_notice_due_too_long_ago_is_called_off(make, write, tick, all_of):
    await make.place("Hoa Mai", LAN)
    await write()
    assert await tick(seconds=MOST_LATE.total_seconds() + 1) == []
    (notice,) = await all_of(Notice)
    assert notice.state is NoticeState.CANCELLED
    (told,) = await all_of(Delivery)
    assert told.address == "binh"


async def test_a_broadcast_with_nothing_left_to_send_is_finished(make, write, tick, all_of, sessions, now):
    await make.place("Hoa Mai", LAN)
    await write()
    await tick()
    async with sessions.begin() as session:
        await finish_done(session, now=now)
    assert (await all_of(Notice))[0].state is NoticeState.RUNNING
    async with sessions.begin() as session:
        for delivery in await session.scalars(select(Delivery)):
            delivery.state = DeliveryState.SENT
        await finish_done(session, now=now)
    (notice,) = await all_of(Notice)
    assert notice.state is NoticeState.FINISHED


# --- rules of a notice ---


@pytest.mark.parametrize("text", ["", "   ", "\u200b", "x" * 3501])
async def test_a_text_that_says_nothing_or_too_much_is_refused(make, write, text):
    await make.place("Hoa Mai", LAN)
    with pytest.raises(Refusal):
        await write(text)


async def test_a_time_that_has_passed_is_refused(make, write, now):
    await make.place("Hoa Mai", LAN)
    with pytest.raises(Refusal) as told:
        await write(scheduled_for=now - timedelta(seconds=1))
    assert told.value.key == "when.past"


async def test_an_empty_audience_is_refused(write):
    with pytest.raises(Refusal) as told:
        await write()
    assert told.value.key == "notice.nobody"


async def test_who_may_not_write_notices_is_refused(make, sessions, now):
    await make.place("Hoa Mai", LAN)
    duty = await make.officer(MINH, Role.DUTY)
    with pytest.raises(Refusal) as told:
        async with sessions.begin() as session:
            await schedule_notice(session, duty, Draft("x", "all", Response.NONE), now=now)
    assert told.value.key == "refused.role"


@pytest.mark.parametrize(
    ("text", "title"),
    [("Một\nHai", "Một"), ("\n\n<b>Một</b> &amp; hai", "Một & hai"), ("x" * 100, "x" * 79 + "…")],
)
def test_the_first_line_is_the_title(text, title):
    assert title_of(text) == title


async def test_a_notice_goes_through_its_states_and_no_other_way(make, write, sessions, officer, now):
    await make.place("Hoa Mai", LAN)
    which = await write(scheduled_for=now + timedelta(hours=1))

    async def does(step) -> str:
        try:
            async with sessions.begin() as session:
                return (await step(session, officer, which, now=now)).state
        except Refusal as refusal:
            return refusal.key

    assert await does(resume_notice) == "notice.not_now"
    assert await does(pause_notice) == NoticeState.PAUSED
    assert await does(pause_notice) == "notice.not_now"
    assert await does(resume_notice) == NoticeState.SCHEDULED
    assert await does(cancel_notice) == NoticeState.CANCELLED
    assert await does(resume_notice) == "notice.not_now"
    assert await does(pause_notice) == "notice.not_now"


async def test_a_held_notice_is_not_opened(make, write, tick, sessions, officer, now):
    await make.place("Hoa Mai", LAN)
    which = await write(scheduled_for=now + timedelta(hours=1))
    async with sessions.begin() as session:
        await pause_notice(session, officer, which, now=now)
    assert await tick(hours=1) == []


async def test_a_notice_is_found_by_its_number_once_it_was_sent(make, write, tick, sessions, all_of):
    await make.place("Hoa Mai", LAN)
    await write()
    number = (await all_of(Notice))[0].number

    async def finds(typed):
        async with sessions.reading() as session:
            return await find_notice(session, typed) is not None

    assert not await finds(number)
    await tick()
    assert await finds(number) and await finds(number.lower()) and await finds(f" {number[3:]} ")
    assert not await finds("") and not await finds("TB-\x00") and not await finds("TB-0000")


# --- confirming ---


async def confirm(sessions, chat, broadcast, now):
    async with sessions.begin() as session:
        return await acknowledge(session, chat, broadcast, now=now)


async def test_two_contacts_confirming_at_once_are_one_confirmation(make, write, tick, sessions, now):
    await make.place("Hoa Mai", LAN, NIGHT)
    await write()
    (broadcast,) = await tick()
    both = await asyncio.gather(*(confirm(sessions, chat, broadcast, now) for chat in (LAN, NIGHT)))
    assert sorted(one.is_first for one in both) == [False, True]
    async with sessions.reading() as session:
        assert (await count_progress(session, broadcast)).confirmed == 1


async def test_a_stranger_confirms_for_nobody(make, write, tick, sessions, now):
    await make.place("Hoa Mai", LAN)
    await write()
    (broadcast,) = await tick()
    with pytest.raises(Refusal) as told:
        await confirm(sessions, MINH, broadcast, now)
    assert told.value.key == "notice.not_yours"


async def test_the_same_address_on_another_channel_confirms_for_nobody(make, write, tick, sessions, now):
    """An address is one's own on its channel only: on another, anybody may have it."""
    elsewhere = Recipient("other", LAN.address)
    await make.place("Hoa Mai", LAN)
    await make.place("Hoa Sen", elsewhere, address="2 Lê Lợi", state=EstablishmentState.SUSPENDED)
    await write()
    (broadcast,) = await tick()
    with pytest.raises(Refusal) as told:
        await confirm(sessions, elsewhere, broadcast, now)
    assert told.value.key == "notice.not_yours"
    async with sessions.reading() as session:
        assert await newest_waiting(session, elsewhere) is None
        assert await newest_waiting(session, LAN) == broadcast
        assert (await count_progress(session, broadcast)).confirmed == 0


async def test_a_suspended_place_is_in_no_audience(make, write, tick, all_of):
    await make.place("Hoa Mai", LAN)
    await make.place("Hoa Sen", MINH, address="2 Lê Lợi", state=EstablishmentState.SUSPENDED)
    await write()
    await tick()
    assert [delivery.address for delivery in await all_of(Delivery)] == ["lan"]
    assert len(await all_of(NoticePlace)) == 1


async def test_a_place_suspended_meanwhile_does_not_get_it(make, write, tick, all_of, sessions, now):
    await make.place("Hoa Mai", LAN)
    place = await make.place("Hoa Sen", MINH, address="2 Lê Lợi")
    await write(scheduled_for=now + timedelta(hours=1))
    async with sessions.begin() as session:
        (await session.get_one(Establishment, place)).state = EstablishmentState.SUSPENDED
    await tick(hours=1)
    assert [delivery.address for delivery in await all_of(Delivery)] == ["lan"]


NOT_WRITERS = [Role.DUTY, None]


@pytest.mark.parametrize("role", NOT_WRITERS)
@pytest.mark.parametrize("move", [pause_notice, resume_notice, cancel_notice])
async def test_who_may_not_write_notices_moves_none(make, write, sessions, all_of, officer, now, move, role):
    await make.place("Hoa Mai", LAN)
    which = await write(scheduled_for=now + timedelta(hours=1))
    if move is resume_notice:
        async with sessions.begin() as session:
            await pause_notice(session, officer, which, now=now)
    (before,) = await all_of(Notice)
    actor = Actor(MINH) if role is None else await make.officer(MINH, role)
    with pytest.raises(Refusal) as told:
        async with sessions.begin() as session:
            await move(session, actor, which, now=now)
    assert told.value.key == ("refused.officers" if role is None else "refused.role")
    (after,) = await all_of(Notice)
    assert after.state is before.state


@pytest.mark.parametrize("role", [Role.DUTY, Role.FRONT, None])
async def test_who_may_not_see_names_does_not_learn_who_is_silent(make, write, tick, sessions, role):
    await make.place("Hoa Mai", LAN)
    which = await write()
    await tick()
    actor = Actor(MINH) if role is None else await make.officer(MINH, role)
    with pytest.raises(Refusal) as told:
        async with sessions.reading() as session:
            await silent(session, actor, which)
    assert told.value.key == ("refused.officers" if role is None else "refused.role")


async def test_a_confirmation_proves_receipt_in_the_counts(make, write, tick, sessions, now):
    await make.place("Hoa Mai", LAN)
    await write()
    (broadcast,) = await tick()
    async with sessions.begin() as session:
        for delivery in await session.scalars(select(Delivery)):
            delivery.state = DeliveryState.UNKNOWN
    async with sessions.reading() as session:
        assert (await count_progress(session, broadcast)).unknown == 1
    await confirm(sessions, LAN, broadcast, now)
    async with sessions.reading() as session:
        counted = await count_progress(session, broadcast)
    assert (counted.sent, counted.confirmed, counted.unknown, counted.total) == (1, 1, 0, 1)


async def test_the_counts_add_up_to_the_audience(make, write, tick, sessions):
    states = [state for state in DeliveryState if state is not DeliveryState.EXPIRED]
    for number, _ in enumerate(states):
        await make.place(f"P{number}", Recipient("memory", f"c{number}"), address=f"{number}")
    await make.place("Chưa nối", address="x", state=EstablishmentState.INVITED)
    await write()
    (broadcast,) = await tick()
    async with sessions.begin() as session:
        for delivery in await session.scalars(select(Delivery)):
            delivery.state = states[int(delivery.address[1:])]
    async with sessions.reading() as session:
        counted = await count_progress(session, broadcast)
    parts = (counted.sent, counted.waiting, counted.unreachable, counted.unknown, counted.not_connected)
    assert parts == (1, 2, 3, 1, 1)
    assert counted.total == sum(parts) == len(states) + 1


async def test_the_list_of_the_silent_takes_the_best_that_is_known(make, write, tick, sessions, officer):
    await make.place("Hoa Mai", LAN, NIGHT)
    notice = await write()
    await tick()
    async with sessions.begin() as session:
        for delivery in await session.scalars(select(Delivery)):
            delivery.state = DeliveryState.SENT if delivery.address == "dem" else DeliveryState.UNDELIVERABLE
    async with sessions.reading() as session:
        assert [(one.name, one.why) for one in await silent(session, officer, notice)] == [("Hoa Mai", "not_pressed")]


async def test_where_nothing_is_asked_only_the_unreached_are_listed(make, write, tick, sessions, officer):
    await make.place("Hoa Mai", LAN)
    await make.place("Chưa nối", address="x", state=EstablishmentState.INVITED)
    notice = await write(response=Response.NONE)
    await tick()
    async with sessions.begin() as session:
        for delivery in await session.scalars(select(Delivery)):
            delivery.state = DeliveryState.SENT
    async with sessions.reading() as session:
        assert [one.name for one in await silent(session, officer, notice)] == ["Chưa nối"]


async def test_a_contact_who_confirmed_and_left_does_not_undo_it(make, write, tick, sessions, now):
    place = await make.place("Hoa Mai", LAN, NIGHT)
    await write()
    (broadcast,) = await tick()
    await confirm(sessions, LAN, broadcast, now)
    async with sessions.begin() as session:
        await leave(session, LAN, place, now=now)
        assert await session.scalar(select(func.count()).select_from(Contact)) == 1
    async with sessions.reading() as session:
        assert (await count_progress(session, broadcast)).confirmed == 1
