"""Which of the claimed deliveries leave now, when, and what the others wait for. In memory, no I/O.

A delivery waits while its chat has another one under way, while its chat may not be written to, while a file of it is
being uploaded by another delivery, and behind those of its own lane to the same chat that wait for either. None of
these holds a slot: it goes back to the ledger.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from deliveries.claims import AWAITS_UPLOAD, UPLOAD_WAIT, Claimed, PutBack
from deliveries.ledger import Lane
from deliveries.pace import Pace

#: How long after one chat's refusal that of another tells that the whole bot was meant, seconds.
_SHORTLY = 5.0
#: How many deliveries of one chat are left out of claims while it is busy; further ones wait by the clock.
_MOST_ASIDE = 500
#: A delivery that was to be claimed this long ago and was not is none that waits: it was called off.
_GRACE = timedelta(seconds=1)
#: How far apart those who wait for one chat are due at most: those before them may be called off meanwhile.
_FARTHEST = timedelta(minutes=1)
_PRUNE_AT_LEAST = 512

#: What keeps its own order: the deliveries of one lane, or of its urgent part, to one chat.
_Row = tuple[str, Lane, bool]


@dataclass(frozen=True, slots=True)
class Leaves:
    """It leaves at a monotonic instant."""

    at: float


class Departures:
    """The order of what leaves one channel.

    Args:
        pace: How fast it may.
        ahead: How far ahead of its instant a delivery may be claimed, seconds.
    """

    def __init__(self, pace: Pace, ahead: float) -> None:
        self._pace = pace
        self._ahead = ahead
        #: Chats with a message under way, and which other deliveries were met by then: they wait for it to end.
        self._busy: dict[str, set[int]] = {}
        #: Who waits for its chat, and until when.
        self._lines: dict[_Row, _Line] = {}
        self._prune_at = _PRUNE_AT_LEAST
        #: Which delivery uploads which file.
        self._uploads: dict[int, int] = {}
        #: Files that the platform gives no handle for: every delivery uploads its own.
        self._nameless: set[int] = set()
        #: The last chat that was told to wait, and when.
        self._refused = ("", float("-inf"))
        #: Who waits for an upload: of a file of its own, or of one before it in its row.
        self._awaiting: dict[_Row, set[int]] = {}
        #: An upload has ended: what waited for it may go on.
        self.has_uploaded = False
        #: Chats whose send has ended since it was last asked who is to be left out of a claim.
        self._just_free: set[str] = set()

    def aside(self) -> set[int]:
        """Deliveries whose chat has another one under way: they keep their place, and are claimed when it ends."""
        self._just_free.clear()
        return set().union(*self._busy.values()) if self._busy else set()

    def released(self) -> None:
        """All that waited for an upload may be claimed again, in its order."""
        self._awaiting.clear()
        self.has_uploaded = False

    def decide(self, delivery: Claimed, files: Sequence[int], *, now: datetime, instant: float) -> Leaves | PutBack:
        """Let a delivery (its next part, which carries `files`) leave, or say what it waits for."""
        chat = delivery.to.address
        if chat in self._busy:
            return self._wait_for_chat(delivery, now)
        if chat in self._just_free:  # what was left out of this claim for its sake goes first
            return PutBack(delivery.id, "chat_busy")
        row = (chat, delivery.lane, delivery.urgent)
        if not self._uploads.keys().isdisjoint(files) or self._has_awaiting(row, before=delivery.id):
            self._awaiting.setdefault(row, set()).add(delivery.id)
            return PutBack(delivery.id, AWAITS_UPLOAD, now + UPLOAD_WAIT)
        messages = max(1, len(files))
        ready = self._pace.chat_ready_at(chat, instant, reply=delivery.lane is Lane.REPLY, count=messages)
        first = self._lines[row].last_before(delivery.id, now) if row in self._lines else None
        if first is not None or ready > instant + self._ahead:
            ready_at = now + timedelta(seconds=ready - instant)
            return PutBack(delivery.id, "chat_pace", self._stand_in_line(row, delivery.id, ready_at, first, now))
        if row in self._lines:
            self._lines[row].leave(delivery.id)
        if row in self._awaiting:
            self._awaiting[row].discard(delivery.id)
        self._busy[chat] = set()
        missing = set(files) - delivery.handles.keys() - self._nameless
        self._uploads.update(dict.fromkeys(missing, delivery.id))
        at = self._pace.take_together(max(instant, ready), messages)
        self._pace.note(chat, at, messages)
        return Leaves(at)

    def ended(self, delivery: Claimed, named: Collection[int] | None = None) -> bool:
        """A delivery is not under way any more; returns whether others may have waited for that.

        Args:
            named: When it was sent, the files the platform has given a handle for.
        """
        waited = self._busy.pop(delivery.to.address, set())
        if waited:
            self._just_free.add(delivery.to.address)
        mine = [media_id for media_id, by in self._uploads.items() if by == delivery.id]
        for media_id in mine:
            del self._uploads[media_id]
        if named is not None:
            self._nameless.update(set(mine) - set(named))
        self.has_uploaded = self.has_uploaded or bool(mine)
        return bool(waited or mine)

    def hold_chat(self, delivery: Claimed, delay: timedelta, *, now: datetime, instant: float) -> datetime:
        """Nothing leaves for a delivery's chat before then; it goes first when that is over. Returns when it is due."""
        self._pace.hold_chat(delivery.to.address, instant + delay.total_seconds(), instant)
        row = (delivery.to.address, delivery.lane, delivery.urgent)
        return self._stand_in_line(row, delivery.id, now + delay, None, now)

    def concerns_all(self, address: str, instant: float) -> bool:
        """Whether a chat that was refused for the number of messages shows that the whole bot was meant.

        Telegram does not say which it was. One chat alone is taken at its word; when a second one is refused shortly
        after, it is the bot's own limit. A group proves nothing: its limit is used up by what others do in it, too.
        Source: platforms.md, Telegram limits (core.telegram.org/bots/faq), read 2026-11-22.
        """
        if address.startswith("-"):
            return False
        other, at = self._refused
        self._refused = address, instant
        return other not in ("", address) and instant - at <= _SHORTLY

    def _has_awaiting(self, row: _Row, *, before: int) -> bool:
        return any(other < before for other in self._awaiting.get(row, ()))

    def _wait_for_chat(self, delivery: Claimed, now: datetime) -> PutBack:
        met = self._busy[delivery.to.address]
        if len(met) >= _MOST_ASIDE:
            return PutBack(delivery.id, "chat_busy", now + timedelta(seconds=1))
        met.add(delivery.id)
        return PutBack(delivery.id, "chat_busy")

    def _stand_in_line(
        self, row: _Row, delivery_id: int, ready_at: datetime, first: datetime | None, now: datetime
    ) -> datetime:
        """When a delivery is due that waits for its chat, which is ready then, or for those before it in its row, the
        last of which is due `first`. They are due one after the other, so that not all of them are claimed for the
        one that may leave."""
        if row not in self._lines:
            self._forget_past(now)
        line = self._lines.setdefault(row, _Line())
        due_at = ready_at + min(line.place_of(delivery_id) * self._interval, _FARTHEST)
        if first is not None:
            due_at = max(due_at, first + _GRACE if first <= now else first)
        line.stand(delivery_id, due_at)
        return due_at

    @property
    def _interval(self) -> timedelta:
        return timedelta(seconds=self._pace.chat_interval)

    def _forget_past(self, now: datetime) -> None:
        """Drop the lines in which nobody stands any more; amortised over as many additions."""
        if len(self._lines) >= self._prune_at:
            self._lines = {row: line for row, line in self._lines.items() if not line.is_past(now)}
            self._prune_at = max(_PRUNE_AT_LEAST, 2 * len(self._lines))


