"""The ledger of everything we push: how a row gets in, opened with the fact it tells of.

How rows are taken to be sent is in `deliveries.claims`, what came of them in `deliveries.outcomes`, what is not sent
any more in `deliveries.calling_off`. Hot paths are Core statements in batches. What a row is for stands in columns; its
key only keeps it from being queued twice, and is a keyed hash.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import uuid4

import structlog
from sqlalchemy import (
    Insert,
    Table,
    delete,
    insert,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from channels.port import Outgoing, Recipient, within_limit
from db.engine import is_sqlite, keys_of
from db.marks import day_of
from db.sealing import KeyRing, padded
from db.statements import changed
from db.tables.deliveries import Content, Delivery, DeliveryState
from db.tables.deliveries import Lane as Lane
from db.tables.deliveries import Purpose as Purpose
from deliveries.buttons import drop_rows

log = structlog.get_logger(__name__)
CONTENT = "content"
#: What is said is padded at least to this: how short an answer was is not to be seen.
_LEAST = 1024
ADDRESS = "delivery-address"
#: The lanes of notices.
_NOTICES = (Lane.URGENT, Lane.ROUTINE)
#: In place of a message's id that is sealed together with the address.
_SEALED = "*"


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
    sealed = keys.seal(CONTENT, padded(body, least=_LEAST), bound_to=content_id)
    return {"id": content_id, "origin": origin, "sealed": sealed, "created_at": day_of(now)}


_CONTENTS: Table = Content.__table__  # type: ignore[assignment]
DELIVERIES: Table = Delivery.__table__  # type: ignore[assignment]
_KEEP_CONTENT = insert(_CONTENTS)
_OPEN: dict[bool, Insert] = {
    True: sqlite.insert(DELIVERIES).on_conflict_do_nothing(),
    False: postgresql.insert(DELIVERIES).on_conflict_do_nothing(),
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
        values["address"] = keys.seal_text(ADDRESS, hidden, bound_to=content["id"])
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


def unless_halted(lane: Lane) -> str:
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
