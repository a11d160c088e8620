"""`binhyen doctor`: looks a unit over and says in plain lines what is wrong and what to do about it."""

from __future__ import annotations

import enum
import json
import shutil
import socket
import stat
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import click
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import func, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession
from telegram.error import InvalidToken, TelegramError

from bot.settings import Settings, key_file
from channels.wording import plain
from commands.setup import bot_username
from db.engine import Sessions, make_engine
from db.marks import day_of
from db.sealing import KeyRing, new_master_key
from db.standing import MARKS, Outside, newest_seen, would_be_restored
from db.tables.deliveries import Delivery, DeliveryState
from db.troubles import all_parked
from db.upgrade import alembic_config
from officers import roster
from officers.accounts import is_administrator_invited, officers_with, revoked_in_chat
from officers.permissions import Role

#: Below this much free space it is wrong, below the second it is worth a word.
_LITTLE, _SCARCE = 500 * 2**20, 2 * 2**30
#: No clock that is right says less.
_NOT_BEFORE = datetime(2026, 11, 1, tzinfo=UTC)
_CLOCK_SLACK = timedelta(minutes=5)
#: How far back deliveries are looked at, from the beginning of that day: the ledger knows no more than the day.
_LATELY = timedelta(days=1)
_HTTP_SECONDS = 10


