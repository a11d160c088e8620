"""`binhyen doctor`: says what is wrong and what to do, changes nothing, and 0 means nothing is wrong."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web
from pydantic import SecretStr
from sqlalchemy import text, update
from sqlalchemy.ext.asyncio import AsyncEngine

from bench.botapi.server import FakeBotApi
from bench.botapi.telegram import TOKEN
from bot.app import open_database
from bot.settings import Settings
from channels.port import Outgoing, Recipient
from commands.doctor import examine
from db.engine import Sessions
from db.sealing import new_master_key
from db.tables.deliveries import Delivery, DeliveryState
from deliveries.ledger import Lane, open_delivery
from officers.accounts import first_invitation
from officers.permissions import Role
from tests.factories import Factory

#: The clock of these tests; far from any real one.
NOW = datetime(2027, 3, 1, 1, 0, tzinfo=UTC)


def settings_in(folder: Path, **values: Any) -> Settings:
    """Settings as they would be in `folder`, on a port nobody has."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"sqlite+aiosqlite:///{folder / 'data' / 'binhyen.db'}"
    return Settings.model_construct(**{"database_url": url, "web_port": port} | values)


async def made(settings: Settings) -> tuple[AsyncEngine, Sessions]:
    """Key and database, closed to others, with an administrator."""
    engine, sessions = await open_database(settings)
    for file in Path(str(engine.url.database)).parent.iterdir():
        file.chmod(0o600)
    await Factory(sessions, NOW).officer(Recipient("web", "an"), Role.ADMIN, name="Trung tá Lê An")
    return engine, sessions


@pytest.fixture
async def unit(tmp_path: Path) -> AsyncIterator[SimpleNamespace]:
    """A unit with which nothing is wrong."""
    settings = settings_in(tmp_path)
    engine, sessions = await made(settings)
    yield SimpleNamespace(settings=settings, sessions=sessions, folder=tmp_path)
    await engine.dispose()


async def examined(
    settings: Settings, capsys: pytest.CaptureFixture[str], *, at: datetime = NOW, env_file: Path = Path("no such file")
) -> tuple[int, str]:
    code = await examine(settings, clock=lambda: at, env_file=env_file)
    return code, capsys.readouterr().out


@asynccontextmanager
async def answering(body: Any) -> AsyncIterator[int]:
    """Something that answers every request so; its port."""

    async def answer(request: web.Request) -> web.Response:
        return web.json_response(body)

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


