"""A relay that plays Bot API (TELEGRAM_API_URL, or whoever sits in between) tries to make us read what is not its own.

| promise | test |
|---|---|
| nothing is read from our disk | `..._path_of_our_own_disk...` |
| no other address is spoken to | `..._no_other_address...` |
| a small answer does not swell | `..._swells...`, `..._endless...` |
| who sent the file hears why it did not come | `..._told_...` |
"""

from __future__ import annotations

import asyncio
import gzip
from typing import Any

import pytest
from aiohttp import web
from telegram import Update

from bench.botapi.faults import Fault
from bench.botapi.server import FakeBotApi
from channels.api import CannotFetch, checked_path, fetch_file
from channels.telegram.channel import TelegramChannel
from db.engine import Sessions
from handlers.context import Services
from handlers.incoming import fetch_file as fetch_for
from tests.conftest import KEYS
from texts.refusal import Refusal
from unit.policy import Policy

SECRET = b"a2V5IG9mIHRoZSB0ZXN0cywgdGhpcnR5IHR3byBieXQ="
LIMIT = 20 * 1024 * 1024


class Relay(FakeBotApi):
    """Answers `getFile` with whatever path it likes, and downloads with whatever it likes."""

    path: str | Any = None
    describes: dict[str, Any] | None = None
    body: bytes | None = None
    headers: dict[str, str] = {}  # noqa: RUF012 (set by tests)

    def __init__(self) -> None:
        super().__init__(rate=None)
        self.downloads: list[str] = []

    async def _get_file(self, parameters, files):
        answer = await super()._get_file(parameters, files)
        return {**answer, **({"file_path": self.path} if self.path is not None else {}), **(self.describes or {})}

    async def on_download(self, request):
        self.downloads.append(request.raw_path)
        if self.body is not None:
            return web.Response(body=self.body, headers=self.headers)
        return await super().on_download(request)


@pytest.fixture
async def relay():
    async with Relay() as server:
        yield server


@pytest.fixture
async def bot(relay):
    channel = TelegramChannel(relay.token, api_url=relay.url)
    await channel.start()
    yield channel.bot
    await channel.close()


@pytest.fixture
def services(sqlite_engine, clock):
    return Services(Sessions(sqlite_engine, KEYS), clock, Policy(unit_name="Công an Phường 2"))


@pytest.fixture
def secret_file(tmp_path):
    path = tmp_path / "secret.key"
    path.write_bytes(SECRET)
    return path


def a_file(relay: Relay, content: bytes = b"%PDF-1.4 x") -> str:
    return str(relay.person(11).sends_document(content).api["document"]["file_id"])


TRICKS = [
    "{path}",
    "/{path}",
    "file://{path}",
    "//127.0.0.1{path}",
    "..{path}",
    "../../..{path}",
    "photos/../../../../../..{path}",
    "photos/..",
    ".",
    "..\\..\\secret.key",
    "C:\\binhyen\\data\\secret.key",
    "C:/binhyen/data/secret.key",
    "%2e%2e/%2e%2e{path}",
    "photos/%2e%2e%2fsecret.key",
    "photos%00/../secret.key",
    "photos/\x00secret.key",
    "photos/x\n",
    "photos//secret.key",
    "photos/secret.key/",
    "~/secret.key?x",
    "photos/x#y",
    "https://127.0.0.1:1/photos/x",
    "photos/．．/secret.key",
    "x" * 600,
    "",
    7,
    ["photos/x"],
    {"a": 1},
]


@pytest.mark.parametrize("trick", TRICKS)
async def test_a_path_of_our_own_disk_is_not_read_whatever_getfile_answers(relay, bot, secret_file, trick):
    relay.path = trick.format(path=secret_file) if isinstance(trick, str) and "{path}" in trick else trick

    with pytest.raises(CannotFetch) as refused:
        await fetch_file(bot, a_file(relay), limit=LIMIT)

    assert refused.value.reason == "refused"
    assert relay.downloads == [], "nothing is even asked for"


async def test_no_path_at_all_is_refused(relay, bot):
    relay.describes = {"file_path": None}

    with pytest.raises(CannotFetch):
        await fetch_file(bot, a_file(relay), limit=LIMIT)


@pytest.mark.parametrize("path", ["photos/file_0.jpg", "documents/báo cáo (2).pdf", "f", "a/b/c..d/e.tar.gz"])
def test_ordinary_paths_are_taken(path):
    assert checked_path(path) == path


async def test_an_ordinary_path_is_asked_of_the_server_below_file_and_bot(relay, bot):
    relay.path, relay.body = "documents/a b.pdf", b"%PDF"

    assert await fetch_file(bot, a_file(relay), limit=LIMIT) == b"%PDF"

    assert relay.downloads == [f"/file/bot{relay.token}/documents/a%20b.pdf"]


