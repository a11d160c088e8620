"""A flood: nobody waits for it, nothing of it is lost, and what is urgent comes first.

| attack | what holds |
|---|---|
| one account sends hundreds of messages | another one's first message is next |
| thirty accounts ask for help without end | whoever reads each answer before going on reports within seconds |
| thirty accounts send reports without end | an urgent one of somebody new reaches the officer within seconds |
| the same, all of them marked urgent | each account goes ahead of others twice in ten minutes |
| messages without end in one report | one report, every word, few answers |
| updates that break whoever reads them | parked with one alarm, content kept for days |
| the store fails while it pours | order in a chat and acting once survive |
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from bot.house import House
from channels.memory import MemoryGateway
from channels.port import Limits, Recipient
from db.engine import Sessions
from db.tables.inbound import InboundUpdate
from db.tables.officers import Role
from db.tables.reports import Report, ReportState
from deliveries.dispatch import Dispatcher
from deliveries.pace import Pace
from handlers.bursts import AT_ONCE
from reports.digest import FEW
from reports.forwarding import read_report
from tests.bot.test_inbox import UNREADABLE, words
from tests.conftest import KEYS, NOW
from tests.factories import Factory
from tests.worlds import Clock
from unit.policy import Policy

OFFICER = Recipient("telegram", "900")
ACCOUNTS = range(1, 31)


class Town:
    """A house at Telegram's limits, on a clock of its own: time passes only when somebody waits for it."""

    def __init__(self, sessions: Sessions) -> None:
        self.clock = Clock(NOW)
        self.seconds = 0.0
        self.telegram = MemoryGateway(name="telegram", clock=self.clock)
        limits = Limits(per_second=30, per_chat_second=1, per_group_minute=20)
        self.telegram.limits = limits
        self.house = House(sessions, self.clock, Policy(unit_name="Công an phường 2"), [self.telegram])
        sender = self.house.dispatchers["telegram"]._sender
        self.dispatcher = Dispatcher(
            sessions, "telegram", sender, Pace(limits), self.clock, slots=64, monotonic=lambda: self.seconds
        )
        self.numbers = itertools.count(1)

    async def arrives(self, *said: tuple[int, str]) -> None:
        """Messages come in, and act."""
        await self.house.store("telegram", [words(next(self.numbers), chat, text) for chat, text in said])
        await self.house.inbox.drain()

    async def passes(self, seconds: float, step: float = 0.25) -> None:
        """Time passes, and what may be sent is sent."""
        for _ in range(round(seconds / step)):
            self.seconds += step
            self.clock.advance(seconds=step)
            await self.dispatcher_works()
            await self.house.jobs.second()

    async def dispatcher_works(self) -> None:
        """Everything that may leave by now, leaves."""
        while True:
            self.dispatcher._next_claim = float("-inf")
            claimed = await self.dispatcher._turn()
            if self.dispatcher._under_way:
                await asyncio.wait(self.dispatcher._under_way)
            elif not claimed and not self.dispatcher._outcomes:
                return

    def shown(self, chat: Recipient | int) -> list[str]:
        """What somebody got."""
        address = chat.address if isinstance(chat, Recipient) else str(chat)
        return [message.text for message in self.telegram.chats[address] if message.from_bot]


@asynccontextmanager
async def town_on(sessions: Sessions) -> Any:
    town = Town(sessions)
    await town.house.start()
    officer = await Factory(sessions, NOW).officer(OFFICER, Role.DUTY)
    await Factory(sessions, NOW).shift(officer)
    try:
        yield town
    finally:
        await town.house.stop()


@pytest.fixture
async def town(sqlite_engine) -> Any:
    async with town_on(Sessions(sqlite_engine, KEYS)) as opened:
        yield opened


def cycle(number: int, *, urgent: bool = False) -> Iterator[str]:
    """What an account of a flood writes to hand in one report."""
    yield "/baotin"
    yield f"chuyện bịa số {number}"
    if urgent:
        yield "Đang xảy ra"
    yield "Gửi"


async def pours(town: Town, seconds: int, *, urgent: bool = False) -> None:
    """A thousand messages a minute from thirty accounts, in turns."""
    writing: dict[int, Iterator[str]] = {account: iter(()) for account in ACCOUNTS}
    account_of = itertools.cycle(ACCOUNTS)
    for _ in range(seconds):
        said = []
        for account in itertools.islice(account_of, 17):
            text = next(writing[account], None)
            if text is None:
                writing[account] = cycle(next(town.numbers), urgent=urgent)
                text = next(writing[account])
            said.append((account, text))
        await town.arrives(*said)
        await town.passes(1)


async def reports_urgently(town: Town, chat: int, text: str) -> float:
    """Somebody new reports something urgent; seconds until the officer sees it."""
    for said in ("/baotin", text, "Đang xảy ra", "Gửi"):
        await town.arrives((chat, said))
    began = town.seconds
    while not any(text in shown for shown in town.shown(OFFICER)):
        assert town.seconds - began < 300, "it never came"
        await town.passes(0.25)
    return town.seconds - began


