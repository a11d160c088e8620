"""Sends an Outgoing through a telegram.Bot, and says once what a platform's errors mean to us."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import groupby
from typing import Any

from telegram import Bot
from telegram.error import (
    BadRequest,
    ChatMigrated,
    Conflict,
    Forbidden,
    InvalidToken,
    RetryAfter,
    TelegramError,
)

from channels.api import File, Unreachable, api_id, call
from channels.port import (
    Attachment,
    Capabilities,
    ChannelDown,
    Media,
    Moved,
    Outgoing,
    RecipientGone,
    Rejected,
    SendError,
    Sent,
    StaleHandle,
    TryLater,
    Uncertain,
    within_limit,
)
from channels.wording import spoken
from db.sealing import CannotOpen
from texts.markup import split, utf16_len

Entities = tuple[dict[str, Any], ...]
CallbackData = Mapping[tuple[int, int], str]

ALBUM_LIMIT = 10
#: How long to wait when a platform says "too many" and not until when.
_UNTOLD = timedelta(seconds=5)
_NO_PREVIEW = {"is_disabled": True}
_SHARE_KEYS = {"contact": "button.share_contact", "location": "button.share_location"}
# Wordings as the Bot API server answers them, lower case; read in python-telegram-bot 22.8's tests and tdlib, 2026-11.
_LOST_CHAT = (
    "chat not found",
    "user not found",
    "user is deactivated",
    "user_deactivated",
    "peer_id_invalid",
    "input_user_deactivated",
    "chat_id is empty",
    "group chat was deactivated",
    "bot was kicked",
    "bot was blocked",
    "chat_write_forbidden",
    "have no rights to send a message",
    "not enough rights to send",
)
#: What a file id was answered with that had been good: tdlib's words ("wrong file identifier/HTTP URL specified",
#: "wrong remote file identifier specified: …", "wrong remote file id specified: …", "invalid file id") and the codes
#: of Telegram's own servers behind it (FILE_REFERENCE_EXPIRED, _EMPTY, _INVALID and _0_EXPIRED in an album,
#: FILEREF_UPGRADE_NEEDED, FILE_ID_INVALID, MEDIA_EMPTY); read in issues of tdlib and of bots' libraries, 2026-11.
_BAD_HANDLE = (
    "wrong file identifier",
    "wrong file_id",
    "wrong remote file",
    "invalid file id",
    "invalid file_id",
    "file reference",
    "file_reference",
    "fileref_",
    "file_id_invalid",
    "media_empty",
)


@dataclass(frozen=True, slots=True)
class _Step:
    """One Bot API call; the main one's message is the one that carries the buttons."""

    method: str
    parameters: dict[str, Any]
    attachments: tuple[Attachment, ...] = ()
    is_main: bool = False


@dataclass(slots=True)
class _Progress:
    main_id: str = ""
    calls: int = 0
    handles: list[tuple[int, str]] = field(default_factory=list)


