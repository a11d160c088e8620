"""The real thing: `python -m bot run` in a process of its own, with an environment of its own."""

from __future__ import annotations

import asyncio
import atexit
import json
import os
import re
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import aiohttp
from sqlalchemy.ext.asyncio import AsyncEngine

from bench.botapi.news import News
from bench.botapi.server import FakeBotApi
from bench.nursery import Child, Nursery, lines_of

ROOT = Path(__file__).resolve().parent.parent
SECRET_KEY = "a2V5IG9mIHRoZSB0ZXN0cywgdGhpcnR5IHR3byBieXQ="
_LISTENING = re.compile(r"\blistening\b.*?\bport\W+(\d+)")


class BotProcess:
    """A bot that runs, and what it says. Everything it writes to stdout or stderr is kept in `output`."""

    def __init__(self, process: asyncio.subprocess.Process | Child, pipes: Sequence[AsyncIterator[bytes]]) -> None:
        self.process = process
        self.port = 0
        self._lines: list[str] = []
        self._said = News()
        self._readers = asyncio.gather(*(self._read(pipe) for pipe in pipes))
        self._readers.add_done_callback(lambda _: self._said.happened())

    @property
    def output(self) -> str:
        """All it has written."""
        return "".join(self._lines)

    @property
    def url(self) -> str:
        """The root of its web server."""
        return f"http://127.0.0.1:{self.port}"

    async def says(self, pattern: str, within: float = 20.0) -> re.Match[str]:
        """Wait until `pattern` is in the output; AssertionError when it is not in time, or the process has ended."""
        with suppress(TimeoutError):
            await self._said.until(lambda: re.search(pattern, self.output) or self._readers.done(), within)
        found = re.search(pattern, self.output)
        assert found, f"{pattern!r} is not in:\n{self.output}"
        return found

    async def listens(self) -> None:
        """Wait until its web server takes connections."""
        self.port = int((await self.says(_LISTENING.pattern))[1])

    async def readiness(self) -> tuple[int, dict[str, Any]]:
        """The answer of `/readyz`: status and checks."""
        async with aiohttp.ClientSession() as session, session.get(f"{self.url}/readyz") as answer:
            return answer.status, json.loads(await answer.text())["checks"]

    async def becomes(self, ready: bool, within: float = 20.0) -> dict[str, Any]:
        """Wait until `/readyz` says that it is (not) ready; returns the checks."""
        ends_at = time.monotonic() + within
        while True:
            status, checks = await self.readiness()
            if (status == 200) is ready:
                return checks
            assert time.monotonic() < ends_at, f"/readyz says {status} {checks}\n{self.output}"
            await asyncio.sleep(0.05)

    async def ends(self, within: float = 40.0) -> int:
        """Wait for its end; returns the exit code."""
        code = await asyncio.wait_for(self.process.wait(), within)
        await self._readers
        return code

    async def terminates(self, within: float = 10.0) -> int:
        """Ask it to end, as systemd does; returns the exit code, or TimeoutError."""
        self.process.send_signal(signal.SIGTERM)
        return await self.ends(within)

    async def dies(self) -> None:
        """`kill -9`."""
        self.process.kill()
        await self.ends()

    async def _read(self, pipe: AsyncIterator[bytes]) -> None:
        async for line in pipe:
            self._lines.append(line.decode("utf-8", "replace"))
            self._said.happened()


@asynccontextmanager
async def starting(
    folder: Path, settings: Mapping[str, str], *command: str, module: str = "bot", fresh: bool = False
) -> AsyncIterator[BotProcess]:
    """`python -m <module> <command>` ("run" without one) in `folder`, with these settings and nothing else of ours.

    Args:
        fresh: Start an interpreter, and not a fork of one that has imported everything: 2 s of CPU more. For what
            is about the start itself, and for limits that a process inherits from this one.
    """
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    env = {**inherited, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **settings}
    start = _executed if fresh or not hasattr(os, "fork") else _forked
    bot = await start(folder, env, module, command or ("run",))
    try:
        yield bot
    except BaseException:
        sys.stdout.write(bot.output)  # pytest shows it with the failure
        raise
    finally:
        if bot.process.returncode is None:
            await bot.dies()


async def _executed(folder: Path, env: Mapping[str, str], module: str, command: Sequence[str]) -> BotProcess:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, *command),
        cwd=folder,
        env=env,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=2**20,
    )
    return BotProcess(process, [pipe for pipe in (process.stdout, process.stderr) if pipe is not None])


async def _forked(folder: Path, env: Mapping[str, str], module: str, command: Sequence[str]) -> BotProcess:
    (out, writes_out), (err, writes_err) = os.pipe(), os.pipe()
    try:
        child = _nursery().start(module, *command, folder=folder, env=env, out=writes_out, err=writes_err)
    finally:
        os.close(writes_out)
        os.close(writes_err)
    return BotProcess(child, [lines_of(out), lines_of(err)])


@cache
def _nursery() -> Nursery:
    """One for the whole run (of each worker)."""
    nursery = Nursery()
    atexit.register(nursery.close)
    return nursery


@asynccontextmanager
async def running(folder: Path, settings: Mapping[str, str], *, fresh: bool = False) -> AsyncIterator[BotProcess]:
    """A bot whose web server takes connections."""
    async with starting(folder, settings, fresh=fresh) as bot:
        await bot.listens()
        yield bot


def settings_for(api: FakeBotApi, database_url: str, *, admins: str, webhook: bool = False) -> dict[str, str]:
    """The settings of a bot on a fake Telegram; everything it logs is heard."""
    chosen = {
        "BOT_TOKEN": api.token,
        "TELEGRAM_API_URL": api.url,
        "DATABASE_URL": database_url,
        "SECRET_KEY": SECRET_KEY,
        "ADMIN_IDS": admins,
        "UNIT_NAME": "Công an Phường 2",
        "WEB_PORT": "0",
        "LOG_LEVEL": "DEBUG",
    }
    if webhook:
        port = free_port()
        chosen |= {
            "TELEGRAM_MODE": "webhook",
            "WEBHOOK_SECRET": "s3cret_-",
            "PUBLIC_URL": f"http://127.0.0.1:{port}",
            "WEB_PORT": str(port),
        }
    return chosen


def sqlite_url(folder: Path) -> str:
    """A database file of its own."""
    return f"sqlite+aiosqlite:///{folder / 'binhyen.db'}"


def url_of(engine: AsyncEngine) -> str:
    """The address of a database that is open here."""
    return engine.url.render_as_string(hide_password=False)


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
