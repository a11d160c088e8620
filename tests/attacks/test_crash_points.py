"""The process dies at every point of the thin line: before and after each commit, before and after each call out.

Enumerated, not sampled: every point of every step is tried once on SQLite; on PostgreSQL a stop before a commit or a
call is left out where the one before it, after another, leaves the same behind. `run.py bench kill` adds chance.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from db.engine import Sessions, make_engine
from tests.conftest import KEYS, NOW
from tests.crashes import (
    Facts,
    Points,
    PowerCut,
    Step,
    Town,
    begin,
    differences,
    facts_of,
    make_town,
    move_in,
    thin_line,
)
from tests.databases import Postgres
from tests.worlds import Clock

#: The line is walked in so many tests, so that they run side by side; each takes its own steps for each point.
PARTS = 8
STEPS = thin_line()


class Copies:
    """A database that becomes a copy of another one again and again; one engine, so that it compiles a statement once.

    Nobody may be connected to the original while it is taken.
    """

    engine: AsyncEngine
    #: Whether stops that leave the same behind are tried once. Where each is tried, they are shown to be the same.
    are_dear = False

    def __init__(self, original: AsyncEngine) -> None:
        self.original = original

    async def take(self) -> None:
        """What the original is now, copies are from here on."""
        await self.original.dispose()

    @asynccontextmanager
    async def copy(self) -> AsyncIterator[Sessions]:
        """How the original was, for one stop."""
        await self.renew()
        yield Sessions(self.engine, KEYS)

    async def renew(self) -> None:
        """Make the copy."""
        raise NotImplementedError


class SqliteCopies(Copies):
    """Copies of a file."""

    def __init__(self, original: AsyncEngine, folder: Path) -> None:
        super().__init__(original)
        self._from, self._to = Path(original.url.database or ""), folder / "copy.db"
        self.engine = make_engine(f"sqlite+aiosqlite:///{self._to}")

    async def renew(self) -> None:
        await self.engine.dispose()
        for left in self._to.parent.glob("copy.db*"):
            left.unlink()
        shutil.copyfile(self._from, self._to)


class PostgresqlCopies(Copies):
    """A copy of a database by the server, and in it a copy of the rows to return to: whoever stays connected need not
    read and plan everything anew for each stop."""

    are_dear = True

    def __init__(self, original: AsyncEngine, server: Postgres) -> None:
        super().__init__(original)
        self._server, self._from, self._to = server, original.url.database, f"copy_of_{original.url.database}"
        self.engine = make_engine(server.url(self._to))

    async def take(self) -> None:
        await super().take()
        await self.engine.dispose()
        await self._server.drop(self._to)
        await self._server.run(f"CREATE DATABASE {self._to} TEMPLATE {self._from} STRATEGY file_copy")
        await self._server.run(_SAVE, database=self._to)

    async def renew(self) -> None:
        await self._server.run(_RESTORE, database=self._to)


_SAVE = """
CREATE SCHEMA saved;
DO $$ DECLARE name text; BEGIN
    FOR name IN SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace LOOP
        EXECUTE format('CREATE TABLE saved.%1$I AS TABLE public.%1$I', name);
    END LOOP;
END $$
"""
#: Whoever died in a transaction is gone first. Rows go one table after the other, whatever refers to what.
_RESTORE = """
SET session_replication_role = replica;
DO $$ DECLARE name text; BEGIN
    PERFORM pg_terminate_backend(pid, 5000) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL;
    FOR name IN SELECT relname FROM pg_class
        WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND pg_relation_size(oid) > 0
    LOOP
        EXECUTE format('DELETE FROM public.%1$I', name);
        EXECUTE format('INSERT INTO public.%1$I SELECT * FROM saved.%1$I', name);
    END LOOP;
END $$
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def opens(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], AbstractAsyncContextManager[Copies]]:
    """Opens a fresh database that can be copied."""
    kind, fresh = request.param, request.getfixturevalue(f"_{request.param}_database")
    server = request.getfixturevalue("postgres") if kind == "postgresql" else None

    @asynccontextmanager
    async def opened() -> AsyncIterator[Copies]:
        async with fresh() as engine:
            copies = SqliteCopies(engine, tmp_path) if server is None else PostgresqlCopies(engine, server)
            yield copies
            await copies.engine.dispose()

    return opened


@pytest.mark.timeout(300)
@pytest.mark.parametrize("part", range(PARTS))
async def test_the_process_may_die_at_any_point_of_the_thin_line(opens, part: int):
    begins, ends = len(STEPS) * part // PARTS, len(STEPS) * (part + 1) // PARTS
    tried: list[str] = []
    broken: list[str] = []

    points, clock = Points(), Clock(NOW)
    async with opens() as copies:
        town = make_town(Sessions(copies.original, KEYS), clock, points)
        await begin(town)
        for number, (name, step) in enumerate(STEPS):
            if number >= ends:
                break
            if number >= begins:
                stops = await _all_stops(copies, town, step)
                tried += [f"{name}, {point}" for point, _ in stops]
                broken += [f"{name}, {point}: {line}" for point, lines in stops for line in lines]
            await step(town)
            await town.rests()
        await town.house.stop()

    assert not broken, "\n".join(broken)
    # Every step has its update stored, acted on and answered at least.
    assert len(tried) >= 6 * (ends - begins), tried


async def _all_stops(copies: Copies, before: Town, step: Step) -> list[tuple[str, list[str]]]:
    """Take a step unharmed, then once for each of its points; what each stop broke."""
    state, clock = before.port.gateway.state(), before.clock.now
    await copies.take()
    reached, expected = await _once(copies, before, state, clock, step, at=None)
    assert not isinstance(expected, str), expected
    found = []
    for number, point in enumerate(reached):
        if copies.are_dear and number and point.startswith("before") and reached[number - 1].startswith("after"):
            continue  # nothing was kept and nothing left since the stop before: what remains is the same
        _, facts = await _once(copies, before, state, clock, step, at=number)
        lines = [facts] if isinstance(facts, str) else list(differences(expected, facts))
        found.append((f"{number} {point}", lines))
    return found


async def _once(copies: Copies, before: Town, state, now, step: Step, *, at: int | None):
    """The points a step reaches and the facts after it, with the process dying at one of them."""
    points = Points()
    async with copies.copy() as sessions:
        town = make_town(sessions, Clock(now), points)
        await move_in(town, before, state)
        points.arm(at)
        with suppress(PowerCut):
            await step(town)
        reached, dead = list(points.reached), points.dead
        facts: Facts | str
        try:
            if dead:
                await town.recovers()
            points.disarm()
            await town.rests()
            facts = await facts_of(town)
        except (AssertionError, LookupError) as error:
            facts = f"{type(error).__name__}: {error}"
        await town.house.stop()
    return reached, facts


def test_a_dead_process_does_nothing_more():
    points = Points()
    points.arm(0)
    for _ in range(2):
        with pytest.raises(PowerCut):
            points.pass_by("before a commit")
    points.disarm()
    points.pass_by("before a commit")
