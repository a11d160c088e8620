"""The ledger of everything we push: opened with the fact it tells of, claimed, sent, settled.

Hot paths are Core statements in batches; the claim reads a partial index, so its cost does not grow with the ledger.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from sqlalchemy import ColumnElement, bindparam, case, delete, func, insert, or_, select, text, true, update
from sqlalchemy.ext.asyncio import AsyncSession

from channels.inbound import insert_ignoring
from channels.port import Outgoing, Recipient
from db.base import Instant
from db.engine import is_sqlite, keys_of
from db.sealing import CannotOpen, KeyRing
from db.tables.deliveries import Content, Delivery, DeliveryState, MediaHandle
from db.tables.deliveries import Lane as Lane
from deliveries.buttons import keep_rows, new_row
from deliveries.retry import next_delay

#: How long a claimed row may stay unsettled before its outcome counts as unknown; longer than any send may take.
LEASE = timedelta(seconds=90)
#: How many marked copies follow a send nobody knows the end of, while each of them is lost as well.
COPIES = 5
#: What the key of such a copy ends with, once for each.
AGAIN = "/again"
_CONTENT = "content"
_GONE = Outgoing("")
_ALL: ColumnElement[bool] = true()
_ADDRESS = "delivery-address"
#: The lanes of notices.
_NOTICES = (Lane.URGENT, Lane.ROUTINE)


@dataclass(frozen=True, slots=True)
class Claimed:
    """A delivery to be sent now. `callback_data` is keyed by (row, column) of its buttons."""

    id: int
    to: Recipient
    lane: Lane
    outgoing: Outgoing
    content_id: str
    attempts: int
    edits: str | None
    passing: bool
    resent: bool
    callback_data: Mapping[tuple[int, int], str]
    handles: Mapping[int, str]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a claimed delivery. `due_at` goes with PENDING: when to try again."""

    delivery: Claimed
    state: DeliveryState
    message_id: str | None = None
    reason: str | None = None
    due_at: datetime | None = None
    counts: bool = True
    new_address: str | None = None
    handles: tuple[tuple[int, str], ...] = field(default=())


async def open_content(session: AsyncSession, outgoing: Outgoing, *, origin: str, now: datetime) -> str:
    """Store what is to be said, sealed; returns the content's id."""
    content_id = uuid4().hex
    body = json.dumps(outgoing.to_dict(), ensure_ascii=False).encode()
    await session.execute(
        insert(Content).values(
            id=content_id,
            origin=origin,
            sealed=keys_of(session).seal(_CONTENT, body, bound_to=content_id),
            created_at=now,
        )
    )
    return content_id


async def open_delivery(
    session: AsyncSession,
    outgoing: Outgoing,
    *,
    to: Recipient,
    key: str,
    origin: str,
    lane: Lane,
    now: datetime,
    due_at: datetime | None = None,
    expires_at: datetime | None = None,
    edits: str | None = None,
    passing: bool = False,
    hide_address: bool = False,
) -> bool:
    """Queue one message in the caller's transaction.

    Args:
        key: What this push is for; a second push under the same key is not queued.
        edits: The platform's id of a message to rewrite instead of sending a new one.
        passing: The row leaves the ledger once it is sent (answers, edits).
        hide_address: Seal the address: the ledger must not tell who reported something.

    Returns:
        Whether it was queued; False means it had been before.
    """
    content_id = await open_content(session, outgoing, origin=origin, now=now)
    address = to.address
    if hide_address:
        address = keys_of(session).seal_text(_ADDRESS, address, bound_to=key)
    opened = await session.execute(
        insert_ignoring(session, Delivery).values(
            key=key,
            origin=origin,
            content_id=content_id,
            channel=to.channel,
            address=address,
            address_sealed=hide_address,
            passing=passing or edits is not None,
            edits=edits,
            lane=int(lane),
            state=DeliveryState.PENDING,
            attempts=0,
            due_at=due_at or now,
            expires_at=expires_at,
            opened_at=now,
        )
    )
    if opened.rowcount != 1:  # type: ignore[attr-defined]
        await session.execute(delete(Content).where(Content.id == content_id))
        return False
    return True


