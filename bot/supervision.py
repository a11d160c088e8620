"""Loops that run as long as the process does: the first that ends by itself ends the process, loudly."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.interval import IntervalTrigger

from db.outage import is_outage

log = structlog.get_logger(__name__)

#: How often it is looked whether the clock was set back, seconds.
_LOOK = 2.0

Tick = Callable[[], Coroutine[Any, Any, None]]


class LoopEnded(Exception):
    """A loop came to an end by itself; the message is its name."""


class Watch:
    """Runs loops in a task group, and knows when they may end."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self._group = group
        self._may_end = False

    def run(self, name: str, loop: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a loop; that it returns, raises or is cancelled is a failure of the whole until `may_end`."""
        return self._group.create_task(self._watched(name, loop), name=name)

    def may_end(self) -> None:
        """The process was told to stop: loops end now because they should."""
        self._may_end = True

    async def _watched(self, name: str, loop: Coroutine[Any, Any, None]) -> None:
        try:
            await loop
        except BaseException as error:
            if self._may_end:
                raise
            self._may_end = True  # the others are about to be cancelled for this one
            if isinstance(error, asyncio.CancelledError):
                raise LoopEnded(name) from None
            raise
        if not self._may_end:
            self._may_end = True
            raise LoopEnded(name)


@asynccontextmanager
async def supervised() -> AsyncIterator[Watch]:
    """A group of loops around the body; when one fails the body is cancelled, the other loops are, too, and what
    failed is raised in an ExceptionGroup."""
    async with asyncio.TaskGroup() as group:
        watch = Watch(group)
        try:
            yield watch
        finally:
            watch.may_end()


class Ticks:
    """Calls what is to happen at intervals. APScheduler keeps the time; a tick that fails ends `run`, and so the group
    it runs in, and what has begun when we stop is finished."""

    def __init__(self) -> None:
        self._scheduler = AsyncIOScheduler(timezone="UTC")
        self._failed: asyncio.Future[None] | None = None
        self._under_way: set[asyncio.Task[None]] = set()

    def add(self, seconds: float, work: Tick) -> None:
        """Do something at an interval; what takes longer leaves turns out."""
        self._scheduler.add_job(
            self._tick,
            IntervalTrigger(seconds=seconds),
            (work,),
            max_instances=1,
            coalesce=True,
            misfire_grace_time=None,
        )

    async def run(self, stopping: asyncio.Event) -> None:
        """Tick until `stopping`; raises what a tick failed with."""
        self._failed = asyncio.get_running_loop().create_future()
        told = asyncio.create_task(stopping.wait())
        self._scheduler.start()
        try:
            at = datetime.now(UTC)
            ends: list[asyncio.Future[Any]] = [told, self._failed]
            while not (await asyncio.wait(ends, timeout=_LOOK, return_when=asyncio.FIRST_COMPLETED))[0]:
                at = self._follow_clock(at)
            self._scheduler.pause()
            if self._under_way:
                await asyncio.wait(self._under_way)
        finally:
            self._scheduler.shutdown(wait=False)
            told.cancel()
        if self._failed.done():
            self._failed.result()

    def _follow_clock(self, before: datetime) -> datetime:
        """The scheduler goes by the wall clock: when that was set back, it would sleep until it is where it was."""
        now = datetime.now(UTC)
        if now < before:
            log.warning("clock_set_back", seconds=round((before - now).total_seconds()))
            for job in self._scheduler.get_jobs():
                job.modify(next_run_time=now)
        return now

    async def _tick(self, work: Tick) -> None:
        task = asyncio.create_task(work())
        self._under_way.add(task)
        try:
            await asyncio.shield(task)
        except Exception as error:
            if self._failed is not None and not self._failed.done():
                self._failed.set_exception(error)
        finally:
            self._under_way.discard(task)


def tolerated(name: str, work: Tick) -> Tick:
    """`work`, for what the process can do without: a failure is said, once for each kind, and that is all."""
    said = ""

    async def run() -> None:
        nonlocal said
        try:
            await work()
        except Exception as error:
            if said != type(error).__name__:
                said = type(error).__name__
                log.error("tick_failed", part=name, error=said, exc_info=None if is_outage(error) else error)
        else:
            said = ""

    return run
