"""A house that can be stopped at every point that matters, and the thin line cut into steps to stop it in.

A *point* is an instant before or after a commit, or before or after a call that leaves the house. At the chosen one the
process is dead: nothing it does from then on is kept or leaves. `walk` walks the thin line once unharmed, notes the
world before each step and what is true after it, and then takes each step again for each of its points: stop there,
start another process on what is left, bring again what the platform had no receipt for, and compare.
"""

from __future__ import annotations

import asyncio
import copy
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from channels.memory import MemoryGateway
from channels.wording import plain
from conversations.expectations import present_expectation
from conversations.inbound import waiting_updates
from conversations.talks import present_talk
from db.engine import Sessions
from db.tables.broadcasts import BroadcastPlace, Notice
from db.tables.deliveries import Delivery, DeliveryState
from db.tables.establishments import Contact, Establishment
from db.tables.officers import Officer, Role, Shift
from db.tables.reports import Report
from reports.forwarding import read_report
from tests.worlds import Clock, Person, TelegramLike, World, phrase

MARK = plain("vi", "sending.again")
_IN_FLIGHT = DeliveryState.SENDING
_COUNTS = phrase("progress.sent").split("{")[0]
_WAITING = (DeliveryState.PENDING, DeliveryState.SENDING)
#: What differs from run to run: numbers of notices, reports and places (a database may leave some out), codes, minutes.
_DRAWN = re.compile(r"\b(?:TB|T|CS)-\w{4,5}\b|\b\d{4} \d{4} \d{4} \d{4}\b|\b\d\d:\d\d\b|\b\d+ phút")


class PowerCut(BaseException):
    """The process is dead. Not an Exception: nothing in the house may catch it and go on."""


class Points:
    """Counts the points that are reached, and ends the process at a chosen one."""

    def __init__(self) -> None:
        self.reached: list[str] = []
        self.dead = False
        self._armed = False
        self._at: int | None = None

    def arm(self, at: int | None) -> None:
        """Count from here; die at the point of that number, or at none."""
        self.reached, self._armed, self._at, self.dead = [], True, at, False

    def disarm(self) -> None:
        """The next process lives."""
        self._armed, self.dead = False, False

    def pass_by(self, name: str) -> None:
        """This point is reached; raises PowerCut when it is the chosen one, or the process is dead already."""
        if self.dead:
            raise PowerCut(name)
        if self._armed:
            self.reached.append(name)
            if len(self.reached) - 1 == self._at:
                self.dead = True
                raise PowerCut(name)

    def check(self) -> None:
        """A dead process does nothing more."""
        if self.dead:
            raise PowerCut


class FragileSessions(Sessions):
    """Transactions of a process that may die before or after each commit."""

    points: Points

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncSession]:
        self.points.check()
        async with super().begin() as session:
            yield session
            self.points.pass_by("before a commit")
        self.points.pass_by("after a commit")

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncSession]:
        self.points.check()
        async with super().reading() as session:
            yield session


class FragileGateway(MemoryGateway):
    """A platform that goes on when our process dies: a call that has left arrives, only nobody hears the answer."""

    points: Points

    async def do_request(self, url: str, *args: Any, **kwargs: Any) -> tuple[int, bytes]:
        method = url.rpartition("/")[2]
        self.points.pass_by(f"before {method}")
        answer = await super().do_request(url, *args, **kwargs)
        self.points.pass_by(f"after {method}")
        return answer

    def state(self) -> Mapping[str, Any]:
        """Everything the platform remembers."""
        return copy.deepcopy({name: getattr(self, name) for name in ("chats", "_files", "_updates", "answers")})

    def restore(self, state: Mapping[str, Any]) -> None:
        """Back to an earlier state."""
        for name, value in copy.deepcopy(dict(state)).items():
            setattr(self, name, value)


class FragilePort(TelegramLike):
    """Telegram over such a platform; it brings an update again until somebody has said that it is stored."""

    def __init__(self, clock: Clock, points: Points) -> None:
        super().__init__(clock)
        self.gateway = FragileGateway(name=self.name, clock=clock)
        self.gateway.points = points
        self.unconfirmed: list[dict[str, Any]] = []

    async def arrives(self, house: Any, raw: dict[str, Any]) -> None:
        self.unconfirmed.append(raw)
        await super().arrives(house, raw)
        self.unconfirmed.remove(raw)