def _unless_halted(lane: Lane) -> str:
    """Nothing leaves a lane while rows of a broadcast there still have to follow its notice (see Broadcast)."""
    return f" AND NOT EXISTS (SELECT 1 FROM broadcasts WHERE halts_lane = {int(lane)})" if lane in _NOTICES else ""


def _claim_statement(*, sqlite: bool, skips: bool) -> str:
    """Five short index ranges, one a lane, so that neither later rows nor other lanes are walked."""
    besides = " AND id NOT IN :besides" if skips else ""
    arms = " UNION ALL ".join(
        f"SELECT * FROM (SELECT id, lane, due_at FROM deliveries WHERE channel = :channel AND lane = {int(lane)}"
        f" AND state = 'pending' AND due_at <= :now{besides}{_unless_halted(lane)}"
        f" ORDER BY due_at, id LIMIT :limit) AS lane_{int(lane)}"
        for lane in Lane
    )
    order = "CASE WHEN lane < :served_last THEN 1 ELSE 0 END, lane, due_at, id"
    picked = f"SELECT id FROM ({arms}) AS waiting ORDER BY {order} LIMIT :limit"
    chosen = f"id IN ({picked})" if sqlite else f"id = ANY(ARRAY({picked}))"
    return (
        "UPDATE deliveries SET state = 'sending', leased_until = :until, attempts = attempts + 1"
        f" WHERE {chosen} AND state = 'pending'"
        " RETURNING id, key, channel, address, address_sealed, lane, content_id, attempts, edits, passing,"
        " resend_of, due_at"
    )


_TIMES = (bindparam("now", type_=Instant()), bindparam("until", type_=Instant()))
_CLAIM = {sqlite: text(_claim_statement(sqlite=sqlite, skips=False)).bindparams(*_TIMES) for sqlite in (True, False)}
_CLAIM_BESIDES = {
    sqlite: text(_claim_statement(sqlite=sqlite, skips=True)).bindparams(*_TIMES, bindparam("besides", expanding=True))
    for sqlite in (True, False)
}


async def claim(
    session: AsyncSession,
    channel: str,
    *,
    limit: int,
    now: datetime,
    besides: Collection[int] = (),
    served_last: int = 0,
) -> list[Claimed]:
    """Take up to `limit` due deliveries of a channel, first lane first; their buttons are made on the way.

    Args:
        besides: Deliveries to leave where they are: their chat is busy.
        served_last: Lanes below this number come after all others this time, so that those have their share.
    """
    if limit <= 0:
        return []
    values: dict[str, Any] = {"channel": channel, "now": now, "until": now + LEASE, "limit": limit}
    values["served_last"] = served_last
    statement = _CLAIM[is_sqlite(session)]
    if besides:
        statement, values["besides"] = _CLAIM_BESIDES[is_sqlite(session)], list(besides)
    rows = (await session.execute(statement, values)).all()
    if not rows:
        return []
    rows = sorted(rows, key=lambda row: (row.lane, row.due_at, row.id))
    contents = await _contents(session, {row.content_id for row in rows})
    addresses = {row.id: _address(session, row) for row in rows}
    erased = [row.id for row in rows if row.content_id not in contents]
    sealed = [row.id for row in rows if addresses[row.id] is None or contents.get(row.content_id, _GONE) is None]
    await _end(session, erased, state=DeliveryState.CANCELLED, reason="erased", now=now)
    # Their key was taken off the ring, or the row was damaged: nothing else must wait for it.
    await _end(session, sealed, state=DeliveryState.FAILED, reason="unreadable", now=now)
    rows = [row for row in rows if row.id not in {*erased, *sealed}]
    media = {attachment.media_id for said in contents.values() if said for attachment in said.attachments}
    handles = await _handles(session, channel, media)
    claimed, buttons = [], []
    for row in rows:
        address, outgoing = addresses[row.id], contents[row.content_id]
        if address is None or outgoing is None:
            continue
        to = Recipient(row.channel, address)
        data = {}
        for place, button in _pressable(outgoing):
            values = new_row(keys_of(session), button, shown_to=to, delivery_id=row.id, now=now)
            data[place] = str(values["id"])
            buttons.append(values)
        claimed.append(
            Claimed(
                row.id,
                to,
                Lane(row.lane),
                outgoing,
                row.content_id,
                row.attempts,
                row.edits,
                bool(row.passing),
                row.resend_of is not None,
                data,
                handles,
            )
        )
    await keep_rows(session, buttons)
    return claimed


