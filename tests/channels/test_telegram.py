"""Telegram over the wire, against a strict server on loopback."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from structlog.testing import capture_logs
from telegram.error import BadRequest, Forbidden, NetworkError, RetryAfter

from bench.botapi.faults import Fault
from bench.botapi.server import FakeBotApi
from channels.api import CannotFetch, NoAnswer, Unreachable, call, fetch_file
from channels.telegram.channel import TelegramChannel, usable
from channels.telegram.request import TelegramRequest

SECRET = "s3cret_-"


@pytest.fixture
async def api():
    async with FakeBotApi() as server:
        yield server


def channel_for(api: FakeBotApi, **more: Any) -> TelegramChannel:
    return TelegramChannel(api.token, api_url=api.url, **{"poll_seconds": 2, **more})


@asynccontextmanager
async def started(channel: TelegramChannel):
    await channel.start()
    try:
        yield channel
    finally:
        await channel.close()


class Stored:
    """What a channel handed over; `fail` makes the next hand-overs fail."""

    def __init__(self) -> None:
        self.updates: list[dict[str, Any]] = []
        self.fail = 0
        self.came = asyncio.Event()

    async def __call__(self, updates: list[dict[str, Any]]) -> None:
        if self.fail:
            self.fail -= 1
            raise OSError("disk full")
        self.updates += updates
        self.came.set()

    @property
    def texts(self) -> list[str]:
        return [update["message"]["text"] for update in self.updates]

    async def until(self, count: int) -> None:
        async with asyncio.timeout(5):
            while len(self.updates) < count:
                self.came.clear()
                await self.came.wait()


@asynccontextmanager
async def receiving(channel: TelegramChannel, stored: Stored):
    async with started(channel):
        task = asyncio.create_task(channel.receive(stored))
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def until(condition) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 (the server's state has no event)
            await asyncio.sleep(0.01)


async def test_updates_are_handed_over_raw_and_only_once(api):
    stored, lan = Stored(), api.person(11)
    lan.sends("một")

    async with receiving(channel_for(api), stored):
        await stored.until(1)
        lan.sends("hai")
        await stored.until(2)
        lan.sends("ba")
        await stored.until(3)

    assert stored.texts == ["một", "hai", "ba"]


async def test_an_update_that_was_not_stored_comes_again(api):
    stored = Stored()
    stored.fail = 2
    api.person(11).sends("tin")

    async with receiving(channel_for(api, sleep=lambda _: asyncio.sleep(0)), stored):
        await stored.until(1)

    assert stored.texts == ["tin"]


async def test_ids_that_start_again_lower_are_not_missed(api):
    stored = Stored()

    async with receiving(channel_for(api, poll_seconds=1), stored):
        api.person(11).sends("trước")
        await stored.until(1)
        polls = api.updates.polls
        await until(lambda: api.updates.polls >= polls + 2)
        api.updates.next_id = 5
        api.person(11).sends("sau")
        await stored.until(2)

    assert stored.texts == ["trước", "sau"]


async def test_every_type_of_update_is_asked_for_by_name_and_menus_are_set(api):
    menus = [
        {"commands": [{"command": "start", "description": "Bắt đầu"}]},
        {"commands": [{"command": "start", "description": "Start"}], "language_code": "en"},
    ]

    async with receiving(channel_for(api, menus=menus), Stored()):
        await until(lambda: api.updates.polls)

    polls = [parameters for method, parameters in api.calls if method == "getUpdates"]
    assert {"message_reaction", "chat_member", "my_chat_member", "callback_query"} <= set(polls[0]["allowed_updates"])
    assert len(api.commands) == 2
    assert ("deleteWebhook", {"drop_pending_updates": False}) in api.calls


async def test_an_update_without_an_id_is_dropped_and_the_others_are_kept(api):
    stored = Stored()
    api.updates.push_raw({"message": {"text": "secret words"}})
    api.updates.push("message", {"text": "odd, but not ours to judge"})

    with capture_logs() as logs:
        async with receiving(channel_for(api), stored):
            await stored.until(1)

    assert len(stored.updates) == 1
    assert "secret words" not in json.dumps(logs)


async def test_nothing_but_nonsense_does_not_make_it_spin(api):
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        await asyncio.sleep(0.001)

    api.updates.push_raw({"no": "id"})
    channel = channel_for(api, sleep=sleep)
    async with receiving(channel, Stored()):
        await until(lambda: len(waits) >= 9)

    assert channel.health.reason == "bad_updates"
    assert waits[0] >= 1 and max(waits) <= 60 and waits[8] >= 40


async def test_an_outage_is_told_once_and_its_end_too(api):
    port = api.port
    channel, stored = channel_for(api, sleep=lambda _: asyncio.sleep(0.01)), Stored()

    with capture_logs() as logs:
        async with receiving(channel, stored):
            await until(lambda: channel.health.state == "up")
            await api.stop()
            await until(lambda: channel.health.state == "down")
            await asyncio.sleep(0.2)
            await api.start(port)
            await until(lambda: channel.health.state == "up")
            api.person(11).sends("tin")
            await stored.until(1)

    assert [entry["event"] for entry in logs] == ["telegram_down", "telegram_up_again"]


async def test_it_starts_without_a_network():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        channel = TelegramChannel("123:abc", api_url=f"http://127.0.0.1:{unused.getsockname()[1]}")
        async with receiving(channel, Stored()):
            assert channel.bot.id == 123
            await until(lambda: channel.health.state == "down")
            assert channel.health.reason == "unreachable"


async def test_a_refused_token_is_told_as_such(api):
    channel = TelegramChannel("999:wrong", api_url=api.url)

    async with receiving(channel, Stored()):
        await until(lambda: channel.health.state == "down")
        assert channel.health.reason == "token_refused"


async def test_two_pollers_are_a_conflict_and_told_once(api):
    first, second = channel_for(api), channel_for(api, sleep=lambda _: asyncio.sleep(0.05))

    with capture_logs() as logs:
        async with receiving(first, Stored()), receiving(second, Stored()):
            await until(lambda: "conflict" in (first.health.reason, second.health.reason))
            await asyncio.sleep(0.2)

    assert [entry["reason"] for entry in logs] in (["conflict"], ["conflict"] * 2)


async def test_a_webhook_set_by_somebody_else_is_taken_away_again(api):
    channel, stored = channel_for(api, sleep=lambda _: asyncio.sleep(0.01)), Stored()

    async with receiving(channel, stored):
        await until(lambda: channel.health.state == "up")
        api.updates.webhook["url"] = "http://127.0.0.1:9/elsewhere"
        await until(lambda: not api.updates.webhook["url"])
        api.person(11).sends("tin")
        await stored.until(1)


async def test_it_stops_at_once_while_a_poll_is_open(api):
    async with started(channel_for(api, poll_seconds=50)) as channel:
        task = asyncio.create_task(channel.receive(Stored()))
        await until(lambda: api.updates.polls >= 2)
        began = asyncio.get_running_loop().time()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    assert asyncio.get_running_loop().time() - began < 1


async def test_with_a_webhook_telegram_is_told_where_and_with_which_secret(api):
    channel = channel_for(api, public_url="http://127.0.0.1:9", webhook_secret=SECRET)

    async with receiving(channel, Stored()):
        await until(lambda: channel.health.state == "up")

    assert api.updates.webhook["url"] == "http://127.0.0.1:9/telegram/webhook"
    assert api.updates.webhook["secret"] == SECRET
    assert api.updates.polls == 0


@pytest.mark.parametrize(
    ("header", "right"),
    [(SECRET, True), (SECRET + "x", False), ("", False), (None, False), ("bí mật", False), ("\udcff", False)],
)
def test_only_the_secret_opens_the_webhook(header, right):
    channel = TelegramChannel("1:abc", public_url="https://x.vn", webhook_secret=SECRET)

    assert channel.check_secret(header) is right
    assert TelegramChannel("1:abc").check_secret(header) is False


def test_usable_keeps_dicts_with_a_whole_number_as_id():
    assert usable([{"update_id": 1}, {"update_id": True}, {"update_id": "2"}, "x", None, []]) == [{"update_id": 1}]


# --- the request -------------------------------------------------------------------------------------------------


@pytest.fixture
async def bot(api):
    async with started(channel_for(api)) as channel:
        yield channel.bot


async def test_a_file_comes_back_as_it_was_sent(api, bot):
    message = api.person(11).sends_document(b"\x00\xffbytes")

    assert await fetch_file(bot, message.api["document"]["file_id"], limit=100) == b"\x00\xffbytes"


async def test_a_file_that_is_too_big_is_not_taken_into_memory(api, bot, monkeypatch):
    monkeypatch.setattr("channels.telegram.request.DOWNLOAD_LIMIT", 100_000)
    message = api.person(11).sends_document(b"x" * 200_000)

    with pytest.raises(CannotFetch, match="too_big"):
        await fetch_file(bot, message.api["document"]["file_id"], limit=10**6)


async def test_ptb_methods_work_over_it_uploads_too(api, bot):
    await bot.send_message(11, "chào", api_kwargs={"reply_markup": {"inline_keyboard": []}})
    await bot.send_photo(11, b"picture", caption="ảnh", filename='a"b.jpg')

    assert [sending.text for sending in api.sent] == ["chào", "ảnh"]
    assert api.sent[1].message.files == [b"picture"]


@pytest.mark.parametrize(
    ("fault", "raised"),
    [
        (Fault("sendMessage", "cut"), NoAnswer),
        (Fault("sendMessage", "cut_before"), NoAnswer),
        (Fault("sendMessage", "garbage"), NoAnswer),
        (Fault("sendMessage", "refuse", code=502), NoAnswer),
        (Fault("sendMessage", "refuse", code=500, body='{"ok":false,"description":"x"}'), NoAnswer),
        (Fault("sendMessage", "refuse", code=403), Unreachable),
        (Fault("sendMessage", "refuse", code=302), Unreachable),
        (Fault("sendMessage", "refuse", code=403, body='{"ok":false,"description":"Forbidden: x"}'), Forbidden),
        (Fault("sendMessage", "refuse", code=413, body='{"ok":false,"description":"Too large"}'), BadRequest),
        (Fault("sendMessage", "refuse", code=429, body='{"ok":false,"description":"Slow"}'), RetryAfter),
        (Fault("sendMessage", "refuse", code=200, body='{"ok":false,"description":"x"}'), NoAnswer),
        (Fault("sendMessage", "refuse", code=200, body="[]"), NoAnswer),
    ],
)
async def test_what_a_bad_answer_means(api, bot, fault, raised):
    api.faults.append(fault)

    with pytest.raises(NetworkError if raised is NoAnswer else raised) as caught:
        await call(bot, "sendMessage", {"chat_id": 11, "text": "x"})

    assert isinstance(caught.value, raised)


async def test_a_server_that_never_answers_is_no_answer(api):
    request = TelegramRequest(read_timeout=0.1, trust_env=False)
    api.faults.append(Fault("sendMessage", "hang"))

    async with request:
        with pytest.raises(NoAnswer):
            await request.post(f"{api.url}/bot{api.token}/sendMessage")


async def test_a_closed_port_is_unreachable():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        async with TelegramRequest(trust_env=False) as request:
            with pytest.raises(Unreachable):
                await request.post(f"http://127.0.0.1:{unused.getsockname()[1]}/bot1:x/getMe")
