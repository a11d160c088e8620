"""What a whole process needs: memory while it sends, and time until it is ready. Each in a fresh one."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from telegram.ext import Application

from bench.tools import (
    ROOT,
    TOKEN,
    UNLIMITED,
    BenchServer,
    Ours,
    Result,
    Run,
    child,
    fill,
    ledger,
    python,
    serving,
)

_PATIENCE = 60.0
#: What the first ticks do is done after so many seconds: what is held then is held all day.
_SETTLED = 4.0
_PROC = Path("/proc/self/status")


def memory(run: Run) -> Iterator[Result]:
    """How much a sending process grows over 1,000 and over 100,000 recipients."""
    if not _PROC.exists():
        yield Result("memory", "not measured: no /proc here")
        return
    few, many = 1000, run.size(100_000, 10_000)
    grown = {}
    with serving() as server:
        for count in (few, many):
            path = run.folder / f"memory-{count}.db"
            asyncio.run(_prepare(path, count))
            grown[count] = child(run, "send", str(path), str(server.port), str(count))
    for count, found in grown.items():
        measured = f"+{found['growth']:.1f} MiB on {found['ready']:.0f} MiB"
        yield Result(f"memory over {count:,} recipients", measured)
    more = grown[many]["growth"] - grown[few]["growth"]
    yield Result("  difference", f"{more:+.1f} MiB", "≤ 10 MiB", more <= 10)


async def _prepare(path: Path, count: int) -> None:
    async with ledger(path) as sessions:
        await fill(sessions, count)


def start(run: Run) -> Iterator[Result]:
    """From the start of a process until it is ready: ours when /readyz answers, PTB when it knows its name."""
    ours, peer = [], []
    idle = 0.0
    with serving() as server:
        for turn in range(run.repetitions + 1):
            seconds, idle = _until_ready(run.folder, server)
            peer_seconds = _ptb_until_ready(run.folder, server)
            if turn:  # the first start makes the database and its key
                ours.append(seconds)
                peer.append(peer_seconds)
    seconds = median(ours)
    yield Result("start until /readyz, second start", f"{seconds:.2f} s", "≤ 2 s", seconds <= 2)
    yield Result("  PTB Application, initialised", f"{median(peer):.2f} s ({seconds / median(peer):.1f} ×)")
    yield Result("  memory of ours when idle", f"{idle:.0f} MiB", "< 100 MiB", idle < 100)


def _until_ready(folder: Path, server: BenchServer) -> tuple[float, float]:
    """Seconds until `binhyen run` is ready, and the MiB it holds when it has settled."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {
        "BOT_TOKEN": TOKEN,
        "TELEGRAM_API_URL": server.url,
        "DATABASE_URL": f"sqlite+aiosqlite:///{folder / 'start.db'}",
        "ADMIN_IDS": "1000000",
        "WEB_PORT": str(port),
        "LOG_LEVEL": "ERROR",
    }
    began = time.monotonic()
    with python("-m", "bot", "run", folder=folder, env=settings) as process:
        while not _answers(f"http://127.0.0.1:{port}/readyz"):
            if process.poll() is not None or time.monotonic() - began > _PATIENCE:
                raise RuntimeError("`binhyen run` did not become ready")
            time.sleep(0.01)
        seconds = time.monotonic() - began
        if not _PROC.exists():
            return seconds, 0.0
        time.sleep(_SETTLED)
        return seconds, _resident(process.pid)


def _answers(url: str) -> bool:
    with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=1) as answer:  # noqa: S310 - our own http
        return bool(answer.status == 200)
    return False


def _ptb_until_ready(folder: Path, server: BenchServer) -> float:
    began = time.monotonic()
    with python("-m", "bench.process", "ptb", str(server.port), folder=folder) as process:
        process.communicate(timeout=_PATIENCE)
    return time.monotonic() - began


def _resident(process: int | str = "self", field: str = "VmRSS") -> float:
    """MiB of memory a process holds (VmRSS), or has held at most (VmHWM).

    Not `getrusage`: its maximum is handed down from the parent, and hides what a smaller child does.
    """
    status = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith(field)) / 1024


def _forget_highest() -> None:
    """Let VmHWM start again from what is held now."""
    Path("/proc/self/clear_refs").write_text("5")


async def _send(path: Path, server: BenchServer, count: int) -> dict[str, float]:
    async with ledger(path) as sessions, Ours(sessions, server, UNLIMITED, 64) as ours:
        _forget_highest()
        ready = _resident()
        await ours.send(count)
        return {"ready": ready, "growth": _resident(field="VmHWM") - ready}


async def _ptb(server: BenchServer) -> None:
    application = Application.builder().token(TOKEN).base_url(f"{server.url}/bot").build()
    await application.initialize()
    await application.shutdown()


def main(arguments: list[str]) -> None:
    """Be the process that is measured."""
    match arguments:
        case ["send", path, port, count]:
            found = asyncio.run(_send(Path(path), BenchServer(int(port)), int(count)))
            sys.stdout.write(json.dumps(found) + "\n")
        case ["ptb", port]:
            asyncio.run(_ptb(BenchServer(int(port))))
        case _:
            sys.exit(f"{ROOT.name}: not a measurement: {arguments}")


if __name__ == "__main__":
    main(sys.argv[1:])
