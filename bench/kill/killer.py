"""Who kills: the bot that is started and dies, and what was in flight when it did."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from base64 import b64encode
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from statistics import median

from sqlalchemy import select

from bench.botapi.server import FakeBotApi
from bench.kill.story import PATIENCE
from bench.kill.ward import ADMIN, KEY, alone
from bench.nursery import Child, Nursery
from db.engine import Sessions
from db.tables.deliveries import Delivery, DeliveryState

#: Messages a second: slow enough that a notice is under way most of the time.
_RATE = 40


@dataclass
class Toll:
    """What came of it."""

    seed: int
    kills: int = 0
    hits: int = 0
    in_doubt: int = 0
    marked: int = 0
    restarts: list[float] = field(default_factory=list)
    seconds: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        done = ", ".join(f"{number} {what}" for what, number in sorted(self.counts.items()))
        return (
            f"seed {self.seed}: {self.kills} kills, {self.hits} with sends in flight ({self.in_doubt} sends, "
            f"{self.marked} sent again and marked), {done}; "
            f"a restart {median(self.restarts):.2f} s, all {self.seconds:.0f} s"
        )


class Bot:
    """The bot on a database: one at a time."""

    def __init__(self, nursery: Nursery, folder: Path, settings: dict[str, str], log: int) -> None:
        self._nursery = nursery
        self._folder = folder
        self._settings = settings
        self._log = log
        self._child: Child | None = None

    def starts(self) -> None:
        """Start it."""
        env = {"PATH": os.environ.get("PATH", ""), **self._settings}
        self._child = self._nursery.start("bot", "run", folder=self._folder, env=env, out=self._log, err=self._log)

    async def dies(self, how: signal.Signals = signal.SIGKILL) -> int:
        """End it; returns its exit code (minus the signal) once it is gone, 0 when it was never started."""
        if self._child is None:
            return 0
        self._child.send_signal(how)
        return await self._child.wait()


@asynccontextmanager
async def bot_on(database_url: str, api: FakeBotApi, folder: Path) -> AsyncIterator[Bot]:
    """A bot to be started on a database; at the end nothing is left running."""
    settings = {
        "BOT_TOKEN": api.token,
        "TELEGRAM_API_URL": api.url,
        "DATABASE_URL": database_url,
        "SECRET_KEY": b64encode(KEY).decode(),
        "ADMIN_IDS": str(ADMIN),
        "RATE_TELEGRAM": str(_RATE),
        "WEB_PORT": "0",
    }
    nursery = Nursery()
    with (folder / "bot.log").open("ab") as log:
        bot = Bot(nursery, folder, settings, log.fileno())
        try:
            yield bot
        finally:
            await bot.dies()
            nursery.close()


class Killer:
    """Kills, looks at what was in flight, starts again, and looks whether that is listed."""

    def __init__(self, bot: Bot, api: FakeBotApi, sessions: Sessions, chance: Random, toll: Toll) -> None:
        self._bot = bot
        self._api = api
        self._sessions = sessions
        self._chance = chance
        self._toll = toll
        self._in_flight: set[int] = set()

    async def kill(self, times: int) -> None:
        """Start and kill that often; then start once more."""
        for _ in range(times):
            # Now and then while it starts, else while it works.
            if self._chance.random() < 0.15:
                self._bot.starts()
                await asyncio.sleep(self._chance.uniform(0, max(self._toll.restarts, default=1)))
            else:
                await self._start()
                await asyncio.sleep(self._chance.uniform(0, 1.2))
            await self._bot.dies()
            self._toll.kills += 1
            await self._look()
        await self._start()

    async def rest(self) -> None:
        """Wait until nothing waits to be sent, and ask the bot to end: it must do so in time and leave nothing open."""
        left, since = -1, time.monotonic()
        while waiting := len(await self._rows(DeliveryState.PENDING, DeliveryState.SENDING)):
            if waiting != left:
                left, since = waiting, time.monotonic()
            if time.monotonic() - since > PATIENCE:
                self._toll.violations.append(f"{waiting} messages are never sent")
                break
            await asyncio.sleep(0.2)
        began = time.monotonic()
        code = await self._bot.dies(signal.SIGTERM)
        if code != 0 or time.monotonic() - began > 10:
            self._toll.violations.append(f"SIGTERM: code {code} after {time.monotonic() - began:.1f} s")

    async def _start(self) -> None:
        polls, began = self._api.updates.polls, time.monotonic()
        self._bot.starts()
        try:
            await self._api.until(lambda: self._api.updates.polls > polls, 30)
        except TimeoutError:
            self._toll.violations.append("did not start within 30 s")
        self._toll.restarts.append(time.monotonic() - began)
        await self._check_listed()

    async def _look(self) -> None:
        """What was in flight at the kill. Edits may be repeated, so they need not be listed."""
        await alone(self._sessions)
        in_flight = set(await self._rows(DeliveryState.SENDING))
        self._in_flight |= in_flight
        self._toll.hits += bool(in_flight)
        self._toll.in_doubt += len(in_flight)

    async def _check_listed(self) -> None:
        async with self._sessions.reading() as session:
            rows = (
                await session.execute(
                    select(Delivery.id, Delivery.state, Delivery.reason).where(Delivery.id.in_(self._in_flight))
                )
            ).all()
        listed = {row.id for row in rows if row.state is DeliveryState.UNKNOWN or row.reason == "proved_by_button"}
        if missing := self._in_flight - listed:
            states = [(row.id, row.state, row.reason) for row in rows if row.id in missing]
            self._toll.violations.append(f"in flight at the kill and not listed as unknown: {missing} {states}")
        self._in_flight.clear()

    async def _rows(self, *states: DeliveryState) -> list[int]:
        """New messages (no edits) in one of the states, and when waiting, due."""
        async with self._sessions.reading() as session:
            return list(
                await session.scalars(select(Delivery.id).where(Delivery.state.in_(states), Delivery.edits.is_(None)))
            )