class Sender:
    """Speaks to one channel. Raises only the SendError family.

    Args:
        bot: An initialised Bot; its request is Telegram's or a gateway.
        load_media: The bytes of a stored file; a LookupError means it is gone.
        translate: The plain text of a key in a language, for the platform's own buttons.
    """

    def __init__(
        self,
        bot: Bot,
        capabilities: Capabilities,
        load_media: Callable[[int], Awaitable[Media]],
        translate: Callable[[str, str], str],
    ) -> None:
        self._bot = bot
        self._capabilities = capabilities
        self._load_media = load_media
        self._translate = translate
        #: The last message that is the same for everybody, and its calls: a broadcast says one thing many times.
        self._planned: tuple[Outgoing, bool, list[_Step]] | None = None

    async def send(
        self,
        address: str,
        outgoing: Outgoing,
        *,
        callback_data: CallbackData,
        resent: bool = False,
        handles: Mapping[int, str] | None = None,
        part: int | None = None,
    ) -> Sent:
        """Push one message; long text and many files become several calls, in order.

        Args:
            callback_data: What a press sends back, by (row, column) of the button.
            resent: An earlier attempt may have arrived; say so in the first line.
            handles: The platform's names for files it has had before, by media id.
            part: Make only the call with this number, from 0 on: each has a slot of its own in the pace. None: all.

        Returns: The message that carries the buttons, and the handles of files that were uploaded.

        Raises:
            StaleHandle: One of `handles` is not known any more (with `part`; else the file is uploaded again).
        """
        steps = self._steps(outgoing, callback_data, resent)
        if part is None:
            return await self._send_all(address, steps, outgoing.silent, handles or {})
        return await self._send_part(address, steps, part, outgoing.silent, handles or {})

    def files_in(self, outgoing: Outgoing, *, part: int, resent: bool) -> tuple[int, ...]:
        """The files (media ids) that the call with this number carries. Platforms count each as a message."""
        if not outgoing.attachments:
            return ()
        try:
            steps = self._steps(outgoing, dict.fromkeys(_places(outgoing), ""), resent)
        except Rejected:
            return ()  # it will be refused when it is sent
        return tuple(file.media_id for file in steps[part].attachments) if part < len(steps) else ()

    async def probe(self) -> None:
        """Return when the platform answers; raises SendError when it does not, or does not know us."""
        try:
            await call(self._bot, "getMe", {})
        except TelegramError as error:
            raise self._meaning(error) from error

    async def edit(self, address: str, message_id: str, outgoing: Outgoing, *, callback_data: CallbackData) -> Sent:
        """Replace a message's text and buttons; doing so twice is harmless, so a lost answer is TryLater.

        Raises:
            Rejected: Among others, the message is gone ("message_gone").
        """
        if outgoing.brief is not None and not self._capabilities.edits:
            if not outgoing.brief:
                return Sent(message_id)
            outgoing = replace(outgoing, text=outgoing.brief, entities=())
        parameters: dict[str, Any] = {"chat_id": api_id(address), "message_id": api_id(message_id)}
        _add(parameters, reply_markup=_inline(outgoing, callback_data))
        if not outgoing.text:
            return await self._change(address, "editMessageReplyMarkup", parameters, message_id)
        # Of a long text sent in parts, the last one carries the buttons and is the one that is rewritten.
        text, entities = split(outgoing.text, outgoing.entities, self._capabilities.text_limit)[-1]
        as_text = _add({**parameters, "text": text, "link_preview_options": _NO_PREVIEW}, entities=list(entities))
        try:
            return await self._change(address, "editMessageText", as_text, message_id)
        except Rejected as error:
            if error.reason != "no_text":
                raise
        # The message is a file: its words are its caption.
        as_caption = _add({**parameters, "caption": text}, caption_entities=list(entities))
        return await self._change(address, "editMessageCaption", as_caption, message_id)

    async def delete(self, address: str, message_id: str) -> None:
        """Take a message back; one that is gone already raises Rejected("message_gone")."""
        parameters = {"chat_id": api_id(address), "message_id": api_id(message_id)}
        await self._change(address, "deleteMessage", parameters, message_id)

    async def _change(self, address: str, method: str, parameters: dict[str, Any], message_id: str) -> Sent:
        try:
            result = await call(self._bot, method, parameters)
        except TelegramError as error:
            if "message is not modified" in error.message.lower():
                return Sent(message_id)
            meaning = self._meaning(error)
            raise (TryLater("no_answer") if isinstance(meaning, Uncertain) else meaning) from error
        return Sent(_message_id(result) or message_id)

    def _steps(self, outgoing: Outgoing, callback_data: CallbackData, resent: bool) -> list[_Step]:
        if callback_data:
            return self._plan_anew(outgoing, callback_data, resent)
        planned = self._planned
        if planned is None or planned[0] is not outgoing or planned[1] is not resent:
            self._planned = planned = (outgoing, resent, self._plan_anew(outgoing, callback_data, resent))
        return planned[2]

    def _plan_anew(self, outgoing: Outgoing, callback_data: CallbackData, resent: bool) -> list[_Step]:
        try:
            if resent:
                outgoing = _marked(outgoing, self._translate(spoken(outgoing.language), "sending.again"))
            steps = list(self._plan(outgoing, self._markup(outgoing, callback_data)))
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise Rejected("unrenderable") from error  # what was stored makes no message: nothing has left
        if resent:
            steps.sort(key=lambda step: step.method == "sendLocation")  # the mark comes before all that it is about
        if not steps:
            raise Rejected("empty")
        return steps

    async def _send_all(self, address: str, steps: Sequence[_Step], silent: bool, handles: Mapping[int, str]) -> Sent:
        media = await self._media_of(steps, handles)
        progress = _Progress()
        try:
            for step in steps:
                await self._take_anew(step, address, silent, media, handles, progress)
        except TelegramError as error:
            raise (Uncertain("partly") if progress.calls else self._meaning(error)) from error
        return Sent(progress.main_id, tuple(progress.handles))

    async def _take_anew(
        self,
        step: _Step,
        address: str,
        silent: bool,
        media: Mapping[int, Media],
        handles: Mapping[int, str],
        progress: _Progress,
    ) -> None:
        """Take a step; where the platform has forgotten a file, with the file itself."""
        try:
            await self._take(step, address, silent, media, handles, progress)
        except BadRequest as error:
            if not _is_stale(step, handles, error):
                raise
            await self._take(step, address, silent, await self._media_of([step], {}), {}, progress)

    async def _send_part(
        self, address: str, steps: Sequence[_Step], part: int, silent: bool, handles: Mapping[int, str]
    ) -> Sent:
        if part >= len(steps):
            return Sent("")
        if part == 0:
            for later in steps[1:]:  # a file that is gone is refused before anything is sent
                await self._media_of([later], handles)
        step = steps[part]
        media = await self._media_of([step], handles)
        progress = _Progress()
        try:
            await self._take(step, address, silent, media, handles, progress)
        except BadRequest as error:
            if _is_stale(step, handles, error):
                raise StaleHandle(tuple(file.media_id for file in step.attachments)) from error
            raise self._meaning(error) from error
        except TelegramError as error:
            raise self._meaning(error) from error
        return Sent(progress.main_id, tuple(progress.handles), more=len(steps) - part - 1)

    async def _take(
        self,
        step: _Step,
        address: str,
        silent: bool,
        media: Mapping[int, Media],
        handles: Mapping[int, str],
        progress: _Progress,
    ) -> None:
        parameters: dict[str, Any] = {"chat_id": api_id(address), **step.parameters}
        if silent:
            parameters["disable_notification"] = True
        files = _attach(step, parameters, media, handles)
        result = await call(self._bot, step.method, parameters, files)
        progress.calls += 1
        if step.is_main:
            progress.main_id = _message_id(result)
        progress.handles += _new_handles(step, result, handles)

    def _plan(self, outgoing: Outgoing, markup: dict[str, Any] | None) -> Iterator[_Step]:
        """The calls, in order: point, text, files. The buttons are on the text wherever there is one."""
        runs = list(_runs(outgoing.attachments, albums=bool(outgoing.text) or not markup))
        has_text = bool(outgoing.text)
        captioned = has_text and self._fits_caption(outgoing, runs, markup)
        if point := outgoing.point:
            alone = not has_text and not runs
            where = {"latitude": point.latitude, "longitude": point.longitude}
            yield _Step("sendLocation", _add(where, reply_markup=markup if alone else None), is_main=alone)
        if has_text and not captioned:
            yield from self._text_steps(outgoing, markup)
        for number, run in enumerate(runs, start=1):
            is_main = captioned or (not has_text and number == len(runs))
            caption = (outgoing.text, outgoing.entities) if captioned else ("", ())
            yield _file_step(run, caption, markup if is_main else None, is_main=is_main)

    def _fits_caption(
        self, outgoing: Outgoing, runs: Sequence[tuple[Attachment, ...]], markup: dict[str, Any] | None
    ) -> bool:
        """Whether all is one message: one file, or one album without buttons, which albums cannot carry."""
        if len(runs) != 1 or (markup and len(runs[0]) > 1):
            return False
        return utf16_len(outgoing.text) <= self._capabilities.caption_limit

    def _text_steps(self, outgoing: Outgoing, markup: dict[str, Any] | None) -> Iterator[_Step]:
        parts = split(outgoing.text, outgoing.entities, self._capabilities.text_limit)
        for number, (text, entities) in enumerate(parts, start=1):
            is_last = number == len(parts)
            parameters = {"text": text, "link_preview_options": _NO_PREVIEW}
            _add(parameters, entities=list(entities), reply_markup=markup if is_last else None)
            yield _Step("sendMessage", parameters, is_main=is_last)

    def _markup(self, outgoing: Outgoing, callback_data: CallbackData) -> dict[str, Any] | None:
        if outgoing.asks is None:
            removed = {"remove_keyboard": True} if outgoing.drops_keyboard else None
            return _inline(outgoing, callback_data) or removed
        label = self._translate(outgoing.language, _SHARE_KEYS[outgoing.asks])
        rows = [[{"text": label, f"request_{outgoing.asks}": True}]]
        rows += [[{"text": button.label} for button in row] for row in within_limit(outgoing.buttons)]
        return {"keyboard": rows, "resize_keyboard": True, "one_time_keyboard": True}

    async def _media_of(self, steps: Sequence[_Step], handles: Mapping[int, str]) -> dict[int, Media]:
        """The bytes of every file that must be uploaded, read before anything is sent."""
        wanted = {file.media_id for step in steps for file in step.attachments} - handles.keys()
        try:
            return {media_id: await self._load_media(media_id) for media_id in sorted(wanted)}
        except (LookupError, CannotOpen, ValueError) as error:  # erased, or damaged: nothing has left
            raise Rejected("no_media") from error

    def _meaning(self, error: TelegramError) -> SendError:
        match error:
            case RetryAfter():
                return TryLater("throttled", delay=_delay_of(error))
            case ChatMigrated():
                return Moved(str(error.new_chat_id))
            case Forbidden():
                return RecipientGone("forbidden")
            # BadRequest derives from NetworkError, so it must be asked about first.
            case BadRequest():
                return _meaning_of_refusal(error)
            case InvalidToken() if "method" in error.message.lower():
                return Rejected("no_such_method")
            case InvalidToken():
                return ChannelDown("token_refused")
            case Conflict():
                return ChannelDown("conflict")
            case Unreachable():
                return TryLater("unreachable")
            case _ if "too many requests" in error.message.lower():
                return TryLater("throttled", delay=_UNTOLD)
            case _:
                return Uncertain("no_answer")