class _Line:
    """Those of one row that wait for their chat, in the order of their ids, each with the time when it is due."""

    __slots__ = ("_due", "_ids")

    def __init__(self) -> None:
        self._ids: list[int] = []
        self._due: dict[int, datetime] = {}

    def place_of(self, delivery_id: int) -> int:
        """How many stand before it."""
        return bisect_left(self._ids, delivery_id)

    def last_before(self, delivery_id: int, now: datetime) -> datetime | None:
        """When the last of those before it is due; None when nobody is. Who did not come in time has gone."""
        before = self._ids[: self.place_of(delivery_id)]
        for other in before:
            if self._due[other] + _GRACE <= now:
                self.leave(other)
        return max((self._due[other] for other in before if other in self._due), default=None)

    def stand(self, delivery_id: int, due_at: datetime) -> None:
        """It waits until then."""
        if delivery_id not in self._due:
            insort(self._ids, delivery_id)
        self._due[delivery_id] = due_at

    def leave(self, delivery_id: int) -> None:
        """It waits no more."""
        if self._due.pop(delivery_id, None) is not None:
            del self._ids[bisect_left(self._ids, delivery_id)]

    def is_past(self, now: datetime) -> bool:
        """Whether nobody stands here any more."""
        return all(due_at + _GRACE <= now for due_at in self._due.values())
