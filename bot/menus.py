"""The menu of commands: everybody's, in both languages; and each officer's own, as the role goes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import structlog
from telegram.error import TelegramError

from channels.api import api_id, call
from channels.port import Recipient
from db.engine import Sessions
from deliveries.wording import plain
from handlers.context import App
from handlers.routes import COMMANDS
from officers.accounts import officers_with
from officers.permissions import TABLE, Role

log = structlog.get_logger(__name__)


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
    """Keeps officers' menus as their roles are; a menu that could not be set is tried again at the next call."""

    def __init__(self, sessions: Sessions, applications: Mapping[str, App]) -> None:
        self._sessions = sessions
        self._applications = applications
        self._shown: dict[Recipient, Role] = {}

    async def refresh(self) -> None:
        """Give new officers their menu, and take it from those whose access was revoked."""
        async with self._sessions.reading() as session:
            now = {officer.chat: officer.role for officer in await officers_with(session, Role)}
        for chat, role in now.items():
            if self._shown.get(chat) is not role and await self._set(chat, role):
                self._shown[chat] = role
        for chat in self._shown.keys() - now.keys():
            if await self._set(chat, None):
                del self._shown[chat]

    async def _set(self, chat: Recipient, role: Role | None) -> bool:
        application = self._applications.get(chat.channel)
        if application is None:
            return True
        scope = {"type": "chat", "chat_id": api_id(chat.address)}
        try:
            if role is None:
                await call(application.bot, "deleteMyCommands", {"scope": scope})
            else:
                await call(application.bot, "setMyCommands", {"commands": menu_of(role, "vi"), "scope": scope})
        except TelegramError as error:
            log.warning("menu_not_set", channel=chat.channel, error=type(error).__name__)
            return False
        return True
