"""Ticks: what cannot be done must not keep the rest from being done."""

from __future__ import annotations

from sqlalchemy import select, update

from broadcasts.facts import Draft, Response
from broadcasts.notices import schedule_notice
from db.tables.broadcasts import Notice
from db.tables.officers import Role
from db.tables.reports import Report, ReportState
from tests.worlds import World


async def test_a_notice_that_cannot_be_opened_does_not_keep_reports_from_being_escalated(telegram_world: World):
    world = telegram_world
    chief = await world.officer("chief", Role.COMMANDER)
    await world.owner("hoa")
    nam = await world.person("nam")
    await nam.sends("/baotin")
    await nam.sends("Có người lạ.")
    await nam.presses("Gửi")
    async with world.sessions.begin() as session:
        assert chief.actor is not None
        await schedule_notice(session, chief.actor, Draft("x", "all", Response.NONE), now=world.clock())
        await session.execute(update(Notice).values(html="<broken"))

    world.clock.advance(minutes=6)
    await world.house.jobs.second()

    async with world.sessions.reading() as session:
        assert await session.scalar(select(Report.escalation_step)) == 1


async def test_a_report_nobody_can_open_does_not_keep_others_from_being_escalated(telegram_world: World):
    world = telegram_world
    await world.officer("chief", Role.COMMANDER)
    for name in ("nam", "hai"):
        person = await world.person(name)
        await person.sends("/baotin")
        await person.sends("Có người lạ.")
        await person.presses("Gửi")
    async with world.sessions.begin() as session:
        first = await session.scalar(select(Report.id).order_by(Report.id).limit(1))
        await session.execute(update(Report).where(Report.id == first).values(data_key=b"of a key long gone"))

    world.clock.advance(minutes=6)
    await world.house.jobs.second()

    async with world.sessions.reading() as session:
        steps = await session.scalars(
            select(Report.escalation_step).where(Report.state == ReportState.RECEIVED).order_by(Report.id)
        )
        assert list(steps)[1] == 1
