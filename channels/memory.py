"""Channels that only remember: for tests and dry runs."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from channels.envelope import ApiRefusal, Clock, Params, bad_request
from channels.own_chat import MessageGateway
from channels.plain_text import TextGateway
from channels.port import MediaKind
from channels.shapes import (
    FileRef,
    Json,
    Shown,
    Upload,
    api_message,
    command_entities,
    press_update,
    private_chat,
    visitor,
)
from db.engine import Sessions


def _utc_now() -> datetime:
    return datetime.now(UTC)


class _Failing:
    """Calls that fail once, when they were told to."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Json]] = []
        self._failures: list[tuple[str | None, Exception]] = []

    def fail_next(self, address: str | None, failure: Exception) -> None:
        """Make the next call to `address` (None: to any chat) raise `failure`; several queue up."""
        self._failures.append((address, failure))

    def _called(self, method: str, params: Params) -> None:
        self.calls.append((method, dict(params)))
        if "chat_id" not in params:
            return
        for index, (wanted, failure) in enumerate(self._failures):
            if wanted in (None, str(params["chat_id"])):
                del self._failures[index]
                raise failure


@dataclass(slots=True)
class MemoryMessage:
    """A message as its reader sees it. `files` are (kind, name, bytes); `edits` counts the changes."""

    id: int
    content: Shown
    at: datetime
    files: list[tuple[MediaKind, str, bytes]] = field(default_factory=list)
    edits: int = 0
    deleted: bool = False
    from_bot: bool = True

    @property
    def text(self) -> str:
        """The text, or the caption of a file."""
        return self.content.text

    @property
    def entities(self) -> tuple[Json, ...]:
        """Raw entities over the text."""
        return self.content.entities

    @property
    def buttons(self) -> list[list[tuple[str, str]]]:
        """Rows of (label, callback data or address)."""
        return [
            [(button["text"], button.get("callback_data") or button["url"]) for button in row]
            for row in self.content.buttons
        ]

    @property
    def labels(self) -> list[str]:
        """What is written on the buttons, row after row."""
        return [label for row in self.buttons for label, _ in row]

    def data(self, label: str) -> str:
        """What the button with `label` sends; raises KeyError."""
        return {name: data for row in self.buttons for name, data in row}[label]


