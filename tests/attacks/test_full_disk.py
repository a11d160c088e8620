"""The disk is full: the database can take nothing, or nothing that needs another page.

| promise | test |
|---|---|
| what could not be stored is not confirmed, so the platform brings it again | `..._brings_again...` |
| the same of what a server's disk has no room for | `..._server_without_room...` |
| whoever writes on the page is told, and what they wrote acts when they send it again | `..._brings_again...` |
| the log says so now and then, not at each try, and the process goes on | `..._brings_again...`, `..._minute...` |
| an update that is stored waits, however long, and is not taken for a poison pill | `..._waits...` |
| a process that is started again and again meanwhile does not change that | `..._started_again...` |
| what was sent is written down when there is room, and not sent again | `..._was_sent...` |
| a process that ends meanwhile repeats only what it marks | `..._ended_meanwhile...` |
| a start says in one line what is wrong | `..._start...` |
"""

from __future__ import annotations

import resource
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from pathlib import Path

import pytest
from sqlalchemy import event, func, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from bench.botapi.server import FakeBotApi
from bot.inbox import Inbox
from conversations.inbound import ATTEMPTS
from db.engine import Sessions
from db.tables.deliveries import MediaContent
from db.tables.inbound import InboundUpdate
from db.tables.reports import ReportPart
from tests.conftest import KEYS
from tests.processes import BotProcess, running, settings_for, sqlite_url, starting
from tests.serving import browser, says, until
from tests.test_run import queue, states
from tests.worlds import World, open_world, phrase

ADMIN = 900
#: As many pages as SQLite lets a database have.
_ALL_PAGES = 2**32 - 2
#: A report that fits on no page there is.
LONG = "Có khói ở tầng ba. " * 200


