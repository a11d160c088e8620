"""How soon an urgent report reaches the officer on duty while thirty accounts write a thousand messages a minute."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any

from bench.botapi.meter import Arrivals
from bench.inbound import update, working_house
from bench.tools import FIRST_CHAT, Result, Run, ledger, now
from bot.house import House
from channels.envelope import ApiRefusal, Params
from channels.memory import MemoryGateway
from channels.port import Limits
from channels.shapes import Upload
from db.engine import Sessions
from db.tables.officers import Officer, OfficerChat, Role, Shift

_ACCOUNTS, _A_MINUTE = 30, 999
_OFFICER, _REPORTER = 1, FIRST_CHAT + 5000
#: What Telegram lets through: messages a second in all, and to one chat.
_RATE, _CHAT_RATE = 30, 1
_SENDS = ("sendMessage", "editMessageText")
_GOAL = 10.0
#: How long one waits for a report that does not come, seconds.
_PATIENCE = 300.0
#: What an account of the flood writes, again and again: a report with one line.
_CYCLE = ("/baotin", "Có người gây mất trật tự, số {number}", "Gửi")


def flood(run: Run) -> Iterator[Result]:
    """Seconds from the press of *Gửi* until the officer's phone shows it; strict limits, real time."""
    path = run.folder / "flood.db"
    waits, counts = asyncio.run(_flood(path, run.size(60, 20), run.size(5, 2)))
    worst = max(waits)
    measured = f"{worst:.1f} s at worst, {median(waits):.1f} s mostly"
    yield Result("urgent report in 999 messages a minute", measured, f"≤ {_GOAL:.0f} s", worst <= _GOAL)
    told = ", ".join(f"{number} {what}" for what, number in counts.items())
    yield Result("", told)


class StrictTelegram(MemoryGateway):
    """Telegram in memory, which refuses what comes faster than it says."""

    def __init__(self) -> None:
        super().__init__(name="telegram")
        self.all = Arrivals(_RATE)

    async def answer(self, method: str, params: Params, files: Mapping[str, Upload]) -> Any:
        if method in _SENDS and (missing := self.all.take(time.monotonic())):
            raise ApiRefusal(429, "Too Many Requests", retry_after=int(missing) + 1)
        return await super().answer(method, params, files)


async def _flood(path: Path, seconds: float, urgent: int) -> tuple[list[float], dict[str, int]]:
    telegram = StrictTelegram()
    limits = Limits(per_second=_RATE, per_chat_second=_CHAT_RATE, per_group_minute=20)
    async with ledger(path) as sessions:
        await _put_on_duty(sessions)
        async with working_house(sessions, limits, telegram) as house, house.running():
            numbers = itertools.count(1)
            writing = asyncio.create_task(_write(house, numbers))
            waits = []
            for number in range(urgent):
                await asyncio.sleep(seconds / urgent)
                waits.append(await _report(house, telegram, numbers, number))
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
        shown = len([one for one in telegram.chats[str(_OFFICER)] if one.from_bot])
        counts = {"messages written": next(numbers) - 1, "messages to the officer": shown}
        return waits, counts | {"messages sent": telegram.all.accepted, "refused": telegram.all.refused}


async def _write(house: House, numbers: Iterator[int]) -> None:
    """The flood, at an even pace, in batches as a poll brings them."""
    began = time.monotonic()
    for written in itertools.count():
        due = began + written * 60 / _A_MINUTE
        if (wait := due - time.monotonic()) > 0:
            await asyncio.sleep(wait)
        account, step = written % _ACCOUNTS, written // _ACCOUNTS % len(_CYCLE)
        number = next(numbers)
        await house.store("telegram", [update(number, _CYCLE[step].format(number=number), FIRST_CHAT + account)])


async def _report(house: House, telegram: StrictTelegram, numbers: Iterator[int], nth: int) -> float:
    """Somebody who has never written before reports something urgent; how long until the officer sees it."""
    words = f"Cướp ngay lúc này, vụ {nth}"
    for text in ("/baotin", words, "Đang xảy ra"):
        await house.store("telegram", [update(next(numbers), text, _REPORTER + nth)])
    began = time.monotonic()
    await house.store("telegram", [update(next(numbers), "Gửi", _REPORTER + nth)])
    while time.monotonic() - began < _PATIENCE:
        if any(words in message.text for message in telegram.chats[str(_OFFICER)]):
            return time.monotonic() - began
        await asyncio.sleep(0.02)
    return _PATIENCE


async def _put_on_duty(sessions: Sessions) -> None:
    at = now()
    async with sessions.begin() as session:
        officer = Officer(name="Cán bộ trực", role=Role.DUTY, created_at=at)
        session.add(officer)
        await session.flush()
        session.add(OfficerChat(officer_id=officer.id, channel="telegram", address=str(_OFFICER)))
        session.add(Shift(officer_id=officer.id, starts_at=at, ends_at=at + timedelta(hours=12)))
