"""What comes in is stored before anything is done with it, and acts once."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from db.engine import is_sqlite, keys_of
from db.sealing import CannotOpen
from db.tables.inbound import InboundUpdate

_PURPOSE = "inbound"


class AlreadyHandled(Exception):
    """This update has been acted upon before; whatever was about to happen must not happen again."""


def insert_ignoring(session: AsyncSession, table: Any) -> sqlite.Insert | postgresql.Insert:
    """An INSERT that leaves rows already there as they are."""
    if is_sqlite(session):
        return sqlite.insert(table).on_conflict_do_nothing()
    return postgresql.insert(table).on_conflict_do_nothing()


async def store_updates(
    session: AsyncSession, channel: str, updates: Sequence[dict[str, Any]], *, now: datetime
) -> int:
    """Store raw updates of one channel, sealed; those already known are left alone.

    Returns:
        How many were new.
    """
    new = 0
    for item in updates:
        update_id = int(item["update_id"])
        # Half a surrogate pair, which JSON can carry and UTF-8 cannot, becomes a question mark.
        raw = json.dumps(item, ensure_ascii=False).encode(errors="replace")
        payload = keys_of(session).seal(_PURPOSE, raw, bound_to=f"{channel}:{update_id}")
        stored = await session.execute(
            insert_ignoring(session, InboundUpdate).values(
                channel=channel, update_id=update_id, payload=payload, received_at=now
            )
        )
        new += stored.rowcount  # type: ignore[attr-defined]
    return new


async def waiting_updates(
    session: AsyncSession, channels: Collection[str] | None = None, *, besides: Collection[int], limit: int
) -> list[tuple[int, str, dict[str, Any]]]:
    """Updates not yet acted upon, oldest first: (row id, channel, raw update), those in `besides` left out.

    One that cannot be opened, because its key was taken off the ring, comes without content.

    Args:
        channels: Those whose updates are wanted; None: all.
    """
    query = select(InboundUpdate.id, InboundUpdate.channel, InboundUpdate.update_id, InboundUpdate.payload)
    if channels is not None:
        query = query.where(InboundUpdate.channel.in_(channels))
    rows = await session.execute(
        query.where(InboundUpdate.handled_at.is_(None)).order_by(InboundUpdate.id).limit(limit + len(besides))
    )
    return [
        (row_id, channel, _opened(session, channel, update_id, payload))
        for row_id, channel, update_id, payload in rows
        if row_id not in besides
    ]


def _opened(session: AsyncSession, channel: str, update_id: int, payload: bytes | None) -> dict[str, Any]:
    try:
        content = keys_of(session).open(_PURPOSE, payload or b"", bound_to=f"{channel}:{update_id}")
    except CannotOpen:
        return {"update_id": update_id}
    raw: dict[str, Any] = json.loads(content)
    return raw


async def mark_handled(session: AsyncSession, channel: str, update_id: int, *, now: datetime) -> None:
    """Say in this transaction that the update acts now, and drop its payload.

    Raises:
        AlreadyHandled: it has acted before, or was never stored; the transaction must be rolled back.
    """
    marked = await session.execute(
        update(InboundUpdate)
        .where(
            InboundUpdate.channel == channel,
            InboundUpdate.update_id == update_id,
            InboundUpdate.handled_at.is_(None),
        )
        .values(handled_at=now, payload=None)
    )
    if marked.rowcount != 1:  # type: ignore[attr-defined]
        raise AlreadyHandled(f"{channel}:{update_id}")


async def forget_updates(session: AsyncSession, *, before: datetime) -> None:
    """Drop the memory of updates handled before then; platforms repeat them for a day at most."""
    await session.execute(delete(InboundUpdate).where(InboundUpdate.handled_at < before))