async def settle(session: AsyncSession, outcomes: Sequence[Outcome], *, now: datetime) -> None:
    """Write down what became of claimed deliveries, in one statement; then queue again what must not stay unknown."""
    if not outcomes:
        return
    connection = await session.connection()
    table = Delivery.__table__
    next_at = bindparam("next_at", type_=Instant())
    moved = await _new_addresses(session, outcomes)
    await connection.execute(
        update(table)  # type: ignore[arg-type]
        .where(table.c.id == bindparam("which"), table.c.state == DeliveryState.SENDING)
        .values(
            state=bindparam("to_state"),
            message_id=bindparam("platform_id"),
            reason=bindparam("why"),
            # A broadcast may have been held meanwhile: then it is due no sooner.
            due_at=case((table.c.due_at > next_at, table.c.due_at), else_=func.coalesce(next_at, table.c.due_at)),
            attempts=table.c.attempts - bindparam("uncounted"),
            address=func.coalesce(bindparam("new_address"), table.c.address),
            settled_at=bindparam("at"),
            leased_until=None,
        ),
        [
            {
                "which": outcome.delivery.id,
                "to_state": outcome.state,
                "platform_id": outcome.message_id,
                "why": outcome.reason,
                "next_at": outcome.due_at,
                "uncounted": 0 if outcome.counts else 1,
                "new_address": moved.get(outcome.delivery.id),
                "at": None if outcome.state is DeliveryState.PENDING else now,
            }
            for outcome in outcomes
        ],
    )
    await _drop_passed(session, outcomes)
    put_back = [outcome.delivery.id for outcome in outcomes if outcome.state is DeliveryState.PENDING]
    if put_back:
        called_off = (Delivery.state == DeliveryState.PENDING) & (Delivery.expires_at <= now)
        await session.execute(
            update(Delivery)
            .where(Delivery.id.in_(put_back), called_off)
            .values(state=DeliveryState.CANCELLED, settled_at=now)
        )
    for outcome in outcomes:
        for media_id, handle in outcome.handles:
            await session.execute(
                insert_ignoring(session, MediaHandle).values(
                    media_id=media_id, channel=outcome.delivery.to.channel, handle=handle
                )
            )
    unknown = [outcome.delivery.id for outcome in outcomes if outcome.state is DeliveryState.UNKNOWN]
    await _send_again(session, unknown, now=now)


async def recover(session: AsyncSession, *, now: datetime, all_in_flight: bool = False) -> int:
    """List sends whose end nobody saw as unknown: those past their lease, or all of them after a restart.

    Edits are harmless to repeat and simply wait again. The others are queued once more, marked as sent again; only
    copies of routine notices are not.

    Returns:
        How many sends are newly unknown.
    """
    in_flight: ColumnElement[bool] = text("state = 'sending'")  # type: ignore[assignment]
    if not all_in_flight:
        in_flight = (Delivery.leased_until < now) & in_flight
    await session.execute(
        update(Delivery)
        .where(in_flight, Delivery.edits.is_not(None))
        .values(state=DeliveryState.PENDING, leased_until=None)
    )
    lost = list(
        await session.scalars(
            update(Delivery)
            .where(in_flight)
            .values(state=DeliveryState.UNKNOWN, reason="interrupted", settled_at=now, leased_until=None)
            .returning(Delivery.id)
        )
    )
    await _send_again(session, lost, now=now)
    return len(lost)


async def expire(session: AsyncSession, *, now: datetime) -> None:
    """Give up what waits but whose time has passed."""
    await session.execute(
        update(Delivery)
        .where(text("state = 'pending' AND expires_at IS NOT NULL"), Delivery.expires_at < now)
        .values(state=DeliveryState.EXPIRED, settled_at=now)
    )


