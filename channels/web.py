"""Our own channel: a chat page in the browser, kept in our own tables.

`WebGateway` is the bot's side (Bot API calls), `WebChat` the visitor's side (what the HTTP routes call). Both write
in one transaction and then wake the open pages through the `Hub`; a page reads what it has not seen from the tables,
so nothing is lost and nothing waits in memory.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import secrets
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import filetype
from sqlalchemy import Exists, delete, func, select, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncSession

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
    press_update,
    private_chat,
    update_number,
    visitor,
)
from channels.inbound import insert_ignoring, store_updates
from channels.languages import choose_language, chosen_language
from channels.port import Capabilities, MediaKind, Recipient
from db.engine import Sessions, keys_of
from db.sealing import KeyRing, padded, unpadded
from db.tables import web as rows
from texts.markup import clean, is_blank, utf16_len

_MESSAGE, _FILE = "web-message", "web-file"
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


# --- messages and files in the tables -----------------------------------------------------------------------------


def _random_id() -> str:
    return secrets.token_urlsafe(18)


def _day(at: datetime) -> datetime:
    """All that is written in the open of when something was: the minute would tell who sent a report."""
    return at.replace(hour=0, minute=0, second=0, microsecond=0)


def _sealed(session: AsyncSession, row_id: str, content: Content, at: datetime) -> bytes:
    plain = json.dumps({"at": at.isoformat(), "content": content.to_dict()}, ensure_ascii=False).encode()
    return keys_of(session).seal(_MESSAGE, padded(plain), bound_to=row_id)


def _opened(session: AsyncSession, message: rows.WebMessage) -> tuple[Content, datetime]:
    """What a message says, and when it was sent; of a deleted one nothing, and the day."""
    if message.body is None:
        return Content(), message.at
    body = json.loads(unpadded(keys_of(session).open(_MESSAGE, message.body, bound_to=message.id)))
    return Content.from_dict(body["content"]), datetime.fromisoformat(body["at"])


@dataclass(frozen=True, slots=True)
class _Counters:
    """A chat's row id and the last of the numbers just taken for it."""

    chat_id: int
    message_id: int
    seq: int


async def _take_numbers(session: AsyncSession, address: str, *, messages: int, changes: int) -> _Counters | None:
    table = rows.WebChat
    taken = await session.execute(
        update(table)
        .where(table.address == address)
        .values(last_message_id=table.last_message_id + messages, last_seq=table.last_seq + changes)
        .returning(table.id, table.last_message_id, table.last_seq)
        .execution_options(synchronize_session=False)
    )
    row = taken.first()
    return _Counters(*row) if row else None


async def _write(
    session: AsyncSession, address: str, contents: Sequence[Content], *, from_bot: bool, now: datetime
) -> list[rows.WebMessage] | None:
    """New messages at the end of a chat; None where there is no such chat."""
    taken = await _take_numbers(session, address, messages=len(contents), changes=len(contents))
    if taken is None:
        return None
    written = []
    for back, content in zip(range(len(contents) - 1, -1, -1), contents, strict=True):
        row_id = _random_id()
        message = rows.WebMessage(
            id=row_id,
            chat_id=taken.chat_id,
            message_id=taken.message_id - back,
            seq=taken.seq - back,
            from_bot=from_bot,
            at=_day(now),
            edited=False,
            body=_sealed(session, row_id, content, now),
        )
        session.add(message)
        written.append(message)
    await session.flush()
    for message, content in zip(written, contents, strict=True):
        session.add_all(rows.WebAttachment(message=message.id, file_id=file.id) for file in content.files)
    return written


