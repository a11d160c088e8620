"""Sends what the ledger holds for one channel: claim, send outside any transaction, settle.

Each turn is one transaction that writes every outcome since the last turn and claims as many rows as may leave in
the next moment ("group commit"). At a slow rate that is one transaction a message, at a high rate it batches by
itself; after a crash at most the rows in flight are in doubt: rate × (round trip + AHEAD).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from channels.port import (
    ChannelDown,
    Moved,
    RecipientGone,
    Rejected,
    SendError,
    TryLater,
    Uncertain,
)
from channels.sender import Sender
from db.engine import Sessions
from db.tables.deliveries import DeliveryState, Lane
from deliveries.ledger import Claimed, Outcome, claim, next_due_at, settle
from deliveries.pace import Pace
from deliveries.retry import channel_delay, next_delay

log = structlog.get_logger(__name__)

#: How far ahead rows are claimed, seconds: long enough to keep the pace, short enough to leave little in doubt.
AHEAD = 0.05
#: The longest sleep without a reason to wake, seconds.
_IDLE = 1.0
#: Every so many turns, the lanes before this one are served last.
_SHARES = ((16, Lane.ROUTINE), (4, Lane.REPORT))
#: How many sends in a row may end without an answer before the channel rests.
_MOST_LOST = 3
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
        self._under_way: set[asyncio.Task[None]] = set()
        #: Chats with a message under way, each with the deliveries that wait for it to end.
        self._busy: dict[str, set[int]] = {}
        #: Chats that must wait: until when, and the place in line of the next message put back.
        self._not_before: dict[str, tuple[datetime, datetime]] = {}
        self._failures = 0
        self._rests_until = float("-inf")
        #: An answer never came: before anything else is put at risk, the platform is asked whether it answers.
        self._in_doubt = False
        #: How many answers never came since the last that did.
        self._lost = 0
        self._probing: asyncio.Task[None] | None = None
        self._turns = 0
        self._next_claim = float("-inf")
        self._stopping = False
        #: Why the channel takes nothing at the moment; None when it does.
        self.down: str | None = None

    def wake(self) -> None:
        """Something may be waiting: look now."""
        self._next_claim = float("-inf")
        self._wake.set()

    def stop(self) -> None:
        """Claim nothing more; `run` returns when what is under way is settled."""
        self._stopping = True
        self._wake.set()

    async def run(self) -> None:
        """Send until `stop()`; then let what is under way finish, and settle it."""
        try:
            while not self._stopping:
                self._resolve_doubt()
                try:
                    await self._turn()
                except (SQLAlchemyError, OSError) as error:
                    log.error("dispatch_storage_failed", channel=self.channel, error=type(error).__name__)
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
            if self._in_doubt:
                await self._probe()
            claimed = await self._turn()
            if self._under_way:
                await asyncio.wait(self._under_way, return_when=asyncio.FIRST_COMPLETED)
            elif not claimed and not self._outcomes:
                return

    async def _turn(self) -> int:
        """Settle what is known, claim what may leave; returns how many were claimed."""
        outcomes, self._outcomes = self._outcomes, []
        budget = self._budget()
        if not outcomes and not budget:
            return 0
        now = self._clock()
        try:
            async with self._sessions.begin() as session:
                await settle(session, outcomes, now=now)
                claimed = await self._claim(session, budget, now)
                if budget and len(claimed) < budget:
                    self._sleep_until(await next_due_at(session, self.channel), now)
        except BaseException:
            self._outcomes[:0] = outcomes
            raise
        for delivery in claimed:
            self._start(delivery, now)
        return len(claimed)

    async def _claim(self, session: AsyncSession, budget: int, now: datetime) -> list[Claimed]:
        """Claim in the order of the lanes, but keep a share of the rate for those behind: a flood of answers must
        not starve reports to officers, nor urgent notices the routine ones."""
        self._turns += 1
        served_last = next((lane for every, lane in _SHARES if self._turns % every == 0), Lane.REPLY)
        return await claim(
            session, self.channel, limit=budget, now=now, besides=self._waiting_turn(), served_last=served_last
        )

    def _budget(self) -> int:
        """How many rows may be claimed now: free slots, as far as the pace lets them leave within AHEAD."""
        now = self._monotonic()
        free = self._slots - len(self._under_way)
        if free <= 0 or self._in_doubt or now < self._next_claim:
            return 0
        return min(free, self._pace.room(now, now + AHEAD))

    def _sleep_until(self, due_at: datetime | None, now: datetime) -> None:
        """The queue is empty up to `due_at`: no claim is worth its transaction before then or before a wake."""
        wait = _IDLE if due_at is None else min(_IDLE, max((due_at - now).total_seconds(), 0.001))
        self._next_claim = self._monotonic() + wait

    def _start(self, delivery: Claimed, now: datetime) -> None:
        """Send it in its slot, or put it back when its chat is not ready; order within a chat is kept."""
        chat = delivery.to.address
        instant = self._monotonic()
        ready = self._pace.chat_ready_at(chat, instant, reply=delivery.lane is Lane.REPLY)
        held, place = self._not_before.get(chat, (now, now))
        if held <= now and place <= now:
            self._not_before.pop(chat, None)
        if chat in self._busy:
            self._busy[chat].add(delivery.id)
            self._outcomes.append(Outcome(delivery, DeliveryState.PENDING, reason="chat_busy", counts=False))
            return
        if held > now or ready > instant + AHEAD:
            self._put_back(delivery, max(now + timedelta(seconds=ready - instant), held), place)
            return
        leaves_at = self._pace.take(max(instant, ready))
        self._pace.note(chat, leaves_at)
        self._busy[chat] = set()
        task = asyncio.create_task(self._send(delivery, leaves_at))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    def _waiting_turn(self) -> set[int]:
        """Deliveries whose chat has another one under way: they keep their place, and are claimed when it ends."""
        return set().union(*self._busy.values()) if self._busy else set()

    def _put_back(self, delivery: Claimed, ready_at: datetime, place: datetime) -> None:
        """Let it wait for its chat. One microsecond each keeps the order of several that wait for the same one."""
        due_at = max(ready_at, place)
        self._not_before[delivery.to.address] = ready_at, due_at + timedelta(microseconds=1)
        self._outcomes.append(Outcome(delivery, DeliveryState.PENDING, reason="chat_pace", due_at=due_at, counts=False))

    async def _send(self, delivery: Claimed, leaves_at: float) -> None:
        try:
            await self._sleep_to(leaves_at)
            outcome = await self._attempt(delivery)
        except asyncio.CancelledError:
            # An edit may be repeated.
            state = DeliveryState.UNKNOWN if delivery.edits is None else DeliveryState.PENDING
            outcome = Outcome(delivery, state, reason="interrupted")
        except Exception as error:
            log.exception("send_broke", delivery=delivery.id, channel=self.channel, error=type(error).__name__)
            outcome = Outcome(delivery, DeliveryState.UNKNOWN, reason="broke")
        del self._busy[delivery.to.address]
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
                )
        except SendError as error:
            return self._failed(delivery, error)
        self._channel_works()
        return Outcome(delivery, DeliveryState.SENT, message_id=sent.message_id, handles=sent.handles)

    def _failed(self, delivery: Claimed, error: SendError) -> Outcome:
        now = self._clock()
        match error:
            case ChannelDown():
                return self._channel_fails(delivery, error.reason, None)
            case TryLater() if error.whole_channel or error.reason == "unreachable":
                return self._channel_fails(delivery, error.reason, error.delay)
            case TryLater() if error.delay is not None:
                self._hold_chat(delivery.to.address, error.delay)
                return Outcome(
                    delivery, DeliveryState.PENDING, reason=error.reason, due_at=now + error.delay, counts=False
                )
            case TryLater():
                if error.reason == "no_answer":
                    self._doubt(error.reason)
                delay = next_delay(delivery.attempts)
                if delay is None:
                    return Outcome(delivery, DeliveryState.FAILED, reason=error.reason)
                self._hold_chat(delivery.to.address, delay)
                return Outcome(delivery, DeliveryState.PENDING, reason=error.reason, due_at=now + delay)
            case Moved():
                return Outcome(
                    delivery,
                    DeliveryState.PENDING,
                    reason="moved",
                    due_at=now,
                    counts=False,
                    new_address=error.new_address,
                )
            case RecipientGone():
                return Outcome(delivery, DeliveryState.UNDELIVERABLE, reason=error.reason)
            case Rejected():
                log.warning("delivery_refused", delivery=delivery.id, channel=self.channel, reason=error.reason)
                return Outcome(delivery, DeliveryState.FAILED, reason=error.reason)
            case Uncertain():
                self._doubt(error.reason)
                return Outcome(delivery, DeliveryState.UNKNOWN, reason=error.reason)
            case _:
                raise error

    def _hold_chat(self, address: str, delay: timedelta) -> None:
        instant = self._monotonic()
        self._pace.hold_chat(address, instant + delay.total_seconds(), instant)

    def _channel_fails(self, delivery: Claimed, reason: str, delay: timedelta | None) -> Outcome:
        """The channel as a whole takes nothing: it rests, and the delivery waits without losing an attempt."""
        delay = self._hold_channel(reason, delay)
        return Outcome(delivery, DeliveryState.PENDING, reason=reason, due_at=self._clock() + delay, counts=False)

    def _hold_channel(self, reason: str, delay: timedelta | None) -> timedelta:
        """Let the channel rest for `delay`; None means that it is down, for longer each time. Returns how long."""
        now = self._monotonic()
        if delay is None:
            if now < self._rests_until:  # known already from another send that was under way
                return timedelta(seconds=self._rests_until - now)
            self._failures += 1
            delay = channel_delay(self._failures)
            self._rests_until = now + delay.total_seconds()
            if self.down != reason:
                log.warning("channel_takes_nothing", channel=self.channel, reason=reason)
            self.down = reason
        self._pace.hold_all(now + delay.total_seconds())
        return delay

    def _doubt(self, reason: str) -> None:
        """An answer never came. Nothing more is sent before the platform answers a harmless question; when sends get
        lost all the same, fewer and fewer are risked."""
        self._in_doubt = True
        self._lost += 1
        if self._lost > _MOST_LOST:
            self._hold_channel(reason, None)

    def _resolve_doubt(self) -> None:
        """Ask in the background, when the rest since the last time is over."""
        now = self._monotonic()
        is_due = now >= self._rests_until and self._pace.next_slot(now) <= now + AHEAD
        if self._in_doubt and self._probing is None and is_due:
            self._probing = asyncio.create_task(self._probe())

    async def _probe(self) -> None:
        """Ask whether the platform answers: then sends go on, else the channel rests, longer each time."""
        try:
            await self._sender.probe()
        except (ChannelDown, TryLater, Uncertain) as error:
            self._hold_channel(error.reason, error.delay if isinstance(error, TryLater) else None)
        except SendError:
            self._answers()  # a refusal is an answer
        else:
            self._answers()
        finally:
            self._probing = None
            self.wake()

    def _answers(self) -> None:
        self._in_doubt = False
        if self.down is not None:
            log.info("channel_takes_messages_again", channel=self.channel)
        self.down = None

    def _channel_works(self) -> None:
        """A message got through."""
        self._answers()
        self._failures = self._lost = 0

    async def _rest(self) -> None:
        """Sleep until there is a reason to take a turn."""
        if self._outcomes:
            # Others that finish in this very instant join the same transaction.
            await asyncio.sleep(0)
            return
        now = self._monotonic()
        if len(self._under_way) >= self._slots or self._probing is not None:
            until = now + _IDLE
        else:
            until = max(self._pace.next_slot(now) - AHEAD, self._next_claim)
            if self._in_doubt:
                until = max(until, self._rests_until)
        self._wake.clear()
        if until <= now or self._stopping:
            await asyncio.sleep(0)
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), min(until - now, _IDLE))

    async def _finish(self) -> None:
        if self._probing is not None:
            self._probing.cancel()
        if self._under_way:
            _, unfinished = await asyncio.wait(self._under_way, timeout=_DRAIN)
            for task in unfinished:
                task.cancel()
            if unfinished:
                await asyncio.wait(unfinished, timeout=1)
        outcomes, self._outcomes = self._outcomes, []
        if outcomes:
            async with self._sessions.begin() as session:
                await settle(session, outcomes, now=self._clock())


def system_clock() -> datetime:
    """The time now, aware UTC."""
    return datetime.now(UTC)
