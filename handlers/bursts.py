"""Who writes faster than anybody can read. Known in memory only: nothing on the disk says who wrote how often."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta

from channels.port import Recipient

#: So many messages may come at once, and one more in each EVERY; what comes faster is not answered one by one.
AT_ONCE, EVERY = 12, timedelta(seconds=5)
#: So many answers of ours may leave at once, and one more in each EVERY; the others let everybody else's go first.
PROMPT = 5
#: So many urgent reports of one chat go ahead of everybody else's in URGENT_WITHIN.
URGENT, URGENT_WITHIN = 2, timedelta(minutes=10)
#: Chats remembered; the one longest quiet is forgotten first.
_REMEMBERED = 10_000


@dataclass(slots=True)
class _Bucket:
    """What a chat has left of AT_ONCE and PROMPT, as of `at`; and when it handed urgent reports in."""

    left: float
    at: datetime
    prompt: float = PROMPT
    urgent: tuple[datetime, ...] = ()

    def refill(self, now: datetime) -> None:
        gained = max(timedelta(), now - self.at) / EVERY
        self.left, self.prompt, self.at = min(AT_ONCE, self.left + gained), min(PROMPT, self.prompt + gained), now


class Bursts:
    """One bucket for each chat."""

    def __init__(self) -> None:
        self._buckets: OrderedDict[Recipient, _Bucket] = OrderedDict()

    def is_hurried(self, chat: Recipient, *, now: datetime) -> bool:
        """Count a message of a chat; True when it comes faster than messages are answered."""
        bucket = self._bucket(chat, now)
        bucket.refill(now)
        if bucket.left < 1:
            return True
        bucket.left -= 1
        return False

    def is_prompt(self, chat: Recipient, *, now: datetime) -> bool:
        """Count an answer to a chat; False when it has had so many that it waits behind those to others."""
        bucket = self._bucket(chat, now)
        bucket.refill(now)
        if bucket.prompt < 1:
            return False
        bucket.prompt -= 1
        return True

    def may_go_ahead(self, chat: Recipient, *, now: datetime) -> bool:
        """Count an urgent report of a chat; False when it has handed in so many that this one waits its turn."""
        bucket = self._bucket(chat, now)
        lately = tuple(at for at in bucket.urgent if now - URGENT_WITHIN < at <= now)
        bucket.urgent = (*lately, now) if len(lately) < URGENT else lately
        return len(lately) < URGENT

    def _bucket(self, chat: Recipient, now: datetime) -> _Bucket:
        bucket = self._buckets.setdefault(chat, _Bucket(AT_ONCE, now))
        self._buckets.move_to_end(chat)
        if len(self._buckets) > _REMEMBERED:
            self._buckets.popitem(last=False)
        return bucket
