"""`python -m bench.botapi --port 8081`: a Telegram of one's own, until interrupted.

Its people are played over HTTP: `POST /people/<chat id>/sends {"text": …}`, `POST /people/<chat id>/presses
{"label": …}`, `GET /people/<chat id>/messages`.
"""

from __future__ import annotations

import asyncio
import contextlib

import click

from bench.botapi.server import FakeBotApi
from bench.botapi.telegram import TOKEN


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--port", default=0, help="Where to listen on loopback; 0: any free port.")
@click.option("--token", default=TOKEN, help="The bot's token.")
@click.option("--rate", default=30, help="Messages a second; 0: no limit.")
def main(port: int, token: str, rate: int) -> None:
    """Play Telegram on loopback, and say which settings the bot needs for it."""
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(FakeBotApi(token, rate=rate or None), port))


async def _serve(api: FakeBotApi, port: int) -> None:
    await api.start(port)
    click.echo(f"TELEGRAM_API_URL={api.url} BOT_TOKEN={api.token}")
    try:
        await asyncio.Event().wait()
    finally:
        await api.stop()


if __name__ == "__main__":
    main(prog_name="python -m bench.botapi")
