"""Every setting, typed; the only reader of the environment.

Values come from the environment, then `.env`, then systemd's credentials directory. A bad one stops the start with
one line that names the variable and says what would be right, and never shows a secret.
"""

from __future__ import annotations

import difflib
import logging
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import suppress
from datetime import time
from importlib.util import find_spec
from io import StringIO
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, available_timezones

from dotenv.parser import parse_stream
from pydantic import BeforeValidator, Field, SecretStr, ValidationError, field_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from channels.port import Recipient
from db.sealing import KEY_BYTES, KeyRing, new_master_key

log = logging.getLogger(__name__)

_DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg", "postgres": "postgresql+asyncpg"}
#: Never shown in a complaint: secrets, and addresses that may contain one.
_NOT_SHOWN = {"bot_token", "webhook_secret", "secret_key", "database_url", "telegram_api_url", "public_url"}
_HINTS = ("write ", "PostgreSQL ")
_TOKEN = re.compile(r"\d{5,}:[\w-]{8,}")
_PHONE = r"^\+?[0-9][0-9 .()-]{1,18}$"


class BadSettings(Exception):
    """The settings do not allow a start; `lines` says why, one line for each."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


def _split_recipients(value: Any) -> Any:
    return tuple(_chat(part.strip()) for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _chat(text: str) -> Recipient:
    """A chat as operators write it: `telegram:123` or `web:…`, and a number alone is one on Telegram."""
    chat = Recipient.parse(text if ":" in text else f"telegram:{text}")
    if chat.channel == "telegram" and not chat.address.lstrip("-").isdigit():
        raise ValueError(f"not a chat: {text!r}")
    return chat


def _split_networks(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    networks = tuple(ip_network(part.strip()) for part in value.split(",") if part.strip())
    if not networks or not all(network.prefixlen for network in networks):  # the whole world is no proxy
        raise ValueError
    return networks


def _split_minutes(value: Any) -> Any:
    return tuple(int(part) for part in value.split(",")) if isinstance(value, str) else value


def _split_hours(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    start, end = (part.strip() for part in value.split("-"))
    return time.fromisoformat(start), time.fromisoformat(end)


Recipients = Annotated[tuple[Recipient, ...], NoDecode, BeforeValidator(_split_recipients)]
Networks = Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode, BeforeValidator(_split_networks)]
Minutes = Annotated[tuple[int, int, int], NoDecode, BeforeValidator(_split_minutes)]
Hours = Annotated[tuple[time, time], NoDecode, BeforeValidator(_split_hours)]
Upper = BeforeValidator(lambda value: value.upper() if isinstance(value, str) else value)
Lower = BeforeValidator(lambda value: value.lower() if isinstance(value, str) else value)
Trimmed = BeforeValidator(lambda value: value.strip() if isinstance(value, str) else value)


class Settings(BaseSettings):
    """What an operator may set. Each description ends the sentence "NAME must be …"."""

    model_config = SettingsConfigDict(
        env_file=None, env_ignore_empty=True, extra="ignore", frozen=True, hide_input_in_errors=True
    )

    bot_token: SecretStr | None = Field(None, description="the token @BotFather gave, like 123456789:AAbb-cc_dd")
    telegram_api_url: str = Field(
        "https://api.telegram.org", description="the http(s) address of a Bot API server, without /bot and token"
    )
    telegram_mode: Annotated[Literal["polling", "webhook"], Lower] = Field("polling", description="polling or webhook")
    webhook_secret: SecretStr | None = Field(None, description="1 to 256 characters of A-Z a-z 0-9 _ -")
    rate_telegram: float = Field(
        30, gt=0, le=1000, allow_inf_nan=False, description="a number of messages a second, above 0 and up to 1000"
    )
    database_url: str = Field(
        "sqlite+aiosqlite:///data/binhyen.db",
        repr=False,
        description="sqlite+aiosqlite:///<file> or postgresql+asyncpg://<user>:<password>@<host>/<database>",
    )
    secret_key: SecretStr | None = Field(
        None, description=f"{KEY_BYTES} bytes in base64 (44 characters), or several of these separated by commas"
    )
    secret_key_file: Path | None = Field(None, description="the path of the file that holds the key")
    admin_ids: Recipients = Field(
        (), description="chat ids separated by commas, like 123456789 or telegram:123456789 or web:..."
    )
    unit_name: Annotated[str, Trimmed] = Field(
        "Công an phường", min_length=1, max_length=100, description="the name of the unit, 1 to 100 characters"
    )
    timezone: Annotated[str, Trimmed] = Field(
        "Asia/Ho_Chi_Minh", description="a time zone of the IANA list, like Asia/Ho_Chi_Minh"
    )
    web_host: Annotated[str, Trimmed] = Field(
        "127.0.0.1", min_length=1, pattern=r"^[^\s/]+$", description="a host name or an IP address to listen on"
    )
    web_port: int = Field(8080, ge=0, le=65535, description="a port number, 0 to 65535 (0: any free one)")
    public_url: str | None = Field(
        None, description="an https address like https://binhyen.example.vn (http only for this machine itself)"
    )
    trusted_proxies: Networks = Field(
        (ip_network("127.0.0.1"), ip_network("::1")),
        description="IP addresses or networks separated by commas, like 127.0.0.1,::1,10.88.0.0/16",
    )
    web_connections: int = Field(400, ge=20, le=100_000, description="a whole number, 20 to 100000")
    metrics_host: Annotated[str, Trimmed] = Field(
        "127.0.0.1", min_length=1, pattern=r"^[^\s/]+$", description="a host name or an IP address to listen on"
    )
    metrics_port: int | None = Field(None, ge=0, le=65535, description="a port number, 0 to 65535 (0: any free one)")
    quiet_hours: Hours = Field(
        (time(21), time(7)), description="two times of day like 21:00-07:00, not the same time twice"
    )
    escalation_minutes: Minutes = Field(
        (5, 15, 60), description="three whole numbers of minutes, each greater than the one before, like 5,15,60"
    )
    escalation_urgent_minutes: Minutes = Field(
        (1, 3, 10), description="three whole numbers of minutes, each greater than the one before, like 1,3,10"
    )
    duty_phone: Annotated[str, Trimmed] = Field(
        "", pattern=rf"{_PHONE}|^$", description="the phone number of the duty desk: digits, spaces, dots, + in front"
    )
    emergency_police: str = Field("113", pattern=_PHONE, description="a phone number")
    emergency_fire: str = Field("114", pattern=_PHONE, description="a phone number")
    emergency_medical: str = Field("115", pattern=_PHONE, description="a phone number")
    emergency_children: str = Field("111", pattern=_PHONE, description="a phone number")
    log_level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], Upper] = Field(
        "INFO", description="DEBUG, INFO, WARNING or ERROR"
    )
    log_format: Annotated[Literal["console", "json"], Lower] = Field("console", description="console or json")

    @property
    def zone(self) -> ZoneInfo:
        """`timezone` as an object."""
        return ZoneInfo(self.timezone)

    @property
    def uses_webhook(self) -> bool:
        """Whether Telegram is on and calls us."""
        return self.bot_token is not None and self.telegram_mode == "webhook"

    def secret_texts(self) -> tuple[str, ...]:
        """Everything that must never appear in a log, literally."""
        password = make_url(self.database_url).password
        hidden = (self.bot_token, self.webhook_secret, self.secret_key)
        texts = [secret.get_secret_value() for secret in hidden if secret]
        return (*texts, *([str(password)] if password else []))

    @field_validator("bot_token")
    @classmethod
    def _is_token(cls, value: SecretStr | None) -> SecretStr | None:
        return _matching(value, r"\d+:[A-Za-z0-9_-]{3,}")

    @field_validator("webhook_secret")
    @classmethod
    def _is_webhook_secret(cls, value: SecretStr | None) -> SecretStr | None:
        return _matching(value, r"[A-Za-z0-9_-]{1,256}")

    @field_validator("secret_key")
    @classmethod
    def _is_key_ring(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            KeyRing.parse(value.get_secret_value())
        return value

    @field_validator("timezone")
    @classmethod
    def _is_zone(cls, value: str) -> str:
        if value not in available_timezones():
            raise ValueError
        return value

    @field_validator("telegram_api_url")
    @classmethod
    def _is_api_root(cls, value: str) -> str:
        address = _address(value)
        if "/bot" in urlsplit(address).path:
            raise ValueError
        return address

    @field_validator("public_url")
    @classmethod
    def _is_public(cls, value: str | None) -> str | None:
        if value is None:
            return None
        address = _address(value)
        parts = urlsplit(address)
        if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
            raise ValueError
        return address

    @field_validator("database_url")
    @classmethod
    def _is_database(cls, value: str) -> str:
        try:
            name = make_url(value).drivername
        except (ArgumentError, ValueError) as error:
            raise ValueError from error
        family = name.partition("+")[0]
        if name not in _DRIVERS.values():
            raise ValueError(f"write {_DRIVERS[family]}:// instead of {name}://" if family in _DRIVERS else "")
        if family == "postgresql" and find_spec("asyncpg") is None:
            raise ValueError("PostgreSQL needs one more package: install binhyen[scale]")
        return value

    @field_validator("quiet_hours")
    @classmethod
    def _are_hours(cls, value: tuple[time, time]) -> tuple[time, time]:
        if value[0] == value[1] or any(instant.tzinfo for instant in value):
            raise ValueError
        return value

    @field_validator("escalation_minutes", "escalation_urgent_minutes")
    @classmethod
    def _are_increasing(cls, value: tuple[int, int, int]) -> tuple[int, int, int]:
        if not 0 < value[0] < value[1] < value[2]:
            raise ValueError
        return value


def _matching(value: SecretStr | None, pattern: str) -> SecretStr | None:
    if value is not None and not re.fullmatch(pattern, value.get_secret_value(), re.ASCII):
        raise ValueError
    return value


def _address(value: str) -> str:
    """An http(s) address without user, query and last slash; raises ValueError."""
    parts = urlsplit(value.strip())
    well_formed = parts.scheme in ("http", "https") and parts.hostname and "@" not in parts.netloc
    if not well_formed or parts.query or parts.fragment or " " in value.strip() or parts.port == 0:
        raise ValueError
    return value.strip().rstrip("/")


def is_loopback(host: str) -> bool:
    """Whether `host` is this machine itself."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def load_settings(env_file: str | Path | None = ".env") -> Settings:
    """The settings from environment, `env_file` (it may be missing) and credentials.

    Raises:
        BadSettings: with every complaint at once.
    """
    lines = list(_complaints_about_file(Path(env_file))) if env_file else []
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    try:
        settings = Settings(
            _env_file=env_file,
            _env_file_encoding="utf-8-sig",
            _secrets_dir=credentials if credentials and Path(credentials).is_dir() else None,
        )
    except ValidationError as error:
        found = [_complaint(details) for details in error.errors()]
        raise BadSettings(list(dict.fromkeys([*lines, *found]))) from None
    except (OSError, ValueError) as error:
        unread = f"{env_file} or the credentials directory cannot be read: {type(error).__name__}"
        raise BadSettings(lines or [unread]) from None
    if lines := [*lines, *_contradictions(settings)]:
        raise BadSettings(lines)
    return settings