def _marked(outgoing: Outgoing, mark: str) -> Outgoing:
    """A message with a mark on a line before it: its first attempt may have arrived."""
    if not outgoing.text:
        return replace(outgoing, text=mark)
    moved = tuple({**entity, "offset": entity["offset"] + utf16_len(mark) + 1} for entity in outgoing.entities)
    return replace(outgoing, text=f"{mark}\n{outgoing.text}", entities=moved)


def _add(parameters: dict[str, Any], **more: Any) -> dict[str, Any]:
    """`parameters` with those of `more` that say something."""
    parameters.update({name: value for name, value in more.items() if value})
    return parameters


def _places(outgoing: Outgoing) -> Iterator[tuple[int, int]]:
    for y, row in enumerate(outgoing.buttons):
        yield from ((y, x) for x in range(len(row)))


def _inline(outgoing: Outgoing, callback_data: CallbackData) -> dict[str, Any] | None:
    rows = [
        [
            {"text": button.label, **({"url": button.url} if button.url else {"callback_data": callback_data[y, x]})}
            for x, button in enumerate(row)
        ]
        for y, row in enumerate(within_limit(outgoing.buttons))
    ]
    return {"inline_keyboard": rows} if rows else None


def _runs(attachments: Sequence[Attachment], *, albums: bool) -> Iterator[tuple[Attachment, ...]]:
    """Neighbours that may share an album: pictures with videos, documents with documents, voices alone."""
    for kind, group in groupby(attachments, lambda file: "visual" if file.kind in ("photo", "video") else file.kind):
        files = tuple(group)
        size = ALBUM_LIMIT if albums and kind != "voice" else 1
        yield from (files[start : start + size] for start in range(0, len(files), size))


