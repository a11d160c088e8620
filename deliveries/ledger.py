"""The ledger of everything we push: opened with the fact it tells of, claimed, sent, settled.

Hot paths are Core statements in batches; the claim reads a partial index, so its cost does not grow with the ledger.
What a row is for stands in columns; its key only keeps it from being queued twice, and is a keyed hash.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import structlog
from sqlalchemy import (
    Boolean,
    ColumnElement,
    Insert,
    Row,
    Table,
    bindparam,
    case,
    delete,
    func,
    insert,
    null,
    select,
    text,
    true,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session, aliased

from channels.port import Outgoing, Recipient, within_limit
from db.base import FAR_FUTURE, LONG_PAST, Instant
from db.engine import is_sqlite, keys_of, run_of
from db.marks import day_of, random_id
from db.sealing import CannotOpen, KeyRing, padded, unpadded
from db.statements import changed, erase_rows, insert_ignoring
from db.tables.broadcasts import Broadcast
from db.tables.deliveries import Content, Delivery, DeliveryState, MediaHandle, MediaRow
from db.tables.deliveries import Lane as Lane
from db.tables.deliveries import Purpose as Purpose
from db.troubles import park
from deliveries import copies
from deliveries.buttons import button_id, drop_rows, keep_rows, new_row, pressable, renumber_rows
from deliveries.copies import COPIES as COPIES
from deliveries.copies import settled_on

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
_CONTENT = "content"
#: What is said is padded at least to this: how short an answer was is not to be seen.
_LEAST = 1024
_GONE = Outgoing("")
_ALL: ColumnElement[bool] = true()
_ADDRESS = "delivery-address"
#: The lanes of notices.
_NOTICES = (Lane.URGENT, Lane.ROUTINE)
#: In place of a message's id that is sealed together with the address.
_SEALED = "*"


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
class Outcome:
    """What became of a claimed delivery. `due_at` goes with PENDING: when to try again, None: at once.

    Attributes:
        counts: Whether it was an attempt that failed.
        parts: How many parts have left by now.
        anew: The message it was to rewrite is gone: it becomes a message of its own.
        stale: Files whose handles the platform does not know any more.
    """

    delivery: Claimed
    state: DeliveryState
    message_id: str | None = None
    reason: str | None = None
    due_at: datetime | None = None
    counts: bool = True
    new_address: str | None = None
    handles: tuple[tuple[int, str], ...] = field(default=())
    parts: int | None = None
    anew: bool = False
    stale: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class PutBack:
    """A delivery that was claimed and cannot leave yet: it keeps its place, and is due at `due_at` (None: at once)."""

    id: int
    reason: str | None = None
    due_at: datetime | None = None


async def open_content(session: AsyncSession, outgoing: Outgoing, *, origin: str, now: datetime) -> str:
    """Store what is to be said, sealed; returns the content's id. Buttons beyond what platforms show are left out."""
    row = _content_row(keys_of(session), outgoing, origin=origin, now=now)
    await session.run_sync(_execute, [(_KEEP_CONTENT, row)])
    return str(row["id"])


def _content_row(keys: KeyRing, outgoing: Outgoing, *, origin: str, now: datetime) -> dict[str, Any]:
    content_id = uuid4().hex
    shown = within_limit(outgoing.buttons)
    if sum(map(len, shown)) < sum(map(len, outgoing.buttons)):
        log.error("buttons_cut", content=content_id, buttons=sum(map(len, outgoing.buttons)))
        outgoing = replace(outgoing, buttons=shown)
    body = json.dumps(outgoing.to_dict(), ensure_ascii=False).encode()
    sealed = keys.seal(_CONTENT, padded(body, least=_LEAST), bound_to=content_id)
    return {"id": content_id, "origin": origin, "sealed": sealed, "created_at": day_of(now)}


_CONTENTS: Table = Content.__table__  # type: ignore[assignment]
_DELIVERIES: Table = Delivery.__table__  # type: ignore[assignment]
_KEEP_CONTENT = insert(_CONTENTS)
_OPEN: dict[bool, Insert] = {
    True: sqlite.insert(_DELIVERIES).on_conflict_do_nothing(),
    False: postgresql.insert(_DELIVERIES).on_conflict_do_nothing(),
}


