"""What an update costs: to be stored, and to act; beside aiogram's webhook with an insert of the same row."""

from __future__ import annotations

import asyncio
import itertools
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncSession

from bench.tools import FIRST_CHAT, TOKEN, Result, Run, ledger, now
from bot.house import House
from channels.memory import MemoryGateway
from channels.port import Limits, Recipient
from conversations.languages import choose_language
from db.engine import Sessions
from db.marks import day_mark
from db.tables.establishments import Contact, Establishment, EstablishmentState, Kind
from db.tables.inbound import InboundUpdate, SeenUpdate
from db.tables.officers import Officer, OfficerChat, Role
from texts.folding import fold
from unit.policy import Policy

#: People who write, and how many of them at once.
_CHATS, _AT_ONCE = 60, 16
#: A ward that has been at it for a while: places with contacts, and updates seen in the last days.
_PLACES, _SEEN = 60, 20_000
Bring = Callable[[list[dict[str, Any]]], Awaitable[None]]


def inbound(run: Run) -> Iterator[Result]:
    """CPU of this process for an update that is stored, and for `/trogiup` that acts."""
    spent = asyncio.run(_all(run))
    store, act = spent["store"], spent["act"]
    yield Result("store an update, group commit", f"{store * 1e3:.2f} ms of CPU", "≤ 0.4 ms", store <= 0.4e-3)
    yield Result("let /trogiup act", f"{act * 1e3:.2f} ms of CPU ({1 / act:,.0f}/s)", "≤ 3 ms", act <= 3e-3)
    if "aiogram" in spent:
        peer = spent["aiogram"]
        ours = f"{(store + act) / peer:.2f} × ({peer * 1e3:.2f} ms)"
        yield Result("  both, against aiogram with an insert", ours)
    else:
        yield Result("  against aiogram", "not installed")


async def _all(run: Run) -> dict[str, float]:
    """The median for each, turn by turn so that what the machine does besides meets all of them."""
    count = run.size(2000, 400)
    async with AsyncExitStack() as stack:
        sessions = await stack.enter_async_context(ledger(run.folder / "inbound.db"))
        await _settle_in(sessions)
        house = await stack.enter_async_context(working_house(sessions, Limits()))
        brings: dict[str, Bring] = {"store": lambda updates: _at_once(house, updates)}
        if find_spec("aiogram"):
            brings["aiogram"] = await stack.enter_async_context(_aiogram(run.folder / "aiogram.db"))
        numbers = itertools.count(1)
        spent: dict[str, list[float]] = {name: [] for name in (*brings, "act")}
        for turn in range(run.repetitions + 1):
            size = count if turn else _CHATS  # the first turn fills caches
            for name, bring in brings.items():
                updates = [update(next(numbers)) for _ in range(size)]
                spent[name].append(await _cpu(bring(updates)) / size)
            spent["act"].append(await _cpu(house.inbox.drain()) / size)
        return {name: median(values[1:]) for name, values in spent.items()}


async def _cpu(work: Awaitable[None]) -> float:
    began = time.process_time()
    await work
    return time.process_time() - began


def update(number: int, text: str = "/trogiup", chat: int | None = None) -> dict[str, Any]:
    """What Telegram brings when somebody writes."""
    who = FIRST_CHAT + number % _CHATS if chat is None else chat
    person = {"id": who, "is_bot": False, "first_name": "Lan", "last_name": "Tran", "language_code": "vi"}
    message: dict[str, Any] = {"message_id": number, "from": person, "date": int(time.time()), "text": text}
    message["chat"] = {"id": who, "type": "private", "first_name": "Lan", "last_name": "Tran"}
    if text.startswith("/"):
        message["entities"] = [{"type": "bot_command", "offset": 0, "length": len(text)}]
    return {"update_id": 600_000_000 + number, "message": message}


@asynccontextmanager
async def working_house(
    sessions: Sessions, limits: Limits, gateway: MemoryGateway | None = None
) -> AsyncIterator[House]:
    """A house on a Telegram in memory."""
    gateway = gateway or MemoryGateway(name="telegram")
    gateway.limits = limits
    house = House(sessions, now, Policy(unit_name="Công an phường 2"), [gateway])
    await house.start()
    try:
        yield house
    finally:
        await house.stop()


async def _at_once(house: House, updates: list[dict[str, Any]]) -> None:
    """As webhook calls bring them: several at once, one update each."""
    left = iter(updates)

    async def call() -> None:
        for one in left:
            await house.store("telegram", [one])

    await asyncio.gather(*(call() for _ in range(_AT_ONCE)))


@asynccontextmanager
async def _aiogram(path: Path) -> AsyncIterator[Bring]:
    """The peer: its dispatcher is fed as its webhook feeds it, and its handler inserts the row that we insert."""
    from aiogram import Bot, Dispatcher
    from aiogram.filters import Command
    from aiogram.types import Message

    async with ledger(path) as sessions:
        dispatcher = Dispatcher()
        bot = Bot(TOKEN)

        @dispatcher.message(Command("trogiup"))
        async def on_help(message: Message) -> None:
            body = message.model_dump_json(exclude_unset=True).encode()
            row = {"mark": secrets.token_hex(16), "channel": "telegram", "chat": str(message.chat.id), "day": "x"}
            async with sessions.begin() as session:
                await session.execute(insert(InboundUpdate).values(**row, payload=body))

        async def bring(updates: list[dict[str, Any]]) -> None:
            left = iter(updates)

            async def call() -> None:
                for one in left:
                    await dispatcher.feed_webhook_update(bot, one)

            await asyncio.gather(*(call() for _ in range(_AT_ONCE)))

        try:
            yield bring
        finally:
            await bot.session.close()


async def _settle_in(sessions: Sessions) -> None:
    """The ward's steady state."""
    at = now()
    async with sessions.begin() as session:
        for number, role in enumerate(Role):
            officer = Officer(name=f"Cán bộ {number}", role=role, created_at=at)
            session.add(officer)
            await session.flush()
            session.add(OfficerChat(officer_id=officer.id, channel="telegram", address=str(number + 1)))
        for number in range(_PLACES):
            await _add_place(session, number, at)
        day = day_mark(sessions.keys, "inbound-seen", at)
        seen = [{"mark": secrets.token_hex(16), "day": day} for _ in range(_SEEN)]
        await (await session.connection()).execute(insert(SeenUpdate), seen)


async def _add_place(session: AsyncSession, number: int, at: datetime) -> None:
    name = f"Nhà nghỉ {number}"
    place = Establishment(
        kind=Kind.GUESTHOUSE,
        name=name,
        address=f"{number} Lê Lợi",
        folded=fold(name),
        state=EstablishmentState.ACTIVE,
        created_at=at,
    )
    session.add(place)
    await session.flush()
    chat = Recipient("telegram", str(FIRST_CHAT + number))
    session.add(Contact(establishment_id=place.id, channel=chat.channel, address=chat.address, created_at=at))
    await choose_language(session, chat, "vi")
