"""What became of a row that was taken: settled in batches, recovered after a crash."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import (
    Boolean,
    ColumnElement,
    bindparam,
    case,
    delete,
    func,
    null,
    select,
    text,
    update,
)
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from db.base import Instant
from db.engine import is_sqlite, keys_of, run_of
from db.marks import day_of, random_id
from db.sealing import KeyRing
from db.statements import insert_ignoring
from db.tables.deliveries import Content, Delivery, DeliveryState, MediaHandle, MediaRow, Purpose
from deliveries import copies
from deliveries.buttons import drop_rows, renumber_rows
from deliveries.claims import DUE_AT, ROWS, Claimed, let_uploads_go
from deliveries.copies import settled_on
from deliveries.ledger import ADDRESS, DELIVERIES


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
        ROWS.id == bindparam("which"),
        ROWS.state == DeliveryState.SENDING,
        ROWS.leased_by == bindparam("run", type_=ROWS.leased_by.type),
    )
    .values(
        id=func.coalesce(bindparam("number", type_=ROWS.id.type), ROWS.id),
        state=bindparam("to_state", type_=ROWS.state.type),
        message_id=func.coalesce(bindparam("platform_id", type_=ROWS.message_id.type), ROWS.message_id),
        reason=bindparam("why", type_=ROWS.reason.type),
        due_at=case((bindparam("stays", type_=Boolean()), DUE_AT), else_=null()),
        attempts=ROWS.attempts - bindparam("uncounted", type_=ROWS.attempts.type),
        parts=func.coalesce(bindparam("left", type_=ROWS.parts.type), ROWS.parts),
        edits=case((bindparam("is_anew", type_=Boolean()), null()), else_=ROWS.edits),
        target=case((bindparam("is_anew", type_=Boolean()), null()), else_=ROWS.target),
        passing=ROWS.passing & ~bindparam("is_anew", type_=Boolean()),
        address=func.coalesce(bindparam("new_address", type_=ROWS.address.type), ROWS.address),
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
    update(DELIVERIES).where(ROWS.resend_of == bindparam("was")).values(resend_of=bindparam("becomes")),
    update(DELIVERIES).where(ROWS.id == bindparam("was")).values(id=bindparam("becomes")),
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
        await let_uploads_go(session, None, now=now)
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


async def _new_addresses(session: AsyncSession, outcomes: Sequence[Outcome]) -> dict[int, str]:
    """The addresses of chats that moved, by delivery: sealed where the old one was."""
    moved = {outcome.delivery.id: outcome.new_address for outcome in outcomes if outcome.new_address is not None}
    if not moved:
        return {}
    sealed = await session.execute(
        select(Delivery.id, Delivery.content_id).where(Delivery.id.in_(moved), Delivery.address_sealed)
    )
    for delivery_id, content_id in sealed:
        moved[delivery_id] = keys_of(session).seal_text(ADDRESS, moved[delivery_id], bound_to=content_id)
    return moved


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
