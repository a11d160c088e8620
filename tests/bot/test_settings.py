"""The settings: each bad value is one clear line, and no secret is ever in it."""

from __future__ import annotations

import re
import stat
from datetime import time
from pathlib import Path

import pytest

from bot.settings import BadSettings, Settings, key_file, load_keys, load_settings
from channels.port import Recipient
from db.sealing import new_master_key

TOKEN = "123456789:AAbbccddeeffgghhii"
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch, tmp_path):
    for name in (*Settings.model_fields, "credentials_directory"):
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)


def lines_of(**environment: str) -> list[str]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        with pytest.raises(BadSettings) as caught:
            load_settings()
    return caught.value.lines


def test_nothing_needs_to_be_set():
    settings = load_settings()

    assert settings.bot_token is None
    assert settings.quiet_hours == (time(21), time(7))
    assert settings.escalation_minutes == (5, 15, 60)
    assert settings.zone.key == "Asia/Ho_Chi_Minh"
    assert settings.database_url == "sqlite+aiosqlite:///data/binhyen.db"


def test_values_come_from_the_file_and_the_environment_wins(monkeypatch, tmp_path):
    (tmp_path / ".env").write_text(f"\ufeffBOT_TOKEN={TOKEN}\nunit_name='Công an phường 7'\nWEB_PORT=81\nPUBLIC_URL=\n")
    monkeypatch.setenv("WEB_PORT", "82")

    settings = load_settings()

    assert settings.bot_token and settings.bot_token.get_secret_value() == TOKEN
    assert (settings.unit_name, settings.web_port, settings.public_url) == ("Công an phường 7", 82, None)


def test_values_come_from_systemd_credentials(monkeypatch, tmp_path):
    (tmp_path / "bot_token").write_text(TOKEN + "\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))

    token = load_settings().bot_token

    assert token and token.get_secret_value() == TOKEN


def test_administrators_are_recipients(monkeypatch):
    monkeypatch.setenv("ADMIN_IDS", "123, telegram:-45,web:abc:d ,")

    assert load_settings().admin_ids == (
        Recipient("telegram", "123"),
        Recipient("telegram", "-45"),
        Recipient("web", "abc:d"),
    )


def test_trusted_proxies_are_addresses_and_networks(monkeypatch):
    assert [str(one) for one in load_settings().trusted_proxies] == ["127.0.0.1/32", "::1/128"]
    monkeypatch.setenv("TRUSTED_PROXIES", "10.88.0.0/16, 192.0.2.7,2001:db8::/32,")
    assert [str(one) for one in load_settings().trusted_proxies] == ["10.88.0.0/16", "192.0.2.7/32", "2001:db8::/32"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BOT_TOKEN", "abc"),
        ("BOT_TOKEN", "123456789:with space"),
        ("TELEGRAM_API_URL", "api.telegram.org"),
        ("TELEGRAM_API_URL", f"https://api.telegram.org/bot{TOKEN}"),
        ("TELEGRAM_API_URL", "http://["),
        ("TELEGRAM_MODE", "push"),
        ("WEBHOOK_SECRET", "với dấu"),
        ("WEBHOOK_SECRET", "a" * 257),
        ("RATE_TELEGRAM", "0"),
        ("RATE_TELEGRAM", "nan"),
        ("RATE_TELEGRAM", "many"),
        ("DATABASE_URL", "postgresql://me:pw@host/db"),
        ("DATABASE_URL", "sqlite:///x.db"),
        ("DATABASE_URL", "mysql+aiomysql://me:pw@host/db"),
        ("DATABASE_URL", "data.db"),
        ("SECRET_KEY", "abc"),
        ("SECRET_KEY", "không phải base64"),
        ("ADMIN_IDS", "abc"),
        ("ADMIN_IDS", "web:"),
        ("TIMEZONE", "Asia/Saigon2"),
        ("TIMEZONE", "../etc/passwd"),
        ("WEB_HOST", "http://x"),
        ("WEB_PORT", "70000"),
        ("WEB_PORT", "eighty"),
        ("TRUSTED_PROXIES", "*"),
        ("TRUSTED_PROXIES", "0.0.0.0/0"),
        ("TRUSTED_PROXIES", "127.0.0.1,::/0"),
        ("TRUSTED_PROXIES", "proxy.example.vn"),
        ("TRUSTED_PROXIES", "10.88.0.1/16"),
        ("TRUSTED_PROXIES", "127.0.0.1 ::1"),
        ("TRUSTED_PROXIES", ","),
        ("WEB_CONNECTIONS", "0"),
        ("WEB_CONNECTIONS", "many"),
        ("METRICS_PORT", "70000"),
        ("METRICS_HOST", "http://x"),
        ("PUBLIC_URL", "http://binhyen.example.vn"),
        ("PUBLIC_URL", "binhyen.example.vn"),
        ("PUBLIC_URL", "https://me:secretpw@binhyen.example.vn"),
        ("QUIET_HOURS", "21:00"),
        ("QUIET_HOURS", "21:00-21:00"),
        ("QUIET_HOURS", "21:00-25:00"),
        ("ESCALATION_MINUTES", "5,15"),
        ("ESCALATION_MINUTES", "5,15,15"),
        ("ESCALATION_MINUTES", "0,1,2"),
        ("ESCALATION_URGENT_MINUTES", "a,b,c"),
        ("DUTY_PHONE", "gọi ngay"),
        ("EMERGENCY_POLICE", "one one three"),
        ("UNIT_NAME", "x" * 101),
        ("LOG_LEVEL", "LOUD"),
        ("LOG_FORMAT", "xml"),
    ],
)
def test_a_bad_value_is_exactly_one_line_that_says_what_would_be_right(name, value):
    lines = lines_of(**{name: value})

    assert len(lines) == 1
    assert lines[0].startswith(f"{name} is ")
    assert re.search("it must be |write ", lines[0])
    assert "\n" not in lines[0]


