"""Answers Bot API calls on behalf of another platform, so that python-telegram-bot's `Bot` can speak to it.

`Gateway` turns a request into a method call, `MessageGateway` adds the rules of messages with buttons and edits for
platforms of our own, `TextGateway` numbers the menus where a platform has plain text only.
Source of names, shapes and refusals: core.telegram.org/bots/api (Bot API 10.0, read 2026-11).
"""

from __future__ import annotations

import json
import re
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Self

from sqlalchemy import delete
from sqlalchemy.ext.asyncio import AsyncSession
from telegram.ext import ExtBot
from telegram.request import BaseRequest, RequestData

from channels.port import Capabilities, Limits, MediaKind
from db.engine import Sessions, keys_of
from db.marks import day_mark, days_until
from db.sealing import KeyRing, padded, unpadded
from db.tables.web import TextMenu
from texts.folding import fold
from texts.markup import is_blank, parse, split, utf16_len

Params = Mapping[str, Any]
Json = dict[str, Any]
Clock = Callable[[], datetime]

TEXT_LIMIT = 4096
CAPTION_LIMIT = 1024
_DATA_BYTES = 64
_COMMAND = re.compile(r"/[A-Za-z0-9_]{1,32}(?:@[A-Za-z0-9_]+)?(?=\s|$)")
_MEDIA_CALLS: Mapping[str, MediaKind] = {
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


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that came with a call."""

    name: str
    mime: str
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class FileRef:
    """A file as messages mention it; width and height are those of a picture, else 0."""

    id: str
    kind: MediaKind
    name: str
    mime: str
    size: int
    width: int = 0
    height: int = 0

    def to_api(self) -> Json:
        """The member of a Bot API message that shows this file."""
        ids = {"file_id": self.id, "file_unique_id": self.id[:16], "file_size": self.size}
        sides = {"width": self.width, "height": self.height}
        match self.kind:
            case "photo":
                return {"photo": [{**ids, **sides}]}
            case "video":
                return {"video": {**ids, **sides, "duration": 0, "file_name": self.name, "mime_type": self.mime}}
            case "voice":
                return {"voice": {**ids, "duration": 0, "mime_type": self.mime}}
            case "document":
                return {"document": {**ids, "file_name": self.name, "mime_type": self.mime}}


@dataclass(frozen=True, slots=True)
class Content:
    """What a message shows. `text` is the caption where there are files; entities, buttons and keyboard are raw.

    `keyboard` is None where the message says nothing about it, empty where it takes it away.
    """

    text: str = ""
    entities: tuple[Json, ...] = ()
    buttons: tuple[tuple[Json, ...], ...] = ()
    keyboard: tuple[tuple[Json, ...], ...] | None = None
    files: tuple[FileRef, ...] = ()
    location: Json | None = None
    silent: bool = False

    def to_dict(self) -> Json:
        """As JSON-ready values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: Json) -> Self:
        """Back from `to_dict`, also through JSON."""
        keyboard = value["keyboard"]
        return cls(
            **{
                **value,
                "entities": tuple(value["entities"]),
                "buttons": _rows(value["buttons"]),
                "keyboard": None if keyboard is None else _rows(keyboard),
                "files": tuple(FileRef(**file) for file in value["files"]),
            }
        )

    def has_data(self, data: str) -> bool:
        """Whether one of the buttons sends `data`."""
        return any(button.get("callback_data") == data for row in self.buttons for button in row)

    def to_api(self) -> Json:
        """The members of a Bot API message that show it."""
        api: Json = {}
        for file in self.files:
            api |= file.to_api()
        if self.location:
            api["location"] = self.location
        elif self.files:
            api |= {"caption": self.text, "caption_entities": list(self.entities)} if self.text else {}
        else:
            api |= {"text": self.text, "entities": list(self.entities)}
        if self.buttons:
            api["reply_markup"] = {"inline_keyboard": [list(row) for row in self.buttons]}
        return api


def _rows(rows: Sequence[Sequence[Json]]) -> tuple[tuple[Json, ...], ...]:
    return tuple(tuple(row) for row in rows)


def api_message(content: Content, *, message_id: int | str, chat: Json, sender: Json, at: datetime) -> Json:
    """A Bot API Message object."""
    return {"message_id": message_id, "date": int(at.timestamp()), "chat": chat, "from": sender, **content.to_api()}


def command_entities(text: str) -> tuple[Json, ...]:
    """The entity of the command `text` starts with, if any."""
    command = _COMMAND.match(text)
    return ({"type": "bot_command", "offset": 0, "length": command.end()},) if command else ()


