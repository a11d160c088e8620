"""Starts processes of ours quickly: one that has imported everything forks a new one for each start.

A start then costs a fork and not seconds of imports. What is forked is a process of its own, with its own environment,
folder and output; it runs the module as `python -m` does, and dies of a real SIGKILL. `python -m bench.nursery` is
the process that forks; it and all it started end with whoever asked for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parent.parent
#: All that a request may be: a command line, a folder and an environment.
_REQUEST = 1 << 16
#: What a bot imports, also what it first needs when it opens a database or serves.
_IMPORTED = (
    *("commands.cli", "bot.app", "bot.memory", "db.upgrade"),
    *("sqlalchemy.dialects.sqlite.aiosqlite", "sqlalchemy.dialects.postgresql.asyncpg", "alembic.runtime.migration"),
    *("uvicorn.lifespan.on", "uvicorn.protocols.http.h11_impl"),
)


class Child:
    """A process that was started; to whoever asked for it, what asyncio's Process would be."""

    def __init__(self, pid: int, status: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._status = status
        self._ended = asyncio.get_running_loop().create_task(self._read())

    async def _read(self) -> int:
        said = [line async for line in lines_of(self._status)]
        self.returncode = int(said[-1]) if said else -signal.SIGKILL
        return self.returncode

    async def wait(self) -> int:
        """Its exit code (minus the signal) once it is gone."""
        return await asyncio.shield(self._ended)

    def send_signal(self, how: signal.Signals) -> None:
        """Send a signal; nothing happens when it is gone."""
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, how)

    def kill(self) -> None:
        """`kill -9`."""
        self.send_signal(signal.SIGKILL)


async def lines_of(end: int) -> AsyncIterator[bytes]:
    """The lines that come out of a pipe, which is closed at the end."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(2**20)
    pipe = os.fdopen(end, "rb", 0)
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
    try:
        async for line in reader:
            yield line
    finally:
        transport.close()


class Nursery:
    """The process that forks; started here, which takes as long as it imports, and ended with `close`."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [sys.executable, "-m", "bench.nursery", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env={**inherited, "PYTHONPATH": str(_ROOT), "PYTHONUNBUFFERED": "1"},
                cwd=_ROOT,
                start_new_session=True,
            )
        self._asks = ours
        if not ours.recv(1):
            raise RuntimeError("the nursery has ended")

    def start(self, module: str, *words: str, folder: Path, env: Mapping[str, str], out: int, err: int) -> Child:
        """`python -m <module> <words>` in `folder`, with this environment and no other; `out` and `err` are files."""
        said, status = os.pipe()
        request = {"module": module, "words": words, "folder": str(folder), "env": dict(env)}
        try:
            socket.send_fds(self._asks, [json.dumps(request).encode()], [out, err, status])
        finally:
            os.close(status)
        return Child(_first_line(said), said)

    def close(self) -> None:
        """Nothing is left running."""
        self._asks.close()
        self._process.wait()


def _first_line(end: int) -> int:
    """Read no further than the number of the process: what follows is read when it comes."""
    line = b""
    while not line.endswith(b"\n"):
        piece = os.read(end, 1)
        if not piece:
            raise RuntimeError("the nursery has ended")
        line += piece
    return int(line)


# --- the process that forks -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Start:
    """What somebody asked for, and the files it came with."""

    request: dict[str, Any]
    out: int
    err: int
    status: int

    def become(self) -> None:
        """Be that process, until it ends as any other does."""
        os.chdir(self.request["folder"])
        os.environ.clear()
        os.environ.update(self.request["env"])
        time.tzset()
        with open(os.devnull) as nothing:
            os.dup2(nothing.fileno(), 0)
        os.dup2(self.out, 1)
        os.dup2(self.err, 2)
        for one in (self.out, self.err, self.status):
            os.close(one)
        sys.path[0] = self.request["folder"]
        sys.argv = [self.request["module"], *self.request["words"]]
        runpy.run_module(self.request["module"], run_name="__main__", alter_sys=True)

    def close(self) -> None:
        """The files are the child's, but for the one that says how it ended."""
        os.close(self.out)
        os.close(self.err)


def _serve(asks: socket.socket) -> _Start | None:
    """Fork until nobody asks any more. Returns in each child what it is to be, and at last None."""
    children: dict[int, int] = {}
    wakes, woken = os.pipe()
    os.set_blocking(woken, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(woken)
    while True:
        ready, _, _ = select.select([asks.fileno(), wakes], [], [])
        if wakes in ready:
            os.read(wakes, 1024)
            _bury(children)
        if asks.fileno() in ready:
            asked, files, _, _ = socket.recv_fds(asks, _REQUEST, 3)
            if not asked:
                break
            start = _Start(json.loads(asked), *files)
            if not (pid := os.fork()):
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for one in (asks.detach(), wakes, woken, *children.values()):
                    os.close(one)
                return start
            start.close()
            children[pid] = start.status
            os.write(start.status, f"{pid}\n".encode())
    for pid in children:
        os.kill(pid, signal.SIGKILL)
    return None


def _bury(children: dict[int, int]) -> None:
    """Say of each that has ended how it did."""
    while children:
        pid, how = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        status = children.pop(pid)
        with contextlib.suppress(BrokenPipeError):  # nobody wants to know
            os.write(status, f"{os.waitstatus_to_exitcode(how)}\n".encode())
        os.close(status)


def main() -> None:
    """Import what a bot imports, and fork."""
    for name in _IMPORTED:
        with contextlib.suppress(ImportError):  # not everybody has PostgreSQL's
            importlib.import_module(name)
    gc.freeze()
    asks = socket.socket(fileno=int(sys.argv[1]))
    asks.send(b"!")
    start = _serve(asks)
    if start is not None:
        start.become()


if __name__ == "__main__":
    main()