def _file_step(
    run: tuple[Attachment, ...], caption: tuple[str, Entities], markup: dict[str, Any] | None, *, is_main: bool
) -> _Step:
    text, entities = caption
    described = _add({}, caption=text, caption_entities=list(entities))
    if len(run) == 1:
        method = f"send{run[0].kind.capitalize()}"
        return _Step(method, _add(described, reply_markup=markup), run, is_main=is_main)
    media: list[dict[str, Any]] = [{"type": file.kind} for file in run]
    media[0].update(described)
    return _Step("sendMediaGroup", {"media": media}, run, is_main=is_main)


def _attach(
    step: _Step, parameters: dict[str, Any], media: Mapping[int, Media], handles: Mapping[int, str]
) -> dict[str, File]:
    """Put each file's handle into the parameters, or a reference to what is uploaded with them."""
    files: dict[str, File] = {}
    is_album = step.method == "sendMediaGroup"
    if is_album:
        parameters["media"] = [dict(item) for item in parameters["media"]]
    for number, file in enumerate(step.attachments):
        name = f"file{number}" if is_album else str(file.kind)
        if file.media_id in handles:
            reference = handles[file.media_id]
        else:
            stored = media[file.media_id]
            files[name] = (stored.name, stored.content, stored.mime)
            reference = f"attach://{name}"
        if is_album:
            parameters["media"][number]["media"] = reference
        elif name not in files:
            parameters[name] = reference
    return files


