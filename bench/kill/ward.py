"""Who lives in the town, and the database they are written down in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from db.engine import Sessions, make_engine
from db.sealing import KEY_BYTES, KeyRing
from db.tables.establishments import Contact, Establishment, EstablishmentState, Kind
from db.tables.officers import Officer, OfficerChat, Role, Shift
from db.upgrade import upgrade
from texts.folding import fold

KEY = bytes(range(KEY_BYTES))
ADMIN, DUTY, FRONT, SILENT, OWNERS, CITIZENS = 100, 200, 300, 10_000, 20_000, 30_000
#: Chats that get every notice from the first one on.
CONNECTED = 40
#: Each of them writes one notice.
WRITERS = 80


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Sessions]:
    # Without a pool: whoever else is connected is then known to be the bot.
    engine = make_engine(url) if url.startswith("sqlite") else create_async_engine(url, poolclass=NullPool)
    await upgrade(engine)
    try:
        yield Sessions(engine, KeyRing([KEY]))
    finally:
        await engine.dispose()


async def alone(sessions: Sessions) -> None:
    """Wait until the server has done away with what a killed process left half-said."""
    if sessions.engine.dialect.name == "sqlite":
        return
    others = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    async with sessions.engine.connect() as connection:
        while await connection.scalar(others):
            await connection.rollback()
            await asyncio.sleep(0.01)


async def settle_in(sessions: Sessions) -> None:
    """Officers on duty, officers who write, and places that are connected already."""
    now = datetime.now(UTC)
    async with sessions.begin() as session:
        staff = [(Role.DUTY, DUTY), (Role.DUTY, DUTY + 1)]
        staff += [(Role.FRONT, FRONT + number) for number in range(WRITERS)]
        for role, chat in staff:
            officer = Officer(name=f"Cán bộ {chat}", role=role, created_at=now)
            session.add(officer)
            await session.flush()
            session.add(OfficerChat(officer_id=officer.id, channel="telegram", address=str(chat)))
            if role is Role.DUTY:
                session.add(Shift(officer_id=officer.id, starts_at=now, ends_at=now + timedelta(hours=12)))
        for number in range(CONNECTED):
            name, address = f"Khách sạn {number}", f"{number} Lê Lợi"
            place = Establishment(
                kind=Kind.HOTEL,
                name=name,
                address=address,
                folded=fold(f"{name} · {address}"),
                state=EstablishmentState.ACTIVE,
                created_at=now,
            )
            session.add(place)
            await session.flush()
            session.add(
                Contact(establishment_id=place.id, channel="telegram", address=str(SILENT + number), created_at=now)
            )
