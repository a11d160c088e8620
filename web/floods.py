"""How fast visitors may do what, and how much at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from starlette.requests import Request

from web.limits import Held, Limits, Room, Seats
from web.security import Limiter, Rate, client_of
from web.sentences import Refused


class Floods:
    """How fast visitors may do what, and how much at once. Generous: a frightened person types fast, and a whole
    hotel has one address."""

    def __init__(self, limits: Limits) -> None:
        self._of_chat = Limiter(Rate(burst=20, per_second=1))
        self._of_client = Limiter(Rate(burst=200, per_second=10))
        self._opened = Limiter(Rate(burst=60, per_second=0.2))
        self._read = Limiter(Rate(burst=600, per_second=60))
        self._streams = Seats(limits.streams, limits.streams_per_client)
        room = limits.buffered, limits.buffered_per_client, limits.window_seconds
        self._incoming, self._outgoing = Room(*room), Room(*room)
        self.at_work = asyncio.Semaphore(limits.files_at_once)

    def may_write(self, request: Request, address: str) -> None:
        """Count an act of a visitor; raises Refused."""
        _wait(self._of_client.wait(client_of(request)))
        _wait(self._of_chat.wait(address))

    def may_open(self, request: Request) -> None:
        """Count a new chat; raises Refused."""
        _wait(self._opened.wait(client_of(request)))

    def may_read(self, request: Request) -> None:
        """Count a read; raises Refused."""
        _wait(self._read.wait(client_of(request)))

    def stream(self, request: Request) -> AbstractContextManager[None]:
        """Hold one of the places for pages that are told of news; raises Full."""
        return self._streams.one(client_of(request))

    def incoming(self, request: Request) -> AbstractContextManager[Held]:
        """Count the bytes of a file on its way in."""
        return self._incoming.body(client_of(request), _cut(request))

    @contextmanager
    def outgoing(self, request: Request, size: int) -> Iterator[None]:
        """Hold `size` bytes of a file on its way out; raises Full."""
        with self._outgoing.body(client_of(request), _cut(request)) as held:
            held.take(size)
            yield


def _cut(request: Request) -> Callable[[], object]:
    """What ends the connection of a request; nothing where a server does not say how."""
    return getattr(request.state, "cut", lambda: None)


def _wait(seconds: float) -> None:
    if seconds > 0:
        raise Refused("too_fast", wait=seconds)
