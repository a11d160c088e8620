"""How much the web may hold at once, in all and for one client, so that the rest of the house stays free."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

_MEBIBYTE = 1024 * 1024
#: With fewer no browser gets a page and its events.
_FEWEST = 8


@dataclass(frozen=True, slots=True)
class Limits:
    """What the web face allows itself. Seconds and bytes.

    A body that is slow by a bad connection passes: 1 KiB a second is less than any mobile network brings.
    """

    connections: int = 400
    #: From a request's first byte, or from connecting, to the end of its head.
    head_seconds: float = 10.0
    #: Between two requests of one connection.
    idle_seconds: float = 20.0
    #: In every window of a body, on its way in or out, so many bytes must get through for each second.
    window_seconds: float = 10.0
    least_per_second: int = 1024
    #: Bytes of files held in memory: on their way in, and the same again on their way out.
    buffered: int = 128 * _MEBIBYTE
    buffered_per_client: int = 64 * _MEBIBYTE
    #: Files sealed or opened at the same time; each takes several times its size while it is.
    files_at_once: int = 3

    @property
    def requests_per_client(self) -> int:
        """How many connections or requests one client has at once; a whole hotel is one client."""
        return max(_FEWEST, self.connections // 4)

    @property
    def streams(self) -> int:
        """How many pages are told of news at once; the rest of the connections is for whoever asks something."""
        return self.connections * 3 // 4

    @property
    def streams_per_client(self) -> int:
        """The same for one client."""
        return max(_FEWEST // 2, self.connections // 8)


def connections_allowed(wished: int, open_files: int | None) -> int:
    """As many as wished, but never more than half the descriptors the process may have: the others are for the
    database, the platforms and the log."""
    return wished if open_files is None else max(_FEWEST, min(wished, open_files // 2))


def descriptor_limit() -> int | None:
    """How many files and connections the process may hold open; None where nothing limits it."""
    if sys.platform == "win32":
        return None
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def limits_here(connections: int) -> Limits:
    """The limits of a process that may open so many files, with at most so many connections."""
    return Limits(connections=connections_allowed(connections, descriptor_limit()))


class Full(Exception):
    """There is no room now; it may be tried again."""


class Seats:
    """So many at once in all, and so many for one client."""

    def __init__(self, total: int, per_client: int) -> None:
        self._total = total
        self._per_client = per_client
        self._taken: Counter[str] = Counter()

    @contextmanager
    def one(self, client: str) -> Iterator[None]:
        """Hold a seat; raises Full."""
        if self._taken.total() >= self._total or self._taken[client] >= self._per_client:
            raise Full
        self._taken[client] += 1
        try:
            yield
        finally:
            self._taken[client] -= 1
            if not self._taken[client]:
                del self._taken[client]


@dataclass(eq=False, slots=True)
class Held:
    """What one body holds in memory."""

    room: Room
    client: str
    since: float
    #: Ends the connection of the body at once.
    cut: Callable[[], object]
    size: int = 0
    is_moving: bool = True

    def take(self, size: int) -> None:
        """Count `size` bytes more; raises Full."""
        self.room.make_place_for(size, self)
        self.size += size

    def arrived(self) -> None:
        """It has come whole: from now on it need not give way."""
        self.is_moving = False


@dataclass(slots=True)
class Room:
    """Bytes of bodies in memory. When there is no room, the body that moved least for each second gives way to who
    asks, so that nobody keeps the others out by being slow."""

    total: int
    per_client: int
    #: How long a body is left alone, seconds.
    grace: float
    now: Callable[[], float] = time.monotonic
    _held: list[Held] = field(default_factory=list)

    @contextmanager
    def body(self, client: str, cut: Callable[[], object]) -> Iterator[Held]:
        """A body that begins to move; what it held is free when the block ends."""
        held = Held(self, client, self.now(), cut)
        self._held.append(held)
        try:
            yield held
        finally:
            self._forget(held)

    def make_place_for(self, size: int, asking: Held) -> None:
        """Let slow bodies go until `size` bytes fit; raises Full."""
        if size + sum(held.size for held in self._held if held.client == asking.client) > self.per_client:
            raise Full
        while size + sum(held.size for held in self._held) > self.total:
            slowest = self._slowest(asking)
            if slowest is None:
                raise Full
            self._forget(slowest)
            slowest.cut()

    def _slowest(self, asking: Held) -> Held | None:
        now = self.now()
        others = [
            held for held in self._held if held is not asking and held.is_moving and now - held.since >= self.grace
        ]
        return min(others, key=lambda held: held.size / (now - held.since + 1), default=None)

    def _forget(self, held: Held) -> None:
        if held in self._held:
            self._held.remove(held)
