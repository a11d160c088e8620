"""People who wait for what they are to be told, however often the bot dies meanwhile."""

from __future__ import annotations

import re
from collections.abc import Callable

from bench.botapi.messages import Message
from bench.botapi.people import Person
from bench.botapi.server import FakeBotApi
from bench.kill.wording import pattern


class Stuck(Exception):
    """Somebody did not get the answer they waited for."""


class Villager(Person):
    """Somebody with a phone, who waits as long as `patience` says that seconds are left."""

    def __init__(self, api: FakeBotApi, chat_id: int, *, patience: Callable[[], float]) -> None:
        super().__init__(api, chat_id)
        self._patience = patience

    def presses_on(self, message: Message, label: str) -> None:
        """Press the button called `label`, the first one when it is empty; raises Stuck."""
        data = message.data(label) if label else message.buttons[0][0]["callback_data"]
        if data is None:
            raise Stuck(f"chat {self.chat_id}: no button {label!r} under {message.text!r}")
        self.presses_data(data, message=message)

    async def hears(self, key: str, /, **fixed: str) -> tuple[Message, re.Match[str]]:
        """Wait for a message, new or edited since the last act, with the text under `key`; raises Stuck."""
        wanted = pattern(key, **fixed)

        def find() -> tuple[Message, re.Match[str]] | None:
            told = ((message, wanted.search(message.text)) for message in self.news)
            return next(((message, match) for message, match in told if match), None)

        while True:
            try:
                return await self.api.until(find, 5)
            except TimeoutError:
                if self._patience() <= 0:
                    last = self.inbox[-1].text if self.inbox else ""
                    waits = f"chat {self.chat_id} waits for {key} {fixed or ''}"
                    raise Stuck(f"{waits}; last message: {last!r}") from None
