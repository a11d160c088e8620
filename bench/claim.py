"""What a claim costs when the ledger is short and when it is long."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from statistics import median

from bench.tools import Result, Run, fill, ledger, now
from db.engine import Sessions
from db.tables.deliveries import DeliveryState
from deliveries.claims import claim, next_due_at
from deliveries.outcomes import Outcome, settle

_SHORT = 10_000
#: As many as leave in one moment at 600/s.
_BATCH = 30
_TURNS = 100


def claim_cost(run: Run) -> Iterator[Result]:
    """One turn (claim, settle, look when to come again) at a short and a long ledger of waiting rows."""
    long = run.size(1_000_000, 100_000)
    short_cost, long_cost = asyncio.run(_costs(run, long))
    ratio = long_cost / short_cost
    measured = f"{ratio:.2f} × ({short_cost * 1e3:.1f} ms for {_BATCH})"
    yield Result(f"claim at {long:,} rows against {_SHORT:,}", measured, "≤ 1.5 ×", ratio <= 1.5)


async def _costs(run: Run, long: int) -> tuple[float, float]:
    """Median seconds of a turn at each, taken in turns."""
    async with ledger(run.folder / "short.db") as short_ledger, ledger(run.folder / "long.db") as long_ledger:
        await fill(short_ledger, _SHORT)
        await fill(long_ledger, long)
        pairs = [(await _turn(short_ledger), await _turn(long_ledger)) for _ in range(_TURNS)]
    settled_in = pairs[len(pairs) // 10 :]  # caches are cold before
    return median(short for short, _ in settled_in), median(long for _, long in settled_in)


async def _turn(sessions: Sessions) -> float:
    began = time.perf_counter()
    async with sessions.begin() as session:
        claimed = await claim(session, "telegram", limit=_BATCH, now=now())
    async with sessions.begin() as session:
        sent = [Outcome(delivery, DeliveryState.SENT, message_id="1") for delivery in claimed]
        await settle(session, sent, now=now())
        await next_due_at(session, "telegram", after=now())
    return time.perf_counter() - began
