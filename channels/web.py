"""Our own channel: a chat page in the browser, kept in our own tables.

`WebGateway` is the bot's side (Bot API calls), `WebChat` the visitor's side (what the HTTP routes call). Both write
in one transaction and then wake the open pages through the `Hub`; a page reads what it has not seen from the tables,
so nothing is lost and nothing waits in memory. How the tables keep it is in `channels.web_store`.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import secrets
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import filetype
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncSession

from channels import web_store as store
from channels.api import Unreachable
from channels.gateway import (
    ApiRefusal,
    Clock,
    Content,
    FileRef,
    Json,
    MessageGateway,
    Params,
    Upload,
    api_message,
    bad_request,
    command_entities,
    no_file,
    press_update,
    private_chat,
    update_number,
    visitor,
)
from channels.inbound import store_updates
from channels.languages import choose_language, chosen_language
from channels.port import Capabilities, MediaKind, Recipient
from channels.web_store import Chat, Message
from db.engine import Sessions
from db.sealing import KeyRing
from texts.markup import clean, is_blank, utf16_len

#: Longest text a visitor may post at once, UTF-16 units.
MAX_TEXT = 4000
MAX_CAPTION = 1024
#: Largest file, bytes: what Telegram lets a bot download, so that both channels promise the same.
MAX_FILE = 20 * 1024 * 1024
#: Seconds between two signs of life on an event stream; also how long another process's news may take.
PING_SECONDS = 15.0
_TYPING_SECONDS = 5.0
_STREAMS_PER_CHAT = 6
_PAGE = 100
_NAME_LENGTH = 120
_PICTURES = {"image/jpeg": "JPEG", "image/png": "PNG", "image/webp": "WEBP"}
_VIDEOS = {"video/mp4", "video/webm", "video/quicktime", "video/x-m4v", "video/3gpp"}
#: Sound as `filetype` names it → as browsers do; containers shared with video are sound when sent as voice.
_SOUNDS = {
    "audio/ogg": "audio/ogg",
    "audio/mpeg": "audio/mpeg",
    "audio/mp4": "audio/mp4",
    "audio/aac": "audio/aac",
    "audio/x-wav": "audio/wav",
    "video/webm": "audio/webm",
    "video/mp4": "audio/mp4",
}


class WebRefusal(Exception):
    """What a visitor asked cannot be done; `code` is a word of the HTTP contract."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def address_of(cookie: str) -> str:
    """The address that belongs to a cookie. It does not lead back to the cookie."""
    return hashlib.sha256(b"binhyen web chat\x00" + cookie.encode()).hexdigest()[:40]


# --- live pages ---------------------------------------------------------------------------------------------------


@dataclass(eq=False, slots=True)
class Stream:
    """One open page. It is told that there is news, never the news itself; only passing signs are queued."""

    address: str
    closed: bool = False
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _signs: deque[tuple[str, Json]] = field(default_factory=lambda: deque(maxlen=16))

    def wake(self) -> None:
        """There is something to read."""
        self._news.set()

    def sign(self, event: str, about: Json) -> None:
        """Queue a passing sign; the oldest goes when sixteen wait."""
        self._signs.append((event, about))
        self._news.set()

    def settle(self) -> None:
        """The bot has spoken: it is not typing any more."""
        for sign in [sign for sign in self._signs if sign[0] == "typing"]:
            self._signs.remove(sign)
        self._news.set()

    def close(self) -> None:
        """End the stream at its next step."""
        self.closed = True
        self._news.set()

    async def wait(self, seconds: float) -> bool:
        """Wait for news; whether there is some."""
        try:
            await asyncio.wait_for(self._news.wait(), seconds)
        except TimeoutError:
            return False
        return True

    def take(self) -> list[tuple[str, Json]]:
        """The queued signs; call it before reading the tables."""
        self._news.clear()
        signs = list(self._signs)
        self._signs.clear()
        return signs


class Hub:
    """The open pages of this process, by address."""

    def __init__(self) -> None:
        self._streams: dict[str, list[Stream]] = {}
        self._typing: dict[str, float] = {}
        self._closed = False

    def subscribe(self, address: str) -> Stream:
        """A new stream; the oldest of more than six is closed. Give it back to `leave`."""
        stream = Stream(address, closed=self._closed)
        streams = self._streams.setdefault(address, [])
        streams.append(stream)
        for oldest in streams[:-_STREAMS_PER_CHAT]:
            oldest.close()
        return stream

    def leave(self, stream: Stream) -> None:
        """Forget a stream."""
        streams = self._streams.get(stream.address, [])
        if stream in streams:
            streams.remove(stream)
        if not streams:
            self._streams.pop(stream.address, None)

    def changed(self, address: str, *, by_bot: bool) -> None:
        """A chat has news in the tables."""
        if by_bot:
            self._typing.pop(address, None)
        for stream in self._streams.get(address, ()):
            if by_bot:
                stream.settle()
            stream.wake()

    def sign(self, event: str, about: Json, address: str | None = None) -> None:
        """A passing sign for one chat, or for every open page."""
        for streams in [self._streams.get(address, [])] if address else list(self._streams.values()):
            for stream in streams:
                stream.sign(event, about)

    def typing(self, address: str) -> None:
        """The bot is busy with an answer."""
        now = time.monotonic()
        self._typing = {chat: until for chat, until in self._typing.items() if until > now}
        self._typing[address] = now + _TYPING_SECONDS
        self.sign("typing", {"typing": True}, address)

    def is_typing(self, address: str) -> bool:
        """Whether `typing` was said within the last seconds and nothing came since."""
        return self._typing.get(address, 0.0) > time.monotonic()

    def close(self) -> None:
        """End all streams, and those to come: the process is going down."""
        self._closed = True
        for streams in self._streams.values():
            for stream in streams:
                stream.close()

    @property
    def open_streams(self) -> int:
        """How many pages are open."""
        return sum(map(len, self._streams.values()))


