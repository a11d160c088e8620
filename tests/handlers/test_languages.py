"""Everything an officer, an owner or a reporter is shown is in the language they chose, whoever set it off."""

from __future__ import annotations

import enum
import re
from collections.abc import AsyncIterator, Callable, Iterator
from functools import cache
from string import Formatter

import pytest

from bot.jobs import tell_of_troubles
from bot.restored import take_stock
from channels.port import Recipient
from channels.wording import catalogue, plain
from conversations.languages import choose_language, language_of, languages_of
from db.engine import Sessions
from db.troubles import park
from officers.permissions import Role
from tests.conftest import KEYS
from tests.worlds import Clock, Person, World, open_world
from texts.catalogue import DEFAULT_LANGUAGE
from unit.policy import Policy

#: Shorter pieces of sentences mean something in the other language, or are names of commands.
_LEAST = 8
_TAG = re.compile(r"<[^>]*>")


@cache
def pieces(language: str) -> frozenset[str]:
    """What the catalogue of a language says, without what is filled in."""
    return frozenset(piece for key in catalogue().keys(language) for piece in _pieces(language, key))


def _pieces(language: str, key: str) -> Iterator[str]:
    for form in catalogue().forms(language, key):
        for literal, *_ in Formatter().parse(form):
            yield from (line.strip() for line in _TAG.sub("", literal).split("\n"))


@cache
def foreign(language: str) -> frozenset[str]:
    """What nobody says who speaks a language: sentences of the other ones that none of its own holds."""
    own = "\n".join(pieces(language))
    others = (piece for other in catalogue().languages if other != language for piece in pieces(other))
    return frozenset(piece for piece in others if len(piece) >= _LEAST and piece not in own)


class Speaks(enum.Enum):
    """Who of the ward speaks what: the first of a pair, or the second."""

    FIRST = 0
    SECOND = 1


class Ward:
    """Officers of every role in both languages, two places, and somebody who reports."""

    def __init__(self, world: World, first: str) -> None:
        self.world = world
        self._languages = (first, next(other for other in catalogue().languages if other != first))
        self._of: dict[str, str] = {}

    async def settle_in(self) -> None:
        """Everybody comes to the ward."""
        one, two = Speaks.FIRST, Speaks.SECOND
        world = self.world
        self.admin = await self._speaks(await world.officer("quan", Role.ADMIN), one)
        self.other_admin = await self._speaks(await world.officer("tri", Role.ADMIN), two)
        self.chief = await self._speaks(await world.officer("binh", Role.COMMANDER), two)
        self.duty = await self._speaks(await world.officer("dung", Role.DUTY, on_duty=True), one)
        self.other_duty = await self._speaks(await world.officer("hai", Role.DUTY, on_duty=True), two)
        self.owner = await self._speaks(await world.owner("hoa", "Hoa Mai", address="1 Le Loi"), one)
        self.other_owner = await self._speaks(await world.owner("sen", "Hoa Sen", address="2 Le Loi"), two)
        self.citizen = await self._speaks(await world.person("nam"), one)
        self.other_citizen = await self._speaks(await world.person("tam"), two)

    async def _speaks(self, person: Person, which: Speaks) -> Person:
        language = self._languages[which.value]
        self._of[person.name] = language
        async with self.world.sessions.begin() as session:
            await choose_language(session, person.chat, language)
        return person

    async def joins(self, name: str) -> Person:
        """Somebody new, who speaks as the citizen does."""
        return await self._speaks(await self.world.person(name), Speaks.FIRST)

    def words(self, person: Person, key: str, **params: str | int) -> str:
        """A text in a person's language."""
        return plain(self._of[person.name], key, **params)

    async def presses(self, person: Person, *keys: str) -> None:
        """Press buttons by the keys of their labels, or by a piece of them that is the same in all languages."""
        for key in keys:
            label = self.words(person, key) if catalogue().has(key) else _label(person, key)
            await person.presses(label)
            await self.looks_around()

    async def sends(self, person: Person, *texts: str) -> None:
        """Type lines."""
        for text in texts:
            await person.sends(text)
            await self.looks_around()

    async def ticks(self, **passed: float) -> None:
        """Time passes."""
        await self.world.tick(**passed)
        for person in self.world.people:
            await person.refresh()
        await self.looks_around()

    async def looks_around(self) -> None:
        """Nobody sees a sentence of another language than theirs, in messages or on buttons."""
        for person in self.world.people:
            shown = "\n".join("\n".join((one.text, *one.labels)) for one in person.shown)
            found = sorted(piece for piece in foreign(self._of[person.name]) if piece in shown)
            assert not found, f"{person.name} speaks {self._of[person.name]} and sees {found}\n{person.transcript()}"

    def is_told(self, person: Person, key: str) -> None:
        """Somebody has been shown a text, in their language."""
        own = [piece for piece in _pieces(self._of[person.name], key) if len(piece) >= _LEAST]
        shown = "\n".join(one.text for one in person.shown)
        assert own and any(piece in shown for piece in own), f"{key}?\n{person.transcript()}"


