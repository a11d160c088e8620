"""A python-telegram-bot application that remembers nobody: whoever wrote is in our tables, sealed, or nowhere."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from telegram.ext import Application, ExtBot

from handlers.context import BotData, Context


class _Nothing(dict[int, BotData]):
    """Something empty for everybody, kept for nobody; the library keeps an entry for whoever it was asked about."""

    def __missing__(self, key: int) -> BotData:
        return {}


class ForgetfulApplication(Application[ExtBot[None], Context, BotData, BotData, BotData, None]):
    """The library's application notes the ids of all who ever wrote, for a persistence we do not use: in memory, in
    clear, for as long as the process lives. This one does not."""

    def __init__(self, **made: Any) -> None:
        super().__init__(**made)
        self._user_data = self._chat_data = _Nothing()  # type: ignore[assignment]
        self.user_data = self.chat_data = MappingProxyType(self._user_data)

    def _mark_for_persistence_update(self, *, update: object | None = None, job: Any = None) -> None:
        """Nothing is persisted by the library."""

    def mark_data_for_update_persistence(self, chat_ids: Any = None, user_ids: Any = None) -> None:
        """Nothing is persisted by the library."""