def _execute(session: Session, statements: Sequence[tuple[Insert, Mapping[str, Any]]]) -> int:
    """Statements made once, one after the other; returns how many rows the last one has written."""
    connection = session.connection()
    return [connection.execute(statement, values).rowcount for statement, values in statements][-1]


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
    urgent: bool = False,
    purpose: Purpose | None = None,
    subject_id: int | None = None,
) -> bool:
    """Queue one message in the caller's transaction.

    Args:
        key: What this push is for; a second push under the same key is not queued. Only a keyed hash of it is kept.
        edits: The platform's id of a message to rewrite instead of sending a new one. Edits of one message are one
            row: an earlier one that still waits becomes this one.
        passing: The row leaves the ledger once it is sent (answers, edits).
        hide_address: Seal the address: the ledger must not tell who reported something.
        urgent: Ahead of the others in its lane (reports only).
        purpose: What the message is for, with `subject_id` what it is about: how it is found again.

    Returns:
        Whether it was queued; False means it had been before.
    """
    keys = keys_of(session)
    values: dict[str, Any] = {
        "key": keys.fingerprint("delivery-key", key),
        "origin": origin,
        "purpose": purpose,
        "subject_id": subject_id,
        "channel": to.channel,
        "address_sealed": hide_address,
        "passing": passing or edits is not None,
        "lane": int(lane),
        "urgent": urgent and lane is Lane.REPORT,
        "state": DeliveryState.PENDING,
        "attempts": 0,
        "due_at": due_at if due_at is not None and due_at > now else None,
        "expires_at": expires_at,
        "opened_at": day_of(now),
    }
    if edits is not None:
        values["target"] = keys.fingerprint("delivery-target", str(to), edits)
        if await _was_queued(session, values["key"]):
            return False
    content = _content_row(keys, outgoing, origin=origin, now=now)
    values |= {"content_id": content["id"], "address": to.address, "edits": edits}
    if hide_address:
        hidden = to.address if edits is None else f"{to.address}\n{edits}"
        values["address"] = keys.seal_text(_ADDRESS, hidden, bound_to=content["id"])
        values["edits"] = None if edits is None else _SEALED
    statements: list[tuple[Insert, Mapping[str, Any]]] = [(_KEEP_CONTENT, content)]
    if edits is not None:
        await session.run_sync(_execute, statements)
        if await _replace_waiting(session, values):
            return True
        statements.clear()
    statements.append((_OPEN[is_sqlite(session)], values))
    if await session.run_sync(_execute, statements) != 1:
        await session.execute(delete(Content).where(Content.id == content["id"]))
        return False
    return True


def _unless_halted(lane: Lane) -> str:
    """Nothing leaves a lane while rows of a broadcast there still have to follow its notice (see Broadcast)."""
    return f" AND NOT EXISTS (SELECT 1 FROM broadcasts WHERE halts_lane = {int(lane)})" if lane in _NOTICES else ""


async def _was_queued(session: AsyncSession, key: str) -> bool:
    return await session.scalar(select(Delivery.id).where(Delivery.key == key)) is not None


async def _replace_waiting(session: AsyncSession, values: Mapping[str, Any]) -> bool:
    """Let the edit of the same message that still waits say what is newest; returns whether one waited. It keeps its
    place, and waits on where its chat was told to wait; the better lane counts."""
    waiting = (
        await session.execute(
            select(Delivery.id, Delivery.content_id, Delivery.lane, Delivery.urgent, Delivery.due_at)
            .where(Delivery.target == values["target"], Delivery.state == DeliveryState.PENDING)
            .order_by(Delivery.id.desc())
            .limit(1)
        )
    ).one_or_none()
    if waiting is None:
        return False
    newer = {
        **values,
        "lane": min(waiting.lane, values["lane"]),
        "urgent": waiting.urgent or values["urgent"],
        "due_at": values["due_at"] or waiting.due_at,
    }
    replaced = await changed(
        session,
        update(Delivery)
        .where(Delivery.id == waiting.id, Delivery.state == DeliveryState.PENDING)
        .values(**newer)
        .execution_options(synchronize_session=False),
    )
    if replaced != 1:
        return False  # claimed in this instant: the newest follows it
    await session.execute(delete(Content).where(Content.id == waiting.content_id))
    await drop_rows(session, [waiting.id])
    return True


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
        f" AND lane = {int(lane)} AND urgent = {urgent} AND state = 'pending' AND {due}{besides}{_unless_halted(lane)}"
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
    await _end(session, erased, state=DeliveryState.CANCELLED, reason="erased", now=now)
    # Their key was taken off the ring, or the row was damaged: nothing else must wait for it.
    await _end(session, sealed, state=DeliveryState.FAILED, reason="unreadable", now=now)
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


