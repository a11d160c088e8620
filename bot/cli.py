"""The command line: `binhyen run`, `demo`, `init`, `doctor`, `db upgrade`, `bench`."""

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

    _run_with_settings(run_bot)


@cli.command()
@click.option("--selfcheck", is_flag=True, help="Walk the five steps over HTTP, then exit.")
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0 takes any free port.")
@click.option("--host", default="127.0.0.1", show_default=True)
def demo(selfcheck: bool, port: int, host: str) -> None:
    """Try it in a browser: a made-up ward, no token, no account."""
    from bot.demo import run_demo

    sys.exit(asyncio.run(run_demo(host=host, port=port, selfcheck=selfcheck)))


@cli.command()
def init() -> None:
    """Set up a unit: asks for the few settings, makes the first administrator's invitation."""
    from bot.setup import set_up

    set_up()


@cli.command()
def doctor() -> None:
    """Check a unit's configuration and say what is wrong."""
    from bot.doctor import examine

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
    _run_with_settings(_upgrade)
    click.echo("The database is up to date.")


async def _upgrade(settings: Settings) -> None:
    from bot.app import open_database

    engine, _ = await open_database(settings)
    await engine.dispose()


@cli.command("trust-clock")
def trust_clock() -> None:
    """This computer's clock is right now: go by it, though it is behind what the unit has seen."""
    _run_with_settings(_trust_clock)
    click.echo("The clock is trusted; a bot that runs goes by it within a minute.")


async def _trust_clock(settings: Settings) -> None:
    from bot.app import open_database, policy_of
    from bot.restored import pull_back
    from bot.standing import remember_seen
    from deliveries.dispatch import system_clock

    engine, sessions = await open_database(settings)
    async with sessions.begin() as session:
        now = system_clock()
        await remember_seen(session, now)
        await pull_back(session, now=now, policy=policy_of(settings))
    await engine.dispose()


@cli.command()
@click.option("--quick", is_flag=True, help="Fewer repetitions and smaller tables.")
@click.argument("names", nargs=-1)
def bench(quick: bool, names: tuple[str, ...]) -> None:
    """Measure speed and safety beside a peer; prints ratios."""
    from bot.bench import bench as run_bench

    sys.exit(run_bench(quick=quick, only=names))


def _run_with_settings(work: Callable[[Settings], Coroutine[Any, Any, None]]) -> None:
    from bot.lock import AlreadyRunning
    from bot.supervision import Ended
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
