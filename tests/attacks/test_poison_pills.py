"""One item that cannot be done: a damaged report, an unrenderable notice, an odd conversation, a tick with a fault.

| promise | test |
|---|---|
| all others go on | `..._keeps_no_other...` |
| what can be read of a damaged report is escalated | `..._damaged...` |
| it is not tried each second for ever, and one alarm is raised | `..._parked...` |
| administrators, and whoever handles reports, are told once | `..._told...` |
| a mended item is done | `..._mended...` |
| a row that cannot be read stops no other, and not the start | `..._damaged_value...` |
| what is lost of a card or a notice, administrators hear of, once | `..._nothing_can_be_read_of...` |
"""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import delete, func, select, text, update
from sqlalchemy.exc import OperationalError

from bot.jobs import _Rests
from broadcasts.facts import Draft, Response
from broadcasts.notices import schedule_notice
from channels.port import Recipient
from conversations import expectations
from conversations.talks import Talk, keep_talk
from db import standing
from db.base import LONG_PAST
from db.engine import Sessions, keys_of
from db.sealing import padded
from db.tables.broadcasts import Broadcast, BroadcastContent, Notice, NoticeState
from db.tables.conversations import Conversation, Expectation
from db.tables.deliveries import Content, Delivery, DeliveryState, MediaContent, MediaHandle, Purpose
from db.tables.officers import Officer, Role
from db.tables.reports import Report, ReportPart, ReportState
from db.tables.troubles import Trouble
from db.troubles import each
from deliveries.claims import next_due_at
from tests.conftest import KEYS, NOW
from tests.worlds import World, open_world, phrase


async def _reports(world: World, name: str, *words: str) -> None:
    person = await world.person(name)
    await person.sends("/baotin")
    for line in words:
        await person.sends(line)
    await person.presses("Gửi")


async def _notice(world: World, officer: Any, text: str) -> None:
    async with world.sessions.begin() as session:
        assert officer.actor is not None
        await schedule_notice(session, officer.actor, Draft(text, "all", Response.NONE), now=world.clock())


@pytest.fixture
async def either(engine, clock):
    """The house on SQLite and on PostgreSQL."""
    async with open_world(Sessions(engine, KEYS), clock, ["telegram"]) as opened:
        yield opened


# --- reports ---


async def test_a_damaged_part_is_escalated_with_what_can_be_read(telegram_world: World):
    world = telegram_world
    chief = await world.officer("chief", Role.COMMANDER)
    await _reports(world, "nam", "Có người lạ ở cổng.", "Biển số che kín.")
    async with world.sessions.begin() as session:
        first = await session.scalar(select(ReportPart.id).order_by(ReportPart.id).limit(1))
        await session.execute(update(ReportPart).where(ReportPart.id == first).values(sealed=b"\x00" * 60))

    await chief.looks()
    await world.tick(minutes=6)
    await chief.refresh()

    chief.sees(phrase("forward.unreadable", n=1))
    news = "\n".join(shown.text for shown in chief.news)
    assert ("Biển số che kín." in news) != ("Có người lạ ở cổng." in news), "which row was damaged is chance"


async def test_a_report_whose_key_is_damaged_is_escalated_by_its_number(telegram_world: World):
    world = telegram_world
    chief = await world.officer("chief", Role.COMMANDER)
    await _reports(world, "nam", "Có người lạ.")
    async with world.sessions.begin() as session:
        await session.execute(update(Report).values(data_key=b"\x00" * 60))
        number = await session.scalar(select(Report.number))

    await chief.looks()
    await world.tick(minutes=6)
    await chief.refresh()

    chief.sees(number or "?", phrase("forward.unreadable", n=1))


async def test_a_damaged_picture_does_not_keep_the_words_beside_it(telegram_world: World):
    world = telegram_world
    chief = await world.officer("chief", Role.COMMANDER)
    nam = await world.person("nam")
    await nam.sends("/baotin")
    await nam.sends("Có người lạ.")
    await nam.sends_photo()
    await nam.presses("Gửi")
    async with world.sessions.begin() as session:
        await session.execute(update(MediaContent).values(sealed=b"\x00" * 60))

    await chief.looks()
    # The platform has forgotten the file, so that it must be read again.
    async with world.sessions.begin() as session:
        await session.execute(delete(MediaHandle))
    await world.tick(minutes=6)
    await chief.refresh()

    chief.sees("Có người lạ.")
    assert [kind for shown in chief.news for kind, _, _ in shown.files] == ["photo"]
    assert {incident["event"] for incident in world.incidents} == {"file_unreadable"}
    world.logged.clear()


