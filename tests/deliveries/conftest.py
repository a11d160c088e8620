"""A channel that only remembers, and a dispatcher that sends to it when it is told to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import pytest
from sqlalchemy import select

from channels.memory import MemoryGateway
from channels.port import Limits, Outgoing, Recipient
from channels.sender import Sender
from channels.shapes import Json, Shown
from channels.wording import plain
from db.engine import Sessions
from db.tables.deliveries import Delivery, DeliveryState, Lane
from deliveries.copies import message_id_of
from deliveries.dispatch import Dispatcher
from deliveries.ledger import open_delivery
from deliveries.pace import Pace
from media.files import load_media
from tests.worlds import Clock


class WatchedGateway(MemoryGateway):
    """Lets a test stand between the call and the message: `around` is given the delivery to await, or not."""

    around: Callable[[Callable[[], Awaitable[list[Json]]]], Awaitable[list[Json]]] | None = None

    async def append(self, address: str, contents: Sequence[Shown]) -> list[Json]:
        async def deliver() -> list[Json]:
            return await super(WatchedGateway, self).append(address, contents)

        return await (deliver() if self.around is None else self.around(deliver))


@dataclass
class Post:
    """A ledger, a channel named `memory`, and hands that queue and send."""

    sessions: Sessions
    clock: Clock
    gateway: WatchedGateway
    dispatcher: Dispatcher
    instant: list[float]
    _keys: Any = field(default_factory=count)

    async def queue(self, to: str, text: str = "Xin chào", *, lane: Lane = Lane.ROUTINE, **more: Any) -> str:
        """Queue one message; its key."""
        key = more.pop("key", None) or f"test/{next(self._keys)}"
        outgoing = more.pop("outgoing", None) or Outgoing(text)
        async with self.sessions.begin() as session:
            await open_delivery(
                session,
                outgoing,
                to=Recipient("memory", to),
                key=key,
                origin=more.pop("origin", "test"),
                lane=lane,
                now=self.clock(),
                **more,
            )
        return key

    async def send(self) -> None:
        """Send whatever is due."""
        await self.dispatcher.drain()

    async def wait(self, seconds: float) -> None:
        """Let both clocks go on, then send."""
        self.clock.advance(seconds=seconds)
        self.instant[0] += seconds
        await self.send()

    def said(self, to: str) -> list[str]:
        """What a chat has been sent, oldest first."""
        return [message.text for message in self.gateway.chats[to]]

    @property
    def order(self) -> list[str]:
        """The texts of all chats in the order they were sent."""
        return [params["text"] for method, params in self.gateway.calls if method == "sendMessage"]

    async def rows(self) -> list[Delivery]:
        """The ledger: what waits, oldest first, after what has left, whose numbers are random; copies come last."""
        async with self.sessions.reading() as session:
            return list(await session.scalars(select(Delivery).order_by(Delivery.copies, Delivery.id)))

    async def message_id(self, row: Delivery) -> str | None:
        """What the platform calls a row's message."""
        async with self.sessions.reading() as session:
            return message_id_of(session, row)

    async def states(self) -> list[DeliveryState]:
        """The states of the ledger's rows, in the order of `rows`."""
        return [row.state for row in await self.rows()]


@pytest.fixture
async def post(sessions, clock):
    """A ledger with a channel to send by, on both databases."""
    gateway = WatchedGateway(clock=clock)
    instant = [1000.0]

    async def load(media_id: int) -> Any:
        async with sessions.reading() as session:
            return await load_media(session, media_id)

    async with gateway.bot() as bot:
        sender = Sender(bot, gateway.capabilities, load, plain)
        dispatcher = Dispatcher(sessions, "memory", sender, Pace(Limits()), clock, monotonic=lambda: instant[0])
        gateway.calls.clear()
        yield Post(sessions, clock, gateway, dispatcher, instant)
