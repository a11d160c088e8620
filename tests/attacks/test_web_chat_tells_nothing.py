"""A thief has the database, or a backup of it, and not the key: what the web chat's tables tell.

Thirty-six visitors come for days, some of them owners whom the directory names. The thief reads every table in the
order the database gives it and tries every column, every pair of tables, every size. Each test is one thing to try.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import random
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from statistics import correlation
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from telegram import BotCommand, BotCommandScopeChat, InlineKeyboardButton, InlineKeyboardMarkup

from channels.memory import MemoryTextGateway
from channels.port import Recipient
from channels.shapes import Shown, Upload
from channels.web.gateway import WebGateway
from channels.web.store import erase_messages
from db.base import Base
from db.engine import Sessions, is_sqlite
from db.erasure import shuffle_rows
from db.marks import keyed_id
from tests.conftest import KEYS, NOW
from tests.databases import Opened
from tests.factories import Factory
from tests.worlds import Clock
from web.visitor import WebChat, address_of

OURS = ("web_chats", "web_messages", "web_posts", "web_files", "web_commands", "text_menus")
VISITORS = [address_of(f"{number:043d}") for number in range(36)]
OWNERS = VISITORS[::3]
ERASED = VISITORS[5:30:7]
#: They open the page and never write.
LOOKED_IN = VISITORS[30:]
DAYS = 5
WORDS = ("tiếng la hét", "phòng mười hai", "hai người lạ", "thử cửa", "xe máy", "không biển số", "trước cổng")
_HEX = re.compile(r"[0-9a-f]{32}")
_ADDED = ("lies_at", "written_by")  # by the database itself
_SEAL = 33  # version, key id, nonce and tag

Table = list[dict[str, Any]]


@dataclass(slots=True)
class Truth:
    """What only the judge knows: whose a row is, the step it came at, and its day."""

    owner: dict[tuple[str, Any], str] = field(default_factory=dict)
    came: dict[tuple[str, Any], int] = field(default_factory=dict)
    day: dict[tuple[str, Any], date] = field(default_factory=dict)
    said: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Loot:
    """Every table, row by row in the order the database gives it, and the raw bytes where there is a file."""

    tables: Mapping[str, Table]
    raw: bytes
    truth: Truth

    def known(self, table: str) -> list[tuple[str, str, int]]:
        """The rows of a table whose chat the judge knows, in the order of the table: (key, chat, step)."""
        return [
            (key, self.truth.owner[table, key], self.truth.came[table, key])
            for key in (row[_key_of(table)] for row in self.tables[table])
            if (table, key) in self.truth.owner
        ]


def _key_of(table: str) -> str:
    return "address" if table == "contacts" else "id"


class Town:
    """Visitors and the bot at work, and the judge who writes down whose each row is."""

    def __init__(self, sessions: Sessions, clock: Clock) -> None:
        self.sessions, self.clock = sessions, clock
        self.truth = Truth()
        self._gateway = WebGateway(sessions, clock=clock)
        self._chat = WebChat(self._gateway, wake=lambda: None)
        self._text = MemoryTextGateway(sessions, clock=clock)
        self._luck = random.Random(5)
        self._steps = itertools.count()
        self._step = 0

    def _note(self, table: str, key: Any, chat: str) -> None:
        self.truth.owner[table, key] = chat
        self.truth.came[table, key] = self._step
        self.truth.day[table, key] = self.clock().date()

    def _note_message(self, chat: str, message_id: int) -> None:
        self._note("web_messages", keyed_id(KEYS, "web-message", "web", chat, str(message_id)), chat)

    def _nonce(self, chat: str) -> str:
        nonce = f"nonce-{self._step:06}"
        self.truth.said.add(nonce)
        self._note("web_posts", KEYS.fingerprint("web-post", "web", chat, nonce), chat)
        return nonce

    async def lives(self) -> None:
        """Five days of it; everybody comes again and again, in no order."""
        for chat in VISITORS:
            self._step = next(self._steps)
            await self._chat.open(chat, self._luck.choice(("vi", "en")))
            self._note("web_chats", KEYS.fingerprint("web-chat", "web", chat), chat)
        for _ in range(DAYS):
            visits = [chat for chat in VISITORS[:30] for _ in range(self._luck.choice((0, 1, 1, 2)))]
            self._luck.shuffle(visits)
            for chat in visits:
                self.clock.advance(minutes=self._luck.randint(1, 15))
                await self._visit(chat)
            self.clock.now = NOW + (self.clock.now.date() - NOW.date() + timedelta(days=1))
        for chat in ERASED:
            async with self.sessions.begin() as session:
                await erase_messages(session, Recipient("web", chat))
            await self._answers(chat)
        await self._officers_and_plain_texts()

    async def _visit(self, chat: str) -> None:
        self._step = next(self._steps)
        act = self._luck.choice((self._says, self._says, self._sends_a_file, self._presses))
        await act(chat)
        await self._answers(chat)

    async def _says(self, chat: str) -> None:
        words = " ".join(self._luck.choices(WORDS, k=self._luck.choice((2, 12, 40, 120))))
        self.truth.said.add(words)
        message = await self._chat.post_text(chat, words, self._nonce(chat))
        self._note_message(chat, message["id"])

    async def _sends_a_file(self, chat: str) -> None:
        upload = Upload(f"{chat[:5]}.bin", "", b"x" * self._luck.randint(1, 60_000))
        message = await self._chat.post_file(chat, "document", upload, self._nonce(chat))
        name = message["files"][0]["id"].partition("-")[2]
        self.truth.said.add(name)
        self._note_message(chat, message["id"])
        self._note("web_files", keyed_id(KEYS, "web-file", name), chat)

    async def _presses(self, chat: str) -> None:
        (asked,) = await self._gateway.append(chat, [Shown("Chọn:", buttons=(({"text": "A", "callback_data": "a"},),))])
        self._note_message(chat, asked["message_id"])
        await self._chat.press(chat, asked["message_id"], "a", self._nonce(chat))
        match self._luck.choice(("edit", "delete", "leave")):
            case "edit":
                await self._gateway.change(chat, str(asked["message_id"]), lambda content: Shown("Đã chọn"))
            case "delete":
                await self._gateway.remove(chat, str(asked["message_id"]))

    async def _answers(self, chat: str) -> None:
        said = [Shown(" ".join(self._luck.choices(WORDS, k=self._luck.choice((3, 30)))))]
        for told in await self._gateway.append(chat, said * self._luck.choice((1, 1, 3))):
            self._note_message(chat, told["message_id"])
        await self._chat.seen(chat, 1)

    async def _officers_and_plain_texts(self) -> None:
        async with self._gateway.bot() as bot, self._text.bot() as plain:
            for chat in VISITORS[1::7]:
                await bot.set_my_commands([BotCommand("tin", "Tin báo")], scope=BotCommandScopeChat(f"@{chat}"))
            for number in range(12):
                self.clock.advance(minutes=9)
                menu = InlineKeyboardMarkup([[InlineKeyboardButton("Đã nhận", callback_data="x")]])
                await plain.send_message(f"khach-doan-{number}", "Chọn:", reply_markup=menu)


async def _stolen(sessions: Sessions) -> dict[str, Table]:
    """All tables as they lie, with the columns a database adds by itself."""
    if sessions.engine.dialect.name != "sqlite":
        # It keeps rows as they were last written until the night, when each table is written anew by its keys.
        assert await shuffle_rows(sessions)
    async with sessions.reading() as session:
        if not is_sqlite(session):
            query = "SELECT ctid::text AS lies_at, xmin::text AS written_by, * FROM {} ORDER BY ctid"
            return {name: await _rows(session, query.format(name)) for name in Base.metadata.tables}
        by_key = set(await session.scalars(text("SELECT name FROM pragma_table_list WHERE wr = 1")))
        return {
            name: await _rows(session, f"SELECT {'' if name in by_key else 'rowid AS lies_at, '}* FROM {name}")  # noqa: S608 (our own names)
            for name in Base.metadata.tables
        }


async def _rows(session: AsyncSession, query: str) -> Table:
    return [dict(row) for row in (await session.execute(text(query))).mappings()]


_looted: dict[Any, Loot] = {}


@pytest.fixture(params=["sqlite", "postgresql"])
def _town(request: pytest.FixtureRequest) -> tuple[str, Opened]:
    return request.param, request.getfixturevalue(f"_{request.param}_database")


@pytest.fixture
async def loot(_town: tuple[str, Opened], clock: Clock, tmp_path: Path) -> Loot:
    """What was stolen. The town lives once on each database; thieves only look."""
    kind, opened = _town
    if kind not in _looted:
        async with opened() as engine:
            _looted[kind] = await _live_and_be_robbed(Sessions(engine, KEYS), clock, tmp_path)
    return _looted[kind]


async def _live_and_be_robbed(sessions: Sessions, clock: Clock, folder: Path) -> Loot:
    for number, chat in enumerate(OWNERS):
        await Factory(sessions, NOW).place(f"Nhà nghỉ {number}", Recipient("web", chat))
    town = Town(sessions, clock)
    await town.lives()
    for number, chat in enumerate(OWNERS):
        town.truth.owner["contacts", chat], town.truth.came["contacts", chat] = chat, number
    raw = b"".join(path.read_bytes() for path in folder.glob("binhyen.db*"))  # noqa: ASYNC240 (nothing else runs)
    return Loot(await _stolen(sessions), raw, town.truth)


# --- what stands in the open --------------------------------------------------------------------------------------


def test_a_thief_finds_nothing_but_keys_marks_and_sealed_bytes(loot: Loot):
    for table in OURS:
        assert len(loot.tables[table]) >= 5, table
        for row in loot.tables[table]:
            for column, value in row.items():
                if column in _ADDED:
                    continue
                is_key = isinstance(value, int) and 2**40 < value < 2**62
                is_mark = isinstance(value, str) and _HEX.fullmatch(value)
                is_sealed = isinstance(value, bytes) and value[0] == 1 and len(value) > _SEAL
                assert is_key or is_mark or is_sealed, (table, column, value)


def test_no_address_no_nonce_no_word_and_no_name_of_a_file_is_there_to_read(loot: Loot):
    stolen = b"\n".join(
        value if isinstance(value, bytes) else str(value).encode()
        for table in OURS
        for row in loot.tables[table]
        for value in row.values()
    )
    for known in (*VISITORS, *loot.truth.said, "khach-doan", "Chọn:", "Đã nhận"):
        assert known.encode() not in stolen, known
    # In the file and its log as a whole only the directory names chats.
    for known in (*(set(VISITORS) - set(OWNERS)), *(words for words in loot.truth.said if len(words) > 20)):
        assert known.encode() not in loot.raw, known


def test_no_time_is_there_to_compare(loot: Loot):
    del loot
    for table in OURS:
        for column in Base.metadata.tables[table].columns:
            assert not re.search("TIME|DATE", str(column.type).upper()), column
            assert column.name in ("id", "change", "day", "sealed", "about", "content"), column


# --- equal values -------------------------------------------------------------------------------------------------


def _values(table: Table, column: str) -> set[Any]:
    return {row[column] for row in table if row[column] is not None}


def _beginnings(values: set[Any]) -> set[Any]:
    """What may be compared: whole numbers, how text and bytes begin, and the number that hexadecimal text is."""
    begin = {
        value[:16] if isinstance(value, str) else value[:20] if isinstance(value, bytes) else value for value in values
    }
    return begin | {
        int(value, 16) >> 2 for value in begin if isinstance(value, str) and re.fullmatch("[0-9a-f]{16}", value)
    }


def test_no_value_stands_in_two_places(loot: Loot):
    places = [
        (name, column, _beginnings(_values(table, column)))
        for name, table in loot.tables.items()
        for column in (table[0] if table else ())
        if column not in _ADDED
    ]
    for (name, column, values), (other, another, theirs) in itertools.combinations(places, 2):
        if name in OURS or other in OURS:
            assert not values & theirs, f"{name}.{column} = {other}.{another}"


def test_no_column_tells_which_rows_are_of_one_chat_but_for_the_day(loot: Loot):
    for name in OURS:
        table = loot.tables[name]
        for column in table[0]:
            if column == "written_by":
                assert len(_values(table, column)) == 1, name
            elif column != "day":
                assert len(_values(table, column)) == len(table), f"{name}.{column}"


def test_a_chat_that_was_written_in_does_not_tell_the_day_it_was_opened(loot: Loot):
    shared = Counter(row["day"] for row in loot.tables["web_chats"])
    told = {loot.truth.owner["web_chats", row["id"]] for row in loot.tables["web_chats"] if shared[row["day"]] > 1}
    assert told == set(LOOKED_IN)


def test_the_mark_of_a_day_is_all_that_rows_share_and_only_within_their_table(loot: Loot):
    for name in ("web_messages", "web_posts", "web_files"):
        days: dict[str, set[date]] = {}
        for row in loot.tables[name]:
            days.setdefault(row["day"], set()).add(loot.truth.day[name, row["id"]])
        assert all(len(meant) == 1 for meant in days.values()), name
        assert len(days) >= DAYS, name


# --- the order of rows --------------------------------------------------------------------------------------------


def test_where_a_row_lies_does_not_tell_when_it_came(loot: Loot):
    for name in ("web_chats", "web_messages", "web_posts", "web_files"):
        rows = loot.known(name)
        assert len(rows) == len(loot.tables[name]) > 20, name
        told = correlation(range(len(rows)), [step for _, _, step in rows])
        assert abs(told) < 4 / math.sqrt(len(rows) - 1), name


def test_neighbours_are_not_of_one_chat_more_often_than_strangers(loot: Loot):
    for name in ("web_messages", "web_posts", "web_files"):
        chats = [chat for _, chat, _ in loot.known(name)]
        together = sum(one == next_one for one, next_one in itertools.pairwise(chats))
        assert together <= _at_most(len(chats) - 1, _chance(Counter(chats), Counter(chats))), name


def _chance(some: Counter[str], others: Counter[str]) -> float:
    """How often a row drawn from each is of one chat."""
    return sum(count * others[chat] for chat, count in some.items()) / (some.total() * others.total())


def _at_most(tries: int, chance: float) -> float:
    """As many hits as luck explains: four deviations, and one."""
    return tries * chance + 4 * math.sqrt(tries * chance * (1 - chance)) + 1


def test_two_tables_laid_side_by_side_are_not_of_the_same_chats(loot: Loot):
    known = ("contacts", "web_chats", "web_messages", "web_posts", "web_files")
    for pair in itertools.combinations(known, 2):
        one, other = ([chat for _, chat, _ in loot.known(name)] for name in pair)
        assert one and other, pair
        chance = max(_chance(Counter(one), Counter(other)), 1 / len(VISITORS))
        for guesses in (_in_step(one, other), _in_step(one, other[::-1]), _in_step(_firsts(one), _firsts(other))):
            hits = [left == right for left, right in guesses]
            assert sum(hits) <= _at_most(len(hits), chance), pair


def _in_step(one: list[str], other: list[str]) -> Iterator[tuple[str, str]]:
    longer, shorter = sorted((one, other), key=len, reverse=True)
    return ((chat, shorter[place * len(shorter) // len(longer)]) for place, chat in enumerate(longer))


def _firsts(chats: list[str]) -> list[str]:
    return list(dict.fromkeys(chats))


# --- sizes and numbers --------------------------------------------------------------------------------------------


def test_sizes_are_powers_of_two_and_fixed_where_they_can_be(loot: Loot):
    for name, column in (("web_chats", "sealed"), ("web_posts", "sealed"), ("web_files", "about")):
        assert len({len(row[column]) for row in loot.tables[name]}) == 1, name
    for name, column in (("web_messages", "sealed"), ("web_files", "content"), ("text_menus", "sealed")):
        for row in loot.tables[name]:
            size = len(row[column]) - _SEAL
            assert size.bit_count() == 1 and size >= 256, name


def test_rows_of_one_size_are_not_of_one_chat(loot: Loot):
    for name, column in (("web_messages", "sealed"), ("web_files", "content")):
        sized = [(len(row[column]), loot.truth.owner[name, row["id"]]) for row in loot.tables[name]]
        chance = _pairs(Counter(chat for _, chat in sized)) / math.comb(len(sized), 2)
        tries = _pairs(Counter(size for size, _ in sized))
        # One person's messages are somewhat alike in length; that is all a power of two may show.
        assert _pairs(Counter(sized)) <= _at_most(tries, 1.2 * chance), name


def _pairs(alike: Counter[Any]) -> int:
    return sum(math.comb(count, 2) for count in alike.values())


def test_an_erased_chat_is_not_seen_among_the_others(loot: Loot):
    sizes: dict[bool, Counter[int]] = {True: Counter(), False: Counter()}
    for row in loot.tables["web_messages"]:
        sizes[loot.truth.owner["web_messages", row["id"]] in ERASED][len(row["sealed"])] += 1
    smallest = min(sizes[True])
    assert sizes[True][smallest] > 10
    assert sizes[False][smallest] > 2 * sizes[True][smallest]


# --- what a thief guesses -----------------------------------------------------------------------------------------


def test_whoever_guesses_chat_and_nonce_cannot_prove_it(loot: Loot):
    stored = {value for table in loot.tables.values() for row in table for value in row.values()}
    nonces = [word for word in loot.truth.said if word.startswith("nonce-")]
    assert len(nonces) > 50
    for chat, nonce in itertools.product(VISITORS, nonces):
        for parts in (("web", chat, nonce), (chat, nonce), (nonce,)):
            for between in ("\x1f", ":"):
                digest = hashlib.sha256(between.join(parts).encode())
                number = int.from_bytes(digest.digest()[:8], "big")
                assert not {number >> 12, number >> 2, digest.hexdigest()[:32]} & stored
