"""Clock ticks: they only ask what is due. The database is the schedule, so a tick too many or too late does no harm."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Protocol, TypeVar

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from broadcasts.opening import finish_done, go_on, keep_the_night, open_due
from broadcasts.progress import count_news, follow
from broadcasts.shifting import STEP
from channels.gateway import forget_menus
from channels.inbound import forget_updates
from channels.languages import language_of
from channels.web_store import purge
from db.engine import Sessions
from db.erasure import settle_erasure, shuffle_rows
from deliveries import ledger
from deliveries.buttons import forget_buttons
from deliveries.conversations import expired_talks
from deliveries.wording import message
from handlers.answers import EXPECT, MAY_SEND, drop_pieces
from handlers.conversation import has_keyboard
from handlers.reports import OFFER, REPORT
from officers.policy import Policy
from reports.codes import Receipts
from reports.intake import keep_unfinished
from reports.triage import escalate_due, forget_links

_T = TypeVar("_T")
log = structlog.get_logger(__name__)

#: Platforms repeat an update for a day at most (Telegram keeps unconfirmed ones 24 h).
_UPDATES_KEPT = timedelta(days=3)
#: Answers nobody got, listed for whoever asks why; their addresses are sealed, and must not outlive a report's link.
_LEFT_OVERS_KEPT = timedelta(days=30)
#: What the web chat shows of a conversation; as long as a report can be traced back to its chat.
_CHATS_KEPT = timedelta(days=90)
#: When the night's work begins, after midnight.
_AT_NIGHT = timedelta(hours=3)


#: How long a step of a large broadcast may keep others from writing, and rests afterwards so that they come in; and how
#: much of each second is given to such steps, seconds.
_STEP_SECONDS, _REST, _FOR_STEPS = 0.02, 0.02, 0.7


@dataclass(slots=True)
class _Stride:
    """How much one step takes on: what this machine, with all it does besides, gets done in _STEP_SECONDS."""

    size: int = STEP

    def learn(self, seconds: float) -> None:
        """A step took so long: the next ones are smaller, or may be larger."""
        if seconds > _STEP_SECONDS:
            self.size = max(STEP // 2, self.size // 2)
        elif seconds < _STEP_SECONDS / 2:
            self.size = min(STEP * 4, self.size + STEP // 5)


class _Do(Protocol):
    async def __call__(self, work: Callable[[AsyncSession], Awaitable[_T]]) -> _T | None: ...


class Jobs:
    """What happens by itself as time passes."""

    def __init__(
        self,
        sessions: Sessions,
        policy: Policy,
        clock: Callable[[], datetime],
        *,
        wake: Callable[[], None],
        rate: Callable[[], float | None] = lambda: None,
        receipts: Receipts,
    ) -> None:
        self._sessions = sessions
        self._policy = policy
        self._clock = clock
        self._wake = wake
        self._rate = rate
        self._receipts = receipts
        self._shuffled: date | None = None
        self._stride = _Stride()

    def schedule(self, scheduler: AsyncIOScheduler) -> None:
        """Put the ticks on a scheduler; a tick still running is not started a second time."""
        for tick, seconds in ((self.second, 1), (self.minute, 60), (self.refill, 1)):
            scheduler.add_job(
                self._guarded(tick),
                "interval",
                seconds=seconds,
                max_instances=1,
                coalesce=True,
                misfire_grace_time=None,
            )

    async def second(self) -> None:
        """Open what is due, escalate what nobody took, follow what is running.

        Raises:
            ExceptionGroup: Some of it failed; all the rest was done.
        """
        now = self._clock()
        async with self._tick() as do:
            opened = await do(lambda session: open_due(session, now=now, policy=self._policy))
            passed = await do(lambda session: escalate_due(session, now=now, policy=self._policy))
            await do(lambda session: keep_the_night(session, now=now, policy=self._policy))
            await do(lambda session: finish_done(session, now=now))
            async with self._sessions.reading() as reading:
                counted = await count_news(reading, now=now)
            await do(lambda session: follow(session, now=now, rate=self._rate(), policy=self._policy, counted=counted))
            await self._go_on(do, now)
            if opened:
                log.info("broadcasts_opened", broadcasts=opened)
            if passed:
                log.warning("reports_escalated", reports=passed)

    async def _go_on(self, do: _Do, now: datetime) -> None:
        until = time.monotonic() + _FOR_STEPS
        while (began := time.monotonic()) < until:
            size = self._stride.size
            if not await do(lambda session: go_on(session, now=now, policy=self._policy, size=size)):  # noqa: B023
                return
            self._stride.learn(time.monotonic() - began)
            self._wake()
            await asyncio.sleep(_REST)

    async def minute(self) -> None:
        """List lost sends as unknown, end what has expired, forget what may be forgotten; raises as `second` does."""
        now = self._clock()
        async with self._tick() as do:
            lost = await do(lambda session: ledger.recover(session, now=now))
            if lost:
                log.warning("sends_unknown", deliveries=lost)
            await do(lambda session: ledger.expire(session, now=now))
            await do(lambda session: ledger.forget_left_over(session, before=now - _LEFT_OVERS_KEPT))
            await do(lambda session: forget_buttons(session, now=now))
            await do(lambda session: forget_links(session, now=now))
            await do(lambda session: forget_updates(session, before=now - _UPDATES_KEPT))
            await do(lambda session: purge(session, before=now - _CHATS_KEPT, nonces_before=now - _UPDATES_KEPT))
            await do(lambda session: forget_menus(session, now=now))
            await do(lambda session: end_expired_talks(session, now=now, policy=self._policy))
        await self._clean_the_disk(now)

    async def _clean_the_disk(self, now: datetime) -> None:
        """Wipe what was erased; once a night, or at the first start after it, undo the order of rows."""
        await settle_erasure(self._sessions)
        night = (now.astimezone(self._policy.zone) - _AT_NIGHT).date()
        if night != self._shuffled and await shuffle_rows(self._sessions):
            self._shuffled = night

    async def refill(self) -> None:
        """Have receipts ready for those who hand a report in."""
        await self._receipts.refill()

    @asynccontextmanager
    async def _tick(self) -> AsyncIterator[_Do]:
        """Each piece of work is a transaction of its own, and none keeps those after it from being done: a notice
        that cannot be opened must not keep reports from being escalated."""
        failed: list[Exception] = []

        async def do(work: Callable[[AsyncSession], Awaitable[_T]]) -> _T | None:
            try:
                async with self._sessions.begin() as session:
                    return await work(session)
            except Exception as error:
                failed.append(error)
                return None

        yield do
        self._wake()
        if failed:
            raise ExceptionGroup("a part of the tick failed", failed)

    def _guarded(self, tick: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
        async def run() -> None:
            try:
                await tick()
            except asyncio.CancelledError:
                return  # the scheduler is going down; its own log would call this an error
            except ExceptionGroup as failed:
                for error in failed.exceptions:
                    if isinstance(error, SQLAlchemyError | OSError):
                        log.error("tick_storage_failed", tick=tick.__name__, error=type(error).__name__)
                    else:
                        log.error("tick_failed", tick=tick.__name__, exc_info=error)

        return run


async def end_expired_talks(session: AsyncSession, *, now: datetime, policy: Policy) -> None:
    """End the conversations nobody went on with, each with a word; a report begun is kept and marked incomplete."""
    for talk in await expired_talks(session, now=now):
        if talk.flow in (OFFER.name, EXPECT.name):
            continue  # one stray word, answered long ago; a question nobody had to answer
        key = "talk.expired"
        if talk.flow == MAY_SEND.name:
            await drop_pieces(session, talk)
            key = "answer.expired"
        if talk.flow == REPORT.name and talk.answers.get("report") is not None:
            await keep_unfinished(session, talk.answers["report"], now=now, policy=policy)
            key = "report.expired"
        said = message(await language_of(session, talk.chat), key)
        await ledger.open_delivery(
            session,
            replace(said, drops_keyboard=has_keyboard(talk)),
            to=talk.chat,
            key=f"talk:{talk.serial}/expired/{now.isoformat()}",
            origin="talk",
            lane=ledger.Lane.REMINDER,
            passing=True,
            hide_address=True,
            now=now,
        )