# --- messages and files as pages get them -------------------------------------------------------------------------


def _page_message(message: Message) -> Json:
    """A message as the page gets it; see the HTTP contract. A file's name begins with the message that shows it."""
    content = message.content or Content()
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


def _page_keyboard(content: Content) -> list[list[Any]] | None:
    if content.keyboard is None:
        return None
    return [[key if "asks" in key else key["label"] for key in row] for row in content.keyboard]


def inspect(kind: MediaKind, name: str, content: bytes) -> tuple[MediaKind, str, str, int, int]:
    """What a file really is: kind, clean name, media type, width, height.

    A photo that is none, a sound or film no browser plays: a document. Media types are read from the bytes, never
    believed.
    """
    guessed = filetype.guess_mime(content) or ""
    safe = clean(name).replace("/", "_").replace("\\", "_").replace("\n", " ").strip(" .") or "tep"
    safe = safe if len(safe) <= _NAME_LENGTH else safe[: _NAME_LENGTH - 8] + safe[-8:]
    width, height = _sides(guessed, content)
    match kind:
        case "photo" if width:
            return "photo", safe, guessed, width, height
        case "voice" if guessed in _SOUNDS:
            return "voice", safe, _SOUNDS[guessed], 0, 0
        case "video" if guessed in _VIDEOS:
            return "video", safe, guessed, 0, 0
    return "document", safe, guessed or "application/octet-stream", 0, 0


def _sides(mime: str, content: bytes) -> tuple[int, int]:
    """Width and height of a picture browsers show; zeros for anything else. Only the head is read."""
    if mime not in _PICTURES:
        return 0, 0
    # Imported here: pictures are rare, and the start should not pay for them.
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content), formats=[_PICTURES[mime]]) as picture:
            return picture.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return 0, 0


def _new_file(keys: KeyRing, kind: MediaKind, upload: Upload) -> tuple[FileRef, dict[str, Any]]:
    """A file and its row, sealed. Takes a while for large ones: call it in a thread, outside any transaction."""
    really, name, mime, width, height = inspect(kind, upload.name, upload.content)
    file = FileRef(secrets.token_urlsafe(18), really, name, mime, len(upload.content), width, height)
    return file, store.file_row(keys, file, upload.content)


# --- the bot's side -----------------------------------------------------------------------------------------------


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

    async def answer(self, method: str, params: Params, files: Mapping[str, Upload]) -> Any:
        """The result of one call.

        Raises:
            ApiRefusal: The call cannot be answered so.
            Unreachable: SQLite is busy or full. It has rolled back, so nothing was written; of another database
                whose connection broke in a commit we do not know that.
        """
        try:
            return await super().answer(method, params, files)
        except OperationalError as error:
            if self.sessions.engine.dialect.name != "sqlite":
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
            message.content or Content(),
            message_id=message.message_id,
            chat=private_chat(address),
            sender=self.me() if message.from_bot else visitor(address, language=language),
            at=message.at,
        )

    async def append(self, address: str, contents: Sequence[Content]) -> list[Json]:
        now = self.clock()
        files = [file.id for content in contents for file in content.files]
        async with self.sessions.begin() as session:
            chat = await self._chat(session, address, to_change=True)
            if files and not await store.show_files(session, files, now=now):
                raise no_file()
            added = await store.add_messages(session, chat, contents, from_bot=True, now=now)
        self.hub.changed(address, by_bot=True)
        return [self.shown(address, message) for message in added]

    async def change(self, address: str, message_id: str, change: Callable[[Content], Content]) -> Json:
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

    async def _own(
        self, session: AsyncSession, address: str, message_id: str, to: str
    ) -> tuple[Chat, Message, Content]:
        chat = await self._chat(session, address, to_change=True)
        message = await store.find_message(session, chat.who, int(message_id)) if message_id.isdecimal() else None
        if message is None or not message.from_bot or message.content is None:
            raise bad_request(f"message to {to} not found")
        return chat, message, message.content

    async def keep_file(self, kind: MediaKind, upload: Upload) -> FileRef:
        file, row = await asyncio.to_thread(_new_file, self.sessions.keys, kind, upload)
        async with self.sessions.begin() as session:
            await store.add_file(session, row, now=self.clock())
        return file

    async def find_file(self, file_id: str) -> FileRef | None:
        async with self.sessions.reading() as session:
            return await store.find_file(session, file_id)

    async def download(self, path: str) -> bytes:
        async with self.sessions.reading() as session:
            sealed = await store.sealed_file(session, path)
        if sealed is None:
            raise ApiRefusal(404, "Not Found")
        return await asyncio.to_thread(store.open_file, self.sessions.keys, path, sealed)

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
            await store.keep_commands(session, self.name, scope, language, params["commands"])
        self.hub.sign("commands", {}, address)
        return True

    async def call_delete_my_commands(self, params: Params, files: Mapping[str, Upload]) -> bool:
        """Drop a menu of commands; the next wider one counts."""
        scope, address, language = _scope(params)
        async with self.sessions.begin() as session:
            await store.drop_commands(session, self.name, scope, language)
        self.hub.sign("commands", {}, address)
        return True

    async def call_get_my_commands(self, params: Params, files: Mapping[str, Upload]) -> list[Json]:
        """A menu of commands as it was set."""
        scope, _, language = _scope(params)
        async with self.sessions.reading() as session:
            return await store.first_commands(session, self.name, [(scope, language)])