@pytest.mark.parametrize("sealed", [b"", b"\x00" * 60, b"\x01" + b"\xff" * 300])
async def test_a_report_whose_times_are_damaged_stops_neither_others_nor_lists_nor_itself(either: World, sealed: bytes):
    world = either
    chief = await world.officer("chief", Role.COMMANDER)
    for name in ("nam", "hai"):
        await _reports(world, name, f"Có người lạ, {name}.")
    async with world.sessions.begin() as session:
        numbers = list(await session.scalars(select(Report.number).order_by(Report.id)))
        await session.execute(update(Report).where(Report.number == numbers[0]).values(sealed=sealed))

    await chief.looks()
    for _ in range(3):
        await world.tick(minutes=6)
    await chief.refresh()

    chief.sees("Có người lạ, nam.", "Có người lạ, hai.")
    # Logged once; it goes on like any other from there, and needs no parking.
    assert [incident["event"] for incident in world.incidents] == ["report_times_unreadable"]
    world.logged.clear()
    async with world.sessions.reading() as session:
        assert not await session.scalar(select(func.count()).select_from(Trouble))


async def test_a_report_whose_times_are_damaged_later_is_listed_opened_and_taken(either: World):
    world = either
    chief = await world.officer("chief", Role.COMMANDER)
    for name in ("nam", "hai"):
        await _reports(world, name, f"Có người lạ, {name}.")
    await world.tick(hours=1)
    async with world.sessions.begin() as session:
        numbers = list(await session.scalars(select(Report.number)))
        await session.execute(update(Report).values(sealed=b"\x00" * 60))

    await chief.sends("/tin")
    chief.sees(*numbers)
    await chief.presses(numbers[0])
    chief.sees("Có người lạ")
    await chief.presses("Nhận xử lý")
    await chief.presses("Kết thúc")
    await chief.presses(phrase("outcome.resolved"))
    await world.tick(minutes=1)

    async with world.sessions.reading() as session:
        state = await session.scalar(select(Report.state).where(Report.number == numbers[0]))
        assert state is ReportState.RESOLVED
    assert [incident["event"] for incident in world.incidents] == ["report_times_unreadable"], "of the one that waits"
    world.logged.clear()


async def test_a_draft_whose_times_are_damaged_keeps_no_other_from_being_handed_in(either: World):
    world = either
    chief = await world.officer("chief", Role.ADMIN)
    for name in ("nam", "hai"):
        person = await world.person(name)
        await person.sends("/baotin")
        await person.sends(f"Có người lạ, {name}.")
    async with world.sessions.begin() as session:
        await session.execute(delete(Conversation))
        one = await session.scalar(select(func.min(Report.id)))
        await session.execute(update(Report).where(Report.id == one).values(sealed=b"\x00" * 60))

    await chief.looks()
    await world.tick(hours=50)
    await chief.refresh()

    chief.sees("Có người lạ, nam.", "Có người lạ, hai.")


class _Cursed(Exception):
    pass


async def _curse(world: World, monkeypatch: pytest.MonkeyPatch, number: str) -> None:
    """One report that nothing can be done with: a fault nobody foresaw."""
    from reports import forwarding

    read_card = forwarding.read_card

    async def cursed(session, report, **more):
        if report.number == number:
            raise _Cursed(report.number)
        return await read_card(session, report, **more)

    monkeypatch.setattr(forwarding, "read_card", cursed)


