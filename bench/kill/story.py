"""Who does what: owners enrol, officers write notices, citizens report, and others confirm, take and approve."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any

from bench.botapi.messages import Message
from bench.botapi.server import FakeBotApi
from bench.kill.people import Stuck, Villager
from bench.kill.ward import ADMIN, CITIZENS, CONNECTED, DUTY, FRONT, OWNERS, SILENT, WRITERS
from bench.kill.wording import about, label

#: How many are in the middle of something at any time. Two notices are more than enough to send.
_OWNERS_AT_ONCE, _WRITERS_AT_ONCE, _CITIZENS_AT_ONCE = 3, 2, 3
#: How long somebody waits for an answer after the last kill before they count as left alone, seconds.
PATIENCE = 60.0


class Story:
    """Who does what. Every word is said once in a chat, so that whatever comes twice came twice for no reason."""

    def __init__(self, api: FakeBotApi, chance: Random) -> None:
        self.api = api
        self.chance = chance
        self.counts: Counter[str] = Counter()
        #: What each citizen wrote, by the receipt code they were given.
        self.receipts: dict[str, tuple[str, str]] = {}
        #: Everybody who handed a report in, by what they wrote; and every owner who enrolled, by the name of the place.
        self.handed_in: set[tuple[str, str]] = set()
        self.enrolled: dict[str, str] = {}
        self._closing = False
        self._gives_up_at = float("inf")
        self._broken: list[str] = []

    def closes(self) -> None:
        """Nobody begins anything new."""
        self._closing = True
        self._gives_up_at = time.monotonic() + PATIENCE

    async def unfold(self) -> list[str]:
        """Everybody acts until `closes`, and gets through; returns who did not."""
        for_ever = [self._silent(number) for number in range(CONNECTED)]
        for_ever += [self._watches(DUTY, "button.take"), self._watches(DUTY + 1, "button.take")]
        for_ever += [self._watches(ADMIN, "button.approve")]
        standing = [asyncio.create_task(one) for one in for_ever]
        try:
            await asyncio.gather(
                self._one_after_another(self._enrols, _OWNERS_AT_ONCE),
                self._one_after_another(self._writes, _WRITERS_AT_ONCE),
                self._one_after_another(self._reports, _CITIZENS_AT_ONCE),
            )
        finally:
            for task in standing:
                task.cancel()
            await asyncio.gather(*standing, return_exceptions=True)
        return self._broken

    async def _one_after_another(self, act: Callable[[int], Coroutine[Any, Any, None]], at_once: int) -> None:
        numbers = iter(range(WRITERS if act == self._writes else 10**6))

        async def go_on() -> None:
            while not self._closing and (number := next(numbers, None)) is not None:
                await self._pause(0.5)
                try:
                    await act(number)
                except Stuck as error:
                    self._broken.append(f"left alone: {error}")

        await asyncio.gather(*(go_on() for _ in range(at_once)))

    async def _enrols(self, number: int) -> None:
        name, owner = f"Nhà nghỉ số {number}", self._person(OWNERS + number)
        owner.sends("/dangky")
        asked, _ = await owner.hears("enrol.ask_kind")
        owner.presses_on(asked, label("kind.guesthouse"))
        for key, said in (("name", name), ("address", f"{number} Phan Đình Phùng"), ("phone", "0912 345 678")):
            await owner.hears(f"enrol.ask_{key}")
            await self._pause(0.2)
            owner.sends(said)
        asked, _ = await owner.hears("enrol.consent")
        owner.presses_on(asked, label("button.agree"))
        _, found = await owner.hears("enrol.sent", name=name)
        self.enrolled[name] = found["code"]
        await owner.hears("enrol.approved", name=name)
        self.counts["enrolments"] += 1

    async def _writes(self, number: int) -> None:
        writer = self._person(FRONT + number)
        writer.sends("/soan")
        await writer.hears("compose.ask_text")
        writer.sends(f"Thông báo thứ {number}: khoá cửa sau 22 giờ.")
        for key, pressed in (
            ("compose.ask_file", label("button.skip")),
            ("compose.ask_audience", ""),
            ("compose.ask_response", label("response.confirm")),
            ("compose.ask_when", label("button.send_now")),
            ("compose.preview", label("button.send")),
        ):
            asked, _ = await writer.hears(key)
            writer.presses_on(asked, pressed)
        await writer.hears("progress.sent")
        self.counts["notices"] += 1

    async def _reports(self, number: int) -> None:
        citizen = self._person(CITIZENS + number)
        words = (f"Việc thứ {number}: phá khoá xe", f"ở hẻm {number}, vừa xong")
        citizen.sends(words[0])
        asked, _ = await citizen.hears("offer.report")
        citizen.presses_on(asked, label("button.report"))
        await citizen.hears("report.ready", n="1")
        await self._pause(0.3)
        citizen.sends(words[1])
        asked, _ = await citizen.hears("report.ready", n="2")
        self.handed_in.add(words)
        citizen.presses_on(asked, label("button.send"))
        _, receipt = await citizen.hears("report.receipt")
        self.receipts[receipt["code"]] = words
        await citizen.hears("report.taken")
        citizen.sends(f"/tracuu {receipt['code']}")
        await citizen.hears("track.taken")
        self.counts["reports"] += 1

    async def _silent(self, number: int) -> None:
        """Somebody who only confirms, most of the time."""
        owner, done = self._person(SILENT + number), set[str]()
        while True:
            shown = await self._next(owner, label("button.received"), done)
            await self._pause(0.5)
            if self.chance.random() < 0.5 and shown.data(label("button.received")):
                owner.presses_on(shown, label("button.received"))

    async def _watches(self, chat: int, key: str) -> None:
        """An officer who presses whatever asks for it, once for each report or place."""
        officer, done = self._person(chat), set[str]()
        while True:
            shown = await self._next(officer, label(key), done)
            await self._pause(0.3)
            if shown.data(label(key)):
                officer.presses_on(shown, label(key))

    async def _next(self, person: Villager, wanted: str, done: set[str]) -> Message:
        """Wait for a message with a certain button about something new."""

        def find() -> Message | None:
            news = (shown for shown in person.inbox if shown.data(wanted))
            return next((shown for shown in news if about(shown.history[0]) not in done), None)

        found: Message = await self.api.until(find, None)
        done.add(about(found.history[0]))
        return found

    def _person(self, chat: int) -> Villager:
        return Villager(self.api, chat, patience=lambda: self._gives_up_at - time.monotonic())

    async def _pause(self, most: float) -> None:
        await asyncio.sleep(self.chance.uniform(0, most))
