"""What is stored acts once, whatever fails on the way."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError

from channels.inbound import store_updates, waiting_updates
from db.engine import Sessions
from db.sealing import KeyRing
from db.tables.inbound import InboundUpdate
from tests.conftest import KEYS, NOW
from tests.worlds import open_world


class Failing(Sessions):
    """Transactions that fail as a database does that is away: the next `failures` of those an update acts in."""

    failures = 0

    @asynccontextmanager
    async def begin(self):
        async with super().begin() as session:
            yield session
            if self.failures and await session.scalar(
                select(func.count()).select_from(InboundUpdate).where(InboundUpdate.handled_at.is_not(None))
            ):
                self.failures -= 1
                raise OperationalError("COMMIT", {}, OSError("gone"))


@pytest.mark.parametrize("failures", [1, 3])
async def test_an_update_waits_while_the_database_is_away_and_then_acts_once(sqlite_engine, clock, failures):
    sessions = Failing(sqlite_engine, KEYS)
    async with open_world(sessions, clock) as world:
        lan = await world.person("lan")
        sessions.failures = failures

        await lan.sends("/khancap")

        lan.sees("113")
        assert len(lan.shown) == 1
        world.logged.clear()  # it was said that the storage failed


async def test_updates_of_a_channel_that_is_off_wait_and_are_not_looked_at(sqlite_engine, clock):
    sessions = Sessions(sqlite_engine, KEYS)
    async with open_world(sessions, clock) as world:
        async with sessions.begin() as session:
            await store_updates(session, "zalo", [{"update_id": 1, "message": {}}], now=NOW)

        await world.settle()

        async with sessions.reading() as session:
            assert await waiting_updates(session, ["telegram"], besides=(), limit=10) == []
            assert len(await waiting_updates(session, besides=(), limit=10)) == 1


async def test_an_update_whose_key_is_gone_does_not_stop_the_others(sqlite_engine, clock):
    async with Sessions(sqlite_engine, KeyRing([b"o" * 32])).begin() as session:
        await store_updates(session, "telegram", [{"update_id": 10**9, "message": {}}], now=NOW)
    async with open_world(Sessions(sqlite_engine, KEYS), clock) as world:
        lan = await world.person("lan")

        await lan.sends("/khancap")

        lan.sees("113")
