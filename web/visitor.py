"""What visitors of our own chat page do and see; what they send is one transaction."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy.ext.asyncio import AsyncSession

from channels.port import MediaKind
from channels.shapes import FileRef, Json, Shown, Upload, command_entities, press_update, update_number, visitor
from channels.web import command_store, file_store, store
from channels.web.files import MAX_FILE, new_file
from channels.web.gateway import WebGateway
from channels.web.store import Chat, Message
from conversations.inbound import store_updates
from conversations.languages import choose_language, chosen_language
from texts.markup import clean, is_blank, utf16_len

_T = TypeVar("_T")
#: Longest text a visitor may post at once, UTF-16 units.
MAX_TEXT = 4000
MAX_CAPTION = 1024
#: Seconds between two signs of life on an event stream; also how long another process's news may take.
PING_SECONDS = 15.0
_PAGE = 100


class WebRefusal(Exception):
    """What a visitor asked cannot be done; `code` is a word of the HTTP contract."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def address_of(cookie: str) -> str:
    """The address that belongs to a cookie. It does not lead back to the cookie."""
    return hashlib.sha256(b"binhyen web chat\x00" + cookie.encode()).hexdigest()[:40]


def _page_message(message: Message) -> Json:
    """A message as the page gets it; see the HTTP contract. A file's name begins with the message that shows it."""
    content = message.content or Shown()
    return {
        "id": message.message_id,
        "seq": message.seq,
        "from": "bot" if message.from_bot else "me",
        "at": message.at.isoformat(),
        "text": content.text,
        "entities": list(content.entities),
        "buttons": [[_page_button(button) for button in row] for row in content.buttons],
        "keyboard": _page_keyboard(content),
        "files": [
            {
                "id": f"{message.message_id}-{file.id}",
                "kind": file.kind,
                "name": file.name,
                "mime": file.mime,
                "size": file.size,
            }
            for file in content.files
        ],
        "location": content.location,
        "edited": message.edited,
        "deleted": message.content is None,
        "silent": content.silent,
    }


def _page_button(button: Json) -> Json:
    what = {"data": button["callback_data"]} if "callback_data" in button else {"url": button["url"]}
    return {"label": button["text"], **what}


def _page_keyboard(content: Shown) -> list[list[Any]] | None:
    if content.keyboard is None:
        return None
    return [[key if "asks" in key else key["label"] for key in row] for row in content.keyboard]


#: One event for the page: its name, its seq (messages only), its data. The name "ping" is a mere sign of life.
PageEvent = tuple[str, int | None, Json]
_Act = Callable[[AsyncSession, Chat, datetime], Awaitable[tuple[Message | None, Json]]]


