"""An older copy of the database is put back: what it has waiting was sent or done long ago, perhaps.

| promise | test |
|---|---|
| nothing of a notice leaves a second time, on both databases, however the process ended | `..._repeats_nothing...` |
| nor of one that was half open in the copy, whatever becomes of it | `..._half_open...` |
| what waited is listed as unknown, by name | `..._listed...` |
| reports are asked about, marked as restored | `..._asked_about...` |
| administrators hear of it, and the log says it in one line | `..._told...` |
| a database that is not a copy goes on as if nothing were | `..._not_taken_for...` |
"""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections import Counter
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import func, insert, select, update
from sqlalchemy.engine import make_url

from bench.botapi.server import FakeBotApi
from bot import restored
from broadcasts.facts import Draft, Response
from broadcasts.notices import cancel_notice, name_more, pause_notice, resume_notice, schedule_notice
from broadcasts.opening import open_due
from broadcasts.shifting import STEP
from channels.port import Recipient
from db import standing
from db.engine import Sessions, make_engine
from db.sealing import KeyRing
from db.standing import Mark, Outside
from db.tables.broadcasts import Broadcast, Notice, NoticeState
from db.tables.deliveries import Delivery, DeliveryState
from db.tables.establishments import Contact, Establishment, EstablishmentState, Kind
from db.tables.officers import Role
from db.tables.reports import Report
from tests.conftest import KEYS, NOW
from tests.factories import Factory
from tests.processes import SECRET_KEY, running, settings_for, sqlite_url, url_of
from tests.worlds import World, open_world, phrase

ADMIN = 900
OWNERS = 8
WORDS = "Khoá cửa sau 22 giờ"
#: Slow enough that a copy is made in the middle of it, and as fast as Telegram lets.
SLOW, QUICK = {"RATE_TELEGRAM": "2"}, {"RATE_TELEGRAM": "30"}


async def _notice_to_eight(url: str) -> None:
    engine, now = make_engine(url), datetime.now(UTC)
    sessions = Sessions(engine, KeyRing.parse(SECRET_KEY))
    make = Factory(sessions, now)
    officer = await make.officer(Recipient("telegram", "901"), Role.COMMANDER)
    for number in range(OWNERS):
        await make.place(f"Nhà nghỉ {number}", Recipient("telegram", str(30_000 + number)), address=f"{number} Lê Lợi")
    async with sessions.begin() as session:
        await schedule_notice(session, officer, Draft(WORDS, "all", Response.NONE), now=now)
    await engine.dispose()


def _got(api: FakeBotApi) -> Counter[int]:
    return Counter(sending.chat_id for sending in api.sent if WORDS in sending.text and sending.chat_id >= 30_000)


async def _of_the_notice(url: str) -> Counter[str]:
    engine = make_engine(url)
    async with Sessions(engine, KeyRing.parse(SECRET_KEY)).reading() as session:
        rows = await session.execute(
            select(Delivery.state, func.count().label("number"))
            .where(Delivery.broadcast_id.is_not(None))
            .group_by(Delivery.state)
        )
        found = Counter({str(row.state): row.number for row in rows})
    await engine.dispose()
    return found


def _copy(folder: Path) -> None:
    """What docs/operators/backup.md says, while the bot runs."""
    connection = sqlite3.connect(folder / "binhyen.db")
    connection.execute(f"VACUUM INTO '{folder / 'copy'}'")
    connection.close()


def _put_back(folder: Path) -> None:
    for name in ("binhyen.db", "binhyen.db-wal", "binhyen.db-shm"):
        (folder / name).unlink(missing_ok=True)
    shutil.copyfile(folder / "copy", folder / "binhyen.db")


