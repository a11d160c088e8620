"""A flood of reports: the first few one by one, then one message that counts, what is urgent always by itself."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from db.tables.digests import Digest
from db.tables.officers import Role
from db.tables.reports import Report, ReportState
from reports.digest import FEW, WINDOW
from tests.worlds import Person, World, phrase


async def hand_in(world: World, name: str, text: str, *, urgent: bool = False) -> None:
    """Somebody new reports something."""
    person = await world.person(name)
    await person.sends("/baotin")
    await person.sends(text)
    if urgent:
        await person.presses(phrase("button.right_now"))
    await person.presses(phrase("button.send"))


def texts(officer: Person) -> list[str]:
    return [shown.text for shown in officer.shown]


@pytest.fixture
async def officer(world: World) -> Person:
    return await world.officer("binh", Role.DUTY, on_duty=True)


async def test_past_a_few_waiting_reports_the_officer_gets_one_message_that_counts(world: World, officer: Person):
    for number in range(FEW + 5):
        await hand_in(world, f"p{number}", f"Chuyện số {number}")

    assert len(officer.shown) == FEW + 1
    assert all(f"Chuyện số {number}" in texts(officer)[number] for number in range(FEW))
    assert f"{FEW + 1} tin báo đang chờ" in officer.last.text

    await officer.looks()
    await world.tick(seconds=6)
    await officer.refresh()
    if world.has_buttons:
        assert len(officer.shown) == FEW + 1
        assert f"{FEW + 5} tin báo đang chờ" in officer.last.text
        await world.tick(seconds=6)
        await officer.looks()
        await world.tick(seconds=6)
        await officer.refresh()
        officer.sees_nothing()


async def test_urgent_reports_come_by_themselves_in_the_middle_of_it(world: World, officer: Person):
    for number in range(FEW + 2):
        await hand_in(world, f"p{number}", f"Chuyện số {number}")

    await hand_in(world, "gap", "Đang đánh nhau", urgent=True)

    assert "Đang đánh nhau" in officer.last.text


async def test_what_is_only_counted_is_in_the_inbox_and_goes_on_to_the_next(world: World, officer: Person):
    chief = await world.officer("chi", Role.COMMANDER)
    for number in range(FEW + 2):
        await hand_in(world, f"p{number}", f"Chuyện số {number}")
    numbers = [report.number for report in await reports(world)]

    await officer.sends("/tin")
    officer.sees(*numbers)

    await world.tick(minutes=6)
    await chief.refresh()
    assert len(chief.shown) == FEW + 1 and "tin báo đang chờ" in chief.last.text


async def test_the_digest_opens_the_inbox_and_ends_when_nothing_waits(telegram_world: World):
    world = telegram_world
    officer = await world.officer("binh", Role.DUTY, on_duty=True)
    for number in range(FEW + 2):
        await hand_in(world, f"p{number}", f"Chuyện số {number}")

    await officer.presses(phrase("button.inbox"))
    officer.sees(*[report.number for report in await reports(world)])
    async with world.sessions.begin() as session:
        await session.execute(update(Report).values(state=ReportState.TAKEN))
    await officer.looks()
    await world.tick(seconds=6)
    await officer.refresh()
    officer.sees("Không còn tin báo nào chờ nhận")

    await world.tick(hours=13)
    async with world.sessions.reading() as session:
        assert (await session.scalars(select(Digest))).all() == []


async def test_who_takes_reports_as_they_come_gets_each_of_them(telegram_world: World):
    world = telegram_world
    officer = await world.officer("binh", Role.DUTY, on_duty=True)
    for number in range(FEW * 3):
        await hand_in(world, f"p{number}", f"Chuyện số {number}")
        assert f"Chuyện số {number}" in officer.last.text
        await officer.presses(phrase("button.take"))


async def test_after_a_while_the_next_ones_ring_again(telegram_world: World):
    world = telegram_world
    officer = await world.officer("binh", Role.DUTY, on_duty=True)
    for number in range(FEW + 2):
        await hand_in(world, f"p{number}", f"Chuyện số {number}")
    world.clock.advance(seconds=WINDOW.total_seconds())

    await hand_in(world, "later", "Chuyện về sau")

    assert "Chuyện về sau" in officer.last.text


async def test_a_clock_set_back_does_not_silence_anybody(telegram_world: World):
    world = telegram_world
    officer = await world.officer("binh", Role.DUTY, on_duty=True)
    for number in range(FEW + 2):
        await hand_in(world, f"p{number}", f"Chuyện số {number}")
    world.clock.now -= timedelta(days=1)
    async with world.sessions.begin() as session:
        await session.execute(update(Report).values(state=ReportState.TAKEN))
    assert officer.actor is not None
    await world.make.shift(officer.actor)

    await hand_in(world, "earlier", "Chuyện sau khi chỉnh giờ")

    assert "Chuyện sau khi chỉnh giờ" in officer.last.text
    world.logged[:] = [entry for entry in world.logged if entry["event"] != "clock_is_behind"]


async def test_a_revoked_officers_digest_counts_no_further(telegram_world: World):
    world = telegram_world
    officer = await world.officer("binh", Role.DUTY, on_duty=True)
    for number in range(FEW + 1):
        await hand_in(world, f"p{number}", f"Chuyện số {number}")
    chief = await world.officer("chi", Role.COMMANDER)
    await hand_in(world, "more", "Thêm một chuyện")
    assert chief.actor is not None and officer.actor is not None
    async with world.sessions.begin() as session:
        from officers.accounts import revoke_officer

        await revoke_officer(session, chief.actor, officer.actor.officer_id or 0, now=world.clock())
    await officer.looks()
    await world.tick(seconds=6)
    await officer.refresh()

    officer.sees_nothing()


async def reports(world: World) -> list[Report]:
    async with world.sessions.reading() as session:
        return list(await session.scalars(select(Report).where(Report.state == ReportState.RECEIVED)))


async def test_a_digest_its_reader_has_deleted_is_posted_again(telegram_world: World):
    world = telegram_world
    officer = await world.officer("binh", Role.DUTY, on_duty=True)
    for number in range(FEW + 2):
        await hand_in(world, f"p{number}", f"Chuyện số {number}")
    await world.tick(seconds=6)
    await officer.looks()
    chat = world.ports["telegram"].gateway.chats[officer.chat.address]
    chat[-1] = replace(chat[-1], deleted=True)

    for number in range(FEW + 2, FEW + 5):
        await hand_in(world, f"p{number}", f"Chuyện số {number}")
    for _ in range(3):
        await world.tick(seconds=6)
    await officer.refresh()

    assert f"{FEW + 5} tin báo đang chờ" in officer.last.text
    world.logged.clear()


async def test_a_digest_that_counts_no_more_points_to_the_newer_one(telegram_world: World):
    world = telegram_world
    officer = await world.officer("binh", Role.DUTY, on_duty=True)
    for number in range(FEW + 2):
        await hand_in(world, f"p{number}", f"Chuyện số {number}")
    await world.tick(seconds=6)
    world.clock.advance(seconds=WINDOW.total_seconds() + 60)
    for number in range(FEW + 2, 2 * FEW + 4):
        await hand_in(world, f"p{number}", f"Chuyện số {number}")
    for _ in range(3):
        await world.tick(seconds=6)
    await officer.refresh()

    counting = [text for text in texts(officer) if "tin báo đang chờ nhận" in text]
    assert [f"{2 * FEW + 4} tin" in text for text in counting] == [True]
    assert sum(phrase("digest.older") in text for text in texts(officer)) == 1