async def settle(session: AsyncSession, outcomes: Sequence[Outcome], *, now: datetime) -> None:
    """Write down what became of claimed deliveries, in one statement for those that were sent and one for the others;
    then queue again what must not stay unknown.

    Only what this run holds is changed, with one exception: a message that was listed as unknown, because its lease
    had lapsed, and was sent after all is sent, and the copy of it is called off.
    """
    if not outcomes:
        return
    put_back_edits = [o.delivery.id for o in outcomes if o.state is DeliveryState.PENDING and o.delivery.edits]
    await _drop_superseded(session, put_back_edits)
    sent = [outcome for outcome in outcomes if _is_just_sent(outcome)]
    others = outcomes if not sent else [outcome for outcome in outcomes if not _is_just_sent(outcome)]
    numbers = {o.delivery.id: -random_id() for o in outcomes if _takes_new_number(o)}
    settled = await _settle_sent(session, sent, numbers, now=now)
    settled += await _settle_others(session, others, numbers, now=now)
    if settled != len(outcomes):  # a driver that cannot tell says -1
        await _settle_late(session, outcomes, now=now)
    await _drop_passed(session, outcomes)
    shown = [o.delivery.id for o in outcomes if o.delivery.callback_data and o.delivery.id in numbers]
    await renumber_rows(session, {number: numbers[number] for number in shown})
    await _end_called_off(session, [o.delivery.id for o in outcomes if o.state is DeliveryState.PENDING], now=now)
    never_left = (DeliveryState.FAILED, DeliveryState.UNDELIVERABLE)
    await drop_rows(session, [o.delivery.id for o in outcomes if o.state in never_left and _has_unseen_buttons(o)])
    await _keep_handles(session, outcomes)
    unknown = [outcome.delivery.id for outcome in outcomes if outcome.state is DeliveryState.UNKNOWN]
    await copies.send_again(session, unknown, now=now)


def _is_just_sent(outcome: Outcome) -> bool:
    """Whether there is nothing to write down but that it was sent, and what the platform calls it."""
    return (
        outcome.state is DeliveryState.SENT
        and outcome.counts
        and not outcome.anew
        and outcome.reason is None
        and outcome.parts is None
        and outcome.new_address is None
    )


async def _settle_sent(
    session: AsyncSession, outcomes: Sequence[Outcome], numbers: Mapping[int, int], *, now: datetime
) -> int:
    """The usual end, and the one that comes in thousands: all of them are one parameter."""
    if not outcomes:
        return 0
    keys = keys_of(session)
    sent = json.dumps(
        [
            (o.delivery.id, _kept_message_id(keys, o.delivery, o.message_id), _new_number(o.delivery, numbers))
            for o in outcomes
        ]
    )
    connection = await session.connection()
    settled = await connection.execute(
        _SETTLE_SENT[is_sqlite(session)], {"sent": sent, "run": run_of(session).id, "day": day_of(now), "now": now}
    )
    return settled.rowcount


async def _settle_others(
    session: AsyncSession, outcomes: Sequence[Outcome], numbers: Mapping[int, int], *, now: datetime
) -> int:
    if not outcomes:
        return 0
    moved = await _new_addresses(session, outcomes)
    connection = await session.connection()
    settled = await connection.execute(
        _SETTLE,
        [
            {
                "which": outcome.delivery.id,
                "run": run_of(session).id,
                "to_state": outcome.state,
                "platform_id": _kept_message_id(keys_of(session), outcome.delivery, outcome.message_id),
                "why": outcome.reason,
                "next_at": outcome.due_at,
                "stays": outcome.state is DeliveryState.PENDING,
                "uncounted": 0 if outcome.counts else 1,
                "left": outcome.parts,
                "is_anew": outcome.anew,
                "new_address": moved.get(outcome.delivery.id),
                "number": _new_number(outcome.delivery, numbers),
                "at": None if outcome.state is DeliveryState.PENDING else _settled_at(outcome.delivery, now),
            }
            for outcome in outcomes
        ],
    )
    return settled.rowcount