def test_several_bad_values_are_told_together():
    lines = lines_of(WEB_PORT="x", LOG_LEVEL="y", TIMEZONE="z")

    assert sorted(line.split()[0] for line in lines) == ["LOG_LEVEL", "TIMEZONE", "WEB_PORT"]


@pytest.mark.parametrize(
    "name", ["BOT_TOKEN", "WEBHOOK_SECRET", "SECRET_KEY", "DATABASE_URL", "TELEGRAM_API_URL", "PUBLIC_URL"]
)
def test_a_secret_is_not_shown_in_a_complaint(name):
    assert "hush" not in "".join(lines_of(**{name: "hush hush:hush@hush"}))


def test_a_token_in_the_wrong_place_is_not_shown_either():
    assert TOKEN not in "".join(lines_of(ADMIN_IDS=TOKEN.replace("123", "x123"), WEB_PORT=TOKEN))


def test_a_driver_that_is_missing_is_spelt_out():
    assert "write postgresql+asyncpg:// instead of postgresql://" in lines_of(DATABASE_URL="postgresql://h/db")[0]
    assert "write sqlite+aiosqlite:// instead of sqlite://" in lines_of(DATABASE_URL="sqlite:///h.db")[0]


def test_an_unknown_name_in_the_file_is_named_with_the_likely_one(tmp_path):
    (tmp_path / ".env").write_text("BOT_TOKN=x\n# a comment\nCOLOUR=blue\nnot a setting\n")

    lines = lines_of()

    assert len(lines) == 3
    assert "BOT_TOKN is not a setting; did you mean BOT_TOKEN?" in lines[0]
    assert "line 3" in lines[1] and "COLOUR" in lines[1]
    assert "line 4" in lines[2]


def test_a_file_that_is_not_text_is_one_line(tmp_path):
    (tmp_path / ".env").write_bytes(b"UNIT_NAME=\xff\xfe\n")

    assert len(lines_of()) == 1


@pytest.mark.parametrize("missing", ["BOT_TOKEN", "WEBHOOK_SECRET", "PUBLIC_URL"])
def test_webhook_mode_does_not_start_without(missing):
    whole = {
        "TELEGRAM_MODE": "webhook",
        "BOT_TOKEN": TOKEN,
        "WEBHOOK_SECRET": "s3cret",
        "PUBLIC_URL": "https://by.example.vn",
    }
    del whole[missing]

    (line,) = lines_of(**whole)

    assert line.startswith(f"{missing} is missing: TELEGRAM_MODE=webhook needs it")


