"""An administrator whose phone was lost is revoked in chat; ADMIN_IDS, on the server, still names them.

| promise | test |
|---|---|
| a restart does not give the access back | `..._stays_revoked...` |
| whoever revokes is told that the settings still name them | `..._told_at_the_time...` |
| the start and the doctor say so | `..._doctor...` |
| the server's owner has the last word | `..._put_back_in...` |
"""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.botapi.server import FakeBotApi
from bot.settings import Settings
from channels.port import Recipient
from commands import doctor
from db.engine import Sessions
from db.tables.officers import Officer, Role
from officers.accounts import actor_for, revoke_officer, sync_administrators
from tests.conftest import KEYS
from tests.factories import Factory
from tests.processes import running, settings_for, sqlite_url
from tests.worlds import World, phrase

LOST, COLLEAGUE = Recipient("telegram", "900"), Recipient("telegram", "901")


async def _revoke(sessions: Sessions, now) -> None:
    async with sessions.begin() as session:
        lost = await actor_for(session, LOST)
        await revoke_officer(session, await actor_for(session, COLLEAGUE), lost.officer_id or 0, now=now)


@pytest.fixture
async def revoked(sessions, now) -> Sessions:
    """The settings made two administrators, and one revoked the other."""
    async with sessions.begin() as session:
        assert await sync_administrators(session, [LOST, COLLEAGUE], now=now) == 0
    await _revoke(sessions, now)
    return sessions


async def _is_administrator(sessions: Sessions, chat: Recipient) -> bool:
    async with sessions.reading() as session:
        return (await actor_for(session, chat)).role is Role.ADMIN


async def test_who_was_revoked_in_chat_stays_revoked_however_often_it_is_started(revoked, now):
    for _ in range(2):
        async with revoked.begin() as session:
            assert await sync_administrators(session, [LOST, COLLEAGUE], now=now) == 1

    assert not await _is_administrator(revoked, LOST)
    assert await _is_administrator(revoked, COLLEAGUE)


async def test_who_is_taken_out_of_the_settings_and_put_back_in_is_an_administrator_again(revoked, now):
    for chats in ([COLLEAGUE], [LOST, COLLEAGUE]):
        async with revoked.begin() as session:
            await sync_administrators(session, chats, now=now)

    assert await _is_administrator(revoked, LOST)


async def test_who_was_taken_out_by_the_settings_alone_may_be_put_back(sessions, now):
    for chats in ([LOST, COLLEAGUE], [COLLEAGUE], [LOST, COLLEAGUE]):
        async with sessions.begin() as session:
            assert await sync_administrators(session, chats, now=now) == 0

    assert await _is_administrator(sessions, LOST)


async def test_a_revoked_officer_the_settings_name_for_the_first_time_is_let_in(sessions, now):
    """Somebody on the machine decided so: that is the way out when nobody is left who can."""
    make = Factory(sessions, now)
    await make.officer(LOST, Role.DUTY)
    await make.officer(COLLEAGUE, Role.ADMIN)
    await _revoke(sessions, now)

    async with sessions.begin() as session:
        assert await sync_administrators(session, [LOST], now=now) == 0

    assert await _is_administrator(sessions, LOST)


async def test_whoever_revokes_is_told_at_the_time_that_the_settings_still_name_them(telegram_world: World):
    world = telegram_world
    admin = await world.officer("admin", Role.ADMIN)
    lost = await world.person("lost")
    await world.officer("hoa", Role.DUTY)
    async with world.sessions.begin() as session:
        await sync_administrators(session, [lost.chat], now=world.clock())
        officer = await actor_for(session, lost.chat)
        row = await session.get_one(Officer, officer.officer_id)
        row.name = "Lan Mất Máy"

    for name, key, other in (
        ("Lan Mất Máy", "officers.revoked_named", "officers.revoked"),
        ("Hoa", "officers.revoked", "officers.revoked_named"),
    ):
        await admin.sends("/canbo")
        await admin.presses(phrase("button.revoke"))
        await admin.presses(name)
        await admin.presses(phrase("button.revoke_yes"))
        admin.sees(phrase(key, name=name))
        admin.sees_not(phrase(other, name=name))


async def test_the_doctor_and_the_start_say_so(tmp_path: Path, sqlite_engine, now):
    sessions = Sessions(sqlite_engine, KEYS)
    async with sessions.begin() as session:
        await sync_administrators(session, [LOST, COLLEAGUE], now=now)
    await _revoke(sessions, now)
    url = f"sqlite+aiosqlite:///{tmp_path / 'binhyen.db'}"
    settings = Settings.model_validate({"database_url": url, "admin_ids": "900,901"})

    found = [finding async for finding in doctor._database(settings, now)]

    assert [one.line for one in found if "ADMIN_IDS" in one.line and one.verdict is doctor.Verdict.WRONG]


async def test_a_start_says_in_its_log_that_somebody_stays_revoked(api: FakeBotApi, tmp_path: Path):
    settings = settings_for(api, sqlite_url(tmp_path), admins="900,901")
    admin = api.person(901)
    async with running(tmp_path, settings) as bot:
        admin.sends("/canbo")
        await admin.sees(phrase("officers.shown"))
        admin.presses(phrase("button.revoke"))
        await admin.sees(phrase("officers.ask_whom"))
        admin.presses("Quản trị 900")
        await admin.sees("Quản trị 900")
        admin.presses(phrase("button.revoke_yes"))
        await admin.sees("ADMIN_IDS")
        assert await bot.terminates() == 0
    async with running(tmp_path, settings) as bot:
        await bot.says("administrators_stay_revoked")
        lost = api.person(900)
        lost.sends("/canbo")
        await lost.sees(phrase("refused.officers"))
        assert await bot.terminates() == 0