async def test_a_report_that_cannot_be_escalated_keeps_no_other_and_is_parked_told_and_mended(
    either: World, monkeypatch
):
    world = either
    chief = await world.officer("chief", Role.COMMANDER)
    admin = await world.officer("admin", Role.ADMIN)
    for name in ("nam", "hai"):
        await _reports(world, name, f"Có người lạ, {name}.")
    async with world.sessions.reading() as session:
        numbers = list(await session.scalars(select(Report.number).order_by(Report.id)))

    with monkeypatch.context() as patched:
        await _curse(world, patched, numbers[0])
        world.clock.advance(minutes=6)
        await chief.looks()
        await admin.looks()
        for _ in range(120):
            await world.house.jobs.second()
            world.clock.advance(seconds=1)
        await world.settle()
        await admin.refresh()

        async with world.sessions.reading() as session:
            found = await session.execute(select(Report.number, Report.escalation_step))
            steps = {row.number: row.escalation_step for row in found}
            trouble = (await session.execute(select(Trouble))).scalar_one()
        assert steps == {numbers[0]: 0, numbers[1]: 1}
        assert (trouble.kind, trouble.attempts, trouble.parked) == ("report", 3, True)
        # One alarm with a reference, which people hear as well: once.
        assert [entry["event"] for entry in world.incidents] == ["item_parked"]
        assert world.incidents[0]["reference"] == trouble.reference
        told = phrase("trouble.report", number=numbers[0], reference=trouble.reference or "")
        assert sum(told in shown.text for shown in admin.news) == 1
        world.logged.clear()

    world.clock.advance(hours=2)
    await world.house.jobs.second()
    async with world.sessions.reading() as session:
        assert await session.scalar(select(Report.escalation_step).where(Report.number == numbers[0])) == 1
        assert not await session.scalar(select(func.count()).select_from(Trouble))


# --- notices ---


async def test_an_unrenderable_notice_keeps_no_other_from_being_sent(either: World):
    world = either
    chief = await world.officer("chief", Role.COMMANDER)
    owner = await world.owner("hoa")
    await _notice(world, chief, "Hỏng")
    await _notice(world, chief, "Khoá cửa sau 22 giờ")
    async with world.sessions.begin() as session:
        first = await session.scalar(select(func.min(Notice.id)))
        await session.execute(update(Notice).where(Notice.id == first).values(html="<broken"))

    await owner.looks()
    await world.tick(minutes=1)
    await owner.refresh()

    owner.sees("Khoá cửa sau 22 giờ")
    async with world.sessions.reading() as session:
        assert await session.scalar(select(Notice.state).where(Notice.id == first)) is NoticeState.SCHEDULED
        assert await session.scalar(select(func.count()).select_from(Broadcast)) == 1, "nothing half-opened is left"
        kinds = list(await session.scalars(select(Trouble.kind)))
    assert kinds == ["notice"]


async def test_many_parked_notices_take_no_healthy_ones_place(telegram_world: World):
    world = telegram_world
    chief = await world.officer("chief", Role.COMMANDER)
    owner = await world.owner("hoa")
    for _ in range(25):  # more than one tick opens
        await _notice(world, chief, "Hỏng")
    async with world.sessions.begin() as session:
        await session.execute(update(Notice).values(html="<broken"))
    world.clock.advance(seconds=1)
    await _notice(world, chief, "Khoá cửa sau 22 giờ")

    await owner.looks()
    for _ in range(3):
        await world.house.jobs.second()
        world.clock.advance(seconds=1)
    await world.settle()
    await owner.refresh()

    owner.sees("Khoá cửa sau 22 giờ")
    world.logged.clear()


async def test_a_live_message_that_cannot_be_written_keeps_no_other(telegram_world: World, monkeypatch):
    from broadcasts import progress

    world = telegram_world
    chief = await world.officer("chief", Role.COMMANDER)
    await world.owner("hoa")
    await _notice(world, chief, "Một")
    await _notice(world, chief, "Hai")
    say = progress._say

    async def cursed(session, broadcast, standing, **more):
        if standing.notice.title == "Một":
            raise _Cursed
        return await say(session, broadcast, standing, **more)

    monkeypatch.setattr(progress, "_say", cursed)
    await chief.looks()
    await world.tick(seconds=10)
    await chief.refresh()

    chief.sees("Hai")
    chief.sees_not("Một")


# --- conversations ---


async def _odd_conversation(world: World, body: Any) -> None:
    async with world.sessions.begin() as session:
        sealed = keys_of(session).seal("conversation", padded(json.dumps(body).encode()), bound_to="odd" * 10)
        session.add(Conversation(chat="odd" * 10, sealed=sealed, hour="0" * 32))


@pytest.mark.parametrize(
    "body", [[], "x", 7, {}, {"chat": "nobody"}, {"chat": "telegram:1", "flow": "x", "from": "a newer version"}]
)
async def test_an_odd_conversation_keeps_no_other_from_ending_with_a_word(telegram_world: World, body):
    world = telegram_world
    nam = await world.person("nam")
    await nam.sends("/dangky")
    await _odd_conversation(world, body)

    await nam.looks()
    await world.tick(hours=25)
    await nam.refresh()

    nam.sees(phrase("talk.expired"))
    async with world.sessions.reading() as session:
        assert not await session.scalar(select(func.count()).select_from(Conversation))


