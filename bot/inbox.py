"""Takes stored updates to the handlers: in order within a chat, side by side between chats, each acting once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy.exc import SQLAlchemyError
from telegram import Update

from bot.errors import storage_failure
from channels.inbound import AlreadyHandled, mark_handled, waiting_updates
from channels.unreadable import bones
from db.engine import Sessions
from handlers.context import App

log = structlog.get_logger(__name__)

#: How many updates are worked on at once.
_AT_ONCE = 16
_BATCH = 200
_IDLE = 5.0
#: How long what has begun may take when the process is told to stop, seconds.
_FINISH = 5.0


class Inbox:
    """The loop between the inbound store and the applications, one application a channel."""

    def __init__(self, sessions: Sessions, applications: Mapping[str, App], clock: Callable[[], datetime]) -> None:
        self._sessions = sessions
        self._applications = applications
        self._clock = clock
        self._wake = asyncio.Event()
        #: Rows handed to a worker and not done with.
        self._taken: set[int] = set()
        self._chats: dict[str, asyncio.Queue[tuple[int, str, dict[str, Any]]]] = {}
        self._workers: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(_AT_ONCE)
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
                found = await self._look()
            except (SQLAlchemyError, OSError) as error:
                log.error("inbox_storage_failed", error=type(error).__name__)
                found = False
            except Exception as error:  # nobody would notice a silent inbox
                log.error("inbox_failed", exc_info=error)
                found = False
            if not found:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), _IDLE)
        if self._workers:
            await asyncio.wait(self._workers, timeout=_FINISH)

    async def drain(self) -> None:
        """Work until nothing is waiting (for tests, the demo and the bench)."""
        while await self._look() or self._workers:
            if self._workers:
                await asyncio.wait(self._workers)

    async def _look(self) -> bool:
        """Hand the waiting updates to their chats' workers; returns whether there were any."""
        while len(self._taken) >= _BATCH and self._workers:
            await asyncio.wait(self._workers, return_when=asyncio.FIRST_COMPLETED)
        async with self._sessions.reading() as session:
            waiting = await waiting_updates(session, self._applications, besides=self._taken, limit=_BATCH)
        for row_id, channel, raw in waiting:
            self._taken.add(row_id)
            self._queue(row_id, channel, raw)
        return bool(waiting)

    def _queue(self, row_id: int, channel: str, raw: dict[str, Any]) -> None:
        chat = f"{channel}:{_chat_in(raw)}"
        queue = self._chats.get(chat)
        if queue is not None:
            queue.put_nowait((row_id, channel, raw))
            return
        self._chats[chat] = queue = asyncio.Queue()
        queue.put_nowait((row_id, channel, raw))
        task = asyncio.create_task(self._work(chat, queue))
        self._workers.add(task)
        task.add_done_callback(self._workers.discard)

    async def _work(self, chat: str, queue: asyncio.Queue[tuple[int, str, dict[str, Any]]]) -> None:
        while not queue.empty() and not self._stopping:
            row_id, channel, raw = queue.get_nowait()
            async with self._slots:
                try:
                    await self._act(channel, raw)
                except (SQLAlchemyError, OSError) as error:
                    # Neither acted nor answered: it stays in the store, and is taken up again a little later.
                    log.error("update_not_stored", channel=channel, error=type(error).__name__)
                    await self._later()
                except Exception as error:  # its chat must not be held up by it
                    log.error("update_broke", channel=channel, exc_info=error)
                    await self._later()
            self._taken.discard(row_id)
        del self._chats[chat]

    async def _later(self) -> None:
        await asyncio.sleep(1)
        self._wake.set()

    async def _act(self, channel: str, raw: dict[str, Any]) -> None:
        application = self._applications[channel]
        update = _read(channel, raw, application)
        if update is None:
            await self._drop(channel, int(raw["update_id"]))
            return
        await application.process_update(update)
        if failure := storage_failure(application, update):
            raise failure
        # What no handler wanted (an edited message, a reaction) must not wait for ever.
        await self._drop(channel, update.update_id)

    async def _drop(self, channel: str, update_id: int) -> None:
        with contextlib.suppress(AlreadyHandled):
            async with self._sessions.begin() as session:
                await mark_handled(session, channel, update_id, now=self._clock())


def _read(channel: str, raw: dict[str, Any], application: App) -> Update | None:
    """The update, or what of it can be answered, if anything can be read at all."""
    for what in (raw, bones(raw)):
        try:
            return Update.de_json(dict(what), application.bot) if what is not None else None
        except Exception as error:  # whatever a malformed update makes the library raise
            log.warning("update_unreadable", channel=channel, error=type(error).__name__)
    return None


def _chat_in(raw: dict[str, Any]) -> object:
    """Which chat an update belongs to, as far as one can tell before it is parsed."""
    for value in raw.values():
        if isinstance(value, dict):
            inner = value.get("message") if "data" in value else value
            chat = inner.get("chat") if isinstance(inner, dict) else None
            if isinstance(chat, dict):
                return chat.get("id")
            sender = value.get("from")
            if isinstance(sender, dict):
                return sender.get("id")
    return None