def _label(person: Person, piece: str) -> str:
    return next(label for shown in reversed(person.shown) for label in shown.labels if piece in label)


@pytest.fixture(
    params=[("telegram", "en"), ("telegram", "vi"), ("web", "en"), ("mail", "vi")], ids=lambda param: "-".join(param)
)
async def ward(request: pytest.FixtureRequest, sqlite_engine, clock: Clock) -> AsyncIterator[Ward]:
    kind, first = request.param
    policy = Policy(unit_name="Phuong 2")
    async with open_world(Sessions(sqlite_engine, KEYS), clock, [kind], policy=policy) as world:
        made = Ward(world, first)
        await made.settle_in()
        yield made


async def _applies(ward: Ward, who: Person, name: str) -> None:
    await ward.sends(who, "/dangky")
    await ward.presses(who, "kind.hotel")
    await ward.sends(who, name, "12 Le Loi", "0912345678")
    await ward.presses(who, "button.agree")


async def _reports(ward: Ward, who: Person, text: str) -> None:
    await ward.sends(who, "/baotin", text)
    await ward.presses(who, "button.send")


async def _composes(ward: Ward, officer: Person, text: str, *, at: str = "") -> None:
    await ward.sends(officer, "/soan", text)
    await ward.presses(officer, "button.skip")
    await ward.presses(officer, ward.words(officer, "group.all"), "response.confirm")
    if at:
        await ward.sends(officer, at)
    else:
        await ward.presses(officer, "button.send_now")
    await ward.presses(officer, "button.send")


async def test_whoever_decides_an_application_all_hear_of_it_in_their_language(ward: Ward):
    await _applies(ward, ward.citizen, "Song Xanh")
    for officer in (ward.admin, ward.chief):
        ward.is_told(officer, "approval.request")
    await ward.presses(ward.chief, "button.approve")
    await _applies(ward, ward.other_citizen, "Song Do")
    await ward.presses(ward.admin, "button.reject")
    await ward.sends(ward.admin, "Trung")
    ward.is_told(ward.citizen, "enrol.approved")
    ward.is_told(ward.other_citizen, "enrol.rejected")
    for officer in (ward.admin, ward.other_admin, ward.chief):
        ward.is_told(officer, "approval.rejected_by" if officer is not ward.admin else "approval.rejected")

    await _applies(ward, ward.citizen, "Song Tim")
    await ward.sends(ward.citizen, "/coso")
    await ward.presses(ward.citizen, "button.leave", "button.leave_yes")
    for officer in (ward.admin, ward.other_admin, ward.chief):
        ward.is_told(officer, "approval.withdrawn")


async def test_a_notice_and_its_progress_are_read_in_ones_own_language(ward: Ward):
    for officer in (ward.admin, ward.chief):
        await _composes(ward, officer, "Khoa cua 22:00")
        await ward.ticks(seconds=6)
        ward.is_told(officer, "progress.confirmed")
    await ward.presses(ward.owner, "button.received")
    await ward.presses(ward.other_owner, "button.received")
    for owner in (ward.owner, ward.other_owner):
        ward.is_told(owner, "notice.confirmed")
    await ward.ticks(seconds=6)
    for officer in (ward.admin, ward.chief):
        await ward.sends(officer, "/thongbao")
        await ward.presses(officer, "TB-", "button.silent")


async def test_an_author_hears_of_what_could_not_leave_in_their_language(ward: Ward):
    for officer in (ward.admin, ward.chief):
        await _composes(ward, officer, "Hop to dan pho", at="20:30")
        await ward.sends(officer, "/thongbao")
        await ward.presses(officer, "TB-", "button.pause", "button.resume")
    await ward.ticks(hours=14)
    for officer in (ward.admin, ward.chief):
        ward.is_told(officer, "notice.put_off")
    await ward.ticks(hours=24)
    for officer in (ward.admin, ward.chief):
        ward.is_told(officer, "notice.too_late")


