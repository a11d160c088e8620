"""What was erased is gone: not only from the tables, but from the files the database lies in.

| an attacker with the disk, and the key, looks for  | finds it                                |
|----------------------------------------------------|-----------------------------------------|
| what a draft said, after Huỷ                       | never, from the next minute on          |
| which chat a report came from, after DỪNG          | never, from the next minute on          |
| the same while somebody reads, or after a crash    | as soon as the reader is done; at once  |
| whose phone number it was, after Xoá dữ liệu       | never, from the next minute on          |
| words and pictures that waited for a yes           | never, a minute after Không gửi, Huỷ, … |
| what a conversation held that is over              | never, from the next minute on          |
"""

from __future__ import annotations

import ast
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from db.base import Base
from db.engine import Sessions
from db.erasure import beside_reports, settle_erasure
from db.tables.conversations import Conversation, Expectation
from db.tables.deliveries import MediaContent, MediaRow
from db.tables.officers import Role
from db.tables.reports import Report, ReportLink, ReportPart
from tests.conftest import KEYS
from tests.worlds import Clock, Person, World, open_world, phrase, picture

#: So much of a sealed value is looked for: its beginning holds what it takes to open the rest.
PIECE = 40
Disk = Callable[[], Awaitable[bytes]]


@pytest.fixture
async def world(engine: AsyncEngine, clock: Clock) -> AsyncIterator[World]:
    async with open_world(Sessions(engine, KEYS), clock, ["telegram"]) as opened:
        await opened.house.jobs.minute()  # the night's work is done, and nothing is owed
        yield opened


@pytest.fixture
def disk(engine: AsyncEngine) -> Disk:
    """All bytes of the files the tables lie in."""

    async def sqlite() -> bytes:
        name = str(engine.url.database)
        files = [Path(name + ending) for ending in ("", "-wal", "-shm")]
        return b"".join(file.read_bytes() for file in files if file.exists())

    async def postgresql() -> bytes:
        async with engine.connect() as connection:
            connection = await connection.execution_options(isolation_level="AUTOCOMMIT")
            await connection.execute(text("CHECKPOINT"))
            folder = Path(await connection.scalar(text("SHOW data_directory")) or "")
            found = await connection.scalars(
                text(
                    "SELECT pg_relation_filepath(c.oid) FROM pg_class c WHERE pg_relation_filepath(c.oid) IS NOT NULL"
                    " AND (relnamespace = 'public'::regnamespace OR relnamespace = 'pg_toast'::regnamespace"
                    " OR relname = 'pg_statistic')"
                )
            )
            return b"".join((folder / path).read_bytes() for path in found.all())

    return sqlite if engine.dialect.name == "sqlite" else postgresql


async def sealed_of(world: World) -> dict[str, list[bytes]]:
    """What is sealed of all reports, as it lies in the tables."""
    columns = {
        "key": Report.data_key,
        "link": ReportLink.sealed,
        "part": ReportPart.sealed,
        "file": MediaRow.about,
    }
    async with world.sessions.reading() as session:
        return {
            name: [bytes(value or b"") for value in await session.scalars(select(c))] for name, c in columns.items()
        }


def missing(raw: bytes, sealed: dict[str, list[bytes]]) -> dict[str, int]:
    """How many of each are nowhere to be found, not even their first bytes."""
    return {name: sum(value[:PIECE] not in raw for value in values) for name, values in sealed.items()}


def all_of(sealed: dict[str, list[bytes]]) -> dict[str, int]:
    return {name: len(values) for name, values in sealed.items()}


async def a_draft(world: World) -> Person:
    nam = await world.person("nam")
    await nam.sends("/baotin")
    await nam.sends("Có người lạ thử khoá xe.")
    await nam.sends_photo(picture(size=(80, 60)))
    return nam


async def a_report(world: World) -> Person:
    nam = await a_draft(world)
    await nam.presses("Gửi")
    return nam


@asynccontextmanager
async def somebody_reads(world: World) -> AsyncIterator[None]:
    async with world.sessions.reading() as session:
        await session.scalars(select(Report))
        yield


async def test_a_cancelled_draft_is_on_the_disk_no_more(world: World, disk: Disk) -> None:
    nam = await a_draft(world)
    sealed = await sealed_of(world)
    assert all_of(sealed) == {"key": 1, "link": 1, "part": 2, "file": 2}
    assert not any(missing(await disk(), sealed).values())

    await nam.presses("Huỷ")
    await world.tick(minutes=1)

    assert missing(await disk(), sealed) == all_of(sealed)


