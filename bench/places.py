"""A notice to a whole town: how long anybody waits to write, and the loop stands still, while it opens and is held."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from sqlalchemy import bindparam, func, select, text

from bench.tools import FIRST_CHAT, Result, Run, ledger, now
from bot.jobs import Jobs
from broadcasts.acknowledgements import count_silent, silent
from broadcasts.facts import Draft, Response
from broadcasts.notices import cancel_notice, pause_notice, resume_notice, schedule_notice
from broadcasts.progress import count_progress
from channels.port import Recipient
from db.base import Instant
from db.engine import Sessions
from db.tables.broadcasts import Broadcast, Notice, NoticePart
from db.tables.officers import Officer, OfficerChat, Role
from establishments.groups import audience_parts
from officers.accounts import actor_for
from officers.permissions import Actor
from reports.codes import Receipts
from unit.policy import Policy

#: What is promised: no writer waits longer, and the loop never stands still for longer, seconds.
_GOAL = 0.05
_PROBE = 0.005
_TICK = 1.0
_AUTHOR = Recipient("telegram", "5")
_DRAFT = Draft("Kiểm tra phòng cháy\nTối nay 20:00.", "kind:guesthouse", Response.CONFIRM, at_night=True)
_TOWN = (
    "INSERT INTO establishments (id, kind, name, address, folded, phone, state, created_at)"
    " WITH RECURSIVE numbers(number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM numbers WHERE number < :count)"
    " SELECT number, CASE WHEN number < 4 THEN 'hotel' ELSE 'guesthouse' END, 'Nhà nghỉ ' || number,"
    " number || ' Lê Lợi', 'nha nghi ' || number, '+84912345678', 'active', :now FROM numbers",
    "INSERT INTO contacts (establishment_id, channel, address, role, created_at)"
    " SELECT id, 'telegram', CAST(:first + id AS TEXT), 'owner', :now FROM establishments WHERE id <= :count",
)


@dataclass(slots=True)
class _Waits:
    """The longest waits; `_cpu` is what this process itself worked meanwhile: the rest was the machine and its disk."""

    to_write: float = 0.0
    to_write_cpu: float = 0.0
    for_loop: float = 0.0
    for_loop_cpu: float = 0.0


def places(run: Run) -> Iterator[Result]:
    """Opening, counting, listing, holding and calling off, with somebody else writing all the while."""
    count = run.size(100_000, 10_000)
    yield from asyncio.run(_measure(run, count))


async def _measure(run: Run, count: int) -> list[Result]:
    async with ledger(run.folder / "places.db") as sessions:
        author = await _fill(sessions, count)
        jobs = Jobs(sessions, Policy(), now, wake=lambda: None, rate=lambda: 30.0, receipts=Receipts())
        # A first, small one, so that texts are read and statements compiled, as in a process that has been running.
        await _all_of_it(sessions, jobs, author, replace(_DRAFT, audience="kind:hotel"))
        gc.collect()
        gc.freeze()
        return await _all_of_it(sessions, jobs, author, _DRAFT)


async def _all_of_it(sessions: Sessions, jobs: Jobs, author: Actor, draft: Draft) -> list[Result]:
    notice_id, opened = await _open(sessions, jobs, author, draft)
    return [*opened, *await _look(sessions, author, notice_id), *await _hold(sessions, jobs, author, notice_id)]


async def _fill(sessions: Sessions, count: int) -> Actor:
    async with sessions.begin() as session:
        for statement in _TOWN:
            values = {"count": count, "now": now(), "first": FIRST_CHAT}
            used = {name: value for name, value in values.items() if f":{name}" in statement}
            await session.execute(text(statement).bindparams(bindparam("now", type_=Instant())), used)
        officer = Officer(name="Bench", role=Role.COMMANDER, created_at=now())
        session.add(officer)
        await session.flush()
        session.add(OfficerChat(officer_id=officer.id, channel=_AUTHOR.channel, address=_AUTHOR.address))
        await session.flush()
        return await actor_for(session, _AUTHOR)


async def _open(sessions: Sessions, jobs: Jobs, author: Actor, draft: Draft) -> tuple[int, list[Result]]:
    began, spent = time.monotonic(), time.process_time()
    async with _others(sessions) as waits:
        async with sessions.reading() as session:
            audience = await audience_parts(session, draft.audience)
        async with sessions.begin() as session:
            notice = await schedule_notice(session, author, draft, now=now(), audience=audience)
        answered = time.monotonic() - began
        while not await _is_open(sessions):
            await _tick(jobs)
    taken, spent = time.monotonic() - began, time.process_time() - spent
    count = notice.places
    return notice.id, [
        Result(f"{count:,} places: approved in", f"{answered * 1e3:.0f} ms", "≤ 500 ms", answered <= 0.5),
        Result("  opened in", f"{taken:.1f} s ({spent / count * 1e6:.0f} µs of CPU a place)"),
        *_said(waits),
    ]


async def _look(sessions: Sessions, author: Actor, notice_id: int) -> list[Result]:
    """What officers look at, in sessions that read."""
    async with _others(sessions) as waits, sessions.reading() as session:
        began = time.monotonic()
        broadcast_id = (await session.scalars(select(Broadcast.id).where(Broadcast.notice_id == notice_id))).one()
        await count_progress(session, broadcast_id)
        counted = time.monotonic() - began
        await count_silent(session, author, notice_id)
        await silent(session, author, notice_id)
        listed = time.monotonic() - began - counted
    return [Result("  counted, a page of the silent in", f"{counted:.2f} s, {listed:.2f} s"), *_said(waits)]


async def _hold(sessions: Sessions, jobs: Jobs, author: Actor, notice_id: int) -> list[Result]:
    began = time.monotonic()
    async with _others(sessions) as waits:
        for step in (pause_notice, resume_notice, cancel_notice):
            async with sessions.begin() as session:
                await step(session, author, notice_id, now=now())
            while await _follows_still(sessions):
                await _tick(jobs)
    return [Result("  held, released, called off in", f"{time.monotonic() - began:.1f} s"), *_said(waits)]


def _said(waits: _Waits) -> Iterator[Result]:
    for name, longest, cpu in (
        ("longest wait to write", waits.to_write, waits.to_write_cpu),
        ("longest stop of the loop", waits.for_loop, waits.for_loop_cpu),
    ):
        measured = f"{longest * 1e3:.0f} ms ({cpu * 1e3:.0f} ms of CPU)"
        yield Result(f"    {name}", measured, f"≤ {_GOAL * 1e3:.0f} ms", longest <= _GOAL)


async def _tick(jobs: Jobs) -> None:
    """One tick, and what is left of its time."""
    began = time.monotonic()
    await jobs.second()
    await asyncio.sleep(max(0.0, _TICK - (time.monotonic() - began)))


async def _is_open(sessions: Sessions) -> bool:
    async with sessions.reading() as session:
        unnamed = await session.scalar(select(func.count()).select_from(NoticePart))
        notices = await session.scalar(select(func.count()).select_from(Notice))
        opened = await session.scalar(select(func.count()).where(Broadcast.opens_after.is_(None)))
        return not unnamed and opened == notices


async def _follows_still(sessions: Sessions) -> bool:
    async with sessions.reading() as session:
        return bool(await session.scalar(select(func.count()).where(Broadcast.shifts_after.is_not(None))))


@asynccontextmanager
async def _others(sessions: Sessions) -> AsyncIterator[_Waits]:
    """Somebody who writes a little, again and again, and a clock that notices when the loop stands still."""
    waits = _Waits()

    async def write() -> None:
        while True:
            began, worked = time.monotonic(), time.process_time()
            async with sessions.begin() as session:
                await session.execute(text("SELECT 1"))
                waits.to_write = max(waits.to_write, time.monotonic() - began)
                waits.to_write_cpu = max(waits.to_write_cpu, time.process_time() - worked)
            await asyncio.sleep(_PROBE)

    async def watch() -> None:
        while True:
            began, worked = time.monotonic(), time.thread_time()
            await asyncio.sleep(_PROBE)
            waits.for_loop = max(waits.for_loop, time.monotonic() - began - _PROBE)
            waits.for_loop_cpu = max(waits.for_loop_cpu, time.thread_time() - worked)

    probes = [asyncio.create_task(write()), asyncio.create_task(watch())]
    await asyncio.sleep(0.1)
    # Connections are open, statements are compiled.
    waits.to_write = waits.to_write_cpu = waits.for_loop = waits.for_loop_cpu = 0.0
    try:
        yield waits
    finally:
        for probe in probes:
            probe.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await probe
