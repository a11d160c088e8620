"""How a channel is as a whole: it works, it rests, or nobody knows whether it hears us."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

import structlog

from channels.port import ChannelDown, SendError, TryLater, Uncertain
from channels.sender import Sender
from deliveries.pace import Pace
from deliveries.retry import channel_delay

log = structlog.get_logger(__name__)

#: How many sends in a row may end without an answer before the channel rests.
_MOST_LOST = 3


class Condition:
    """What sends have shown of a channel.

    Args:
        wake: Called when a question that was asked of the platform has come to its end.
        ahead: How far ahead of a slot a question may be asked, seconds.
    """

    def __init__(
        self,
        channel: str,
        sender: Sender,
        pace: Pace,
        *,
        wake: Callable[[], None],
        monotonic: Callable[[], float],
        ahead: float,
    ) -> None:
        #: Why the channel takes nothing at the moment; None when it does.
        self.down: str | None = None
        #: An answer never came: before anything else is put at risk, the platform is asked whether it answers.
        self.is_in_doubt = False
        self.rests_until = float("-inf")
        self._channel = channel
        self._sender = sender
        self._pace = pace
        self._wake = wake
        self._monotonic = monotonic
        self._ahead = ahead
        self._failures = 0
        #: How many answers never came since the last that did.
        self._lost = 0
        self._probing: asyncio.Task[None] | None = None

    @property
    def is_being_asked(self) -> bool:
        """Whether an answer is waited for that decides whether sends go on."""
        return self._probing is not None

    def works(self) -> None:
        """A message got through."""
        self._answers()
        self._failures = self._lost = 0

    def hold(self, reason: str, delay: timedelta | None) -> None:
        """Let the channel rest for `delay`; None means that it is down, for longer each time."""
        now = self._monotonic()
        if delay is None:
            if now < self.rests_until:  # known already from another send that was under way
                return
            self._failures += 1
            delay = channel_delay(self._failures)
            self.rests_until = now + delay.total_seconds()
            if self.down != reason:
                log.warning("channel_takes_nothing", channel=self._channel, reason=reason)
            self.down = reason
        self._pace.hold_all(now + delay.total_seconds())

    def doubt(self, reason: str) -> None:
        """An answer never came. Nothing more is sent before the platform answers a harmless question; when sends get
        lost all the same, fewer and fewer are risked."""
        self.is_in_doubt = True
        self._lost += 1
        if self._lost > _MOST_LOST:
            self.hold(reason, None)

    def resolve(self) -> None:
        """Ask in the background, when the rest since the last time is over."""
        now = self._monotonic()
        is_due = now >= self.rests_until and self._pace.next_slot(now) <= now + self._ahead
        if self.is_in_doubt and self._probing is None and is_due:
            self._probing = asyncio.create_task(self.ask())

    async def ask(self) -> None:
        """Ask whether the platform answers: then sends go on, else the channel rests, longer each time."""
        try:
            await self._sender.probe()
        except (ChannelDown, TryLater, Uncertain) as error:
            self.hold(error.reason, error.delay if isinstance(error, TryLater) else None)
        except SendError:
            self._answers()  # a refusal is an answer
        else:
            self._answers()
        finally:
            self._probing = None
            self._wake()

    def stop_asking(self) -> None:
        """Nobody waits for the answer any more."""
        if self._probing is not None:
            self._probing.cancel()

    def _answers(self) -> None:
        self.is_in_doubt = False
        if self.down is not None:
            log.info("channel_takes_messages_again", channel=self._channel)
        self.down = None
