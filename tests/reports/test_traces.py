"""Once a reporter ends contact nothing in the ledger leads back to them; who may not read any more gets nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import func, select, update

from channels.envelope import ApiRefusal
from channels.port import Recipient
from db.tables.deliveries import Delivery
from db.tables.officers import Role
from db.tables.reports import Report, ReportLink, ReportState
from officers.accounts import revoke_officer
from officers.permissions import Actor
from reports.codes import Receipt
from reports.intake import add_text, hand_in, open_report
from reports.triage import close_report, take_report
from tests.worlds import Person, World
from texts.refusal import Refusal


async def _report(world: World, words: str = "Có người lạ thử khoá xe.") -> Person:
    nam = await world.person("nam")
    await nam.sends("/baotin")
    await nam.sends(words)
    await nam.presses("Gửi")
    return nam


async def _traces(world: World) -> int:
    async with world.sessions.reading() as session:
        found = select(func.count()).select_from(Delivery)
        return await session.scalar(found.where(Delivery.origin.like("report:%"), Delivery.address_sealed)) or 0


async def _blocked(world: World) -> tuple[Person, Person]:
    """A reporter who did not hear what an officer did, because they had blocked us."""
    lan = await world.officer("lan", Role.DUTY, on_duty=True)
    nam = await _report(world)
    world.port.gateway.fail_next(nam.chat.address, ApiRefusal(403, "Forbidden: bot was blocked by the user"))
    await lan.presses("Nhận xử lý")
    assert await _traces(world) == 1
    return lan, nam


async def test_a_reporter_who_ends_contact_leaves_no_address_in_the_ledger(telegram_world: World):
    _, nam = await _blocked(telegram_world)

    await nam.sends("DỪNG")

    assert await _traces(telegram_world) == 0


async def test_the_link_dies_on_its_date_in_the_ledger_too(telegram_world: World):
    await _blocked(telegram_world)

    await telegram_world.tick(days=91)

    assert await _traces(telegram_world) == 0


async def test_a_question_that_waits_does_not_reach_a_reporter_who_ended_contact(telegram_world: World):
    world = telegram_world
    lan = await world.officer("lan", Role.DUTY, on_duty=True)
    nam = await _report(world)
    await lan.presses("Nhận xử lý")
    await lan.presses("Hỏi thêm")
    with _nothing_leaves(world):
        await lan.sends("Xe màu gì?")
        await nam.sends("DỪNG")

    await world.settle()

    assert "Xe màu gì" not in await _saw(nam)


async def test_one_link_that_cannot_be_opened_does_not_keep_others_from_ending_contact(telegram_world: World):
    world = telegram_world
    nam = await _report(world)
    async with world.sessions.begin() as session:
        await session.execute(update(ReportLink).values(sealed=b"sealed with a key long gone"))
    hai = await world.person("hai")
    await hai.sends("/baotin")
    await hai.sends("Ồn quá.")
    await hai.presses("Gửi")

    await hai.sends("DỪNG")

    assert not world.incidents
    async with world.sessions.reading() as session:
        assert await session.scalar(select(func.count()).select_from(ReportLink)) == 1
    assert nam is not hai


@contextmanager
def _nothing_leaves(world: World) -> Iterator[None]:
    """Whatever is queued waits in the ledger."""
    dispatchers, world.house.dispatchers = world.house.dispatchers, {}
    yield
    world.house.dispatchers = dispatchers


async def _saw(person: Person) -> str:
    return "\n".join(shown.text for shown in await person.port.shows(person.chat.address))


async def test_a_report_that_waits_for_an_officer_is_not_sent_once_access_is_revoked(telegram_world: World):
    world = telegram_world
    chief = await world.officer("chief", Role.ADMIN)
    lost = await world.officer("lost", Role.DUTY, on_duty=True)
    with _nothing_leaves(world):
        await _report_unseen(world)
    async with world.sessions.begin() as session:
        assert chief.actor is not None and lost.actor is not None
        await revoke_officer(session, chief.actor, lost.actor.officer_id or 0, now=world.clock())

    await world.settle()

    assert "khoá xe" not in await _saw(lost)


async def test_a_report_that_waits_for_a_second_officer_is_not_offered_once_it_is_taken(telegram_world: World):
    world = telegram_world
    late = await world.officer("late", Role.DUTY, on_duty=True)
    lan = await world.officer("lan", Role.DUTY, on_duty=True)
    with _nothing_leaves(world):
        await _report_unseen(world)
    async with world.sessions.begin() as session:
        assert lan.actor is not None
        report_id = await session.scalar(select(Report.id)) or 0
        await take_report(session, lan.actor, report_id, now=world.clock(), policy=world.policy)

    await world.settle()

    assert "Nhận xử lý" not in [label for shown in await late.port.shows(late.chat.address) for label in shown.labels]


async def _report_unseen(world: World) -> None:
    async with world.sessions.begin() as session:
        report = await open_report(session, chat=Recipient("telegram", "9"), language="vi", now=world.clock())
        await add_text(session, report, "Có người lạ thử khoá xe.", now=world.clock())
        receipt = Receipt("1" * 16, "a slow hash")
        await hand_in(session, report.id, receipt=receipt, urgent=False, now=world.clock(), policy=world.policy)


async def test_two_officers_closing_at_once_close_it_once(postgresql_world: World):
    world = postgresql_world
    lan = await world.officer("lan", Role.DUTY, on_duty=True)
    hai = await world.officer("hai", Role.DUTY, on_duty=True)
    await _report(world)
    await lan.presses("Nhận xử lý")

    async def close(actor: Actor, outcome: ReportState) -> ReportState | None:
        try:
            async with world.sessions.begin() as session:
                report_id = await session.scalar(select(Report.id)) or 0
                report = await close_report(session, actor, report_id, outcome, now=world.clock(), policy=world.policy)
                return report.state
        except Refusal:
            return None

    assert lan.actor is not None and hai.actor is not None
    closed = await asyncio.gather(close(lan.actor, ReportState.RESOLVED), close(hai.actor, ReportState.UNFOUNDED))

    assert [state is not None for state in closed].count(True) == 1
