"""Threat: whoever holds connections, or is slow on purpose, keeps everybody else out, and the house from its work.

Promises: web connections never take the descriptors that Telegram and the database need; whoever only holds a place
gives way to whoever asks something; heads and bodies have deadlines and a least rate; events are for everybody.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import resource
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from channels.web.hub import Hub
from conversations.inbound import store_updates, waiting_updates
from db.engine import Sessions
from tests.conftest import KEYS
from tests.processes import running, settings_for, sqlite_url, url_of
from tests.serving import NOW, STRANGER, Wire, browser, says, serving, until, uploads, wires
from web.limits import Limits
from web.visitor import _READING

#: What is not answered by then counts as not answered.
_BOUND = 5.0
SMALL = Limits(connections=40)
HASTY = Limits(connections=40, head_seconds=0.4, idle_seconds=0.8, window_seconds=0.4)
UPDATE = {"update_id": 7, "message": {"message_id": 1, "date": 1, "chat": {"id": 5, "type": "private"}, "text": "x"}}


@contextmanager
def open_files(soft: int) -> Iterator[None]:
    """Set how many files this process, and those it starts meanwhile, may have open."""
    before, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < soft:
        pytest.skip(f"this machine allows {hard} open files, and the test needs {soft}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (before, hard))


@pytest.fixture
def sessions(sqlite_engine):
    """What is asked here is asked before any database; the one test with a process of its own says it of both."""
    return Sessions(sqlite_engine, KEYS)


# --- 1,000 held connections ---


async def test_a_thousand_held_connections_stop_neither_the_web_nor_telegram(api, tmp_path):
    await _holds(api, tmp_path, sqlite_url(tmp_path))


async def test_nor_where_the_database_is_connections_as_well(api, tmp_path, postgresql_engine):
    await _holds(api, tmp_path, url_of(postgresql_engine))


async def _holds(api, tmp_path, database_url) -> None:
    settings = settings_for(api, database_url, admins="900") | {"LOG_LEVEL": "INFO"}
    async with AsyncExitStack() as stack:
        with open_files(256):  # the bot's; ours are many
            bot = await stack.enter_async_context(running(tmp_path, settings, fresh=True))
        with open_files(4096):
            said_before = len(bot.output.splitlines())
            await stack.enter_async_context(wires(bot.port, 1000))

            began = time.monotonic()
            async with browser(bot.port) as lan:
                assert await says(lan, "Có khói ở tầng ba") == 200
                assert (await lan.get("/healthz")).text == "ok"
                assert (await lan.get("/readyz")).status_code == 200
            assert time.monotonic() - began < _BOUND

            citizen = api.person(77)
            citizen.sends("/trogiup")
            await citizen.sees("113", within=_BOUND)

            lines = bot.output.splitlines()[said_before:]
            assert len(lines) < 20, bot.output
            assert sum("web_connections_full" in line for line in lines) == 1
        assert await bot.terminates() == 0


@pytest.mark.parametrize("holder", ["127.0.0.1", STRANGER])
async def test_whoever_only_holds_a_place_gives_way_to_whoever_asks(sessions, holder):
    async with serving(sessions, limits=SMALL) as server, wires(server.port, 200, of=holder):
        async with asyncio.timeout(_BOUND), browser(server.port, of="127.0.0.3") as lan:
            assert await says(lan, "một") == 200
            async with sessions.begin() as session:
                await store_updates(session, "telegram", [UPDATE], now=NOW)
        async with sessions.reading() as session:
            stored = await waiting_updates(session, {"telegram": "", "web": ""}, chats=10, each=10)
        assert sorted(waiting.channel for waiting in stored) == ["telegram", "web"]


async def test_one_client_cannot_take_all_connections(sessions):
    async with (
        serving(sessions, limits=SMALL) as server,
        wires(server.port, 39, of=STRANGER),
        wires(server.port, 1, of="127.0.0.3") as (other,),
    ):
        assert await other.is_open()
        assert len(server._server.server_state.connections) <= SMALL.requests_per_client + 1


async def test_whoever_is_being_told_of_news_does_not_give_way(sessions):
    async with (
        serving(sessions, limits=SMALL) as server,
        browser(server.port, of="127.0.0.3") as lan,
        lan.stream("GET", "/api/events") as answer,
    ):
        pieces = answer.aiter_bytes()
        assert b"retry" in await anext(pieces)
        async with wires(server.port, 200), asyncio.timeout(_BOUND):
            assert await says(lan, "còn đó") == 200
            heard = b""
            while "còn đó" not in heard.decode("utf-8", "ignore"):
                heard += await anext(pieces)


async def test_without_descriptors_it_says_so_once_and_goes_on_when_there_are_some(sessions, caplog):
    async with serving(sessions, limits=SMALL) as server:
        async with browser(server.port) as lan, AsyncExitStack() as stack:
            callers = [stack.enter_context(socket.socket()) for _ in range(200)]
            # Nothing more can be opened until the limit is back.
            stack.enter_context(open_files(_next_descriptor()))
            for caller in callers:
                caller.setblocking(False)
                caller.connect_ex(("127.0.0.1", server.port))
            await until(lambda: caplog.records)
            for number in range(5):
                assert await says(lan, f"vẫn ghi được {number}") == 200
        assert [record.getMessage() for record in caplog.records] == ["web_accept_failed: Too many open files"]
        async with asyncio.timeout(_BOUND), browser(server.port) as lan:
            assert await says(lan, "lại vào được") == 200


def _next_descriptor() -> int:
    with open(os.devnull, "rb") as file:
        return file.fileno()


# --- slow on purpose ---


@pytest.mark.parametrize("before", [b"", b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"])
async def test_a_head_that_never_ends_is_cut(sessions, before):
    async with serving(sessions, limits=HASTY) as server, wires(server.port, 1) as (wire,):
        if before:
            await wire.write(before)
            assert b"200 OK" in await wire.read()
        dripping = asyncio.create_task(_drips(wire, b"GET / HTTP/1.1\r\nHost: x\r\n", b"X-A: b\r\n"))
        assert await wire.is_cut(within=_BOUND)
        dripping.cancel()


async def test_a_connection_that_says_nothing_is_cut(sessions):
    async with serving(sessions, limits=HASTY) as server, wires(server.port, 1) as (wire,):
        assert await wire.is_cut(within=_BOUND)


async def _drips(wire: Wire, first: bytes, drop: bytes) -> None:
    await wire.write(first)
    while True:
        await asyncio.sleep(0.05)
        await wire.write(drop)


def _post(lan: httpx.AsyncClient, path: str, length: int, kind: str = "multipart/form-data; boundary=b") -> bytes:
    cookies = "; ".join(f"{name}={value}" for name, value in lan.cookies.items())
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: http://127.0.0.1\r\nCookie: {cookies}\r\n"
        f"Content-Type: {kind}\r\nContent-Length: {length}\r\n\r\n"
    )
    return head.encode()


_FILE = b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'


@pytest.mark.parametrize("path", ["/api/file", "/api/text", "/nothing"])
async def test_a_body_that_drips_is_cut(sessions, path):
    async with (
        serving(sessions, limits=HASTY) as server,
        browser(server.port) as lan,
        wires(server.port, 1) as (wire,),
    ):
        kind = "application/json" if path == "/api/text" else "multipart/form-data; boundary=b"
        dripping = asyncio.create_task(_drips(wire, _post(lan, path, 60_000, kind), b" "))
        assert await wire.is_cut(within=_BOUND)
        dripping.cancel()


async def test_a_body_that_is_merely_slow_arrives(sessions):
    async with serving(sessions, limits=HASTY) as server, browser(server.port) as lan:
        fields = (
            b'\r\n--b\r\nContent-Disposition: form-data; name="kind"\r\n\r\ndocument\r\n--b\r\n'
            b'Content-Disposition: form-data; name="nonce"\r\n\r\n' + str(uuid4()).encode() + b"\r\n--b--\r\n"
        )
        pieces = [_FILE, *[b"x" * 1000] * 10, fields]
        async with wires(server.port, 1) as (wire,):
            await wire.write(_post(lan, "/api/file", sum(map(len, pieces))))
            for piece in pieces:  # about 10 KiB a second, over several windows
                await wire.write(piece)
                await asyncio.sleep(0.1)
            assert b"200 OK" in await wire.read()


async def test_nobody_is_cut_because_we_do_not_read(sessions):
    """While nothing is taken from a connection, nothing can come in on it."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def busy(request):
        begun.set()
        await go_on.wait()
        return PlainTextResponse(str(len(await request.body())))

    async with (
        serving(sessions, limits=HASTY, more_routes=[Route("/busy", busy, methods=["POST"])]) as server,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}") as lan,
    ):
        sending = asyncio.create_task(lan.post("/busy", content=b"x" * 10_000_000))
        await begun.wait()
        await asyncio.sleep(HASTY.window_seconds * 4)
        go_on.set()
        assert (await sending).text == "10000000"