def visitor(address: str, *, language: str | None = None) -> Json:
    """The User object of somebody we know nothing about but the address."""
    user: Json = {"id": address, "is_bot": False, "first_name": "Khách"}
    return {**user, "language_code": language} if language else user


def private_chat(address: str) -> Json:
    """The Chat object of a conversation with one person."""
    return {"id": address, "type": "private", "first_name": "Khách"}


def press_update(update_id: int, query_id: str, data: str, *, sender: Json, message: Json) -> Json:
    """The Update for a pressed button of `message`."""
    query = {"id": query_id, "from": sender, "message": message, "data": data}
    return {"update_id": update_id, "callback_query": {**query, "chat_instance": str(message["chat"]["id"])}}


def update_number(keys: KeyRing, *parts: str) -> int:
    """A number that is the same for the same parts: 52 bits, so that every JSON reader keeps it exact.

    It stands in clear beside what was sent; without the key nobody can try whether it is of parts they guess.
    """
    return int(keys.fingerprint("update", *parts)[:13], 16)


class Gateway(BaseRequest):
    """A request that no network sees: `sendMessage` becomes `await self.call_send_message(params, files)`.

    A `call_…` returns the result as JSON values or raises ApiRefusal. Other exceptions pass, and PTB makes them
    NetworkError.
    """

    name = "gateway"
    capabilities = Capabilities()
    limits = Limits()
    bot_name = "Bình Yên"

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


def checked(content: Content) -> Content:
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


def _shown(params: Params, member: str = "text") -> Content:
    text, entities = text_of(params, member)
    return Content(
        text=text,
        entities=entities,
        buttons=buttons_of(params),
        keyboard=keyboard_of(params),
        silent=bool(params.get("disable_notification")),
    )


class MessageGateway(Gateway):
    """The Bot API for a place of our own, with buttons, edits, deletes and files.

    Subclasses keep the messages; the rules Telegram has for them are here.
    """

    async def answer(self, method: str, params: Params, files: Mapping[str, Upload]) -> Any:
        if method in _MEDIA_CALLS:
            return await self._send_file(_MEDIA_CALLS[method], params, files)
        return await super().answer(method, params, files)

    @abstractmethod
    async def append(self, address: str, contents: Sequence[Content]) -> list[Json]:
        """Write new messages, all or none; their Message objects. Raises ApiRefusal for an unknown chat."""

    @abstractmethod
    async def change(self, address: str, message_id: str, change: Callable[[Content], Content]) -> Json:
        """Put `change(content)` in a message's place; its Message object.

        Raises:
            ApiRefusal: There is no such message of ours, or `change` refuses.
        """

    @abstractmethod
    async def remove(self, address: str, message_id: str) -> None:
        """Delete a message; raises ApiRefusal."""

    @abstractmethod
    async def keep_file(self, kind: MediaKind, upload: Upload) -> FileRef:
        """Store a file the bot sends."""

    @abstractmethod
    async def find_file(self, file_id: str) -> FileRef | None:
        """A file stored before."""

    async def call_send_message(self, params: Params, files: Mapping[str, Upload]) -> Json:
        """Send text."""
        return (await self.append(str(params["chat_id"]), [checked(_shown(params))]))[0]

    async def call_send_location(self, params: Params, files: Mapping[str, Upload]) -> Json:
        """Send a point on the map."""
        place = {"latitude": float(params["latitude"]), "longitude": float(params["longitude"])}
        return (await self.append(str(params["chat_id"]), [replace(_shown(params), location=place)]))[0]

    async def _send_file(self, kind: MediaKind, params: Params, files: Mapping[str, Upload]) -> Json:
        shown = checked(replace(_shown(params, "caption"), files=(_ANY_FILE,)))
        await self.chat_of(str(params["chat_id"]))
        file = await self._file(kind, params.get(kind), files.get(kind), files)
        return (await self.append(str(params["chat_id"]), [replace(shown, files=(file,))]))[0]

    async def call_send_media_group(self, params: Params, files: Mapping[str, Upload]) -> list[Json]:
        """Send an album: 2 to 10 files as messages of their own, all or none."""
        if not 2 <= len(params["media"]) <= 10:
            raise bad_request("there must be 2 to 10 media in an album")
        await self.chat_of(str(params["chat_id"]))
        contents = []
        for item in params["media"]:
            shown = checked(replace(_shown({**item, **_about(params)}, "caption"), files=(_ANY_FILE,)))
            file = await self._file(item["type"], item.get("media"), None, files)
            contents.append(replace(shown, files=(file,)))
        return await self.append(str(params["chat_id"]), contents)

    async def _file(
        self, kind: MediaKind, named: str | None, upload: Upload | None, files: Mapping[str, Upload]
    ) -> FileRef:
        if named and named.startswith("attach://"):
            upload = files.get(named.removeprefix("attach://"))
        if upload is not None:
            if not upload.content:
                raise bad_request("file must be non-empty")
            return await self.keep_file(kind, upload)
        found = await self.find_file(named) if named else None
        if found is None:
            raise no_file()
        return replace(found, kind=kind)

    async def call_edit_message_text(self, params: Params, files: Mapping[str, Upload]) -> Json:
        """Replace a message's text and buttons."""
        text, entities = text_of(params)

        def change(content: Content) -> Content:
            if content.files or content.location:
                raise bad_request("there is no text in the message to edit")
            return checked(replace(content, text=text, entities=entities, buttons=buttons_of(params)))

        return await self._edit(params, change)

    async def call_edit_message_caption(self, params: Params, files: Mapping[str, Upload]) -> Json:
        """Replace a file's caption and buttons."""
        text, entities = text_of(params, "caption")

        def change(content: Content) -> Content:
            if not content.files:
                raise bad_request("there is no caption in the message to edit")
            return checked(replace(content, text=text, entities=entities, buttons=buttons_of(params)))

        return await self._edit(params, change)

    async def call_edit_message_reply_markup(self, params: Params, files: Mapping[str, Upload]) -> Json:
        """Replace a message's buttons."""
        return await self._edit(params, lambda content: replace(content, buttons=buttons_of(params)))

    async def _edit(self, params: Params, change: Callable[[Content], Content]) -> Json:
        def changed(content: Content) -> Content:
            new = change(content)
            if new == content:
                raise bad_request("message is not modified")
            return new

        return await self.change(str(params["chat_id"]), str(params["message_id"]), changed)

    async def call_delete_message(self, params: Params, files: Mapping[str, Upload]) -> bool:
        """Take a message back."""
        await self.remove(str(params["chat_id"]), str(params["message_id"]))
        return True

    async def call_get_file(self, params: Params, files: Mapping[str, Upload]) -> Json:
        """Where a file can be downloaded."""
        found = await self.find_file(str(params["file_id"]))
        if found is None:
            raise bad_request("invalid file_id")
        path = f"files/{found.id}"
        return {"file_id": found.id, "file_unique_id": found.id[:16], "file_size": found.size, "file_path": path}


