"""What is kept for a chat between conversations: one row, that tells nothing without the key, and ends after a day."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from sqlalchemy import Row, select

from channels.port import Point, Recipient
from conversations.expectations import (
    Expectation,
    expired_expectations,
    forget_expectation,
    keep_expectation,
    kinds,
    present_expectation,
    take_expired_expectation,
)
from conversations.shelf import LIFETIME
from conversations.talks import Talk, keep_talk
from db.engine import Sessions, keys_of
from db.sealing import padded
from db.tables.conversations import Conversation
from db.tables.conversations import Expectation as Kept
from reports.answers import Asked, Offered, Piece, RestOfAlbum, Unsent
from reports.intake import KeptFile
from tests.conftest import NOW

LAN = Recipient("telegram", "810000001")
HAI = Recipient("web", "x" * 22)
MINUTE = timedelta(minutes=1)
EACH = [
    Offered("Quán bên cạnh mở nhạc", is_hurried=True),
    Asked(41, "T-7K3F", NOW, "Xe màu đỏ"),
    RestOfAlbum(41, "T-7K3F", "album-1"),
    Unsent(
        41, "T-7K3F", NOW, (Piece("Lan", KeptFile("photo", 3, 4, "ab")), Piece(point=Point(10.5, 106.25))), "album-1"
    ),
]


async def keeps(sessions: Sessions, what: object, *, chat: Recipient = LAN, at=NOW) -> Expectation:
    expected = Expectation(chat, what)
    async with sessions.begin() as session:
        await keep_expectation(session, expected, now=at)
    return expected


async def kept(sessions: Sessions, *, chat: Recipient = LAN, at=NOW) -> Expectation | None:
    async with sessions.reading() as session:
        return await present_expectation(session, chat, now=at)


async def rows(sessions: Sessions) -> list[Row]:
    async with sessions.reading() as session:
        return list(await session.execute(select(Kept.chat, Kept.sealed, Kept.hour)))


def test_every_kind_is_tried_here():
    assert set(kinds().values()) == {type(what) for what in EACH}


@pytest.mark.parametrize("what", EACH, ids=lambda what: type(what).__name__)
async def test_what_is_kept_for_a_chat_is_found_again(sessions, what):
    expected = await keeps(sessions, what)
    assert await kept(sessions) == expected
    assert await kept(sessions, chat=HAI) is None


async def test_what_comes_later_takes_its_place(sessions):
    await keeps(sessions, EACH[0])
    newer = await keeps(sessions, EACH[1])
    assert await kept(sessions) == newer
    assert len(await rows(sessions)) == 1


async def test_what_is_forgotten_is_gone_and_owes_its_erasure_where_it_held_words(sessions):
    for what, owes in ((EACH[0], True), (EACH[2], False)):
        await keeps(sessions, what)
        sessions.owes_erasure = False
        async with sessions.begin() as session:
            await forget_expectation(session, LAN)
        assert await rows(sessions) == []
        assert sessions.owes_erasure is owes


async def test_it_ends_after_a_day_and_not_before(sessions):
    expected = await keeps(sessions, EACH[1])
    async with sessions.begin() as session:
        assert await expired_expectations(session, now=NOW + LIFETIME - MINUTE) == []
        (key,) = await expired_expectations(session, now=NOW + LIFETIME + MINUTE)
        assert await take_expired_expectation(session, key) == expected
    assert await kept(sessions, at=NOW + LIFETIME - MINUTE) is None


async def test_at_its_end_nothing_is_expected_though_nobody_has_cleared_it_away(sessions):
    await keeps(sessions, EACH[1])
    assert await kept(sessions, at=NOW + LIFETIME) is None


async def test_nothing_in_the_open_says_which_chat_or_which_report(sessions):
    await keeps(sessions, EACH[1])
    async with sessions.begin() as session:
        await keep_talk(session, Talk(LAN, "track", "code"), now=NOW)
        talk = (await session.execute(select(Conversation.chat, Conversation.sealed, Conversation.hour))).one()
    (row,) = await rows(sessions)
    for said in (b"810000001", b"T-7K3F", b"asked", b"41", "Xe màu đỏ".encode()):
        assert said not in row.sealed
    assert not set(row) & set(talk), "neither chat nor hour is known by the same mark in both tables"


async def test_lengths_are_powers_of_two(sessions):
    lengths = set()
    for size in range(1, 400, 7):
        await keeps(sessions, Offered("x" * size))
        lengths.add(len((await rows(sessions))[0].sealed))
    assert len(lengths) <= 3


async def test_what_belongs_to_another_chat_is_not_read_when_moved(sessions):
    await keeps(sessions, EACH[1])
    await keeps(sessions, EACH[0], chat=HAI)
    mine, others = await rows(sessions)
    async with sessions.begin() as session:
        (await session.get_one(Kept, mine.chat)).sealed = others.sealed
    assert [await kept(sessions, chat=chat) for chat in (LAN, HAI)].count(None) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "of a newer version"},
        {"what": {"words": "x", "is_hurried": False, "more": 1}},
        {"what": {"words": "x"}},
        {"what": None},
        {"serial": None},
    ],
    ids=str,
)
async def test_what_another_version_kept_is_not_guessed_at_and_ends_all_the_same(sessions, change):
    await keeps(sessions, Offered("x"))
    (row,) = await rows(sessions)
    body = {"kind": "offered", "what": {"words": "x", "is_hurried": False}, "serial": "ab", "chat": str(LAN)}
    body |= {"ends_at": (NOW + LIFETIME).isoformat()} | change
    async with sessions.begin() as session:
        sealed = keys_of(session).seal("expectation", padded(json.dumps(body).encode()), bound_to=row.chat)
        (await session.get_one(Kept, row.chat)).sealed = sealed
    assert await kept(sessions) is None
    async with sessions.begin() as session:
        (key,) = await expired_expectations(session, now=NOW + LIFETIME + MINUTE)
        assert await take_expired_expectation(session, key) is None
    assert await rows(sessions) == []