class Disk:
    """The room that the database of this process has."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._path = engine.url.database
        self._pages = _ALL_PAGES
        event.listen(engine.sync_engine, "checkout", self._limit)

    def _limit(self, connection, *_about) -> None:
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA max_page_count={self._pages}")
        cursor.close()

    @contextmanager
    def full(self, *, but: int = 0) -> Iterator[None]:
        """The file grows no more, `but` by so many pages."""
        with closing(sqlite3.connect(str(self._path))) as connection:
            self._pages = connection.execute("PRAGMA page_count").fetchone()[0] + but
        try:
            yield
        finally:
            self._pages = _ALL_PAGES


@contextmanager
def takes_nothing(process: int = 0) -> Iterator[None]:
    """No file of a process (0: this one) takes a byte: what the kernel says then reads as an error of the disk."""
    before = resource.prlimit(process, resource.RLIMIT_FSIZE)
    resource.prlimit(process, resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            resource.prlimit(process, resource.RLIMIT_FSIZE, before)


@pytest.fixture
def disk(sqlite_engine) -> Disk:
    return Disk(sqlite_engine)


# --- what comes in --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("webhook", [False, True])
async def test_a_platform_brings_again_what_found_no_room_and_the_log_is_not_filled(api, tmp_path, webhook):
    settings = settings_for(api, sqlite_url(tmp_path), admins=str(ADMIN), webhook=webhook) | {"LOG_LEVEL": "INFO"}
    async with running(tmp_path, settings) as bot, browser(bot.port) as nam:
        lan = api.person(911)
        lan.sends("/trogiup")
        await lan.sees("/baotin")
        said_before = len(bot.output.splitlines())
        with takes_nothing(bot.process.pid):
            lan.sends("/khancap")
            refused = [await nam.post("/api/text", json={"text": "Cháy!", "nonce": f"{n:08}"}) for n in range(10)]
            if webhook:
                await api.until(lambda: api.updates.webhook_failures > 50, within=20)
            else:
                await until(lambda: "not_stored" in bot.output)
            polls = api.updates.polls
            await api.until(lambda: webhook or api.updates.polls > polls + 2, within=20)
            assert [update["message"]["text"] for update in api.updates.waiting] == ["/khancap"]
            assert bot.process.returncode is None
        assert {answer.status_code for answer in refused} == {500}
        assert all("Nội dung vẫn còn" in answer.json()["error"] for answer in refused)
        assert all("113" in answer.json()["error"] for answer in refused)

        await lan.sees("113", within=40)
        assert await says(nam, "Cháy!") == 200
        assert len(lan.inbox) == 2
        assert len(bot.output.splitlines()) - said_before < 15, bot.output
        assert "Traceback" not in bot.output and "  File " not in bot.output
        assert await bot.terminates() == 0


@pytest.fixture
async def world(sqlite_engine, clock, disk) -> AsyncIterator[World]:
    async with open_world(Sessions(sqlite_engine, KEYS), clock) as opened:
        yield opened


async def _works(world: World, sleep) -> None:
    """Let an inbox of its own work until nothing waits."""
    await Inbox(world.sessions, world.house.applications, sleep=sleep).drain()


@pytest.mark.parametrize("grows", [True, False])
async def test_an_update_that_finds_no_room_waits_however_long_and_then_acts_once(world: World, disk: Disk, grows):
    nam = await world.person("nam")
    await nam.sends("/baotin")
    await world.house.store("telegram", [await nam.port.gateway.says(nam.chat.address, LONG)])
    full = disk.full() if grows else takes_nothing()
    rests: list[float] = []

    async def sleep(seconds: float) -> None:
        rests.append(seconds)
        if len(rests) == 60:
            full.__exit__(None, None, None)

    full.__enter__()
    await _works(world, sleep)

    assert len(rests) == 60 and sum(rests) > 1800
    async with world.sessions.reading() as session:
        assert not await session.scalar(select(func.count()).select_from(InboundUpdate))
        assert await session.scalar(select(func.count()).select_from(ReportPart)) == 1
    assert [entry["event"] for entry in world.incidents] == ["update_not_stored"]
    world.logged.clear()


async def test_a_process_that_is_started_again_and_again_meanwhile_gives_nothing_up(world: World, disk: Disk):
    """There is room to count how often the update was tried, and none for what it brings."""
    nam = await world.person("nam")
    await nam.sends("/baotin")
    file = await nam.port.gateway.sends_file(nam.chat.address, "document", b"%PDF-1.4" + bytes(200_000), name="a.pdf")
    await world.house.store("telegram", [file])

    for _ in range(ATTEMPTS + 2):
        await world.restart()
        with disk.full(but=8):
            await _tries(world)
    await world.restart()
    await world.settle()

    async with world.sessions.reading() as session:
        assert await session.scalar(select(func.count()).select_from(MediaContent)) == 1
    world.logged.clear()


class _Enough(Exception):
    pass


async def _tries(world: World) -> None:
    """One attempt at what waits, which fails."""

    async def sleep(_seconds: float) -> None:
        raise _Enough

    inbox = Inbox(world.sessions, world.house.applications, sleep=sleep)
    await inbox._look()
    with pytest.raises(_Enough):
        await next(iter(inbox._chats.values())).task


@pytest.fixture
async def on_a_server(postgresql_engine, clock) -> AsyncIterator[World]:
    async with open_world(Sessions(postgresql_engine, KEYS), clock) as opened:
        yield opened


async def test_a_server_without_room_is_not_taken_for_a_fault_of_the_update(on_a_server: World):
    """A trigger says what a server says that finds no room: a real one would stop for all databases there are."""
    world = on_a_server
    nam = await world.person("nam")
    await nam.sends("/baotin")
    async with world.sessions.begin() as session:
        await session.execute(text(_NO_ROOM))
        await session.execute(text("CREATE TRIGGER full_disk BEFORE INSERT ON report_parts EXECUTE FUNCTION no_room()"))
    await world.house.store("telegram", [await nam.port.gateway.says(nam.chat.address, LONG)])
    rests: list[float] = []

    async def sleep(seconds: float) -> None:
        rests.append(seconds)
        if len(rests) == 30:
            async with world.sessions.begin() as session:
                await session.execute(text("DROP FUNCTION no_room CASCADE"))

    await _works(world, sleep)
    await world.settle()
    await nam.refresh()

    assert len(rests) == 30
    async with world.sessions.reading() as session:
        assert await session.scalar(select(func.count()).select_from(ReportPart)) == 1
    nam.sees_not(phrase("error.ours"))
    assert [entry["event"] for entry in world.incidents] == ["update_not_stored"]
    world.logged.clear()


_NO_ROOM = """
CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE 'could not extend file' USING ERRCODE = 'disk_full'; END $$
"""


# --- what goes on by itself -----------------------------------------------------------------------------------------


async def test_the_minute_goes_on_and_what_it_owes_is_done_when_there_is_room(world: World):
    nam = await world.person("nam")
    await nam.sends("/khancap")
    world.sessions.owes_erasure = True

    with takes_nothing():
        for _ in range(3):
            world.clock.advance(minutes=1)
            await world.house.jobs.second()
            await world.house.jobs.minute()
    assert world.sessions.owes_erasure
    assert {entry["event"] for entry in world.incidents} == {"tick_storage_failed"}
    parts = [entry["part"] for entry in world.incidents]
    assert "disk" in parts and len(parts) == len(set(parts)), "each is said once"
    world.logged.clear()

    world.clock.advance(minutes=1)
    await world.house.jobs.minute()
    assert not world.sessions.owes_erasure


async def test_what_was_sent_is_written_down_when_there_is_room_and_not_sent_again(api, tmp_path, sqlite_file):
    async with _sending(api, tmp_path, sqlite_file) as bot:
        with takes_nothing(bot.process.pid):
            await bot.says("dispatch_storage_failed")
            written = (await states(sqlite_file)).get("sent", 0)
            assert written < len(api.sent), "some have left, and it is not written down"
        await api.until(lambda: len(api.sent) >= 60, within=30)
        assert await bot.terminates() == 0

    assert await states(sqlite_file) == {"sent": 60}
    assert len({sending.text for sending in api.sent}) == len(api.sent) == 60


async def test_a_process_that_ended_meanwhile_repeats_only_what_it_marks(api, tmp_path, sqlite_file):
    async with _sending(api, tmp_path, sqlite_file) as bot:
        with takes_nothing(bot.process.pid):
            await bot.says("dispatch_storage_failed")
            assert await bot.terminates(within=20) == 0
            assert "  File " not in bot.output
    async with running(tmp_path, settings_for(api, sqlite_file, admins=str(ADMIN))) as bot:
        await api.until(lambda: len({sending.chat_id for sending in api.sent}) == 60, within=40)
        await bot.becomes(ready=True)
        assert await bot.terminates() == 0

    unmarked = [sending.text for sending in api.sent if not sending.text.startswith("(gửi lại)")]
    assert len(unmarked) == len(set(unmarked))


@asynccontextmanager
async def _sending(api: FakeBotApi, folder: Path, url: str) -> AsyncIterator[BotProcess]:
    """A bot in the middle of sending sixty messages."""
    settings = settings_for(api, url, admins=str(ADMIN)) | {"RATE_TELEGRAM": "20"}
    await queue(url, 60)
    api.latency = 0.5
    async with running(folder, settings) as bot:
        await api.until(lambda: len(api.sent) > 10, within=20)
        yield bot


async def test_a_start_says_in_one_line_what_is_wrong(api, tmp_path):
    settings = settings_for(api, sqlite_url(tmp_path), admins=str(ADMIN))
    async with running(tmp_path, settings) as bot:
        assert await bot.terminates() == 0

    with takes_nothing():  # inherited by whoever is started
        async with starting(tmp_path, settings | {"LOG_LEVEL": "INFO"}, fresh=True) as bot:
            assert await bot.ends() == 1, "systemd starts it again after everything but 0 and 2"

    assert len(bot.output.splitlines()) == 1 and "full" in bot.output
