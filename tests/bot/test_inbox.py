"""What is stored acts once, whatever fails on the way, and nobody waits for somebody else's flood."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import delete, func, select
from sqlalchemy.exc import OperationalError
from structlog.testing import capture_logs
from telegram import Update
from telegram.ext import CommandHandler, TypeHandler

from bot.inbox import Inbox
from conversations.inbound import (
    ATTEMPTS,
    InboundStore,
    count_waiting,
    find_left_over,
    forget_updates,
    store_updates,
    waiting_updates,
)
from db.engine import Sessions
from db.sealing import KeyRing
from db.tables.deliveries import Delivery
from db.tables.inbound import InboundUpdate, SeenUpdate
from handlers.context import Slots
from tests.conftest import KEYS, NOW
from tests.worlds import World, open_world

UNREADABLE = {"message_id": "not a number", "date": {}, "chat": {"id": 666, "type": "private"}}


def words(update_id: int, chat: int, text: str = "/khancap") -> dict[str, Any]:
    """Somebody writes."""
    person = {"id": chat, "is_bot": False, "first_name": "Lan", "language_code": "vi"}
    message: dict[str, Any] = {"message_id": update_id, "date": 1_790_000_000, "text": text, "from": person}
    message["chat"] = {"id": chat, "type": "private", "first_name": "Lan"}
    if text.startswith("/"):
        message["entities"] = [{"type": "bot_command", "offset": 0, "length": len(text)}]
    return {"update_id": update_id, "message": message}


def nobody_wants(update_id: int, chat: int) -> dict[str, Any]:
    """Something no handler takes: a message that was edited."""
    message = words(update_id, chat)["message"]
    return {"update_id": update_id, "edited_message": {**message, "edit_date": 1_790_000_000}}


class Acting:
    """What an application is given, in order; `fails` says what comes of an update that breaks."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.seen: list[tuple[int, str]] = []
        self.fails: dict[str, list[Exception]] = {}
        self.gates: dict[str, asyncio.Event] = {}
        self.begun: list[str] = []
        self.application = world.house.applications["telegram"]
        self.application.handlers.clear()
        self.application.add_handler(TypeHandler(Update, self._act))

    async def _act(self, update: Update, context: Any) -> None:
        message = update.effective_message
        assert message is not None and update.effective_chat is not None
        text = message.text or ""
        self.begun.append(text)
        if failures := self.fails.get(text):
            raise failures.pop(0)
        if text in self.gates:
            await self.gates[text].wait()
        async with context.begin(update) as turn:
            await turn.say("talk.cancelled")
        self.seen.append((update.effective_chat.id, text))

    async def stored(self, *updates: dict[str, Any]) -> None:
        await self.world.house.store("telegram", updates)


def slots_of(world: World) -> Slots:
    """The places at work that the handlers know."""
    slots: Slots = world.house.applications["telegram"].bot_data["services"].slots
    return slots


@asynccontextmanager
async def at_work(world: World, sleep: Any = asyncio.sleep):
    """An inbox that runs until the block ends."""
    inbox = Inbox(world.sessions, world.house.applications, slots=slots_of(world), sleep=sleep)
    running = asyncio.create_task(inbox.run())
    try:
        yield inbox
    finally:
        inbox.stop()
        await running


