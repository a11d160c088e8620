"""A database without its key does not tell who sent a report.

| an attacker with a disk, or a backup, and no key | learns                                                    |
|--------------------------------------------------|-----------------------------------------------------------|
| follows equal values, keys, instants, writers    | no person of any report                                   |
| compares orders, times, sizes and numbers        | no more than by guessing                                  |
| reads the clock in rows beside a report          | the day at most, never the same instant in two tables     |
| reads row numbers                                | none: keys are random or keyed hashes                     |
| reads lengths                                    | powers of two                                             |
| looks for addresses                              | those of people who gave theirs, where they gave it       |

The whole house works for three days: 48 people report, on Telegram and on the web page, most of them named owners who
confirm notices meanwhile. Then everything is tried, on every table there is (see thief.py).
"""

from __future__ import annotations

import asyncio
import fcntl
import math
import os
import pickle
import random
import re
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, select
from sqlalchemy.ext.asyncio import AsyncEngine

from broadcasts.facts import Draft
from broadcasts.notices import schedule_notice
from db.base import Base
from db.engine import Sessions
from db.erasure import beside_reports, shuffle_rows
from db.tables.broadcasts import Response
from db.tables.officers import Role
from db.tables.reports import Report, ReportLink
from reports.sealing import unseal_link
from tests.attacks.thief import Finding, Loot, Node, Row, attack, chance_bound, instants, is_day, is_hour, steal
from tests.conftest import DATABASES, KEYS, NOW
from tests.databases import postgresql, sqlite
from tests.worlds import Clock, Person, World, open_world, picture

#: Whoever comes second waits for the three days of whoever came first.
pytestmark = pytest.mark.timeout(300)
CHATS = "web_chats"
#: Named owners, three in four of them on the page, and people who open it to report.
OWNERS, VISITORS = 28, 20
#: What a thief finds by luck once in a million databases (six zeros), over all he tries, is no finding.
DOUBT = 6
#: Where people's addresses stand because they gave them to be reached by name.
NAMED = {"contacts", "officer_chats", "invitations", "notices"}


@dataclass
class Ward:
    """What happened, and what was stolen afterwards."""

    disk: Loot = field(default_factory=Loot)
    backup: Loot = field(default_factory=Loot)
    #: Whose report it is, and whose web chat; what the thief wants to know.
    reported: dict[int, str] = field(default_factory=dict)
    chats: dict[object, str] = field(default_factory=dict)
    addresses: dict[str, str] = field(default_factory=dict)


# --- three days in the ward -------------------------------------------------------------------------------------------


