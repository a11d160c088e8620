"""After a night PostgreSQL tells no more in what order rows came, however it is asked.

| what a thief compares | test |
|---|---|
| where rows lie in the heap | `..._lies...` |
| which transaction wrote them | `..._wrote...` |
| the numbers under which their large values lie apart (TOAST) | `..._apart...` |
"""

from __future__ import annotations

import enum
import math
import random
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from statistics import correlation
from typing import Any

import pytest
from sqlalchemy import Boolean, Column, Integer, LargeBinary, Table, insert, text
from sqlalchemy.ext.asyncio import AsyncSession

from db.base import Instant
from db.engine import Sessions
from db.erasure import beside_reports, shuffle_rows
from db.marks import random_id
from tests.conftest import KEYS, NOW

#: How many rows of each table come, one after the other, on each of two days.
ROWS = 60
#: Random bytes of this length do not fit beside the other columns: they lie apart.
LARGE = 6_000
#: Keys that count: a queue that is gone once it has acted, what officers write, and a table of one row.
_COUNTED = {"inbound_updates", "notice_parts", "standing"}
OURS = [table for table in beside_reports() if table.name not in _COUNTED]


@dataclass(slots=True)
class Lived:
    """What only the judge knows: when each row of a table came, by its first column and by its large values."""

    came: dict[tuple[str, Any], int] = field(default_factory=dict)


@pytest.fixture
async def shuffled(postgresql_engine) -> tuple[Sessions, Lived]:
    """Two days of rows, each followed by its night."""
    sessions, lived = Sessions(postgresql_engine, KEYS), Lived()
    for day in range(2):
        for number in range(day * ROWS, (day + 1) * ROWS):
            await _comes(sessions, lived, number)
        assert await shuffle_rows(sessions)
    return sessions, lived


async def _comes(sessions: Sessions, lived: Lived, number: int) -> None:
    """One row of each table, in a transaction of their own."""
    made: dict[str, dict[str, Any]] = {}
    async with sessions.begin() as session:
        for table in OURS:
            made[table.name] = {column.name: _value(column, made, number) for column in table.columns}
            await session.execute(insert(table).values(made[table.name]))
            for column in (_first(table), *_large(table)):
                lived.came[table.name, made[table.name][column.name]] = number


def _value(column: Column[Any], made: dict[str, dict[str, Any]], number: int) -> Any:
    for key in column.foreign_keys:
        return made[key.column.table.name][key.column.name] if key.column.table.name in made else None
    match column.type:
        case LargeBinary():
            return secrets.token_bytes(LARGE)
        case Boolean():
            return random.random() < 0.5
        case Instant():
            return NOW + timedelta(days=number)
        case Integer():
            return random_id() if column.primary_key or column.name == "change" else 0
    states: type[enum.StrEnum] | None = getattr(column.type, "states", None)
    return next(iter(states)) if states is not None else secrets.token_hex(16)[: getattr(column.type, "length", 32)]


def _first(table: Table) -> Column[Any]:
    """The column a row is known by."""
    return next(iter(table.primary_key))


def _large(table: Table) -> Iterator[Column[Any]]:
    return (column for column in table.columns if isinstance(column.type, LargeBinary))


def _tells_an_order(came: list[int]) -> bool:
    """Whether numbers rise or fall with their places more than chance lets them: five deviations. A row that is there
    with several values counts once, for they lie together."""
    came = list(dict.fromkeys(came))
    return abs(correlation(range(len(came)), came)) > 5 / math.sqrt(len(came) - 1)


async def _lie(session: AsyncSession, table: Table, lived: Lived, *, order: str) -> list[int]:
    found = await session.scalars(text(f'SELECT "{_first(table).name}" FROM "{table.name}" ORDER BY {order}'))  # noqa: S608
    return [lived.came[table.name, key] for key in found if (table.name, key) in lived.came]


async def test_where_a_row_lies_does_not_tell_when_it_came(shuffled):
    sessions, lived = shuffled
    async with sessions.reading() as session:
        for table in OURS:
            came = await _lie(session, table, lived, order="ctid")
            assert len(came) == 2 * ROWS, table.name
            assert not _tells_an_order(came), table.name


async def test_all_rows_of_a_table_have_one_writer_and_what_was_written_together_is_not_seen(shuffled):
    sessions, _lived = shuffled
    async with sessions.reading() as session:
        for table in OURS:
            found = await session.scalars(text(f'SELECT DISTINCT xmin::text FROM "{table.name}"'))  # noqa: S608
            assert len(list(found)) == 1, table.name


async def test_the_numbers_of_values_that_lie_apart_do_not_tell_when_they_came(shuffled):
    sessions, lived = shuffled
    async with sessions.reading() as session:
        tried = [table for table in OURS if await _numbers(session, table, lived, order="chunk_id")]
        assert {"contents", "media_contents", "report_parts", "web_messages"} <= {table.name for table in tried}
        for table in tried:
            for order in ("chunk_id", "min(ctid)"):
                came = await _numbers(session, table, lived, order=order)
                assert len(came) % (2 * ROWS) == 0, table.name
                assert not _tells_an_order(came), (table.name, order)


async def _numbers(session: AsyncSession, table: Table, lived: Lived, *, order: str) -> list[int]:
    """When what lies apart of a table came, in the order of its numbers, or of the place it has there."""
    apart = await session.scalar(
        text("SELECT reltoastrelid::regclass::text FROM pg_class WHERE oid = CAST(:name AS regclass)"),
        {"name": table.name},
    )
    if apart in (None, "-"):
        return []
    value = "string_agg(chunk_data, ''::bytea ORDER BY chunk_seq)"
    found = await session.scalars(text(f"SELECT {value} FROM {apart} GROUP BY chunk_id ORDER BY {order}"))  # noqa: S608
    return [lived.came[table.name, bytes(value)] for value in found]


def test_an_order_would_be_seen():
    came = list(range(2 * ROWS))
    assert _tells_an_order(came)
    random.Random(7).shuffle(came)
    assert not _tells_an_order(came)