async def _file_of(lan: httpx.AsyncClient, size: int) -> bytes:
    """Store a file; the request that asks for it."""
    answer = await lan.post(
        "/api/file", data={"kind": "document", "nonce": str(uuid4())}, files={"file": ("x", b"x" * size)}
    )
    file_id = answer.json()["message"]["files"][0]["id"]
    cookies = "; ".join(f"{name}={value}" for name, value in lan.cookies.items())
    return f"GET /api/files/{file_id} HTTP/1.1\r\nHost: x\r\nCookie: {cookies}\r\n\r\n".encode()


async def test_one_client_cannot_have_us_hold_file_after_file(sessions):
    limits = Limits(buffered=60 * 2**20, buffered_per_client=40 * 2**20)
    async with (
        serving(sessions, limits=limits) as server,
        browser(server.port) as lan,
        browser(server.port, of=STRANGER) as other,
        wires(server.port, 3) as opened,
    ):
        asks = await _file_of(lan, 16 * 2**20)
        heard = []
        for wire in opened:
            await wire.write(asks)
            heard.append((await wire.read(12)).decode())
        assert heard == ["HTTP/1.1 200", "HTTP/1.1 200", "HTTP/1.1 429"]
        async with wires(server.port, 1, of=STRANGER) as (late,):
            await late.write(await _file_of(other, 16 * 2**20))
            assert (await late.read(12)).decode() == "HTTP/1.1 200"
        await opened[0].close()
        await until(lambda: len(server._server.server_state.connections) <= 4)
        async with wires(server.port, 1) as (again,):
            await again.write(asks)
            assert (await again.read(12)).decode() == "HTTP/1.1 200"