@pytest.mark.parametrize("end", ["stopped", "killed", "data folder moved away"])
async def test_an_older_copy_repeats_nothing_of_a_notice_and_says_so(api, tmp_path, sqlite_file, end):
    url = sqlite_file
    settings = settings_for(api, url, admins=str(ADMIN)) | SLOW
    await _notice_to_eight(url)

    async with running(tmp_path, settings) as bot:
        await api.until(lambda: len(_got(api)) >= 3)
        _copy(tmp_path)
        await api.until(lambda: len(_got(api)) == OWNERS)
        if end == "stopped":
            assert await bot.terminates() == 0
        else:
            await asyncio.sleep(1.5)
            await bot.dies()
    _put_back(tmp_path)
    if end == "data folder moved away":
        (tmp_path / "binhyen.db.run").unlink()

    admin = api.person(ADMIN)
    async with running(tmp_path, settings | QUICK) as bot:
        await bot.says("older_copy_of_the_database")
        await admin.sees(phrase("restored.told"), within=20)
        await asyncio.sleep(1)  # at this pace all of them would be out by then
        assert await bot.terminates() == 0

    assert _got(api) == Counter({30_000 + number: 1 for number in range(OWNERS)})
    found = await _of_the_notice(url)
    assert set(found) == {"sent", "unknown"}
    assert found["unknown"] >= 4


async def test_a_copy_of_the_stopped_bots_database_repeats_nothing_without_its_number(api, tmp_path, sqlite_file):
    """As the operator's manual restores it: the folder was moved away, and with it the file outside."""
    url = sqlite_file
    settings = settings_for(api, url, admins=str(ADMIN)) | SLOW
    await _notice_to_eight(url)
    async with running(tmp_path, settings) as bot:
        await api.until(lambda: len(_got(api)) >= 3)
        assert await bot.terminates() == 0
    _copy(tmp_path)
    async with running(tmp_path, settings | QUICK) as bot:
        await api.until(lambda: len(_got(api)) == OWNERS)
        assert await bot.terminates() == 0
    _put_back(tmp_path)
    (tmp_path / "binhyen.db.run").unlink()

    async with running(tmp_path, settings | QUICK) as bot:
        await bot.says("older_copy_of_the_database")
        await api.person(ADMIN).sees(phrase("restored.told"), within=20)
        await asyncio.sleep(1)  # at this pace all of them would be out by then
        assert await bot.terminates() == 0

    assert _got(api) == Counter({30_000 + number: 1 for number in range(OWNERS)})


async def test_an_older_copy_repeats_nothing_of_a_notice_on_postgresql(api, tmp_path, postgresql_engine, postgres):
    url = url_of(postgresql_engine)
    name = make_url(url).database
    settings = settings_for(api, url, admins=str(ADMIN)) | SLOW
    await _notice_to_eight(url)

    async with running(tmp_path, settings) as bot:
        await api.until(lambda: len(_got(api)) >= 3)
        assert await bot.terminates() == 0
    await postgresql_engine.dispose()
    await postgres.run(f"CREATE DATABASE {name}_copy TEMPLATE {name} STRATEGY file_copy")
    async with running(tmp_path, settings | QUICK) as bot:
        await api.until(lambda: len(_got(api)) == OWNERS)
        assert await bot.terminates() == 0
    await postgres.run(f"DROP DATABASE {name} WITH (FORCE)", f"ALTER DATABASE {name}_copy RENAME TO {name}")

    async with running(tmp_path, settings | QUICK) as bot:
        await bot.says("older_copy_of_the_database")
        await api.person(ADMIN).sees(phrase("restored.told"), within=20)
        await asyncio.sleep(1)  # at this pace all of them would be out by then
        assert await bot.terminates() == 0

    assert _got(api) == Counter({30_000 + number: 1 for number in range(OWNERS)})
    assert (await _of_the_notice(url))["unknown"] >= 3


def _got_more(api: FakeBotApi, than: int) -> bool:
    return len(_got(api)) > than


