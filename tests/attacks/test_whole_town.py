"""Threat: a notice to a whole town stops everybody else. However many it is for, nobody waits for it for long.

Time is measured by `run.py bench places`; here it is counted: how many rows one transaction writes while others wait,
and how many rows one look brings to the loop. That ticks scan nothing is shown in tests/bot/test_scans.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event, func, insert, select
from sqlalchemy.ext.asyncio import AsyncEngine

from bot.jobs import Jobs
from broadcasts.acknowledgements import silent
from broadcasts.facts import Draft, Response
from broadcasts.notices import cancel_notice, pause_notice, resume_notice, schedule_notice
from broadcasts.shifting import STEP
from channels.port import Recipient
from db.tables.broadcasts import Broadcast
from db.tables.deliveries import Delivery, DeliveryState
from db.tables.establishments import Contact, Establishment, EstablishmentState, Kind
from deliveries.claims import claim
from reports.codes import Receipts
from unit.policy import Policy

PLACES = 12 * STEP
#: A step writes three rows a place, and steps grow to four times STEP on a fast machine.
MOST_ROWS = 3 * 4 * STEP + 20
BINH = Recipient("memory", "binh")


@pytest.fixture
async def officer(make, sessions, now):
    """An officer, in a town of PLACES establishments with a chat each."""
    async with sessions.begin() as session:
        numbers = range(1, PLACES + 1)
        place = {"kind": Kind.HOTEL, "address": "1 Lê Lợi", "state": EstablishmentState.ACTIVE, "created_at": now}
        chat = {"channel": "memory", "role": "owner", "created_at": now}
        await session.execute(
            insert(Establishment), [{"id": n, "name": f"N{n}", "folded": f"n{n:05}", **place} for n in numbers]
        )
        await session.execute(insert(Contact), [{"establishment_id": n, "address": f"c{n}", **chat} for n in numbers])
    return await make.officer(BINH)


@pytest.fixture
def tick(sessions, now):
    jobs = Jobs(sessions, Policy(), lambda: now, wake=lambda: None, receipts=Receipts())
    return jobs.second


@contextmanager
def rows_written(engine: AsyncEngine) -> Iterator[list[int]]:
    """How many rows each transaction wrote meanwhile."""
    written, open_ones = [], dict[int, int]()

    def note(connection: Any, cursor: Any, statement: str, _parameters: Any, _context: Any, _many: bool) -> None:
        if statement.lstrip().split()[0] in ("INSERT", "UPDATE", "DELETE"):
            open_ones[id(connection)] = open_ones.get(id(connection), 0) + max(0, cursor.rowcount)

    def commit(connection: Any) -> None:
        written.append(open_ones.pop(id(connection), 0))

    event.listen(engine.sync_engine, "after_cursor_execute", note)
    event.listen(engine.sync_engine, "commit", commit)
    yield written
    event.remove(engine.sync_engine, "after_cursor_execute", note)
    event.remove(engine.sync_engine, "commit", commit)


async def count(sessions, *where) -> int:
    async with sessions.reading() as session:
        return await session.scalar(select(func.count()).select_from(Delivery).where(*where)) or 0


async def until(sessions, tick, *done) -> None:
    while True:
        await tick()
        async with sessions.reading() as session:
            if await session.scalar(select(func.count()).select_from(Broadcast).where(*done)):
                return


async def write(sessions, officer, now) -> int:
    async with sessions.begin() as session:
        return (await schedule_notice(session, officer, Draft("Xin chào", "all", Response.CONFIRM), now=now)).id


async def test_approving_and_opening_a_notice_to_a_whole_town_writes_little_at_a_time(
    sessions, engine, officer, tick, now
):
    with rows_written(engine) as written:
        await write(sessions, officer, now)
        await until(sessions, tick, Broadcast.opens_after.is_(None))
    assert await count(sessions, Delivery.broadcast_id.is_not(None)) == PLACES
    assert max(written) <= MOST_ROWS < sum(written)


@pytest.mark.parametrize("step", [pause_notice, cancel_notice])
async def test_a_whole_town_is_paused_and_called_off_at_once_and_little_at_a_time(
    sessions, engine, officer, tick, now, step
):
    notice_id = await write(sessions, officer, now)
    await until(sessions, tick, Broadcast.opens_after.is_(None))
    with rows_written(engine) as written:
        async with sessions.begin() as session:
            await step(session, officer, notice_id, now=now)
        async with sessions.begin() as session:
            assert [one for one in await claim(session, "memory", limit=50, now=now) if one.to != BINH] == []
        await until(sessions, tick, Broadcast.shifts_after.is_(None))
    assert max(written) <= MOST_ROWS
    async with sessions.begin() as session:
        assert [one for one in await claim(session, "memory", limit=50, now=now) if one.to != BINH] == []


async def test_a_whole_town_that_goes_on_loses_nobody(sessions, officer, tick, now):
    notice_id = await write(sessions, officer, now)
    await tick()
    for step in (pause_notice, resume_notice):
        async with sessions.begin() as session:
            await step(session, officer, notice_id, now=now)
        await tick()
    await until(sessions, tick, Broadcast.opens_after.is_(None), Broadcast.shifts_after.is_(None))
    waiting = Delivery.state == DeliveryState.PENDING
    assert await count(sessions, waiting, Delivery.broadcast_id.is_not(None), Delivery.due_at <= now) == PLACES


async def test_nobody_is_shown_a_whole_town_at_once(sessions, officer, tick, now):
    notice_id = await write(sessions, officer, now)
    await until(sessions, tick, Broadcast.opens_after.is_(None))
    async with sessions.reading() as session:
        assert len(await silent(session, officer, notice_id)) <= 100