def _new_number(delivery: Claimed, numbers: Mapping[int, int]) -> int | None:
    """The number a row takes; one that is about to be dropped needs none."""
    return None if delivery.passing else numbers.get(delivery.id)


def _kept_message_id(keys: KeyRing, delivery: Claimed, message_id: str | None) -> str | None:
    """What is kept of the platform's id of a message: it counts, and would tell an order as our own ids would."""
    if message_id is None or delivery.broadcast_id is not None:
        return message_id
    return None if delivery.passing else copies.seal_message_id(keys, delivery.content_id, message_id)


async def _settle_late(session: AsyncSession, outcomes: Sequence[Outcome], *, now: datetime) -> None:
    """SENT beats UNKNOWN, however late it comes."""
    sent = {o.delivery.id: o.message_id for o in outcomes if o.state is DeliveryState.SENT}
    lost = select(Delivery.id).where(Delivery.id.in_(sent), Delivery.state == DeliveryState.UNKNOWN)
    late = {delivery_id: sent[delivery_id] for delivery_id in await session.scalars(lost)} if sent else {}
    await copies.arrived(session, late, reason="late", now=now)


def _settled_at(delivery: Claimed, now: datetime) -> datetime:
    return day_of(now) if delivery.broadcast_id is None else now


def _takes_new_number(outcome: Outcome) -> bool:
    """Whether a row's number has to go: once it has left, its place among all others would tell when."""
    delivery = outcome.delivery
    return outcome.state is DeliveryState.SENT and delivery.broadcast_id is None and not delivery.is_live


def _has_unseen_buttons(outcome: Outcome) -> bool:
    return bool(outcome.delivery.callback_data) and not outcome.delivery.parts


_ROWS = Delivery.__table__.c
_NEXT_AT = bindparam("next_at", type_=Instant())
# A broadcast may have been held meanwhile: then it is due no sooner.
_DUE_AT = case((_ROWS.due_at > _NEXT_AT, _ROWS.due_at), else_=func.coalesce(_NEXT_AT, _ROWS.due_at))
_PUT_BACK = (
    update(Delivery.__table__)  # type: ignore[arg-type]
    .where(_ROWS.id == bindparam("which"), _ROWS.state == DeliveryState.SENDING)
    .values(
        state=DeliveryState.PENDING,
        reason=func.coalesce(bindparam("why", type_=_ROWS.reason.type), _ROWS.reason),
        due_at=func.coalesce(_NEXT_AT, _ROWS.due_at),
        attempts=_ROWS.attempts - 1,
        leased_until=None,
        leased_by=None,
    )
)
_SENT_ONES = {
    True: "SELECT json_extract(value, '$[0]') AS delivery, json_extract(value, '$[1]') AS message,"
    " json_extract(value, '$[2]') AS number FROM json_each(:sent)",
    False: "SELECT CAST(value->>0 AS BIGINT) AS delivery, value->>1 AS message, CAST(value->>2 AS BIGINT) AS number"
    " FROM json_array_elements(CAST(:sent AS JSON)) AS value",
}
_SETTLE_SENT = {
    kind: text(
        "UPDATE deliveries SET id = coalesce(sent.number, deliveries.id), state = 'sent', reason = NULL,"
        " message_id = coalesce(sent.message, message_id),"
        " settled_at = CASE WHEN broadcast_id IS NULL THEN :day ELSE :now END, due_at = NULL, leased_until = NULL,"
        f" leased_by = NULL FROM ({ones}) AS sent WHERE deliveries.id = sent.delivery AND state = 'sending'"
        " AND leased_by = :run"
    ).bindparams(bindparam("day", type_=Instant()), bindparam("now", type_=Instant()))
    for kind, ones in _SENT_ONES.items()
}
_SETTLE = (
    update(Delivery.__table__)  # type: ignore[arg-type]
    .where(
        _ROWS.id == bindparam("which"),
        _ROWS.state == DeliveryState.SENDING,
        _ROWS.leased_by == bindparam("run", type_=_ROWS.leased_by.type),
    )
    .values(
        id=func.coalesce(bindparam("number", type_=_ROWS.id.type), _ROWS.id),
        state=bindparam("to_state", type_=_ROWS.state.type),
        message_id=func.coalesce(bindparam("platform_id", type_=_ROWS.message_id.type), _ROWS.message_id),
        reason=bindparam("why", type_=_ROWS.reason.type),
        due_at=case((bindparam("stays", type_=Boolean()), _DUE_AT), else_=null()),
        attempts=_ROWS.attempts - bindparam("uncounted", type_=_ROWS.attempts.type),
        parts=func.coalesce(bindparam("left", type_=_ROWS.parts.type), _ROWS.parts),
        edits=case((bindparam("is_anew", type_=Boolean()), null()), else_=_ROWS.edits),
        target=case((bindparam("is_anew", type_=Boolean()), null()), else_=_ROWS.target),
        passing=_ROWS.passing & ~bindparam("is_anew", type_=Boolean()),
        address=func.coalesce(bindparam("new_address", type_=_ROWS.address.type), _ROWS.address),
        settled_at=bindparam("at", type_=Instant()),
        leased_until=None,
        leased_by=None,
    )
)


