"""What a broadcast says is stored once in each language, and each chat gets the one it has chosen."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import func, select

from broadcasts.facts import Draft, Response
from broadcasts.notices import schedule_notice
from broadcasts.opening import go_on, open_due
from channels.port import Recipient
from channels.wording import plain
from conversations.languages import choose_language
from db.tables.broadcasts import BroadcastContent
from db.tables.deliveries import Content, Delivery
from db.tables.establishments import ContactRole
from deliveries.claims import claim
from establishments.registration import add_contact
from officers.permissions import Actor
from texts.catalogue import LANGUAGES
from unit.policy import Policy

CHIEF, LAN, MINH, TAM = (Recipient("memory", name) for name in ("chief", "lan", "minh", "tam"))
POLICY = Policy()


async def _sends(sessions, author: Actor, now, *, size: int = 250) -> dict[str, str]:
    """A notice opened in steps of `size`: what each chat is about to get, by address."""
    async with sessions.begin() as session:
        draft = Draft("Khoá cửa sau 22 giờ", "all", Response.CONFIRM, urgent=True)
        await schedule_notice(session, author, draft, now=now)
        await open_due(session, now=now, policy=POLICY)
    more = True
    while more:
        async with sessions.begin() as session:
            more = await go_on(session, now=now, policy=POLICY, size=size)
    async with sessions.begin() as session:
        return {one.to.address: one.outgoing.buttons[0][0].label for one in await claim_all(session, now)}


async def claim_all(session, now):
    return await claim(session, "memory", limit=1000, now=now)


def received(language: str) -> str:
    return plain(language, "button.received")


async def test_each_chat_gets_a_notice_in_the_language_it_has_chosen(sessions, make, now):
    author = await make.officer(CHIEF)
    for number, chat in enumerate((LAN, MINH, TAM)):
        await make.place(f"Nhà nghỉ {number}", chat, address=f"{number} Lê Lợi")
    async with sessions.begin() as session:
        await choose_language(session, LAN, "en")
        await choose_language(session, MINH, "vi")
    assert await _sends(sessions, author, now) == {
        "lan": received("en"),
        "minh": received("vi"),
        "tam": received("vi"),
    }


async def test_a_chat_that_speaks_for_several_places_gets_one_message(sessions, make, now):
    author = await make.officer(CHIEF)
    for number in range(3):
        await make.place(f"Nhà nghỉ {number}", LAN, address=f"{number} Lê Lợi")
    async with sessions.begin() as session:
        await choose_language(session, LAN, "en")
    assert await _sends(sessions, author, now, size=1) == {"lan": received("en")}
    async with sessions.reading() as session:
        assert await session.scalar(select(func.count()).select_from(Delivery)) == 1


async def test_who_chose_before_joining_and_changes_their_mind_gets_it_as_they_chose_last(sessions, make, now):
    author = await make.officer(CHIEF)
    place = await make.place("Nhà nghỉ Hoa Mai")
    async with sessions.begin() as session:
        await choose_language(session, LAN, "en")
        await add_contact(session, place, LAN, role=ContactRole.OWNER, now=now)
    assert await _sends(sessions, author, now) == {"lan": received("en")}
    async with sessions.begin() as session:
        await choose_language(session, LAN, "vi")
    assert await _sends(sessions, author, now + timedelta(minutes=1)) == {"lan": received("vi")}


async def test_a_broadcast_is_stored_once_in_each_language_however_many_get_it(sessions, make, now):
    author = await make.officer(CHIEF)
    chats = [Recipient("memory", f"u{number}") for number in range(12)]
    for number, chat in enumerate(chats):
        await make.place(f"Nhà nghỉ {number}", chat, address=f"{number} Lê Lợi")
    async with sessions.begin() as session:
        for chat in chats[::2]:
            await choose_language(session, chat, "en")
    got = await _sends(sessions, author, now, size=5)
    assert got == {chat.address: received("en" if chat in chats[::2] else "vi") for chat in chats}
    async with sessions.reading() as session:
        assert await session.scalar(select(func.count()).select_from(BroadcastContent)) == len(LANGUAGES)
        assert await session.scalar(select(func.count()).select_from(Content)) == len(LANGUAGES)
        assert len(set(await session.scalars(select(Delivery.content_id)))) == len(LANGUAGES)


async def test_a_language_nothing_was_stored_in_loses_nobody_the_notice(sessions, make, now):
    author = await make.officer(CHIEF)
    await make.place("Nhà nghỉ Hoa Mai", LAN)
    async with sessions.begin() as session:
        await choose_language(session, LAN, "fr")
    assert await _sends(sessions, author, now) == {"lan": received("vi")}
