"""An establishment's own link works once, also for two who open it in the same instant."""

from __future__ import annotations

import asyncio

import pytest

from channels.port import Recipient
from db.engine import Sessions
from db.tables.establishments import Establishment, EstablishmentState
from db.tables.officers import Role
from establishments.registration import contacts_of, find_places, join_by_link, new_invite
from tests.factories import Factory
from texts.refusal import Refusal


async def test_of_two_who_press_at_once_only_one_speaks_for_the_place(sessions: Sessions, make: Factory, now):
    place_id = await make.place(state=EstablishmentState.INVITED)
    async with sessions.begin() as session:
        payload = new_invite(await session.get_one(Establishment, place_id))

    async def join(address: str) -> bool:
        try:
            async with sessions.begin() as session:
                await join_by_link(session, payload, by=Recipient("telegram", address), now=now)
                await asyncio.sleep(0.3)
                return True
        except Refusal:
            return False

    assert sorted(await asyncio.gather(join("1"), join("2"))) == [False, True]
    async with sessions.reading() as session:
        assert len(await contacts_of(session, place_id)) == 1


@pytest.mark.parametrize("typed", ["CS-²", "cs-" + "9" * 30, "cs-", "CS-٣", "%", "_"])
async def test_a_code_that_is_none_finds_nothing(sessions: Sessions, make: Factory, typed: str):
    await make.place()
    actor = await make.officer(Recipient("telegram", "1"), Role.COMMANDER)

    async with sessions.reading() as session:
        assert await find_places(session, actor, typed) == []
