"""Two processes on one database, and loops that end: the lock that vanished, and what nobody would have noticed.

| promise | test |
|---|---|
| a lost lock is noticed, nothing is sent or acted upon, it is taken again, and work goes on | `..._taken_again...` |
| when another process was faster this one ends loudly | `..._ends...` |
| sends under way when it was lost are neither lost nor doubled | `..._under_way...` |
| a database put away under a running process ends it | `..._moved...` |
| the first loop that ends by itself ends the process | `..._loop...` |
| SIGTERM under load: nothing repeated unmarked, nothing lost | `..._sigterm...` |
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import time
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import time_machine
from structlog.testing import capture_logs

from bench.botapi.server import FakeBotApi
from bot import supervision
from bot.app import run
from bot.settings import Settings
from bot.supervision import LoopEnded, Ticks, supervised
from db.lock import _LOCK, Ended, Superseded
from db.sealing import new_master_key
from tests.processes import running, settings_for, sqlite_url, url_of
from tests.serving import until
from tests.test_run import queue, states

ADMIN = 900


def _native(engine: Any) -> str:
    return url_of(engine).replace("+asyncpg", "")


async def _end_sessions(engine: Any) -> None:
    """What a restart of the server does to whoever is connected."""
    connection = await asyncpg.connect(_native(engine))
    await connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name <> 'rival'"
    )
    await connection.close()


@contextlib.asynccontextmanager
async def _rival(engine: Any) -> AsyncIterator[asyncpg.Connection]:
    """Another process, which stands in line for the lock and has it the moment it is free."""
    connection = await asyncpg.connect(_native(engine), server_settings={"application_name": "rival"})
    waiting = asyncio.create_task(connection.execute(f"SELECT pg_advisory_lock({_LOCK})"))
    await asyncio.sleep(0.2)
    assert not waiting.done()
    try:
        yield connection
    finally:
        waiting.cancel()
        connection.terminate()


# --- PostgreSQL ---


async def test_a_lock_that_vanished_with_the_servers_sessions_is_taken_again_and_work_goes_on(
    api, tmp_path, postgresql_engine
):
    lan = api.person(911)
    async with running(tmp_path, settings_for(api, url_of(postgresql_engine), admins=str(ADMIN))) as bot:
        lan.sends("/trogiup")
        await lan.sees("/baotin")

        await _end_sessions(postgresql_engine)
        await bot.says("lock_lost", within=5)
        await bot.says("lock_taken_again")

        lan.sends("/khancap")
        await lan.sees("113", within=20)
        assert await _holders(postgresql_engine) == 1
        assert await bot.terminates() == 0
    assert "Traceback" not in bot.output


async def test_a_server_that_is_restarted_and_is_away_for_a_while_finds_us_with_the_lock_again(
    api, tmp_path, postgresql_engine, postgres
):
    lan = api.person(911)
    async with running(tmp_path, settings_for(api, url_of(postgresql_engine), admins=str(ADMIN))) as bot:
        lan.sends("/trogiup")
        await lan.sees("/baotin")
        await postgresql_engine.dispose()

        await asyncio.to_thread(postgres._server.stop)
        await bot.says("lock_lost", within=5)
        lan.sends("/khancap")
        await asyncio.sleep(3)
        await asyncio.to_thread(postgres._server.start)

        await bot.says("lock_taken_again", within=30)
        await lan.sees("113", within=40)
        assert await _holders(postgresql_engine) == 1
        assert await bot.terminates() == 0


async def _holders(engine: Any) -> int:
    connection = await asyncpg.connect(_native(engine))
    found = await connection.fetchval(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    await connection.close()
    return int(found)


async def test_sends_under_way_when_the_lock_was_lost_are_neither_lost_nor_doubled(api, tmp_path, postgresql_engine):
    url = url_of(postgresql_engine)
    settings = settings_for(api, url, admins=str(ADMIN)) | {"RATE_TELEGRAM": "200"}
    await queue(url, 200)
    api.latency = 0.5

    async with running(tmp_path, settings) as bot:
        await api.until(lambda: len(api.sent) > 20)
        await _end_sessions(postgresql_engine)
        await bot.says("lock_taken_again")
        await api.until(lambda: len(_chats(api)) == 200)
        await bot.becomes(ready=True)
        assert await bot.terminates() == 0

    _nothing_doubled(api)


async def test_it_ends_loudly_when_another_process_was_faster_and_does_nothing_meanwhile(
    api, tmp_path, postgresql_engine
):
    lan = api.person(911)
    url = url_of(postgresql_engine)
    async with running(tmp_path, settings_for(api, url, admins=str(ADMIN))) as bot:
        lan.sends("/trogiup")
        await lan.sees("/baotin")
        async with _rival(postgresql_engine):
            before = len(api.sent)
            await _end_sessions(postgresql_engine)
            await bot.says("lock_lost", within=5)
            await queue(url, 5)
            lan.sends("/khancap")

            assert await bot.ends(within=40) == 1

            assert len(api.sent) == before
    assert "Another Bình Yên has taken this database" in bot.output
    assert "Traceback" not in bot.output
    assert (await states(url)).get("pending") == 5


# --- SQLite ---


async def test_a_lock_file_that_was_removed_is_made_and_taken_again(api, tmp_path):
    lan = api.person(911)
    async with running(tmp_path, settings_for(api, sqlite_url(tmp_path), admins=str(ADMIN))) as bot:
        (tmp_path / "binhyen.db.lock").unlink()
        await bot.says("lock_lost")
        await bot.says("lock_taken_again")
        lan.sends("/khancap")
        await lan.sees("113", within=20)
        again = os.open(tmp_path / "binhyen.db.lock", os.O_RDWR)
        with pytest.raises(OSError):
            fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(again)
        assert await bot.terminates() == 0


async def test_it_ends_when_the_lock_file_was_replaced_and_another_process_has_it(api, tmp_path):
    async with running(tmp_path, settings_for(api, sqlite_url(tmp_path), admins=str(ADMIN))) as bot:
        fresh = tmp_path / "fresh"
        other = os.open(fresh, os.O_RDWR | os.O_CREAT)
        fcntl.flock(other, fcntl.LOCK_EX)
        fresh.rename(tmp_path / "binhyen.db.lock")
        assert await bot.ends(within=40) == 1
        os.close(other)
    assert "Another Bình Yên has taken this database" in bot.output


@pytest.mark.parametrize("how", ["moved", "replaced"])
async def test_it_ends_when_the_database_was_moved_or_replaced(api, tmp_path, how):
    async with running(tmp_path, settings_for(api, sqlite_url(tmp_path), admins=str(ADMIN))) as bot:
        database = tmp_path / "binhyen.db"
        database.rename(tmp_path / "aside.db")
        if how == "replaced":
            database.write_bytes(b"")
        assert await bot.ends(within=20) == 1
    assert "was moved, removed or replaced" in bot.output
    assert "Traceback" not in bot.output


# --- loops ---


def _settings(folder: Path, api: FakeBotApi) -> Settings:
    return Settings.model_validate(
        {
            "database_url": sqlite_url(folder),
            "secret_key": new_master_key(),
            "bot_token": api.token,
            "telegram_api_url": api.url,
            "web_port": 0,
        }
    )


@pytest.mark.parametrize("loop", ["inbox", "dispatch web", "dispatch telegram", "ticks", "telegram", "web", "lock"])
async def test_the_first_loop_that_ends_by_itself_ends_the_process_with_a_reference(api, tmp_path, loop):
    with capture_logs() as logs:
        process = asyncio.create_task(run(_settings(tmp_path, api), stopping=asyncio.Event()))
        await until(lambda: any(task.get_name() == "lock" for task in asyncio.all_tasks()), within=20)
        await asyncio.sleep(0.2)  # all of them have begun
        victim = next(task for task in asyncio.all_tasks() if task.get_name() == loop)
        victim.cancel()
        with pytest.raises(Ended) as ended:
            await asyncio.wait_for(process, 20)

    said = next(entry for entry in logs if entry["event"] == "ended")
    assert said["log_level"] == "critical"
    assert said["reference"] in str(ended.value)
    assert f"LoopEnded('{loop}')" in repr(said["exc_info"])
    assert "\n" not in str(ended.value)


async def test_a_loop_that_returns_or_raises_is_a_failure_until_it_may_end():
    async def returns() -> None:
        await asyncio.sleep(0)

    async def raises() -> None:
        raise ValueError

    for loop, expected in ((returns, LoopEnded), (raises, ValueError)):
        with pytest.raises(ExceptionGroup) as failed:
            async with supervised() as watch:
                watch.run("other", asyncio.sleep(3600))
                watch.run("victim", loop())
                await asyncio.sleep(3600)
        assert [type(error) for error in failed.value.exceptions] == [expected]

    async with supervised() as watch:
        watch.run("victim", asyncio.sleep(0.05))
        watch.may_end()


async def test_a_tick_that_raises_ends_its_loop_instead_of_falling_silent():
    async def raises() -> None:
        raise ValueError

    ticks = Ticks()
    ticks.add(0.01, raises)
    with pytest.raises(ValueError):
        await ticks.run(asyncio.Event())


async def test_a_tick_that_has_begun_is_finished():
    stopping, finished = asyncio.Event(), asyncio.Event()

    async def takes_a_while() -> None:
        stopping.set()
        await asyncio.sleep(0.05)
        finished.set()

    ticks = Ticks()
    ticks.add(0.01, takes_a_while)
    await ticks.run(stopping)

    assert finished.is_set()


async def test_ticks_go_on_when_the_clock_is_set_back_a_day(monkeypatch):
    monkeypatch.setattr(supervision, "_LOOK", 0.05)
    stopping, ticked = asyncio.Event(), asyncio.Event()

    async def tick() -> None:
        ticked.set()

    ticks = Ticks()
    ticks.add(0.05, tick)
    with time_machine.travel(datetime.now(UTC), tick=True) as traveller:
        running = asyncio.create_task(ticks.run(stopping))
        await asyncio.wait_for(ticked.wait(), 5)
        traveller.shift(timedelta(days=-1))
        ticked.clear()
        await asyncio.wait_for(ticked.wait(), 5)
    stopping.set()
    await running


def test_superseded_is_said_in_a_sentence():
    assert issubclass(Superseded, Ended)


# --- SIGTERM ---


@pytest.mark.parametrize("latency", [0.3, 3.0])
async def test_sigterm_with_200_sends_under_way_repeats_nothing_unmarked_and_loses_nothing(
    api, tmp_path, sqlite_file, latency
):
    settings = settings_for(api, sqlite_file, admins=str(ADMIN)) | {"RATE_TELEGRAM": "1000"}
    await queue(sqlite_file, 400)
    api.latency = latency

    async with running(tmp_path, settings) as bot:
        await api.until(lambda: len(api.sent) >= 100)
        began = time.monotonic()
        assert await bot.terminates(within=20) == 0
        assert time.monotonic() - began < 15, "systemd's TimeoutStopSec"

    found = await states(sqlite_file)
    assert set(found) <= {"sent", "pending"}, "what was under way had its time"
    assert found["sent"] == len(api.sent)
    async with running(tmp_path, settings) as bot:
        await api.until(lambda: len(api.sent) >= 400)
        assert await bot.terminates(within=20) == 0
    assert await states(sqlite_file) == {"sent": 400}
    _nothing_doubled(api)


async def test_sigterm_in_the_middle_of_a_flood_of_updates_answers_each_of_them_once(api, tmp_path):
    settings = settings_for(api, sqlite_url(tmp_path), admins=str(ADMIN)) | {"RATE_TELEGRAM": "1000"}
    people = [api.person(20_000 + number) for number in range(60)]
    async with running(tmp_path, settings) as bot:
        for person in people:
            person.sends("/khancap")
        await api.until(lambda: len(api.sent) >= 5)
        assert await bot.terminates(within=20) == 0

    async with running(tmp_path, settings) as bot:
        await api.until(lambda: len(_chats(api)) >= 60)
        await asyncio.sleep(1)
        assert await bot.terminates(within=20) == 0

    answers = Counter(sending.chat_id for sending in api.sent if "113" in sending.text)
    assert answers == Counter({person.chat_id: 1 for person in people})


def _chats(api: FakeBotApi) -> set[int]:
    return {sending.chat_id for sending in api.sent}


def _nothing_doubled(api: FakeBotApi) -> None:
    unmarked = Counter(sending.text for sending in api.sent if not sending.text.startswith("(gửi lại)"))
    assert not [text for text, times in unmarked.items() if times > 1 and text.startswith("Thông báo")]