def _scope(params: Params) -> tuple[str, str | None, str]:
    """Scope as one word, the chat it is for (if one), language.

    `BotCommandScopeChat` takes text only behind an "@", which is dropped here.
    """
    scope = params.get("scope") or {"type": "default"}
    address = str(scope["chat_id"]).removeprefix("@") if "chat_id" in scope else None
    return f"{scope['type']}:{address}" if address else scope["type"], address, str(params.get("language_code") or "")


# --- the visitor's side -------------------------------------------------------------------------------------------

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
        return await self._say(address, nonce, Content(text=cleaned, entities=command_entities(cleaned)))

    async def post_location(self, address: str, latitude: float, longitude: float, nonce: str) -> Json:
        """The visitor says where they are; raises WebRefusal "bad_request" for no place on earth."""
        if not (abs(latitude) <= 90 and abs(longitude) <= 180):
            raise WebRefusal("bad_request")
        return await self._say(address, nonce, Content(location={"latitude": latitude, "longitude": longitude}))

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

        file, row = await asyncio.to_thread(_new_file, self._sessions.keys, kind, upload)

        async def act(session: AsyncSession, chat: Chat, now: datetime) -> tuple[Message, Json]:
            await store.add_file(session, row, now=now)
            return await self._written(session, chat, Content(text=text, files=(file,)), now)

        return await self._act(address, nonce, act) or {}

    async def _say(self, address: str, nonce: str, content: Content) -> Json:
        async def act(session: AsyncSession, chat: Chat, now: datetime) -> tuple[Message, Json]:
            return await self._written(session, chat, content, now)

        return await self._act(address, nonce, act) or {}

    async def _written(
        self, session: AsyncSession, chat: Chat, content: Content, now: datetime
    ) -> tuple[Message, Json]:
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
        return await store.first_commands(session, self._gateway.name, wanted)

    async def subscribe(self, address: str, after: int = 0) -> AsyncIterator[PageEvent]:
        """Everything the page has to know from `after` on, missed and live, until the hub closes.

        Raises:
            WebRefusal: "no_chat", before the first event.
        """
        stream = self.hub.subscribe(address)
        try:
            last = await self._last_seq(address)
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
        while True:
            async with self._sessions.reading() as session:
                chat = await store.find_chat(session, self._gateway.recipient(address))
                if chat is None or chat.last_seq <= after:
                    return
                page = await store.changed_page(session, chat, after=after, limit=_PAGE)
            yield page
            if not page.more:
                return
            after = page.last_seq

    async def file(self, address: str, page_id: str) -> tuple[FileRef, bytes]:
        """A file that a message of this chat shows, by its name there; raises WebRefusal "not_found"."""
        number, _, name = page_id.partition("-")
        async with self._sessions.reading() as session:
            file = await self._shown_file(session, address, number, name)
            sealed = await store.sealed_file(session, name) if file else None
        if file is None or sealed is None:
            raise WebRefusal("not_found")
        return file, await asyncio.to_thread(store.open_file, self._sessions.keys, name, sealed)

    async def _shown_file(self, session: AsyncSession, address: str, number: str, name: str) -> FileRef | None:
        if not number.isdecimal():
            return None
        message = await store.find_message(session, self._gateway.recipient(address), int(number))
        files = message.content.files if message and message.content else ()
        return next((file for file in files if file.id == name), None)


def _checked_text(text: str, limit: int) -> str:
    cleaned = clean(text).strip()
    if utf16_len(cleaned) > limit:
        raise WebRefusal("too_long")
    return cleaned
