"""When reports pour in, an officer gets the first few one by one, and then one message that counts the others.

A chat takes about one message a second: the two-hundredth card would come after minutes, and whatever is urgent
behind it. What is urgent is always shown by a message of its own; what is only counted is in `/tin`, and goes to the
next in line like any other report when nobody takes it.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from channels.port import Outgoing, Recipient
from conversations.languages import languages_of
from db.engine import keys_of
from db.sealing import CannotUnseal, padded, unpadded
from db.statements import changed, insert_ignoring
from db.tables.deliveries import Delivery, DeliveryState, Lane, Purpose
from db.tables.digests import Digest
from db.tables.reports import Report
from deliveries.copies import message_id_of
from deliveries.ledger import open_delivery
from officers.accounts import actor_for
from officers.facts import OfficerAt
from officers.permissions import Permission
from reports.facts import ReportState
from reports.messages import counted_elsewhere, waiting_counted
from unit.policy import Policy

#: So many reports that wait are shown one by one.
FEW = 3
#: After so long the next ones are shown one by one again, and a new digest rings.
WINDOW = timedelta(minutes=10)
#: A digest is not edited more often than this.
EVERY = timedelta(seconds=5)
#: How long a digest goes on counting.
FOLLOWED = timedelta(hours=12)
_PURPOSE = "digest"


@dataclass(frozen=True, slots=True)
class Heap:
    """What a chat got since `began_at`: so many cards, and perhaps a digest, which said `said` at `said_at`."""

    chat: Recipient
    serial: str
    began_at: datetime
    cards: int = 0
    said: int | None = None
    said_at: datetime | None = None

    @property
    def origin(self) -> str:
        """What its messages are filed under in the ledger."""
        return f"digest:{self.serial}"


async def shown_one_by_one(
    session: AsyncSession, report: Report, officers: Iterable[OfficerAt], *, now: datetime, policy: Policy
) -> list[OfficerAt]:
    """Those to whom a report is shown by a message of its own; the others find it counted in their digest."""
    if report.urgent:
        return list(officers)
    waiting = await count_waiting(session)
    by_itself = []
    for officer in officers:
        heap = await _heap(session, officer, now=now)
        if heap.cards < FEW or waiting <= FEW:
            heap = replace(heap, cards=heap.cards + 1)
            by_itself.append(officer)
        elif heap.said is None:
            heap = await _say(session, heap, waiting, officer.language, now=now, policy=policy)
        await _keep(session, heap)
    return by_itself


async def follow_digests(session: AsyncSession, *, now: datetime, policy: Policy) -> None:
    """Let every digest say how many reports wait now, until none does."""
    rows = await session.scalars(select(Digest))
    heaps = [heap for row in rows if (heap := await _open(session, row)) is not None]
    if not heaps:
        return
    waiting = await count_waiting(session)
    languages = await languages_of(session, [heap.chat for heap in heaps])
    for heap in heaps:
        if not await _is_followed(session, heap, now=now):
            await session.execute(delete(Digest).where(Digest.chat == _filed_under(session, heap.chat)))
        elif heap.said_at is not None and heap.said != waiting and not now - EVERY < heap.said_at <= now:
            await _say_again(session, heap, waiting, languages[heap.chat], now=now, policy=policy)


async def count_waiting(session: AsyncSession) -> int:
    """How many reports nobody has taken, besides the urgent ones."""
    query = select(func.count()).where(Report.state == ReportState.RECEIVED, Report.urgent.is_(False))
    return await session.scalar(query) or 0


async def _is_followed(session: AsyncSession, heap: Heap, *, now: datetime) -> bool:
    """Whether there is anything left to say, to somebody who may still know it."""
    lasts = WINDOW if heap.said is None else FOLLOWED
    if not heap.began_at <= now < heap.began_at + lasts:
        return False
    return (await actor_for(session, heap.chat)).may(Permission.HANDLE_REPORTS)


async def _heap(session: AsyncSession, officer: OfficerAt, *, now: datetime) -> Heap:
    row = await session.get(Digest, _filed_under(session, officer.chat), populate_existing=True)
    heap = await _open(session, row) if row is not None else None
    # Also when the clock was set back.
    if heap is not None and heap.began_at <= now < heap.began_at + WINDOW:
        return heap
    if heap is not None:
        await _point_on(session, heap, officer.language, now=now)
    return Heap(officer.chat, secrets.token_hex(8), now)


async def _say(
    session: AsyncSession, heap: Heap, waiting: int, language: str, *, now: datetime, policy: Policy
) -> Heap:
    await open_delivery(
        session,
        waiting_counted(waiting, language, at=now, zone=policy.zone),
        to=heap.chat,
        key=heap.origin,
        origin=heap.origin,
        lane=Lane.REPORT,
        purpose=Purpose.DIGEST,
        now=now,
    )
    return replace(heap, said=waiting, said_at=now)


async def _point_on(session: AsyncSession, heap: Heap, language: str, *, now: datetime) -> None:
    """A digest that counts no more says so, and that what comes after it counts."""
    shown = await _shown(session, heap)
    if shown is not None:
        # Who has deleted it needs no word of that.
        await _rewrite(session, heap, counted_elsewhere(language), shown, purpose=None, now=now)


async def _say_again(
    session: AsyncSession, heap: Heap, waiting: int, language: str, *, now: datetime, policy: Policy
) -> None:
    """Edit the digest, once it has arrived and while an earlier edit of it does not wait."""
    shown = await _shown(session, heap)
    if shown is None or await _is_being_rewritten(session, heap):
        return
    said = waiting_counted(waiting, language, at=now, zone=policy.zone)
    await _rewrite(session, heap, said, shown, now=now)
    await _keep(session, replace(heap, said=waiting, said_at=now))


async def _rewrite(
    session: AsyncSession,
    heap: Heap,
    said: Outgoing,
    shown: str,
    *,
    purpose: Purpose | None = Purpose.DIGEST,
    now: datetime,
) -> None:
    await open_delivery(
        session,
        # Where messages cannot be changed the next digest says it.
        replace(said, brief=""),
        to=heap.chat,
        key=f"{heap.origin}/{now.isoformat()}",
        origin=heap.origin,
        lane=Lane.REPORT,
        edits=shown,
        purpose=purpose,
        now=now,
    )


async def _shown(session: AsyncSession, heap: Heap) -> str | None:
    """The platform's id of the digest, once it has arrived: the newest, where its reader has deleted others."""
    sent = (Delivery.origin == heap.origin) & (Delivery.state == DeliveryState.SENT) & Delivery.edits.is_(None)
    row = await session.scalar(select(Delivery).where(sent).order_by(Delivery.id.desc()).limit(1))
    return message_id_of(session, row) if row is not None else None


