"""Receipt codes, whose hash is slow on purpose: made ahead and tried outside every transaction, and not too often.

The database has one writer; whoever lets it wait for a slow hash lets everybody's messages wait.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from channels.port import Recipient
from db.engine import keys_of
from db.tables.reports import Report
from reports.sealing import code_fits, code_prefix, hash_code, new_code

#: How many receipts lie ready: more reports than are handed in within a second.
READY = 24


@dataclass(frozen=True, slots=True)
class Receipt:
    """A fresh code for a reporter, and the slow hash of it that is stored."""

    code: str
    slow_hash: str


class NoReceiptReady(Exception):
    """None lies ready: `prepare` one outside the transaction, and begin it anew."""


class Receipts:
    """Receipts made ahead, in a thread."""

    def __init__(self) -> None:
        self._ready: list[Receipt] = []

    def take(self) -> Receipt:
        """One that nobody else gets; raises NoReceiptReady."""
        if not self._ready:
            raise NoReceiptReady
        return self._ready.pop()

    async def prepare(self) -> None:
        """Make one more."""
        code = new_code()
        self._ready.append(Receipt(code, await asyncio.to_thread(hash_code, code)))

    async def refill(self) -> None:
        """Make as many as were taken, up to READY in all."""
        while len(self._ready) < READY:
            await self.prepare()


# --- trying a code --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tried:
    """What came of a code somebody typed: the report it opens, if any; or when it may be tried (`again_at`)."""

    report_id: int | None = None
    again_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A report that a code may belong to."""

    report_id: int
    code_hash: str


async def candidates(session: AsyncSession, code: str) -> list[Candidate]:
    """The reports whose short keyed hash fits a code; usually none or one."""
    found = await session.execute(
        select(Report.id, Report.code_hash).where(Report.code_prefix == code_prefix(keys_of(session), code))
    )
    return [Candidate(row.id, row.code_hash) for row in found if row.code_hash]


async def whose(code: str, among: list[Candidate]) -> int | None:
    """The report whose slow hash proves the code; open no transaction around it."""
    for candidate in among:
        if await asyncio.to_thread(code_fits, code, candidate.code_hash):
            return candidate.report_id
    return None


@dataclass(slots=True)
class _Bucket:
    """Tries left at an instant; they come back one by one."""

    size: int
    every: timedelta
    left: float
    at: datetime

    def take(self, now: datetime) -> None:
        self._fill(now)
        self.left -= 1

    def again_at(self, now: datetime) -> datetime | None:
        """When there is one to take; None: now."""
        self._fill(now)
        return None if self.left >= 1 else now + (1 - self.left) * self.every

    def is_full(self, now: datetime) -> bool:
        self._fill(now)
        return self.left >= self.size

    def _fill(self, now: datetime) -> None:
        # A clock that was set back gives nothing and takes nothing.
        self.left = min(self.size, self.left + max(timedelta(), now - self.at) / self.every)
        self.at = now


@dataclass(slots=True)
class Attempts:
    """How often codes may be tried: by one chat, and by all of them together, however many chats somebody has."""

    chat_size: int = 10
    chat_every: timedelta = timedelta(seconds=30)
    total_size: int = 60
    total_every: timedelta = timedelta(seconds=1)
    _chats: dict[Recipient, _Bucket] = field(default_factory=dict)
    _total: _Bucket | None = None

    def take(self, chat: Recipient, now: datetime) -> datetime | None:
        """Take one try; None when there was one, else the instant from which there will be."""
        if self._total is None:
            self._total = _Bucket(self.total_size, self.total_every, self.total_size, now)
        mine = self._chats.get(chat) or _Bucket(self.chat_size, self.chat_every, self.chat_size, now)
        waits = [at for at in (mine.again_at(now), self._total.again_at(now)) if at is not None]
        if waits:
            return max(waits)
        mine.take(now)
        self._total.take(now)
        self._chats[chat] = mine
        # Nobody is remembered for longer than it takes the tries to come back.
        for full in [other for other, bucket in self._chats.items() if bucket.is_full(now)]:
            del self._chats[full]
        return None