def _complaint(details: ErrorDetails) -> str:
    name = str(details["loc"][0])
    hint = str(details.get("ctx", {}).get("error", ""))
    must = hint if hint.startswith(_HINTS) else f"it must be {Settings.model_fields[name].description}"
    shown = "not usable" if name in _NOT_SHOWN else repr(_TOKEN.sub("(a token)", str(details["input"])[:60]))
    return f"{name.upper()} is {shown}: {must}"


def _complaints_about_file(path: Path) -> Iterator[str]:
    """What is wrong with the lines of `path`, whatever the values."""
    try:
        text = path.read_text("utf-8-sig") if path.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        yield f"{path} cannot be read as UTF-8 text: {type(error).__name__}"
        return
    known = {name.upper() for name in Settings.model_fields}
    for binding in parse_stream(StringIO(text)):
        if binding.error:
            yield f"{path}, line {binding.original.line}: not of the form NAME=value"
        elif binding.key and binding.key.upper() not in known:
            name = _TOKEN.sub("(a token)", binding.key[:60])
            likely = difflib.get_close_matches(binding.key.upper(), known, n=1)
            advice = f"did you mean {likely[0]}?" if likely else "every setting is listed in .env.example"
            yield f"{path}, line {binding.original.line}: {name} is not a setting; {advice}"


