"""Sending, beside python-telegram-bot's default and aiogram in the same run: share of the rate, CPU, throughput."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from importlib.util import find_spec
from pathlib import Path
from statistics import median

from telegram import Bot
from telegram.error import RetryAfter

from bench.tools import (
    HTML,
    TOKEN,
    UNLIMITED,
    BenchServer,
    Ours,
    Result,
    Run,
    at_once,
    fill,
    ledger,
    serving,
    telegram_limits,
)
from channels.port import Limits

#: How many sends a peer has under way at once.
WORKERS = 32
RATE = 30
#: Sends under way at 1,000/s: 50 for the latency, as many for what is claimed ahead, and some for jitter.
SLOTS = 160
#: Whoever comes next sends through this: a count in, all of them sent when it returns.
Send = Callable[[int], Awaitable[None]]


def rate(run: Run) -> Iterator[Result]:
    """How much of a strict 30/s gets through, and how much is refused on the way."""
    count = run.size(600, 120)
    with serving(rate=RATE) as server:
        asyncio.run(_ours_once(run.folder / "rate.db", server, count, telegram_limits()))
        ours = server.stats()
        server.reset()
        asyncio.run(_ptb_at_the_limit(server, count))
        peer = server.stats()
    yield Result("share of a strict 30/s", f"{_share(ours):.1%}", "≥ 99%", round(_share(ours), 3) >= 0.99)
    yield Result("  refused on the way", f"{ours['refused']:.0f} of {count}", "0", ours["refused"] == 0)
    yield Result("  PTB send_message, 32 at once", f"{_share(peer):.1%}, {peer['refused']:.0f} refused")


def _share(stats: dict[str, float]) -> float:
    return stats["rate"] / RATE


async def _ours_once(path: Path, server: BenchServer, count: int, limits: Limits, *, slots: int = 64) -> None:
    async with ledger(path) as sessions, Ours(sessions, server, limits, slots) as ours:
        await fill(sessions, count)
        await ours.send(count)


async def _ptb_at_the_limit(server: BenchServer, count: int) -> None:
    """The default Bot, which leaves a refusal to its caller: wait as long as it says, then again."""
    async with Bot(TOKEN, base_url=f"{server.url}/bot") as bot:

        async def send(chat: int) -> None:
            while True:
                try:
                    await bot.send_message(chat, HTML, parse_mode="HTML")
                except RetryAfter as refusal:
                    wait = refusal.retry_after
                    await asyncio.sleep(wait if isinstance(wait, int) else wait.total_seconds())
                else:
                    return

        await at_once(count, WORKERS, send)


def cpu(run: Run) -> Iterator[Result]:
    """CPU seconds of this process for one delivered message: ours with the ledger, the peers without one."""
    with serving() as server:
        spent = asyncio.run(_cpu_of_all(run, server))
    ours = spent.pop("ours")
    goals = {"PTB send_message": 0.15, "aiogram": 0.55}
    yield Result("CPU for a message, ledger included", f"{ours * 1e3:.3f} ms")
    for peer, theirs in spent.items():
        ratio = ours / theirs
        measured = f"{ratio:.2f} × ({theirs * 1e3:.3f} ms)"
        yield Result(f"  against {peer}, 32 at once", measured, f"≤ {goals[peer]} ×", round(ratio, 2) <= goals[peer])
    if "aiogram" not in spent:
        yield Result("  against aiogram", "not installed")


async def _cpu_of_all(run: Run, server: BenchServer) -> dict[str, float]:
    """The median for each, turn by turn so that what the machine does besides meets all of them."""
    count = run.size(3000, 500)
    async with AsyncExitStack() as stack:
        sessions = await stack.enter_async_context(ledger(run.folder / "cpu.db"))
        ours = await stack.enter_async_context(Ours(sessions, server, UNLIMITED, 64))
        senders: dict[str, Send] = {"ours": ours.send, "PTB send_message": await _ptb(stack, server)}
        if find_spec("aiogram"):
            senders["aiogram"] = await _aiogram(stack, server)
        spent: dict[str, list[float]] = {name: [] for name in senders}
        for turn in range(run.repetitions + 1):
            for name, send in senders.items():
                size = count if turn else WORKERS * 2  # the first turn opens connections and fills caches
                await fill(sessions, size if name == "ours" else 0)
                began = time.process_time()
                await send(size)
                if turn:
                    spent[name].append((time.process_time() - began) / size)
        return {name: median(values) for name, values in spent.items()}


async def _ptb(stack: AsyncExitStack, server: BenchServer) -> Send:
    bot = await stack.enter_async_context(Bot(TOKEN, base_url=f"{server.url}/bot"))
    return lambda count: at_once(count, WORKERS, lambda chat: bot.send_message(chat, HTML, parse_mode="HTML"))


async def _aiogram(stack: AsyncExitStack, server: BenchServer) -> Send:
    from aiogram import Bot as AiogramBot
    from aiogram.client.session.aiohttp import AiohttpSession
    from aiogram.client.telegram import TelegramAPIServer

    session = AiohttpSession(api=TelegramAPIServer.from_base(server.url))
    bot = await stack.enter_async_context(AiogramBot(TOKEN, session=session))
    return lambda count: at_once(count, WORKERS, lambda chat: bot.send_message(chat, HTML, parse_mode="HTML"))


def throughput(run: Run) -> Iterator[Result]:
    """Messages a second when every answer takes 50 ms and the pace allows more than 1,000."""
    count = run.size(10_000, 2000)
    limits = telegram_limits(per_second=1100.0)
    with serving(latency=0.05) as server:
        began = time.process_time()
        asyncio.run(_ours_once(run.folder / "throughput.db", server, count, limits, slots=SLOTS))
        spent = time.process_time() - began
        stats = server.stats()
    reached = stats["rate"]
    measured = f"{reached:,.0f}/s ({spent * reached / count:.0%} of a core)"
    yield Result("sustained at 50 ms latency", measured, "≥ 1,000/s", reached >= 1000)
