"""Something has happened: whoever waits for something looks again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")


class News:
    """Wakes all who wait, at whatever happens; each of them knows what for."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def happened(self) -> None:
        """Something did."""
        self._event.set()

    async def until(self, holds: Callable[[], Found | None], within: float | None = None) -> Found:
        """Wait until `holds` says something true, and return it; TimeoutError after `within` seconds."""
        async with asyncio.timeout(within):
            while not (found := holds()):
                self._event.clear()
                await self._event.wait()
            return found
