"""From a platform's message to what a person said: text, markup, phone, point, file."""

from __future__ import annotations

import asyncio
import contextlib

import filetype
from telegram import Bot, Message
from telegram.constants import ChatAction
from telegram.error import TelegramError

from channels import api
from channels.port import Media, MediaKind, Point
from handlers.context import Services
from handlers.flows import Answer
from media.pictures import NotAPicture, TooLarge
from texts.catalogue import Html
from texts.markup import clean
from texts.refusal import Refusal

#: The largest file we take, bytes. Source: Bot API getFile, 20 MB (core.telegram.org/bots/api#getfile; read 2026-11).
MAX_FILE = 20 * 1024 * 1024
#: How long fetching one file may take, seconds.
_FETCH_TIMEOUT = 60
_NAME_LIMIT = 100


def has_file(message: Message) -> bool:
    """Whether a file we could keep came with the message."""
    return _file_of(message) is not None


def answer_of(message: Message) -> Answer:
    """What a message says, without its file."""
    point = None
    if message.location is not None:
        point = Point(message.location.latitude, message.location.longitude)
    text = message.text or message.caption or ""
    marked = message.text_html if message.text else message.caption_html if message.caption else ""
    return Answer(text=clean(text).strip(), html=_without_controls(marked), phone=_own_phone(message), point=point)


async def fetch_file(message: Message, services: Services, *, keep_name: bool = False) -> tuple[Media, Media | None]:
    """The file of a message: what others may see of it, and the original when that is something else.

    A picture is drawn anew, without anything a camera or an app wrote into it. Names people gave are kept only with
    `keep_name`: the name of an officer's document says what it is, that of a reporter's may say who they are.

    Raises:
        Refusal: `media.too_big`, `media.not_fetched` (try again), `media.not_given` (the platform will not give it
            out), `media.unreadable`, `media.too_many_pixels`.
    """
    found = _file_of(message)
    if found is None:
        raise Refusal("media.unknown")
    kind, file_id, size, mime = found
    if (size or 0) > MAX_FILE:
        raise _too_big()
    with contextlib.suppress(TelegramError):
        await message.reply_chat_action(ChatAction.TYPING)
    content = await _fetched(message.get_bot(), file_id)
    # What the sender's app calls it is not to be relied on: a camera's picture says where it was taken.
    if kind == "photo" or any((said or "").startswith("image/") for said in (mime, filetype.guess_mime(content))):
        return await _picture(content, services)
    if keep_name and message.document is not None and message.document.file_name:
        given = " ".join(clean(message.document.file_name).replace("/", " ").split())[-_NAME_LIMIT:]
        return Media(kind, given or "tep", mime or "application/octet-stream", content), None
    name = {"video": "video.mp4", "voice": "ghi-am.ogg"}.get(kind, "tep" + _suffix(mime))
    return Media(kind, name, mime or "application/octet-stream", content), None


async def _fetched(bot: Bot, file_id: str) -> bytes:
    try:
        async with asyncio.timeout(_FETCH_TIMEOUT):
            return await api.fetch_file(bot, file_id, limit=MAX_FILE)
    except TimeoutError as error:
        raise Refusal("media.not_fetched") from error
    except api.CannotFetch as error:
        match error.reason:
            case "too_big":
                raise _too_big() from error
            case "refused":
                raise Refusal("media.not_given") from error
            case _:
                raise Refusal("media.not_fetched") from error


def _too_big() -> Refusal:
    return Refusal("media.too_big", limit=MAX_FILE // 1024 // 1024)


async def _picture(content: bytes, services: Services) -> tuple[Media, Media | None]:
    try:
        fresh = await services.darkroom.clean(services.sessions.begin, content, now=services.clock())
    except TooLarge as error:
        raise Refusal("media.too_many_pixels") from error
    except NotAPicture as error:
        raise Refusal("media.unreadable") from error
    return Media("photo", "anh.jpg", "image/jpeg", fresh), Media("document", "goc", "application/octet-stream", content)


def _file_of(message: Message) -> tuple[MediaKind, str, int | None, str | None] | None:
    if message.photo:
        largest = message.photo[-1]
        return "photo", largest.file_id, largest.file_size, "image/jpeg"
    if message.video is not None:
        return "video", message.video.file_id, message.video.file_size, "video/mp4"
    if message.video_note is not None:
        return "video", message.video_note.file_id, message.video_note.file_size, "video/mp4"
    if message.animation is not None:
        return "video", message.animation.file_id, message.animation.file_size, "video/mp4"
    if message.voice is not None:
        return "voice", message.voice.file_id, message.voice.file_size, "audio/ogg"
    if message.audio is not None:
        return "document", message.audio.file_id, message.audio.file_size, message.audio.mime_type
    if message.document is not None:
        return "document", message.document.file_id, message.document.file_size, message.document.mime_type
    return None


def _own_phone(message: Message) -> str | None:
    """A shared contact counts only when it is the sender's own."""
    contact, sender = message.contact, message.from_user
    if contact is None or sender is None or contact.user_id != sender.id:
        return None
    number = contact.phone_number
    return number if number.startswith("+") else f"+{number}"


def _without_controls(markup: str) -> Html:
    """Markup as the platform gives it, cleaned of what must not be shown; cleaning keeps tags as they are."""
    return Html(clean(markup).strip())


def _suffix(mime: str | None) -> str:
    known = {"application/pdf": ".pdf", "audio/mpeg": ".mp3", "audio/ogg": ".ogg", "audio/mp4": ".m4a"}
    return known.get(mime or "", ".bin")
