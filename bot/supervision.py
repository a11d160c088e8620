"""Loops that run as long as the process does: the first that ends by itself ends the process, loudly."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import structlog

log = structlog.get_logger(__name__)


class Ended(Exception):
    """The process ends though nobody told it to; the message is one sentence for whoever runs it."""


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


async def every(seconds: float, work: Callable[[], Awaitable[None]], *, stopping: asyncio.Event) -> None:
    """Do something at an interval until `stopping`; what takes longer leaves turns out. What has begun is finished."""
    due = time.monotonic() + seconds
    while not await _told(stopping, due - time.monotonic()):
        await work()
        due = max(due + seconds, time.monotonic())


def tolerated(name: str, work: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
    """`work`, for what the process can do without: a failure is said, once for each kind, and that is all."""
    said = ""

    async def run() -> None:
        nonlocal said
        try:
            await work()
        except Exception as error:
            if said != type(error).__name__:
                said = type(error).__name__
                log.error("tick_failed", part=name, exc_info=error)
        else:
            said = ""

    return run


async def _told(stopping: asyncio.Event, seconds: float) -> bool:
    try:
        await asyncio.wait_for(stopping.wait(), max(seconds, 0))
    except TimeoutError:
        return False
    return True
