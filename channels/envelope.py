"""The Bot API's envelope: answers its calls on behalf of another platform, so that python-telegram-bot's `Bot` can
speak to it.

`Gateway` turns a request into a method call. `channels.own_chat` adds the rules of messages with buttons and edits for
platforms of our own, `channels.plain_text` numbers the menus where a platform has plain text only.
Source of names, shapes and refusals: core.telegram.org/bots/api (Bot API 10.0, read 2026-11).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from telegram.ext import ExtBot
from telegram.request import BaseRequest, RequestData

from channels.api import call
from channels.channel import Channel, Line
from channels.port import Capabilities, Limits, MediaKind
from channels.shapes import Json, Shown, Upload, private_chat
from texts.markup import is_blank, parse, utf16_len

Params = Mapping[str, Any]
Clock = Callable[[], datetime]

TEXT_LIMIT = 4096
CAPTION_LIMIT = 1024
_DATA_BYTES = 64
MEDIA_CALLS: Mapping[str, MediaKind] = {
    "sendPhoto": "photo",
    "sendDocument": "document",
    "sendVideo": "video",
    "sendVoice": "voice",
}


class ApiRefusal(Exception):
    """The Bot API's "no": a code, a description, and perhaps `retry_after` or `migrate_to_chat_id`."""

    def __init__(self, code: int, description: str, **parameters: Any) -> None:
        super().__init__(description)
        self.code = code
        self.description = description
        self.parameters = parameters

    def envelope(self) -> Json:
        """As the Bot API answers."""
        answer: Json = {"ok": False, "error_code": self.code, "description": self.description}
        return {**answer, "parameters": self.parameters} if self.parameters else answer


def bad_request(description: str) -> ApiRefusal:
    """The refusal of a call that cannot be right."""
    return ApiRefusal(400, f"Bad Request: {description}")


def no_file() -> ApiRefusal:
    """The refusal of a file we do not have, or have no more: whoever has it uploads it again."""
    return bad_request("wrong file identifier/HTTP URL specified")


class Gateway(BaseRequest, Channel):
    """A channel whose bot speaks to nobody but us: a request that no network sees. `sendMessage` becomes
    `await self.call_send_message(params, files)`.

    A `call_…` returns the result as JSON values or raises ApiRefusal. Other exceptions pass, and PTB makes them
    NetworkError.

    Attributes:
        menus: Parameters of one setMyCommands call each, made at the start.
    """

    name = "gateway"
    capabilities = Capabilities()
    limits = Limits()
    bot_name = "Bình Yên"
    door: str | None = None
    menus: Sequence[Mapping[str, Any]] = ()

    def line(self) -> Line:
        """A new Bot, and what its platform can do."""
        return Line(self.name, self.bot(), self.capabilities, self.limits)

    async def start(self) -> None:
        """Show the commands."""
        bot = self.bot()
        await bot.initialize()
        for menu in self.menus:
            await call(bot, "setMyCommands", dict(menu))

    @property
    def read_timeout(self) -> float | None:
        """Never: there is nobody to wait for."""
        return None

    async def initialize(self) -> None:
        """Nothing to open."""

    async def shutdown(self) -> None:
        """Nothing to close."""

    def bot(self) -> ExtBot[None]:
        """A new Bot that speaks through this gateway."""
        return ExtBot(token=f"0:{self.name}", request=self, get_updates_request=self)

    async def do_request(
        self,
        url: str,
        method: str,
        request_data: RequestData | None = None,
        read_timeout: Any = BaseRequest.DEFAULT_NONE,
        write_timeout: Any = BaseRequest.DEFAULT_NONE,
        connect_timeout: Any = BaseRequest.DEFAULT_NONE,
        pool_timeout: Any = BaseRequest.DEFAULT_NONE,
    ) -> tuple[int, bytes]:
        """Answer one call as the Bot API would."""
        last = url.partition("?")[0].rpartition("/")[2]
        try:
            if "/file/bot" in url:
                return 200, await self.download(last)
            result = await self.answer(last, *_unpacked(request_data))
        except ApiRefusal as refusal:
            return refusal.code, json.dumps(refusal.envelope()).encode()
        return 200, json.dumps({"ok": True, "result": result}).encode()

    async def answer(self, method: str, params: Params, files: Mapping[str, Upload]) -> Any:
        """The result of one call; raises ApiRefusal."""
        call = getattr(self, "call_" + re.sub(r"(?=[A-Z])", "_", method).lower(), None)
        if call is None:
            raise ApiRefusal(404, "Not Found: method not found")
        return await call(params, files)

    async def download(self, path: str) -> bytes:
        """The file `getFile` named so."""
        raise ApiRefusal(404, "Not Found")

    def me(self) -> Json:
        """The bot's User object."""
        return {"id": 1, "is_bot": True, "first_name": self.bot_name, "username": f"binhyen_{self.name}_bot"}

    async def call_get_me(self, params: Params, files: Mapping[str, Upload]) -> Json:
        """Who we are."""
        return self.me()

    async def _yes(self, params: Params, files: Mapping[str, Upload]) -> Any:
        return True

    call_answer_callback_query = call_send_chat_action = _yes
    call_set_my_commands = call_delete_my_commands = _yes
    call_set_webhook = call_delete_webhook = _yes

    async def call_get_my_commands(self, params: Params, files: Mapping[str, Upload]) -> list[Json]:
        """No menu of commands."""
        return []

    async def call_get_chat(self, params: Params, files: Mapping[str, Upload]) -> Json:
        """What is known of a chat."""
        chat = await self.chat_of(str(params["chat_id"]))
        return {**chat, "accent_color_id": 0, "max_reaction_count": 0, "accepted_gift_types": _NO_GIFTS}

    async def chat_of(self, address: str) -> Json:
        """The Chat object; raises ApiRefusal where there is none."""
        return private_chat(address)


