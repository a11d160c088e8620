"""Taking rows to be sent: who goes first, how long a claim is good for, and when the next is due.

The claim reads a partial index, so that its cost does not grow with the ledger.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import (
    Row,
    bindparam,
    case,
    func,
    select,
    text,
    update,
)
from sqlalchemy.ext.asyncio import AsyncSession

from channels.port import Outgoing, Recipient
from db.base import FAR_FUTURE, LONG_PAST, Instant
from db.engine import is_sqlite, keys_of, run_of
from db.sealing import CannotUnseal, KeyRing, unpadded
from db.statements import changed
from db.tables.broadcasts import Broadcast
from db.tables.deliveries import Delivery, DeliveryState, Lane, MediaHandle, Purpose
from db.troubles import park
from deliveries.buttons import button_id, keep_rows, new_row, pressable
from deliveries.calling_off import end_rows
from deliveries.ledger import ADDRESS, CONTENT, unless_halted

log = structlog.get_logger(__name__)

#: How long a claim is good for. The run that holds it renews it while the send is alive, however long that takes.
LEASE = timedelta(seconds=90)
#: How long a row waits for the upload of its file by another one, at most; it is released when that has ended.
UPLOAD_WAIT = timedelta(minutes=5)
#: The reason such a row waits.
AWAITS_UPLOAD = "upload"
#: How many such rows are released in one transaction.
_RELEASED = 500
#: What a report's card is called where one cannot be sent.
CARD = "card"
_GONE = Outgoing("")


@dataclass(frozen=True, slots=True)
class Claimed:
    """A delivery to be sent now. `callback_data` is keyed by (row, column) of its buttons.

    `parts` of it have left already.
    """

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
    parts: int = 0
    urgent: bool = False
    is_live: bool = False
    broadcast_id: int | None = None


@dataclass(frozen=True, slots=True)
class PutBack:
    """A delivery that was claimed and cannot leave yet: it keeps its place, and is due at `due_at` (None: at once)."""

    id: int
    reason: str | None = None
    due_at: datetime | None = None


#: What a lane is read in: what is urgent first; only reports can be.
_HEADS = [(lane, urgent) for lane in Lane for urgent in ((True, False) if lane is Lane.REPORT else (False,))]
_SHARE = "CASE lane " + " ".join(f"WHEN {int(lane)} THEN CAST(:share{int(lane)} AS INTEGER)" for lane in Lane) + " END"


def _claim_statement(*, is_sqlite: bool, skips: bool) -> str:
    """Short index ranges, two for each lane (what may leave at once, what has waited long enough), so that neither
    later rows nor other lanes are walked. On PostgreSQL rows that another transaction holds are passed over."""
    besides = " AND id NOT IN :besides" if skips else ""
    locked = "" if is_sqlite else " FOR UPDATE SKIP LOCKED"
    arms = " UNION ALL ".join(
        "SELECT * FROM (SELECT id, lane, urgent FROM deliveries WHERE channel = :channel"
        f" AND lane = {int(lane)} AND urgent = {urgent} AND state = 'pending' AND {due}{besides}{unless_halted(lane)}"
        f" ORDER BY due_at, id LIMIT :limit{locked}) AS head_{int(lane)}_{int(urgent)}_{number}"
        for lane, urgent in _HEADS
        for number, due in enumerate(("due_at IS NULL", "due_at <= :now"))
    )
    ranked = (
        "SELECT id, lane, urgent, ROW_NUMBER() OVER (PARTITION BY lane ORDER BY urgent DESC, id) AS nth"
        f" FROM ({arms}) AS heads"
    )
    order = f"CASE WHEN nth <= {_SHARE} THEN 0 ELSE 1 END, lane, urgent DESC, id"
    picked = f"SELECT id FROM ({ranked}) AS waiting ORDER BY {order} LIMIT :limit"
    chosen = f"id IN ({picked})" if is_sqlite else f"id = ANY(ARRAY({picked}))"
    return (
        "UPDATE deliveries SET state = 'sending', leased_until = :until, leased_by = :run, attempts = attempts + 1"
        f" WHERE {chosen} AND state = 'pending'"
        " RETURNING id, channel, address, address_sealed, lane, urgent, content_id, attempts, edits, passing,"
        " resend_of, parts, purpose, broadcast_id"
    )


# Not as a query in RETURNING: there SQLite walks the whole table for each row.
_SAID = text("SELECT id, sealed FROM contents WHERE id IN :ids").bindparams(bindparam("ids", expanding=True))
_TIMES = (bindparam("now", type_=Instant()), bindparam("until", type_=Instant()))
_CLAIM = {kind: text(_claim_statement(is_sqlite=kind, skips=False)).bindparams(*_TIMES) for kind in (True, False)}
_CLAIM_BESIDES = {
    kind: text(_claim_statement(is_sqlite=kind, skips=True)).bindparams(*_TIMES, bindparam("besides", expanding=True))
    for kind in (True, False)
}
_LANES = {int(lane): lane for lane in Lane}
_NO_CALLBACKS: Mapping[tuple[int, int], str] = {}
_NO_SHARES = (0,) * len(Lane)


async def claim(
    session: AsyncSession,
    channel: str,
    *,
    limit: int,
    now: datetime,
    besides: Collection[int] = (),
    shares: Sequence[int] = _NO_SHARES,
) -> list[Claimed]:
    """Take up to `limit` due deliveries of a channel, first lane first, within a lane in the order they were queued.

    Args:
        besides: Deliveries to leave where they are: their chat is busy.
        shares: How many of them belong to each lane before the order of the lanes applies.
    """
    if limit <= 0:
        return []
    values: dict[str, Any] = {"channel": channel, "now": now, "until": now + LEASE, "limit": limit}
    values |= {"run": run_of(session).id, **{f"share{int(lane)}": shares[lane] for lane in Lane}}
    statement = _CLAIM[is_sqlite(session)]
    if besides:
        statement, values["besides"] = _CLAIM_BESIDES[is_sqlite(session)], list(besides)
    rows: Sequence[Row[Any]] = (await (await session.connection()).execute(statement, values)).all()
    if not rows:
        return []
    rows = sorted(rows, key=lambda row: (row.lane, not row.urgent, row.id))
    keys = keys_of(session)
    # What all recipients of a broadcast are told is opened once.
    contents = await (await session.connection()).execute(_SAID, {"ids": list({row.content_id for row in rows})})
    said = {content_id: _said(keys, content_id, sealed) for content_id, sealed in contents}
    targets = {row.id: _target(keys, row) for row in rows}
    erased = [row.id for row in rows if row.content_id not in said]
    sealed = [row.id for row in rows if targets[row.id] is None or said.get(row.content_id, _GONE) is None]
    await end_rows(session, erased, state=DeliveryState.CANCELLED, reason="erased", now=now)
    # Their key was taken off the ring, or the row was damaged: nothing else must wait for it.
    await end_rows(session, sealed, state=DeliveryState.FAILED, reason="unreadable", now=now)
    await _say_lost(session, sealed, erased, now=now)
    media = {attachment.media_id for outgoing in said.values() if outgoing for attachment in outgoing.attachments}
    handles = await _handles(session, channel, media)
    claimed = []
    for row in rows:
        target, outgoing = targets[row.id], said.get(row.content_id)
        if target is not None and outgoing is not None:
            claimed.append(_claimed(keys, row, target, outgoing, handles))
    return claimed


async def _say_lost(session: AsyncSession, unreadable: list[int], missing: list[int], *, now: datetime) -> None:
    """Let people hear of a report's card or a notice that cannot be sent, for what it says is damaged or gone: once for
    each report and notice. All else that is damaged is logged."""
    if not unreadable and not missing:
        return
    lost = await session.execute(
        select(Delivery.id, Delivery.purpose, Delivery.subject_id, Broadcast.notice_id)
        .outerjoin(Broadcast, Broadcast.id == Delivery.broadcast_id)
        .where(Delivery.id.in_([*unreadable, *missing]))
    )
    others: list[int] = []
    for row in lost.all():
        if row.notice_id is not None:
            await park(session, "notice", str(row.notice_id), now=now)
        elif row.purpose == Purpose.FORWARD:
            await park(session, CARD, str(row.subject_id), now=now)
        elif row.id in unreadable:
            others.append(row.id)
    if others:
        log.error("deliveries_unreadable", deliveries=others)


def _claimed(
    keys: KeyRing, row: Any, target: tuple[Recipient, str | None], outgoing: Outgoing, handles: Mapping[int, str]
) -> Claimed:
    return Claimed(
        id=row.id,
        to=target[0],
        lane=_LANES[row.lane],
        outgoing=outgoing,
        content_id=row.content_id,
        attempts=row.attempts,
        edits=target[1],
        passing=bool(row.passing),
        resent=row.resend_of is not None,
        callback_data=_callback_data(keys, row, outgoing) if outgoing.buttons else _NO_CALLBACKS,
        handles=handles,
        parts=row.parts,
        urgent=bool(row.urgent),
        is_live=row.purpose in (Purpose.LIVE, Purpose.DIGEST),
        broadcast_id=row.broadcast_id,
    )


def _callback_data(keys: KeyRing, row: Any, outgoing: Outgoing) -> Mapping[tuple[int, int], str]:
    return {place: button_id(keys, row.id, row.content_id, place) for place, _ in pressable(outgoing)}


async def put_back(session: AsyncSession, deliveries: Sequence[PutBack]) -> None:
    """Give back what was claimed in this transaction and cannot leave yet: nothing has happened to it."""
    if deliveries:
        connection = await session.connection()
        await connection.execute(
            _PUT_BACK, [{"which": one.id, "why": one.reason, "next_at": one.due_at} for one in deliveries]
        )


async def show_buttons(session: AsyncSession, deliveries: Iterable[Claimed], *, now: datetime) -> None:
    """Make the buttons of messages that leave now. Those an earlier attempt has made are the same, and stay."""
    keys = keys_of(session)
    rows = [
        new_row(keys, button, delivery.callback_data[place], shown_to=delivery.to, delivery_id=delivery.id, now=now)
        for delivery in deliveries
        for place, button in pressable(delivery.outgoing)
    ]
    await keep_rows(session, rows)


async def renew(session: AsyncSession, delivery_ids: Collection[int], *, now: datetime) -> None:
    """Prolong the leases of sends that are still alive in this run."""
    if delivery_ids:
        await session.execute(
            update(Delivery)
            .where(text("state = 'sending'"), Delivery.id.in_(delivery_ids), Delivery.leased_by == run_of(session).id)
            .values(leased_until=now + LEASE)
            .execution_options(synchronize_session=False)
        )


ROWS = Delivery.__table__.c
_NEXT_AT = bindparam("next_at", type_=Instant())
# A broadcast may have been held meanwhile: then it is due no sooner.
DUE_AT = case((ROWS.due_at > _NEXT_AT, ROWS.due_at), else_=func.coalesce(_NEXT_AT, ROWS.due_at))
_PUT_BACK = (
    update(Delivery.__table__)  # type: ignore[arg-type]
    .where(ROWS.id == bindparam("which"), ROWS.state == DeliveryState.SENDING)
    .values(
        state=DeliveryState.PENDING,
        reason=func.coalesce(bindparam("why", type_=ROWS.reason.type), ROWS.reason),
        due_at=func.coalesce(_NEXT_AT, ROWS.due_at),
        attempts=ROWS.attempts - 1,
        leased_until=None,
        leased_by=None,
    )
)


async def release_uploads(session: AsyncSession, channel: str, *, now: datetime) -> bool:
    """Let what waited for the upload of its file go on; returns whether all of it does."""
    return await let_uploads_go(session, channel, now=now, limit=_RELEASED) < _RELEASED


def _heads(select_one: str) -> str:
    """One short range of the index for each lane; one minimum over all of them would walk every row that waits."""
    return " UNION ALL ".join(
        "SELECT due_at FROM ("
        + select_one.format(
            waiting=f"channel = :channel AND lane = {int(lane)} AND urgent = {urgent} AND state = 'pending'"
            + unless_halted(lane)
        )
        + f") AS head_{int(lane)}_{int(urgent)}_{number}"
        for number, (lane, urgent) in enumerate(_HEADS)
    )


_AT_ONCE = (
    "SELECT opened_at AS due_at FROM deliveries WHERE {waiting} AND due_at IS NULL"
    " ORDER BY deliveries.due_at, id LIMIT 1"
)
_LATER = "SELECT min(due_at) AS due_at FROM deliveries WHERE {waiting} AND due_at IS NOT NULL"
_AFTER = "SELECT min(due_at) AS due_at FROM deliveries WHERE {waiting} AND due_at > :after"
_NEXT_DUE = text(f"SELECT min(due_at) AS due_at FROM ({_heads(_AT_ONCE)} UNION ALL {_heads(_LATER)}) AS heads").columns(
    due_at=Instant()
)
_NEXT_AFTER = (
    text(f"SELECT min(due_at) AS due_at FROM ({_heads(_AFTER)}) AS heads")
    .bindparams(bindparam("after", type_=Instant()))
    .columns(due_at=Instant())
)


async def next_due_at(session: AsyncSession, channel: str, *, after: datetime | None = None) -> datetime | None:
    """When the next waiting delivery of a channel falls due; what may leave at once has been due since its day began.

    Args:
        after: Look only at what is due later than that.
    """
    connection = await session.connection()
    if after is None:
        found: datetime | None = await connection.scalar(_NEXT_DUE, {"channel": channel})
    else:
        found = await connection.scalar(_NEXT_AFTER, {"channel": channel, "after": after})
    return None if found == LONG_PAST else found  # damaged, see `let_damaged_go`


async def let_damaged_go(session: AsyncSession, channels: Collection[str]) -> None:
    """Let what waits in these channels leave now if its time is damaged: it would never fall due."""
    await session.execute(
        update(Delivery)
        .where(
            text("state = 'pending'"),
            # The index is read lane by lane.
            Delivery.channel.in_(channels),
            Delivery.lane.in_([int(lane) for lane in Lane]),
            Delivery.urgent.in_([False, True]),
            Delivery.due_at > FAR_FUTURE,
        )
        .values(due_at=None)
        .execution_options(synchronize_session=False)
    )


async def let_uploads_go(session: AsyncSession, channel: str | None, *, now: datetime, limit: int | None = None) -> int:
    waiting = select(Delivery.id).where(
        text("state = 'pending'"),
        # The index is read lane by lane.
        Delivery.lane.in_([int(lane) for lane in Lane]),
        Delivery.urgent.in_([False, True]),
        Delivery.due_at > now,
        Delivery.due_at <= now + UPLOAD_WAIT,
        Delivery.reason == AWAITS_UPLOAD,
    )
    if channel is not None:
        waiting = waiting.where(Delivery.channel == channel)
    released = (
        update(Delivery)
        # The first ones first: what waits in a chat keeps its order, however many steps this takes.
        .where(Delivery.id.in_(waiting.order_by(Delivery.id).limit(limit)))
        .values(due_at=None)
    )
    return await changed(session, released.execution_options(synchronize_session=False))


def _target(keys: KeyRing, row: Any) -> tuple[Recipient, str | None] | None:
    """Where a claimed row goes and which message it rewrites; None when that cannot be opened."""
    if not row.address_sealed:
        return Recipient(row.channel, row.address), row.edits
    try:
        address, _, edits = keys.unseal_text(ADDRESS, row.address, bound_to=row.content_id).partition("\n")
    except (CannotUnseal, ValueError):
        return None
    return Recipient(row.channel, address), edits if row.edits is not None else None


def _said(keys: KeyRing, content_id: str, sealed: bytes) -> Outgoing | None:
    try:
        return Outgoing.from_dict(json.loads(unpadded(keys.unseal(CONTENT, sealed, bound_to=content_id))))
    except (CannotUnseal, ValueError, LookupError, TypeError):
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
