"""Channels of plain text: buttons become numbered menus, and their numbers become presses."""

from __future__ import annotations

import json
import re
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete
from sqlalchemy.ext.asyncio import AsyncSession

from channels.envelope import MEDIA_CALLS, Clock, Gateway, Params, bad_request, buttons_of, checked, no_file, shown_by
from channels.port import Capabilities, MediaKind
from channels.shapes import (
    Json,
    Shown,
    Upload,
    api_message,
    command_entities,
    press_update,
    private_chat,
    update_number,
    visitor,
)
from channels.wording import plain, spoken
from db.engine import Sessions, keys_of
from db.marks import day_mark, days_until
from db.sealing import padded, unpadded
from db.tables.web import TextMenu
from texts.folding import fold
from texts.markup import split, utf16_len

_MENU_PURPOSE = "text-menu"
#: How long a menu can be answered by number or label.
MENU_LIFE = timedelta(hours=24)
_NUMBER = re.compile(r"\s*(\d{1,3})\s*[.)]?\s*")


@dataclass(frozen=True, slots=True)
class Menu:
    """The open menu of a chat. Every option is a label with the `data` it presses or the text it `says`.

    `numbered` is False once a number was answered and the talk went on: "2" may then be the answer to a question.
    """

    message_id: str
    text: str
    options: tuple[Json, ...]
    answered: bool = False
    numbered: bool = True

    def choice(self, typed: str) -> Json | None:
        """The option `typed` means: its number ("1", "1.") or its label."""
        number = _NUMBER.fullmatch(typed)
        if number and self.numbered and 0 < int(number[1]) <= len(self.options):
            return self.options[int(number[1]) - 1]
        folded = fold(typed)
        named = [option for option in self.options if fold(option["label"]) == folded]
        return named[0] if len(named) == 1 else None