_NO_GIFTS = {
    "unlimited_gifts": False,
    "limited_gifts": False,
    "unique_gifts": False,
    "premium_subscription": False,
    "gifts_from_channels": False,
}


def _unpacked(data: RequestData | None) -> tuple[Json, dict[str, Upload]]:
    if data is None:
        return {}, {}
    uploads = {}
    for part, (name, content, mime) in data.multipart_data.items() if data.contains_files else ():
        taken = content if isinstance(content, bytes) else content.read()
        uploads[part] = Upload(Path(name).name, mime, taken if isinstance(taken, bytes) else taken.encode())
    return data.parameters, uploads


# --- reading what a call wants to show -------------------------------------------------------------------------


def text_of(params: Params, member: str = "text") -> tuple[str, tuple[Json, ...]]:
    """Text or caption with its entities, from `entities` or from HTML; surrounding space goes as on Telegram."""
    text = str(params.get(member) or "")
    mode = params.get("parse_mode")
    if not mode:
        entities = params.get("entities" if member == "text" else "caption_entities") or ()
        return text, tuple(entities)
    try:
        if mode != "HTML":
            raise ValueError("only HTML is understood")
        return parse(text)
    except ValueError as error:
        raise bad_request(f"can't parse entities: {error}") from error


def checked(content: Shown) -> Shown:
    """`content`, if a message may show it."""
    if content.files:
        if utf16_len(content.text) > CAPTION_LIMIT:
            raise bad_request("message caption is too long")
    elif content.location is None:
        if is_blank(content.text):
            raise bad_request("message text is empty")
        if utf16_len(content.text) > TEXT_LIMIT:
            raise bad_request("message is too long")
    return content


def buttons_of(params: Params) -> tuple[tuple[Json, ...], ...]:
    """The inline buttons of a call, each with `text` and either `callback_data` or `url`."""
    rows = (params.get("reply_markup") or {}).get("inline_keyboard") or ()
    return tuple(tuple(_button(button) for button in row) for row in rows if row)


def _button(raw: Json) -> Json:
    data, url = raw.get("callback_data"), raw.get("url")
    if is_blank(raw.get("text") or ""):
        raise bad_request("text buttons are unallowed in the inline keyboard")
    if data is not None and 0 < len(data.encode()) <= _DATA_BYTES:
        return {"text": raw["text"], "callback_data": data}
    if url is not None and re.match(r"(?:https?|tel):", url):
        return {"text": raw["text"], "url": url}
    raise bad_request("BUTTON_DATA_INVALID")


def keyboard_of(params: Params) -> tuple[tuple[Json, ...], ...] | None:
    """The reply keyboard of a call: rows of `{label, asks?}`, empty to take it away, None for no word about it."""
    markup = params.get("reply_markup") or {}
    if markup.get("remove_keyboard"):
        return ()
    if "keyboard" not in markup:
        return None
    return tuple(tuple(_key(key) for key in row) for row in markup["keyboard"])


def _key(raw: Json | str) -> Json:
    if isinstance(raw, str):
        return {"label": raw}
    asks = "contact" if raw.get("request_contact") else "location" if raw.get("request_location") else None
    return {"label": raw["text"], "asks": asks} if asks else {"label": raw["text"]}


def shown_by(params: Params, member: str = "text") -> Shown:
    text, entities = text_of(params, member)
    return Shown(
        text=text,
        entities=entities,
        buttons=buttons_of(params),
        keyboard=keyboard_of(params),
        silent=bool(params.get("disable_notification")),
    )


# --- numbered menus ----------------------------------------------------------------------------------------------
