"""How fast messages come, and whether that is too fast."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field


class Meter:
    """No sliding `window` of seconds holds more than `most` messages; None: no limit, only counted."""

    def __init__(self, most: int | None, window: float = 1.0) -> None:
        self.most = most
        self.window = window
        self.recent: deque[float] = deque()

    def missing(self, now: float, count: int = 1) -> float:
        """How many seconds are missing at `now` until `count` more may come; 0 when they may."""
        while self.recent and now - self.recent[0] >= self.window:
            self.recent.popleft()
        over = 0 if self.most is None else len(self.recent) + count - self.most
        if over <= 0:
            return 0.0
        if over > len(self.recent):
            return self.window
        return self.recent[over - 1] + self.window - now

    def add(self, now: float, count: int = 1) -> None:
        """They came at `now`."""
        self.recent.extend([now] * count)


@dataclass(slots=True)
class Arrivals:
    """What has come in, under a strict rate a second; None: without limit."""

    rate: int | None
    accepted: int = 0
    refused: int = 0
    uploads: int = 0
    first: float = 0.0
    meter: Meter = field(init=False)

    def __post_init__(self) -> None:
        self.meter = Meter(self.rate)

    def take(self, now: float) -> float:
        """Accept a message that arrives at `now`: 0, or how many seconds are missing until the next would be."""
        if missing := self.meter.missing(now):
            self.refused += 1
            return missing
        self.meter.add(now)
        self.first = self.first or now
        self.accepted += 1
        return 0.0

    def stats(self) -> dict[str, float]:
        """The counts, and what came in a second: the least that any message of the last second makes of it."""
        recent = self.meter.recent
        before = self.accepted - len(recent)
        rates = [(before + i) / (at - self.first) for i, at in enumerate(recent) if at > self.first]
        rate = min(rates, default=0.0)
        return {"accepted": self.accepted, "refused": self.refused, "uploads": self.uploads, "rate": rate}