@dataclass
class Town(World):
    """A world whose process can die."""

    points: Points = field(default_factory=Points)
    _names: dict[str, Person] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Person:
        return self._names[name]

    def known(self, name: str, chat: Any) -> Person:
        """Somebody whose chat is there already."""
        self._names[name] = person = Person(self, self.port, chat, name)
        self.people.append(person)
        return person

    async def dies(self) -> None:
        """Let go of what the dead process still had under way."""
        mine = asyncio.current_task()
        left = [task for task in asyncio.all_tasks() if task is not mine]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def recovers(self) -> set[int]:
        """Another process starts on what is left. Returns the deliveries that were in flight, edits apart."""
        await self.dies()
        self.points.disarm()
        async with self.sessions.reading() as session:
            in_flight = set(
                await session.scalars(select(Delivery.id).where(Delivery.state == _IN_FLIGHT, Delivery.edits.is_(None)))
            )
        await self.open()
        async with self.sessions.reading() as session:
            listed = set(
                await session.scalars(
                    select(Delivery.id).where(Delivery.id.in_(in_flight), Delivery.state == DeliveryState.UNKNOWN)
                )
            )
        assert listed == in_flight, f"in flight at the kill and not listed as unknown: {in_flight - listed}"
        for raw in list(self.port.unconfirmed):
            self.port.unconfirmed.remove(raw)
            await self.port.arrives(self.house, raw)
        await self.settle()
        return in_flight

    async def rests(self) -> None:
        """Time enough for whatever is still to come."""
        for _ in range(2):
            self.clock.advance(seconds=10)
            await self.house.jobs.second()
            await self.settle()
        for person in self.people:
            await person.refresh()