async def hold(session: AsyncSession, broadcast_id: int, *, until: datetime, which: ColumnElement[bool] = _ALL) -> None:
    """Let what a broadcast still has to send wait (`which` of it); nothing of it is claimed before `until`."""
    waiting = Delivery.state.in_([DeliveryState.PENDING, DeliveryState.SENDING])
    await session.execute(
        update(Delivery)
        .where(Delivery.broadcast_id == broadcast_id, waiting, which)
        .values(due_at=until)
        .execution_options(synchronize_session=False)
    )


async def cancel(session: AsyncSession, broadcast_id: int, *, now: datetime, which: ColumnElement[bool] = _ALL) -> None:
    """Call off what a broadcast still has to send (`which` of it)."""
    await _call_off(session, (Delivery.broadcast_id == broadcast_id) & which, now=now)


async def call_off(session: AsyncSession, origin: str, *, what: str, now: datetime) -> None:
    """Call off what waits on behalf of `origin` and has `what` in its key."""
    await _call_off(session, (Delivery.origin == origin) & Delivery.key.contains(what, autoescape=True), now=now)


async def call_off_for(session: AsyncSession, chats: Iterable[Recipient], *, now: datetime) -> None:
    """Call off what waits for chats that may not read it any more; notices still reach them."""
    for chat in chats:
        to_chat = (Delivery.channel == chat.channel) & (Delivery.address == chat.address)
        await _call_off(session, to_chat & Delivery.broadcast_id.is_(None), now=now)


async def forget_hidden(session: AsyncSession, origins: Collection[str]) -> None:
    """Drop every row on behalf of `origins` whose address is sealed, with what it says, whatever became of it."""
    hidden = Delivery.origin.in_(origins) & Delivery.address_sealed
    await session.execute(delete(Content).where(Content.id.in_(select(Delivery.content_id).where(hidden))))
    await session.execute(delete(Delivery).where(hidden).execution_options(synchronize_session=False))


async def forget_left_over(session: AsyncSession, *, before: datetime) -> None:
    """Drop answers and edits that came to another end than being sent before then, with what they said."""
    left = text("passing AND settled_at IS NOT NULL"), Delivery.settled_at < before
    await session.execute(delete(Content).where(Content.id.in_(select(Delivery.content_id).where(*left))))
    await session.execute(delete(Delivery).where(*left).execution_options(synchronize_session=False))


async def erase_origin(session: AsyncSession, origin: str) -> None:
    """Forget what was said on behalf of `origin`; the ledger keeps that it was said."""
    await session.execute(delete(Content).where(Content.origin == origin))


#: The head of each lane's range of the index; one minimum over all lanes would walk every row that waits.
_NEXT_DUE = text(
    "SELECT min(due_at) AS due_at FROM ("
    + " UNION ALL ".join(
        "SELECT min(due_at) AS due_at FROM deliveries"
        f" WHERE channel = :channel AND lane = {int(lane)} AND state = 'pending'{_unless_halted(lane)}"
        for lane in Lane
    )
    + ") AS heads"
).columns(due_at=Instant())


async def next_due_at(session: AsyncSession, channel: str) -> datetime | None:
    """When the next waiting delivery of a channel falls due."""
    found: datetime | None = await session.scalar(_NEXT_DUE, {"channel": channel})
    return found


async def _send_again(session: AsyncSession, delivery_ids: Iterable[int], *, now: datetime) -> None:
    """Queue unknown sends once more, unless they are copies of a routine notice; a copy lost too is queued again,
    a while later, COPIES at most. Each is a row of its own, so each that is in doubt stays listed."""
    ids = list(delivery_ids)
    if not ids:
        return
    rows = await session.scalars(
        select(Delivery).where(
            Delivery.id.in_(ids),
            Delivery.edits.is_(None),
            or_(Delivery.broadcast_id.is_(None), Delivery.lane <= Lane.URGENT),
        )
    )
    for row in rows:
        copies = row.key.count(AGAIN)
        if copies >= COPIES or (row.expires_at is not None and row.expires_at <= now):
            continue
        delay = (next_delay(copies) if copies else None) or timedelta()
        await session.execute(
            insert_ignoring(session, Delivery).values(
                key=row.key + AGAIN,
                origin=row.origin,
                broadcast_id=row.broadcast_id,
                content_id=row.content_id,
                channel=row.channel,
                address=row.address,
                address_sealed=row.address_sealed,
                passing=row.passing,
                lane=row.lane,
                state=DeliveryState.PENDING,
                attempts=0,
                due_at=max(now + delay, row.due_at),
                expires_at=row.expires_at,
                opened_at=now,
                resend_of=row.resend_of or row.id,
            )
        )


