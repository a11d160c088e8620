"""The command line: `binhyen run`, `init`, `doctor`, `db upgrade`, `trust-clock`."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import click

from bot import __version__
from bot.logs import configure_logs
from bot.settings import BadSettings, Settings, load_settings

#: The exit code of a start that the settings do not allow.
_BAD_SETTINGS = 2


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="%(version)s")
def cli() -> None:
    """Bình Yên links a ward's lodging establishments, its citizens and its police."""


def main() -> None:
    """The entry point of the `binhyen` script. What it writes, databases above all, nobody else can read."""
    os.umask(0o077)
    cli(prog_name="binhyen")


@cli.command()
def run() -> None:
    """Run the bot."""
    from bot.memory import give_back

    give_back()
    from bot.app import run as run_bot

    run_with_settings(run_bot)


@cli.command()
def init() -> None:
    """Set up a unit: asks for the few settings, makes the first administrator's invitation."""
    from commands.setup import set_up

    set_up()


@cli.command()
def doctor() -> None:
    """Check a unit's configuration and say what is wrong."""
    from commands.doctor import examine

    try:
        settings = load_settings()
    except BadSettings as error:
        _complain(error)
    configure_logs(settings)
    sys.exit(asyncio.run(examine(settings)))


@cli.group()
def db() -> None:
    """The database."""


@db.command("upgrade")
def db_upgrade() -> None:
    """Bring the database to the newest schema."""
    run_with_settings(_upgrade)
    click.echo("The database is up to date.")


async def _upgrade(settings: Settings) -> None:
    from bot.app import open_database

    engine, _ = await open_database(settings)
    await engine.dispose()


@cli.command("trust-clock")
def trust_clock() -> None:
    """This computer's clock is right now: go by it, though it is behind what the unit has seen."""
    run_with_settings(_trust_clock)
    click.echo("The clock is trusted; a bot that runs goes by it within a minute.")


async def _trust_clock(settings: Settings) -> None:
    from bot.app import open_database
    from bot.restored import pull_back
    from db.standing import remember_seen
    from deliveries.dispatch import system_clock

    engine, sessions = await open_database(settings)
    async with sessions.begin() as session:
        now = system_clock()
        await remember_seen(session, now)
        await pull_back(session, now=now)
    await engine.dispose()


def run_with_settings(work: Callable[[Settings], Coroutine[Any, Any, None]]) -> None:
    """Run something with what the environment says; ends the process with one line when that cannot be."""
    from db.lock import AlreadyRunning, Ended
    from web.app import PortTaken

    try:
        settings = load_settings()
        configure_logs(settings)
        asyncio.run(work(settings))
    except BadSettings as error:
        _complain(error)
    except AlreadyRunning:
        click.echo("Another Bình Yên is already running on this database; stop it first.", err=True)
        sys.exit(1)
    except (PortTaken, Ended) as error:
        click.echo(f"{error}", err=True)
        sys.exit(1)


def _complain(error: BadSettings) -> Any:
    for line in error.lines:
        click.echo(line, err=True)
    sys.exit(_BAD_SETTINGS)