async def test_after_stop_the_link_is_on_the_disk_no_more(world: World, disk: Disk) -> None:
    nam = await a_report(world)
    sealed = {"link": (await sealed_of(world))["link"]}
    assert not any(missing(await disk(), sealed).values())

    await nam.sends("DỪNG")
    await world.tick(minutes=1)

    assert missing(await disk(), sealed) == {"link": 1}


async def test_a_link_whose_date_has_come_is_on_the_disk_no_more(world: World, disk: Disk) -> None:
    await a_report(world)
    sealed = {"link": (await sealed_of(world))["link"]}

    await world.tick(days=91)

    assert missing(await disk(), sealed) == {"link": 1}


async def test_what_is_not_erased_stays(world: World, disk: Disk) -> None:
    nam = await a_report(world)
    sealed = await sealed_of(world)

    await nam.sends("DỪNG")
    await world.tick(minutes=1)

    assert missing(await disk(), sealed) == {"key": 0, "link": 1, "part": 0, "file": 0}


async def test_a_reader_holds_it_up_and_it_is_made_up_for(
    world: World, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("db.erasure._TRIES", 2)
    nam = await a_report(world)
    sealed = {"link": (await sealed_of(world))["link"]}
    async with somebody_reads(world):
        await nam.sends("DỪNG")
        assert not await settle_erasure(world.sessions)
        assert missing(await disk(), sealed) == {"link": 0}

    assert await settle_erasure(world.sessions)

    assert missing(await disk(), sealed) == {"link": 1}


async def test_a_process_that_died_in_between_is_made_up_for_by_the_next(world: World, disk: Disk) -> None:
    nam = await a_draft(world)
    sealed = await sealed_of(world)
    await nam.presses("Huỷ")
    # The next process knows nothing of what this one owes.
    next_sessions = Sessions(world.sessions.engine, KEYS)

    await settle_erasure(next_sessions)

    assert missing(await disk(), sealed) == all_of(sealed)


async def test_what_was_rolled_back_is_owed_to_nobody(world: World) -> None:
    nam = await a_report(world)
    with pytest.raises(LookupError):
        async with world.sessions.begin() as session:
            from reports.triage import stop_contact

            assert await stop_contact(session, nam.chat) == 1
            raise LookupError
    assert not world.sessions.owes_erasure


async def test_after_deletion_the_phone_number_is_on_the_disk_no_more(world: World, disk: Disk) -> None:
    lan = await world.owner("lan", phone="+84987123456")
    assert b"+84987123456" in await disk()

    await lan.sends("/riengtu")
    await lan.presses("Xoá dữ liệu")
    await lan.presses("Xoá")
    await world.tick(minutes=1)

    assert b"+84987123456" not in await disk()


async def test_a_file_cannot_be_opened_without_the_row_that_holds_its_key(world: World) -> None:
    """So large tables of contents need not be rewritten at once: what is left of them is noise."""
    await a_draft(world)
    async with world.sessions.reading() as session:
        rows, contents = (
            list(await session.scalars(select(MediaRow))),
            list(await session.scalars(select(MediaContent))),
        )
    assert len(rows) == len(contents) == 2
    for content in contents:
        for purpose in ("media", "report-part", "report-key"):
            with pytest.raises(Exception, match=purpose):
                KEYS.unseal(purpose, content.sealed, bound_to=str(content.media_id))


async def test_postgresql_keeps_no_samples_of_what_is_sealed(postgresql_engine: AsyncEngine) -> None:
    """A value that was erased would live on in the planner's statistics."""
    async with postgresql_engine.connect() as connection:
        sampled = await connection.execute(
            text(
                "SELECT attrelid::regclass::text, attname FROM pg_attribute JOIN pg_class c ON c.oid = attrelid"
                " WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND atttypid = 'bytea'::regtype"
                " AND attstattarget IS DISTINCT FROM 0"
            )
        )
        assert sampled.all() == []


def test_every_table_beside_reports_can_be_put_in_the_order_of_a_key() -> None:
    assert {table.name for table in beside_reports()} >= {"reports", "report_parts", "report_links", "media"}
    assert all(table.primary_key.columns for table in Base.metadata.tables.values())


# --- what was never handed in ---


async def talks_of(world: World) -> list[bytes]:
    async with world.sessions.reading() as session:
        kept = (Conversation.sealed, Expectation.sealed)
        return [sealed for column in kept for sealed in await session.scalars(select(column))]


async def waiting_words(world: World) -> tuple[Person, dict[str, list[bytes]]]:
    """Words and a picture that nobody asked for lie there until their writer says whether they go to an officer."""
    duty = await world.officer("duty", Role.DUTY, on_duty=True)
    nam = await world.person("nam")
    await nam.sends("/baotin")
    await nam.sends("Có người lạ.")
    await nam.presses("Gửi")
    await duty.presses("Nhận xử lý")
    await duty.presses("Hỏi thêm")
    await duty.sends("Có mấy người?")
    async with world.sessions.reading() as session:
        before = set(await session.scalars(select(MediaRow.id)))
    await nam.sends("Tôi tên là Lan, gọi 0912345678")
    words = await talks_of(world)
    await nam.sends_photo(picture(size=(333, 222)))
    async with world.sessions.reading() as session:
        files = list(await session.scalars(select(MediaRow.about).where(MediaRow.id.not_in(before))))
        bytes_ = list(await session.scalars(select(MediaContent.sealed).where(MediaContent.media_id.not_in(before))))
    await world.house.jobs.minute()  # nothing is owed any more
    assert not world.sessions.owes_erasure
    return nam, {"words": [*words, *await talks_of(world)], "file": files, "bytes": bytes_}


async def _day_after(world: World, nam: Person) -> None:
    await world.tick(hours=23)  # the night is over, and with it the tidying that comes anyway
    await world.tick(hours=1, minutes=1)


@pytest.mark.parametrize(
    "end",
    [
        pytest.param(lambda world, nam: nam.presses("Không gửi"), id="not sent"),
        pytest.param(lambda world, nam: nam.sends("/huy"), id="called off"),
        pytest.param(lambda world, nam: nam.sends("/baotin"), id="something else begun"),
        pytest.param(_day_after, id="expired"),
    ],
)
async def test_words_and_pictures_that_were_not_sent_are_on_the_disk_no_more(
    world: World, disk: Disk, end: Callable[[World, Person], Awaitable[None]]
) -> None:
    nam, sealed = await waiting_words(world)

    await end(world, nam)
    assert sealed["file"] and sealed["bytes"]
    await world.tick(minutes=1)

    assert missing(await disk(), sealed) == all_of(sealed)


async def test_a_stray_word_is_on_the_disk_no_more_once_it_is_forgotten(world: World, disk: Disk) -> None:
    nam = await world.person("nam")
    await nam.sends("Tôi là Lan ở số 5")
    sealed = {"words": await talks_of(world)}
    await world.house.jobs.minute()
    assert missing(await disk(), sealed) == {"words": 0}

    await world.tick(hours=23)  # the night is over, and with it the tidying that comes anyway
    await world.tick(hours=1, minutes=1)

    assert missing(await disk(), sealed) == {"words": 1}


async def test_words_that_others_take_the_place_of_are_on_the_disk_no_more(world: World, disk: Disk) -> None:
    nam = await world.person("nam")
    await nam.sends("/dangky")
    await nam.presses("Nhà nghỉ")
    await nam.sends("Nhà nghỉ Lan số 5")
    sealed = {"words": await talks_of(world)}
    await world.house.jobs.minute()

    await nam.presses(phrase("button.back"))
    await nam.sends("Nhà nghỉ Hoa Sen")
    await world.tick(minutes=1)

    assert missing(await disk(), sealed) == {"words": 1}


async def test_a_report_that_was_handed_in_costs_no_cleaning(world: World) -> None:
    await a_report(world)

    assert not world.sessions.owes_erasure


#: What holds no words of a person's, or holds them no longer than it takes to act on or to send them.
_DROPPED_WITHOUT_A_WORD = {
    "ButtonRow",
    "Content",  # what we say ourselves, once it has been said
    "Delivery",
    "Digest",
    "MediaHandle",
    "NoticePart",
    "TextMenu",
    "Trouble",
    "WebCommands",
    "_SEEN",
    "_WAITING",  # what has acted
}


def _deletes(tree: ast.AST, *, in_erase: bool = False) -> Iterator[str]:
    """The names of what is deleted, but by `erase_rows`."""
    for node in ast.iter_child_nodes(tree):
        name = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
        if name == "delete" and isinstance(node, ast.Call) and not in_erase:
            yield ast.unparse(node.args[0]).rpartition(".")[2]
        yield from _deletes(node, in_erase=in_erase or name == "erase_rows")


def test_whatever_deletes_what_a_person_wrote_owes_its_erasure() -> None:
    root = Path(__file__).parents[2]
    packages = ["bot", "broadcasts", "channels", "conversations", "deliveries", "establishments", "handlers", "media"]
    found = {
        (str(path.relative_to(root)), name)
        for package in [*packages, "officers", "reports", "unit", "web"]
        for path in (root / package).rglob("*.py")
        for name in _deletes(ast.parse(path.read_text()))
        if name not in _DROPPED_WITHOUT_A_WORD
    }
    # Which looks at what it takes out.
    assert found == {("conversations/shelf.py", "table")}