async def _drop_passed(session: AsyncSession, outcomes: Sequence[Outcome]) -> None:
    passed = [o.delivery for o in outcomes if o.delivery.passing and o.state is DeliveryState.SENT]
    if passed:
        await session.execute(delete(Delivery).where(Delivery.id.in_([delivery.id for delivery in passed])))
        await session.execute(delete(Content).where(Content.id.in_([delivery.content_id for delivery in passed])))


async def _call_off(session: AsyncSession, which: ColumnElement[bool], *, now: datetime) -> None:
    """End what waits. What is under way may arrive; put back or lost, it does not leave again."""
    await session.execute(
        update(Delivery)
        .where(text("state = 'pending'"), which)
        .values(state=DeliveryState.CANCELLED, settled_at=now)
        .execution_options(synchronize_session=False)
    )
    await session.execute(
        update(Delivery)
        .where(text("state = 'sending'"), which)
        .values(expires_at=now)
        .execution_options(synchronize_session=False)
    )


async def _end(
    session: AsyncSession, delivery_ids: Sequence[int], *, state: DeliveryState, reason: str, now: datetime
) -> None:
    if delivery_ids:
        await session.execute(
            update(Delivery)
            .where(Delivery.id.in_(delivery_ids))
            .values(state=state, reason=reason, settled_at=now, leased_until=None)
        )


def _address(session: AsyncSession, row: Any) -> str | None:
    """Where a claimed row goes; None when that cannot be opened."""
    if not row.address_sealed:
        return str(row.address)
    try:
        return keys_of(session).open_text(_ADDRESS, row.address, bound_to=row.key.partition(AGAIN)[0])
    except (CannotOpen, ValueError):
        return None


async def _new_addresses(session: AsyncSession, outcomes: Sequence[Outcome]) -> dict[int, str]:
    """The addresses of chats that moved, by delivery: sealed where the old one was."""
    moved = {outcome.delivery.id: outcome.new_address for outcome in outcomes if outcome.new_address is not None}
    if not moved:
        return {}
    sealed = await session.execute(
        select(Delivery.id, Delivery.key).where(Delivery.id.in_(moved), Delivery.address_sealed)
    )
    for delivery_id, key in sealed:
        bound_to = key.partition(AGAIN)[0]
        moved[delivery_id] = keys_of(session).seal_text(_ADDRESS, moved[delivery_id], bound_to=bound_to)
    return moved


async def _contents(session: AsyncSession, ids: set[str]) -> dict[str, Outgoing | None]:
    """What is to be said, by id; None for what cannot be opened. What was erased is missing."""
    rows = await session.execute(select(Content.id, Content.sealed).where(Content.id.in_(ids)))
    return {content_id: _said(keys_of(session), content_id, sealed) for content_id, sealed in rows}


def _said(keys: KeyRing, content_id: str, sealed: bytes) -> Outgoing | None:
    try:
        return Outgoing.from_dict(json.loads(keys.open(_CONTENT, sealed, bound_to=content_id)))
    except (CannotOpen, ValueError, LookupError, TypeError):
        return None


async def _handles(session: AsyncSession, channel: str, media: set[int]) -> dict[int, str]:
    if not media:
        return {}
    rows = await session.execute(
        select(MediaHandle.media_id, MediaHandle.handle).where(
            MediaHandle.channel == channel, MediaHandle.media_id.in_(media)
        )
    )
    return {row.media_id: row.handle for row in rows}


def _pressable(outgoing: Outgoing) -> Iterable[tuple[tuple[int, int], Any]]:
    for row, buttons in enumerate(outgoing.buttons):
        for column, button in enumerate(buttons):
            if button.url is None:
                yield (row, column), button
