"""`kill -9` at random instants of the thin line; the same scenario, longer, is `run.py bench kill`."""

from __future__ import annotations

import asyncio
import random

import pytest

from bench.kill.torment import torment
from tests.processes import url_of

KILLS = 4


@pytest.mark.timeout(400)
async def test_kills_lose_nothing_and_double_nothing_on_either_database(tmp_path, sqlite_engine, postgresql_engine):
    """Side by side, because most of the time somebody waits for somebody."""
    seed = random.randrange(2**32)
    tasks = []
    for engine in (sqlite_engine, postgresql_engine):
        folder = tmp_path / engine.dialect.name
        folder.mkdir()
        tasks.append(torment(url_of(engine), kills=KILLS, seed=seed, folder=folder))

    tolls = await asyncio.gather(*tasks)

    for toll in tolls:
        assert not toll.violations, "\n".join([str(toll), *toll.violations])
        assert toll.kills == KILLS
        assert toll.hits >= KILLS / 3, f"hardly a kill met a send in flight: {toll}"
        assert toll.counts["notice copies"] and toll.counts["reports"] and toll.counts["enrolments"], str(toll)
