"""`binhyen init`: asks for the few settings, makes key and database, and invites the first administrator."""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path

import click
from dotenv.parser import parse_stream
from pydantic import ValidationError
from telegram.error import InvalidToken, TelegramError

from bot.app import open_database
from bot.settings import BadSettings, Settings, key_file, load_settings
from channels.telegram.channel import TelegramChannel
from db.engine import Sessions
from establishments.registration import short_text
from officers.accounts import first_invitation, officers_with
from officers.permissions import Role
from texts.folding import fold
from texts.refusal import Refusal
from unit.areas import add_area, present_areas

_NAME_LIMIT = 80
_AREA_LIMIT = 120
_MOST_AREAS = 99
_TELEGRAM_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Present:
    """What an earlier run has left in the database."""

    areas: tuple[str, ...]
    administrators: tuple[str, ...]


def set_up(env_file: Path = Path(".env")) -> None:
    """Ask, write, and print the first administrator's invitation. What is there already is kept.

    Exits with code 2 when the settings that are there do not allow a start.
    """
    try:
        _ask_settings(env_file)
        settings = load_settings(env_file)
        present = asyncio.run(_present(settings))
    except BadSettings as error:
        for line in error.lines:
            click.echo(line, err=True)
        sys.exit(2)
    click.echo(f"Database and key are ready; back up {key_file(settings)}: nothing sealed can be read without it.")
    areas = _ask_areas(present)
    name = _ask_administrator(present)
    payload = asyncio.run(_store(settings, areas, name))
    if payload is not None:
        _show_invitation(name, payload, asyncio.run(_links(settings, payload)))


# --- settings -----------------------------------------------------------------------------------------------------


def _ask_settings(env_file: Path) -> None:
    """Ask for what the environment does not say, and write it to `env_file`."""
    outside = load_settings(None)
    before = ""
    present = outside
    if env_file.exists():
        present = load_settings(env_file)
        if not click.confirm(f"{env_file} is there already. Change it?", default=False):
            return
        before = env_file.read_text("utf-8-sig")
    wanted: dict[str, str] = {}
    if outside.bot_token is None:
        hint = "Enter keeps the one there is" if present.bot_token else "Enter goes on without Telegram"
        token = _ask(f"BOT_TOKEN from @BotFather ({hint})", "bot_token", hidden=True)
        if token:
            wanted["BOT_TOKEN"] = token
    if outside.unit_name == Settings.model_fields["unit_name"].default:
        wanted["UNIT_NAME"] = _ask("UNIT_NAME, on every notice", "unit_name", default=present.unit_name)
    if wanted:
        write_settings(env_file, before, wanted)
        click.echo(f"Wrote {env_file}; only this account can read it. Every other setting: .env.example")


def _ask(prompt: str, name: str, *, default: str = "", hidden: bool = False) -> str:
    """Ask until the answer is one that the setting may have; "" is allowed where it is the default."""
    while True:
        # Hidden only from onlookers: getpass would pass by answers that are piped in.
        hides = hidden and sys.stdin.isatty()
        answer: str = click.prompt(prompt, default=default, show_default=bool(default), hide_input=hides).strip()
        if not answer or _is_allowed(name, answer):
            return answer
        click.echo(f"That cannot be: it must be {Settings.model_fields[name].description}.")


def _is_allowed(name: str, value: str) -> bool:
    if "${" in value or any(ord(letter) < 32 for letter in value):
        return False  # no quoting keeps these as they are in the file
    try:
        Settings(**{name: value})  # type: ignore[arg-type]
    except ValidationError as error:
        return all(details["loc"][:1] != (name,) for details in error.errors())
    return True


def write_settings(path: Path, before: str, values: Mapping[str, str]) -> None:
    """Write `before` with `values` put into it, whole or not at all, readable by nobody else."""
    kept = "".join(
        binding.original.string
        for binding in parse_stream(StringIO(before))
        if (binding.key or "").upper() not in values
    )
    if kept and not kept.endswith("\n"):
        kept += "\n"
    lines = "".join(f"{name}={_quoted(value)}\n" for name, value in values.items())
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    try:
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(kept + lines)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


# --- areas and the first administrator ----------------------------------------------------------------------------


async def _present(settings: Settings) -> Present:
    """Make the database where there is none, and look what is in it."""
    engine, sessions = await open_database(settings)
    try:
        async with sessions.reading() as session:
            areas = [area.name for area in await present_areas(session)]
            administrators = [officer.name for officer in await officers_with(session, {Role.ADMIN})]
    finally:
        await engine.dispose()
    return Present(tuple(areas), tuple(dict.fromkeys(administrators)))