@pytest.mark.parametrize(
    "body",
    [
        [],
        "x",
        {},
        {"chat": "telegram:1", "kind": "of a newer version", "what": {}, "ends_at": "2026-01-01T00:00:00+00:00"},
    ],
)
async def test_an_odd_expectation_keeps_no_other_and_no_conversation_from_ending(telegram_world: World, body):
    world = telegram_world
    nam, hai = await world.person("nam"), await world.person("hai")
    await nam.sends("/dangky")
    await hai.sends("Nhà bên ồn quá.")
    async with world.sessions.begin() as session:
        sealed = keys_of(session).seal("expectation", padded(json.dumps(body).encode()), bound_to="odd" * 10)
        session.add(Expectation(chat="odd" * 10, sealed=sealed, hour="0" * 32))

    await nam.looks()
    await world.tick(hours=25)
    await nam.refresh()

    nam.sees(phrase("talk.expired"))
    async with world.sessions.reading() as session:
        assert not await session.scalar(select(func.count()).select_from(Expectation))


async def test_words_that_cannot_be_forgotten_keep_no_other_and_are_tried_again(telegram_world: World, monkeypatch):
    world = telegram_world
    await world.officer("duty", Role.DUTY, on_duty=True)
    nam, hai = await world.person("nam"), await world.person("hai")
    for person in (nam, hai):
        await person.sends("Có người lạ.")

    real = expectations.take_expired_expectation

    async def cursed(session, key):
        expected = await real(session, key)
        if expected is not None and expected.chat == nam.chat:
            raise _Cursed
        return expected

    monkeypatch.setattr(expectations, "take_expired_expectation", cursed)
    await world.tick(hours=25)
    async with world.sessions.reading() as session:
        assert await session.scalar(select(func.count()).select_from(Expectation)) == 1, "not thrown away either"

    monkeypatch.setattr(expectations, "take_expired_expectation", real)
    await world.tick(minutes=1)
    async with world.sessions.reading() as session:
        assert not await session.scalar(select(func.count()).select_from(Expectation))


async def test_a_conversation_that_cannot_be_ended_keeps_no_other(telegram_world: World, monkeypatch):
    world = telegram_world
    await world.officer("chief", Role.COMMANDER)
    nam, hai = await world.person("nam"), await world.person("hai")
    await nam.sends("/baotin")
    await nam.sends("Có người lạ.")
    await hai.sends("/dangky")

    async def cursed(*_, **__):
        raise _Cursed

    monkeypatch.setattr("handlers.reports.keep_unfinished", cursed)
    await hai.looks()
    await world.tick(hours=25)
    await hai.refresh()

    hai.sees(phrase("talk.expired"))
    async with world.sessions.reading() as session:
        assert await session.scalar(select(func.count()).select_from(Conversation)) == 1, "not thrown away either"
        assert await session.scalar(select(Report.state)) is ReportState.DRAFT


async def test_a_report_begun_in_a_conversation_that_was_damaged_reaches_an_officer_all_the_same(telegram_world: World):
    world = telegram_world
    chief = await world.officer("chief", Role.ADMIN)
    nam, hai = await world.person("nam"), await world.person("hai")
    await nam.sends("/baotin")
    await nam.sends("Có người lạ.")
    async with world.sessions.begin() as session:
        await session.execute(update(Conversation).values(sealed=b"\x00" * 60))
    await world.tick(hours=30)
    await hai.sends("/baotin")
    await hai.sends("Còn đang viết.")

    await chief.looks()
    await world.tick(hours=20)
    await chief.refresh()

    chief.sees("Có người lạ.", phrase("forward.incomplete"))
    chief.sees_not("Còn đang viết.")


async def test_conversations_that_ended_while_nothing_ran_for_days_end_with_a_word_each_and_once(either: World):
    world = either
    people = [await world.person(f"nguoi{number}") for number in range(4)]
    for person in people:
        await person.sends("/dangky")
        await world.tick(hours=3)
    await world.house.stop()
    world.clock.advance(days=9, minutes=17)
    await world.open()
    late = await world.person("moi")
    await late.sends("/dangky")
    for person in people:
        await person.looks()

    for _ in range(3):
        await world.tick(minutes=1)
    for person in (*people, late):
        await person.refresh()

    for person in people:
        assert sum(phrase("talk.expired") in shown.text for shown in person.news) == 1, person.transcript()
    late.sees_not(phrase("talk.expired"))
    async with world.sessions.reading() as session:
        assert await session.scalar(select(func.count()).select_from(Conversation)) == 1, "the one that began today"


