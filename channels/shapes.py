"""The Bot API's objects, as far as we make them ourselves.

Source of names and shapes: core.telegram.org/bots/api (Bot API 10.0, read 2026-11).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from functools import cache
from typing import Any, Self

from channels.port import MediaKind
from channels.wording import plain
from db.sealing import KeyRing

Json = dict[str, Any]

_COMMAND = re.compile(r"/[A-Za-z0-9_]{1,32}(?:@[A-Za-z0-9_]+)?(?=\s|$)")


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
class Shown:
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


def api_message(content: Shown, *, message_id: int | str, chat: Json, sender: Json, at: datetime) -> Json:
    """A Bot API Message object."""
    return {"message_id": message_id, "date": int(at.timestamp()), "chat": chat, "from": sender, **content.to_api()}


def command_entities(text: str) -> tuple[Json, ...]:
    """The entity of the command `text` starts with, if any."""
    command = _COMMAND.match(text)
    return ({"type": "bot_command", "offset": 0, "length": command.end()},) if command else ()


def visitor(address: str, *, language: str | None = None) -> Json:
    """The User object of somebody we know nothing about but the address."""
    user: Json = {"id": address, "is_bot": False, "first_name": _guest()}
    return {**user, "language_code": language} if language else user


def private_chat(address: str) -> Json:
    """The Chat object of a conversation with one person."""
    return {"id": address, "type": "private", "first_name": _guest()}


@cache
def _guest() -> str:
    """The first name of whoever has told us none: the Bot API's objects must have one."""
    return plain("vi", "plain_text.guest")


def press_update(update_id: int, query_id: str, data: str, *, sender: Json, message: Json) -> Json:
    """The Update for a pressed button of `message`."""
    query = {"id": query_id, "from": sender, "message": message, "data": data}
    return {"update_id": update_id, "callback_query": {**query, "chat_instance": str(message["chat"]["id"])}}


def update_number(keys: KeyRing, *parts: str) -> int:
    """A number that is the same for the same parts: 52 bits, so that every JSON reader keeps it exact.

    It stands in clear beside what was sent; without the key nobody can try whether it is of parts they guess.
    """
    return int(keys.fingerprint("update", *parts)[:13], 16)