def parse_areas(text: str) -> list[str]:
    """Names separated by commas; a number is so many "Khu phố".

    Raises:
        ValueError: too many, or a name too long; the message says so.
    """
    text = text.strip()
    if text.isdecimal():
        if int(text) > _MOST_AREAS:
            raise ValueError(f"at most {_MOST_AREAS} areas")
        return [f"Khu phố {number}" for number in range(1, int(text) + 1)]
    try:
        names = [short_text(part, limit=_AREA_LIMIT) for part in text.split(",") if part.strip()]
    except Refusal as refusal:
        raise ValueError(f"an area has a name of at most {_AREA_LIMIT} characters") from refusal
    if len(names) > _MOST_AREAS:
        raise ValueError(f"at most {_MOST_AREAS} areas")
    first: dict[str, str] = {}
    for name in names:
        first.setdefault(fold(name), name)
    return list(first.values())


def _ask_areas(present: Present) -> list[str]:
    """Ask for areas; those that are there stay."""
    if present.areas:
        click.echo(f"Areas: {', '.join(present.areas)}")
        prompt = "More khu phố or areas, separated by commas (Enter: none)"
    else:
        prompt = "Khu phố or areas, separated by commas, or how many (9 makes Khu phố 1 to 9; Enter: none yet)"
    while True:
        try:
            return parse_areas(click.prompt(prompt, default="", show_default=False))
        except ValueError as error:
            click.echo(f"That cannot be: {error}.")


def _ask_administrator(present: Present) -> str:
    """The name of the administrator to invite; "" when there is one and no other is wanted."""
    if present.administrators:
        click.echo(f"Administrators: {', '.join(present.administrators)}")
        if not click.confirm("Invite another one?", default=False):
            return ""
    while True:
        try:
            return short_text(click.prompt("Rank and name of the administrator to invite"), limit=_NAME_LIMIT)
        except Refusal:
            click.echo(f"That cannot be: write a name of at most {_NAME_LIMIT} characters.")


async def _store(settings: Settings, areas: Sequence[str], name: str) -> str | None:
    """Store areas and invitation in one transaction; returns the invitation's payload."""
    engine, sessions = await open_database(settings)
    try:
        return await store_answers(sessions, areas, name, now=datetime.now(UTC))
    finally:
        await engine.dispose()


async def store_answers(sessions: Sessions, areas: Sequence[str], name: str, *, now: datetime) -> str | None:
    """Add the areas that are missing, and invite an administrator of that name if there is one.

    Returns:
        The invitation's deep-link payload.
    """
    async with sessions.begin() as session:
        for area in areas:
            await add_area(session, area)
        return await first_invitation(session, name=name, now=now) if name else None


async def _links(settings: Settings, payload: str) -> list[str]:
    """The addresses that open the invitation: Telegram if it answers, and our own page."""
    links = []
    if settings.bot_token is not None:
        try:
            links.append(f"https://t.me/{await bot_username(settings)}?start={payload}")
        except InvalidToken:
            click.echo("Telegram does not know this BOT_TOKEN: copy it from @BotFather again, then `binhyen init`.")
        except (TelegramError, TimeoutError, OSError) as error:
            click.echo(f"Telegram cannot be reached ({type(error).__name__}); the page works all the same.")
    own = settings.public_url or f"http://{settings.web_host}:{settings.web_port}"
    links.append(f"{own}/?start={payload}")
    return links


async def bot_username(settings: Settings) -> str:
    """What Telegram calls the bot of BOT_TOKEN.

    Raises:
        InvalidToken: Telegram does not know the token.
        TelegramError: Telegram cannot be reached, or refuses.
        TimeoutError: It does not answer.
    """
    token = settings.bot_token.get_secret_value() if settings.bot_token else ""
    channel = TelegramChannel(token, api_url=settings.telegram_api_url)
    try:
        async with asyncio.timeout(_TELEGRAM_SECONDS):
            await channel.bot.initialize()
            return (await channel.bot.get_me()).username or ""
    finally:
        await channel.close()


def _show_invitation(name: str, payload: str, links: Sequence[str]) -> None:
    click.echo(f"\nInvitation for {name}: whoever opens it becomes administrator. It works once, within 24 hours.")
    for link in links:
        click.echo(f"  {link}")
    click.echo(f"  or, written to the bot: /start {payload}")
    click.echo("\nNow start it: binhyen run (python3 run.py run)")