async def test_an_account_with_hundreds_of_messages_does_not_stand_in_the_way_of_another(town: Town):
    acted: list[int] = []
    act = town.house.applications["telegram"].process_update

    async def noted(update: Any) -> None:
        await act(update)
        acted.append(update.effective_chat.id)

    town.house.applications["telegram"].process_update = noted  # type: ignore[method-assign]
    await town.arrives(*[(1, f"lũ {number}") for number in range(300)], (2, "/khancap"))

    assert acted.index(2) <= 8
    assert Counter(acted) == {1: 300, 2: 1}


@pytest.mark.timeout(600)
async def test_an_urgent_report_reaches_the_officer_within_seconds(town: Town):
    await pours(town, 40)
    waited = await reports_urgently(town, 500, "cướp ở cầu Mới")
    assert waited <= 10, waited
    cards = [shown for shown in town.shown(OFFICER) if "chuyện bịa" in shown]
    assert len(cards) <= FEW

    async with town.house.sessions.reading() as session:
        received = (await session.scalars(select(Report).where(Report.state == ReportState.RECEIVED))).all()
    assert len(received) > 150, "nothing of the flood was thrown away"
    assert f"{len(received) - 1} tin báo đang chờ" in "\n".join(town.shown(OFFICER))


async def test_whoever_reads_each_answer_reports_urgently_among_accounts_that_ask_without_end(town: Town):
    await town.arrives(*((account, "/trogiup") for _ in range(33) for account in ACCOUNTS))
    began = town.seconds
    for said in ("/baotin", "cướp ở cầu Mới", "Đang xảy ra", "Gửi"):
        heard = len(town.shown(500))
        await town.arrives((500, said))
        while len(town.shown(500)) == heard:
            await town.passes(0.1, step=1 / 30)
    while not any("cướp ở cầu Mới" in shown for shown in town.shown(OFFICER)):
        await town.passes(0.1, step=1 / 30)

    assert town.seconds - began <= 10, town.seconds - began


async def test_a_burst_becomes_one_report_with_every_word_and_few_answers(town: Town):
    said = [f"câu {number}" for number in range(80)]
    await town.arrives((7, "/baotin"), *((7, text) for text in said))
    await town.passes(30)

    assert len(town.shown(7)) <= AT_ONCE + 3
    async with town.house.sessions.reading() as session:
        (report,) = (await session.scalars(select(Report))).all()
        assert "\n".join((await read_report(session, report)).texts).split("\n") == said


async def test_poisoned_updates_are_parked_with_one_alarm_each_and_hold_nobody_up(sessions, caplog):
    async with town_on(sessions) as town:

        async def at_once(_seconds: float) -> None:
            pass

        town.house.inbox._sleep = at_once
        poison: list[dict[str, Any]] = [
            {"update_id": 1, "message": UNREADABLE},
            {"update_id": 2, "message": {"message_id": 1, "date": 10**30, "chat": {"id": 666, "type": "private"}}},
            {"update_id": 3, "callback_query": {"id": 1, "from": {"id": 666}, "data": []}},
            {"update_id": 4, "message": "words"},
            {"update_id": 5, "message": [[[[]]]]},
        ]
        await town.house.store("telegram", [*poison, words(100, 666, "/khancap"), words(101, 5, "/khancap")])
        await town.house.inbox.drain()
        await town.passes(3)

        assert any("113" in shown for shown in town.shown(666))
        assert any("113" in shown for shown in town.shown(5))
        async with sessions.reading() as session:
            kept = (await session.scalars(select(InboundUpdate))).all()
        assert 1 <= len(kept) <= len(poison) and all(row.payload for row in kept)


async def test_order_in_a_chat_and_acting_once_hold_while_the_store_fails(sqlite_engine):
    class Shaky(Sessions):
        count = 0

        @asynccontextmanager
        async def begin(self):
            async with super().begin() as session:
                yield session
                Shaky.count += 1
                if Shaky.count % 7 == 0:
                    raise OperationalError("COMMIT", {}, OSError("gone"))

    async with town_on(Sessions(sqlite_engine, KEYS)) as town:
        shaky = Shaky(sqlite_engine, KEYS)
        inbox = town.house.inbox
        services = town.house.applications["telegram"].bot_data["services"]
        town.house.applications["telegram"].bot_data["services"] = replace(services, sessions=shaky)

        async def at_once(_seconds: float) -> None:
            await asyncio.sleep(0)

        inbox._sleep = at_once
        await town.arrives(*((chat, "/baotin") for chat in (1, 2)))
        await town.arrives(*((chat, f"câu {number}") for number in range(10) for chat in (1, 2)))

        async with town.house.sessions.reading() as session:
            bodies = [await read_report(session, report) for report in await session.scalars(select(Report))]
    assert [list(body.texts) for body in bodies] == [[f"câu {number}" for number in range(10)]] * 2
    assert Shaky.count > 20
