"""`binhyen init`: asks little, keeps what is there, and its invitation makes an administrator."""

from __future__ import annotations

import asyncio
import json
import re
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import select

from bot.app import open_database
from bot.settings import Settings, load_settings
from channels.port import Recipient
from commands.cli import cli
from commands.setup import parse_areas, write_settings
from db.tables.officers import Invitation, Role
from officers.accounts import actor_for, open_invitation
from officers.permissions import Actor
from unit.areas import present_areas

TOKEN = "123456789:AAbbccddeeffgghhii"
PAYLOAD = re.compile(r"/start (o[\w-]+)")


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (*Settings.model_fields, "credentials_directory"):
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)


def init(*answers: str) -> Result:
    return CliRunner().invoke(cli, ["init"], input="".join(f"{answer}\n" for answer in answers))


async def areas_and_invitations() -> tuple[list[str], list[Invitation]]:
    engine, sessions = await open_database(load_settings())
    async with sessions.reading() as session:
        found = [area.name for area in await present_areas(session)], list(await session.scalars(select(Invitation)))
    await engine.dispose()
    return found


async def unseal_link(payload: str) -> Actor:
    engine, sessions = await open_database(load_settings())
    visitor = Recipient("web", "a" * 40)
    async with sessions.begin() as session:
        await open_invitation(session, payload, by=Actor(visitor), now=datetime.now(UTC))
        actor = await actor_for(session, visitor)
    await engine.dispose()
    return actor


@contextmanager
def bot_api(*, status: int = 200) -> Iterator[str]:
    """Something that knows one bot."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            me = {"id": 1, "is_bot": True, "first_name": "Bình Yên", "username": "binhyen_bot"}
            known = {"ok": True, "result": me}
            body = known if status == 200 else {"ok": False, "error_code": status, "description": "Unauthorized"}
            self.rfile.read(int(self.headers.get("Content-Length", "0")))
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_first_run_makes_everything_and_the_link_makes_an_administrator(tmp_path: Path) -> None:
    result = init("", "Công an phường 7", "3", "Trung tá Lê An")

    assert result.exit_code == 0, result.output
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600
    assert load_settings().unit_name == "Công an phường 7"
    assert load_settings().bot_token is None
    assert (tmp_path / "data" / "secret.key").exists()
    names, _ = asyncio.run(areas_and_invitations())
    assert names == ["Khu phố 1", "Khu phố 2", "Khu phố 3"]
    payload = PAYLOAD.findall(result.output)[0]
    assert f"http://127.0.0.1:8080/?start={payload}" in result.output
    actor = asyncio.run(unseal_link(payload))
    assert (actor.name, actor.role) == ("Trung tá Lê An", Role.ADMIN)


def test_a_second_run_keeps_what_is_there(tmp_path: Path) -> None:
    first = init("", "Công an phường 7", "Chợ, Bến đò", "Trung tá Lê An")
    asyncio.run(unseal_link(PAYLOAD.findall(first.output)[0]))
    before = (tmp_path / ".env").read_text(), (tmp_path / "data" / "secret.key").read_text()

    second = init("n", "bến đò, Khu phố 9", "n")

    assert second.exit_code == 0, second.output
    assert "Administrators: Trung tá Lê An" in second.output
    assert not PAYLOAD.search(second.output)
    assert ((tmp_path / ".env").read_text(), (tmp_path / "data" / "secret.key").read_text()) == before
    names, invitations = asyncio.run(areas_and_invitations())
    assert names == ["Chợ", "Bến đò", "Khu phố 9"]
    assert len(invitations) == 1


def test_a_changed_file_keeps_every_other_line(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(f"# mine\nWEB_PORT=8123\nBOT_TOKEN={TOKEN}\nunit_name=Cũ\n")

    with bot_api() as url:
        with (tmp_path / ".env").open("a") as file:
            file.write(f"TELEGRAM_API_URL={url}\n")
        result = init("y", "", "Công an 'phường' \\7", "", "An")

    assert result.exit_code == 0, result.output
    settings = load_settings()
    assert (settings.web_port, settings.unit_name) == (8123, "Công an 'phường' \\7")
    assert settings.bot_token is not None
    assert settings.bot_token.get_secret_value() == TOKEN
    assert (tmp_path / ".env").read_text().startswith("# mine\n")
    assert "https://t.me/binhyen_bot?start=o" in result.output
    assert TOKEN not in result.output
    assert [path.name for path in tmp_path.glob(".env*")] == [".env"]


def test_answers_that_cannot_be_are_asked_again() -> None:
    result = init("not a token", "", "${UNIT}", "Công an phường 7", "100", "y" * 121, "2", " ", "z" * 81, "An")

    assert result.exit_code == 0, result.output
    assert result.output.count("That cannot be") == 6
    assert "the token @BotFather gave" in result.output


def test_what_the_environment_says_is_not_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("UNIT_NAME", "Công an phường 7")
    monkeypatch.setenv("PUBLIC_URL", "https://binhyen.example.vn")
    with bot_api() as url:
        monkeypatch.setenv("BOT_TOKEN", TOKEN)
        monkeypatch.setenv("TELEGRAM_API_URL", url)
        result = init("", "An")

    assert result.exit_code == 0, result.output
    assert not (tmp_path / ".env").exists()
    assert "https://t.me/binhyen_bot?start=o" in result.output
    assert "https://binhyen.example.vn/?start=o" in result.output


@pytest.mark.parametrize(("status", "said"), [(401, "does not know this BOT_TOKEN"), (502, "cannot be reached")])
def test_without_telegram_the_page_is_still_offered(status: int, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with bot_api(status=status) as url:
        monkeypatch.setenv("BOT_TOKEN", TOKEN)
        monkeypatch.setenv("TELEGRAM_API_URL", url)
        result = init("", "", "An")

    assert result.exit_code == 0, result.output
    assert said in result.output
    assert "http://127.0.0.1:8080/?start=o" in result.output


def test_settings_that_do_not_allow_a_start_are_said_and_nothing_is_made(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("WEB_PORT=many\n")

    result = init()

    assert result.exit_code == 2
    assert "WEB_PORT is 'many'" in result.output
    assert not (tmp_path / "data").exists()


def test_areas_are_names_or_a_number() -> None:
    assert parse_areas("2") == ["Khu phố 1", "Khu phố 2"]
    assert parse_areas(" Chợ ,, Bến  đò,chợ ") == ["Chợ", "Bến đò"]
    assert parse_areas("") == []


@pytest.mark.parametrize("text", ["100", "x" * 121, ",".join(f"a{number}" for number in range(100))])
def test_too_many_or_too_long_areas_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="at most"):
        parse_areas(text)


@pytest.mark.parametrize("name", ["Công an phường 7", "a'b", 'a"b', "a\\b", "a\\'b", "$HOME", "# x", "a=b"])
def test_any_name_is_read_back_as_it_was_written(name: str, tmp_path: Path) -> None:
    write_settings(tmp_path / ".env", "", {"UNIT_NAME": name})

    assert load_settings().unit_name == name
