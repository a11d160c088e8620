"""Quiet hours are kept: what is not urgent, and whose author did not say so, leaves in the morning, and is said to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, update

from broadcasts.facts import Draft
from broadcasts.notices import cancel_notice, pause_notice, resume_notice, schedule_notice
from broadcasts.opening import go_on, keep_the_night, open_due
from channels.port import Recipient
from db.tables.broadcasts import Broadcast, BroadcastContent, Notice, NoticeState, Response
from db.tables.deliveries import Delivery, DeliveryState, Lane
from deliveries.claims import claim
from tests.worlds import phrase
from unit.policy import Policy

LAN, BINH = Recipient("memory", "lan"), Recipient("memory", "binh")
POLICY = Policy()
#: A Monday in Viet Nam.
AFTERNOON = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)  # 17:00
EVENING = datetime(2026, 11, 23, 13, 59, 30, tzinfo=UTC)  # 20:59:30
NIGHT = datetime(2026, 11, 23, 15, 0, tzinfo=UTC)  # 22:00
MORNING = datetime(2026, 11, 24, 0, 0, tzinfo=UTC)  # 07:00


@pytest.fixture
async def officer(make):
    await make.place("Hoa Mai", LAN)
    return await make.officer(BINH)


@pytest.fixture
def write(sessions, officer):
    async def write(now: datetime, **about) -> int:
        async with sessions.begin() as session:
            draft = Draft("Xin chào", "all", Response.NONE, **about)
            return (await schedule_notice(session, officer, draft, now=now)).id

    return write


async def tick(sessions, now: datetime) -> None:
    async with sessions.begin() as session:
        await open_due(session, now=now, policy=POLICY)
        await keep_the_night(session, now=now, policy=POLICY)
    for _ in range(3):
        async with sessions.begin() as session:
            await go_on(session, now=now, policy=POLICY)


async def leaving(sessions, now: datetime) -> list[str]:
    """Which places a notice leaves for now."""
    async with sessions.begin() as session:
        found = await claim(session, "memory", limit=50, now=now)
        await session.rollback()
    return [one.to.address for one in found if one.lane in (Lane.URGENT, Lane.ROUTINE)]


async def told(sessions, now: datetime) -> list[str]:
    """What the author is told."""
    async with sessions.begin() as session:
        found = await claim(session, "memory", limit=50, now=now)
        await session.rollback()
    return [one.outgoing.text for one in found if one.to == BINH]


async def test_a_notice_whose_time_passed_while_the_house_was_down_does_not_leave_at_night(sessions, write):
    await write(AFTERNOON, scheduled_for=AFTERNOON + timedelta(hours=1))
    await tick(sessions, NIGHT)
    assert await leaving(sessions, NIGHT) == []
    (said,) = await told(sessions, NIGHT)
    assert phrase("notice.put_off") in said and "Thứ Ba 24/11/2026, 07:00" in said
    await tick(sessions, MORNING)
    assert await leaving(sessions, MORNING) == ["lan"]


async def test_by_day_a_late_notice_leaves_at_once(sessions, write):
    await write(AFTERNOON, scheduled_for=AFTERNOON + timedelta(hours=1))
    later = AFTERNOON + timedelta(hours=3)
    await tick(sessions, later)
    assert await leaving(sessions, later) == ["lan"]
    assert await told(sessions, NIGHT) == []


async def test_a_notice_put_off_to_the_morning_is_told_once_and_can_be_called_off(sessions, write, officer):
    which = await write(AFTERNOON, scheduled_for=AFTERNOON + timedelta(hours=1))
    for minutes in range(3):
        await tick(sessions, NIGHT + timedelta(minutes=minutes))
    assert len(await told(sessions, NIGHT)) == 1
    async with sessions.begin() as session:
        await cancel_notice(session, officer, which, now=NIGHT)
    await tick(sessions, MORNING)
    assert await leaving(sessions, MORNING) == []


@pytest.mark.parametrize("about", [{"urgent": True}, {"at_night": True}])
async def test_an_urgent_notice_and_one_its_author_wants_at_night_leave_at_night(sessions, write, about):
    await write(AFTERNOON, scheduled_for=AFTERNOON + timedelta(hours=1), **about)
    await tick(sessions, NIGHT)
    assert await leaving(sessions, NIGHT) == ["lan"]


async def test_what_is_under_way_when_the_night_begins_goes_on_in_the_morning(sessions, write):
    await write(EVENING)
    await tick(sessions, EVENING)
    assert await leaving(sessions, EVENING) == ["lan"]
    for seconds in (26, 27, 60):
        await tick(sessions, EVENING + timedelta(seconds=seconds))
        assert await leaving(sessions, EVENING + timedelta(seconds=seconds)) == []
    (said,) = await told(sessions, NIGHT)
    assert phrase("notice.rests") in said and "Thứ Ba 24/11/2026, 07:00" in said
    await tick(sessions, MORNING)
    assert await leaving(sessions, MORNING) == ["lan"]


@pytest.mark.parametrize("about", [{"urgent": True}, {"at_night": True}])
async def test_an_urgent_notice_under_way_goes_on_through_the_night(sessions, write, about):
    await write(EVENING, **about)
    await tick(sessions, EVENING)
    await tick(sessions, NIGHT)
    assert await leaving(sessions, NIGHT) == ["lan"]
    assert await told(sessions, NIGHT) == []


async def test_a_finished_broadcast_is_not_told_to_rest(sessions, write):
    await write(EVENING)
    await tick(sessions, EVENING)
    async with sessions.begin() as session:
        await session.execute(update(Delivery).values(state=DeliveryState.SENT))
    await tick(sessions, NIGHT)
    assert await told(sessions, NIGHT) == []


async def test_what_opens_at_night_of_a_broadcast_begun_by_day_waits_too(sessions, write, make):
    """A large one, and the process came back at night with half of it open."""
    await write(EVENING)
    async with sessions.begin() as session:
        await session.execute(update(Notice).values(state=NoticeState.RUNNING))
        (notice_id,) = await session.scalars(select(Notice.id))
        broadcast = Broadcast(notice_id=notice_id, planned_at=EVENING, opened_at=EVENING, opens_after=0)
        session.add(broadcast)
        await session.flush()
        session.add(BroadcastContent(broadcast_id=broadcast.id, language="vi", content_id="x"))
    await tick(sessions, NIGHT)
    assert await leaving(sessions, NIGHT) == []


async def test_a_notice_resumed_at_night_waits_for_the_morning(sessions, write, officer):
    which = await write(EVENING)
    await tick(sessions, EVENING)
    async with sessions.begin() as session:
        await pause_notice(session, officer, which, now=EVENING)
    async with sessions.begin() as session:
        await resume_notice(session, officer, which, now=NIGHT, policy=POLICY)
    assert await leaving(sessions, NIGHT) == []
    await tick(sessions, MORNING)
    assert await leaving(sessions, MORNING) == ["lan"]