class Days:
    """People do what people do, in the order of time."""

    def __init__(self, world: World, ward: Ward) -> None:
        self.world = world
        self.ward = ward
        self.chance = random.Random(20261123)
        self.due: list[tuple[datetime, int, Callable[[], Awaitable[object]]]] = []
        self.owners: list[Person] = []

    def at(self, when: datetime, act: Callable[[], Awaitable[object]]) -> None:
        """Something is to happen."""
        self.due.append((when, len(self.due), act))

    def some_time(self) -> datetime:
        return NOW + timedelta(minutes=self.chance.uniform(10, 40 * 60))

    def soon(self, when: datetime, minutes: float = 4) -> datetime:
        return when + timedelta(minutes=self.chance.uniform(0.2, minutes))

    async def run(self) -> None:
        await self._people()
        while self.due:
            self.due.sort(key=lambda event: event[:2])
            when, _, act = self.due.pop(0)
            self.world.clock.now = max(when, self.world.clock.now)
            await act()
            await self._note_truth()

    async def _people(self) -> None:
        self.officer = await self.world.officer("dung", Role.COMMANDER, on="telegram")
        assert self.officer.actor is not None
        await self.world.make.shift(self.officer.actor, lasts=timedelta(days=10))
        for number in range(OWNERS):
            on = "web" if number % 4 else "telegram"
            person = await self._meet(f"owner{number}", on=on)
            await self.world.make.place(f"Nhà nghỉ {number}", person.chat, phone=f"+8490000{number:04}")
            self.owners.append(person)
        for hours in (5, 28):
            self.at(NOW + timedelta(hours=hours), self._notice)
        # Within three days: what is dropped then can no longer tell.
        for hours in (16, 30, 44, 58, 70):
            self.at(NOW + timedelta(hours=hours), self._tick)
        for person in self.owners:
            self._will_report(self.some_time(), person, len(person.name))
        for number in range(VISITORS):
            self.at(self.some_time(), partial(self._visit, number))

    async def _meet(self, name: str, *, on: str) -> Person:
        before = await self._chat_rows()
        person = await self.world.person(name, on=on)
        if on == "web":
            await self._sends(person, "/start")
            for new in await self._chat_rows() - before:
                self.ward.chats[new] = name
        self.ward.addresses[person.chat.address] = name
        return person

    async def _visit(self, number: int) -> None:
        """Somebody opens the page to report."""
        person = await self._meet(f"visitor{number}", on="web")
        self._will_report(self.world.clock(), person, number)

    def _will_report(self, when: datetime, person: Person, kind: int) -> None:
        acts = [partial(self._sends, person, "/baotin")]
        acts += [partial(self._sends, person, "Ồn. " * self.chance.randint(1, 200)) for _ in range(1 + kind % 3)]
        if self.chance.random() < 0.5:
            size = (self.chance.randint(8, 400), self.chance.randint(8, 300))
            acts.append(partial(self._photo, person, picture(size=size)))
        if self.chance.random() < 0.3:
            acts.append(partial(self._document, person, b"%PDF-1.4 " + b"x" * self.chance.randint(10, 60_000)))
        abandons = self.chance.random() < 0.15
        for act in acts if abandons else [*acts, partial(self._hands_in, person)]:
            when = self.soon(when)
            self.at(when, act)

    async def _hands_in(self, person: Person) -> None:
        await self._press(person, "Gửi")
        await person.refresh()
        codes = re.findall(r"\d{4} \d{4} \d{4} \d{4}", "\n".join(shown.text for shown in person.shown))
        now = self.world.clock()
        if self.chance.random() < 0.5:
            self.at(self.soon(now, 60), self._officer_takes)
        if self.chance.random() < 0.4:
            self.at(self.soon(now, 1500), partial(self._sends, person, f"/tracuu {codes[-1]}"))
        if self.chance.random() < 0.15:
            self.at(self.soon(now, 1500), partial(self._sends, person, "DỪNG"))

    async def _officer_takes(self) -> None:
        if not await self._press(self.officer, "Nhận xử lý") or self.chance.random() < 0.5:
            return
        if await self._press(self.officer, "Hỏi thêm"):
            await self._sends(self.officer, "Ở đâu?")
            for person in self.world.people:
                if person is not self.officer and person.port.name == "telegram":
                    await person.refresh()
                    if person.shown and "Ở đâu?" in person.last.text:
                        self.at(self.soon(self.world.clock(), 30), partial(self._answers, person))

    async def _answers(self, person: Person) -> None:
        await self._sends(person, "Ở chợ.")
        # Some at once, some after they were reminded.
        later = timedelta(minutes=2 + 6 * (len(self.due) % 2))
        self.at(self.world.clock() + later, partial(self._press, person, "Gửi"))  # type: ignore[arg-type]

    async def _notice(self) -> None:
        assert self.officer.actor is not None
        async with self.world.sessions.begin() as session:
            draft = Draft(html="Khoá cửa sau 22 giờ.", audience="kind:guesthouse", response=Response.CONFIRM)
            await schedule_notice(session, self.officer.actor, draft, now=self.world.clock())
        await self.world.house.jobs.second()
        await self.world.settle()
        for person in self.owners:
            if self.chance.random() < 0.8:
                self.at(self.soon(self.world.clock(), 30 * 60), partial(self._press, person, "Đã nhận"))  # type: ignore[arg-type]

    async def _tick(self) -> None:
        await self.world.house.jobs.second()
        await self.world.house.jobs.minute()
        await self.world.settle()

    async def _sends(self, person: Person, words: str) -> None:
        await person.port.sends(self.world.house, person.chat.address, words)
        await self.world.settle()

    async def _photo(self, person: Person, content: bytes) -> None:
        await person.port.sends_file(self.world.house, person.chat.address, "photo", content, "IMG.jpg", "")
        await self.world.settle()

    async def _document(self, person: Person, content: bytes) -> None:
        await person.port.sends_file(self.world.house, person.chat.address, "document", content, "a.pdf", "")
        await self.world.settle()

    async def _press(self, person: Person, label: str) -> bool:
        await person.refresh()
        for message in reversed(person.shown):
            if label in message.labels:
                await person.port.presses(self.world.house, person.chat.address, message, label)
                await self.world.settle()
                return True
        return False

    async def _chat_rows(self) -> set[object]:
        table = Base.metadata.tables[CHATS]
        (key,) = table.primary_key.columns
        async with self.world.sessions.reading() as session:
            return set(await session.scalars(select(key)))

    async def _note_truth(self) -> None:
        """With the key: whose report is whose, before a link is cut."""
        rows = select(Report.id, Report.number, ReportLink.sealed).join(ReportLink, ReportLink.report_id == Report.id)
        async with self.world.sessions.reading() as session:
            for report_id, number, sealed in await session.execute(rows):
                if report_id not in self.ward.reported:
                    chat = unseal_link(KEYS, number, sealed).chat
                    self.ward.reported[report_id] = self.ward.addresses[chat.address]


