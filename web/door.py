"""Connections: how many there are, and how long each may take.

uvicorn answers requests; whom it answers is decided here. A held connection costs the house a descriptor, and a
process without descriptors reaches neither its database nor Telegram.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Iterable
from enum import Enum

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from web.limits import Limits
from web.security import counted_as

_log = logging.getLogger(__name__)
#: What strangers send malformed is no news: a line for each would fill the disk. What fails on our side is heard.
_strangers = logging.getLogger("uvicorn.error.strangers")
_strangers.setLevel(logging.ERROR)
#: How long nothing is taken when the system has no descriptor left, seconds.
_REST_SECONDS = 1.0
#: How often the same trouble is told, seconds.
_QUIET_SECONDS = 60.0
#: Below this many bytes a second a body gives way to a newcomer when the house is full.
_UNHURRIED = 16 * 1024


class _Phase(Enum):
    """What a connection waits for."""

    HEAD = "a request"
    BODY = "the request's body"
    ANSWER = "us"
    READER = "the other side to read"


class Connection(H11Protocol):
    """One connection that knows how long it has been waiting, and for what."""

    def __init__(self, config: uvicorn.Config, state: ServerState, limits: Limits) -> None:
        # What a request finds in its state: a way to end this connection.
        super().__init__(config, state, {"cut": self.cut})
        self.logger = _strangers
        self.peer = ""
        self._limits = limits
        self._now = self.loop.time
        self._head_until = 0.0
        self._has_begun = False
        self._waits_since = self._now()
        self._brought = 0
        self._wrote_on = False
        self._window: tuple[_Phase, object] | None = None
        self._window_since = 0.0
        self._left_at_first = 0

    # --- what happens to it ---

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.peer = counted_as(self.client[0] if self.client else "")
        self._await_head(self._limits.head_seconds)

    def data_received(self, data: bytes) -> None:
        self._brought += len(data)
        if self._phase() is _Phase.HEAD and not self._has_begun:
            self._has_begun = True
            self._head_until = self._now() + self._limits.head_seconds
        super().data_received(data)

    def on_response_complete(self) -> None:
        self._await_head(self._limits.idle_seconds)
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        if self.conn.our_state is h11.IDLE:
            super().send_400_response(msg)
        else:  # in the middle of a request: what it is answered is somebody else's to say, or said
            self.cut()

    def resume_writing(self) -> None:
        self._wrote_on = True
        super().resume_writing()

    def cut(self) -> None:
        """End it now, whatever is under way."""
        self.transport.abort()

    # --- what may be asked ---

    def is_overdue(self, now: float) -> bool:
        """Whether its time is up; ask several times in each window."""
        phase = self._phase()
        if phase is _Phase.HEAD:
            return now >= self._head_until
        if phase is _Phase.ANSWER:
            return False
        if self._window != (phase, self.cycle):
            self._open_window(phase, now)
        if now - self._window_since < self._limits.window_seconds:
            return False
        is_slow = self._moved(phase) < self._expected(phase)
        self._open_window(phase, now)
        return is_slow

    def reluctance(self, now: float) -> tuple[int, float] | None:
        """How little is lost by ending it, least first: idle for longest, then slowest. None: it stays."""
        phase = self._phase()
        if self.transport.is_closing():
            return None
        if phase is _Phase.HEAD:
            return 0, self._waits_since
        if phase is _Phase.ANSWER or self._window is None:
            return None
        speed = self._moved(phase) / (now - self._window_since + 1)
        return (1, speed) if speed < _UNHURRIED else None

    def _phase(self) -> _Phase:
        if self.flow.write_paused or (self.transport.is_closing() and self.transport.get_write_buffer_size()):
            return _Phase.READER
        if self.cycle is None or self.cycle.response_complete:
            return _Phase.HEAD
        if self.cycle.more_body and not self.flow.read_paused:
            return _Phase.BODY
        return _Phase.ANSWER

    def _await_head(self, seconds: float) -> None:
        self._waits_since = self._now()
        self._head_until = self._waits_since + seconds
        self._has_begun = False

    def _open_window(self, phase: _Phase, now: float) -> None:
        self._window, self._window_since = (phase, self.cycle), now
        self._brought, self._wrote_on = 0, False
        self._left_at_first = self.transport.get_write_buffer_size()

    def _moved(self, phase: _Phase) -> int:
        if phase is _Phase.BODY:
            return self._brought
        return self._left_at_first - self.transport.get_write_buffer_size()

    def _expected(self, phase: _Phase) -> float:
        wanted = self._limits.least_per_second * self._limits.window_seconds
        if phase is _Phase.BODY:
            return wanted
        # Taken so far that we went on writing: what is left now says nothing of how much that was.
        return 0 if self._wrote_on else min(wanted, self._left_at_first)


class Door:
    """Takes connections for a server: never more than the limits say, and none that only holds its place.

    Args:
        is_proxy: Whether a peer speaks for many; only the others are counted one by one here.
    """

    def __init__(
        self, config: uvicorn.Config, state: ServerState, limits: Limits, *, is_proxy: Callable[[str], bool]
    ) -> None:
        self._config = config
        self._state = state
        self._limits = limits
        self._is_proxy = is_proxy
        self._quiet_until: dict[str, float] = {}

    async def run(self, listening: socket.socket) -> None:
        """Let in and look round until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._let_in(listening))
            group.create_task(self._look_round())

    async def _let_in(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, address = await loop.sock_accept(listening)
            except ConnectionError:  # gone before we came to it
                continue
            except OSError as error:
                self._say("web_accept_failed", error.strerror)
                await asyncio.sleep(_REST_SECONDS)
                continue
            if self._admits(address[0], loop.time()):
                await self._serve(accepted)
            else:
                accepted.close()
                await asyncio.sleep(0)

    async def _serve(self, accepted: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(lambda: Connection(self._config, self._state, self._limits), accepted)
        except OSError:  # it has gone meanwhile
            accepted.close()

    async def _look_round(self) -> None:
        often = min(1.0, self._limits.head_seconds / 4, self._limits.window_seconds / 4)
        while True:
            await asyncio.sleep(often)
            now = asyncio.get_running_loop().time()
            for connection in self._connections():
                if connection.is_overdue(now):
                    connection.cut()

    def _admits(self, host: str, now: float) -> bool:
        """Whether one more from `host` may come in; makes room for it where that costs nobody much."""
        there = self._connections()
        if not self._is_proxy(host):
            peer = counted_as(host)
            its_own = [connection for connection in there if connection.peer == peer]
            if len(its_own) >= self._limits.requests_per_client:
                return _makes_room(its_own, now)
        if len(there) < self._limits.connections:
            return True
        self._say("web_connections_full", None)
        return _makes_room(there, now)

    def _connections(self) -> list[Connection]:
        return [connection for connection in self._state.connections if isinstance(connection, Connection)]

    def _say(self, event: str, reason: str | None) -> None:
        now = asyncio.get_running_loop().time()
        if now >= self._quiet_until.get(event, 0.0):
            self._quiet_until[event] = now + _QUIET_SECONDS
            _log.error("%s: %s", event, reason or f"{len(self._state.connections)} connections")


def _makes_room(among: Iterable[Connection], now: float) -> bool:
    ranked: list[tuple[tuple[int, float], Connection]] = []
    for connection in among:
        reluctance = connection.reluctance(now)
        if reluctance is not None:
            ranked.append((reluctance, connection))
    if not ranked:
        return False
    _, idlest = min(ranked, key=lambda pair: pair[0])
    idlest.cut()
    return True