class MemoryGateway(_Failing, MessageGateway):
    """A Bot API in memory. Any chat exists; `fail_next` makes calls fail once.

    `chats` maps addresses to their messages, `calls` lists (method, parameters), `answers` holds the texts of
    answered presses, `commands` the menu for each (scope, language).
    """

    name = "memory"

    def __init__(self, *, name: str = "memory", clock: Clock = _utc_now) -> None:
        super().__init__()
        self.name = name
        self.chats: dict[str, list[MemoryMessage]] = defaultdict(list)
        self.answers: list[str] = []
        self.commands: dict[tuple[str, str], list[Json]] = {}
        self._clock = clock
        self._files: dict[str, tuple[FileRef, bytes]] = {}
        self._updates = itertools.count(1)

    async def answer(self, method: str, params: Params, files: Mapping[str, Upload]) -> Any:
        self._called(method, params)
        return await super().answer(method, params, files)

    async def chat_of(self, address: str) -> Json:
        chat = private_chat(address)
        number = int(address) if address.lstrip("-").isdigit() else address
        return {"id": number, "type": "supergroup", "title": "Group"} if address[:1] == "-" else {**chat, "id": number}

    async def append(self, address: str, contents: Sequence[Shown]) -> list[Json]:
        return [await self._put(address, content, from_bot=True) for content in contents]

    async def _put(self, address: str, content: Shown, *, from_bot: bool) -> Json:
        files = [(file.kind, file.name, self._files[file.id][1]) for file in content.files]
        chat = self.chats[address]
        chat.append(MemoryMessage(len(chat) + 1, content, self._clock(), files, from_bot=from_bot))
        return await self._shown(address, chat[-1])

    async def _shown(self, address: str, message: MemoryMessage) -> Json:
        chat = await self.chat_of(address)
        sender = self.me() if message.from_bot else {**visitor(address), "id": chat["id"]}
        return api_message(message.content, message_id=message.id, chat=chat, sender=sender, at=message.at)

    def _find(self, address: str, message_id: str, to: str) -> MemoryMessage:
        for message in self.chats.get(address, ()):
            if str(message.id) == message_id and message.from_bot and not message.deleted:
                return message
        raise bad_request(f"message to {to} not found")

    async def change(self, address: str, message_id: str, change: Callable[[Shown], Shown]) -> Json:
        message = self._find(address, message_id, "edit")
        message.content = change(message.content)
        message.edits += 1
        return await self._shown(address, message)

    async def remove(self, address: str, message_id: str) -> None:
        self._find(address, message_id, "delete").deleted = True

    async def keep_file(self, kind: MediaKind, upload: Upload) -> FileRef:
        file = FileRef(f"memory-file-{len(self._files) + 1}", kind, upload.name, upload.mime, len(upload.content), 1, 1)
        self._files[file.id] = file, upload.content
        return file

    async def find_file(self, file_id: str) -> FileRef | None:
        return self._files[file_id][0] if file_id in self._files else None

    async def download(self, path: str) -> bytes:
        if path not in self._files:
            raise ApiRefusal(404, "Not Found")
        return self._files[path][1]

    async def call_answer_callback_query(self, params: Params, files: Mapping[str, Upload]) -> bool:
        """Remember what the press was answered with."""
        self.answers.append(str(params.get("text") or ""))
        return True

    async def call_set_my_commands(self, params: Params, files: Mapping[str, Upload]) -> bool:
        """Remember a menu of commands."""
        scope = params.get("scope") or {"type": "default"}
        key = ":".join(str(scope[part]) for part in ("type", "chat_id") if part in scope)
        self.commands[key, str(params.get("language_code") or "")] = list(params["commands"])
        return True

    # --- what people do ---

    async def says(self, address: str, text: str) -> Json:
        """Somebody writes: the message is in the chat, and this is its Update."""
        return await self._arrives(address, Shown(text=text, entities=command_entities(text)))

    async def sends_file(
        self, address: str, kind: MediaKind, content: bytes, *, name: str = "tep", mime: str = "", caption: str = ""
    ) -> Json:
        """Somebody sends a file; its Update."""
        file = await self.keep_file(kind, Upload(name, mime, content))
        return await self._arrives(address, Shown(text=caption, files=(file,)))

    async def sends_location(self, address: str, latitude: float, longitude: float) -> Json:
        """Somebody sends where they are; its Update."""
        return await self._arrives(address, Shown(location={"latitude": latitude, "longitude": longitude}))

    async def _arrives(self, address: str, content: Shown) -> Json:
        message = await self._put(address, content, from_bot=False)
        return {"update_id": next(self._updates), "message": message}

    async def presses(self, address: str, label: str, *, message_id: int | None = None) -> Json:
        """Somebody presses the newest button with this label (or the one of that message); its Update.

        Raises:
            LookupError: There is no such button to be seen.
        """
        for message in reversed(self.chats[address]):
            if message.deleted or label not in message.labels or message_id not in (None, message.id):
                continue
            update_id = next(self._updates)
            shown = await self._shown(address, message)
            sender = {**visitor(address), "id": shown["chat"]["id"]}
            return press_update(update_id, str(update_id), message.data(label), sender=sender, message=shown)
        raise LookupError(f"{address} sees no button {label!r}")


class MemoryTextGateway(_Failing, TextGateway):
    """A plain-text platform in memory. `chats` maps addresses to the texts they got, in order."""

    name = "memorytext"

    def __init__(self, sessions: Sessions, *, name: str = "memorytext", clock: Clock = _utc_now) -> None:
        _Failing.__init__(self)
        TextGateway.__init__(self, sessions, clock=clock, language_of=self._language)
        self.name = name
        self.chats: dict[str, list[str]] = defaultdict(list)
        self.languages: dict[str, str] = {}
        self._typed = itertools.count(1)

    async def _language(self, address: str) -> str:
        return self.languages.get(address, "vi")

    async def answer(self, method: str, params: Params, files: Mapping[str, Upload]) -> Any:
        self._called(method, params)
        return await super().answer(method, params, files)

    async def deliver_text(self, address: str, text: str) -> str:
        self.chats[address].append(text)
        return f"{address}-{len(self.chats[address])}"

    async def says(self, address: str, text: str) -> Json:
        """Somebody types a line; the Update it means."""
        return await self.inbound(address, text, f"typed-{next(self._typed)}")