async def forget_order(session: AsyncSession, *, limit: int) -> int:
    """Give new numbers to rows that came to their end in another way than by being sent (see Delivery), oldest first.

    For the night. Returns how many got one; with `limit` of them there may be more.
    """
    ended = Delivery.state.not_in([DeliveryState.PENDING, DeliveryState.SENDING])
    counts = Delivery.broadcast_id.is_(None) & Delivery.purpose.is_distinct_from(Purpose.LIVE)
    found = await session.scalars(select(Delivery.id).where(Delivery.id > 0, ended, counts).limit(limit))
    numbers = {number: -random_id() for number in found}
    if numbers:
        connection = await session.connection()
        for statement in _NEW_NUMBERS:
            await connection.execute(statement, [{"was": was, "becomes": becomes} for was, becomes in numbers.items()])
        await renumber_rows(session, numbers)
    return len(numbers)


_NEW_NUMBERS = (
    update(_DELIVERIES).where(_ROWS.resend_of == bindparam("was")).values(resend_of=bindparam("becomes")),
    update(_DELIVERIES).where(_ROWS.id == bindparam("was")).values(id=bindparam("becomes")),
)


async def recover(session: AsyncSession, *, now: datetime, all_in_flight: bool = False) -> int:
    """List sends whose end nobody saw as unknown: those whose lease has lapsed, or all of them after a restart. A send
    that is alive in this run is not touched, whatever the clock says.

    Edits are harmless to repeat and simply wait again. The others are queued once more, marked as sent again; only
    copies of routine notices are not.

    Returns:
        How many sends are newly unknown.
    """
    in_flight: ColumnElement[bool] = text("state = 'sending'")  # type: ignore[assignment]
    if all_in_flight:
        await _release_uploads(session, None, now=now)
    else:
        in_flight = (Delivery.leased_until < now) & Delivery.id.not_in(run_of(session).alive) & in_flight
    edits = list(await session.scalars(select(Delivery.id).where(in_flight, Delivery.edits.is_not(None))))
    await _drop_superseded(session, edits)
    await session.execute(
        update(Delivery)
        .where(Delivery.id.in_(edits))
        .values(state=DeliveryState.PENDING, leased_until=None, leased_by=None)
        .execution_options(synchronize_session=False)
    )
    await _end_called_off(session, edits, now=now)
    lost = list(
        await session.scalars(
            update(Delivery)
            .where(in_flight, Delivery.edits.is_(None))
            .values(
                state=DeliveryState.UNKNOWN,
                reason="interrupted",
                settled_at=settled_on(now),
                due_at=None,
                leased_until=None,
                leased_by=None,
            )
            .returning(Delivery.id)
            .execution_options(synchronize_session=False)
        )
    )
    await copies.send_again(session, lost, now=now)
    return len(lost)


async def release_uploads(session: AsyncSession, channel: str, *, now: datetime) -> bool:
    """Let what waited for the upload of its file go on; returns whether all of it does."""
    return await _release_uploads(session, channel, now=now, limit=_RELEASED) < _RELEASED