@pytest.mark.parametrize("end", ["stopped", "killed"])
async def test_the_newest_database_is_not_taken_for_a_copy(api, tmp_path, sqlite_file, end):
    url = sqlite_file
    settings = settings_for(api, url, admins=str(ADMIN)) | {"RATE_TELEGRAM": "4"}
    await _notice_to_eight(url)

    for _ in range(2):
        async with running(tmp_path, settings) as bot:
            so_far = len(_got(api))
            await api.until(partial(_got_more, api, so_far))
            if end == "stopped":
                assert await bot.terminates() == 0
            else:
                await bot.dies()
            assert "older_copy" not in bot.output
    async with running(tmp_path, settings) as bot:
        await bot.becomes(ready=True)
        await api.until(lambda: (sum(_got(api).values())) >= OWNERS - (2 if end == "killed" else 0))
        await asyncio.sleep(1)
        assert await bot.terminates() == 0
        assert "older_copy" not in bot.output


# --- what is listed and asked ---


@pytest.fixture
async def either(engine, clock):
    """The house on SQLite and on PostgreSQL."""
    async with open_world(Sessions(engine, KEYS), clock, ["telegram"]) as opened:
        yield opened


async def _take_stock(world: World) -> restored.Found:
    async with world.sessions.begin() as session:
        return await restored.take_stock(session, now=world.clock(), policy=world.policy)


async def test_a_notice_that_was_due_is_listed_by_name_and_not_sent(either: World):
    world = either
    chief = await world.officer("chief", Role.COMMANDER)
    hoa = await world.owner("hoa", "Nhà nghỉ Hoa Mai")
    async with world.sessions.begin() as session:
        assert chief.actor is not None
        due = Draft(WORDS, "all", Response.CONFIRM, scheduled_for=world.clock() + timedelta(minutes=1), urgent=True)
        later = Draft("Mai", "all", Response.NONE, scheduled_for=world.clock() + timedelta(days=2))
        await schedule_notice(session, chief.actor, due, now=world.clock())
        await schedule_notice(session, chief.actor, later, now=world.clock())
    world.clock.advance(days=1)

    found = await _take_stock(world)
    await hoa.looks()
    await chief.looks()
    await world.tick(seconds=10)
    await hoa.refresh()
    await chief.refresh()

    assert found.unknown == 1
    hoa.sees_nothing()
    chief.sees(phrase("progress.unknown", n=1))
    async with world.sessions.reading() as session:
        states = list(await session.scalars(select(Notice.state).order_by(Notice.id)))
        assert states == [NoticeState.FINISHED, NoticeState.SCHEDULED]
        assert await session.scalar(select(Delivery.reason).where(Delivery.broadcast_id.is_not(None))) == "restored"
        assert await session.scalar(select(func.count()).select_from(Broadcast)) == 1


async def test_a_notice_that_cannot_be_opened_for_the_record_never_leaves_afterwards(either: World):
    world = either
    admin, chief = await world.officer("admin", Role.ADMIN), await world.officer("chief", Role.COMMANDER)
    hoa = await world.owner("hoa", "Nhà nghỉ Hoa Mai")
    async with world.sessions.begin() as session:
        assert chief.actor is not None
        due = Draft(WORDS, "all", Response.NONE, scheduled_for=world.clock() + timedelta(minutes=1), urgent=True)
        notice = await schedule_notice(session, chief.actor, due, now=world.clock())
        while await name_more(session):
            pass
        await session.execute(update(Notice).where(Notice.id == notice.id).values(html="<broken"))
        number = notice.number
    world.clock.advance(hours=1)

    await _take_stock(world)
    await hoa.looks()
    await admin.looks()
    async with world.sessions.begin() as session:
        await session.execute(update(Notice).values(html=WORDS))  # a newer version can render it
    for _ in range(3):
        await world.tick(minutes=30)
    await hoa.refresh()
    await admin.refresh()

    hoa.sees_nothing()
    assert sum(number in shown.text for shown in admin.news) == 1, "told once that it was not sent"
    async with world.sessions.reading() as session:
        assert await session.scalar(select(Notice.state)) is NoticeState.CANCELLED
    assert [entry["event"] for entry in world.incidents] == ["item_parked"]
    world.logged.clear()


