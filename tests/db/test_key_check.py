"""A wrong key is noticed at the start, before anything new is sealed with it."""

from __future__ import annotations

import pytest

from db.engine import Sessions
from db.key_check import check_keys
from db.sealing import CannotUnseal, KeyRing, new_master_key


async def test_the_key_a_database_was_sealed_with_opens_it_again(sessions):
    async with sessions.begin() as session:
        await check_keys(session)
    async with sessions.begin() as session:
        await check_keys(session)


async def test_another_key_is_refused(sessions):
    async with sessions.begin() as session:
        await check_keys(session)

    others = Sessions(sessions.engine, KeyRing.parse(new_master_key()))
    with pytest.raises(CannotUnseal):
        async with others.begin() as session:
            await check_keys(session)


async def test_a_new_first_key_opens_it_while_the_old_one_is_on_the_ring(sessions):
    old, new = new_master_key(), new_master_key()
    async with Sessions(sessions.engine, KeyRing.parse(old)).begin() as session:
        await check_keys(session)

    async with Sessions(sessions.engine, KeyRing.parse(f"{new},{old}")).begin() as session:
        await check_keys(session)