async def expire(session: AsyncSession, *, now: datetime) -> None:
    """Give up what waits but whose time has passed."""
    await _end_waiting(
        session, text("expires_at IS NOT NULL") & (Delivery.expires_at < now), state=DeliveryState.EXPIRED, now=now
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


async def call_off(session: AsyncSession, purpose: Purpose, subject_id: int, *, now: datetime) -> None:
    """Call off the messages for a purpose about one thing that have not left yet."""
    await _call_off(session, (Delivery.purpose == purpose) & (Delivery.subject_id == subject_id), now=now)


async def call_off_origin(session: AsyncSession, origin: str, *, now: datetime) -> None:
    """Call off everything on behalf of `origin` that has not left yet."""
    await _call_off(session, Delivery.origin == origin, now=now)


async def call_off_for(session: AsyncSession, chats: Iterable[Recipient], *, now: datetime) -> None:
    """Call off what waits for chats that may not read it any more; notices still reach them."""
    for chat in chats:
        to_chat = (Delivery.channel == chat.channel) & (Delivery.address == chat.address)
        await _call_off(session, to_chat & Delivery.broadcast_id.is_(None), now=now)


async def forget_hidden(session: AsyncSession, origins: Collection[str]) -> None:
    """Drop every row on behalf of `origins` whose address is sealed, with what it says, whatever became of it."""
    hidden = Delivery.origin.in_(origins) & Delivery.address_sealed
    await erase_rows(session, delete(Content).where(Content.id.in_(select(Delivery.content_id).where(hidden))))
    await erase_rows(session, delete(Delivery).where(hidden).execution_options(synchronize_session=False))


async def forget_left_over(session: AsyncSession, *, before: datetime) -> None:
    """Drop answers and edits that came to another end than being sent before then, with what they said."""
    left = text("passing AND settled_at IS NOT NULL"), Delivery.settled_at < before
    await erase_rows(session, delete(Content).where(Content.id.in_(select(Delivery.content_id).where(*left))))
    await erase_rows(session, delete(Delivery).where(*left).execution_options(synchronize_session=False))


async def erase_origin(session: AsyncSession, origin: str) -> None:
    """Forget what was said on behalf of `origin`; the ledger keeps that it was said."""
    await erase_rows(session, delete(Content).where(Content.origin == origin))


def _heads(select_one: str) -> str:
    """One short range of the index for each lane; one minimum over all of them would walk every row that waits."""
    return " UNION ALL ".join(
        "SELECT due_at FROM ("
        + select_one.format(
            waiting=f"channel = :channel AND lane = {int(lane)} AND urgent = {urgent} AND state = 'pending'"
            + _unless_halted(lane)
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


async def _release_uploads(
    session: AsyncSession, channel: str | None, *, now: datetime, limit: int | None = None
) -> int:
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


async def _drop_superseded(session: AsyncSession, delivery_ids: Sequence[int]) -> None:
    """Drop edits that would wait again although a newer one of the same message does: the newest wins."""
    if not delivery_ids:
        return
    newer = aliased(Delivery)
    old = await session.execute(
        delete(Delivery)
        .where(
            Delivery.id.in_(delivery_ids),
            select(newer.id)
            .where(newer.target == Delivery.target, newer.id > Delivery.id, newer.state == DeliveryState.PENDING)
            .exists(),
        )
        .returning(Delivery.id, Delivery.content_id)
        .execution_options(synchronize_session=False)
    )
    dropped = old.all()
    if dropped:
        await session.execute(delete(Content).where(Content.id.in_([row.content_id for row in dropped])))
        await drop_rows(session, [row.id for row in dropped])


async def _drop_passed(session: AsyncSession, outcomes: Sequence[Outcome]) -> None:
    passed = [o.delivery.id for o in outcomes if o.delivery.passing and o.state is DeliveryState.SENT]
    if not passed:
        return
    gone = await session.scalars(
        delete(Delivery)
        .where(Delivery.id.in_(passed), Delivery.state == DeliveryState.SENT)
        .returning(Delivery.content_id)
        .execution_options(synchronize_session=False)
    )
    await session.execute(delete(Content).where(Content.id.in_(gone.all())))


async def _end_called_off(session: AsyncSession, put_back_ids: Sequence[int], *, now: datetime) -> None:
    """What was called off while it was under way does not leave again. A copy that never left leaves no row: what it
    repeats says how things stand."""
    if not put_back_ids:
        return
    called_off = Delivery.id.in_(put_back_ids) & (Delivery.state == DeliveryState.PENDING) & Delivery.called_off
    await drop_rows(session, select(Delivery.id).where(called_off, Delivery.parts == 0))
    await session.execute(
        delete(Delivery).where(called_off, Delivery.resend_of.is_not(None)).execution_options(synchronize_session=False)
    )
    await session.execute(
        update(Delivery)
        .where(called_off)
        .values(state=DeliveryState.CANCELLED, settled_at=settled_on(now), due_at=None)
        .execution_options(synchronize_session=False)
    )


async def _call_off(session: AsyncSession, which: ColumnElement[bool], *, now: datetime) -> None:
    """End what waits. What is under way may arrive; put back or lost, it does not leave again."""
    await _end_waiting(session, which, state=DeliveryState.CANCELLED, now=now)
    await session.execute(
        update(Delivery)
        .where(text("state = 'sending'"), which)
        .values(called_off=True)
        .execution_options(synchronize_session=False)
    )


async def _end_waiting(
    session: AsyncSession, which: ColumnElement[bool], *, state: DeliveryState, now: datetime
) -> None:
    """End what waits; the buttons of what was once about to leave go with it."""
    tried = select(Delivery.id).where(
        text("state = 'pending'"), which, Delivery.reason.is_not(None), Delivery.parts == 0
    )
    await drop_rows(session, tried)
    await session.execute(
        update(Delivery)
        .where(text("state = 'pending'"), which)
        .values(state=state, settled_at=settled_on(now), due_at=None)
        .execution_options(synchronize_session=False)
    )


async def _end(
    session: AsyncSession, delivery_ids: Sequence[int], *, state: DeliveryState, reason: str, now: datetime
) -> None:
    if not delivery_ids:
        return
    await drop_rows(session, delivery_ids)
    await session.execute(
        update(Delivery)
        .where(Delivery.id.in_(delivery_ids))
        .values(state=state, reason=reason, settled_at=settled_on(now), due_at=None, leased_until=None, leased_by=None)
        .execution_options(synchronize_session=False)
    )


def _target(keys: KeyRing, row: Any) -> tuple[Recipient, str | None] | None:
    """Where a claimed row goes and which message it rewrites; None when that cannot be opened."""
    if not row.address_sealed:
        return Recipient(row.channel, row.address), row.edits
    try:
        address, _, edits = keys.open_text(_ADDRESS, row.address, bound_to=row.content_id).partition("\n")
    except (CannotOpen, ValueError):
        return None
    return Recipient(row.channel, address), edits if row.edits is not None else None


async def _new_addresses(session: AsyncSession, outcomes: Sequence[Outcome]) -> dict[int, str]:
    """The addresses of chats that moved, by delivery: sealed where the old one was."""
    moved = {outcome.delivery.id: outcome.new_address for outcome in outcomes if outcome.new_address is not None}
    if not moved:
        return {}
    sealed = await session.execute(
        select(Delivery.id, Delivery.content_id).where(Delivery.id.in_(moved), Delivery.address_sealed)
    )
    for delivery_id, content_id in sealed:
        moved[delivery_id] = keys_of(session).seal_text(_ADDRESS, moved[delivery_id], bound_to=content_id)
    return moved


def _said(keys: KeyRing, content_id: str, sealed: bytes) -> Outgoing | None:
    try:
        return Outgoing.from_dict(json.loads(unpadded(keys.open(_CONTENT, sealed, bound_to=content_id))))
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


async def _keep_handles(session: AsyncSession, outcomes: Sequence[Outcome]) -> None:
    """Forget the handles a platform does not know any more, and keep what it calls newly uploaded files."""
    for outcome in outcomes:
        for media_id in outcome.stale:
            await session.execute(
                delete(MediaHandle).where(
                    MediaHandle.media_id == media_id,
                    MediaHandle.channel == outcome.delivery.to.channel,
                    MediaHandle.handle == outcome.delivery.handles.get(media_id),
                )
            )
    for outcome in outcomes:
        for media_id, handle in outcome.handles:
            if await session.scalar(select(MediaRow.id).where(MediaRow.id == media_id)) is not None:
                await session.execute(
                    insert_ignoring(session, MediaHandle).values(
                        media_id=media_id, channel=outcome.delivery.to.channel, handle=handle
                    )
                )
