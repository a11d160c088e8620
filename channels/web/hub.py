"""The open pages of this process: who is told that there is news."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field

from channels.shapes import Json

_TYPING_SECONDS = 5.0
_STREAMS_PER_CHAT = 6


@dataclass(eq=False, slots=True)
class Stream:
    """One open page. It is told that there is news, never the news itself; only passing signs are queued."""

    address: str
    closed: bool = False
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _signs: deque[tuple[str, Json]] = field(default_factory=lambda: deque(maxlen=16))

    def wake(self) -> None:
        """There is something to read."""
        self._news.set()

    def sign(self, event: str, about: Json) -> None:
        """Queue a passing sign; the oldest goes when sixteen wait."""
        self._signs.append((event, about))
        self._news.set()

    def settle(self) -> None:
        """The bot has spoken: it is not typing any more."""
        for sign in [sign for sign in self._signs if sign[0] == "typing"]:
            self._signs.remove(sign)
        self._news.set()

    def close(self) -> None:
        """End the stream at its next step."""
        self.closed = True
        self._news.set()

    async def wait(self, seconds: float) -> bool:
        """Wait for news; whether there is some."""
        try:
            await asyncio.wait_for(self._news.wait(), seconds)
        except TimeoutError:
            return False
        return True

    def take(self) -> list[tuple[str, Json]]:
        """The queued signs; call it before reading the tables."""
        self._news.clear()
        signs = list(self._signs)
        self._signs.clear()
        return signs


class Hub:
    """The open pages of this process, by address."""

    def __init__(self) -> None:
        self._streams: dict[str, list[Stream]] = {}
        self._typing: dict[str, float] = {}
        self._closed = False

    def subscribe(self, address: str) -> Stream:
        """A new stream; the oldest of more than six is closed. Give it back to `leave`."""
        stream = Stream(address, closed=self._closed)
        streams = self._streams.setdefault(address, [])
        streams.append(stream)
        for oldest in streams[:-_STREAMS_PER_CHAT]:
            oldest.close()
        return stream

    def leave(self, stream: Stream) -> None:
        """Forget a stream."""
        streams = self._streams.get(stream.address, [])
        if stream in streams:
            streams.remove(stream)
        if not streams:
            self._streams.pop(stream.address, None)

    def changed(self, address: str, *, by_bot: bool) -> None:
        """A chat has news in the tables."""
        if by_bot:
            self._typing.pop(address, None)
        for stream in self._streams.get(address, ()):
            if by_bot:
                stream.settle()
            stream.wake()

    def sign(self, event: str, about: Json, address: str | None = None) -> None:
        """A passing sign for one chat, or for every open page."""
        for streams in [self._streams.get(address, [])] if address else list(self._streams.values()):
            for stream in streams:
                stream.sign(event, about)

    def typing(self, address: str) -> None:
        """The bot is busy with an answer."""
        now = time.monotonic()
        self._typing = {chat: until for chat, until in self._typing.items() if until > now}
        self._typing[address] = now + _TYPING_SECONDS
        self.sign("typing", {"typing": True}, address)

    def is_typing(self, address: str) -> bool:
        """Whether `typing` was said within the last seconds and nothing came since."""
        return self._typing.get(address, 0.0) > time.monotonic()

    def close(self) -> None:
        """End all streams, and those to come: the process is going down."""
        self._closed = True
        for streams in self._streams.values():
            for stream in streams:
                stream.close()

    @property
    def open_streams(self) -> int:
        """How many pages are open."""
        return sum(map(len, self._streams.values()))
