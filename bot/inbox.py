"""Takes stored updates to the handlers: in order within a chat, in turns between chats, each acting once.

Of every chat that has something waiting, a few updates are in memory and one is at work. The chats come in a ring:
one that writes a thousand times has its turn like one that writes once. An update that fails stays the first of its
chat and is tried again; after a few times it is parked, and the chat goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace

import structlog
from sqlalchemy.exc import SQLAlchemyError
from telegram import Update

from bot.errors import failure_of
from channels.unreadable import bones
from conversations.inbound import (
    ATTEMPTS,
    PARKED,
    Waiting,
    count_attempts,
    drop_updates,
    waiting_updates,
)
from db.engine import Sessions
from db.outage import is_full
from handlers.context import App, Slots, has_acted

log = structlog.get_logger(__name__)

#: How many updates are worked on at once. SQLite has one writer: more would only stand before it.
_AT_ONCE = {"sqlite": 4, "postgresql": 16}
#: With so many chats at work, nobody looks for more.
_ENOUGH = 16
#: How many chats are in memory, how many of them may be waiting for a file or for another attempt, and how many
#: updates of each: memory does not grow beyond them, whatever waits.
_CHATS, _ASIDE, _EACH = 64, 1024, 4
_IDLE = 5.0
#: How long what has begun may take when the process is told to stop, seconds.
_FINISH = 5.0
#: How long what an earlier process left may act before the next such one begins, seconds.
_ALONE = 2.0
#: How long an update waits after its first and its second failure, seconds.
_REST = (1.0, 5.0)
#: The storage may fail an update longer, and is waited for longer each time; but not for ever, when it takes others.
_MOST_REFUSALS, _LONGEST_REST = 20, 60.0


@dataclass(slots=True)
class _Chat:
    """A chat with updates in memory. `more`: others may wait in the store behind them."""

    key: str
    queue: deque[Waiting]
    more: bool
    task: asyncio.Task[None] = field(init=False)
    is_acting: bool = False
    #: How often the storage failed its first update.
    refused: int = 0


class Unreadable(Exception):
    """An update that cannot be opened or makes no sense."""


def slots_for(sessions: Sessions) -> Slots:
    """The places at work, as many as the database bears."""
    return Slots(_AT_ONCE[sessions.engine.dialect.name])


class Inbox:
    """The loop between the inbound store and the applications, one application a channel."""

    def __init__(
        self,
        sessions: Sessions,
        applications: Mapping[str, App],
        *,
        slots: Slots | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._sessions = sessions
        self._applications = applications
        self._sleep = sleep
        self._slots = slots or slots_for(sessions)
        self._wake = asyncio.Event()
        self._slots.told = self._wake.set
        self._chats: dict[str, _Chat] = {}
        #: Where in the ring of a channel's chats the next look begins.
        self._after = dict.fromkeys(applications, "")
        self._resting = 0
        self._is_behind = False
        #: What an earlier process left may have ended it: one at a time.
        self._alone = asyncio.Lock()
        self._stopping = False

    def wake(self) -> None:
        """Something was stored: look now."""
        self._wake.set()

    def stop(self) -> None:
        """Begin nothing more; `run` returns when what has begun is done. The rest waits in the store."""
        self._stopping = True
        self._wake.set()

    async def run(self) -> None:
        """Work until `stop()`."""
        while not self._stopping:
            self._wake.clear()
            try:
                goes_on = await self._look()
            except (SQLAlchemyError, OSError) as error:
                self._sessions.outages.say("inbox_storage_failed", error)
                goes_on = False
            except Exception as error:  # nobody would notice a silent inbox
                log.error("inbox_failed", exc_info=error)
                goes_on = False
            if not goes_on:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), _IDLE)
        await self._finish()

    async def drain(self) -> None:
        """Work until nothing is waiting (for tests, the demo and the bench)."""
        while await self._look() or self._chats:
            if self._chats:
                tasks = [chat.task for chat in self._chats.values()]
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)

    async def _finish(self) -> None:
        """Let what acts come to its end; what takes too long is rolled back, and acts after the next start."""
        acting = {chat.task for chat in self._chats.values() if chat.is_acting}
        idle = {chat.task for chat in self._chats.values()} - acting
        for task in idle:
            task.cancel()
        if acting:
            _, unfinished = await asyncio.wait(acting, timeout=_FINISH)
            for task in unfinished:
                task.cancel()
        await asyncio.gather(*idle, *acting, return_exceptions=True)

    # --- who comes next ---

    @property
    def _active(self) -> int:
        """Chats in memory that wait neither for a file nor for another attempt."""
        return len(self._chats) - self._slots.aside - self._resting

    async def _look(self) -> bool:
        """Let chats begin that have something waiting; returns whether to look again at once."""
        room = min(_CHATS - self._active, _CHATS + _ASIDE - len(self._chats))
        self._is_behind = self._active >= _ENOUGH or room <= 0
        if self._is_behind:
            return False  # there is enough to do; whoever is done wakes us
        for chat in self._chats.values():
            chat.more = True
        begins = dict(self._after)
        async with self._sessions.reading() as session:
            found = await waiting_updates(session, begins, besides=list(self._chats), chats=room, each=_EACH)
        chats: dict[str, list[Waiting]] = {}
        for waiting in found:
            chats.setdefault(waiting.chat, []).append(waiting)
        for key, queue in chats.items():
            self._begin(key, queue)
        return self._turn_ring(begins, [queue[0] for queue in chats.values()], room)

    def _turn_ring(self, begins: Mapping[str, str], heads: list[Waiting], room: int) -> bool:
        """Go on where this look ended; at the end of a ring, from its beginning."""
        goes_on = False
        for channel, begin in begins.items():
            keys = [head.chat for head in heads if head.channel == channel]
            is_end = len(keys) < room
            self._after[channel] = "" if is_end else max(keys)
            goes_on |= not is_end or begin != ""
        return goes_on

    def _begin(self, key: str, queue: list[Waiting]) -> None:
        chat = _Chat(key, deque(queue), more=len(queue) == _EACH)
        self._chats[key] = chat
        chat.task = asyncio.create_task(self._work(chat))

    # --- work ---

    async def _work(self, chat: _Chat) -> None:
        try:
            while chat.queue and not self._stopping:
                left = await self._try(chat, chat.queue[0])
                if left is None:
                    chat.queue.popleft()
                else:
                    chat.queue[0] = left
        finally:
            del self._chats[chat.key]
            if chat.more or (self._is_behind and self._active < _ENOUGH):
                self._wake.set()

    async def _try(self, chat: _Chat, waiting: Waiting) -> Waiting | None:
        """Let an update act; returns what is to be tried again, before anything else of its chat, when it could not."""
        try:
            if not waiting.left_over:
                await self._act(chat, waiting)
                return None
            await self._act_alone(chat, waiting)
            return None
        except (SQLAlchemyError, OSError) as error:
            return await self._could_not(chat, waiting, error)
        except Exception as error:
            return await self._failed(chat, waiting, error)

    async def _act_alone(self, chat: _Chat, waiting: Waiting) -> None:
        """Let an update act that an earlier process has left, while no other such one does.

        Whatever ended that process ends this one soon: an update that takes longer, because its file does, lets the
        next one begin. Who waits for that keeps nobody from having a turn.
        """
        async with self._aside():
            await self._alone.acquire()
        try:
            # Counted before it is tried: it may be what ended the process that left it.
            if await self._count(waiting, waiting.attempts + 1) is None:
                return
            acting = asyncio.ensure_future(self._act(chat, waiting))
            try:
                await asyncio.wait({acting}, timeout=_ALONE)
            except asyncio.CancelledError:
                acting.cancel()
                raise
        finally:
            self._alone.release()
        try:
            await acting
        except Exception as error:
            if is_full(error):
                await self._count(waiting, waiting.attempts)
            raise

    async def _could_not(self, chat: _Chat, waiting: Waiting, error: Exception) -> Waiting | None:
        """The storage failed: neither acted nor answered, and hardly by its own fault."""
        self._sessions.outages.say("update_not_stored", error, channel=waiting.channel)
        chat.refused += 1
        # On a full disk there may be room for small things, such as the note that this one was given up.
        if chat.refused >= _MOST_REFUSALS and not is_full(error):
            with contextlib.suppress(SQLAlchemyError, OSError):  # it takes nothing at all
                return await self._count(waiting, ATTEMPTS + 1, error)
        await self._rest(min(_REST[0] * 2 ** max(0, chat.refused - 5), _LONGEST_REST))
        return waiting

    async def _failed(self, chat: _Chat, waiting: Waiting, error: Exception) -> Waiting | None:
        try:
            left = await self._count(waiting, waiting.attempts + 1, error)
        except (SQLAlchemyError, OSError) as failure:
            return await self._could_not(chat, waiting, failure)
        if left is not None:
            log.warning("update_failed_once", channel=waiting.channel, error=type(error).__name__)
            await self._rest(_REST[left.attempts - 1])
        return left

    async def _count(self, waiting: Waiting, attempts: int, error: Exception | None = None) -> Waiting | None:
        """Keep how often it was tried; None when that is often enough, and it is parked, which is said once."""
        is_parked = attempts > ATTEMPTS or (error is not None and attempts == ATTEMPTS)
        async with self._sessions.begin() as session:
            await count_attempts(session, waiting.mark, PARKED if is_parked else attempts)
        if is_parked:
            log.error("update_parked", channel=waiting.channel, attempts=min(attempts, ATTEMPTS), exc_info=error)
            return None
        return replace(waiting, attempts=attempts, left_over=False)

    async def _rest(self, seconds: float) -> None:
        """Wait before another attempt."""
        async with self._aside():
            await self._sleep(seconds)

    @contextlib.asynccontextmanager
    async def _aside(self) -> AsyncIterator[None]:
        """While a chat waits, others have its place in memory."""
        self._resting += 1
        self._wake.set()
        try:
            yield
        finally:
            self._resting -= 1

    async def _act(self, chat: _Chat, waiting: Waiting) -> None:
        application = self._applications[waiting.channel]
        async with self._slots.taken():
            chat.is_acting = True
            try:
                update = _parsed(waiting, application)
                await application.process_update(update)
                if failure := failure_of(application, update):
                    raise failure
                if not has_acted(application, update):
                    # What no handler wanted (an edited message, a reaction) must not wait for ever.
                    async with self._sessions.begin() as session:
                        await drop_updates(session, [waiting.mark])
            finally:
                chat.is_acting = False
        chat.refused = 0


def _parsed(waiting: Waiting, application: App) -> Update:
    """The update, or what of it can be answered; raises Unreadable when nothing of it can be read."""
    failed = "sealed"
    for what in (waiting.raw, bones(dict(waiting.raw)) if waiting.raw is not None else None):
        if what is None:
            continue
        try:
            return Update.de_json(dict(what), application.bot)
        except Exception as error:  # whatever a malformed update makes the library raise
            failed = type(error).__name__
            log.warning("update_unreadable", channel=waiting.channel, error=failed)
    raise Unreadable(failed)