async def test_whoever_does_not_read_an_answer_is_cut(sessions):
    async with serving(sessions, limits=HASTY) as server, browser(server.port) as lan:
        asks = await _file_of(lan, 16 * 2**20)
        async with wires(server.port, 1) as (wire,):
            await wire.write(asks)
            await until(lambda: not server._server.server_state.connections)
            assert len(await _all(wire)) < 16 * 2**20


async def _all(wire: Wire) -> bytes:
    found = b""
    while piece := await wire.read():
        found += piece
    return found


async def test_slow_uploads_hold_no_place(sessions):
    async with (
        serving(sessions) as server,
        browser(server.port) as lan,
        browser(server.port, of=STRANGER) as other,
        wires(server.port, 15) as slow,
    ):
        for wire in slow:
            await wire.write(_post(lan, "/api/file", 20_000_000) + _FILE + b"x" * 1000)
        assert all([await wire.is_open() for wire in slow])
        async with asyncio.timeout(_BOUND):
            assert await uploads(other, b"x" * 5_000_000) == 200
            assert await uploads(lan, b"x" * 5_000_000) == 200


async def test_what_slow_uploads_have_brought_makes_room_for_others(sessions):
    limits = Limits(connections=40, window_seconds=0.5, buffered=4_000_000, buffered_per_client=3_000_000)
    async with serving(sessions, limits=limits) as server, AsyncExitStack() as stack:
        for number in range(2, 5):  # three visitors fill the room, and go on as slowly as is allowed
            lan = await stack.enter_async_context(browser(server.port, of=f"127.0.0.{number}"))
            (wire,) = await stack.enter_async_context(wires(server.port, 1, of=f"127.0.0.{number}"))
            await wire.write(_post(lan, "/api/file", 20_000_000) + _FILE + b"x" * 1_300_000)
            dripping = asyncio.create_task(_drips(wire, b"", b"x" * 10000))
            stack.callback(dripping.cancel)
        async with asyncio.timeout(_BOUND), browser(server.port, of="127.0.0.9") as other:
            await asyncio.sleep(limits.window_seconds)  # so long every body is left alone
            assert await uploads(other, b"x" * 2_000_000) == 200


