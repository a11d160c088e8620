"""The menu of commands: everybody's, in both languages; and each officer's own, as the role goes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import structlog
from telegram.error import BadRequest, Forbidden, TelegramError

from channels.api import api_id, call
from channels.port import Recipient
from channels.wording import plain
from handlers.context import App, Sessions
from handlers.routes import COMMANDS
from officers.accounts import officers_with
from officers.permissions import TABLE, Role

log = structlog.get_logger(__name__)

#: How long a menu that was refused for one chat waits, and how long all of a channel that takes none, seconds.
_RETRY_CHAT, _RETRY_CHANNEL = 600.0, 60.0


def menu_of(role: Role | None, language: str) -> list[dict[str, str]]:
    """The commands one role sees; None is everybody's."""
    return [
        {
            "command": command.name if language == "vi" else command.alias,
            "description": plain(language, f"command.{command.name}"),
        }
        for command in COMMANDS
        if command.permission is None or (role is not None and role in TABLE[command.permission])
    ]


def common_menus() -> list[dict[str, Any]]:
    """What setMyCommands is told for everybody: Vietnamese where no other language is known, and English."""
    return [{"commands": menu_of(None, "vi")}, {"commands": menu_of(None, "en"), "language_code": "en"}]


class OfficerMenus:
    """Keeps officers' menus as their roles are; what could not be set is tried again a good while later: an officer
    may not have opened the chat yet, or the platform may be down."""

    def __init__(
        self,
        sessions: Sessions,
        applications: Mapping[str, App],
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sessions = sessions
        self._applications = applications
        self._monotonic = monotonic
        self._shown: dict[Recipient, tuple[Role, str]] = {}
        #: When a chat, or a channel as a whole, is tried again.
        self._not_before: dict[Recipient | str, float] = {}

    async def refresh(self) -> None:
        """Give new officers their menu, and take it from those whose access was revoked."""
        async with self._sessions.reading() as session:
            now = {officer.chat: (officer.role, officer.language) for officer in await officers_with(session, Role)}
        for chat, wanted in now.items():
            if self._shown.get(chat) != wanted and await self._set(chat, *wanted):
                self._shown[chat] = wanted
        for chat in self._shown.keys() - now.keys():
            if await self._set(chat, None):
                del self._shown[chat]

    async def _set(self, chat: Recipient, role: Role | None, language: str = "vi") -> bool:
        application = self._applications.get(chat.channel)
        if application is None:
            return True
        now = self._monotonic()
        if any(self._not_before.get(one, now) > now for one in (chat, chat.channel)):
            return False
        scope = {"type": "chat", "chat_id": api_id(chat.address)}
        try:
            if role is None:
                await call(application.bot, "deleteMyCommands", {"scope": scope})
            else:
                await call(application.bot, "setMyCommands", {"commands": menu_of(role, language), "scope": scope})
        except (BadRequest, Forbidden):
            self._not_before[chat] = now + _RETRY_CHAT
            return False
        except TelegramError as error:
            log.warning("menu_not_set", channel=chat.channel, error=type(error).__name__)
            self._not_before[chat.channel] = now + _RETRY_CHANNEL
            return False
        return True
