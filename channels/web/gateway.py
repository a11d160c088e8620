"""The bot's side of our own chat page: Bot API calls over its tables."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.ext.asyncio import AsyncSession

from channels.api import Unreachable
from channels.envelope import ApiRefusal, Clock, Params, bad_request, no_file
from channels.own_chat import MessageGateway
from channels.port import Capabilities, MediaKind, Recipient
from channels.shapes import FileRef, Json, Shown, Upload, api_message, private_chat, visitor
from channels.web import command_store, file_store, store
from channels.web.files import new_file
from channels.web.hub import Hub
from channels.web.store import Chat, Message
from db.engine import Sessions
from db.outage import is_full

#: What the chat shows of a conversation; as long as a report can be traced back to its chat.
_CHATS_KEPT = timedelta(days=90)
#: How long a page may repeat what it has posted, and it is known for the same.
_POSTS_KEPT = timedelta(days=3)


class WebGateway(MessageGateway):
    """The Bot API over the web chat's tables. A chat exists once its visitor has opened the page."""

    name = "web"
    capabilities = Capabilities()

    def __init__(
        self, sessions: Sessions, *, clock: Clock, name: str = "web", bot_name: str = "Bình Yên", hub: Hub | None = None
    ) -> None:
        self.name = name
        self.bot_name = bot_name
        self.sessions = sessions
        self.clock = clock
        self.hub = hub or Hub()

    async def erase(self, session: AsyncSession, chat: Recipient) -> None:
        """Wipe a chat's messages; open pages drop them."""
        await store.erase_messages(session, chat)

    async def forget(self, session: AsyncSession, *, now: datetime) -> None:
        """Drop old messages and files, chats never written in, and what was remembered of posts."""
        await store.purge(session, before=now - _CHATS_KEPT, nonces_before=now - _POSTS_KEPT)

    def let_go(self) -> None:
        """End the open pages' streams."""
        self.hub.close()

    async def answer(self, method: str, params: Params, files: Mapping[str, Upload]) -> Any:
        """The result of one call.

        Raises:
            ApiRefusal: The call cannot be answered so.
            Unreachable: The database is full, or SQLite is busy. It has rolled back, so nothing was written; of another
                database whose connection broke in a commit we do not know that.
        """
        try:
            return await super().answer(method, params, files)
        except DBAPIError as error:
            is_sqlite = self.sessions.engine.dialect.name == "sqlite"
            if not is_full(error) and not (is_sqlite and isinstance(error, OperationalError)):
                raise
            raise Unreachable("the database took nothing") from error

    def recipient(self, address: str) -> Recipient:
        """Whom an address of this channel names."""
        return Recipient(self.name, address)

    async def chat_of(self, address: str) -> Json:
        async with self.sessions.reading() as session:
            await self._chat(session, address)
        return private_chat(address)

    async def _chat(self, session: AsyncSession, address: str, *, to_change: bool = False) -> Chat:
        chat = await store.find_chat(session, self.recipient(address), to_change=to_change)
        if chat is None:
            raise bad_request("chat not found")
        return chat

    def shown(self, address: str, message: Message, *, language: str | None = None) -> Json:
        """A message as the Bot API shows it."""
        return api_message(
            message.content or Shown(),
            message_id=message.message_id,
            chat=private_chat(address),
            sender=self.me() if message.from_bot else visitor(address, language=language),
            at=message.at,
        )

    async def append(self, address: str, contents: Sequence[Shown]) -> list[Json]:
        now = self.clock()
        files = [file.id for content in contents for file in content.files]
        async with self.sessions.begin() as session:
            chat = await self._chat(session, address, to_change=True)
            if files and not await file_store.show_files(session, files, now=now):
                raise no_file()
            added = await store.add_messages(session, chat, contents, from_bot=True, now=now)
        self.hub.changed(address, by_bot=True)
        return [self.shown(address, message) for message in added]

    async def change(self, address: str, message_id: str, change: Callable[[Shown], Shown]) -> Json:
        async with self.sessions.begin() as session:
            chat, message, before = await self._own(session, address, message_id, "edit")
            new = replace(message, content=change(before), edited=True)
            changed = await store.change_message(session, chat, new)
        self.hub.changed(address, by_bot=True)
        return self.shown(address, changed)

    async def remove(self, address: str, message_id: str) -> None:
        async with self.sessions.begin() as session:
            chat, message, _ = await self._own(session, address, message_id, "delete")
            await store.delete_message(session, chat, message)
        self.hub.changed(address, by_bot=True)

    async def _own(self, session: AsyncSession, address: str, message_id: str, to: str) -> tuple[Chat, Message, Shown]:
        chat = await self._chat(session, address, to_change=True)
        message = await store.find_message(session, chat.who, int(message_id)) if message_id.isdecimal() else None
        if message is None or not message.from_bot or message.content is None:
            raise bad_request(f"message to {to} not found")
        return chat, message, message.content

    async def keep_file(self, kind: MediaKind, upload: Upload) -> FileRef:
        file, row = await asyncio.to_thread(new_file, self.sessions.keys, kind, upload)
        async with self.sessions.begin() as session:
            await file_store.add_file(session, row, now=self.clock())
        return file

    async def find_file(self, file_id: str) -> FileRef | None:
        async with self.sessions.reading() as session:
            return await file_store.find_file(session, file_id)

    async def download(self, path: str) -> bytes:
        async with self.sessions.reading() as session:
            sealed = await file_store.sealed_file(session, path)
        if sealed is None:
            raise ApiRefusal(404, "Not Found")
        return await asyncio.to_thread(file_store.unseal_file, self.sessions.keys, path, sealed)

    async def call_answer_callback_query(self, params: Params, files: Mapping[str, Upload]) -> bool:
        """Show the answer to a press on the visitor's open pages."""
        address = str(params["callback_query_id"]).partition(":")[2]
        about = {"text": str(params.get("text") or ""), "alert": bool(params.get("show_alert"))}
        self.hub.sign("toast", about, address or "-")
        return True

    async def call_send_chat_action(self, params: Params, files: Mapping[str, Upload]) -> bool:
        """Say on the visitor's open pages that an answer is being written."""
        self.hub.typing(str(params["chat_id"]))
        return True

    async def call_set_my_commands(self, params: Params, files: Mapping[str, Upload]) -> bool:
        """Keep a menu of commands; the pages read it again."""
        scope, address, language = _scope(params)
        async with self.sessions.begin() as session:
            await command_store.keep_commands(session, self.name, scope, language, params["commands"])
        self.hub.sign("commands", {}, address)
        return True

    async def call_delete_my_commands(self, params: Params, files: Mapping[str, Upload]) -> bool:
        """Drop a menu of commands; the next wider one counts."""
        scope, address, language = _scope(params)
        async with self.sessions.begin() as session:
            await command_store.drop_commands(session, self.name, scope, language)
        self.hub.sign("commands", {}, address)
        return True

    async def call_get_my_commands(self, params: Params, files: Mapping[str, Upload]) -> list[Json]:
        """A menu of commands as it was set."""
        scope, _, language = _scope(params)
        async with self.sessions.reading() as session:
            return await command_store.first_commands(session, self.name, [(scope, language)])


def _scope(params: Params) -> tuple[str, str | None, str]:
    """Scope as one word, the chat it is for (if one), language.

    `BotCommandScopeChat` takes text only behind an "@", which is dropped here.
    """
    scope = params.get("scope") or {"type": "default"}
    address = str(scope["chat_id"]).removeprefix("@") if "chat_id" in scope else None
    return f"{scope['type']}:{address}" if address else scope["type"], address, str(params.get("language_code") or "")
