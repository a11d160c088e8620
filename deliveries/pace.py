"""How fast we may send: evenly spaced under a channel's rate, and not too often to one chat.

Pure: instants are monotonic seconds handed in. Three bounds hold together:

- overall: never more than the rate in any sliding second, at 99% of it (GCRA without a burst: a bucket of 30 lets 60
  pass in one second, and a strict server refuses the rest);
- one chat: one message a second; answers to whoever is writing may come three at once;
- one group: twenty in any sliding minute.

What leaves in one call and is several messages (an album) counts as so many.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from channels.port import Limits
from db.tables.deliveries import Lane

#: The part of a documented rate we use; the rest absorbs jitter on the way.
SHARE = 0.99
#: How late a turn may be without losing its place, seconds. With SHARE, up to 10 ms would still keep the rate.
LATENESS = 0.003
#: How late a single message may leave, seconds: what SHARE and LATENESS leave of a strict second.
SLACK = 0.006
_STRICT_INTERVAL = 0.005
#: How many answers may leave together for one chat.
REPLY_BURST = 3
_GROUP_WINDOW = 60.0
_PRUNE_AT_LEAST = 512
_UNLIMITED = 1_000_000
_NEVER = float("-inf")
#: Which lane each of sixteen rows in a row belongs to before all others, if anything waits there: half of them to the
#: first lane that has something, a quarter to reports, an eighth to urgent notices, a sixteenth each to routine
#: notices and to reminders. At 30/s that is two live messages a second beside the largest broadcast.
_TURNS: tuple[Lane | None, ...] = (
    *(None, Lane.REPORT, None, Lane.URGENT, None, Lane.REPORT, None, Lane.ROUTINE),
    *(None, Lane.REPORT, None, Lane.URGENT, None, Lane.REPORT, None, Lane.REMINDER),
)


class Shares:
    """Each lane's share of what leaves, whatever waits in the others; counted in rows, so that it is the same at every
    rate. Deterministic: the same sixteen turns over and over."""

    def __init__(self) -> None:
        self._turn = 0

    def of_next(self, rows: int) -> tuple[int, ...]:
        """How many of the next `rows` belong to each lane, by its number, before the strict order applies."""
        cycles, rest = divmod(rows, len(_TURNS))
        ahead: Sequence[Lane | None] = [_TURNS[(self._turn + step) % len(_TURNS)] for step in range(rest)]
        return tuple(cycles * _TURNS.count(lane) + ahead.count(lane) for lane in Lane)

    def took(self, rows: int) -> None:
        """So many have been claimed."""
        self._turn = (self._turn + rows) % len(_TURNS)


class Pace:
    """The rate of one channel. `take` a slot for each message, then `note` the chat it goes to."""

    def __init__(self, limits: Limits) -> None:
        self._interval = 1 / (limits.per_second * SHARE) if limits.per_second else 0.0
        # k messages of catch-up add k to what a sliding second may hold, and 1% of the rate is what there is to add.
        catch_up = int(limits.per_second * (1 - SHARE)) - 1 if limits.per_second else 0
        self._lateness = max(LATENESS, catch_up * self._interval)
        self._chat_interval = 1 / (limits.per_chat_second * SHARE) if limits.per_chat_second else 0.0
        self._group_size = int(limits.per_group_minute) if limits.per_group_minute else 0
        self._next = _NEVER
        self._held_until = _NEVER
        self._chats: dict[str, _Chat] = {}
        self._prune_at = _PRUNE_AT_LEAST

    def next_slot(self, now: float) -> float:
        """When the next message may leave, `now` or later; takes nothing."""
        return max(self._next, self._held_until, now)

    def take(self, now: float) -> float:
        """Take the next slot and return its instant, `now` or later."""
        slot = self.next_slot(now)
        self._next = max(self._next, slot - self._lateness) + self._interval
        return slot

    def take_together(self, now: float, count: int) -> float:
        """Take slots for `count` messages that leave in one call, and return its instant.

        As many go before it as after it: whichever way a sliding second lies, it must not hold more than the rate.
        """
        for _ in range(count - 1):
            self.take(now)
        slot = self.take(now)
        for _ in range(count - 1):
            self.take(slot)
        return slot

    def room(self, now: float, until: float) -> int:
        """How many messages may leave from `now` to `until`; takes nothing."""
        if not self._interval:
            return _UNLIMITED if self._held_until <= until else 0
        first = max(self._next, self._held_until, now - self._lateness)
        return max(0, int((until - first) / self._interval) + 1) if first <= until else 0

    def is_past(self, slot: float, now: float) -> bool:
        """Whether a message that was to leave at `slot` is too late to leave now beside the punctual ones.

        Only slow rates are this strict: at high ones the share we leave unused is many messages, not a part of one.
        """
        return self._interval > _STRICT_INTERVAL and now - slot > SLACK

    def hold_all(self, until: float) -> None:
        """Nothing leaves before `until`."""
        self._held_until = max(self._held_until, until)

    @property
    def chat_interval(self) -> float:
        """How far apart messages to one chat are, seconds."""
        return self._chat_interval

    def chat_ready_at(self, address: str, now: float, *, reply: bool = False, count: int = 1) -> float:
        """When `address` may get its next `count` messages, `now` or later. `reply`: they answer somebody who waits."""
        chat = self._chats.get(address)
        return now if chat is None else max(now, chat.ready_at(self._chat_interval, reply, count))

    def note(self, address: str, at: float, count: int = 1) -> None:
        """So many messages to `address` leave at `at`."""
        if self._chat_interval or self._group_size:
            chat = self._chat(address, at)
            chat.next = max(chat.next, at) + count * self._chat_interval
            if chat.times is not None:
                chat.times.extend([at] * count)

    def hold_chat(self, address: str, until: float, now: float) -> None:
        """Nothing leaves for `address` before `until`."""
        chat = self._chat(address, now)
        chat.held_until = max(chat.held_until, until)

    def _chat(self, address: str, now: float) -> _Chat:
        if address not in self._chats:
            self._forget_ready(now)
            is_group = self._group_size and address.startswith("-")
            self._chats[address] = _Chat(deque(maxlen=self._group_size) if is_group else None)
        return self._chats[address]

    def _forget_ready(self, now: float) -> None:
        """Drop the chats that nothing is known about any more; amortised over as many additions."""
        if len(self._chats) >= self._prune_at:
            self._chats = {address: chat for address, chat in self._chats.items() if not chat.is_idle(now)}
            self._prune_at = max(_PRUNE_AT_LEAST, 2 * len(self._chats))


class _Chat:
    """What one chat has had lately."""

    __slots__ = ("held_until", "next", "times")

    def __init__(self, times: deque[float] | None) -> None:
        self.next = _NEVER
        self.held_until = _NEVER
        #: For a group, its last messages, as many as a minute may hold.
        self.times = times

    def ready_at(self, interval: float, reply: bool, count: int) -> float:
        ready = self.next - (REPLY_BURST - 1) * interval if reply else self.next
        if self.times is not None:
            too_many = len(self.times) + count - (self.times.maxlen or 0)
            if too_many > 0:
                ready = max(ready, self.times[min(too_many, len(self.times)) - 1] + _GROUP_WINDOW / SHARE)
        return max(ready, self.held_until)

    def is_idle(self, now: float) -> bool:
        recent = self.times and self.times[-1] + _GROUP_WINDOW / SHARE > now
        return self.next <= now and self.held_until <= now and not recent