def _is_stale(step: _Step, handles: Mapping[int, str], error: BadRequest) -> bool:
    """Whether a step was refused for the sake of a handle it was made with."""
    is_by_handle = any(file.media_id in handles for file in step.attachments)
    return is_by_handle and any(words in error.message.lower() for words in _BAD_HANDLE)


def _new_handles(step: _Step, result: Any, handles: Mapping[int, str]) -> Iterator[tuple[int, str]]:
    messages = result if isinstance(result, list) else [result]
    for file, message in zip(step.attachments, messages, strict=False):
        # A video may come back as an animation: then its handle would not do for sendVideo, and is not kept.
        stored = message.get(file.kind) if isinstance(message, dict) else None
        largest = stored[-1] if isinstance(stored, list) and stored else stored
        if file.media_id not in handles and isinstance(largest, dict) and "file_id" in largest:
            yield file.media_id, str(largest["file_id"])


def _message_id(result: Any) -> str:
    message = result[0] if isinstance(result, list) and result else result
    return str(message["message_id"]) if isinstance(message, dict) and "message_id" in message else ""


def _delay_of(error: RetryAfter) -> timedelta:
    delay = error.retry_after
    return delay if isinstance(delay, timedelta) else timedelta(seconds=delay)


def _meaning_of_refusal(error: BadRequest) -> SendError:
    said = error.message.lower()
    if any(words in said for words in _LOST_CHAT):
        return RecipientGone("chat_gone")
    if "message to" in said and "not found" in said:
        return Rejected("message_gone")
    if "no text in the message" in said:
        return Rejected("no_text")
    if any(words in said for words in _BAD_HANDLE):
        return Rejected("bad_handle")
    return Rejected("bad_request")
