"""Telegram without a network: chats and what is shown in them, and the methods of the Bot API that change it.

It knows nothing of our code, so that what it refuses and shows is no mirror of what we believe.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any

from bench.botapi.files import Files, Uploads, check_album
from bench.botapi.gate import Gate
from bench.botapi.markup import caption_of, markup_of, text_of
from bench.botapi.messages import Message, Sending, chat_of
from bench.botapi.news import Found, News
from bench.botapi.refusals import NOT_MODIFIED, Json, bad, unknown
from bench.botapi.updates import Updates

Method = Callable[[Json, Uploads], Awaitable[Any]]

TOKEN = "123456789:TEST-token-of-the-fake-server"  # noqa: S105 - nobody's
_MEDIA = {"sendPhoto": "photo", "sendDocument": "document", "sendVideo": "video", "sendVoice": "voice"}
#: Whatever is asked, the answer is yes and nothing changes.
_YES = (
    *("deleteMyCommands", "sendChatAction", "leaveChat"),
    *("setMyDescription", "setMyShortDescription", "setChatMenuButton"),
)
_COMMANDS, _ANSWER_LIMIT = 100, 200


class Telegram:
    """Takes calls; `sent` are the bot's messages in order of arrival, `calls` all calls with their parameters.

    Args:
        token: The one that is known.
        rate: Messages in any sliding second; None: no limit. `chat_rate` is the same for one chat, and
            `group_rate` is per minute for a negative chat id.
        known_only: Chats that are not `known`, because nobody wrote there, are "chat not found".
    """

    def __init__(
        self,
        token: str = TOKEN,
        *,
        rate: int | None = 30,
        chat_rate: int | None = None,
        group_rate: int | None = None,
        known_only: bool = False,
    ) -> None:
        self.token = token
        self.known_only = known_only
        self.known: set[int] = set()
        self.sent: list[Sending] = []
        self.calls: list[tuple[str, Json]] = []
        self.chats: dict[int, list[Message]] = {}
        self.keyboards: dict[int, list[list[Json]]] = {}
        self.commands: dict[str, list[Json]] = {}
        self.answers: dict[str, Json] = {}
        self.news = News()
        self.gate = Gate(rate, chat_rate, group_rate)
        self.updates = Updates(self.news)
        self.files = Files()
        self.me: Json = {"id": int(token.partition(":")[0]), "is_bot": True, "first_name": "Bình Yên"}
        self.changes = 0
        self._queries: set[str] = set()
        self._next_message = 1
        self.methods: dict[str, Method] = self._methods()

    def _methods(self) -> dict[str, Method]:
        return {
            **dict.fromkeys(_YES, self._yes),
            **{method: self._media_call(method, kind) for method, kind in _MEDIA.items()},
            "getMe": self._get_me,
            "getUpdates": self.updates.get_updates,
            "setWebhook": self.updates.set_webhook,
            "deleteWebhook": self.updates.delete_webhook,
            "getWebhookInfo": self.updates.get_webhook_info,
            "getFile": self._get_file,
            "sendMessage": self._send_message,
            "sendLocation": self._send_location,
            "sendMediaGroup": self._send_album,
            "editMessageText": self._edit_text,
            "editMessageCaption": self._edit_caption,
            "editMessageReplyMarkup": self._edit_markup,
            "deleteMessage": self._delete,
            "answerCallbackQuery": self._answer_query,
            "setMyCommands": self._set_commands,
        }

    async def call(self, method: str, parameters: Json, uploads: Uploads) -> Any:
        """The result of one call; raises Refused."""
        if method not in self.methods:
            raise unknown()
        try:
            return await self.methods[method](parameters, uploads)
        finally:
            self.news.happened()

    # --- what people do ---------------------------------------------------------------------------------------------

    async def until(self, holds: Callable[[], Found | None], within: float | None = 40.0) -> Found:
        """Wait until what happens here makes `holds` true; TimeoutError when it does not."""
        return await self.news.until(holds, within)

    def arrives(self, chat_id: int, user: Json, shown: Json) -> Message:
        """Somebody's message is in a chat, and on its way to the bot."""
        self.known.add(chat_id)
        message = self._message(chat_id, user, shown, is_from_bot=False)
        self.updates.push("message", message.api)
        return message

    def asks(self, query: Json) -> None:
        """Somebody's press is on its way to the bot, who may answer it once."""
        self._queries.add(query["id"])
        self.updates.push("callback_query", query)

    def _message(self, chat_id: int, sender: Json, shown: Json, *, is_from_bot: bool) -> Message:
        head = {"message_id": self._next_message, "date": int(time.time()), "chat": chat_of(chat_id), "from": sender}
        self._next_message += 1
        self.changes += 1
        message = Message({**head, **shown}, is_from_bot, self.changes)
        self.chats.setdefault(chat_id, []).append(message)
        self.news.happened()
        return message

    # --- sending ----------------------------------------------------------------------------------------------------

    async def _send_message(self, parameters: Json, _: Uploads) -> Json:
        return self._accept("sendMessage", parameters, text_of(parameters)).api

    async def _send_location(self, parameters: Json, _: Uploads) -> Json:
        point = {name: float(parameters[name]) for name in ("latitude", "longitude")}
        return self._accept("sendLocation", parameters, {"location": point}).api

    def _media_call(self, method: str, kind: str) -> Method:
        async def send(parameters: Json, uploads: Uploads) -> Json:
            media, content = self.files.take(kind, str(parameters.get(kind, f"attach://{kind}")), uploads)
            message = self._accept(method, parameters, {kind: media, **caption_of(parameters)})
            message.files = [content]
            return message.api

        return send

    async def _send_album(self, parameters: Json, uploads: Uploads) -> list[Json]:
        items = parameters.get("media") or []
        check_album(items)
        if "reply_markup" in parameters:
            raise bad("an album has no reply markup")
        stored = [self.files.take(item["type"], item["media"], uploads) for item in items]
        captions = [caption_of(item) for item in items]
        self._admit(parameters, len(items))
        answers = []
        for item, caption, (media, content) in zip(items, captions, stored, strict=True):
            shown = {item["type"]: media, "media_group_id": "1", **caption}
            message = self._record("sendMediaGroup", parameters, shown)
            message.files = [content]
            answers.append(message.api)
        return answers

    def _accept(self, method: str, parameters: Json, shown: Json) -> Message:
        markup = markup_of(parameters)
        self._admit(parameters, 1)
        if markup and "inline_keyboard" in markup:
            shown = {**shown, "reply_markup": markup}
        elif markup and "keyboard" in markup:
            self.keyboards[_chat_id(parameters)] = markup["keyboard"]
        elif markup:
            self.keyboards.pop(_chat_id(parameters), None)
        return self._record(method, parameters, shown)

    def _admit(self, parameters: Json, count: int) -> None:
        chat_id = _chat_id(parameters)
        if self.known_only and chat_id not in self.known:
            raise bad("chat not found")
        self.gate.admit(chat_id, count, time.monotonic())

    def _record(self, method: str, parameters: Json, shown: Json) -> Message:
        chat_id = _chat_id(parameters)
        message = self._message(chat_id, self.me, shown, is_from_bot=True)
        self.sent.append(Sending(time.monotonic(), method, chat_id, message))
        return message

    # --- changing ---------------------------------------------------------------------------------------------------

    def _find(self, parameters: Json, verb: str) -> Message:
        chat_id, message_id = _chat_id(parameters), int(parameters.get("message_id", 0))
        for message in self.chats.get(chat_id, []):
            if message.id == message_id and not message.is_deleted:
                if not message.is_from_bot and verb == "edit":
                    raise bad("message can't be edited")
                return message
        raise bad(f"message to {verb} not found")

    async def _edit_text(self, parameters: Json, _: Uploads) -> Json:
        message = self._find(parameters, "edit")
        if "text" not in message.api:
            raise bad("there is no text in the message to edit")
        return self._edit(message, parameters, text_of(parameters), ("text", "entities"))

    async def _edit_caption(self, parameters: Json, _: Uploads) -> Json:
        message = self._find(parameters, "edit")
        return self._edit(message, parameters, caption_of(parameters), ("caption", "caption_entities"))

    async def _edit_markup(self, parameters: Json, _: Uploads) -> Json:
        return self._edit(self._find(parameters, "edit"), parameters, {}, ())

    def _edit(self, message: Message, parameters: Json, shown: Json, members: tuple[str, ...]) -> Json:
        markup = markup_of(parameters)
        if markup:
            shown = {**shown, "reply_markup": markup}
        kept = {name: value for name, value in message.api.items() if name not in (*members, "reply_markup")}
        after = {**kept, **shown}
        if after == message.api:
            raise bad(NOT_MODIFIED)
        message.api = {**after, "edit_date": int(time.time())}
        message.edits += 1
        message.history.append(message.text)
        self.changes += 1
        message.changed = self.changes
        return message.api

    async def _delete(self, parameters: Json, _: Uploads) -> bool:
        self._find(parameters, "delete").is_deleted = True
        return True

    # --- the rest ---------------------------------------------------------------------------------------------------

    async def _yes(self, _: Json, __: Uploads) -> bool:
        return True

    async def _get_me(self, _: Json, __: Uploads) -> Json:
        abilities = ("can_join_groups", "can_read_all_group_messages", "supports_inline_queries")
        return {**self.me, "username": "binhyen_test_bot", **dict.fromkeys(abilities, False)}

    async def _get_file(self, parameters: Json, _: Uploads) -> Json:
        return self.files.describe(str(parameters.get("file_id", "")))

    async def _answer_query(self, parameters: Json, _: Uploads) -> bool:
        query = str(parameters.get("callback_query_id"))
        if len(str(parameters.get("text") or "")) > _ANSWER_LIMIT:
            raise bad("MESSAGE_TOO_LONG")
        if query not in self._queries:
            raise bad("query is too old and response timeout expired or query ID is invalid")
        self._queries.remove(query)
        self.answers[query] = parameters
        return True

    async def _set_commands(self, parameters: Json, _: Uploads) -> bool:
        if len(parameters["commands"]) > _COMMANDS:
            raise bad("BOT_COMMANDS_TOO_MUCH")
        for command in parameters["commands"]:
            if not re.fullmatch(r"[a-z0-9_]{1,32}", command["command"]) or not 1 <= len(command["description"]) <= 256:
                raise bad("BOT_COMMAND_INVALID")
        scope = json.dumps(parameters.get("scope") or {"type": "default"}, sort_keys=True)
        self.commands[f"{scope} {parameters.get('language_code', '')}".strip()] = parameters["commands"]
        return True


def _chat_id(parameters: Json) -> int:
    try:
        return int(parameters["chat_id"])
    except (KeyError, TypeError, ValueError):
        raise bad("chat_id is empty") from None