async def test_no_other_address_is_spoken_to_by_address_or_redirect(relay, bot):
    reached: list[str] = []

    async def elsewhere(request):
        reached.append(request.path)
        return web.Response(body=SECRET)

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", elsewhere)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    other = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        relay.path = f"{other}/x"
        with pytest.raises(CannotFetch):
            await fetch_file(bot, a_file(relay), limit=LIMIT)
        relay.path = None

        async def redirect(request):
            raise web.HTTPFound(f"{other}/x")

        relay.on_download = redirect  # type: ignore[method-assign]
        await relay.stop()
        await relay.start(relay.port)
        with pytest.raises(CannotFetch):
            await fetch_file(bot, a_file(relay), limit=LIMIT, sleep=lambda _: asyncio.sleep(0))
    finally:
        await runner.cleanup()

    assert reached == []


async def test_a_small_answer_that_swells_when_unpacked_is_taken_as_it_came(relay, bot):
    relay.body = gzip.compress(bytes(200 * 1024 * 1024), 6)
    relay.headers = {"Content-Encoding": "gzip"}

    content = await fetch_file(bot, a_file(relay), limit=LIMIT)

    assert len(content) == len(relay.body) < 1024 * 1024


async def test_an_endless_answer_is_cut_off(relay, bot):
    sent = 0

    async def endless(request):
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        while sent < 10 * LIMIT:
            await response.write(bytes(256 * 1024))
            sent += 256 * 1024
        return response

    relay.on_download = endless  # type: ignore[method-assign]
    await relay.stop()
    await relay.start(relay.port)

    with pytest.raises(CannotFetch) as refused:
        await fetch_file(bot, a_file(relay), limit=LIMIT)

    assert refused.value.reason == "too_big"
    assert sent < 2 * LIMIT


async def test_a_file_described_as_too_big_is_not_asked_for(relay, bot):
    relay.describes = {"file_size": LIMIT + 1}

    with pytest.raises(CannotFetch) as refused:
        await fetch_file(bot, a_file(relay), limit=LIMIT)

    assert refused.value.reason == "too_big"
    assert not relay.downloads


# --- what the person is told, and what is tried again ---


def message_with_a_file(relay: Relay, bot) -> Any:
    raw = {"update_id": 1, "message": relay.person(11).sends_document(b"%PDF-1.4 x").api}
    update = Update.de_json(raw, bot)
    assert update is not None
    return update.message


def refusal(code: int, description: str, **more: Any) -> dict[str, Any]:
    import json

    return {"code": code, "body": json.dumps({"ok": False, "error_code": code, "description": description, **more})}


@pytest.mark.parametrize(
    ("answer", "key"),
    [
        (refusal(400, "Bad Request: file is too big"), "media.too_big"),
        (refusal(400, "Bad Request: wrong file_id or the file is temporarily unavailable"), "media.not_given"),
        (refusal(400, "Bad Request: invalid file_id"), "media.not_given"),
    ],
)
async def test_whoever_sent_it_is_told_why_a_file_never_comes_and_it_is_not_asked_for_again(
    relay, bot, services, answer, key
):
    relay.faults.append(Fault("getFile", "refuse", times=9, **answer))

    with pytest.raises(Refusal) as refused:
        await fetch_for(message_with_a_file(relay, bot), services)

    assert refused.value.key == key
    assert [method for method, _ in relay.calls].count("getFile") == 1


async def test_whoever_sent_it_is_told_when_a_relay_offers_a_path_of_ours(relay, bot, services, secret_file):
    relay.path = str(secret_file)

    with pytest.raises(Refusal) as refused:
        await fetch_for(message_with_a_file(relay, bot), services)

    assert refused.value.key == "media.not_given"


@pytest.mark.parametrize("kind", ["refuse", "cut_before"])
async def test_a_gateway_error_is_tried_again_and_the_file_comes(relay, bot, kind):
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    relay.faults.append(Fault("getFile", kind, times=2))

    assert await fetch_file(bot, a_file(relay), limit=LIMIT, sleep=sleep) == b"%PDF-1.4 x"

    assert waits == sorted(waits) and len(waits) == 2


async def test_a_429_is_obeyed_exactly_and_the_file_comes(relay, bot):
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    slow = refusal(429, "Too Many Requests: retry after 7", parameters={"retry_after": 7})
    relay.faults.append(Fault("getFile", "refuse", **slow))

    assert await fetch_file(bot, a_file(relay), limit=LIMIT, sleep=sleep) == b"%PDF-1.4 x"

    assert waits == [7]


async def test_an_outage_is_given_up_in_the_end(relay, bot):
    relay.faults.append(Fault("getFile", "refuse", times=99))

    with pytest.raises(CannotFetch) as refused:
        await fetch_file(bot, a_file(relay), limit=LIMIT, sleep=lambda _: asyncio.sleep(0))

    assert refused.value.reason == "unreachable"
    assert [method for method, _ in relay.calls].count("getFile") == 3
