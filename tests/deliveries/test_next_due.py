"""When the dispatcher has to look again: the earliest of a channel's waiting deliveries, whatever its lane."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from channels.port import Outgoing, Recipient
from db import tables as tables
from db.base import Base
from db.engine import Sessions, make_engine
from db.sealing import KeyRing
from deliveries.claims import claim, next_due_at
from deliveries.ledger import Lane, open_delivery

NOW = datetime(2026, 11, 23, 8, tzinfo=UTC)


@pytest.fixture
async def sessions(tmp_path):
    engine = make_engine(f"sqlite+aiosqlite:///{tmp_path / 'ledger.db'}")
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    yield Sessions(engine, KeyRing([bytes(32)]))
    await engine.dispose()


async def queue(session, lane, *, minutes, channel="telegram"):
    due_at = NOW + timedelta(minutes=minutes)
    await open_delivery(
        session,
        Outgoing("x"),
        to=Recipient(channel, "1"),
        key=f"{channel}:{lane}:{minutes}",
        origin="test",
        lane=lane,
        now=NOW,
        due_at=due_at,
    )


async def test_the_earliest_of_all_lanes_is_found(sessions):
    async with sessions.begin() as session:
        await queue(session, Lane.REPLY, minutes=9)
        await queue(session, Lane.REMINDER, minutes=3)
        await queue(session, Lane.ROUTINE, minutes=1, channel="web")

        assert await next_due_at(session, "telegram") == NOW + timedelta(minutes=3)


async def test_a_claimed_delivery_does_not_count(sessions):
    async with sessions.begin() as session:
        await queue(session, Lane.URGENT, minutes=0)
        await queue(session, Lane.ROUTINE, minutes=5)
        await claim(session, "telegram", limit=1, now=NOW)

        assert await next_due_at(session, "telegram") == NOW + timedelta(minutes=5)


async def test_nothing_waiting_is_nothing_due(sessions):
    async with sessions.begin() as session:
        assert await next_due_at(session, "telegram") is None
