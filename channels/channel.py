"""What the house needs of a channel. Whoever writes a new one writes this, adds it to the list in `bot.app`, and is
done: nothing else knows which channels there are."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol

from sqlalchemy.ext.asyncio import AsyncSession
from starlette.routing import BaseRoute
from telegram.ext import ExtBot

from channels.port import Capabilities, Limits, Recipient

Json = dict[str, Any]
#: Takes raw updates (Bot API `Update` objects) and returns when they are stored; raises when they are not.
Store = Callable[[list[Json]], Awaitable[None]]
#: Says that updates were stored in a transaction of the channel's own.
Wake = Callable[[], object]
State = Literal["starting", "up", "down"]


@dataclass(frozen=True, slots=True)
class Line:
    """A channel as it is sent by: a bot that speaks for it, what it can do, how fast."""

    name: str
    bot: ExtBot[None]
    capabilities: Capabilities
    limits: Limits


@dataclass(slots=True)
class Health:
    """Whether a channel brings in what people write, and if not, why: a short lower-case word."""

    state: State = "starting"
    reason: str = ""

    def becomes(self, state: State, reason: str = "") -> bool:
        """Note the state; True when that is news."""
        if (self.state, self.reason) == (state, reason):
            return False
        self.state, self.reason = state, reason
        return True

    @property
    def trouble(self) -> str:
        """Why nothing comes in; "" when all is well."""
        return "" if self.state == "up" else self.reason or self.state


class Channel(Protocol):
    """A way by which people and the unit reach each other.

    Two things every channel says: its `name` and its `line`. The rest has an answer that does for a channel which keeps
    nothing with us, is always well, and needs no pages. The order of a life: `line`, `start`, `routes`, `receive` until
    it is cancelled, `let_go`, `close`.
    """

    #: Short, lower case, and never changed: it stands in every address that is stored.
    name: str

    def line(self) -> Line:
        """A bot that speaks for this channel; the house starts it, and shuts it down."""
        ...

    @property
    def health(self) -> Health:
        """Whether it brings in what people write."""
        return Health("up")

    @property
    def door(self) -> str | None:
        """The address that opens a chat with us, once it is known; `?start=` and a payload make a deep link of it."""
        return None

    async def start(self) -> None:
        """Get ready, before anybody is let in; a network that is down must not keep it from returning."""
        return

    async def receive(self, store: Store) -> None:
        """Bring in what people write until cancelled; whatever `store` did not return for is brought again.

        It ends for nothing else: a channel that is out tries again by itself, and says so in its `health`.
        """
        await asyncio.Event().wait()

    def routes(self, store: Store, wake: Wake) -> Sequence[BaseRoute]:
        """What it wants of our HTTP face: a webhook, pages."""
        return ()

    async def erase(self, session: AsyncSession, chat: Recipient) -> None:
        """Wipe what we keep of a chat's messages; other platforms keep their own."""
        return

    async def forget(self, session: AsyncSession, *, now: datetime) -> None:
        """Drop what has been kept long enough; asked once a minute."""
        return

    def let_go(self) -> None:
        """End what is held open for people (pages that listen): the process is about to end."""
        return

    async def close(self) -> None:
        """Give back what is not the bot's own; called last."""
        return