async def test_a_report_is_followed_by_every_officer_in_their_language(ward: Ward):
    for who, taker in ((ward.citizen, ward.duty), (ward.other_citizen, ward.other_duty)):
        await _reports(ward, who, "Co nguoi la")
        for officer in (ward.duty, ward.other_duty):
            ward.is_told(officer, "forward.deadline")
        await ward.ticks(minutes=6)
        ward.is_told(ward.chief, "forward.nobody_took")
        await ward.presses(taker, "button.take")
        ward.is_told(who, "report.taken")
        await ward.presses(taker, "button.ask", "ask.where")
        ward.is_told(who, "report.question")
        await ward.presses(who, "button.answer")
        await ward.sends(who, "So 5")
        ward.is_told(taker, "forward.more")
        await ward.presses(taker, "button.close", "outcome.resolved")
        ward.is_told(who, "report.closed_resolved")
        for officer in (ward.duty, ward.other_duty, ward.chief):
            await ward.sends(officer, "/tin")


async def test_reports_are_counted_in_ones_own_language(ward: Ward):
    for number in range(5):
        await _reports(ward, await ward.joins(f"u{number}"), f"Tin {number}")
    for officer in (ward.duty, ward.other_duty):
        ward.is_told(officer, "digest.waiting")
    await _reports(ward, await ward.joins("u9"), "Tin 9")
    await ward.ticks(seconds=30)


async def test_shifts_are_handed_over_in_ones_own_language(ward: Ward):
    await ward.sends(ward.duty, "/truc")
    await ward.presses(ward.duty, "button.hand_over", "Binh")
    ward.is_told(ward.chief, "duty.taken_over")
    for officer in (ward.other_duty, ward.chief):
        await ward.sends(officer, "/truc")
        await ward.presses(officer, "button.shift_end")
    await ward.presses(ward.chief, "button.shift_end_yes")
    for administrator in (ward.admin, ward.other_admin):
        ward.is_told(administrator, "duty.alarm")
    await _reports(ward, ward.citizen, "Co nguoi la")
    for administrator in (ward.admin, ward.other_admin):
        ward.is_told(administrator, "forward.no_one_on_duty")


async def test_invitations_are_confirmed_in_ones_own_language(ward: Ward):
    for name, verdict, done in (("an", "right_person", "confirmed"), ("la", "wrong_person", "declined")):
        await ward.sends(ward.chief, "/canbo")
        await ward.presses(ward.chief, "button.invite")
        await ward.sends(ward.chief, "Ngan")
        await ward.presses(ward.chief, "role.duty")
        link = re.search(r"\?start=(\S+)", ward.chief.last.text)
        assert link
        invited = await ward.joins(name)
        await ward.sends(invited, f"/start {link[1]}")
        for administrator in (ward.admin, ward.other_admin):
            ward.is_told(administrator, "invitation.confirm")
        await ward.presses(ward.other_admin, f"button.{verdict}")
        for administrator in (ward.admin, ward.other_admin):
            ward.is_told(administrator, f"invitation.{done}")
        ward.is_told(invited, "invitation.accepted" if verdict == "right_person" else "invitation.refused")


async def test_administrators_hear_of_troubles_in_their_language(ward: Ward):
    world = ward.world
    await _reports(ward, ward.citizen, "Co nguoi la")
    async with world.sessions.begin() as session:
        await park(session, "odd", "1", now=world.clock())
        await tell_of_troubles(session, now=world.clock())
        await take_stock(session, now=world.clock(), policy=world.policy)
    await ward.ticks(seconds=1)
    for administrator in (ward.admin, ward.other_admin):
        ward.is_told(administrator, "restored.told")
    for officer in (ward.duty, ward.other_duty):
        ward.is_told(officer, "restored.report")
    world.logged.clear()


# --- looking languages up ---


async def test_the_languages_of_many_are_read_at_once(sessions, count_statements: Callable[[], int]):
    chats = [Recipient("telegram", str(number)) for number in range(40)]
    async with sessions.begin() as session:
        for chat in chats[::2]:
            await choose_language(session, chat, "en")
    async with sessions.reading() as session:
        before = count_statements()
        found = await languages_of(session, chats)
        assert count_statements() - before == 1
        assert found == {chat: "en" if chat in chats[::2] else DEFAULT_LANGUAGE for chat in chats}
        assert [await language_of(session, chat) for chat in chats] == list(found.values())
        assert await languages_of(session, []) == {}


@pytest.fixture
def count_statements(engine) -> Iterator[Callable[[], int]]:
    from sqlalchemy import event

    said: list[str] = []

    def note(_connection, _cursor, statement, *_more) -> None:
        said.append(statement)

    event.listen(engine.sync_engine, "before_cursor_execute", note)
    yield lambda: len(said)
    event.remove(engine.sync_engine, "before_cursor_execute", note)
