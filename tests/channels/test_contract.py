"""What the house asks of every channel, asked of every channel there is. A new one gets a row in STANDS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from prometheus_client import CollectorRegistry

from bench.botapi.server import FakeBotApi
from bot.app import channels_of
from bot.metrics import Metrics
from bot.settings import Settings
from channels.channel import Channel
from channels.port import Outgoing, Recipient
from channels.sender import Sender
from channels.telegram.channel import TelegramChannel
from channels.wording import plain
from conversations.inbound import InboundStore, waiting_updates
from db.engine import Sessions
from tests.channels.mail_drop import MailDrop
from tests.conftest import KEYS
from tests.worlds import Clock
from web.app import build_web
from web.channel import PageChannel
from web.pages import WebSettings
from web.visitor import address_of

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Stand:
    """A channel, and somebody at the other end of it."""

    channel: Channel
    address: str
    writes: Callable[[str], Awaitable[None]]
    reads: Callable[[], Awaitable[list[str]]]


@asynccontextmanager
async def telegram(sessions: Sessions, clock: Clock, folder: Path, store: Any) -> AsyncIterator[Stand]:
    async with FakeBotApi() as api:
        lan = api.person(11)

        async def writes(text: str) -> None:
            lan.sends(text)

        async def reads() -> list[str]:
            return [message.text for message in lan.inbox]

        yield Stand(TelegramChannel(api.token, api_url=api.url, poll_seconds=1), "11", writes, reads)


@asynccontextmanager
async def page(sessions: Sessions, clock: Clock, folder: Path, store: Any) -> AsyncIterator[Stand]:
    settings = WebSettings(unit_name="Công an Phường 2")
    channel = PageChannel(sessions, clock=clock, settings=settings)
    app = build_web(
        sessions=sessions,
        routes=channel.routes(store, lambda: None),
        health=dict,
        settings=settings,
        registry=CollectorRegistry(),
    )
    transport, origin = httpx.ASGITransport(app), "http://test"
    async with httpx.AsyncClient(transport=transport, base_url=origin, headers={"Origin": origin}) as browser:
        assert (await browser.get("/")).status_code == 200

        async def writes(text: str) -> None:
            answer = await browser.post("/api/text", json={"text": text, "nonce": str(uuid4())})
            assert answer.status_code == 200

        async def reads() -> list[str]:
            messages = (await browser.get("/api/messages")).json()["messages"]
            return [message["text"] for message in messages if message["from"] == "bot" and not message["deleted"]]

        yield Stand(channel, address_of(browser.cookies["by_chat"]), writes, reads)


@asynccontextmanager
async def mail(sessions: Sessions, clock: Clock, folder: Path, store: Any) -> AsyncIterator[Stand]:
    channel, lan = MailDrop(sessions, folder, clock=clock), "lan@ward.example"

    async def writes(text: str) -> None:
        channel.writes(lan, text, str(uuid4()))

    async def reads() -> list[str]:
        return channel.reads(lan)

    yield Stand(channel, lan, writes, reads)


STANDS = {"telegram": telegram, "web": page, "mail": mail}


@pytest.fixture
def sessions(sqlite_engine):
    return Sessions(sqlite_engine, KEYS)


@pytest.fixture
def failing():
    """As many failures as are put in here, one for each time that updates are stored."""
    return []


@pytest.fixture
def store(sessions, clock, failing, request):
    incoming = InboundStore(sessions, clock)

    async def store(updates: list[Json]) -> None:
        if failing:
            raise failing.pop()
        await incoming.store(request.node.callspec.params["stand"], updates)

    return store


@pytest.fixture(params=STANDS)
async def stand(request, sessions, clock, tmp_path, store):
    async with STANDS[request.param](sessions, clock, tmp_path / "channel", store) as made:
        await made.channel.start()
        yield made
        made.channel.let_go()
        await made.channel.close()


@asynccontextmanager
async def receiving(channel: Channel, store: Any) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(channel.receive(store))
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def stored(sessions: Sessions, name: str, count: int) -> list[Json]:
    """The updates that wait, once there are so many."""
    async with asyncio.timeout(10):
        while True:
            async with sessions.reading() as session:
                found = await waiting_updates(session, {name: ""}, chats=10, each=10)
            if len(found) >= count:
                return [dict(waiting.raw or {}) for waiting in found]
            await asyncio.sleep(0.02)


async def test_its_name_is_its_lines_and_fit_for_an_address(stand, request):
    line = stand.channel.line()

    assert stand.channel.name == line.name == request.node.callspec.params["stand"]
    assert line.name.isalpha() and line.name.islower()
    chat = Recipient(line.name, stand.address)
    assert Recipient.parse(str(chat)) == chat


async def test_what_somebody_writes_waits_once_with_their_address_on_it(stand, sessions, store):
    async with receiving(stand.channel, store):
        await stand.writes("một")
        await stand.writes("hai")
        updates = await stored(sessions, stand.channel.name, 2)

    assert sorted(update["message"]["text"] for update in updates) == ["hai", "một"]
    assert {str(update["message"]["chat"]["id"]) for update in updates} == {stand.address}
    assert len({update["update_id"] for update in updates}) == 2


async def test_what_was_not_stored_is_brought_again(stand, sessions, store, failing):
    failing.append(OSError("disk full"))
    async with receiving(stand.channel, store):
        await stand.writes("một")
        (update,) = await stored(sessions, stand.channel.name, 1)

    assert update["message"]["text"] == "một"


async def test_it_is_well_while_it_receives_and_receives_until_it_is_told_to_stop(stand, store):
    async with receiving(stand.channel, store) as task:
        async with asyncio.timeout(10):
            while stand.channel.health.trouble:  # noqa: ASYNC110 (it is well in its own time)
                await asyncio.sleep(0.01)
        assert not task.done()
        task.cancel()
        _, pending = await asyncio.wait([task], timeout=1)

    assert not pending


async def test_what_is_sent_arrives(stand):
    line = stand.channel.line()
    await line.bot.initialize()

    sent = await sender_of(stand.channel).send(stand.address, Outgoing("Chào chị Lan"), callback_data={})

    assert sent.message_id
    assert await stand.reads() == ["Chào chị Lan"]


async def test_erasing_a_chat_that_never_was_and_forgetting_nothing_do_no_harm(stand, sessions, clock):
    await sender_of(stand.channel).send(stand.address, Outgoing("Chào chị Lan"), callback_data={})

    async with sessions.begin() as session:
        await stand.channel.erase(session, Recipient(stand.channel.name, "nobody@ward.example"))
        await stand.channel.forget(session, now=clock() + timedelta(days=1))

    assert await stand.reads() == ["Chào chị Lan"]


async def test_what_is_erased_is_not_kept_with_us(stand, sessions):
    await sender_of(stand.channel).send(stand.address, Outgoing("Chào chị Lan"), callback_data={})

    async with sessions.begin() as session:
        await stand.channel.erase(session, Recipient(stand.channel.name, stand.address))

    keeps_its_own = stand.channel.name == "telegram"
    assert await stand.reads() == (["Chào chị Lan"] if keeps_its_own else [])


async def no_media(media_id: int) -> Any:
    raise LookupError(media_id)


def sender_of(channel: Channel) -> Sender:
    line = channel.line()
    return Sender(line.bot, line.capabilities, no_media, plain)


# --- the list ---


def everything(sessions: Sessions, clock: Clock) -> list[Channel]:
    settings = Settings(
        bot_token="123456789:AAbbccdd",
        telegram_mode="webhook",
        webhook_secret="s3cret",
        public_url="https://ward.example",
    )  # type: ignore[arg-type]
    return channels_of(settings, sessions, clock, Metrics())


async def test_no_two_channels_share_a_name_or_a_route(sessions, clock, store_nothing):
    channels = everything(sessions, clock)
    routes = [
        (route.path, method)  # type: ignore[attr-defined]
        for channel in channels
        for route in channel.routes(store_nothing, lambda: None)
        for method in route.methods  # type: ignore[attr-defined]
    ]

    assert len({channel.name for channel in channels}) == len(channels)
    assert len(set(routes)) == len(routes)


def test_every_channel_of_the_list_passes_the_contract(sessions, clock):
    assert {channel.name for channel in everything(sessions, clock)} <= STANDS.keys()


@pytest.fixture
def store_nothing():
    async def store(updates: list[Json]) -> None:
        raise AssertionError(updates)

    return store
