"""Clock ticks: they only ask what is due. The database is the schedule, so a tick too many or too late does no harm."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import partial
from typing import Protocol, TypeVar

import structlog
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from broadcasts.facts import Progress
from broadcasts.opening import finish_done, go_on, keep_the_night, open_due
from broadcasts.progress import count_news, follow
from broadcasts.shifting import STEP
from channels.channel import Channel
from channels.port import Outgoing
from channels.wording import message
from conversations import expectations, talks
from conversations.inbound import forget_updates
from db.engine import Sessions, keys_of
from db.erasure import settle_erasure, shuffle_rows
from db.outage import is_outage
from db.tables.broadcasts import Notice
from db.tables.reports import Hidden, Report, ReportState
from db.troubles import Parked, each, forget_troubles, may_be_tried, parked_and_not_told
from deliveries import calling_off, claims, ledger, outcomes
from deliveries.buttons import forget_buttons
from handlers.endings import end_expectation_by_time, end_talk_by_time
from handlers.flows import Ending
from handlers.reports import report_written_in
from officers.accounts import officers_with
from officers.permissions import TABLE, Permission, Role
from reports.codes import Receipts
from reports.digest import follow_digests
from reports.escalation import escalate_due
from reports.forwarding import reporters_chat
from reports.intake import count_parts, keep_unfinished, withdraw_draft
from reports.triage import forget_links
from unit.policy import Policy

_T = TypeVar("_T")
log = structlog.get_logger(__name__)

#: Platforms repeat an update for a day at most (a Bot API server keeps unconfirmed ones 24 h).
_UPDATES_KEPT = timedelta(days=3)
#: Answers nobody got, listed for whoever asks why; their addresses are sealed, and must not outlive a report's link.
_LEFT_OVERS_KEPT = timedelta(days=30)
#: When the night's work begins, after midnight.
_AT_NIGHT = timedelta(hours=3)
#: What nobody has tried to do for so long is not in trouble any more: it is gone.
_TROUBLES_KEPT = timedelta(days=30)
#: A part of a tick that fails as a whole rests: a second, doubling, at most this long.
_LONGEST_REST = timedelta(seconds=15)
#: How often a failure that goes on is said again.
_SAID_AGAIN = timedelta(hours=1)
#: How long a step of a large broadcast may keep others from writing, and rests afterwards so that they come in; and how
#: much of each second is given to such steps, seconds.
_STEP_SECONDS, _REST, _FOR_STEPS = 0.02, 0.02, 0.7
#: How many rows of the ledger get new numbers in one transaction of the night.
_NUMBERED_AT_ONCE = 500


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
    async def __call__(self, part: str, work: Callable[[AsyncSession], Awaitable[_T]]) -> _T | None: ...


class _Rests:
    """Which parts of the ticks fail, until when they rest, and what was said about them."""

    def __init__(self) -> None:
        self._failing: dict[str, tuple[int, datetime, str, datetime]] = {}

    def rests(self, part: str, now: datetime) -> bool:
        """Whether a part failed so lately that it is left alone; never long, also when the clock was set back."""
        found = self._failing.get(part)
        return found is not None and now < found[1] <= now + _LONGEST_REST

    def worked(self, part: str) -> None:
        """It does again."""
        if self._failing.pop(part, None) is not None:
            log.info("tick_works_again", part=part)

    def failed(self, part: str, error: Exception, now: datetime) -> None:
        """Let it rest; said once, and again every hour or when the failure is another one."""
        failures, _, said, said_at = self._failing.get(part, (0, now, "", now))
        name = type(error).__name__
        if said != name or now - said_at >= _SAID_AGAIN:
            said_at = now
            if isinstance(error, SQLAlchemyError | OSError) or is_outage(error):
                log.error("tick_storage_failed", part=part, error=name)
            else:
                log.error("tick_failed", part=part, exc_info=error)
        rest = min(timedelta(seconds=2 ** min(failures, 10)), _LONGEST_REST)
        self._failing[part] = (failures + 1, now + rest, name, said_at)


class Jobs:
    """What happens by itself as time passes.

    Args:
        remember: What is to be written down once a minute besides.
        channels: Those that messages wait for.
    """

    def __init__(
        self,
        sessions: Sessions,
        policy: Policy,
        clock: Callable[[], datetime],
        *,
        wake: Callable[[], None],
        rate: Callable[[], float | None] = lambda: None,
        receipts: Receipts,
        remember: Callable[[AsyncSession, datetime], Awaitable[None]] | None = None,
        channels: Sequence[Channel] = (),
    ) -> None:
        self._channels = channels
        self._sessions = sessions
        self._policy = policy
        self._clock = clock
        self._wake = wake
        self._rate = rate
        self._receipts = receipts
        self._shuffled: date | None = None
        self._stride = _Stride()
        self._remember = remember
        self._rests = _Rests()

    async def second(self) -> None:
        """Open what is due, escalate what nobody took, follow what is running; what fails is said and does not keep
        the rest from being done."""
        now = self._clock()
        async with self._tick(now) as do:
            opened = await do("open", lambda session: open_due(session, now=now, policy=self._policy))
            passed = await do("escalate", lambda session: escalate_due(session, now=now, policy=self._policy))
            await do("digests", lambda session: follow_digests(session, now=now, policy=self._policy))
            await do("night", lambda session: keep_the_night(session, now=now, policy=self._policy))
            await do("finish", lambda session: finish_done(session, now=now))
            counted = await self._count(now)
            await do(
                "follow",
                lambda session: follow(session, now=now, rate=self._rate(), policy=self._policy, counted=counted),
            )
            await do("alarm", lambda session: tell_of_troubles(session, now=now))
            await self._go_on(do, now)
            if opened:
                log.info("broadcasts_opened", broadcasts=opened)
            if passed:
                log.warning("reports_escalated", reports=passed)

    async def _count(self, now: datetime) -> Mapping[int, Progress]:
        """What large broadcasts count, read where nobody who writes waits for it."""
        try:
            async with self._sessions.reading() as session:
                return await count_news(session, now=now)
        except Exception as error:
            self._rests.failed("count", error, now)
            return {}

    async def _go_on(self, do: _Do, now: datetime) -> None:
        until = time.monotonic() + _FOR_STEPS
        while (began := time.monotonic()) < until:
            size = self._stride.size
            if not await do("go_on", lambda session: go_on(session, now=now, policy=self._policy, size=size)):  # noqa: B023
                return
            self._stride.learn(time.monotonic() - began)
            self._wake()
            await asyncio.sleep(_REST)

    async def minute(self) -> None:
        """List lost sends as unknown, end what has expired, forget what may be forgotten; fails as `second` does."""
        now = self._clock()
        async with self._tick(now) as do:
            if self._remember is not None:
                remember = self._remember
                await do("remember", lambda session: remember(session, now))
            lost = await do("recover", lambda session: outcomes.recover(session, now=now))
            if lost:
                log.warning("sends_unknown", deliveries=lost)
            names = [channel.name for channel in self._channels]
            await do("damaged", lambda session: claims.let_damaged_go(session, names))
            await do("expire", lambda session: calling_off.expire(session, now=now))
            await do("left_over", lambda session: calling_off.forget_left_over(session, before=now - _LEFT_OVERS_KEPT))
            await do("buttons", lambda session: forget_buttons(session, now=now))
            await do("links", lambda session: forget_links(session, now=now))
            await do("updates", lambda session: forget_updates(session, before=now - _UPDATES_KEPT))
            for channel in self._channels:
                await do(f"kept {channel.name}", partial(channel.forget, now=now))
            await do("talks", lambda session: end_expired_talks(session, now=now, policy=self._policy))
            await do("drafts", lambda session: keep_lost_drafts(session, now=now, policy=self._policy))
            await do("troubles", lambda session: forget_troubles(session, before=now - _TROUBLES_KEPT))
        try:
            await self._clean_the_disk(now)
        except Exception as error:  # it takes room to make room: what a full disk owes is tried again each minute
            self._rests.failed("disk", error, now)
        else:
            self._rests.worked("disk")

    async def _clean_the_disk(self, now: datetime) -> None:
        """Wipe what was erased; once a night, or at the first start after it, undo the order of rows."""
        await settle_erasure(self._sessions)
        night = (now.astimezone(self._policy.zone) - _AT_NIGHT).date()
        if night != self._shuffled:
            await self._forget_order()
            if await shuffle_rows(self._sessions):
                self._shuffled = night

    async def _forget_order(self) -> None:
        numbered = _NUMBERED_AT_ONCE
        while numbered == _NUMBERED_AT_ONCE:
            async with self._sessions.begin() as session:
                numbered = await outcomes.forget_order(session, limit=_NUMBERED_AT_ONCE)

    async def refill(self) -> None:
        """Have receipts ready for those who hand a report in."""
        await self._receipts.refill()

    @asynccontextmanager
    async def _tick(self, now: datetime) -> AsyncIterator[_Do]:
        """Each piece of work is a transaction of its own, and none keeps those after it from being done: notices
        that cannot be opened must not keep reports from being escalated."""

        async def do(part: str, work: Callable[[AsyncSession], Awaitable[_T]]) -> _T | None:
            if self._rests.rests(part, now):
                return None
            try:
                async with self._sessions.begin() as session:
                    done = await work(session)
            except Exception as error:
                self._rests.failed(part, error, now)
                return None
            self._rests.worked(part)
            return done

        yield do
        self._wake()


async def end_expired_talks(session: AsyncSession, *, now: datetime, policy: Policy) -> None:
    """End the conversations nobody went on with, as each flow would have it, and what was kept between them."""
    ending = Ending(session, now, policy)
    chats = await talks.expired_chats(session, now=now)
    await each(session, talks.EXPIRED, chats, lambda key: _end_talk(ending, key), now=now, name=str)
    kept = await expectations.expired_expectations(session, now=now)
    await each(session, expectations.EXPIRED, kept, lambda key: _end_expectation(ending, key), now=now, name=str)


async def _end_talk(ending: Ending, key: str) -> None:
    talk = await talks.take_expired(ending.session, key)
    if talk is not None:
        await end_talk_by_time(ending, talk)


async def _end_expectation(ending: Ending, key: str) -> None:
    expected = await expectations.take_expired_expectation(ending.session, key)
    if expected is not None:
        await end_expectation_by_time(ending, expected)


async def keep_lost_drafts(session: AsyncSession, *, now: datetime, policy: Policy) -> None:
    """Hand in, as unfinished, what was begun and whose conversation is gone without having ended: it was damaged."""
    begun = await session.execute(
        select(Report.id, Report.number, Report.sealed).where(
            Report.state == ReportState.DRAFT, may_be_tried("draft", Report.id, now=now)
        )
    )
    keys = keys_of(session)
    old = [
        row.id for row in begun if Hidden.unseal(keys, row.number, row.sealed).started_at <= now - 2 * talks.LIFETIME
    ]
    drafts = await session.scalars(select(Report).where(Report.id.in_(old[:50])))
    await each(session, "draft", drafts, lambda draft: _keep_lost(session, draft, now=now, policy=policy), now=now)


async def _keep_lost(session: AsyncSession, draft: Report, *, now: datetime, policy: Policy) -> None:
    chat = await reporters_chat(session, draft, now=now)
    talk = await talks.present_talk(session, chat, now=now) if chat is not None else None
    if talk is not None and report_written_in(talk) == draft.id:
        return  # still being written
    log.warning("draft_without_conversation")
    if await count_parts(session, draft.id):
        await keep_unfinished(session, draft.id, now=now, policy=policy)
    else:
        await withdraw_draft(session, draft.id)


async def tell_of_troubles(session: AsyncSession, *, now: datetime) -> None:
    """Tell administrators, once, what could not be done; whoever handles reports as well when it is a report."""
    for parked in await parked_and_not_told(session):
        concerns_report = parked.kind in ("report", claims.CARD)
        roles = {Role.ADMIN, *TABLE[Permission.HANDLE_REPORTS]} if concerns_report else {Role.ADMIN}
        said = await _said_of(session, parked)
        for officer in await officers_with(session, roles):
            await ledger.open_delivery(
                session,
                said(officer.language),
                to=officer.chat,
                key=f"trouble:{parked.reference}/{officer.chat}",
                origin="trouble",
                lane=ledger.Lane.REPORT,
                now=now,
            )


async def _said_of(session: AsyncSession, parked: Parked) -> Callable[[str], Outgoing]:
    """What is said of a trouble, in a language."""

    def said(key: str, number: str = "") -> Callable[[str], Outgoing]:
        return lambda language: message(language, key, number=number, reference=parked.reference)

    if parked.kind == "report" and (report := await session.get(Report, int(parked.item))):
        return said("trouble.report", report.number)
    if parked.kind == claims.CARD and (report := await session.get(Report, int(parked.item))):
        return said("trouble.card", report.number)
    if parked.kind == "notice" and (notice := await session.get(Notice, int(parked.item))):
        return said("trouble.notice", notice.number)
    return said("trouble.other")
