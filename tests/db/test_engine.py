"""The engine: aware instants, one writer at a time, snapshots to read from, and updates that are not lost."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import event, func, select, text
from sqlalchemy.exc import OperationalError, StatementError
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker, create_async_engine

from db.engine import Sessions, make_engine
from db.sealing import KeyRing
from db.tables.establishments import Group

WRITERS = 8


async def add_a_group(sessions: Sessions, *, now: datetime) -> None:
    async with sessions.begin() as session:
        session.add(Group(name="0", folded="lan", created_at=now))


async def test_what_is_begun_is_committed_at_the_end_and_rolled_back_by_an_error(sessions, now):
    await add_a_group(sessions, now=now)
    with pytest.raises(LookupError):
        async with sessions.begin() as session:
            await session.execute(text("DELETE FROM groups"))
            raise LookupError
    async with sessions.reading() as session:
        assert await session.scalar(select(func.count()).select_from(Group)) == 1


async def test_nothing_written_while_reading_is_kept(sessions, now):
    await add_a_group(sessions, now=now)
    async with sessions.reading() as session:
        await session.execute(text("DELETE FROM groups"))
    async with sessions.reading() as session:
        assert await session.scalar(select(func.count()).select_from(Group)) == 1


async def test_a_reader_does_not_wait_for_a_writer(sessions, now):
    await add_a_group(sessions, now=now)
    async with sessions.begin() as writing:
        await writing.execute(text("UPDATE groups SET name = '1'"))
        async with sessions.reading() as reading:
            assert await reading.scalar(select(Group.name)) == "0"


async def test_an_instant_comes_back_aware_and_in_utc(sessions):
    in_viet_nam = datetime(2026, 11, 23, 8, 0, 0, 123456, tzinfo=timezone(timedelta(hours=7)))
    await add_a_group(sessions, now=in_viet_nam)
    async with sessions.reading() as session:
        created_at = await session.scalar(select(Group.created_at))
    assert created_at == in_viet_nam
    assert created_at.tzinfo is UTC or created_at.utcoffset() == timedelta()


async def test_a_naive_instant_is_refused(sessions):
    with pytest.raises(StatementError, match="time zone"):
        await add_a_group(sessions, now=datetime(2026, 11, 23, 8, 0))  # noqa: DTZ001 (that is the point)


async def test_parameters_never_appear_in_errors(sessions, now):
    await add_a_group(sessions, now=now)
    with pytest.raises(Exception, match=r"(?i)unique") as error:
        async with sessions.begin() as session:
            session.add(Group(name="0", folded="lan", created_at=now))
    assert "'lan'" not in str(error.value).partition("DETAIL")[0]


async def test_sqlite_is_opened_as_we_promise(tmp_path):
    engine = make_engine(f"sqlite+aiosqlite:///{tmp_path / 'deep' / 'er' / 'x.db'}")
    async with engine.connect() as connection:
        found = {
            name: (await connection.execute(text(f"PRAGMA {name}"))).scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout", "secure_delete")
        }
    await engine.dispose()
    assert found == {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "busy_timeout": 15_000,
        "secure_delete": 1,
    }


# --- lost updates ---


async def raise_counter(open_session, starting: asyncio.Barrier) -> None:
    """Read, think, write: what every use case does."""
    await starting.wait()
    async with open_session() as session:
        seen = int(await session.scalar(select(Group.name)) or 0)
        await asyncio.sleep(0)
        await session.execute(text("UPDATE groups SET name = :new"), {"new": str(seen + 1)})


async def race(open_session) -> list[BaseException | None]:
    starting = asyncio.Barrier(WRITERS)
    return await asyncio.gather(
        *(raise_counter(open_session, starting) for _ in range(WRITERS)), return_exceptions=True
    )


async def counted(sessions: Sessions) -> int:
    async with sessions.reading() as session:
        return int(await session.scalar(select(Group.name)) or 0)


async def test_on_sqlite_no_update_is_lost(sqlite_engine: AsyncEngine, now):
    sessions = Sessions(sqlite_engine, KeyRing([b"k" * 32]))
    await add_a_group(sessions, now=now)
    assert await race(sessions.begin) == [None] * WRITERS
    assert await counted(sessions) == WRITERS


async def test_the_drivers_own_transactions_would_lose_updates_or_fail(sqlite_engine: AsyncEngine, tmp_path, now):
    """The same race on an engine with nothing of ours: this is why `BEGIN IMMEDIATE` is there."""
    sessions = Sessions(sqlite_engine, KeyRing([b"k" * 32]))
    await add_a_group(sessions, now=now)
    plain = create_async_engine(f"sqlite+aiosqlite:///{tmp_path / 'binhyen.db'}")
    results = await race(async_sessionmaker(plain).begin)
    await plain.dispose()
    failed = [error for error in results if isinstance(error, OperationalError)]
    assert await counted(sessions) < WRITERS or failed


async def test_what_is_asked_after_sqlite_has_given_a_transaction_up_is_not_kept(sqlite_engine: AsyncEngine):
    sessions = Sessions(sqlite_engine, KeyRing([b"k" * 32]))
    async with sessions.begin() as session:
        await session.execute(text("CREATE TABLE told (what)"))

    with pytest.raises(OperationalError, match="full"):
        async with sessions.begin() as session:
            await session.execute(text("PRAGMA max_page_count = 1"))  # never fewer than there are
            await session.execute(text("INSERT INTO told VALUES ('before')"))
            with pytest.raises(OperationalError, match="full"):
                async with session.begin_nested():
                    await session.execute(text("INSERT INTO told VALUES (zeroblob(1000000))"))
            await session.execute(text("INSERT INTO told VALUES ('after')"))

    async with sessions.reading() as session:
        assert not list(await session.scalars(text("SELECT what FROM told")))


async def test_whoever_is_cancelled_while_a_session_closes_loses_no_connection(engine: AsyncEngine):
    sessions = Sessions(engine, KeyRing([b"k" * 32]))

    async def reads() -> None:
        async with sessions.reading() as session:
            await session.execute(text("SELECT 1"))
            event.listen(engine.sync_engine, "rollback", lambda _connection: reading.cancel(), once=True)

    lost: list[object] = []
    event.listen(engine.sync_engine, "invalidate", lambda *about: lost.append(about))
    reading = asyncio.create_task(reads())
    with pytest.raises(asyncio.CancelledError):
        await reading
    await asyncio.gather(*sessions._closing)

    assert not lost
    assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]
