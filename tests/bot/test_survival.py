"""Whatever goes wrong in one update or one turn, the loops go on: nobody would notice a silent one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Any

from sqlalchemy import func, select

from bot.inbox import Inbox
from channels.port import Limits, Outgoing, Recipient
from db.tables.deliveries import Delivery, Lane
from db.tables.inbound import InboundUpdate
from deliveries.dispatch import Dispatcher
from deliveries.ledger import open_delivery
from deliveries.pace import Pace
from tests.worlds import World


def _fails_once(clock: Callable[[], datetime]) -> Callable[[], datetime]:
    failures = [RuntimeError("nobody thought of this")]

    def flaky() -> datetime:
        if failures:
            raise failures.pop()
        return clock()

    return flaky


async def _until_none(world: World, statement: Any) -> None:
    async with asyncio.timeout(10):
        while True:
            async with world.sessions.reading() as session:
                if not await session.scalar(statement):
                    return
            await asyncio.sleep(0.05)


async def test_a_look_that_breaks_does_not_end_the_inbox(telegram_world: World, monkeypatch):
    world = telegram_world
    look = Inbox._look
    failures = [RuntimeError("nobody thought of this")]

    async def flaky(inbox: Inbox) -> bool:
        if failures:
            raise failures.pop()
        return await look(inbox)

    monkeypatch.setattr(Inbox, "_look", flaky)
    running = asyncio.create_task(world.house.inbox.run())
    nobody_wants = {"message_id": 1, "date": 1, "edit_date": 1, "chat": {"id": 5, "type": "private"}, "text": "x"}
    await world.house.store("telegram", [{"update_id": 1, "edited_message": nobody_wants}])

    await _until_none(world, select(func.count()).select_from(InboundUpdate))
    world.house.inbox.stop()
    await running
    assert [incident["event"] for incident in world.incidents] == ["inbox_failed"]
    world.logged.clear()


async def test_a_turn_that_breaks_does_not_end_the_sending(telegram_world: World):
    world = telegram_world
    async with world.sessions.begin() as session:
        await open_delivery(
            session,
            Outgoing("x"),
            to=Recipient("telegram", "5"),
            key="x",
            origin="x",
            lane=Lane.REPLY,
            passing=True,
            now=world.clock(),
        )
    sender = world.house.dispatchers["telegram"]._sender
    dispatcher = Dispatcher(world.sessions, "telegram", sender, Pace(Limits()), _fails_once(world.clock))
    running = asyncio.create_task(dispatcher.run())

    await _until_none(world, select(func.count()).select_from(Delivery))
    dispatcher.stop()
    await running
    assert [incident["event"] for incident in world.incidents] == ["dispatch_failed"]
    world.logged.clear()