async def test_a_unit_in_order_has_nothing_wrong(unit: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = await examined(unit.settings, capsys)

    assert code == 0, said
    assert "WRONG" not in said
    assert "Administrators: Trung tá Lê An." in said
    assert "Nobody is on duty" in said
    assert said.endswith("Nothing is wrong.\n")


async def test_nothing_is_made_where_there_is_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = await examined(settings_in(tmp_path), capsys)

    assert code == 1
    assert "There is no database yet" in said
    assert os.listdir(tmp_path) == []


async def test_who_is_on_duty_is_named(unit: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    make = Factory(unit.sessions, NOW)
    await make.shift(await make.officer(Recipient("web", "hai"), Role.DUTY, name="Đại uý Trần Hải"))

    _, said = await examined(unit.settings, capsys)

    assert "On duty: Đại uý Trần Hải." in said


async def test_a_unit_without_administrator_is_wrong(unit: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    async with unit.sessions.begin() as session:
        await session.execute(text("DELETE FROM officer_chats"))

    code, said = await examined(unit.settings, capsys)

    assert code == 1
    assert "There is no administrator: binhyen init" in said


async def test_an_invitation_that_waits_to_be_opened_is_not_wrong(
    unit: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    async with unit.sessions.begin() as session:
        await session.execute(text("DELETE FROM officer_chats"))
        await first_invitation(session, name="Trung tá Lê An", now=NOW)

    code, said = await examined(unit.settings, capsys)

    assert code == 0
    assert "invitation waits" in said


@pytest.mark.parametrize("name", ["secret.key", "binhyen.db"])
async def test_files_others_can_read_are_wrong_and_stay_as_they_are(
    name: str, unit: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    file = unit.folder / "data" / name
    file.chmod(0o644)

    code, said = await examined(unit.settings, capsys)

    assert code == 1
    assert f"chmod 600 {file}" in said
    assert file.stat().st_mode & 0o777 == 0o644


async def test_an_env_file_others_can_read_is_wrong(unit: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    env_file = unit.folder / ".env"
    env_file.touch(0o644)

    code, said = await examined(unit.settings, capsys, env_file=env_file)

    assert code == 1
    assert "chmod 600" in said


async def test_a_lost_or_broken_key_is_wrong(unit: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    key = unit.folder / "data" / "secret.key"
    key.write_text("not a key")
    broken = await examined(unit.settings, capsys)
    key.unlink()
    lost = await examined(unit.settings, capsys)

    assert (broken[0], lost[0]) == (1, 1)
    assert "holds no usable key" in broken[1]
    assert "is missing" in lost[1]
    assert not key.exists()


async def test_a_key_in_the_settings_needs_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = settings_in(tmp_path, secret_key=SecretStr(new_master_key()))
    engine, _ = await made(settings)

    code, said = await examined(settings, capsys)

    await engine.dispose()
    assert code == 0, said
    assert "SECRET_KEY is set" in said


async def test_an_old_schema_is_wrong(unit: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    async with unit.sessions.begin() as session:
        await session.execute(text("UPDATE alembic_version SET version_num = 'older'"))

    code, said = await examined(unit.settings, capsys)

    assert code == 1
    assert "binhyen db upgrade" in said


async def test_a_database_that_is_none_is_wrong(unit: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    settings = settings_in(unit.folder, database_url=f"sqlite+aiosqlite:///{unit.folder / 'data' / 'secret.key'}")

    code, said = await examined(settings, capsys)

    assert code == 1
    assert "The database cannot be reached" in said


async def test_a_clock_that_is_behind_is_wrong(unit: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    await _send(unit.sessions, DeliveryState.SENT)

    behind_all = await examined(unit.settings, capsys, at=datetime(2020, 1, 1, tzinfo=UTC))
    behind_ours = await examined(unit.settings, capsys, at=NOW - timedelta(hours=2))

    assert (behind_all[0], behind_ours[0]) == (1, 1)
    assert "set it (timedatectl" in behind_all[1]
    assert "The clock is behind what was sent" in behind_ours[1]


async def test_a_full_disk_is_wrong(
    unit: SimpleNamespace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("commands.doctor.shutil.disk_usage", lambda _: SimpleNamespace(free=100 * 2**20))

    code, said = await examined(unit.settings, capsys)

    assert code == 1
    assert "make room" in said


@pytest.mark.parametrize(
    ("state", "said"), [(DeliveryState.FAILED, "could not be sent"), (DeliveryState.UNKNOWN, "nobody knows")]
)
async def test_failed_and_unknown_messages_are_counted_for_a_day(
    state: DeliveryState, said: str, unit: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    await _send(unit.sessions, state)

    today = await examined(unit.settings, capsys)
    later = await examined(unit.settings, capsys, at=NOW + timedelta(days=2))

    assert (today[0], later[0]) == (1, 0)
    assert said in today[1]


async def test_a_running_bot_says_how_it_is(unit: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    answers: list[Any] = [
        {"ready": True, "checks": {}},
        {"ready": False, "checks": {"database": "ok", "telegram": "down"}},
        ["something else"],
    ]
    found = []
    for body in answers:
        async with answering(body) as port:
            found.append(await examined(unit.settings.model_copy(update={"web_port": port}), capsys))

    assert [code for code, _ in found] == [0, 1, 1]
    assert "is ready" in found[0][1]
    assert "not ready (telegram: down)" in found[1][1]
    assert "belongs to another program" in found[2][1]


async def test_telegram_is_asked_who_we_are(unit: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    async with FakeBotApi() as api:
        there = {"telegram_api_url": api.url, "bot_token": SecretStr(TOKEN)}
        known = await examined(unit.settings.model_copy(update=there), capsys)
        there["bot_token"] = SecretStr("1:unknown")
        unknown = await examined(unit.settings.model_copy(update=there), capsys)
    there["telegram_api_url"] = "http://127.0.0.1:1"
    cut_off = await examined(unit.settings.model_copy(update=there), capsys)

    assert (known[0], unknown[0], cut_off[0]) == (0, 1, 1)
    assert "the bot is @" in known[1]
    assert "does not know this BOT_TOKEN" in unknown[1]
    assert "cannot be reached" in cut_off[1]
    assert all("for the office to say" in said for _, said in (known, unknown, cut_off))
    assert all(TOKEN not in said for _, said in (known, unknown, cut_off))


async def test_the_public_address_must_lead_to_us(
    unit: SimpleNamespace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    public = unit.settings.model_copy(update={"public_url": "https://binhyen.example.vn"})

    async def nothing(address: str) -> None: ...

    async def ours(address: str) -> dict[str, object]:
        assert address == "https://binhyen.example.vn/readyz"
        return {"ready": True}

    monkeypatch.setattr("commands.doctor._get", nothing)
    astray = await examined(public, capsys)
    monkeypatch.setattr("commands.doctor._get", ours)
    right = await examined(public, capsys)
    here = await examined(unit.settings.model_copy(update={"public_url": "http://127.0.0.1:8080"}), capsys)

    assert (astray[0], right[0], here[0]) == (1, 0, 0)
    assert "does not lead to the bot" in astray[1]
    assert "leads to the bot" in right[1]
    assert "this computer itself" in here[1]


async def _send(sessions: Sessions, state: DeliveryState) -> None:
    async with sessions.begin() as session:
        await open_delivery(
            session, Outgoing("x"), to=Recipient("web", "a"), key="x", origin="x", lane=Lane.ROUTINE, now=NOW
        )
        await session.execute(update(Delivery).values(state=state, settled_at=NOW))


async def test_a_key_on_the_disk_of_the_database_is_worth_a_word(
    unit: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = await examined(unit.settings, capsys)

    assert code == 0
    assert "lies on the same disk as the database" in said