async def test_one_client_cannot_fill_the_memory_for_files(sessions):
    limits = Limits(connections=40, buffered=4_000_000, buffered_per_client=2_000_000)
    async with serving(sessions, limits=limits) as server, browser(server.port, of=STRANGER) as lan:
        assert await uploads(lan, b"x" * 2_100_000) == 429
        assert await uploads(lan, b"x" * 1_900_000) == 200


async def test_one_visitor_behind_a_proxy_cannot_have_all_requests_under_way(sessions):
    """Behind a proxy each of them is one of our connections, and they all come from the same address."""
    limits, go_on = Limits(connections=80), asyncio.Event()
    asked = 0

    async def waits(request):
        nonlocal asked
        asked += 1
        await go_on.wait()
        return PlainTextResponse("")

    async with (
        serving(sessions, limits=limits, more_routes=[Route("/waits", waits)]) as server,
        browser(server.port) as lan,
        wires(server.port, limits.requests_per_client) as held,
    ):
        for wire in held:
            await wire.write(b"GET /waits HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 203.0.113.5\r\n\r\n")
        await until(lambda: asked == len(held))
        assert await says(lan, "một", headers={"X-Forwarded-For": "203.0.113.5"}) == 429
        assert await says(lan, "hai", headers={"X-Forwarded-For": "203.0.113.6"}) == 200
        assert (await lan.get("/healthz", headers={"X-Forwarded-For": "203.0.113.5"})).text == "ok"
        go_on.set()


# --- pages that are told of news ---


async def test_one_client_cannot_take_all_streams(sessions):
    limits = Limits(connections=80)
    async with serving(sessions, limits=limits) as server, AsyncExitStack() as stack:
        statuses = []
        for _ in range(limits.streams_per_client + 3):  # a chat of its own each: one has six pages at most anyway
            lan = await stack.enter_async_context(browser(server.port))
            answer = await stack.enter_async_context(lan.stream("GET", "/api/events"))
            statuses.append(answer.status_code)
        assert statuses == [200] * limits.streams_per_client + [429] * 3

        other = await stack.enter_async_context(browser(server.port, of=STRANGER))
        answer = await stack.enter_async_context(other.stream("GET", "/api/events"))
        assert answer.status_code == 200


async def test_streams_leave_connections_for_those_who_ask(sessions):
    limits = Limits(connections=24)
    async with serving(sessions, limits=limits) as server, AsyncExitStack() as stack:
        statuses = []
        for number in range(30):
            lan = await stack.enter_async_context(browser(server.port, of=f"127.0.1.{number + 1}"))
            answer = await stack.enter_async_context(lan.stream("GET", "/api/events"))
            statuses.append(answer.status_code)
        assert statuses.count(200) == limits.streams
        async with asyncio.timeout(_BOUND), browser(server.port, of="127.0.2.1") as late:
            assert await says(late, "vẫn gửi được") == 200