Step = Callable[[Town], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Facts:
    """What is true of a town, chance taken out: what tables say, and what each chat was shown."""

    tables: tuple[Any, ...]
    shown: Mapping[str, tuple[str, ...]]
    unknown: frozenset[tuple[str, str]]


async def facts_of(town: Town) -> Facts:
    """Look at everything; raises AssertionError for what may never be."""
    async with town.sessions.reading() as session:
        waiting = await waiting_updates(session, {"telegram": ""}, chats=100, each=100)
        assert not waiting, f"{len(waiting)} updates were never acted on"
        rows = (await session.execute(select(Delivery.id, Delivery.state))).all()
        left = [row for row in rows if row.state in _WAITING]
        assert not left, f"never sent: {left}"
        tables = (
            await _rows(session, select(Establishment.name, Establishment.state).order_by("name")),
            await _rows(session, select(Contact.channel, Contact.address).order_by("address")),
            await _rows(session, select(Notice.title, Notice.state).order_by("title")),
            tuple([one is not None for one in await session.scalars(select(BroadcastPlace.acknowledged_at))]),
            await _rows(session, select(Officer.name, Officer.role).order_by("name")),
            len(list(await session.scalars(select(Shift.id)))),
            tuple(sorted([await _report(session, report) for report in await session.scalars(select(Report))])),
            tuple([await _talk(session, town, person) for person in town.people]),
        )
        broadcasts = await session.execute(
            select(Delivery.address, Notice.title)
            .join(Notice, Delivery.origin.contains("notice"))
            .where(Delivery.broadcast_id.is_not(None), Delivery.state == DeliveryState.UNKNOWN)
        )
        unknown = frozenset((row.address, row.title) for row in broadcasts)
    return Facts(tables, {person.name: _shown(person) for person in town.people}, unknown)


async def _rows(session: AsyncSession, query: Any) -> tuple[tuple[Any, ...], ...]:
    return tuple(tuple(row) for row in await session.execute(query))


async def _report(session: AsyncSession, report: Report) -> tuple[Any, ...]:
    body = await read_report(session, report)
    return str(report.state), body.texts, len(body.attachments), report.urgent


async def _talk(session: AsyncSession, town: Town, person: Person) -> tuple[str, str] | None:
    talk = await present_talk(session, person.chat, now=town.clock())
    expected = await present_expectation(session, person.chat, now=town.clock())
    assert talk is None or expected is None, "nothing is expected of a chat that is in a conversation"
    return (talk.flow, talk.step) if talk else (type(expected.what).__name__, "") if expected else None


def _shown(person: Person) -> tuple[str, ...]:
    """What a chat says now, each text once; twice unmarked is a broken promise."""
    ours = [m.text for m in person.port.gateway.chats[person.chat.address] if m.from_bot and not m.deleted]
    plain = [text for text in ours if not text.startswith(MARK)]
    # What an earlier step said, it may say again in a later one; numbers of the same thing make a doubled text.
    doubled = [text for text in set(plain) if plain.count(text) > 1 and re.search(_DRAWN, text)]
    assert not doubled, f"{person.name} got this twice unmarked: {doubled}"
    return tuple(sorted({_DRAWN.sub("…", text.removeprefix(MARK).strip()) for text in ours}))


# --- walking -------------------------------------------------------------------------------------------------------


def differences(expected: Facts, found: Facts) -> Iterator[str]:
    """What a stop has changed that it may not change."""
    for before, after in zip(expected.tables, found.tables, strict=True):
        if before != after:
            yield f"the tables say {after}, not {before}"
    for name, texts in expected.shown.items():
        missing = set(texts) - set(found.shown[name])
        more = set(found.shown[name]) - set(texts)
        # A routine notice in doubt is not sent again; it is listed, and its counts say so.
        for title in {title for _, title in found.unknown}:
            missing = {text for text in missing if title not in text}
            more = {text for text in more if not (title in text and _COUNTS in text)}
        if missing or more:
            yield f"{name} is not shown {sorted(missing)}, but {sorted(more)}"


def thin_line() -> Sequence[tuple[str, Step]]:
    """Enrol, approve, notify, confirm, report, take, ask, answer, track: one act of one person, or time, each."""
    return (
        ("opens", _sends("lan", "/dangky")),
        ("kind", _presses("lan", "Nhà nghỉ")),
        ("name", _sends("lan", "Nhà nghỉ Hoa Sen")),
        ("address", _sends("lan", "12 Phan Đình Phùng")),
        ("phone", _sends("lan", "0912 345 678")),
        ("consents", _presses("lan", "Đồng ý")),
        ("approves", _presses("binh", "Duyệt")),
        ("composes", _sends("binh", "/soan")),
        ("writes", _sends("binh", "Cảnh giác lừa đảo\nKhoá cửa sau 22 giờ.")),
        ("no file", _presses("binh", "Bỏ qua")),
        ("audience", _presses("binh", "Tất cả cơ sở (1)")),
        ("response", _presses("binh", "Cần bấm “Đã nhận”")),
        ("when", _presses("binh", "Gửi ngay")),
        ("sends", _presses("binh", "Gửi")),
        ("time passes", _ticks),
        ("confirms", _presses("lan", "Đã nhận")),
        ("counts", _ticks),
        ("writes a report", _sends("khach", "Có người phá khoá xe ở hẻm 5")),
        ("reports", _presses("khach", "Báo tin")),
        ("adds", _sends("khach", "Hai người, một xe đỏ")),
        ("hands in", _presses("khach", "Gửi")),
        ("nobody takes", _escalates),
        ("takes", _presses("dung", "Nhận xử lý")),
        ("asks", _presses("dung", "Hỏi thêm")),
        ("asks where", _presses("dung", phrase("ask.where"))),
        ("answers", _presses("khach", "Trả lời")),
        ("says where", _sends("khach", "Ở hẻm 5, gần chợ")),
        ("closes", _presses("dung", "Kết thúc")),
        ("resolved", _presses("dung", phrase("outcome.resolved"))),
    )


def _sends(name: str, text: str) -> Step:
    async def step(town: Town) -> None:
        await town[name].sends(text)

    return step


def _presses(name: str, label: str) -> Step:
    async def step(town: Town) -> None:
        await town[name].presses(label)

    return step


async def _ticks(town: Town) -> None:
    await town.tick(seconds=6)


async def _escalates(town: Town) -> None:
    await town.tick(minutes=6)


async def begin(town: Town) -> None:
    """Who is there before the line begins."""
    await town.open()
    for name, role in (("binh", Role.COMMANDER), ("dung", Role.DUTY)):
        person = await town.officer(name, role, on_duty=role is Role.DUTY)
        town._names[name] = person
    for name in ("lan", "khach"):
        town._names[name] = await town.person(name)


def make_town(sessions: Sessions, clock: Clock, points: Points) -> Town:
    """A town on these transactions, not yet open."""
    fragile = FragileSessions(sessions.engine, sessions.keys)
    fragile.points = points
    return Town(fragile, clock, {"telegram": FragilePort(clock, points)}, points=points)


async def move_in(town: Town, before: Town, state: Mapping[str, Any]) -> None:
    """The same people with the same chats, on a copy of the database."""
    town.port.gateway.restore(state)
    town.port._names = dict(before.port._names)
    for name, person in before._names.items():
        town.known(name, person.chat)
    await town.open()
    for person in town.people:
        await person.looks()
