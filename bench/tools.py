"""What measurements share: their results, a server beside them, a ledger to send from, fresh processes."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import bindparam, text
from telegram import Bot

from channels.port import Capabilities, Limits, Media, Outgoing, Sent
from channels.sender import Sender
from channels.telegram.channel import TelegramChannel
from db import tables as tables  # all of them, for create_all
from db.base import Base, Instant
from db.engine import Sessions, make_engine
from db.sealing import KEY_BYTES, KeyRing
from deliveries.dispatch import Dispatcher
from deliveries.ledger import open_content
from deliveries.pace import Pace

ROOT = Path(__file__).resolve().parent.parent
TOKEN = "123456789:bench-token-of-nobody"  # noqa: S105 - nobody's
#: What everybody sends: two sentences, one of them bold, as a notice is.
HTML = "<b>Thông báo số 12</b>\nTối nay 20:00 kiểm tra phòng cháy chữa cháy tại khu phố 3, đề nghị cơ sở có mặt."
NOTICE = Outgoing(
    "Thông báo số 12\nTối nay 20:00 kiểm tra phòng cháy chữa cháy tại khu phố 3, đề nghị cơ sở có mặt.",
    entities=({"type": "bold", "offset": 0, "length": 15},),
)
#: Chats are numbered from here, so that none is asked for twice and none looks like a group.
FIRST_CHAT = 1_000_000
UNLIMITED = Limits()


@dataclass(frozen=True, slots=True)
class Result:
    """One line of what was measured. `is_met` is None where there is no goal, only a number."""

    name: str
    measured: str
    goal: str = ""
    is_met: bool | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """How thoroughly to measure, and a folder that is deleted afterwards."""

    quick: bool
    folder: Path

    def size(self, full: int, quick: int) -> int:
        """How many messages, rows or repetitions."""
        return quick if self.quick else full

    @property
    def repetitions(self) -> int:
        """Of everything that is compared; the median counts."""
        return 1 if self.quick else 3


Bench = Callable[[Run], Iterator[Result]]


@dataclass(frozen=True, slots=True)
class BenchServer:
    """A `bench.botapi.fast` in a process of its own."""

    port: int

    @property
    def url(self) -> str:
        """The root of its Bot API."""
        return f"http://127.0.0.1:{self.port}"

    def stats(self) -> dict[str, float]:
        """What it received since `reset`."""
        stats: dict[str, float] = self._get("/stats")
        return stats

    def reset(self) -> None:
        """Start counting from nothing, with an empty window."""
        self._get("/reset")

    def _get(self, path: str) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path)
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()


@contextmanager
def python(
    *arguments: str, folder: Path | None = None, env: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """A fresh Python of ours with its output to be read; ended with the block."""
    process = subprocess.Popen(  # noqa: S603 - our own interpreter and modules
        [sys.executable, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})},
    )
    with process:
        try:
            yield process
        finally:
            process.terminate()


@contextmanager
def serving(*, rate: int | None = None, latency: float = 0.0) -> Iterator[BenchServer]:
    """A Bot API server; `rate` bounds any sliding second."""
    limit = [] if rate is None else ["--rate", str(rate)]
    with python("-m", "bench.botapi.fast", *limit, "--latency", str(latency)) as process:
        assert process.stdout is not None  # noqa: S101 - a pipe was asked for
        yield BenchServer(int(process.stdout.readline()))


def now() -> datetime:
    """The time, aware UTC."""
    return datetime.now(UTC)


@asynccontextmanager
async def ledger(path: Path) -> AsyncIterator[Sessions]:
    """The database at `path`, with all tables. Its key is no secret: another process opens it again."""
    engine = make_engine(f"sqlite+aiosqlite:///{path}")
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    try:
        yield Sessions(engine, KeyRing([bytes(KEY_BYTES)]))
    finally:
        await engine.dispose()


_FILL = text(
    "INSERT INTO deliveries (key, origin, content_id, channel, address, address_sealed, passing, lane, state,"
    " attempts, opened_at)"
    " WITH RECURSIVE numbers(number) AS (SELECT 0 UNION ALL SELECT number + 1 FROM numbers WHERE number < :count - 1)"
    " SELECT :run || number, 'bench', :content, 'telegram', CAST(:first + number AS TEXT), 0, 0, 3, 'pending', 0,"
    " :now FROM numbers"
).bindparams(bindparam("now", type_=Instant()))


async def fill(sessions: Sessions, count: int, outgoing: Outgoing = NOTICE) -> None:
    """Queue the same message for `count` chats, each with a row of its own, as opening a broadcast does."""
    async with sessions.begin() as session:
        content = await open_content(session, outgoing, origin="bench", now=now())
        values = {"count": count, "run": secrets.token_hex(4), "content": content, "first": FIRST_CHAT, "now": now()}
        await session.execute(_FILL, values)


async def _no_media(media_id: int) -> Media:
    raise LookupError(media_id)


Load = Callable[[int], Awaitable[Media]]


class CountingSender(Sender):
    """A Sender that says when it has got through `expected` times."""

    def __init__(self, bot: Bot, load: Load) -> None:
        super().__init__(bot, Capabilities(), load, lambda language, key: key)
        self._missing = 0
        self._done = asyncio.Event()

    def expect(self, count: int) -> None:
        """Count from here."""
        self._missing = count
        self._done.clear()

    async def done(self) -> None:
        """Return when all that was expected has been sent."""
        await self._done.wait()

    async def send(self, *args: Any, **options: Any) -> Sent:
        """Send, and count what got through."""
        sent = await super().send(*args, **options)
        self._missing -= 1
        if self._missing <= 0:
            self._done.set()
        return sent


class Ours:
    """Our way out: ledger, dispatcher, pace and sender, put together as the application does."""

    def __init__(
        self, sessions: Sessions, server: BenchServer, limits: Limits, slots: int, load: Load = _no_media
    ) -> None:
        self._sessions = sessions
        self._load = load
        self._limits = limits
        self._slots = slots
        self._channel = TelegramChannel(TOKEN, api_url=server.url)

    async def __aenter__(self) -> Ours:
        await self._channel.bot.initialize()
        self._sender = CountingSender(self._channel.bot, self._load)
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self._channel.close()

    async def send(self, count: int) -> None:
        """Send `count` messages that wait in the ledger, and settle them."""
        self._sender.expect(count)
        dispatcher = Dispatcher(self._sessions, "telegram", self._sender, Pace(self._limits), now, slots=self._slots)
        running = asyncio.create_task(dispatcher.run())
        await self._sender.done()
        dispatcher.stop()
        await running


def telegram_limits(**changes: float | None) -> Limits:
    """The limits the Telegram channel states, with some changed."""
    return replace(TelegramChannel(TOKEN).limits, **changes)


async def at_once(count: int, workers: int, send: Callable[[int], Awaitable[object]]) -> None:
    """Call `send` for `count` chats, `workers` at a time, without a task for each."""
    chats = iter(range(FIRST_CHAT, FIRST_CHAT + count))

    async def work() -> None:
        for chat in chats:
            await send(chat)

    await asyncio.gather(*(work() for _ in range(workers)))


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="binhyen-bench-") as folder:
        yield Path(folder)


def child(run: Run, *arguments: str) -> dict[str, float]:
    """What `python -m bench.process …` measured of itself, in a fresh process."""
    with python("-m", "bench.process", *arguments, folder=run.folder) as process:
        out, _ = process.communicate(timeout=900)
    if process.returncode:
        raise RuntimeError(f"{arguments[0]} ended with {process.returncode}")
    found: dict[str, float] = json.loads(out.splitlines()[-1])
    return found