async def test_a_closed_page_gives_its_place_back(sessions):
    limits, hub = Limits(connections=32), Hub()
    async with serving(sessions, limits=limits, hub=hub) as server, browser(server.port) as lan:
        for _ in range(limits.streams_per_client * 3):
            await until(lambda: hub.open_streams == 0)
            async with lan.stream("GET", "/api/events") as answer:
                assert answer.status_code == 200
                await anext(answer.aiter_bytes())


async def test_pages_that_hang_up_at_once_write_no_log_and_lose_no_connection(engine, caplog):
    """At whatever moment: before the answer, between two reads of the database, in the middle of one."""
    caplog.set_level(logging.INFO)
    sessions, hub = Sessions(engine, KEYS), Hub()
    async with serving(sessions, hub=hub) as server, browser(server.port, of=STRANGER) as lan:
        assert await says(lan, "một") == 200
        steps = Steps(engine)
        async with lan.stream("GET", "/api/events") as answer:
            heard = b""
            async for piece in answer.aiter_bytes():
                heard += piece
                if "một" in heard.decode("utf-8", "ignore"):
                    break
        for step in [*range(1, steps.taken + 1)] * 3:
            await until(lambda: hub.open_streams == 0)
            async with wires(server.port, 1, of=STRANGER) as (wire,):
                hung_up = steps.then(step, wire._writer.transport.abort)
                await wire.write(_get(lan, "/api/events"))
                await asyncio.wait_for(hung_up.wait(), _BOUND)
        await until(lambda: hub.open_streams == 0 and not _READING and not sessions._closing)
        assert await says(lan, "hai") == 200
        await until(lambda: engine.pool.checkedout() == 0)
    gc.collect()
    await asyncio.sleep(0)  # what was collected is said in the next turn of the loop
    assert [record.getMessage() for record in caplog.records if record.levelno > logging.INFO] == []


class Steps:
    """What the database does for whoever asks: a connection is taken, a statement begins, ends, it is given back."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.taken = 0
        self._at = 0
        self._act: Callable[[], object] = bool
        self._done = asyncio.Event()
        for name in ("checkout", "before_cursor_execute", "after_cursor_execute", "checkin"):
            event.listen(engine.sync_engine, name, self._step)

    def then(self, step: int, act: Callable[[], object]) -> asyncio.Event:
        """Do something at the step with this number, counted from now; the event says that it is done."""
        self.taken, self._at, self._act, self._done = 0, step, act, asyncio.Event()
        return self._done

    def _step(self, *_about: object) -> None:
        self.taken += 1
        if self.taken == self._at:
            self._act()
            self._done.set()


def _get(lan: httpx.AsyncClient, path: str) -> bytes:
    cookies = "; ".join(f"{name}={value}" for name, value in lan.cookies.items())
    return f"GET {path} HTTP/1.1\r\nHost: x\r\nCookie: {cookies}\r\n\r\n".encode()


# --- what strangers write is no news ---


async def test_malformed_requests_write_no_log(sessions, caplog):
    caplog.set_level(logging.WARNING)
    rubbish = [b"\x16\x03\x01\x02\x00", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"x" * 70_000, b"\x00" * 10]
    rubbish.append(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    rubbish.append(b"POST /api/text HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
    async with serving(sessions, limits=SMALL) as server:
        for _ in range(3):
            async with wires(server.port, len(rubbish)) as opened:
                for wire, said in zip(opened, rubbish, strict=True):
                    await wire.write(said)
                    await wire.read()
        async with browser(server.port) as lan:
            assert await says(lan, "một") == 200
    assert [record.getMessage() for record in caplog.records] == []
