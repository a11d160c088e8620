"""Whether a message may go to a chat: who blocked the bot, who is unknown, and what is too fast."""

from __future__ import annotations

from collections.abc import Iterator

from bench.botapi.meter import Meter
from bench.botapi.refusals import Refused, blocked, migrated, too_many


class Gate:
    """Refuses what Telegram would refuse, then counts it.

    Args:
        rate: Messages in any sliding second; None: no limit.
        chat_rate: The same for one chat.
        group_rate: Messages in any sliding minute to a group, which has a negative id.
    """

    def __init__(self, rate: int | None, chat_rate: int | None, group_rate: int | None) -> None:
        self.blocked: set[int] = set()
        self.migrated: dict[int, int] = {}
        self.refused = 0
        self._chat_rate = chat_rate
        self._group_rate = group_rate
        self._all = Meter(rate)
        self._of_chat: dict[int, Meter] = {}

    def admit(self, chat_id: int, count: int, now: float) -> None:
        """Let `count` messages through that arrive together at `now`; raises Refused."""
        if chat_id in self.migrated:
            raise self._refuse(migrated(self.migrated[chat_id]))
        if chat_id in self.blocked:
            raise self._refuse(blocked())
        meters = list(self._meters(chat_id))
        if missing := max(meter.missing(now, count) for meter in meters):
            raise self._refuse(too_many(missing))
        for meter in meters:
            meter.add(now, count)

    def _meters(self, chat_id: int) -> Iterator[Meter]:
        yield self._all
        is_group = chat_id < 0 and self._group_rate
        if is_group or self._chat_rate:
            own = Meter(self._group_rate, 60.0) if is_group else Meter(self._chat_rate)
            yield self._of_chat.setdefault(chat_id, own)

    def _refuse(self, refused: Refused) -> Refused:
        self.refused += 1
        return refused