async def _is_being_rewritten(session: AsyncSession, heap: Heap) -> bool:
    waits = (Delivery.origin == heap.origin) & Delivery.state.in_(_ON_ITS_WAY) & Delivery.edits.is_not(None)
    return await session.scalar(select(Delivery.id).where(waits).limit(1)) is not None


_ON_ITS_WAY = (DeliveryState.PENDING, DeliveryState.SENDING)


async def _keep(session: AsyncSession, heap: Heap) -> None:
    key = _filed_under(session, heap.chat)
    plain = json.dumps({**asdict(heap), "chat": str(heap.chat)}, default=datetime.isoformat).encode()
    sealed = keys_of(session).seal(_PURPOSE, padded(plain), bound_to=key)
    fresh = await changed(session, insert_ignoring(session, Digest).values(chat=key, sealed=sealed))
    if fresh != 1:
        row = await session.get_one(Digest, key)
        row.sealed = sealed
        await session.flush()


async def _open(session: AsyncSession, row: Digest) -> Heap | None:
    """What was kept; None when its key is gone or it was damaged: then the counting begins anew."""
    try:
        body = json.loads(unpadded(keys_of(session).unseal(_PURPOSE, row.sealed, bound_to=row.chat)))
        at = {name: datetime.fromisoformat(body[name]) if body[name] else None for name in ("began_at", "said_at")}
        return Heap(**{**body, **at, "chat": Recipient.parse(body["chat"])})
    except (CannotUnseal, ValueError, LookupError, TypeError):
        await session.delete(row)
        return None


def _filed_under(session: AsyncSession, chat: Recipient) -> str:
    return keys_of(session).fingerprint(_PURPOSE, str(chat))