async def test_more_conversations_than_one_minute_ends_are_all_ended(either: World):
    world = either
    async with world.sessions.begin() as session:
        for number in range(120):
            talk = Talk(Recipient("telegram", str(7_000 + number)), "enrol", "kind")
            await keep_talk(session, talk, now=world.clock() + timedelta(minutes=20 * number))

    world.clock.advance(days=5)
    for _ in range(3):
        await world.tick(minutes=1)

    async with world.sessions.reading() as session:
        assert not await session.scalar(select(func.count()).select_from(Conversation))
    told = [message.text for chat in world.port.gateway.chats.values() for message in chat]
    assert sum(phrase("talk.expired") in text for text in told) == 120


# --- the helper, and ticks as a whole ---


async def test_each_item_has_a_savepoint_of_its_own(sessions: Sessions, now):
    async with sessions.begin() as session:

        async def put(number: int) -> None:
            session.add(_row(number, now))
            await session.flush()
            if number == 2:
                raise _Cursed

        assert await each(session, "test", [1, 2, 3], put, now=now, name=lambda number: number) == 2

    async with sessions.reading() as session:
        assert sorted(await session.scalars(select(Delivery.key))) == ["test:1", "test:3"]


def _row(number: int, now: Any) -> Delivery:
    return Delivery(
        key=f"test:{number}",
        origin="test",
        content_id="x",
        channel="telegram",
        address="1",
        lane=0,
        due_at=now,
        opened_at=now,
    )


async def test_a_failing_database_is_nobodys_fault(sessions: Sessions, now):
    async def fails(number: int) -> None:
        raise OperationalError("x", {}, Exception())

    with pytest.raises(OperationalError):
        async with sessions.begin() as session:
            await each(session, "test", [1], fails, now=now, name=lambda number: number)

    async with sessions.reading() as session:
        assert not await session.scalar(select(func.count()).select_from(Trouble))


async def test_a_part_of_a_tick_that_always_fails_is_said_once_and_rests_while_the_rest_is_done(
    telegram_world: World, monkeypatch
):
    world = telegram_world
    tries = 0

    async def cursed(*_, **__):
        nonlocal tries
        tries += 1
        raise _Cursed

    monkeypatch.setattr("bot.jobs.open_due", cursed)
    await world.officer("chief", Role.COMMANDER)
    await _reports(world, "nam", "Có người lạ.")
    world.clock.advance(minutes=6)
    for _ in range(300):
        await world.house.jobs.second()
        world.clock.advance(seconds=1)

    async with world.sessions.reading() as session:
        assert await session.scalar(select(Report.escalation_step)) == 1
    assert 15 <= tries <= 30
    assert [entry["event"] for entry in world.incidents] == ["tick_failed"]
    world.logged.clear()


def test_a_tick_goes_on_at_once_when_the_clock_was_set_back_after_a_failure(clock):
    """Rests are short by any clock: they must not become a day."""
    rests, now = _Rests(), clock()
    rests.failed("open", OSError(), now)

    assert rests.rests("open", now)
    assert not rests.rests("open", now - timedelta(hours=23))


# --- rows that cannot be read ---

#: Values no type takes; the second half goes into PostgreSQL as well.
_ON_SQLITE = [
    ("notices", "created_at", "'not a date'"),
    ("notices", "sent_at", "'not a date'"),
    ("notices", "scheduled_for", "'not a date'"),
    ("notices", "scheduled_for", "-7777"),
]
_ON_BOTH = [("notices", "response", "'zzz'"), ("notices", "state", "'zzz'")]


async def _damage(world: World, table: str, column: str, value: str, where: str = "TRUE") -> None:
    async with world.sessions.begin() as session:
        await session.execute(text(f"UPDATE {table} SET {column} = {value} WHERE {where}"))  # noqa: S608