def test_webhook_mode_may_use_http_on_this_machine(monkeypatch):
    for name, value in {
        "TELEGRAM_MODE": "webhook",
        "BOT_TOKEN": TOKEN,
        "WEBHOOK_SECRET": "s3cret",
        "PUBLIC_URL": "http://127.0.0.1:8080/",
    }.items():
        monkeypatch.setenv(name, value)

    settings = load_settings()

    assert settings.uses_webhook and settings.public_url == "http://127.0.0.1:8080"


def test_the_key_is_made_once_beside_the_database_and_closed_to_others(monkeypatch, tmp_path):
    monkeypatch.setenv("DATABASE_URL", f"sqlite+aiosqlite:///{tmp_path}/here/by.db")
    settings = load_settings()

    sealed = load_keys(settings).seal("test", b"x", bound_to="1")

    path = tmp_path / "here" / "secret.key"
    assert key_file(settings) == path
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [file.name for file in path.parent.iterdir()] == ["secret.key"]
    assert load_keys(settings).unseal("test", sealed, bound_to="1") == b"x"


def test_an_open_key_file_is_closed(tmp_path):
    (tmp_path / "data").mkdir()
    path = tmp_path / "data" / "secret.key"
    path.write_text(new_master_key())
    path.chmod(0o644)

    load_keys(load_settings())

    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_database_restored_without_its_key_stops_the_start(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/binhyen.db").write_bytes(b"SQLite format 3")

    with pytest.raises(BadSettings) as caught:
        load_keys(load_settings())

    assert caught.value.lines == [
        "data/secret.key is missing, and data/binhyen.db was written with it: restore it from a backup"
    ]
    assert not (tmp_path / "data/secret.key").exists()


def test_a_broken_key_file_is_one_line_and_is_left_alone(tmp_path):
    (tmp_path / "data").mkdir()
    path = tmp_path / "data" / "secret.key"
    path.write_text("hush")

    with pytest.raises(BadSettings) as caught:
        load_keys(load_settings())

    assert len(caught.value.lines) == 1 and "hush" not in caught.value.lines[0]
    assert path.read_text() == "hush"


def test_several_keys_make_one_ring_and_the_first_one_writes(monkeypatch):
    old, new = new_master_key(), new_master_key()
    monkeypatch.setenv("SECRET_KEY", old)
    sealed = load_keys(load_settings()).seal("test", b"x", bound_to="1")
    monkeypatch.setenv("SECRET_KEY", f"{new}, {old}")

    assert load_keys(load_settings()).unseal("test", sealed, bound_to="1") == b"x"


def test_secrets_are_not_in_the_representation(monkeypatch):
    monkeypatch.setenv("BOT_TOKEN", TOKEN)
    monkeypatch.setenv("DATABASE_URL", "postgresql+asyncpg://me:hushpw@host/db")

    settings = load_settings()

    assert TOKEN not in repr(settings) and "hushpw" not in repr(settings)
    assert set(settings.secret_texts()) == {TOKEN, "hushpw"}


def test_every_setting_is_in_the_example_with_its_default_and_nothing_else_is():
    example = (ROOT / ".env.example").read_text("utf-8")
    shown = dict(re.findall(r"^#?([A-Z_]+)=(.*)$", example, re.MULTILINE))

    assert set(shown) == {name.upper() for name in Settings.model_fields}
    defaults = Settings(**{name.lower(): value for name, value in shown.items() if value})
    assert defaults == Settings()


def test_the_key_may_lie_elsewhere(tmp_path):
    elsewhere = tmp_path / "stick" / "secret.key"
    url = f"sqlite+aiosqlite:///{tmp_path / 'data' / 'binhyen.db'}"
    settings = Settings(database_url=url, secret_key_file=elsewhere)
    load_keys(settings)
    assert key_file(settings) == elsewhere and elsewhere.exists()
    assert not (tmp_path / "data" / "secret.key").exists()
