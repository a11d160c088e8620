"""A channel written from the recipe in CONTRIBUTING.md, to show that the recipe is enough: letters in a folder.

Whatever fetches mail puts a letter into `in/` as a file, the sender's address in its first line; what we write lies in
`out/<address>/` until somebody carries it away. No buttons, no edits, no files: `TextGateway` numbers the menus.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from channels.channel import Health, Store
from channels.envelope import ApiRefusal, Clock
from channels.plain_text import TextGateway
from channels.port import Limits, Recipient
from db.engine import Sessions

#: How often it is looked for letters, seconds.
_LOOK = 0.05


class MailDrop(TextGateway):
    """Letters in a folder."""

    name = "mail"
    limits = Limits()

    def __init__(
        self, sessions: Sessions, folder: Path, *, clock: Clock, menus: Sequence[Mapping[str, Any]] = (), **more: Any
    ) -> None:
        super().__init__(sessions, clock=clock, **more)
        self.menus = menus
        self._in, self._out = folder / "in", folder / "out"
        self._health = Health()
        self._written = 0
        for each in (self._in, self._out):
            each.mkdir(parents=True, exist_ok=True)

    @property
    def health(self) -> Health:
        """Whether the folder can be read."""
        return self._health

    async def deliver_text(self, address: str, text: str) -> str:
        """Leave a letter for somebody; raises ApiRefusal for an address that is none."""
        if "@" not in address or "/" in address:
            raise ApiRefusal(400, "Bad Request: chat not found")
        folder = self._out / address
        folder.mkdir(exist_ok=True)
        self._written += 1
        name = f"{self._clock():%Y%m%d%H%M%S}-{self._written:06}"
        _lay(folder / f"{name}.txt", text)
        return name

    async def receive(self, store: Store) -> None:
        """Look for letters until cancelled."""
        while True:
            try:
                await self.fetch(store)
            except OSError as error:
                self._health.becomes("down", type(error).__name__.lower())
            else:
                self._health.becomes("up")
            await asyncio.sleep(_LOOK)

    async def fetch(self, store: Store) -> None:
        """Bring in the letters that lie there, the oldest first. One that was not stored stays, and is brought again
        under the same number."""
        for letter in sorted(self._in.glob("*.txt")):
            address, _, text = letter.read_text("utf-8").partition("\n")
            await store([await self.inbound(address, text, letter.stem)])
            letter.unlink()

    async def erase(self, session: AsyncSession, chat: Recipient) -> None:
        """Take back the letters to somebody that nobody has carried away."""
        for letter in self._letters(chat.address):
            letter.unlink()

    def _letters(self, address: str) -> list[Path]:
        return sorted((self._out / address).glob("*.txt"))

    # --- what people do ---

    def writes(self, address: str, text: str, name: str) -> None:
        """Somebody writes a letter."""
        _lay(self._in / f"{name}.txt", f"{address}\n{text}")

    def reads(self, address: str) -> list[str]:
        """Somebody takes their letters home, in the order in which they were written."""
        return [_taken(letter) for letter in self._letters(address)]


def _lay(path: Path, text: str) -> None:
    """Whole or not at all: whoever looks into the folder sees no half letter."""
    draft = path.with_suffix(".part")
    draft.write_text(text, "utf-8")
    draft.rename(path)


def _taken(letter: Path) -> str:
    text = letter.read_text("utf-8")
    letter.unlink()
    return text