async def _goes_out_beside(world: World, table: str, column: str, value: str) -> None:
    chief = await world.officer("chief", Role.COMMANDER)
    owner = await world.owner("hoa")
    await _notice(world, chief, "Hỏng")
    await _notice(world, chief, "Khoá cửa sau 22 giờ")
    await _damage(world, table, column, value, "id = (SELECT min(id) FROM notices)")

    await owner.looks()
    await world.tick(minutes=1)
    await owner.refresh()
    await chief.sends("/thongbao")

    owner.sees("Khoá cửa sau 22 giờ")
    chief.sees("Khoá cửa sau 22 giờ")
    await world.tick(minutes=1)
    assert {entry["event"] for entry in world.incidents} <= {"stored_value_unreadable"}
    world.logged.clear()


@pytest.mark.parametrize(("table", "column", "value"), _ON_SQLITE)
async def test_a_damaged_value_of_a_notice_stops_no_other(telegram_world: World, table, column, value):
    await _goes_out_beside(telegram_world, table, column, value)


@pytest.mark.parametrize(("table", "column", "value"), _ON_BOTH)
async def test_a_damaged_value_of_a_notice_stops_no_other_on_either(either: World, table, column, value):
    await _goes_out_beside(either, table, column, value)


async def test_a_notice_whose_time_is_a_damaged_value_is_called_off_with_a_word(telegram_world: World):
    world = telegram_world
    chief = await world.officer("chief", Role.COMMANDER)
    await world.owner("hoa")
    await _notice(world, chief, "Khoá cửa")
    await _damage(world, "notices", "scheduled_for", "'not a date'")

    await chief.looks()
    await world.tick(seconds=1)
    await chief.refresh()

    chief.sees(phrase("notice.too_late"))
    async with world.sessions.reading() as session:
        assert await session.scalar(select(Notice.state)) is NoticeState.CANCELLED
    world.logged.clear()


@pytest.mark.parametrize(
    ("table", "column"), [("officers", "created_at"), ("troubles", "not_before"), ("shifts", "starts_at")]
)
async def test_a_damaged_value_keeps_no_urgent_report_from_the_commander(telegram_world: World, table, column):
    world = telegram_world
    chief = await world.officer("chief", Role.COMMANDER)
    await world.officer("duty", Role.DUTY, on_duty=True)
    await _reports(world, "nam", "Có đánh nhau.")
    async with world.sessions.begin() as session:
        report = (await session.scalars(select(Report))).one()
        later = world.clock() + timedelta(minutes=30)
        session.add(Trouble(kind="report", item=str(report.id), attempts=3, day=NOW, not_before=later, parked=True))
    await _damage(world, table, column, "'not a date'")
    if table != "troubles":
        async with world.sessions.begin() as session:
            await session.execute(delete(Trouble))

    await chief.looks()
    for minutes in (6, 10):  # one whose shift is damaged counts as another officer, and is asked first
        await world.tick(minutes=minutes)
    await chief.refresh()

    chief.sees("Có đánh nhau.")
    assert {entry["event"] for entry in world.incidents} <= {"stored_value_unreadable"}
    world.logged.clear()


async def test_a_delivery_whose_time_is_a_damaged_value_leaves_and_stops_no_other(telegram_world: World):
    world = telegram_world
    chief = await world.officer("chief", Role.COMMANDER)
    await world.officer("duty", Role.DUTY, on_duty=True)
    for name in ("nam", "hai"):
        await _reports(world, name, f"Có đánh nhau, {name}.")
    world.clock.advance(minutes=6)
    await world.house.jobs.second()
    await chief.looks()
    await _damage(
        world, "deliveries", "due_at", "'not a date'", "id = (SELECT min(id) FROM deliveries WHERE state = 'pending')"
    )

    await world.house.dispatchers["telegram"].drain()
    await chief.refresh()
    assert sum("Có đánh nhau" in shown.text for shown in chief.news) == 1
    await world.house.jobs.minute()
    await world.settle()
    await chief.refresh()

    assert sum("Có đánh nhau" in shown.text for shown in chief.news) == 2
    world.logged.clear()


async def test_a_damaged_value_is_no_time_to_wake_for(sqlite_engine, clock):
    async with open_world(Sessions(sqlite_engine, KEYS), clock, ["telegram"]) as world:
        await world.officer("duty", Role.DUTY, on_duty=True)
        nam = await world.person("nam")
        await nam.sends("/baotin")
        await nam.sends("Có đánh nhau.")
        await nam.presses("Gửi")
        async with world.sessions.begin() as session:
            await session.execute(text("UPDATE deliveries SET state = 'pending', due_at = 'no date'"))
            assert await next_due_at(session, "telegram") is None
            assert await next_due_at(session, "telegram", after=NOW) is None
        world.logged.clear()