async def _lived(engine: AsyncEngine, folder: Path) -> Ward:
    ward, sessions = Ward(), Sessions(engine, KEYS)
    async with open_world(sessions, Clock(NOW), ["telegram", "web"]) as world:
        await Days(world, ward).run()
    if engine.dialect.name == "sqlite":
        ward.disk = await _stolen(engine)
        copy = folder / "copy.db"
        async with engine.connect() as connection:
            raw = (await connection.get_raw_connection()).driver_connection
            await raw.execute(f"VACUUM INTO '{copy}'")  # type: ignore[union-attr]
        engine_of_copy = create_engine(f"sqlite:///{copy}")
        with engine_of_copy.connect() as connection:
            ward.backup = steal(connection)
        engine_of_copy.dispose()
    else:
        assert await shuffle_rows(sessions)
        ward.disk = await _stolen(engine)
        # What a dump holds: the rows in the order of the heap, not who wrote them.
        for table, rows in ward.disk.tables.items():
            ward.backup.tables[table] = [Row(row.place, None, row.cells) for row in rows]
        ward.backup.refers = ward.disk.refers
    return ward


async def _stolen(engine: AsyncEngine) -> Loot:
    async with engine.connect() as connection:
        return await connection.run_sync(steal)


@asynccontextmanager
async def _opened(request: pytest.FixtureRequest, folder: Path) -> AsyncIterator[AsyncEngine]:
    if request.param == "sqlite":
        async with sqlite(folder / "binhyen.db", request.getfixturevalue("sqlite_template")) as engine:
            yield engine
    else:
        async with postgresql(request.getfixturevalue("postgres"), "template") as engine:
            yield engine


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def ward(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Ward:
    """The ward after three days; the databases are stolen once for all tests."""
    if request.param not in DATABASES:
        pytest.skip(f"{request.param} is left out by TEST_DATABASES")
    request.getfixturevalue("sqlite_template" if request.param == "sqlite" else "postgres")
    folder = tmp_path_factory.mktemp("ward")

    async def live() -> Ward:
        async with _opened(request, folder) as engine:
            return await _lived(engine, folder)

    # Three days take a while: whichever process of the tests comes first lives them for all.
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    kept = shared / f"ward-{request.param}"
    with (shared / f"ward-{request.param}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            kept.write_bytes(pickle.dumps(asyncio.run(live())))
    return pickle.loads(kept.read_bytes())  # noqa: S301 (written just above)


# --- the thief at work ----------------------------------------------------------------------------------------------


def _whose(ward: Ward, loot: Loot, table: str, row: Row) -> str | None:
    """The person a row of an identity belongs to."""
    if table == CHATS:
        (key,) = Base.metadata.tables[CHATS].primary_key.columns
        return ward.chats.get(row.cells[key.name])
    return ward.addresses.get(str(row.cells["address"]))


def _attacked(ward: Ward, loot: Loot, table: str) -> list[Finding]:
    """Every strategy against the reports of those who have a row in `table`."""
    known = {_whose(ward, loot, table, row): (table, number) for number, row in enumerate(loot.rows(table))}
    reporters = {name for name in ward.reported.values() if name.startswith("visitor" if table == CHATS else "owner")}
    people = {name: node for name, node in known.items() if name in reporters}
    reports: dict[Node, Node] = {}
    for number, row in enumerate(loot.rows("reports")):
        name = ward.reported[row.cells["id"]]
        if name in people:
            reports["reports", number] = people[name]
    assert len(people) >= 20, f"the thief cannot find whose row of {table} is whose: tell him"
    return attack(loot, list(reports), list(people.values()), reports)


@pytest.mark.parametrize("copy", ["disk", "backup"])
@pytest.mark.parametrize("table", ["contacts", CHATS])
def test_no_strategy_links_a_report_to_a_person(ward: Ward, copy: str, table: str) -> None:
    findings = _attacked(ward, getattr(ward, copy), table)

    people = VISITORS if table == CHATS else OWNERS
    unlikely = DOUBT + math.log10(len(findings))
    told = [
        one
        for one in findings
        if one.surprise > unlikely or one.hits >= chance_bound(one.of, people, len(findings), doubt=10**-DOUBT)
    ]
    assert len(findings) > 100
    assert not told, sorted({(round(one.surprise), one.hits, one.of, one.strategy) for one in told}, reverse=True)[:40]


def _beside(loot: Loot) -> list[tuple[str, Row]]:
    """The rows a reporter's traffic leaves: whole tables, and of the ledger what is on behalf of one or hidden."""
    found = [(table.name, row) for table in beside_reports() for row in loot.rows(table.name)]
    for row in loot.rows("deliveries"):
        if row.cells["address_sealed"] or str(row.cells["origin"]).startswith("report:"):
            found.append(("deliveries", row))
    return found


def _times(rows: Iterable[tuple[str, Row]]) -> Iterator[tuple[str, datetime]]:
    """Every instant in these rows of tables, and its column.

    A number is an instant only in a column where most numbers could be one: of thousands of keyed numbers of 63 bits
    now and then one falls among the years of our life.
    """
    columns: dict[str, list[Any]] = defaultdict(list)
    for table, row in rows:
        for column, value in row.cells.items():
            columns[f"{table}.{column}"].append(value)
    for where, values in columns.items():
        numbers = [value for value in values if isinstance(value, int | float)]
        chance = 2 * sum(bool(instants(number)) for number in numbers) <= len(numbers)
        for value in values:
            if not (chance and isinstance(value, int | float)):
                yield from ((where, at) for at in instants(value))


def test_no_time_beside_a_report_is_finer_than_the_hour(ward: Ward) -> None:
    fine = {f"{where}: {at}" for where, at in _times(_beside(ward.disk)) if not is_hour(at)}
    assert not fine, sorted(fine)[:20]


def test_no_instant_stands_in_two_tables(ward: Ward) -> None:
    beside: dict[datetime, set[str]] = defaultdict(set)
    for where, at in _times(_beside(ward.disk)):
        if not is_day(at):
            beside[at].add(where)
    everything = [(table, row) for table, rows in ward.disk.tables.items() for row in rows]
    shared = {
        (where, *beside[at])
        for where, at in _times(everything)
        if at in beside and {one.partition(".")[0] for one in beside[at]} != {where.partition(".")[0]}
    }
    assert not shared, sorted(shared)[:20]


def test_rows_beside_a_report_have_no_numbers_that_count(ward: Ward) -> None:
    # A single row has no order.
    names = {table.name for table in beside_reports() if len(ward.disk.rows(table.name)) > 1}
    counted = {
        f"{table}.{column}"
        for table in names
        for column in (ward.disk.rows(table) or [Row(0, None, {})])[0].cells
        if column in {key.name for key in Base.metadata.tables[table].primary_key}
        and all(isinstance(row.cells[column], int) and row.cells[column] < 2**40 for row in ward.disk.rows(table))
    }
    assert not counted | (ward.disk.numbered & names)


def test_lengths_of_what_is_sealed_are_powers_of_two(ward: Ward) -> None:
    lengths: dict[str, set[int]] = defaultdict(set)
    for table, row in _beside(ward.disk):
        for column, value in row.cells.items():
            if isinstance(value, bytes):
                lengths[f"{table}.{column}"].add(len(value))
    assert len(lengths) > 5
    # A sealed value has 28 bytes of its own under a key of its own, 33 under the key ring.
    telling = {
        where: sorted(found)
        for where, found in lengths.items()
        if len(found) > 1 and not any(all(_is_power(one - own) for one in found) for own in (28, 33))
    }
    assert not telling


def _is_power(length: int) -> bool:
    return length >= 256 and length & (length - 1) == 0


def test_addresses_stand_where_people_gave_them_and_nowhere_else(ward: Ward) -> None:
    found = set()
    for table, rows in ward.disk.tables.items():
        for row in rows:
            if table in NAMED or (table == "deliveries" and row.cells["broadcast_id"] is not None):
                continue
            for column, value in row.cells.items():
                raw = value if isinstance(value, bytes) else str(value).encode()
                if any(address.encode() in raw for address in ward.addresses):
                    found.add(f"{table}.{column}")
    assert not found


@pytest.mark.parametrize("leak", ["value", "time", "order", "size"])
def test_the_same_thief_sees_a_leak_in_a_column_nobody_named(ward: Ward, leak: str) -> None:
    """The twin: what the tests above would have shown, were there anything to see."""
    loot = _leaking(ward, ward.backup, leak)

    findings = _attacked(ward, loot, "contacts")

    assert max(one.hits / one.of for one in findings if one.of > 20) > 0.9


def _leaking(ward: Ward, loot: Loot, leak: str) -> Loot:
    """The same database with one more column in two tables."""
    leaky = Loot(dict(loot.tables), loot.refers)
    leaky.tables["contacts"] = [
        Row(row.place, None, row.cells | _told(leak, number, here=True))
        for number, row in enumerate(loot.rows("contacts"))
    ]
    of = {ward.addresses.get(str(row.cells["address"])): number for number, row in enumerate(loot.rows("contacts"))}
    leaky.tables["reports"] = []
    for row in loot.rows("reports"):
        number = of.get(ward.reported[row.cells["id"]])
        more = {} if number is None else _told(leak, number, here=False)
        # Visitors' reports come after those of the owners, who keep their order.
        place = (number if number is not None else len(of) + row.place) if leak == "order" else row.place
        leaky.tables["reports"].append(Row(place, None, row.cells | more))
    return leaky


def _told(leak: str, number: int, *, here: bool) -> dict[str, object]:
    match leak:
        case "value":
            return {"new": f"for {'a contact' if here else 'a report'}: mark{number:05}"}
        case "time":
            return {"new": (NOW + timedelta(minutes=37 * number, days=0 if here else 90)).isoformat()}
        case "size":
            return {"new": (b"a" if here else b"b") * (1000 + 7 * number)}
    return {}
