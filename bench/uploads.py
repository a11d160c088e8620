"""One file to many: how often it is uploaded, and what that costs, beside python-telegram-bot's plain loop."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Iterator

from telegram import Bot

from bench.sending import WORKERS
from bench.tools import (
    NOTICE,
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
)
from channels.port import Attachment, Media, Outgoing
from db.engine import Sessions
from media.files import keep_media, load_media

#: A leaflet as a PDF.
_SIZE = 500_000


def uploads(run: Run) -> Iterator[Result]:
    """How often a file goes over the line that 150 get, and the CPU of sending it."""
    count = run.size(150, 60)
    content = secrets.token_bytes(_SIZE)
    with serving(latency=0.05) as server:
        ours = asyncio.run(_ours(run, server, count, content))
        uploaded = server.stats()["uploads"]
        server.reset()
        theirs = asyncio.run(_ptb(server, count, content))
        peer = server.stats()["uploads"]
    yield Result(f"uploads of one file to {count}", f"{uploaded:.0f}", "1", uploaded == 1)
    yield Result("  PTB send_document, 32 at once", f"{peer:.0f}")
    measured = f"{ours / theirs:.2f} × ({ours / count * 1e3:.2f} ms against {theirs / count * 1e3:.2f} ms)"
    yield Result("  CPU for a recipient, ledger included", measured, "≤ 1 ×", ours <= theirs)


async def _ours(run: Run, server: BenchServer, count: int, content: bytes) -> float:
    """CPU seconds of sending the file through the ledger."""
    async with ledger(run.folder / "uploads.db") as sessions:

        async def load(media_id: int) -> Media:
            async with sessions.reading() as session:
                return await load_media(session, media_id)

        async with Ours(sessions, server, UNLIMITED, 64, load) as ours:
            await fill(sessions, count, await _leaflet(sessions, content))
            began = time.process_time()
            await ours.send(count)
            return time.process_time() - began


async def _leaflet(sessions: Sessions, content: bytes) -> Outgoing:
    async with sessions.begin() as session:
        media = Media("document", "a.pdf", "application/pdf", content)
        row = await keep_media(session, media, origin="bench")
        return Outgoing(NOTICE.text, NOTICE.entities, attachments=(Attachment("document", row.id),))


async def _ptb(server: BenchServer, count: int, content: bytes) -> float:
    async with Bot(TOKEN, base_url=f"{server.url}/bot") as bot:
        began = time.process_time()
        await at_once(count, WORKERS, lambda chat: bot.send_document(chat, content, caption=NOTICE.text))
        return time.process_time() - began
