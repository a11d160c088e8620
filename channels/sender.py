"""Sends an Outgoing through a telegram.Bot: plans its calls, makes them, says what came of each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from telegram import Bot
from telegram.error import (
    BadRequest,
    TelegramError,
)

from channels.api import File, api_id, call
from channels.meanings import meaning_of, names_bad_handle
from channels.plan import NO_PREVIEW, CallbackData, Planner, Step, add, inline, marked, places_of
from channels.port import (
    Capabilities,
    Media,
    Outgoing,
    Rejected,
    Sent,
    StaleHandle,
    TryLater,
    Uncertain,
)
from channels.wording import spoken
from db.sealing import CannotUnseal
from texts.markup import split


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
        self._planner = Planner(capabilities, translate)
        self._translate = translate
        #: The last message that is the same for everybody, and its calls: a broadcast says one thing many times.
        self._planned: tuple[Outgoing, bool, list[Step]] | None = None

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
            steps = self._steps(outgoing, dict.fromkeys(places_of(outgoing), ""), resent)
        except Rejected:
            return ()  # it will be refused when it is sent
        return tuple(file.media_id for file in steps[part].attachments) if part < len(steps) else ()

    async def probe(self) -> None:
        """Return when the platform answers; raises SendError when it does not, or does not know us."""
        try:
            await call(self._bot, "getMe", {})
        except TelegramError as error:
            raise meaning_of(error) from error

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
        add(parameters, reply_markup=inline(outgoing, callback_data))
        if not outgoing.text:
            return await self._change(address, "editMessageReplyMarkup", parameters, message_id)
        # Of a long text sent in parts, the last one carries the buttons and is the one that is rewritten.
        text, entities = split(outgoing.text, outgoing.entities, self._capabilities.text_limit)[-1]
        as_text = add({**parameters, "text": text, "link_preview_options": NO_PREVIEW}, entities=list(entities))
        try:
            return await self._change(address, "editMessageText", as_text, message_id)
        except Rejected as error:
            if error.reason != "no_text":
                raise
        # The message is a file: its words are its caption.
        as_caption = add({**parameters, "caption": text}, caption_entities=list(entities))
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
            meaning = meaning_of(error)
            raise (TryLater("no_answer") if isinstance(meaning, Uncertain) else meaning) from error
        return Sent(_message_id(result) or message_id)

    def _steps(self, outgoing: Outgoing, callback_data: CallbackData, resent: bool) -> list[Step]:
        if callback_data:
            return self._plan_anew(outgoing, callback_data, resent)
        planned = self._planned
        if planned is None or planned[0] is not outgoing or planned[1] is not resent:
            self._planned = planned = (outgoing, resent, self._plan_anew(outgoing, callback_data, resent))
        return planned[2]

    def _plan_anew(self, outgoing: Outgoing, callback_data: CallbackData, resent: bool) -> list[Step]:
        try:
            if resent:
                outgoing = marked(outgoing, self._translate(spoken(outgoing.language), "sending.again"))
            steps = list(self._planner.calls(outgoing, self._planner.markup(outgoing, callback_data)))
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise Rejected("unrenderable") from error  # what was stored makes no message: nothing has left
        if resent:
            steps.sort(key=lambda step: step.method == "sendLocation")  # the mark comes before all that it is about
        if not steps:
            raise Rejected("empty")
        return steps

    async def _send_all(self, address: str, steps: Sequence[Step], silent: bool, handles: Mapping[int, str]) -> Sent:
        media = await self._media_of(steps, handles)
        progress = _Progress()
        try:
            for step in steps:
                await self._take_anew(step, address, silent, media, handles, progress)
        except TelegramError as error:
            raise (Uncertain("partly") if progress.calls else meaning_of(error)) from error
        return Sent(progress.main_id, tuple(progress.handles))

    async def _take_anew(
        self,
        step: Step,
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
        self, address: str, steps: Sequence[Step], part: int, silent: bool, handles: Mapping[int, str]
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
            raise meaning_of(error) from error
        except TelegramError as error:
            raise meaning_of(error) from error
        return Sent(progress.main_id, tuple(progress.handles), more=len(steps) - part - 1)

    async def _take(
        self,
        step: Step,
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

    async def _media_of(self, steps: Sequence[Step], handles: Mapping[int, str]) -> dict[int, Media]:
        """The bytes of every file that must be uploaded, read before anything is sent."""
        wanted = {file.media_id for step in steps for file in step.attachments} - handles.keys()
        try:
            return {media_id: await self._load_media(media_id) for media_id in sorted(wanted)}
        except (LookupError, CannotUnseal, ValueError) as error:  # erased, or damaged: nothing has left
            raise Rejected("no_media") from error


def _attach(
    step: Step, parameters: dict[str, Any], media: Mapping[int, Media], handles: Mapping[int, str]
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


def _is_stale(step: Step, handles: Mapping[int, str], error: BadRequest) -> bool:
    """Whether a step was refused for the sake of a handle it was made with."""
    is_by_handle = any(file.media_id in handles for file in step.attachments)
    return is_by_handle and names_bad_handle(error)


def _new_handles(step: Step, result: Any, handles: Mapping[int, str]) -> Iterator[tuple[int, str]]:
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