class TextGateway(Gateway):
    """The Bot API for a platform of plain text: buttons become numbered lines, edits become new messages.

    Args:
        language_of: The language of a chat's menu lines, "vi" or "en"; without it Vietnamese.
    """

    capabilities = Capabilities(buttons=False, edits=False, deletes=False, files=False, text_limit=2000)

    def __init__(
        self,
        sessions: Sessions,
        *,
        clock: Clock,
        language_of: Callable[[str], Awaitable[str]] | None = None,
    ) -> None:
        self._sessions = sessions
        self._clock = clock
        self._language_of = language_of

    async def forget(self, session: AsyncSession, *, now: datetime) -> None:
        """Drop the menus that cannot be answered any more."""
        await forget_menus(session, now=now)

    @abstractmethod
    async def deliver_text(self, address: str, text: str) -> str:
        """Send one plain message; the platform's id for it. Raises ApiRefusal."""

    async def deliver_file(self, address: str, kind: MediaKind, upload: Upload, caption: str) -> str:
        """Send a file; where a platform cannot, its name is said."""
        named = plain(await self._language(address), "plain_text.file", name=upload.name)
        return await self.deliver_text(address, f"{caption}\n\n{named}" if caption else named)

    async def answer(self, method: str, params: Params, files: Mapping[str, Upload]) -> Any:
        if method in MEDIA_CALLS:
            return await self._send_file(MEDIA_CALLS[method], params, files)
        return await super().answer(method, params, files)

    async def call_send_message(self, params: Params, files: Mapping[str, Upload]) -> Json:
        """Send text with its numbered menu, in as many parts as the platform's limit asks for."""
        return await self._say(str(params["chat_id"]), checked(shown_by(params)))

    call_edit_message_text = call_send_message

    async def call_edit_message_caption(self, params: Params, files: Mapping[str, Upload]) -> Json:
        """Say the new caption."""
        return await self._say(str(params["chat_id"]), checked(shown_by(params, "caption")))

    async def call_edit_message_reply_markup(self, params: Params, files: Mapping[str, Upload]) -> Any:
        """Offer the new menu; without one, close the menu this message opened."""
        address, message_id = str(params["chat_id"]), str(params["message_id"])
        if buttons_of(params):
            return await self._say(address, shown_by(params))
        menu = await self.open_menu(address)
        if menu is not None and menu.message_id == message_id:
            await self._keep(address, None)
        return True

    async def call_send_location(self, params: Params, files: Mapping[str, Upload]) -> Json:
        """Say a point on the map as a link that shows it."""
        point = f"{float(params['latitude']):.6f},{float(params['longitude']):.6f}"
        return await self._say(
            str(params["chat_id"]), replace(shown_by(params), text=f"https://www.google.com/maps?q={point}")
        )

    async def call_delete_message(self, params: Params, files: Mapping[str, Upload]) -> bool:
        """What was said stays said."""
        raise bad_request("message can't be deleted")

    async def _send_file(self, kind: MediaKind, params: Params, files: Mapping[str, Upload]) -> Json:
        upload = files.get(kind)
        if upload is None:
            raise no_file()
        address, shown = str(params["chat_id"]), shown_by(params, "caption")
        if not shown.buttons and shown.keyboard is None:
            message_id = await self.deliver_file(address, kind, upload, shown.text)
            return self._message(address, message_id, shown)
        await self.deliver_file(address, kind, upload, "")
        return await self._say(address, shown)

    async def _say(self, address: str, content: Shown) -> Json:
        options, lines = _menu_of(content, await self._language(address))
        parts = _parts(content.text, lines, self.capabilities.text_limit)
        for part in parts:
            message_id = await self.deliver_text(address, part)
        await self._after(address, Menu(message_id, content.text, options))
        return self._message(address, message_id, content)

    def _message(self, address: str, message_id: str, content: Shown) -> Json:
        return api_message(
            Shown(text=content.text),
            message_id=message_id,
            chat=private_chat(address),
            sender=self.me(),
            at=self._clock(),
        )

    async def _language(self, address: str) -> str:
        return spoken(await self._language_of(address) if self._language_of else None)

    async def _after(self, address: str, said: Menu) -> None:
        """Remember the menu just said; without one, stop taking numbers for a menu already answered."""
        if said.options:
            await self._keep(address, said)
            return
        menu = await self.open_menu(address)
        if menu is not None and menu.answered and menu.numbered:
            await self._keep(address, replace(menu, numbered=False))

    def _menu_id(self, address: str) -> str:
        return self._sessions.keys.fingerprint(_MENU_PURPOSE, self.name, address)

    async def open_menu(self, address: str) -> Menu | None:
        """The menu that can be answered now."""
        menu_id = self._menu_id(address)
        async with self._sessions.reading() as session:
            row = await session.get(TextMenu, menu_id)
            if row is None:
                return None
            kept = json.loads(unpadded(keys_of(session).unseal(_MENU_PURPOSE, row.sealed, bound_to=menu_id)))
        if datetime.fromisoformat(kept.pop("expires_at")) <= self._clock():
            return None
        return Menu(**{**kept, "options": tuple(kept["options"])})

    async def _keep(self, address: str, menu: Menu | None) -> None:
        menu_id, expires_at = self._menu_id(address), self._clock() + MENU_LIFE
        async with self._sessions.begin() as session:
            await session.execute(delete(TextMenu).where(TextMenu.id == menu_id))
            if menu is not None:
                keys = keys_of(session)
                kept = json.dumps({**asdict(menu), "expires_at": expires_at.isoformat()}, ensure_ascii=False)
                sealed = keys.seal(_MENU_PURPOSE, padded(kept.encode()), bound_to=menu_id)
                session.add(TextMenu(id=menu_id, sealed=sealed, day=day_mark(keys, _MENU_PURPOSE, expires_at)))

    async def inbound(self, address: str, text: str, message_id: str, language: str | None = None) -> Json:
        """The Update a typed line means: a press of the open menu's button, or a message.

        The same `message_id` of the same chat gives the same `update_id`.
        """
        update_id = update_number(self._sessions.keys, self.name, address, message_id)
        sender, chat = visitor(address, language=language), private_chat(address)
        menu = await self.open_menu(address)
        chosen = menu.choice(text) if menu else None
        if menu is not None and chosen is not None:
            if not menu.answered:
                await self._keep(address, replace(menu, answered=True))
            if "data" in chosen:
                shown = api_message(
                    Shown(text=menu.text), message_id=menu.message_id, chat=chat, sender=self.me(), at=self._clock()
                )
                return press_update(update_id, str(update_id), chosen["data"], sender=sender, message=shown)
            text = chosen["label"]
        content = Shown(text=text, entities=command_entities(text))
        message = api_message(content, message_id=message_id, chat=chat, sender=sender, at=self._clock())
        return {"update_id": update_id, "message": message}


async def forget_menus(session: AsyncSession, *, now: datetime) -> None:
    """Drop the menus that ended before today; they cannot be answered any more."""
    over = days_until(keys_of(session), _MENU_PURPOSE, now)
    await session.execute(delete(TextMenu).where(TextMenu.day.in_(over)))


def _menu_of(content: Shown, language: str) -> tuple[tuple[Json, ...], list[str]]:
    """The options of a message, and the lines that offer them."""
    options: list[Json] = []
    offers, links, asks = [], [], []
    for button in (button for row in content.buttons for button in row):
        if "url" in button:
            links.append(f"{button['text']}: {button['url']}")
        else:
            options.append({"label": button["text"], "data": button["callback_data"]})
            offers.append(f"{len(options)}. {button['text']}")
    for key in (key for row in content.keyboard or () for key in row):
        if "asks" in key:
            asks.append(plain(language, f"plain_text.{key['asks']}"))
        else:
            options.append({"label": key["label"]})
            offers.append(f"{len(options)}. {key['label']}")
    return tuple(options), [*links, *asks, *([plain(language, "plain_text.reply"), *offers] if offers else [])]


def _parts(text: str, lines: Sequence[str], limit: int) -> list[str]:
    """`text` in parts within `limit`, the menu's lines at the end of the last one or, where they do not fit, after."""
    parts = [part for part, _ in split(text, (), limit)] if text else []
    if not lines:
        return parts
    menu = "\n".join(lines)
    if parts and utf16_len(parts[-1]) + 2 + utf16_len(menu) <= limit:
        return [*parts[:-1], f"{parts[-1]}\n\n{menu}"]
    return [*parts, *(part for part, _ in split(menu, (), limit))]
