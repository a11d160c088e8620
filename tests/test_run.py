"""`python -m bot run` as a process: how it starts, refuses to start, and ends."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime

import aiohttp
import pytest
from sqlalchemy import text

from bench.botapi.faults import Fault
from channels.port import Outgoing, Recipient
from db.engine import Sessions, make_engine
from db.sealing import KeyRing
from deliveries.ledger import Lane, open_delivery
from tests.processes import SECRET_KEY, running, settings_for, sqlite_url, starting, url_of

ADMIN = 900
#: systemd waits fifteen seconds; what is under way has eight of them.
_PROMISE = 14.0


def only_web(folder) -> dict[str, str]:
    """The fewest settings there can be."""
    return {"DATABASE_URL": sqlite_url(folder), "WEB_PORT": "0"}


async def states(url: str) -> dict[str, int]:
    """How many deliveries are in each state."""
    engine = make_engine(url)
    async with engine.connect() as connection:
        rows = await connection.execute(text("SELECT state, count(*) FROM deliveries GROUP BY state"))
        found: dict[str, int] = {row[0]: row[1] for row in rows}
    await engine.dispose()
    return found


# --- starting -------------------------------------------------------------------------------------------------------


async def test_it_runs_without_any_platform(tmp_path):
    async with running(tmp_path, only_web(tmp_path), fresh=True) as bot:
        async with aiohttp.ClientSession() as session:
            for path in ("/", "/healthz", "/readyz", "/metrics"):
                async with session.get(bot.url + path) as answer:
                    assert answer.status == 200, path
        assert await bot.terminates() == 0

    assert (tmp_path / "secret.key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("name", "value"), [("TIMEZONE", "Mars/Olympus"), ("BOT_TOKEN", "not-a-token"), ("WEB_PORT", "eighty")]
)
async def test_a_bad_setting_is_one_line_and_code_2(tmp_path, name, value):
    async with starting(tmp_path, only_web(tmp_path) | {name: value}) as bot:
        assert await bot.ends() == 2

    assert bot.output.startswith(name)
    assert len(bot.output.splitlines()) == 1
    assert not (tmp_path / "binhyen.db").exists()


async def test_a_port_that_is_taken_is_said_in_a_line(tmp_path):
    taken = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = taken.sockets[0].getsockname()[1]

    async with starting(tmp_path, only_web(tmp_path) | {"WEB_PORT": str(port)}) as bot:
        code = await bot.ends()

    taken.close()
    await taken.wait_closed()
    assert code == 1
    assert str(port) in bot.output
    assert "Traceback" not in bot.output


async def test_a_second_process_on_the_same_file_is_refused(tmp_path):
    await _refuses_a_second(tmp_path, only_web(tmp_path))


async def test_a_second_process_on_the_same_server_is_refused(tmp_path, postgresql_engine):
    await _refuses_a_second(tmp_path, only_web(tmp_path) | {"DATABASE_URL": url_of(postgresql_engine)})


async def _refuses_a_second(folder, settings) -> None:
    async with running(folder, settings) as first:
        async with starting(folder, settings) as second:
            code = await second.ends(within=40)
        assert await first.terminates() == 0

    assert code == 1
    assert "already running" in second.output
    assert "Traceback" not in second.output


async def test_the_next_process_starts_as_soon_as_the_first_was_killed(tmp_path):
    async with running(tmp_path, only_web(tmp_path)) as first:
        await first.dies()

    async with running(tmp_path, only_web(tmp_path)) as second:
        await second.becomes(ready=True)
        assert await second.terminates() == 0


# --- ending ---------------------------------------------------------------------------------------------------------


async def test_it_ends_with_streams_open(tmp_path):
    jar = aiohttp.CookieJar(unsafe=True)  # unsafe: cookies of an address without a name
    async with running(tmp_path, only_web(tmp_path)) as bot, aiohttp.ClientSession(cookie_jar=jar) as session:
        async with session.get(f"{bot.url}/") as page:
            assert page.status == 200
        streams = [await session.get(f"{bot.url}/api/events") for _ in range(3)]
        assert all(stream.status == 200 for stream in streams)

        began = time.monotonic()
        assert await bot.terminates() == 0

        assert time.monotonic() - began < _PROMISE
        for stream in streams:
            stream.close()


async def test_it_ends_in_the_middle_of_a_broadcast_with_nothing_half_done(api, tmp_path, sqlite_file):
    settings = settings_for(api, sqlite_file, admins=str(ADMIN)) | {"RATE_TELEGRAM": "50"}
    await queue(sqlite_file, 200)
    api.latency = 0.2

    async with running(tmp_path, settings) as bot:
        await api.until(lambda: len(api.sent) > 20)
        assert await bot.terminates() == 0

    found = await states(sqlite_file)
    assert set(found) == {"sent", "pending"}
    assert found["sent"] == len(api.sent) < 200
    async with running(tmp_path, settings) as bot:
        await api.until(lambda: len(api.sent) == 200)
        assert await bot.terminates() == 0
    assert await states(sqlite_file) == {"sent": 200}


async def test_it_ends_in_time_when_telegram_hangs_and_lists_what_hung(api, tmp_path):
    url = sqlite_url(tmp_path)
    settings = settings_for(api, url, admins=str(ADMIN))
    async with running(tmp_path, settings) as bot:
        await bot.becomes(ready=True)
        api.faults += [Fault(method, "hang", times=100) for method in ("sendMessage", "answerCallbackQuery")]
        for chat in (911, 912, 913):
            api.person(chat).sends("/khancap")
        await api.until(lambda: len(api.sent) == 3)

        began = time.monotonic()
        assert await bot.terminates(within=20) == 0

        assert time.monotonic() - began < _PROMISE
    found = await states(url)
    assert "sending" not in found
    assert found["unknown"] == 3
    api.faults.clear()
    async with running(tmp_path, settings) as bot:
        await api.until(lambda: len(api.sent) == 6)
        assert await bot.terminates() == 0
    assert all(sending.text.startswith("(gửi lại)") for sending in api.sent[3:])


async def queue(url: str, count: int) -> None:
    """Messages to `count` chats, waiting to be sent."""
    engine, now = make_engine(url), datetime.now(UTC)
    async with Sessions(engine, KeyRing.parse(SECRET_KEY)).begin() as session:
        for number in range(count):
            await open_delivery(
                session,
                Outgoing(f"Thông báo {number}"),
                to=Recipient("telegram", str(10_000 + number)),
                key=f"test:{number}",
                origin="test",
                lane=Lane.ROUTINE,
                now=now,
            )
    await engine.dispose()