_ANY_FILE = FileRef("", "document", "", "", 0)


def _about(params: Params) -> Json:
    return {name: params[name] for name in ("disable_notification",) if name in params}


# --- numbered menus ----------------------------------------------------------------------------------------------

_MENU_PURPOSE = "text-menu"
#: How long a menu can be answered by number or label.
MENU_LIFE = timedelta(hours=24)
_NUMBER = re.compile(r"\s*(\d{1,3})\s*[.)]?\s*")
_WORDS: Mapping[str, Mapping[str, str]] = {
    "vi": {
        "reply": "Trả lời bằng số:",
        "contact": "Hãy gõ số điện thoại.",
        "location": "Hãy gõ địa chỉ.",
        "file": "Tệp: {name}",
    },
    "en": {
        "reply": "Reply with a number:",
        "contact": "Please type the phone number.",
        "location": "Please type the address.",
        "file": "File: {name}",
    },
}


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

    @abstractmethod
    async def deliver_text(self, address: str, text: str) -> str:
        """Send one plain message; the platform's id for it. Raises ApiRefusal."""

    async def deliver_file(self, address: str, kind: MediaKind, upload: Upload, caption: str) -> str:
        """Send a file; where a platform cannot, its name is said."""
        words = await self._words(address)
        named = words["file"].format(name=upload.name)
        return await self.deliver_text(address, f"{caption}\n\n{named}" if caption else named)

    async def answer(self, method: str, params: Params, files: Mapping[str, Upload]) -> Any:
        if method in _MEDIA_CALLS:
            return await self._send_file(_MEDIA_CALLS[method], params, files)
        return await super().answer(method, params, files)

    async def call_send_message(self, params: Params, files: Mapping[str, Upload]) -> Json:
        """Send text with its numbered menu, in as many parts as the platform's limit asks for."""
        return await self._say(str(params["chat_id"]), checked(_shown(params)))

    call_edit_message_text = call_send_message

    async def call_edit_message_caption(self, params: Params, files: Mapping[str, Upload]) -> Json:
        """Say the new caption."""
        return await self._say(str(params["chat_id"]), checked(_shown(params, "caption")))

    async def call_edit_message_reply_markup(self, params: Params, files: Mapping[str, Upload]) -> Any:
        """Offer the new menu; without one, close the menu this message opened."""
        address, message_id = str(params["chat_id"]), str(params["message_id"])
        if buttons_of(params):
            return await self._say(address, _shown(params))
        menu = await self.open_menu(address)
        if menu is not None and menu.message_id == message_id:
            await self._keep(address, None)
        return True

    async def call_send_location(self, params: Params, files: Mapping[str, Upload]) -> Json:
        """Say a point on the map as a link that shows it."""
        point = f"{float(params['latitude']):.6f},{float(params['longitude']):.6f}"
        return await self._say(
            str(params["chat_id"]), replace(_shown(params), text=f"https://www.google.com/maps?q={point}")
        )

    async def call_delete_message(self, params: Params, files: Mapping[str, Upload]) -> bool:
        """What was said stays said."""
        raise bad_request("message can't be deleted")

    async def _send_file(self, kind: MediaKind, params: Params, files: Mapping[str, Upload]) -> Json:
        upload = files.get(kind)
        if upload is None:
            raise no_file()
        address, shown = str(params["chat_id"]), _shown(params, "caption")
        if not shown.buttons and shown.keyboard is None:
            message_id = await self.deliver_file(address, kind, upload, shown.text)
            return self._message(address, message_id, shown)
        await self.deliver_file(address, kind, upload, "")
        return await self._say(address, shown)

    async def _say(self, address: str, content: Content) -> Json:
        words = await self._words(address)
        options, lines = _menu_of(content, words)
        parts = _parts(content.text, lines, self.capabilities.text_limit)
        for part in parts:
            message_id = await self.deliver_text(address, part)
        await self._after(address, Menu(message_id, content.text, options))
        return self._message(address, message_id, content)

    def _message(self, address: str, message_id: str, content: Content) -> Json:
        return api_message(
            Content(text=content.text),
            message_id=message_id,
            chat=private_chat(address),
            sender=self.me(),
            at=self._clock(),
        )

    async def _words(self, address: str) -> Mapping[str, str]:
        language = await self._language_of(address) if self._language_of else "vi"
        return _WORDS.get(language, _WORDS["vi"])

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
            plain = json.loads(unpadded(keys_of(session).open(_MENU_PURPOSE, row.sealed, bound_to=menu_id)))
        if datetime.fromisoformat(plain.pop("expires_at")) <= self._clock():
            return None
        return Menu(**{**plain, "options": tuple(plain["options"])})

    async def _keep(self, address: str, menu: Menu | None) -> None:
        menu_id, expires_at = self._menu_id(address), self._clock() + MENU_LIFE
        async with self._sessions.begin() as session:
            await session.execute(delete(TextMenu).where(TextMenu.id == menu_id))
            if menu is not None:
                keys = keys_of(session)
                plain = json.dumps({**asdict(menu), "expires_at": expires_at.isoformat()}, ensure_ascii=False)
                sealed = keys.seal(_MENU_PURPOSE, padded(plain.encode()), bound_to=menu_id)
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
                    Content(text=menu.text), message_id=menu.message_id, chat=chat, sender=self.me(), at=self._clock()
                )
                return press_update(update_id, str(update_id), chosen["data"], sender=sender, message=shown)
            text = chosen["label"]
        content = Content(text=text, entities=command_entities(text))
        message = api_message(content, message_id=message_id, chat=chat, sender=sender, at=self._clock())
        return {"update_id": update_id, "message": message}


async def forget_menus(session: AsyncSession, *, now: datetime) -> None:
    """Drop the menus that ended before today; they cannot be answered any more."""
    over = days_until(keys_of(session), _MENU_PURPOSE, now)
    await session.execute(delete(TextMenu).where(TextMenu.day.in_(over)))


def _menu_of(content: Content, words: Mapping[str, str]) -> tuple[tuple[Json, ...], list[str]]:
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
            asks.append(words[key["asks"]])
        else:
            options.append({"label": key["label"]})
            offers.append(f"{len(options)}. {key['label']}")
    return tuple(options), [*links, *asks, *([words["reply"], *offers] if offers else [])]


def _parts(text: str, lines: Sequence[str], limit: int) -> list[str]:
    """`text` in parts within `limit`, the menu's lines at the end of the last one or, where they do not fit, after."""
    parts = [part for part, _ in split(text, (), limit)] if text else []
    if not lines:
        return parts
    menu = "\n".join(lines)
    if parts and utf16_len(parts[-1]) + 2 + utf16_len(menu) <= limit:
        return [*parts[:-1], f"{parts[-1]}\n\n{menu}"]
    return [*parts, *(part for part, _ in split(menu, (), limit))]