@asynccontextmanager
async def killed(world: World):
    """An inbox that is torn away in the middle."""
    inbox = Inbox(world.sessions, world.house.applications, slots=Slots())
    running = asyncio.create_task(inbox.run())
    yield
    tasks = [running, *(chat.task for chat in inbox._chats.values())]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def until(condition: Callable[[], object]) -> None:
    """Let others go on until something holds."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 (nobody tells us)
            await asyncio.sleep(0.005)


async def number_waiting(sessions: Sessions) -> int:
    async with sessions.reading() as session:
        return await count_waiting(session)


@pytest.fixture
async def acting(telegram_world: World) -> Acting:
    return Acting(telegram_world)


# --- storing --------------------------------------------------------------------------------------------------------


async def test_an_update_that_is_brought_again_is_known_before_and_after_it_has_acted(sessions):
    async with sessions.begin() as session:
        assert await store_updates(session, "telegram", [words(1, 5), words(1, 5)], now=NOW) == 1
        assert await store_updates(session, "telegram", [words(1, 5), words(2, 5)], now=NOW) == 1
        assert await store_updates(session, "web", [words(1, 5)], now=NOW) == 1
    async with sessions.begin() as session:
        await session.execute(delete(InboundUpdate))
        assert await store_updates(session, "telegram", [words(1, 5)], now=NOW + timedelta(days=1)) == 0


async def test_what_was_seen_is_forgotten_after_days_and_what_waits_is_not(sessions):
    async with sessions.begin() as session:
        await store_updates(session, "telegram", [words(1, 5)], now=NOW)
        await store_updates(session, "telegram", [words(2, 5)], now=NOW + timedelta(days=3))
        await forget_updates(session, before=NOW + timedelta(days=1, hours=23))
        assert await session.scalar(select(func.count()).select_from(SeenUpdate)) == 1
        assert await count_waiting(session) == 2


async def test_many_who_store_at_once_share_a_transaction(sessions):
    opened = []

    class Counted(Sessions):
        @asynccontextmanager
        async def begin(self):
            opened.append(1)
            async with super().begin() as session:
                yield session

    store = InboundStore(Counted(sessions.engine, KEYS), lambda: NOW)
    await asyncio.gather(*(store.store("telegram", [words(number, number)]) for number in range(50)))

    assert len(opened) <= 3
    assert await number_waiting(sessions) == 50


async def test_a_commit_that_fails_fails_all_who_waited_and_nobody_after(sessions):
    class Failing(Sessions):
        failures = 1

        @asynccontextmanager
        async def begin(self):
            async with super().begin() as session:
                yield session
                if self.failures:
                    self.failures -= 1
                    raise OperationalError("COMMIT", {}, OSError("gone"))

    store = InboundStore(Failing(sessions.engine, KEYS), lambda: NOW)
    answers = await asyncio.gather(
        *(store.store("telegram", [words(number, number)]) for number in range(5)), return_exceptions=True
    )

    assert [type(answer) for answer in answers] == [OperationalError] * 5
    assert await number_waiting(sessions) == 0
    await store.store("telegram", [words(1, 1)])
    assert await number_waiting(sessions) == 1


async def test_one_that_cannot_be_written_down_keeps_nobody_else_away(sessions):
    deep: Any = "x"
    for _ in range(200_000):
        deep = [deep]
    store = InboundStore(sessions, lambda: NOW)

    with capture_logs() as logged:
        await asyncio.gather(
            store.store("telegram", [{"update_id": 1, "message": deep}, words(2, 5)]),
            store.store("telegram", [words(3, 6)]),
        )

    assert await number_waiting(sessions) == 2
    assert [entry["event"] for entry in logged] == ["update_not_writable"]


# --- turns ----------------------------------------------------------------------------------------------------------


async def test_a_look_goes_round_the_chats_and_takes_a_few_of_each(sessions):
    async with sessions.begin() as session:
        flood = [words(number, 1) for number in range(500)]
        await store_updates(session, "telegram", [*flood, words(900, 2), words(901, 3), words(902, 2)], now=NOW)
        await store_updates(session, "zalo", [words(1, 7)], now=NOW)
    async with sessions.reading() as session:
        first = await waiting_updates(session, {"telegram": ""}, chats=2, each=3)
        last = max(waiting.chat for waiting in first)
        second = await waiting_updates(session, {"telegram": last, "web": ""}, chats=2, each=3)
        all_but = await waiting_updates(session, {"telegram": "", "zalo": ""}, besides=[first[0].chat], chats=9, each=1)

    assert len({waiting.chat for waiting in first}) == 2 and len({waiting.chat for waiting in second}) == 1
    numbers = [waiting.raw["update_id"] for waiting in [*first, *second] if waiting.raw]
    assert sorted(numbers) == [0, 1, 2, 900, 901, 902]
    assert first[0].chat not in {waiting.chat for waiting in all_but}
    assert {waiting.channel for waiting in all_but} == {"telegram", "zalo"}


async def test_a_chat_with_five_hundred_waiting_does_not_delay_another(acting: Acting):
    await acting.stored(*(words(number, 1, f"flood {number}") for number in range(500)))
    await acting.stored(words(1000, 2, "help"))

    async with at_work(acting.world):
        await until(lambda: (2, "help") in acting.seen)
        before = acting.seen.index((2, "help"))
        await until(lambda: len(acting.seen) == 501)

    assert before <= 8
    assert [text for chat, text in acting.seen if chat == 1] == [f"flood {number}" for number in range(500)]


async def test_hundreds_of_chats_have_turns(acting: Acting):
    """No chat acts a second time before all others have acted once, give or take what is in memory."""
    await acting.stored(*(words(turn * 300 + chat, chat, str(turn)) for turn in range(3) for chat in range(1, 301)))

    async with at_work(acting.world):
        await until(lambda: len(acting.seen) == 900)

    for chat in range(1, 301):
        assert [text for who, text in acting.seen if who == chat] == ["0", "1", "2"]
    assert acting.world.incidents == []


@pytest.mark.parametrize("are_left_over", [False, True])
async def test_slow_files_take_no_place_from_words(telegram_world: World, monkeypatch, are_left_over: bool):
    monkeypatch.setattr("bot.inbox._ALONE", 0.05)
    world = telegram_world
    gate = asyncio.Event()
    fetching: list[int] = []
    answered: list[int] = []

    async def slowly(message: Any, _services: Any, **_: Any) -> Any:
        fetching.append(message.chat.id)
        await gate.wait()
        raise RuntimeError("the file never came")

    monkeypatch.setattr("handlers.incoming.fetch_file", slowly)
    photo = [{"file_id": "x", "file_unique_id": "x", "width": 1, "height": 1, "file_size": 1}]
    pictures = [words(number, number) for number in range(1, 201)]
    for update in pictures:
        update["message"] = {key: part for key, part in update["message"].items() if key not in ("text", "entities")}
        update["message"]["photo"] = photo
    await world.house.store("telegram", pictures)
    if are_left_over:
        async with world.sessions.begin() as session:
            await find_left_over(session)

    async def emergency(update: Update, context: Any) -> None:
        async with context.begin(update) as turn:
            await turn.say("talk.cancelled")
        answered.append(int(turn.chat.address))

    world.house.applications["telegram"].add_handler(CommandHandler("khancap", emergency), group=-1)

    async with at_work(world) as inbox:
        await until(lambda: len(fetching) == 4)
        await world.house.store("telegram", [words(1000, 999)])
        inbox.wake()
        await until(lambda: 999 in answered)
        assert len(fetching) == 4
        gate.set()
        await until(lambda: len(fetching) == 200)
    world.logged.clear()


# --- failures -------------------------------------------------------------------------------------------------------


class FailingWorld(Sessions):
    """Transactions that fail as a database does that is away: the next `failures` of those an update acts in."""

    failures = 0

    @asynccontextmanager
    async def begin(self):
        async with super().begin() as session:
            yield session
            if self.failures and await session.scalar(select(func.count()).select_from(Delivery)):
                self.failures -= 1
                raise OperationalError("COMMIT", {}, OSError("gone"))


@pytest.mark.parametrize("failures", [1, 3])
async def test_an_update_waits_while_the_database_is_away_and_then_acts_once(sqlite_engine, clock, failures):
    sessions = FailingWorld(sqlite_engine, KEYS)
    async with open_world(sessions, clock) as world:
        lan = await world.person("lan")
        sessions.failures = failures

        await lan.sends("/khancap")

        lan.sees("113")
        assert len(lan.shown) == 1
        world.logged.clear()  # it was said that the storage failed


async def test_an_update_that_fails_stays_before_the_later_ones_of_its_chat(acting: Acting):
    acting.fails["one"] = [OperationalError("COMMIT", {}, OSError("gone"))]
    rests: list[float] = []

    async def sleep(seconds: float) -> None:
        rests.append(seconds)
        await asyncio.sleep(0.02)

    await acting.stored(words(1, 5, "one"), words(2, 5, "two"), words(3, 5, "three"), words(4, 6, "other"))
    async with at_work(acting.world, sleep):
        await until(lambda: len(acting.seen) == 4)

    assert [text for chat, text in acting.seen if chat == 5] == ["one", "two", "three"]
    assert acting.seen[0] == (6, "other")
    assert rests == [1.0]
    acting.world.logged.clear()


async def test_an_update_nobody_can_read_is_parked_with_one_alarm_and_its_chat_goes_on(acting: Acting):
    rests: list[float] = []

    async def sleep(seconds: float) -> None:
        rests.append(seconds)

    await acting.stored({"update_id": 1, "message": UNREADABLE}, words(2, 666, "after"))
    async with at_work(acting.world, sleep):
        await until(lambda: acting.seen == [(666, "after")])

    alarms = [entry for entry in acting.world.incidents if entry["event"] == "update_parked"]
    assert len(alarms) == len(acting.world.incidents) == 1
    assert rests == [1.0, 5.0]
    async with acting.world.sessions.begin() as session:
        kept = (await session.execute(select(InboundUpdate))).scalar_one()
        assert kept.attempts > ATTEMPTS and kept.payload
        await forget_updates(session, before=NOW + timedelta(days=1))
        assert not (await session.execute(select(InboundUpdate))).first()
    acting.world.logged.clear()


async def test_a_parked_update_is_left_alone_by_the_next_process(acting: Acting):
    async def sleep(_seconds: float) -> None:
        pass

    await acting.stored({"update_id": 1, "message": UNREADABLE})
    async with at_work(acting.world, sleep):
        await until(lambda: bool(acting.world.incidents))
    acting.world.logged.clear()

    async with acting.world.sessions.begin() as session:
        await find_left_over(session)
    await Inbox(acting.world.sessions, acting.world.house.applications).drain()

    assert not acting.world.incidents
    assert await number_waiting(acting.world.sessions) == 0


async def test_an_update_whose_storage_alone_fails_is_not_tried_for_ever(acting: Acting):
    acting.fails["never"] = [OperationalError("INSERT", {}, OSError("too big")) for _ in range(100)]
    rests: list[float] = []

    async def sleep(seconds: float) -> None:
        rests.append(seconds)

    await acting.stored(words(1, 5, "never"), words(2, 5, "after"))
    async with at_work(acting.world, sleep):
        await until(lambda: acting.seen == [(5, "after")])

    assert 15 <= len(rests) <= 25 and sum(rests) > 300
    assert [entry["event"] for entry in acting.world.incidents].count("update_parked") == 1
    acting.world.logged.clear()


async def test_an_update_that_ends_the_process_is_parked_after_a_few_starts(acting: Acting):
    """It is counted before it is tried, and alone: what waits beside it is not blamed."""
    await acting.stored(words(1, 5, "killer"), *(words(number, number, "innocent") for number in range(10, 40)))
    acting.gates["killer"] = asyncio.Event()
    for start in range(1, ATTEMPTS + 2):
        async with acting.world.sessions.begin() as session:
            await find_left_over(session)
        async with killed(acting.world):
            if start <= ATTEMPTS:
                await until(lambda start=start: acting.begun.count("killer") == start)  # type: ignore[misc]
            else:
                await until(lambda: bool(acting.world.incidents) and len(acting.seen) == 30)

    assert [text for _, text in acting.seen] == ["innocent"] * 30
    async with acting.world.sessions.reading() as session:
        assert list(await session.scalars(select(InboundUpdate.attempts))) == [ATTEMPTS + 1]
    assert [entry["event"] for entry in acting.world.incidents] == ["update_parked"]
    acting.world.logged.clear()


async def test_an_apology_that_fails_is_tried_again_and_then_parked(telegram_world: World, monkeypatch):
    """An update that has no chat to answer to is a bug of ours or an update of a new kind: it must not vanish."""
    application = telegram_world.house.applications["telegram"]
    application.handlers.clear()

    async def breaks(update: Update, context: Any) -> None:
        raise RuntimeError("nobody thought of this")

    application.add_handler(TypeHandler(Update, breaks))
    poll = {"id": "1", "question": "?", "options": [], "total_voter_count": 0, "is_closed": False}
    poll |= {"is_anonymous": True, "type": "regular", "allows_multiple_answers": False, "allows_revoting": False}
    await telegram_world.house.store("telegram", [{"update_id": 1, "poll": poll}])

    async def sleep(_seconds: float) -> None:
        pass

    async with at_work(telegram_world, sleep):
        await until(lambda: any(entry["event"] == "update_parked" for entry in telegram_world.logged))
    telegram_world.logged.clear()


async def test_updates_of_a_channel_that_is_off_wait_and_are_not_looked_at(sqlite_engine, clock):
    sessions = Sessions(sqlite_engine, KEYS)
    async with open_world(sessions, clock) as world:
        async with sessions.begin() as session:
            await store_updates(session, "zalo", [{"update_id": 1, "message": {}}], now=NOW)

        await world.settle()

        assert await number_waiting(sessions) == 1


async def test_an_update_whose_key_is_gone_does_not_stop_the_others(sqlite_engine, clock):
    async with Sessions(sqlite_engine, KeyRing([b"o" * 32])).begin() as session:
        await store_updates(session, "telegram", [{"update_id": 10**9, "message": {}}], now=NOW)
    async with open_world(Sessions(sqlite_engine, KEYS), clock) as world:
        lan = await world.person("lan")
        world.house.inbox._sleep = _at_once

        await lan.sends("/khancap")

        lan.sees("113")
        assert [entry["event"] for entry in world.incidents] == ["update_parked"]
        world.logged.clear()


async def _at_once(_seconds: float) -> None:
    pass


async def test_what_nobody_wants_is_dropped(telegram_world: World):
    await telegram_world.house.store("telegram", [nobody_wants(1, 5)])

    await telegram_world.settle()

    assert await number_waiting(telegram_world.sessions) == 0


# --- the end --------------------------------------------------------------------------------------------------------


async def test_a_stop_under_load_repeats_nothing_and_loses_nothing(acting: Acting):
    """A process is told to stop with hundreds waiting and some in the middle; the next one does the rest."""
    world = acting.world
    await acting.stored(*(words(number, number % 40, str(number)) for number in range(400)))
    begun = 0
    while await number_waiting(world.sessions):
        begun += 1
        async with world.sessions.begin() as session:
            await find_left_over(session)
        async with at_work(world):
            done = len(acting.seen)
            await until(lambda done=done: len(acting.seen) >= min(400, done + 60))  # type: ignore[misc]

    assert begun >= 3
    assert sorted(int(text) for _, text in acting.seen) == list(range(400))
    for chat in range(40):
        mine = [int(text) for who, text in acting.seen if who == chat]
        assert mine == sorted(mine)
    async with world.sessions.reading() as session:
        assert await session.scalar(select(func.count()).select_from(Delivery)) == 400


async def test_what_takes_too_long_at_the_end_acts_after_the_next_start(acting: Acting, monkeypatch):
    monkeypatch.setattr("bot.inbox._FINISH", 0.05)
    acting.gates["slow"] = asyncio.Event()
    await acting.stored(words(1, 5, "slow"))
    async with at_work(acting.world) as inbox:
        await until(lambda: any(chat.is_acting for chat in inbox._chats.values()))
    assert await number_waiting(acting.world.sessions) == 1

    acting.gates["slow"].set()
    async with at_work(acting.world):
        await until(lambda: acting.seen == [(5, "slow")])

    assert not acting.world.incidents