async def _town(world: World, places: int) -> None:
    async with world.sessions.begin() as session:
        ids = range(1000, 1000 + places)
        name = {"name": "Nhà nghỉ", "address": "1 Lê Lợi", "folded": "nha nghi"}
        place = {**name, "kind": Kind.HOTEL, "state": EstablishmentState.ACTIVE, "created_at": NOW}
        await session.execute(insert(Establishment), [{"id": number, **place} for number in ids])
        contact = {"channel": "telegram", "role": "owner", "created_at": NOW}
        await session.execute(
            insert(Contact), [{"establishment_id": number, "address": str(number), **contact} for number in ids]
        )


@pytest.mark.parametrize("then", ["running", "paused", "called off"])
async def test_a_notice_that_was_half_open_in_the_copy_sends_nothing_of_its_other_half(either: World, then: str):
    world, after_it = either, 7
    chief = await world.officer("chief", Role.COMMANDER)
    await _town(world, STEP + after_it)
    assert chief.actor is not None
    async with world.sessions.begin() as session:
        notice = await schedule_notice(session, chief.actor, Draft(WORDS, "all", Response.NONE), now=world.clock())
        while await name_more(session):
            pass
        await open_due(session, now=world.clock(), policy=world.policy)
        if then == "paused":
            await pause_notice(session, chief.actor, notice.id, now=world.clock())
        if then == "called off":
            await cancel_notice(session, chief.actor, notice.id, now=world.clock())
    async with world.sessions.reading() as session:
        assert await session.scalar(select(Broadcast.opens_after)) is not None, "else it shows nothing"

    found = await _take_stock(world)
    await world.settle()
    for _ in range(3):
        await world.house.jobs.second()
    if then == "paused":
        async with world.sessions.begin() as session:
            await resume_notice(session, chief.actor, notice.id, now=world.clock())
    await world.tick(seconds=10)

    became = DeliveryState.CANCELLED if then == "called off" else DeliveryState.UNKNOWN
    async with world.sessions.reading() as session:
        states = await session.scalars(select(Delivery.state).where(Delivery.broadcast_id.is_not(None)))
        assert Counter(states) == {became: STEP + after_it}
        assert await session.scalar(select(Broadcast.finished_at)) is not None
    assert found.unknown >= (0 if then == "called off" else STEP + after_it)


async def test_what_was_waiting_or_under_way_is_unknown_and_answers_are_not_repeated(either: World):
    world = either
    async with world.sessions.begin() as session:
        for number, state in enumerate((DeliveryState.PENDING, DeliveryState.SENDING)):
            session.add(
                Delivery(
                    key=f"answer:{number}",
                    origin="answer",
                    content_id="x",
                    channel="telegram",
                    address="5",
                    passing=True,
                    lane=0,
                    state=state,
                    due_at=NOW,
                    opened_at=NOW,
                )
            )

    found = await _take_stock(world)
    await world.tick(seconds=10)

    assert found.unknown == 2
    async with world.sessions.reading() as session:
        assert set(await session.scalars(select(Delivery.state))) == {DeliveryState.UNKNOWN}


async def test_reports_nobody_took_are_asked_about_marked_as_restored(either: World):
    world = either
    duty = await world.officer("duty", Role.DUTY, on_duty=True)
    admin = await world.officer("admin", Role.ADMIN)
    nam = await world.person("nam")
    await nam.sends("/baotin")
    await nam.sends("Có người lạ.")
    await nam.presses("Gửi")
    world.clock.advance(hours=5)  # all its deadlines have passed
    for person in (duty, admin, nam):
        await person.looks()

    found = await _take_stock(world)
    await world.settle()
    await world.house.jobs.second()
    await world.settle()
    for person in (duty, admin, nam):
        await person.refresh()

    assert found.reports == 1
    duty.sees("Có người lạ.", phrase("restored.report"))
    assert len(duty.news) == 1, "not escalated in the same instant"
    admin.sees(phrase("restored.told", unknown=found.unknown, reports=1))
    nam.sees_nothing()
    async with world.sessions.reading() as session:
        report = (await session.scalars(select(Report))).one()
        assert report.escalates_at == world.clock() + world.policy.escalation[0]


