"""Sends what the ledger holds for one channel: claim, send outside any transaction, settle.

Each turn is one transaction that writes every outcome since the last turn and claims as many rows as may leave in
the next moment ("group commit"); what cannot leave yet goes back in the same transaction, and the buttons of what
leaves are made in it. At a slow rate that is one transaction a message, at a high rate it batches by itself; after a
crash at most the rows in flight are in doubt: rate × (round trip + AHEAD).

Of a long message each part is a claim of its own: it takes its slot in the pace of the channel and of its chat, no
lease has to last for all of them, and told to stop between two parts nothing is in doubt.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from channels.port import (
    SendError,
)
from channels.sender import Sender
from db.engine import Sessions
from db.tables.deliveries import DeliveryState
from deliveries.claims import (
    LEASE,
    Claimed,
    PutBack,
    claim,
    next_due_at,
    put_back,
    release_uploads,
    renew,
    show_buttons,
)
from deliveries.condition import Condition
from deliveries.departures import Departures, Leaves
from deliveries.outcomes import Outcome, settle
from deliveries.pace import Pace, Shares
from deliveries.verdicts import Verdicts, through

log = structlog.get_logger(__name__)

#: How far ahead rows are claimed, seconds: long enough to keep the pace, short enough to leave little in doubt.
AHEAD = 0.05
#: The longest sleep without a reason to wake, seconds.
_IDLE = 1.0
#: How often the leases of sends that are still alive are renewed, seconds.
_RENEW = LEASE.total_seconds() / 3
#: How often a turn claims again when much of what it claimed has to wait, and how many rows at most.
_ROUNDS = 4
_MOST_CLAIMED = 200
#: How many slots a message may miss before it is sent all the same.
_SLOTS_TRIED = 5
#: How long sends under way may take to finish when the process is told to stop, seconds.
_DRAIN = 8.0


class Dispatcher:
    """One channel's sending loop.

    Args:
        slots: How many sends may be under way at once; memory does not grow beyond them.
        count: Told what became of every attempt.
    """

    def __init__(
        self,
        sessions: Sessions,
        channel: str,
        sender: Sender,
        pace: Pace,
        clock: Callable[[], datetime],
        *,
        slots: int = 64,
        count: Callable[[Outcome], None] = lambda outcome: None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.channel = channel
        self._sessions = sessions
        self._sender = sender
        self._pace = pace
        self._clock = clock
        self._slots = slots
        self._count = count
        self._monotonic = monotonic
        self._wake = asyncio.Event()
        self._outcomes: list[Outcome] = []
        self._under_way: dict[asyncio.Task[None], int] = {}
        self._shares = Shares()
        self._renew_at = float("-inf")
        self._departures = Departures(pace, AHEAD)
        self._condition = Condition(channel, sender, pace, wake=self.wake, monotonic=monotonic, ahead=AHEAD)
        self._verdicts = Verdicts(channel, self._condition, self._departures, pace, clock, monotonic)
        self._next_claim = float("-inf")
        self._is_woken = False
        self._stopping = False

    @property
    def down(self) -> str | None:
        """Why the channel takes nothing at the moment; None when it does."""
        return self._condition.down

    def wake(self) -> None:
        """Something may be waiting: look now."""
        self._next_claim = float("-inf")
        self._is_woken = True
        self._wake.set()

    def stop(self) -> None:
        """Claim nothing more; `run` returns when what is under way is settled."""
        self._stopping = True
        self._wake.set()

    async def run(self) -> None:
        """Send until `stop()`; then let what is under way finish, and settle it."""
        try:
            while not self._stopping:
                self._condition.resolve()
                try:
                    await self._turn()
                except (SQLAlchemyError, OSError) as error:
                    self._sessions.outages.say("dispatch_storage_failed", error, channel=self.channel)
                    await asyncio.sleep(1)
                except Exception as error:  # a channel must not fall silent for a single turn
                    log.error("dispatch_failed", channel=self.channel, exc_info=error)
                    await asyncio.sleep(1)
                await self._rest()
        finally:
            await self._finish()

    async def drain(self) -> None:
        """Send until nothing is due and nothing is under way (for tests, the demo and the bench)."""
        while True:
            self._next_claim = float("-inf")
            if self._condition.is_in_doubt:
                await self._condition.ask()
            claimed = await self._turn()
            if self._under_way:
                await asyncio.wait(self._under_way, return_when=asyncio.FIRST_COMPLETED)
            elif not claimed and not self._outcomes:
                return

    async def _turn(self) -> int:
        """Settle what is known, claim what may leave; returns how many were claimed."""
        outcomes, self._outcomes = self._outcomes, []
        budget, alive = self._budget(), self._leases_to_renew()
        if not outcomes and not budget and not alive:
            return 0
        now = self._clock()
        self._is_woken = False
        has_uploaded = self._departures.has_uploaded
        leaving: list[tuple[Claimed, float]] = []
        try:
            async with self._sessions.begin() as session:
                await settle(session, outcomes, now=now)
                await renew(session, alive, now=now)
                await self._release_uploads(session, now)
                claimed = await self._claim(session, budget, leaving, now)
        except BaseException:
            self._outcomes[:0] = outcomes
            for delivery, _ in leaving:
                self._departures.ended(delivery)
            self._departures.has_uploaded |= has_uploaded
            raise
        self._sessions.run.alive.difference_update([outcome.delivery.id for outcome in outcomes])
        for delivery, leaves_at in leaving:
            self._start(delivery, leaves_at)
        return claimed

    def _leases_to_renew(self) -> list[int]:
        """The sends that are still alive, every now and then."""
        now = self._monotonic()
        if now < self._renew_at or not self._under_way:
            return []
        self._renew_at = now + _RENEW
        return list(self._under_way.values())

    async def _release_uploads(self, session: AsyncSession, now: datetime) -> None:
        if self._departures.has_uploaded and await release_uploads(session, self.channel, now=now):
            self._departures.released()

    async def _claim(
        self, session: AsyncSession, budget: int, leaving: list[tuple[Claimed, float]], now: datetime
    ) -> int:
        """Claim what may leave now, into `leaving`; when much of what comes first has to wait, look behind it too.

        Each lane has its share of what is claimed, so that a flood in one starves no other (see deliveries.pace).
        """
        count, limit = 0, budget
        for _ in range(_ROUNDS if budget else 0):
            claimed = await claim(
                session,
                self.channel,
                limit=limit,
                now=now,
                besides=self._departures.aside(),
                shares=self._shares.of_next(limit),
            )
            self._shares.took(len(claimed))
            count += len(claimed)
            await put_back(session, self._sort(claimed, budget, leaving, now))
            if len(leaving) >= budget:
                break  # more may be waiting
            if len(claimed) < limit:
                self._sleep_until(await next_due_at(session, self.channel, after=now), now)
                break
            limit = min(limit * _ROUNDS, _MOST_CLAIMED)
        await show_buttons(session, [delivery for delivery, _ in leaving], now=now)
        return count

    def _sort(
        self, claimed: Sequence[Claimed], budget: int, leaving: list[tuple[Claimed, float]], now: datetime
    ) -> list[PutBack]:
        """Put what may leave into `leaving`; returns what goes back."""
        back = []
        for delivery in claimed:
            if len(leaving) >= budget:
                back.append(PutBack(delivery.id))
                continue
            decided = self._departures.decide(delivery, self._files(delivery), now=now, instant=self._monotonic())
            if isinstance(decided, Leaves):
                leaving.append((delivery, decided.at))
            else:
                back.append(decided)
        return back

    def _files(self, delivery: Claimed) -> Sequence[int]:
        """What the next call for a delivery carries."""
        if not delivery.outgoing.attachments or delivery.edits is not None:
            return ()
        return self._sender.files_in(delivery.outgoing, part=delivery.parts, resent=delivery.resent)

    def _budget(self) -> int:
        """How many rows may be claimed now: free slots, as far as the pace lets them leave within AHEAD."""
        now = self._monotonic()
        free = self._slots - len(self._under_way)
        if free <= 0 or self._condition.is_in_doubt or now < self._next_claim:
            return 0
        return min(free, self._pace.room(now, now + AHEAD))

    def _sleep_until(self, due_at: datetime | None, now: datetime) -> None:
        """The queue is empty up to `due_at`: no claim is worth its transaction before then or before a wake."""
        if self._is_woken:
            return  # since this turn looked
        wait = _IDLE if due_at is None else min(_IDLE, max((due_at - now).total_seconds(), 0.001))
        self._next_claim = self._monotonic() + wait

    def _start(self, delivery: Claimed, leaves_at: float) -> None:
        self._sessions.run.alive.add(delivery.id)
        task = asyncio.create_task(self._send(delivery, leaves_at))
        self._under_way[task] = delivery.id
        task.add_done_callback(self._under_way.pop)

    async def _send(self, delivery: Claimed, leaves_at: float) -> None:
        has_left = False
        try:
            await self._sleep_to(leaves_at)
            has_left = True
            outcome = await self._attempt(delivery)
        except asyncio.CancelledError:
            # An edit may be repeated.
            is_known = not has_left or delivery.edits is not None
            state = DeliveryState.PENDING if is_known else DeliveryState.UNKNOWN
            outcome = Outcome(delivery, state, reason="interrupted", counts=not is_known)
        except Exception as error:
            log.exception("send_broke", delivery=delivery.id, channel=self.channel, error=type(error).__name__)
            outcome = Outcome(delivery, DeliveryState.UNKNOWN, reason="broke")
            if delivery.edits is not None:
                outcome = self._verdicts.again(delivery, "broke")
        self._end(delivery, outcome)

    def _end(self, delivery: Claimed, outcome: Outcome) -> None:
        is_through = outcome.state is DeliveryState.SENT or outcome.parts is not None
        named = [media_id for media_id, _ in outcome.handles] if is_through else None
        if self._departures.ended(delivery, named) or outcome.state is DeliveryState.PENDING:
            self._next_claim = float("-inf")
            self._is_woken = True
        self._outcomes.append(outcome)
        self._count(outcome)
        self._wake.set()

    async def _sleep_to(self, slot: float) -> None:
        """Wait for a message's slot. When the loop was busy and the slot is long past, wait for a new one: late
        messages beside punctual ones are how a strict platform counts one too many."""
        for _ in range(_SLOTS_TRIED):
            now = self._monotonic()
            if slot > now:
                await asyncio.sleep(slot - now)
            if not self._pace.is_past(slot, self._monotonic()):
                return
            slot = self._pace.take(self._monotonic())

    async def _attempt(self, delivery: Claimed) -> Outcome:
        try:
            if delivery.edits is not None:
                sent = await self._sender.edit(
                    delivery.to.address,
                    delivery.edits,
                    delivery.outgoing,
                    callback_data=delivery.callback_data,
                )
            else:
                sent = await self._sender.send(
                    delivery.to.address,
                    delivery.outgoing,
                    callback_data=delivery.callback_data,
                    resent=delivery.resent,
                    handles=delivery.handles,
                    part=delivery.parts,
                )
        except SendError as error:
            return self._verdicts.failed(delivery, error)
        self._condition.works()
        return through(delivery, sent)

    async def _rest(self) -> None:
        """Sleep until there is a reason to take a turn."""
        if self._outcomes:
            # Others that finish in this very instant join the same transaction.
            await asyncio.sleep(0)
            return
        now = self._monotonic()
        if len(self._under_way) >= self._slots or self._condition.is_being_asked:
            until = now + _IDLE
        else:
            until = max(self._pace.next_slot(now) - AHEAD, self._next_claim)
            if self._condition.is_in_doubt:
                until = max(until, self._condition.rests_until)
        self._wake.clear()
        if until <= now or self._stopping:
            await asyncio.sleep(0)
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), min(until - now, _IDLE))

    async def _finish(self) -> None:
        self._condition.stop_asking()
        if self._under_way:
            _, unfinished = await asyncio.wait(self._under_way, timeout=_DRAIN)
            for task in unfinished:
                task.cancel()
            if unfinished:
                await asyncio.wait(unfinished, timeout=1)
        outcomes, self._outcomes = self._outcomes, []
        if outcomes:
            await self._settle_last(outcomes)

    async def _settle_last(self, outcomes: Sequence[Outcome]) -> None:
        """Write down what is known at the end. Where that cannot be, the next start lists it as unknown."""
        try:
            async with self._sessions.begin() as session:
                await settle(session, outcomes, now=self._clock())
        except (SQLAlchemyError, OSError) as error:
            log.error("outcomes_not_stored", channel=self.channel, sends=len(outcomes), error=type(error).__name__)
        self._sessions.run.alive.difference_update([outcome.delivery.id for outcome in outcomes])


def system_clock() -> datetime:
    """The time now, aware UTC."""
    return datetime.now(UTC)