class Verdict(enum.StrEnum):
    """What a check found."""

    FINE = "ok"
    NOTE = "note"  # worth knowing; nothing has to be done
    WRONG = "WRONG"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the examination: what is so, and what to do about it."""

    verdict: Verdict
    line: str


def _fine(line: str) -> Finding:
    return Finding(Verdict.FINE, line)


def _note(line: str) -> Finding:
    return Finding(Verdict.NOTE, line)


def _wrong(line: str) -> Finding:
    return Finding(Verdict.WRONG, line)


def _now() -> datetime:
    return datetime.now(UTC)


async def examine(settings: Settings, *, clock: Callable[[], datetime] = _now, env_file: Path = Path(".env")) -> int:
    """Print one line for each thing looked at; returns 0 when nothing is wrong, else 1. Changes nothing."""
    worst = 0
    async for finding in findings(settings, now=clock(), env_file=env_file):
        click.echo(f"{finding.verdict:5}  {finding.line}")
        if finding.verdict is Verdict.WRONG:
            worst = 1
    click.echo("Something is wrong; see above." if worst else "Nothing is wrong.")
    return worst


async def findings(settings: Settings, *, now: datetime, env_file: Path) -> AsyncIterator[Finding]:
    """Everything there is to say, cheap things first."""
    for finding in (*_settings(settings, env_file), *_key(settings), *_disk(settings), *_clock(now)):
        yield finding
    async for finding in _database(settings, now):
        yield finding
    yield await _port(settings)
    async for finding in _telegram(settings):
        yield finding
    yield await _public(settings)


# --- this computer ------------------------------------------------------------------------------------------------


def _settings(settings: Settings, env_file: Path) -> Iterator[Finding]:
    yield _fine(f"The settings can be read; the unit is “{settings.unit_name}”.")
    if env_file.exists() and _is_open(env_file):
        yield _wrong(f"Others on this computer can read {env_file}: chmod 600 {env_file}")


def _is_open(path: Path) -> bool:
    return bool(stat.S_IMODE(path.stat().st_mode) & 0o077)


def _key(settings: Settings) -> Iterator[Finding]:
    if settings.secret_key is not None:
        yield _fine("SECRET_KEY is set; keep a copy of it away from this computer.")
        return
    path = key_file(settings)
    try:
        if not path.exists():
            yield _missing_key(settings, path)
            return
        KeyRing.parse(path.read_text("ascii"))
        if _is_open(path):
            yield _wrong(f"Others on this computer can read the key {path}: chmod 600 {path}")
        else:
            yield _fine(f"The key {path} is there and closed; keep a copy of it away from this computer.")
        yield from _key_with_database(settings, path)
    except ValueError:
        yield _wrong(f"{path} holds no usable key: restore it from a backup.")
    except OSError as error:
        yield _wrong(f"The key {path} cannot be read: {error.strerror}. Its owner must be who runs the bot.")


def _key_with_database(settings: Settings, path: Path) -> Iterator[Finding]:
    """Whoever takes the disk must not have both."""
    database = _file_of(settings)
    if database is not None and database.exists() and database.stat().st_dev == path.stat().st_dev:
        yield _note(
            f"The key {path} lies on the same disk as the database: whoever takes the disk has both. "
            "docs/operators/install.md says how to keep it apart."
        )


def _missing_key(settings: Settings, path: Path) -> Finding:
    database = _file_of(settings)
    if database is not None and database.exists():
        return _wrong(f"The key {path} is missing, and {database} cannot be read without it: restore it from a backup.")
    return _note(f"There is no key yet; the first start makes {path}.")


def _file_of(settings: Settings) -> Path | None:
    """The SQLite file, if the database is one."""
    url = make_url(settings.database_url)
    return Path(url.database) if url.get_backend_name() == "sqlite" and url.database else None


def _disk(settings: Settings) -> Iterator[Finding]:
    folder = (_file_of(settings) or Path("data")).absolute().parent
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    said = f"{free / 2**30:.1f} GB free in {folder}"
    if free < _LITTLE:
        yield _wrong(f"Only {said}: make room, or reports can no longer be stored.")
    elif free < _SCARCE:
        yield _note(f"Only {said}; make room soon.")
    else:
        yield _fine(f"{said}.")


def _clock(now: datetime) -> Iterator[Finding]:
    if now < _NOT_BEFORE:
        yield _wrong(f"The clock says {now:%d/%m/%Y %H:%M} UTC, which has passed: set it (timedatectl set-ntp true).")
    else:
        yield _fine(f"The clock says {now:%d/%m/%Y %H:%M} UTC.")


# --- the database -------------------------------------------------------------------------------------------------


async def _database(settings: Settings, now: datetime) -> AsyncIterator[Finding]:
    file = _file_of(settings)
    if file is not None and not file.exists():
        yield _wrong(f"There is no database yet ({file}): binhyen init")
        return
    if file is not None and _is_open(file):
        yield _wrong(f"Others on this computer can read {file}: chmod 600 {file}*")
    engine = make_engine(settings.database_url)
    try:
        # No key is needed: nothing sealed is read.
        async with Sessions(engine, KeyRing.parse(new_master_key())).reading() as session:
            if not await _is_at_head(session):
                yield _wrong("The database is not at the newest schema: binhyen db upgrade (binhyen run does it, too).")
                return
            yield _fine("The database answers and is at the newest schema.")
            async for finding in _people(session, settings, now):
                yield finding
            async for finding in _standing(session, settings, now):
                yield finding
            async for finding in _deliveries(session, now):
                yield finding
    except (SQLAlchemyError, OSError) as error:
        yield _wrong(f"The database cannot be reached ({type(error).__name__}): see DATABASE_URL, and whether it runs.")
    finally:
        await engine.dispose()


async def _is_at_head(session: AsyncSession) -> bool:
    newest = ScriptDirectory.from_config(alembic_config()).get_current_head()
    connection = await session.connection()
    present = await connection.run_sync(lambda sync: MigrationContext.configure(sync).get_current_revision())
    return present == newest


async def _people(session: AsyncSession, settings: Settings, now: datetime) -> AsyncIterator[Finding]:
    administrators = await officers_with(session, {Role.ADMIN})
    if administrators:
        names = ", ".join(dict.fromkeys(officer.name for officer in administrators))
        yield _fine(f"Administrators: {names}.")
    elif settings.admin_ids:
        yield _note("The administrators in ADMIN_IDS are let in by the next start.")
    elif await is_administrator_invited(session, now=now):
        yield _note("The first administrator's invitation waits: start the bot, then open its link.")
    else:
        yield _wrong("There is no administrator: binhyen init makes an invitation, or set ADMIN_IDS.")
    on_duty = await roster.on_duty(session, at=now)
    if on_duty:
        yield _fine(f"On duty: {', '.join(dict.fromkeys(officer.name for officer in on_duty))}.")
    else:
        yield _note("Nobody is on duty; reports go to the administrators. An officer starts a shift with /truc.")


async def _standing(session: AsyncSession, settings: Settings, now: datetime) -> AsyncIterator[Finding]:
    """What the database knows of itself."""
    seen = await newest_seen(session)
    if seen is not None and seen > now + _CLOCK_SLACK:
        hours, minutes = divmod(round((seen - now).total_seconds() / 60), 60)
        yield _wrong(
            f"The clock is {hours}:{minutes:02} h behind what this unit has seen ({seen:%d/%m/%Y %H:%M} UTC): set it "
            "(timedatectl set-ntp true). If it is right now and was ahead before: binhyen trust-clock"
        )
    outside = Outside(make_url(settings.database_url), MARKS)
    if await would_be_restored(session, outside.read):
        yield _note(
            "This database has worked before, and the number outside it (its .run file) is gone or further: the next "
            "start takes it for an older copy, and what waits in it is not sent. After a restore that is right; after "
            "a move put the .run file of the old computer beside it first."
        )
    for parked in await all_parked(session):
        yield _wrong(
            f"Cannot be done; what can be tried again is, once an hour: {parked.kind} {parked.item} (reference "
            f"{parked.reference} in the log); everything else goes on."
        )
    revoked = await revoked_in_chat(session, settings.admin_ids)
    if revoked:
        yield _wrong(
            f"ADMIN_IDS names whom a colleague revoked in chat ({', '.join(revoked)}): take them out. They stay "
            "revoked; to let them in again start once without them, then put them back."
        )


async def _deliveries(session: AsyncSession, now: datetime) -> AsyncIterator[Finding]:
    newest = await session.scalar(select(func.max(Delivery.opened_at)))
    if newest is not None and newest > now + _CLOCK_SLACK:
        yield _wrong(f"The clock is behind what was sent at {newest:%d/%m/%Y %H:%M} UTC: set it.")
    states = (DeliveryState.FAILED, DeliveryState.UNKNOWN)
    counted = await session.execute(
        select(Delivery.state, func.count().label("number"))
        .where(Delivery.state.in_(states), Delivery.settled_at >= day_of(now - _LATELY))
        .group_by(Delivery.state)
    )
    count = {row.state: row.number for row in counted}
    if count.get(DeliveryState.FAILED):
        yield _wrong(f"{count[DeliveryState.FAILED]} messages since yesterday could not be sent; see the log.")
    if count.get(DeliveryState.UNKNOWN):
        yield _wrong(
            f"Of {count[DeliveryState.UNKNOWN]} messages since yesterday nobody knows whether they arrived: "
            f"“{plain('vi', 'button.silent')}” under the notice says whom to call."
        )
    if not count:
        yield _fine("No message since yesterday has failed.")


# --- the network --------------------------------------------------------------------------------------------------


async def _port(settings: Settings) -> Finding:
    where = f"{settings.web_host}:{settings.web_port}"
    if _is_free(settings.web_host, settings.web_port):
        return _note(f"Nothing listens on {where}: the bot is not running (binhyen run).")
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.web_host, settings.web_host)  # noqa: S104
    answer = await _get(f"http://{f'[{host}]' if ':' in host else host}:{settings.web_port}/readyz")
    if answer is None or "ready" not in answer:
        return _wrong(f"{where} cannot be listened on, or belongs to another program: set WEB_HOST, WEB_PORT.")
    if answer["ready"] is True:
        return _fine(f"The bot runs at {where} and is ready.")
    down = ", ".join(f"{name}: {state}" for name, state in _checks(answer).items() if state != "ok")
    return _wrong(f"The bot runs at {where} but is not ready ({down}); see its log.")


def _checks(answer: dict[str, object]) -> dict[str, object]:
    checks = answer.get("checks")
    return checks if isinstance(checks, dict) else {}


def _is_free(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as trying:
        trying.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trying.bind((host, port))
        except (OSError, OverflowError):
            return False
    return True


async def _get(address: str) -> dict[str, object] | None:
    """The JSON object at an address, whatever the status; None when there is none."""
    limit = aiohttp.ClientTimeout(total=_HTTP_SECONDS)
    try:
        async with aiohttp.ClientSession(timeout=limit) as session, session.get(address) as response:
            found = json.loads(await response.text())
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


async def _telegram(settings: Settings) -> AsyncIterator[Finding]:
    if settings.bot_token is None:
        yield _note("Telegram is off: no BOT_TOKEN. The web chat works without it.")
        return
    try:
        yield _fine(f"Telegram answers; the bot is @{await bot_username(settings)}.")
    except InvalidToken:
        yield _wrong("Telegram does not know this BOT_TOKEN: copy it from @BotFather again.")
    except (TelegramError, TimeoutError, OSError) as error:
        yield _wrong(f"Telegram cannot be reached ({type(error).__name__}): see the network, and the next line.")
    yield _note(
        "Providers in Viet Nam were ordered to block Telegram in May 2025 (2312/CVT-CS): "
        "whether your office may use it is for the office to say."
    )


async def _public(settings: Settings) -> Finding:
    if settings.public_url is None:
        return _note("PUBLIC_URL is not set: the page is for this computer only, links and QR codes cannot lead to it.")
    if not settings.public_url.startswith("https://"):
        host = settings.public_url.partition("://")[2]
        return _note(f"PUBLIC_URL ({host}) is this computer itself: nobody else can open it.")
    answer = await _get(f"{settings.public_url}/readyz")
    if answer is None or "ready" not in answer:
        return _wrong(f"{settings.public_url} does not lead to the bot: see the proxy, its certificate and the name.")
    return _fine(f"{settings.public_url} leads to the bot.")