async def test_a_report_that_was_taken_is_left_alone(telegram_world: World):
    world = telegram_world
    duty = await world.officer("duty", Role.DUTY, on_duty=True)
    nam = await world.person("nam")
    await nam.sends("/baotin")
    await nam.sends("Có người lạ.")
    await nam.presses("Gửi")
    await duty.presses("Nhận xử lý")
    await duty.looks()

    assert (await _take_stock(world)).reports == 0
    await world.settle()
    await duty.refresh()

    duty.sees_nothing()


# --- marks ---


def _outside(tmp_path: Path) -> Outside:
    return Outside(make_url(sqlite_url(tmp_path)), tmp_path)


async def _enters(sessions: Sessions, outside: Outside) -> standing.Arrival:
    async with sessions.begin() as session:
        arrival = await standing.enter(session, outside.read)
    outside.write(arrival.mark)
    return arrival


async def test_a_new_database_is_no_copy_and_a_crash_makes_none(sessions, tmp_path):
    outside = _outside(tmp_path)

    assert not (await _enters(sessions, outside)).is_restored
    assert not (await _enters(sessions, outside)).is_restored
    async with sessions.begin() as session:  # committed, and the power went before the file was written
        await standing.advance(session)
    assert not (await _enters(sessions, outside)).is_restored


async def test_a_number_that_is_behind_the_file_is_a_copy_once(sessions, tmp_path):
    outside = _outside(tmp_path)
    mark = (await _enters(sessions, outside)).mark
    outside.write(Mark(mark.identity, mark.number + 1))

    assert (await _enters(sessions, outside)).is_restored
    assert not (await _enters(sessions, outside)).is_restored


@pytest.mark.parametrize("in_peace", [True, False])
async def test_without_the_file_a_database_that_has_run_is_a_copy_however_it_ended(sessions, tmp_path, in_peace):
    outside = _outside(tmp_path)
    await _enters(sessions, outside)
    if in_peace:
        async with sessions.begin() as session:
            outside.write(await standing.advance(session))
    (tmp_path / "binhyen.db.run").unlink()

    assert (await _enters(sessions, outside)).is_restored
    assert not (await _enters(sessions, outside)).is_restored


async def test_without_the_file_a_database_that_never_ran_is_none(sessions, tmp_path):
    async with sessions.begin() as session:
        await standing.remember_seen(session, NOW)  # as `binhyen trust-clock` does

    assert not (await _enters(sessions, _outside(tmp_path))).is_restored


async def test_the_doctor_says_before_the_start_that_it_will_be_taken_for_a_copy(sessions, tmp_path):
    outside = _outside(tmp_path)

    async def says() -> bool:
        async with sessions.reading() as session:
            return await standing.would_be_restored(session, outside.read)

    assert not await says()
    await _enters(sessions, outside)
    assert not await says()
    (tmp_path / "binhyen.db.run").unlink()
    assert await says()


@pytest.mark.parametrize("content", ["", "x", "a b c", "0" * 5000, "\x00\xff", "identity -1"])
async def test_a_damaged_file_counts_as_none(sessions, tmp_path, content):
    outside = _outside(tmp_path)
    await _enters(sessions, outside)
    (tmp_path / "binhyen.db.run").write_text(content)

    assert (await _enters(sessions, outside)).is_restored


def test_the_file_is_closed_to_others_and_written_whole(tmp_path):
    outside = _outside(tmp_path)
    outside.write(Mark("a" * 32, 7))

    assert outside.read("a" * 32) == Mark("a" * 32, 7)
    assert outside.read("b" * 32) is None
    assert (tmp_path / "binhyen.db.run").stat().st_mode & 0o077 == 0
    assert [path.name for path in tmp_path.iterdir()] == ["binhyen.db.run"]


def test_a_server_has_a_file_for_each_database(tmp_path):
    outside = Outside(make_url("postgresql+asyncpg://localhost/binhyen"), tmp_path)
    outside.write(Mark("a" * 32, 7))
    outside.write(Mark("b" * 32, 9))

    assert outside.read("a" * 32) == Mark("a" * 32, 7)