def _page_message(session: AsyncSession, message: rows.WebMessage) -> Json:
    """A message as the page gets it; see the HTTP contract."""
    content, at = _opened(session, message)
    return {
        "id": message.message_id,
        "seq": message.seq,
        "from": "bot" if message.from_bot else "me",
        "at": at.isoformat(),
        "text": content.text,
        "entities": list(content.entities),
        "buttons": [[_page_button(button) for button in row] for row in content.buttons],
        "keyboard": _page_keyboard(content),
        "files": [
            {"id": file.id, "kind": file.kind, "name": file.name, "mime": file.mime, "size": file.size}
            for file in content.files
        ],
        "location": content.location,
        "edited": message.edited,
        "deleted": message.body is None,
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


def _new_file(
    keys: KeyRing, kind: MediaKind, upload: Upload, *, from_bot: bool, now: datetime
) -> tuple[FileRef, rows.WebFile]:
    """A file and its row, sealed. Takes a while for large ones: call it in a thread, outside any transaction."""
    really, name, mime, width, height = inspect(kind, upload.name, upload.content)
    file = FileRef(_random_id(), really, name, mime, len(upload.content), width, height)
    about = json.dumps([file.kind, file.name, file.mime, file.size, file.width, file.height]).encode()
    row = rows.WebFile(
        id=file.id,
        from_bot=from_bot,
        at=_day(now),
        about=keys.seal(_FILE, padded(about), bound_to=f"{file.id}:about"),
        content=keys.seal(_FILE, padded(upload.content), bound_to=file.id),
    )
    return file, row


def _file_ref(session: AsyncSession, file_id: str, about: bytes) -> FileRef:
    return FileRef(file_id, *json.loads(unpadded(keys_of(session).open(_FILE, about, bound_to=f"{file_id}:about"))))


def _file_content(keys: KeyRing, file_id: str, sealed: bytes) -> bytes:
    """Takes a while for large files: call it in a thread."""
    return unpadded(keys.open(_FILE, sealed, bound_to=file_id))


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

    async def chat_of(self, address: str) -> Json:
        async with self.sessions.reading() as session:
            if await session.scalar(select(rows.WebChat.id).where(rows.WebChat.address == address)) is None:
                raise _no_chat()
        return private_chat(address)

    def shown(
        self, address: str, message: rows.WebMessage, content: Content, at: datetime, *, language: str | None = None
    ) -> Json:
        """A row as a Bot API Message."""
        sender = self.me() if message.from_bot else visitor(address, language=language)
        return api_message(content, message_id=message.message_id, chat=private_chat(address), sender=sender, at=at)

    async def append(self, address: str, contents: Sequence[Content]) -> list[Json]:
        now = self.clock()
        async with self.sessions.begin() as session:
            written = await _write(session, address, contents, from_bot=True, now=now)
            if written is None:
                raise _no_chat()
        self.hub.changed(address, by_bot=True)
        return [self.shown(address, message, content, now) for message, content in zip(written, contents, strict=True)]

    async def change(self, address: str, message_id: str, change: Callable[[Content], Content]) -> Json:
        async with self.sessions.begin() as session:
            message = await self._own(session, address, message_id, "edit")
            before, at = _opened(session, message)
            content = change(before)
            await self._renew(session, address, message)
            message.body = _sealed(session, message.id, content, at)
            message.edited = True
        self.hub.changed(address, by_bot=True)
        return self.shown(address, message, content, at)

    async def remove(self, address: str, message_id: str) -> None:
        async with self.sessions.begin() as session:
            message = await self._own(session, address, message_id, "delete")
            await self._renew(session, address, message)
            message.body = None
            await session.execute(delete(rows.WebAttachment).where(rows.WebAttachment.message == message.id))
        self.hub.changed(address, by_bot=True)

    async def _own(self, session: AsyncSession, address: str, message_id: str, to: str) -> rows.WebMessage:
        chat_id = await session.scalar(select(rows.WebChat.id).where(rows.WebChat.address == address).with_for_update())
        if chat_id is None:
            raise _no_chat()
        message = await _message(session, chat_id, int(message_id)) if message_id.isdecimal() else None
        if message is None or not message.from_bot or message.body is None:
            raise bad_request(f"message to {to} not found")
        return message

    async def _renew(self, session: AsyncSession, address: str, message: rows.WebMessage) -> None:
        taken = await _take_numbers(session, address, messages=0, changes=1)
        if taken is None:
            raise _no_chat()
        message.seq = taken.seq

    async def keep_file(self, kind: MediaKind, upload: Upload) -> FileRef:
        file, row = await asyncio.to_thread(
            _new_file, self.sessions.keys, kind, upload, from_bot=True, now=self.clock()
        )
        async with self.sessions.begin() as session:
            session.add(row)
        return file

    async def find_file(self, file_id: str) -> FileRef | None:
        async with self.sessions.reading() as session:
            about = await session.scalar(select(rows.WebFile.about).where(rows.WebFile.id == file_id))
            return None if about is None else _file_ref(session, file_id, about)

    async def download(self, path: str) -> bytes:
        async with self.sessions.reading() as session:
            sealed = await session.scalar(select(rows.WebFile.content).where(rows.WebFile.id == path))
            if sealed is None:
                raise ApiRefusal(404, "Not Found")
            return await asyncio.to_thread(_file_content, keys_of(session), path, sealed)

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
            await session.merge(
                rows.WebCommands(scope=scope, language=language, commands=[dict(item) for item in params["commands"]])
            )
        self.hub.sign("commands", {}, address)
        return True

    async def call_delete_my_commands(self, params: Params, files: Mapping[str, Upload]) -> bool:
        """Drop a menu of commands; the next wider one counts."""
        scope, address, language = _scope(params)
        async with self.sessions.begin() as session:
            await session.execute(
                delete(rows.WebCommands).where(rows.WebCommands.scope == scope, rows.WebCommands.language == language)
            )
        self.hub.sign("commands", {}, address)
        return True

    async def call_get_my_commands(self, params: Params, files: Mapping[str, Upload]) -> list[Json]:
        """A menu of commands as it was set."""
        scope, _, language = _scope(params)
        async with self.sessions.reading() as session:
            kept = await session.get(rows.WebCommands, (scope, language))
            return kept.commands if kept else []


def _no_chat() -> ApiRefusal:
    return bad_request("chat not found")


def _scope(params: Params) -> tuple[str, str | None, str]:
    """Scope as one word, the chat it is for (if one), language.

    `BotCommandScopeChat` takes text only behind an "@", which is dropped here.
    """
    scope = params.get("scope") or {"type": "default"}
    address = str(scope["chat_id"]).removeprefix("@") if "chat_id" in scope else None
    return f"{scope['type']}:{address}" if address else scope["type"], address, str(params.get("language_code") or "")


async def _message(session: AsyncSession, chat_id: int, message_id: int) -> rows.WebMessage | None:
    found: rows.WebMessage | None = await session.scalar(
        select(rows.WebMessage).where(rows.WebMessage.chat_id == chat_id, rows.WebMessage.message_id == message_id)
    )
    return found


# --- the visitor's side -------------------------------------------------------------------------------------------

#: One event for the page: its name, its seq (messages only), its data. The name "ping" is a mere sign of life.
PageEvent = tuple[str, int | None, Json]
_Act = Callable[[AsyncSession, rows.WebChat, datetime], Awaitable[tuple[rows.WebMessage | None, Json]]]


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
        async with self._sessions.begin() as session:
            if known is not None:
                await session.execute(
                    update(rows.WebChat).where(rows.WebChat.address == address).values(language=language)
                )
                await choose_language(session, self._recipient(address), language)
                return False
            await session.execute(
                insert_ignoring(session, rows.WebChat).values(
                    address=address,
                    language=language,
                    last_message_id=0,
                    last_seq=0,
                    seen_seq=0,
                    opened_at=_day(self._clock()),
                )
            )
        return True

    async def language_of(self, address: str) -> str | None:
        """The chat's language: the one chosen in it, else its page's; None where there is no such chat."""
        async with self._sessions.reading() as session:
            chat = await session.scalar(select(rows.WebChat).where(rows.WebChat.address == address))
            return await self._language(session, chat) if chat else None

    async def _language(self, session: AsyncSession, chat: rows.WebChat) -> str:
        return await chosen_language(session, self._recipient(chat.address)) or chat.language

    def _recipient(self, address: str) -> Recipient:
        return Recipient(self._gateway.name, address)

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

        file, row = await asyncio.to_thread(
            _new_file, self._sessions.keys, kind, upload, from_bot=False, now=self._clock()
        )

        async def act(session: AsyncSession, chat: rows.WebChat, now: datetime) -> tuple[rows.WebMessage, Json]:
            session.add(row)
            await session.flush()
            return await self._written(session, chat, Content(text=text, files=(file,)), now)

        return await self._act(address, nonce, act) or {}

    async def _say(self, address: str, nonce: str, content: Content) -> Json:
        async def act(session: AsyncSession, chat: rows.WebChat, now: datetime) -> tuple[rows.WebMessage, Json]:
            return await self._written(session, chat, content, now)

        return await self._act(address, nonce, act) or {}

    async def _written(
        self, session: AsyncSession, chat: rows.WebChat, content: Content, now: datetime
    ) -> tuple[rows.WebMessage, Json]:
        written = await _write(session, chat.address, [content], from_bot=False, now=now)
        if written is None:
            raise WebRefusal("no_chat")
        shown = self._gateway.shown(chat.address, written[0], content, now, language=chat.language)
        return written[0], {"message": shown}

    async def press(self, address: str, message_id: int, data: str, nonce: str) -> None:
        """The visitor presses a button.

        Raises:
            WebRefusal: "old_button" when the message does not show it now; "no_chat".
        """

        async def act(session: AsyncSession, chat: rows.WebChat, now: datetime) -> tuple[None, Json]:
            message = await _message(session, chat.id, message_id)
            if message is None or not message.from_bot:
                raise WebRefusal("old_button")
            content, at = _opened(session, message)
            if not content.has_data(data):
                raise WebRefusal("old_button")
            number = update_number(self._gateway.name, address, nonce)
            return None, press_update(
                number,
                f"{number}:{address}",
                data,
                sender=visitor(address, language=chat.language),
                message=self._gateway.shown(address, message, content, at),
            )

        await self._act(address, nonce, act)

    async def _act(self, address: str, nonce: str, act: _Act) -> Json | None:
        """One act of the visitor, once for each nonce; the page's view of the message it made, if it made one."""
        now = self._clock()
        async with self._sessions.begin() as session:
            chat = await session.scalar(select(rows.WebChat).where(rows.WebChat.address == address).with_for_update())
            if chat is None:
                raise WebRefusal("no_chat")
            mark = keys_of(session).fingerprint("web-nonce", address, nonce)
            earlier = await session.get(rows.WebPost, (chat.id, mark))
            if earlier is not None:
                before = await _message(session, chat.id, earlier.message_id) if earlier.message_id else None
                return _page_message(session, before) if before else None
            message, what = await act(session, chat, now)
            session.add(
                rows.WebPost(
                    chat_id=chat.id, nonce=mark, message_id=message.message_id if message else None, at=_day(now)
                )
            )
            raw = {**what, "update_id": update_number(self._gateway.name, address, nonce)}
            await store_updates(session, self._gateway.name, [raw], now=now)
            shown = _page_message(session, message) if message else None
        self.hub.changed(address, by_bot=False)
        self._wake()
        return shown

    async def seen(self, address: str, seq: int) -> None:
        """The visitor has seen everything up to `seq`."""
        table = rows.WebChat
        async with self._sessions.begin() as session:
            await session.execute(
                update(table)
                .where(table.address == address, table.seen_seq < seq, table.last_seq >= seq)
                .values(seen_seq=seq)
            )

    async def messages_after(
        self, address: str, after: int = 0, *, limit: int = _PAGE, before: int | None = None
    ) -> Json:
        """What the page reads: messages, `last_seq`, `more`, commands, language, typing; see the HTTP contract.

        Raises:
            WebRefusal: "no_chat".
        """
        async with self._sessions.reading() as session:
            chat = await session.scalar(select(rows.WebChat).where(rows.WebChat.address == address))
            if chat is None:
                raise WebRefusal("no_chat")
            found, more = await _page(session, chat, after=after, before=before, limit=limit)
            language = await self._language(session, chat)
            caught_up = not more or before is not None or not 0 < after <= chat.last_seq
            return {
                "messages": [_page_message(session, message) for message in found],
                "last_seq": chat.last_seq if caught_up else found[-1].seq,
                "more": more,
                "commands": await _commands(session, address, language),
                "language": language,
                "typing": self.hub.is_typing(address),
            }

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
                async for message in self._news(address, seen):
                    seen = message["seq"]
                    yield "message", seen, message
                for event, about in signs:
                    yield event, None, about
                if not await stream.wait(PING_SECONDS):
                    yield "ping", None, {}
            yield "bye", None, {}
        finally:
            self.hub.leave(stream)

    async def _last_seq(self, address: str) -> int:
        async with self._sessions.reading() as session:
            last: int | None = await session.scalar(
                select(rows.WebChat.last_seq).where(rows.WebChat.address == address)
            )
        if last is None:
            raise WebRefusal("no_chat")
        return last

    async def _news(self, address: str, after: int) -> AsyncIterator[Json]:
        """Messages changed since `after`, page by page, oldest change first."""
        while True:
            async with self._sessions.reading() as session:
                found = await session.scalars(
                    select(rows.WebMessage)
                    .join(rows.WebChat)
                    .where(rows.WebChat.address == address, rows.WebMessage.seq > after)
                    .order_by(rows.WebMessage.seq)
                    .limit(_PAGE)
                )
                batch = [_page_message(session, message) for message in found]
            for message in batch:
                yield message
            if len(batch) < _PAGE:
                return
            after = batch[-1]["seq"]

    async def file(self, address: str, file_id: str) -> tuple[FileRef, bytes]:
        """A file that belongs to a message of this chat; raises WebRefusal "not_found"."""
        async with self._sessions.reading() as session:
            found = await session.execute(
                select(rows.WebFile.about, rows.WebFile.content)
                .join(rows.WebAttachment, rows.WebAttachment.file_id == rows.WebFile.id)
                .join(rows.WebMessage, rows.WebMessage.id == rows.WebAttachment.message)
                .join(rows.WebChat, rows.WebChat.id == rows.WebMessage.chat_id)
                .where(rows.WebFile.id == file_id, rows.WebChat.address == address)
                .limit(1)
            )
            row = found.first()
            if row is None:
                raise WebRefusal("not_found")
            content = await asyncio.to_thread(_file_content, keys_of(session), file_id, row.content)
            return _file_ref(session, file_id, row.about), content


def _checked_text(text: str, limit: int) -> str:
    cleaned = clean(text).strip()
    if utf16_len(cleaned) > limit:
        raise WebRefusal("too_long")
    return cleaned


async def _page(
    session: AsyncSession, chat: rows.WebChat, *, after: int, before: int | None, limit: int
) -> tuple[list[rows.WebMessage], bool]:
    """One page of messages, and whether there are more of the kind asked for."""
    table = rows.WebMessage
    query = select(table).where(table.chat_id == chat.id).limit(limit + 1)
    if before is None and 0 < after <= chat.last_seq:
        found = list(await session.scalars(query.where(table.seq > after).order_by(table.seq)))
        return found[:limit], len(found) > limit
    if before is not None:
        query = query.where(table.message_id < before)
    found = list(await session.scalars(query.where(table.body.is_not(None)).order_by(table.message_id.desc())))
    return found[:limit][::-1], len(found) > limit


async def _commands(session: AsyncSession, address: str, language: str) -> list[Json]:
    """The menu that counts for a chat: the narrowest scope first, in each the language first, as on Telegram."""
    scopes = [f"chat:{address}", "all_private_chats", "default"]
    found = await session.scalars(select(rows.WebCommands).where(rows.WebCommands.scope.in_(scopes)))
    kept = {(row.scope, row.language): row.commands for row in found}
    for key in ((scope, spoken) for scope in scopes for spoken in (language, "")):
        if key in kept:
            return kept[key]
    return []


# --- forgetting ---------------------------------------------------------------------------------------------------


async def erase_messages(session: AsyncSession, address: str) -> int:
    """Wipe what a chat's messages and the visitor's files say; open pages drop them. Returns how many."""
    query = (
        select(rows.WebMessage)
        .join(rows.WebChat)
        .where(rows.WebChat.address == address, rows.WebMessage.body.is_not(None))
    )
    found = list(await session.scalars(query.order_by(rows.WebMessage.message_id)))
    taken = await _take_numbers(session, address, messages=0, changes=len(found))
    if taken is None:
        return 0
    for back, message in zip(range(len(found) - 1, -1, -1), found, strict=True):
        message.body, message.seq = None, taken.seq - back
    await session.execute(
        delete(rows.WebAttachment).where(
            rows.WebAttachment.message.in_(select(rows.WebMessage.id).where(rows.WebMessage.chat_id == taken.chat_id))
        )
    )
    await _drop_loose_files(session)
    return len(found)


async def purge(session: AsyncSession, *, before: datetime, nonces_before: datetime) -> None:
    """Delete messages older than `before`, chats never written in, files no message shows, old nonces."""
    before, nonces_before = _day(before), _day(nonces_before)
    await session.execute(delete(rows.WebMessage).where(rows.WebMessage.at < before))
    await session.execute(delete(rows.WebPost).where(rows.WebPost.at < nonces_before))
    await session.execute(
        delete(rows.WebChat).where(rows.WebChat.last_message_id == 0, rows.WebChat.opened_at < nonces_before)
    )
    await _drop_loose_files(session)
    # The bot may send a file again by its name; one that no message has shown for so long is uploaded anew.
    await session.execute(delete(rows.WebFile).where(rows.WebFile.at < before, ~_is_shown()))


async def _drop_loose_files(session: AsyncSession) -> None:
    await session.flush()
    await session.execute(delete(rows.WebFile).where(rows.WebFile.from_bot.is_(False), ~_is_shown()))


def _is_shown() -> Exists:
    return select(rows.WebAttachment.file_id).where(rows.WebAttachment.file_id == rows.WebFile.id).exists()


async def chat_count(session: AsyncSession) -> int:
    """How many chats there are."""
    return await session.scalar(select(func.count()).select_from(rows.WebChat)) or 0
