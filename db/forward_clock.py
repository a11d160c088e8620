"""The time by which things fall due: it only moves forward, also when the computer's clock is set back."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

log = structlog.get_logger(__name__)

#: A clock that goes back by no more than this is not believed: what was due in a minute is due in a minute. One that
#: goes back further was wrong before (a dead battery, a year mistyped), and is believed.
TRUST = timedelta(hours=36)
#: A step back that is not worth a word: time servers make such.
_UNSAID = timedelta(seconds=30)


class ForwardClock:
    """A clock over the computer's.

    After a step back it goes on from the newest instant it has seen, as fast as the computer's does. When that is set
    forward again by as much, the two are one again. `restart` says that the computer's clock is right as it is.
    """

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._last: datetime | None = None
        self._ahead = timedelta()
        self._believed_a_step_back = False

    def __call__(self) -> datetime:
        """The time now, aware UTC."""
        at = self._clock()
        if self._last is not None and at < self._last:
            self._step_back(self._ahead + self._last - at)
        elif self._last is not None and self._ahead and at - self._last >= self._ahead:
            self._ahead = timedelta()
        self._last = at
        return at + self._ahead

    @property
    def ahead(self) -> timedelta:
        """By how much the computer's clock is behind what was seen."""
        return self._ahead

    def start_from(self, seen: datetime | None) -> None:
        """Go on no earlier than from `seen`, the newest instant an earlier process has seen."""
        now = self()
        if seen is not None and seen > now:
            self._step_back(self._ahead + seen - now)

    def restart(self) -> None:
        """The computer's clock is right: go by it, though it is behind."""
        self._ahead, self._last = timedelta(), None

    def stepped_back(self) -> bool:
        """Whether a step back was believed since this was last asked: what was set due meanwhile is too far ahead."""
        stepped, self._believed_a_step_back = self._believed_a_step_back, False
        return stepped

    def _step_back(self, behind: timedelta) -> None:
        if behind > TRUST:
            log.error("clock_was_ahead", hours=round(behind / timedelta(hours=1)))
            self._ahead, self._believed_a_step_back = timedelta(), True
            return
        if behind - self._ahead > _UNSAID:
            log.error("clock_is_behind", minutes=round(behind / timedelta(minutes=1)), advice=_ADVICE)
        self._ahead = behind


_ADVICE = "set the clock (timedatectl set-ntp true); if it is right now and was ahead before: binhyen trust-clock"