def _contradictions(settings: Settings) -> Iterator[str]:
    """Settings that are right by themselves and wrong together."""
    if settings.telegram_mode == "webhook":
        for name in ("bot_token", "webhook_secret", "public_url"):
            if getattr(settings, name) is None:
                must = Settings.model_fields[name].description
                yield f"{name.upper()} is missing: TELEGRAM_MODE=webhook needs it; it must be {must}"


def key_file(settings: Settings) -> Path:
    """Where the master key lives without SECRET_KEY: SECRET_KEY_FILE, else beside the SQLite file, else in `data/`."""
    if settings.secret_key_file is not None:
        return settings.secret_key_file
    database = _database_file(settings)
    return (database.parent if database else Path("data")) / "secret.key"


def _database_file(settings: Settings) -> Path | None:
    url = make_url(settings.database_url)
    is_file = url.get_backend_name() == "sqlite" and url.database and url.database != ":memory:"
    return Path(url.database) if is_file and url.database else None


def load_keys(settings: Settings) -> KeyRing:
    """The key ring: from SECRET_KEY, else from the key file, which is made on the first start with mode 0600.

    Raises:
        BadSettings: the file cannot be read or made, or holds no key; or it is missing and a SQLite database is there,
            which was restored without it: under a fresh key nothing in it could be read.
    """
    if settings.secret_key is not None:
        return KeyRing.parse(settings.secret_key.get_secret_value())
    path = key_file(settings)
    try:
        if not path.exists():
            database = _database_file(settings)
            if database is not None and database.exists() and database.stat().st_size:
                raise BadSettings([f"{path} is missing, and {database} was written with it: restore it from a backup"])
            _make_key_file(path)
        _close_to_others(path)
        return KeyRing.parse(path.read_text("ascii"))
    except ValueError:
        must = Settings.model_fields["secret_key"].description
        raise BadSettings([f"{path} holds no usable key: restore it from a backup; it must be {must}"]) from None
    except OSError as error:
        raise BadSettings([f"{path} cannot be used: {error.strerror or type(error).__name__}"]) from None


def _make_key_file(path: Path) -> None:
    """Write a fresh key whole or not at all; when another process was first, its key stays."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
        file.write(new_master_key() + "\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        with suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()
    log.info("secret_key_made in %s: back it up, nothing sealed can be read without it", path)


def _close_to_others(path: Path) -> None:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        path.chmod(0o600)
        log.warning("secret_key_was_open: %s had mode %o, now 600", path, mode)
