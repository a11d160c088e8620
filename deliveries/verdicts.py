"""What an answer of the platform makes of a delivery."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from channels.port import (
    ChannelDown,
    Moved,
    RecipientGone,
    Rejected,
    SendError,
    Sent,
    StaleHandle,
    TryLater,
    Uncertain,
)
from db.tables.deliveries import DeliveryState
from deliveries.claims import Claimed
from deliveries.condition import Condition
from deliveries.departures import Departures
from deliveries.outcomes import Outcome
from deliveries.pace import Pace
from deliveries.retry import LONGEST, next_delay

log = structlog.get_logger(__name__)


class Verdicts:
    """What failed sends come to, and what they say of their chat and of the channel."""

    def __init__(
        self,
        channel: str,
        condition: Condition,
        departures: Departures,
        pace: Pace,
        clock: Callable[[], datetime],
        monotonic: Callable[[], float],
    ) -> None:
        self._channel = channel
        self._condition = condition
        self._departures = departures
        self._pace = pace
        self._clock = clock
        self._monotonic = monotonic

    def failed(self, delivery: Claimed, error: SendError) -> Outcome:
        """It was not (known to be) sent."""
        match error:
            case ChannelDown():
                return self._channel_fails(delivery, error.reason, None)
            case TryLater() if error.reason == "unreachable":
                return self._channel_fails(delivery, error.reason, error.delay)
            case TryLater() if error.delay is not None:
                return self._throttled(delivery, error.reason, error.delay)
            case TryLater():
                if error.reason == "no_answer":
                    self._condition.doubt(error.reason)
                return self.again(delivery, error.reason)
            case Moved():
                return put_off(delivery, "moved", new_address=error.new_address)
            case RecipientGone():
                return Outcome(delivery, DeliveryState.UNDELIVERABLE, reason=error.reason)
            case StaleHandle():
                return put_off(delivery, error.reason, stale=error.media_ids)
            case Rejected() if delivery.is_live and delivery.edits is not None:
                # Deleted by its reader, or not to be edited any more: what it counts is said anew.
                return put_off(delivery, error.reason, anew=True)
            case Rejected():
                log.warning("delivery_refused", delivery=delivery.id, channel=self._channel, reason=error.reason)
                return Outcome(delivery, DeliveryState.FAILED, reason=error.reason)
            case Uncertain():
                self._condition.doubt(error.reason)
                return Outcome(delivery, DeliveryState.UNKNOWN, reason=error.reason)
            case _:
                raise error

    def _channel_fails(self, delivery: Claimed, reason: str, delay: timedelta | None) -> Outcome:
        """The channel as a whole takes nothing: it rests, and the delivery waits without losing an attempt or its
        place."""
        self._condition.hold(reason, delay)
        return put_off(delivery, reason)

    def again(self, delivery: Claimed, reason: str) -> Outcome:
        """Try once more after a while, or give up; a message that counts along is right in the end, however late."""
        delay = next_delay(delivery.attempts) or (LONGEST if delivery.is_live else None)
        if delay is None:
            return Outcome(delivery, DeliveryState.FAILED, reason=reason)
        return Outcome(delivery, DeliveryState.PENDING, reason=reason, due_at=self._hold_chat(delivery, delay))

    def _throttled(self, delivery: Claimed, reason: str, delay: timedelta) -> Outcome:
        """Wait exactly as long as the platform says, for what it says it of: this chat, until another one is told to
        wait as well; then the channel."""
        instant = self._monotonic()
        due_at = self._hold_chat(delivery, delay)
        if self._departures.concerns_all(delivery.to.address, instant):
            log.warning("channel_throttled", channel=self._channel, seconds=delay.total_seconds())
            self._pace.hold_all(instant + delay.total_seconds())
        return put_off(delivery, reason, due_at=due_at)

    def _hold_chat(self, delivery: Claimed, delay: timedelta) -> datetime:
        return self._departures.hold_chat(delivery, delay, now=self._clock(), instant=self._monotonic())


def through(delivery: Claimed, sent: Sent) -> Outcome:
    """A message got through, or a part of it: then the rest waits for its turn."""
    message_id = sent.message_id or None
    if sent.more:
        left = delivery.parts + 1
        return put_off(delivery, "part", message_id=message_id, handles=sent.handles, parts=left)
    return Outcome(delivery, DeliveryState.SENT, message_id=message_id, handles=sent.handles)


def put_off(
    delivery: Claimed,
    reason: str,
    *,
    due_at: datetime | None = None,
    message_id: str | None = None,
    handles: tuple[tuple[int, str], ...] = (),
    parts: int | None = None,
    new_address: str | None = None,
    anew: bool = False,
    stale: tuple[int, ...] = (),
) -> Outcome:
    """It waits again, and this was no failed attempt."""
    return Outcome(
        delivery,
        DeliveryState.PENDING,
        message_id=message_id,
        reason=reason,
        due_at=due_at,
        counts=False,
        new_address=new_address,
        handles=handles,
        parts=parts,
        anew=anew,
        stale=stale,
    )