class WebChat:
    """What visitors do. Everything they send is one transaction: their message, and the update for the bot.

    Args:
        gateway: The bot's side of the same chats.
        wake: Called after something came in.
    """

    def __init__(self, gateway: WebGateway, *, wake: Callable[[], object]) -> None:
        self.hub = gateway.hub
        self.outages = gateway.sessions.outages
        self._gateway = gateway
        self._sessions = gateway.sessions
        self._clock = gateway.clock
        self._wake = wake

    async def open(self, address: str, language: str = "vi", *, rename: bool = False) -> bool:
        """Make sure the chat exists; whether it is new. `rename` changes the language of one that does."""
        known = await self.language_of(address)
        if known == language or (known is not None and not rename):
            return False
        who = self._gateway.recipient(address)
        async with self._sessions.begin() as session:
            chat = await store.find_chat(session, who, to_change=True)
            if chat is None:
                await store.add_chat(session, Chat(who, language), now=self._clock())
                return True
            if rename:
                await store.keep_chat(session, replace(chat, language=language))
                await choose_language(session, who, language)
        return False

    async def language_of(self, address: str) -> str | None:
        """The chat's language: the one chosen in it, else its page's; None where there is no such chat."""
        async with self._sessions.reading() as session:
            chat = await store.find_chat(session, self._gateway.recipient(address))
            return await self._language(session, chat) if chat else None

    async def _language(self, session: AsyncSession, chat: Chat) -> str:
        return await chosen_language(session, chat.who) or chat.language

    async def post_text(self, address: str, text: str, nonce: str) -> Json:
        """The visitor writes.

        Raises:
            WebRefusal: "empty", "too_long" or "no_chat".
        """
        cleaned = _checked_text(text, MAX_TEXT)
        if is_blank(cleaned):
            raise WebRefusal("empty")
        return await self._say(address, nonce, Shown(text=cleaned, entities=command_entities(cleaned)))

    async def post_location(self, address: str, latitude: float, longitude: float, nonce: str) -> Json:
        """The visitor says where they are; raises WebRefusal "bad_request" for no place on earth."""
        if not (abs(latitude) <= 90 and abs(longitude) <= 180):
            raise WebRefusal("bad_request")
        return await self._say(address, nonce, Shown(location={"latitude": latitude, "longitude": longitude}))

    async def post_file(self, address: str, kind: MediaKind, upload: Upload, nonce: str, *, caption: str = "") -> Json:
        """The visitor sends a file.

        Raises:
            WebRefusal: "empty", "too_large", "too_long" (the caption) or "no_chat".
        """
        text = _checked_text(caption, MAX_CAPTION)
        if not upload.content:
            raise WebRefusal("empty")
        if len(upload.content) > MAX_FILE:
            raise WebRefusal("too_large")

        file, row = await asyncio.to_thread(new_file, self._sessions.keys, kind, upload)

        async def act(session: AsyncSession, chat: Chat, now: datetime) -> tuple[Message, Json]:
            await file_store.add_file(session, row, now=now)
            return await self._written(session, chat, Shown(text=text, files=(file,)), now)

        return await self._act(address, nonce, act) or {}

    async def _say(self, address: str, nonce: str, content: Shown) -> Json:
        async def act(session: AsyncSession, chat: Chat, now: datetime) -> tuple[Message, Json]:
            return await self._written(session, chat, content, now)

        return await self._act(address, nonce, act) or {}

    async def _written(self, session: AsyncSession, chat: Chat, content: Shown, now: datetime) -> tuple[Message, Json]:
        (message,) = await store.add_messages(session, chat, [content], from_bot=False, now=now)
        return message, {"message": self._gateway.shown(chat.who.address, message, language=chat.language)}

    async def press(self, address: str, message_id: int, data: str, nonce: str) -> None:
        """The visitor presses a button.

        Raises:
            WebRefusal: "old_button" when the message does not show it now; "no_chat".
        """

        async def act(session: AsyncSession, chat: Chat, now: datetime) -> tuple[None, Json]:
            message = await store.find_message(session, chat.who, message_id)
            if message is None or message.content is None:
                raise WebRefusal("old_button")
            if not message.from_bot or not message.content.has_data(data):
                raise WebRefusal("old_button")
            number = self._update_number(address, nonce)
            return None, press_update(
                number,
                f"{number}:{address}",
                data,
                sender=visitor(address, language=chat.language),
                message=self._gateway.shown(address, message),
            )

        await self._act(address, nonce, act)

    async def _act(self, address: str, nonce: str, act: _Act) -> Json | None:
        """One act of the visitor, once for each nonce; the page's view of the message it made, if it made one."""
        now, who = self._clock(), self._gateway.recipient(address)
        async with self._sessions.begin() as session:
            chat = await store.find_chat(session, who, to_change=True)
            if chat is None:
                raise WebRefusal("no_chat")
            earlier = await store.find_post(session, who, nonce)
            if earlier is not None:
                before = await store.find_message(session, who, earlier) if earlier else None
                return _page_message(before) if before else None
            message, what = await act(session, chat, now)
            await store.add_post(session, who, nonce, message, now=now)
            raw = {**what, "update_id": self._update_number(address, nonce)}
            await store_updates(session, self._gateway.name, [raw], now=now)
        self.hub.changed(address, by_bot=False)
        self._wake()
        return _page_message(message) if message else None

    def _update_number(self, address: str, nonce: str) -> int:
        return update_number(self._sessions.keys, self._gateway.name, address, nonce)

    async def seen(self, address: str, seq: int) -> None:
        """The visitor has seen everything up to `seq`."""
        async with self._sessions.begin() as session:
            chat = await store.find_chat(session, self._gateway.recipient(address), to_change=True)
            if chat is not None and chat.seen_seq < seq <= chat.last_seq:
                await store.keep_chat(session, replace(chat, seen_seq=seq))

    async def messages_after(
        self, address: str, after: int = 0, *, limit: int = _PAGE, before: int | None = None
    ) -> Json:
        """What the page reads: messages, `last_seq`, `more`, commands, language, typing; see the HTTP contract.

        Raises:
            WebRefusal: "no_chat".
        """
        async with self._sessions.reading() as session:
            chat = await self._chat(session, address)
            if before is None and 0 < after <= chat.last_seq:
                page = await store.changed_page(session, chat, after=after, limit=limit)
            else:
                page = await store.newest_page(session, chat, before=before, limit=limit)
            language = await self._language(session, chat)
            return {
                "messages": [_page_message(message) for message in page.messages],
                "last_seq": page.last_seq,
                "more": page.more,
                "commands": await self._commands(session, address, language),
                "language": language,
                "typing": self.hub.is_typing(address),
            }

    async def _chat(self, session: AsyncSession, address: str) -> Chat:
        chat = await store.find_chat(session, self._gateway.recipient(address))
        if chat is None:
            raise WebRefusal("no_chat")
        return chat

    async def _commands(self, session: AsyncSession, address: str, language: str) -> list[Json]:
        """The menu that counts for a chat: the narrowest scope first, in each the language first, as on Telegram."""
        scopes = (f"chat:{address}", "all_private_chats", "default")
        wanted = [(scope, spoken) for scope in scopes for spoken in (language, "")]
        return await command_store.first_commands(session, self._gateway.name, wanted)

    async def subscribe(self, address: str, after: int = 0) -> AsyncIterator[PageEvent]:
        """Everything the page has to know from `after` on, missed and live, until the hub closes.

        Raises:
            WebRefusal: "no_chat", before the first event.
        """
        stream = self.hub.subscribe(address)
        try:
            last = await _uncut(self._last_seq(address))
            yield "hello", None, {"last_seq": last}
            seen = after if after <= last else 0
            while not stream.closed:
                signs = stream.take()
                async for page in self._news(address, seen):
                    for message in page.messages:
                        yield "message", message.seq, _page_message(message)
                    seen = page.last_seq
                for event, about in signs:
                    yield event, None, about
                if not await stream.wait(PING_SECONDS):
                    yield "ping", None, {}
            yield "bye", None, {}
        finally:
            self.hub.leave(stream)

    async def _last_seq(self, address: str) -> int:
        async with self._sessions.reading() as session:
            return (await self._chat(session, address)).last_seq

    async def _news(self, address: str, after: int) -> AsyncIterator[store.Page]:
        """What has changed since `after`, page by page, oldest change first; nothing of a chat that has gone."""
        while (page := await _uncut(self._page_after(address, after))) is not None:
            yield page
            if not page.more:
                return
            after = page.last_seq

    async def _page_after(self, address: str, after: int) -> store.Page | None:
        async with self._sessions.reading() as session:
            chat = await store.find_chat(session, self._gateway.recipient(address))
            if chat is None or chat.last_seq <= after:
                return None
            return await store.changed_page(session, chat, after=after, limit=_PAGE)

    async def file(self, address: str, page_id: str) -> tuple[FileRef, bytes]:
        """A file that a message of this chat shows, by its name there; raises WebRefusal "not_found"."""
        number, _, name = page_id.partition("-")
        async with self._sessions.reading() as session:
            file = await self._shown_file(session, address, number, name)
            sealed = await file_store.sealed_file(session, name) if file else None
        if file is None or sealed is None:
            raise WebRefusal("not_found")
        return file, await asyncio.to_thread(file_store.unseal_file, self._sessions.keys, name, sealed)

    async def _shown_file(self, session: AsyncSession, address: str, number: str, name: str) -> FileRef | None:
        if not number.isdecimal():
            return None
        message = await store.find_message(session, self._gateway.recipient(address), int(number))
        files = message.content.files if message and message.content else ()
        return next((file for file in files if file.id == name), None)


#: Reads whose page may be gone: somebody has to hold them until they have ended.
_READING: set[asyncio.Future[Any]] = set()


async def _uncut(reading: Coroutine[Any, Any, _T]) -> _T:
    """Read to the end though the page hangs up meanwhile: cut in the middle of a statement, a connection is lost."""
    task = asyncio.ensure_future(reading)
    _READING.add(task)
    task.add_done_callback(_READING.discard)
    return await asyncio.shield(task)


def _checked_text(text: str, limit: int) -> str:
    cleaned = clean(text).strip()
    if utf16_len(cleaned) > limit:
        raise WebRefusal("too_long")
    return cleaned