async def test_a_damaged_value_of_the_newest_minute_does_not_keep_the_bot_from_starting(telegram_world: World):
    world = telegram_world
    await world.house.jobs.minute()
    await _damage(world, "standing", "seen_at", "'not a date'")

    await world.restart()
    await world.house.jobs.minute()

    async with world.sessions.reading() as session:
        assert await standing.newest_seen(session) == NOW
    world.logged.clear()


async def test_a_damaged_value_is_said_once(telegram_world: World):
    world = telegram_world
    await world.officer("chief", Role.COMMANDER)
    await _damage(world, "officers", "created_at", "'not a date, of this test'")

    for _ in range(3):
        async with world.sessions.reading() as session:
            assert (await session.scalars(select(Officer.created_at))).one() == LONG_PAST

    (said,) = world.incidents
    assert said["event"] == "stored_value_unreadable" and said["kind"] == "instant" and said["reference"]
    world.logged.clear()


@pytest.mark.parametrize("how", ["damaged", "missing"])
async def test_nothing_can_be_read_of_a_reports_card_and_administrators_hear_of_it_once(either: World, how: str):
    world = either
    admin = await world.officer("admin", Role.ADMIN)
    await world.officer("duty", Role.DUTY, on_duty=True)
    await world.officer("chief", Role.COMMANDER)
    await _reports(world, "nam", "Có người lạ.")
    world.clock.advance(minutes=6)
    await admin.looks()
    await world.house.jobs.second()
    async with world.sessions.begin() as session:
        cards = select(Delivery.content_id).where(
            Delivery.purpose == Purpose.FORWARD, Delivery.state == DeliveryState.PENDING
        )
        if how == "damaged":
            await session.execute(update(Content).where(Content.id.in_(cards)).values(sealed=b"\x00" * 60))
        else:
            await session.execute(delete(Content).where(Content.id.in_(cards)))
        number = await session.scalar(select(Report.number))

    await world.settle()
    for _ in range(3):
        await world.tick(seconds=10)
    await admin.refresh()

    async with world.sessions.reading() as session:
        reference = await session.scalar(select(Trouble.reference)) or ""
    told = phrase("trouble.card", number=number or "", reference=reference)
    assert sum(told in shown.text for shown in admin.news) == 1
    assert [(entry["event"], entry["reference"]) for entry in world.incidents] == [("item_parked", reference)]
    world.logged.clear()


async def test_nothing_can_be_read_of_a_notice_and_administrators_hear_of_it_once(either: World):
    world = either
    admin, chief = await world.officer("admin", Role.ADMIN), await world.officer("chief", Role.COMMANDER)
    for name in ("hoa", "mai", "cuc"):
        await world.owner(name, f"Nhà nghỉ {name}")
    await _notice(world, chief, "Khoá cửa")
    await world.house.jobs.second()
    await admin.looks()
    async with world.sessions.begin() as session:
        said = select(BroadcastContent.content_id)
        await session.execute(update(Content).where(Content.id.in_(said)).values(sealed=b"\x00" * 60))
        number = await session.scalar(select(Notice.number))

    await world.settle()
    await world.tick(seconds=10)
    await admin.refresh()

    async with world.sessions.reading() as session:
        reference = await session.scalar(select(Trouble.reference)) or ""
    told = phrase("trouble.notice", number=number or "", reference=reference)
    assert sum(told in shown.text for shown in admin.news) == 1
    assert [entry["event"] for entry in world.incidents] == ["item_parked"]
    world.logged.clear()


async def test_a_report_whose_times_are_damaged_is_shown_without_a_time(either: World):
    world = either
    chief = await world.officer("chief", Role.COMMANDER)
    await _reports(world, "nam", "Có người lạ.")
    async with world.sessions.begin() as session:
        await session.execute(update(Report).values(sealed=b"\x00" * 60))

    await chief.looks()
    await chief.sends("/tin")
    chief.sees(phrase("report.time_unknown"))
    await world.tick(minutes=6)
    await chief.refresh()

    chief.sees(phrase("forward.time_unknown"), phrase("forward.nobody_took_unknown"))
    assert not any("1970" in shown.text or "08:00" in shown.text for shown in chief.news)
    await chief.sends("/tin")
    chief.sees(phrase("report.time_unknown"))
    world.logged.clear()
