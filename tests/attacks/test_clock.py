"""A clock that is set back, or was ahead and is set right: what is due is due.

| promise | test |
|---|---|
| set back a day, an urgent report is escalated in its minutes | `..._urgent_report...`, over a restart too |
| times that are written down never go back | `..._never_goes_back...` |
| a clock that was ahead by a year freezes nothing | `..._ahead_by_a_year...` |
| whatever the step, a commander has a report in the usual minutes, and reads no odd number | `..._usual_minutes...` |
| the start and the doctor warn, and an operator has the last word | `..._warn...`, `..._trusted...` |
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from bot.settings import Settings
from broadcasts.facts import Draft, Response
from broadcasts.notices import schedule_notice
from commands import doctor
from db import standing
from db.engine import Sessions
from db.forward_clock import TRUST, ForwardClock
from db.tables.broadcasts import Notice, NoticeState
from db.tables.officers import Role
from db.tables.reports import Report
from db.tables.troubles import Trouble
from tests.conftest import KEYS, NOW
from tests.worlds import Clock, Person, World, open_world, phrase

DAY_ALMOST = timedelta(hours=23)


@pytest.fixture
async def either(engine, clock):
    """The house on SQLite and on PostgreSQL."""
    async with open_world(Sessions(engine, KEYS), clock, ["telegram"]) as opened:
        yield opened


async def _urgent_report(world: World) -> None:
    nam = await world.person("nam")
    await nam.sends("/baotin")
    await nam.sends("Có đánh nhau.")
    await nam.presses("Gửi")
    async with world.sessions.begin() as session:
        report = (await session.scalars(select(Report))).one()
        report.urgent = True
        report.escalates_at = world.house.clock() + world.policy.escalation_urgent[0]


async def _step(world: World) -> int:
    async with world.sessions.reading() as session:
        return int(await session.scalar(select(Report.escalation_step)) or 0)


async def test_an_urgent_report_is_escalated_in_its_minutes_though_the_clock_was_set_back_23_hours(either: World):
    world = either
    await world.officer("chief", Role.COMMANDER)
    await _urgent_report(world)

    world.clock.now -= DAY_ALMOST
    await world.house.jobs.second()
    assert await _step(world) == 0
    world.clock.advance(seconds=61)
    await world.house.jobs.second()

    assert await _step(world) == 1
    world.logged.clear()


async def test_the_same_over_a_restart(either: World):
    world = either
    await world.officer("chief", Role.COMMANDER)
    await _urgent_report(world)
    await world.house.jobs.minute()

    world.clock.now -= DAY_ALMOST
    await world.restart()
    world.clock.advance(seconds=121)  # what was written down is the minute
    await world.house.jobs.second()

    assert await _step(world) == 1
    assert [entry["event"] for entry in world.incidents] == ["clock_is_behind"], "the start warns"
    world.logged.clear()


async def test_a_report_that_comes_after_the_clock_was_set_back_has_its_minutes_too(telegram_world: World):
    world = telegram_world
    await world.officer("chief", Role.COMMANDER)
    await world.house.jobs.minute()
    world.clock.now -= DAY_ALMOST

    await _urgent_report(world)
    await world.house.jobs.second()
    assert await _step(world) == 0, "not at once"
    world.clock.advance(seconds=61)
    await world.house.jobs.second()

    assert await _step(world) == 1
    world.logged.clear()


async def test_a_notice_goes_out_when_it_was_due_and_answers_leave_at_once(telegram_world: World):
    world = telegram_world
    chief, hoa = await world.officer("chief", Role.COMMANDER), await world.owner("hoa")
    async with world.sessions.begin() as session:
        assert chief.actor is not None
        at = world.clock() + timedelta(minutes=10)
        draft = Draft("Khoá cửa", "all", Response.NONE, scheduled_for=at)
        await schedule_notice(session, chief.actor, draft, now=world.clock())
    await world.tick(seconds=1)

    world.clock.now -= DAY_ALMOST
    await hoa.sends("/khancap")
    hoa.sees("113")
    await hoa.looks()
    await world.tick(minutes=11)
    await hoa.refresh()

    hoa.sees("Khoá cửa")
    world.logged.clear()


async def test_a_clock_that_was_ahead_by_a_year_and_is_set_right_freezes_nothing(either: World):
    world = either
    await world.officer("chief", Role.COMMANDER)
    world.clock.advance(days=365)
    await world.house.jobs.minute()
    await _urgent_report(world)

    world.clock.now -= timedelta(days=365)
    await world.house.jobs.minute()
    nam = world.people[-1]
    await nam.sends("/khancap")
    nam.sees("113")
    world.clock.advance(minutes=2)
    await world.house.jobs.second()

    assert await _step(world) == 1
    assert [entry["event"] for entry in world.incidents] == ["clock_was_ahead"]
    world.logged.clear()


async def test_the_same_over_a_restart_after_a_year(telegram_world: World):
    world = telegram_world
    await world.officer("chief", Role.COMMANDER)
    world.clock.advance(days=365)
    await world.house.jobs.minute()
    await _urgent_report(world)

    world.clock.now -= timedelta(days=365)
    await world.restart()
    world.clock.advance(minutes=2)
    await world.house.jobs.second()

    assert await _step(world) == 1
    world.logged.clear()


async def test_an_operator_may_say_that_the_clock_is_trusted(telegram_world: World):
    """It was ahead by seven hours, the commonest mistake there is, and has been set right."""
    world = telegram_world
    await world.house.jobs.minute()
    world.clock.now -= timedelta(hours=7)
    await world.house.jobs.minute()
    assert world.house.time.ahead == timedelta(hours=7)

    async with world.sessions.begin() as session:
        await standing.remember_seen(session, world.clock())  # what `binhyen trust-clock` does
    world.clock.advance(minutes=1)
    await world.house.jobs.minute()

    assert world.house.time.ahead == timedelta()
    assert world.house.clock() == world.clock()
    world.logged.clear()


async def test_the_doctor_warns_when_the_clock_is_behind(sqlite_engine, tmp_path: Path):
    sessions = Sessions(sqlite_engine, KEYS)
    async with sessions.begin() as session:
        await standing.remember_seen(session, NOW)
    settings = Settings.model_validate({"database_url": f"sqlite+aiosqlite:///{tmp_path / 'binhyen.db'}"})

    async def lines(now: datetime) -> list[str]:
        found = [one async for one in doctor._database(settings, now)]
        return [one.line for one in found if one.verdict is doctor.Verdict.WRONG and "clock" in one.line]

    assert "23" in (await lines(NOW - DAY_ALMOST))[0] and "trust-clock" in (await lines(NOW - DAY_ALMOST))[0]
    assert await lines(NOW + timedelta(hours=1)) == []


# --- the clock by itself ---


@given(st.lists(st.integers(-40 * 3600, 40 * 3600), max_size=30))
def test_it_never_goes_back_but_when_it_was_far_ahead(steps):
    given_clock = Clock(NOW)
    clock = ForwardClock(given_clock)
    before = clock()
    for step in steps:
        given_clock.advance(seconds=step)
        now = clock()
        assert now >= before or clock.stepped_back()
        assert now >= given_clock()
        assert clock.ahead <= TRUST
        before = now


@given(st.integers(1, 35 * 3600), st.lists(st.integers(0, 59), min_size=1, max_size=20))
def test_it_never_stands_still(back, seconds):
    given_clock = Clock(NOW)
    clock = ForwardClock(given_clock)
    clock()
    given_clock.advance(seconds=-back)
    begun = clock()
    for second in seconds:
        given_clock.advance(seconds=second)
        clock()
    # At most what it was ahead of the computer's clock is given back, when that is small.
    assert clock() - begun >= timedelta(seconds=sum(seconds)) - timedelta(seconds=min(back, max(seconds)))


def test_when_the_computers_clock_is_set_forward_again_the_two_are_one():
    given_clock = Clock(NOW)
    clock = ForwardClock(given_clock)
    clock()
    given_clock.advance(hours=-23)
    clock()
    given_clock.advance(minutes=5)
    assert clock() == NOW + timedelta(minutes=5)
    given_clock.advance(hours=23, minutes=1)

    assert clock() == given_clock() == NOW + timedelta(minutes=6)
    assert clock.ahead == timedelta()


def test_an_earlier_process_counts():
    clock = ForwardClock(Clock(datetime(2026, 11, 22, tzinfo=UTC)))
    clock.start_from(datetime(2026, 11, 23, tzinfo=UTC))

    assert clock() == datetime(2026, 11, 23, tzinfo=UTC)


async def test_a_scheduled_notice_stays_where_it_is_when_the_clock_was_far_ahead(telegram_world: World):
    world = telegram_world
    chief = await world.officer("chief", Role.COMMANDER)
    await world.owner("hoa")
    async with world.sessions.begin() as session:
        assert chief.actor is not None
        draft = Draft("Khoá cửa", "all", Response.NONE, scheduled_for=world.clock() + timedelta(days=3))
        await schedule_notice(session, chief.actor, draft, now=world.clock())
    world.clock.advance(days=2)
    await world.house.jobs.minute()
    world.clock.advance(days=-2)
    await world.house.jobs.minute()
    await world.house.jobs.second()

    async with world.sessions.reading() as session:
        assert await session.scalar(select(Notice.state)) is NoticeState.SCHEDULED
    world.logged.clear()


# --- the commander, after a step of any size ---


async def _report(world: World, *, urgent: bool) -> None:
    nam = await world.person("nam")
    await nam.sends("/baotin")
    await nam.sends("Mất chó.")
    if urgent:
        await nam.presses("Đang xảy ra")
    await nam.presses("Gửi")


async def _minutes_until(world: World, officer: Person) -> float | None:
    """How long it takes until an officer is shown the report."""
    for half_minutes in range(1, 61):
        world.clock.advance(seconds=30)
        await world.house.jobs.second()
        if half_minutes % 2 == 0:
            await world.house.jobs.minute()
        await world.settle()
        await officer.refresh()
        if any("Mất chó." in shown.text for shown in officer.shown):
            return half_minutes / 2
    return None


def _reads_no_odd_number(*officers: Person) -> None:
    for officer in officers:
        for shown in officer.shown:
            assert not re.search(r"(?<!T)-\d|\d{3,} phút|\d\.\d{3} phút|19[67]\d|2027", shown.text), shown.text


#: Without a step a commander has an urgent report after 3 minutes, any other after 15.
_USUAL = {True: 2.5, False: 14.5}


@pytest.mark.parametrize("urgent", [True, False])
@pytest.mark.parametrize("ahead", [timedelta(hours=40), timedelta(days=30)])
async def test_a_report_that_came_while_the_clock_was_ahead_is_with_the_commander_in_the_usual_minutes(
    either: World, ahead: timedelta, urgent: bool
):
    world = either
    duty = await world.officer("duty", Role.DUTY, on_duty=True)
    other, chief = await world.officer("other", Role.DUTY), await world.officer("chief", Role.COMMANDER)
    right = world.clock.now
    world.clock.now += ahead
    await _report(world, urgent=urgent)
    await world.house.jobs.second()
    await world.house.jobs.minute()
    await world.settle()

    world.clock.now = right + timedelta(seconds=40)
    minutes = await _minutes_until(world, chief)
    for officer in (duty, other):
        await officer.refresh()
    await chief.sends("/tin")

    assert minutes is not None and minutes <= _USUAL[urgent]
    assert any(phrase("forward.nobody_took_unknown") in shown.text for shown in other.shown)
    assert phrase("report.time_unknown") in chief.last.text
    _reads_no_odd_number(duty, other, chief)
    world.logged.clear()


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("back", [timedelta(minutes=20), timedelta(hours=37), timedelta(days=30), timedelta(days=400)])
async def test_after_a_step_back_a_report_is_with_the_commander_in_the_usual_minutes(
    either: World, back: timedelta, restarted: bool
):
    world = either
    duty = await world.officer("duty", Role.DUTY, on_duty=True)
    other, chief = await world.officer("other", Role.DUTY), await world.officer("chief", Role.COMMANDER)
    await _report(world, urgent=True)
    await world.tick(seconds=30)

    world.clock.now -= back
    if restarted:
        await world.restart()
    minutes = await _minutes_until(world, chief)
    for officer in (duty, other):
        await officer.refresh()

    assert minutes is not None and minutes <= 3.5, "a restart remembers the minute"
    _reads_no_odd_number(duty, other, chief)
    world.logged.clear()


async def test_a_deadline_that_was_set_while_the_clock_was_ahead_has_passed_when_it_is_right(either: World):
    world = either
    await world.officer("duty", Role.DUTY, on_duty=True)
    await world.officer("other", Role.DUTY)
    chief = await world.officer("chief", Role.COMMANDER)
    await _report(world, urgent=False)
    right = world.clock.now
    world.clock.advance(days=30)
    await world.house.jobs.second()  # goes to the next in line, and is due again at once: in a month

    world.clock.now = right + timedelta(seconds=40)
    minutes = await _minutes_until(world, chief)

    assert minutes is not None and minutes <= _USUAL[False]
    world.logged.clear()


async def test_what_failed_while_the_clock_was_ahead_is_tried_again_when_it_is_right(either: World):
    world = either
    await world.officer("chief", Role.COMMANDER)
    await _urgent_report(world)
    async with world.sessions.begin() as session:
        report = (await session.scalars(select(Report))).one()
        ahead = world.clock() + timedelta(days=30)
        session.add(Trouble(kind="report", item=str(report.id), attempts=3, day=NOW, not_before=ahead, parked=True))
    world.clock.advance(minutes=2)
    await world.house.jobs.second()

    assert await _step(world) == 1
