"""What happens every second and every minute looks things up, and reads no table that grows from end to end."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import event, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncEngine

from broadcasts.acknowledgements import acknowledge, newest_waiting
from broadcasts.facts import Draft, Response
from broadcasts.notices import cancel_notice, pause_notice, resume_notice, schedule_notice
from channels.port import Recipient
from db.engine import Sessions
from db.tables.broadcasts import Broadcast
from db.tables.deliveries import ButtonRow, Delivery, DeliveryState
from db.tables.establishments import Contact, Establishment, EstablishmentState, Kind
from deliveries import claims, outcomes
from tests.conftest import KEYS
from tests.worlds import Clock, World, open_world

PLACES = 600
#: Tables that grow with the ward and with the years.
LARGE = {
    "broadcast_places",
    "broadcast_reach",
    "buttons",
    "contacts",
    "contents",
    "deliveries",
    "establishments",
    "inbound_updates",
    "media",
    "notice_places",
    "notices",
    "report_links",
    "report_parts",
    "reports",
    "web_files",
    "web_messages",
    "web_posts",
}
#: Indexes of what is few at any time: to read such a one from end to end is to look something up.
SHORT = {"ix_deliveries_unknown", "ix_deliveries_in_flight", "ix_deliveries_left_over", "ix_inbound_updates_waiting"}
Statement = tuple[str, Any]


@pytest.fixture
async def town(engine: AsyncEngine, clock: Clock) -> AsyncIterator[World]:
    """A house on either database, with PLACES establishments and a broadcast to all of them, opened and half sent."""
    async with open_world(Sessions(engine, KEYS), clock, ["telegram"]) as world:
        await fill(world)
        yield world


async def fill(world: World) -> None:
    now = world.clock()
    async with world.sessions.begin() as session:
        ids = range(1000, 1000 + PLACES)
        await session.execute(
            insert(Establishment),
            [
                {
                    "id": number,
                    "kind": Kind.HOTEL,
                    "name": f"Nhà nghỉ {number}",
                    "address": "1 Lê Lợi",
                    "folded": f"nha nghi {number}",
                    "state": EstablishmentState.ACTIVE,
                    "created_at": now,
                }
                for number in ids
            ],
        )
        await session.execute(
            insert(Contact),
            [
                {
                    "establishment_id": number,
                    "channel": "telegram",
                    "address": str(number),
                    "role": "owner",
                    "created_at": now,
                }
                for number in ids
            ],
        )
        button = {"addressee": "x", "sealed": b"x", "once": True, "expires_at": world.clock() + claims.LEASE * 9999}
        await session.execute(insert(ButtonRow), [{"id": f"b{number}", **button} for number in ids])
    officer = await world.officer("binh")
    await world.person("nam")
    assert officer.actor is not None
    async with world.sessions.begin() as session:
        await schedule_notice(session, officer.actor, Draft("Chào", "all", Response.CONFIRM), now=now)
    for _ in range(3):
        await world.house.jobs.second()
    async with world.sessions.begin() as session:
        await session.execute(update(Delivery).where(Delivery.id % 2 == 0).values(state=DeliveryState.SENT))


@asynccontextmanager
async def noted(engine: AsyncEngine) -> AsyncIterator[dict[str, Any]]:
    """Every statement that is run meanwhile, each once, with what it was run with."""
    found: dict[str, Any] = {}

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, many: bool) -> None:
        if re.match(r"SELECT|UPDATE|DELETE|INSERT|WITH", statement.strip()):
            found.setdefault(statement, parameters[0] if many else parameters)

    event.listen(engine.sync_engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        event.remove(engine.sync_engine, "before_cursor_execute", note)


async def scans(engine: AsyncEngine, statement: str, parameters: Any) -> set[str]:
    """The large tables that a statement reads from end to end."""
    if engine.dialect.name == "sqlite":
        async with engine.connect() as connection:
            plan = await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            steps = [str(tuple(row)[3]) for row in plan]
        found = set()
        for step in steps:
            scanned = re.match(r"SCAN (\w+?)(?:_\d+)?(?: USING (?:COVERING )?INDEX (\w+))?$", step)
            if scanned and scanned[1] in LARGE and scanned[2] not in SHORT:
                found.add(step)
        return found
    async with engine.connect() as connection:
        # So few rows are always read as a whole; what is asked is whether there is another way.
        await connection.exec_driver_sql("SET enable_seqscan = off")
        plan = await connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", parameters)
        shown = plan.scalar_one()
        return set(_sequential(json.loads(shown) if isinstance(shown, str) else shown))


def _sequential(plan: Any) -> list[str]:
    if isinstance(plan, list):
        return [name for part in plan for name in _sequential(part)]
    if not isinstance(plan, dict):
        return []
    own = [plan["Relation Name"]] if plan.get("Node Type") == "Seq Scan" and plan["Relation Name"] in LARGE else []
    return own + [name for part in plan.values() for name in _sequential(part)]


async def all_scans(world: World, act: Callable[[], Awaitable[Any]]) -> dict[str, set[str]]:
    async with noted(world.sessions.engine) as statements:
        await act()
    assert statements
    found = {
        statement: await scans(world.sessions.engine, statement, parameters)
        for statement, parameters in statements.items()
    }
    return {statement: tables for statement, tables in found.items() if tables}


async def test_the_second_tick_scans_nothing(town: World):
    town.clock.advance(seconds=6)
    assert await all_scans(town, town.house.jobs.second) == {}


async def test_the_minute_tick_scans_nothing(town: World):
    await town.house.jobs.minute()  # which also does the night's work, and that reads all there is
    assert await all_scans(town, town.house.jobs.minute) == {}


async def test_a_turn_of_the_sender_scans_nothing(town: World):
    assert await all_scans(town, town.house.dispatchers["telegram"]._turn) == {}


async def test_a_start_scans_nothing(town: World):
    async def start() -> None:
        async with town.sessions.begin() as session:
            await outcomes.recover(session, now=town.clock(), all_in_flight=True)

    found = await all_scans(town, start)
    # What waits for an upload is looked for among what waits, once, before anybody else is at work.
    assert [tables for statement, tables in found.items() if "deliveries.reason = " not in statement] == []


async def test_confirming_scans_nothing(town: World):
    async def confirm() -> None:
        chat = Recipient("telegram", "1007")
        async with town.sessions.begin() as session:
            broadcast_id = await newest_waiting(session, chat)
            assert broadcast_id is not None
            await acknowledge(session, chat, broadcast_id, now=town.clock())

    assert await all_scans(town, confirm) == {}


async def test_pausing_going_on_and_calling_off_scan_nothing(town: World):
    async with town.sessions.reading() as session:
        notice_id = (await session.scalars(select(Broadcast.notice_id))).one()

    async def change() -> None:
        actor = next(person.actor for person in town.people if person.actor is not None)
        for step in (pause_notice, resume_notice, pause_notice, cancel_notice):
            async with town.sessions.begin() as session:
                await step(session, actor, notice_id, now=town.clock())
            await town.house.jobs.second()

    assert await all_scans(town, change) == {}


async def test_a_scan_would_be_noticed(town: World):
    async def scan() -> None:
        async with town.sessions.reading() as session:
            await session.execute(text("SELECT count(*) FROM contacts WHERE blocked_at > '2026-01-01'"))

    assert await all_scans(town, scan) != {}
