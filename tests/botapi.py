"""A Bot API server on loopback, as strict as Telegram, with people in it to write and press.

It knows nothing of our code. As a script, `python -m tests.botapi --port 8081`, it serves until interrupted and its
people are played over HTTP: `POST /people/<chat id>/sends {"text": …}`, `POST /people/<chat id>/presses
{"label": …}`, `GET /people/<chat id>/messages`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import re
import secrets
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any, Literal

import aiohttp
from aiohttp import web

Json = dict[str, Any]
FaultKind = Literal["hang", "cut", "cut_before", "garbage", "refuse"]

TOKEN = "123456789:TEST-token-of-the-fake-server"
_COMMAND = re.compile(r"/[A-Za-z0-9_]{1,32}(?:@\w+)?(?=\s|$)")
_MEDIA = {"sendPhoto": "photo", "sendDocument": "document", "sendVideo": "video", "sendVoice": "voice"}
_TAGS = {"b": "bold", "strong": "bold", "i": "italic", "em": "italic", "u": "underline", "s": "strikethrough"}
_TAGS |= {"code": "code", "pre": "pre", "blockquote": "blockquote", "tg-spoiler": "spoiler", "a": "text_link"}
_NOT_MODIFIED = (
    "message is not modified: specified new message content and reply markup are exactly the same as a current "
    "content and reply markup of the message"
)


class Refused(Exception):
    """The server's "no"."""

    def __init__(self, code: int, description: str, **parameters: Any) -> None:
        super().__init__(description)
        self.code = code
        self.body: Json = {"ok": False, "error_code": code, "description": description}
        if parameters:
            self.body["parameters"] = parameters


def bad(description: str) -> Refused:
    """A 400."""
    return Refused(400, f"Bad Request: {description}")


@dataclass
class Fault:
    """What happens to the next `times` calls of `method` (of `chat_id`, when given).

    hang: done, but the answer never comes; cut: done, then the connection breaks; cut_before: the connection breaks
    and nothing is done; garbage: done, and the answer is not JSON; refuse: nothing is done and `code` is answered.
    """

    method: str
    kind: FaultKind
    times: int = 1
    chat_id: int | None = None
    code: int = 502
    body: str = "<html>Bad Gateway</html>"


@dataclass
class Message:
    """A message as it stands."""

    api: Json
    is_from_bot: bool
    changed: int
    edits: int = 0
    is_deleted: bool = False
    files: list[bytes] = field(default_factory=list)

    @property
    def id(self) -> int:
        return int(self.api["message_id"])

    @property
    def text(self) -> str:
        return str(self.api.get("text") or self.api.get("caption") or "")

    @property
    def buttons(self) -> list[list[Json]]:
        markup = self.api.get("reply_markup") or {}
        return markup.get("inline_keyboard") or []


@dataclass(frozen=True)
class Sending:
    """One accepted message of the bot's."""

    at: float
    method: str
    chat_id: int
    message: Message

    @property
    def text(self) -> str:
        return self.message.text


class FakeBotApi:
    """The server. `async with FakeBotApi() as api:` starts it on a free port; `api.url` is TELEGRAM_API_URL.

    Args:
        rate: Messages in any sliding second; None: no limit. `chat_rate` is the same for one chat, and
            `group_rate` is per minute for a negative chat id.
        latency: Seconds every answer takes.
        known_only: Chats that never wrote are "chat not found".
    """

    def __init__(
        self,
        token: str = TOKEN,
        *,
        rate: int | None = 30,
        chat_rate: int | None = None,
        group_rate: int | None = None,
        latency: float = 0.0,
        known_only: bool = False,
        remember: bool = True,
    ) -> None:
        self.token = token
        self.rate = rate
        self.chat_rate = chat_rate
        self.group_rate = group_rate
        self.latency = latency
        self.known_only = known_only
        self.remember = remember
        #: Every message of the bot's, in order of arrival; and every call with its parameters.
        self.sent: list[Sending] = []
        self.calls: list[tuple[str, Json]] = []
        self.accepted = 0
        self.refused = 0
        self.faults: list[Fault] = []
        self.blocked: set[int] = set()
        self.migrated: dict[int, int] = {}
        self.chats: dict[int, list[Message]] = {}
        self.keyboards: dict[int, list[list[Json]]] = {}
        self.commands: dict[str, list[Json]] = {}
        self.answers: dict[str, Json] = {}
        self.webhook: Json = {"url": ""}
        self.webhook_failures = 0
        self.polls = 0
        self.url = ""
        self._updates: deque[Json] = deque()
        self._next_update = 700_000_000 + secrets.randbelow(10_000_000)
        self._next_message = 1
        self._files: dict[str, bytes] = {}
        self._queries: set[str] = set()
        self._people: dict[int, Person] = {}
        self._all = deque[float]()
        self._of_chat: dict[int, deque[float]] = {}
        self._changes = 0
        self._changed = asyncio.Event()
        self._news = asyncio.Event()
        self._poll: asyncio.Future[None] | None = None
        self._background: set[asyncio.Task[None]] = set()
        self._runner: web.AppRunner | None = None

    # --- serving ----------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> FakeBotApi:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self, port: int = 0) -> None:
        """Listen on 127.0.0.1."""
        app = web.Application(client_max_size=60 * 1024 * 1024)
        app.router.add_route("*", "/bot{token}/{method}", self._on_call)
        app.router.add_get("/file/bot{token}/{path:.+}", self._on_download)
        app.router.add_post("/people/{chat}/sends", self._on_sends)
        app.router.add_post("/people/{chat}/presses", self._on_presses)
        app.router.add_get("/people/{chat}/messages", self._on_messages)
        # Handlers must end with the client's connection: a hung one would hold up the end of a test.
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port)
        await site.start()
        bound = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{bound}"

    async def stop(self) -> None:
        """Drop every connection. What is known stays, and `start` with the same port goes on from there."""
        for task in list(self._background):
            task.cancel()
        if self._runner is not None:
            await self._runner.cleanup()

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    async def _on_call(self, request: web.Request) -> web.StreamResponse:
        if request.match_info["token"] != self.token:
            well_formed = re.fullmatch(r"\d+:[\w-]+", request.match_info["token"])
            return _answer(Refused(401, "Unauthorized") if well_formed else Refused(404, "Not Found"))
        method = request.match_info["method"]
        parameters, files = await _parameters(request)
        if self.remember:
            self.calls.append((method, parameters))
        fault = self._fault(method, parameters)
        if fault and fault.kind == "cut_before":
            return _cut(request)
        if fault and fault.kind == "refuse":
            return web.Response(status=fault.code, text=fault.body, content_type="text/html")
        answer = await self._do(method, parameters, files)
        if self.latency:
            await asyncio.sleep(self.latency)
        match fault.kind if fault else None:
            case "hang":
                await asyncio.sleep(3600)
            case "cut":
                return _cut(request)
            case "garbage":
                return web.Response(text="<!doctype html> not JSON", content_type="application/json")
        return answer

    def _fault(self, method: str, parameters: Json) -> Fault | None:
        for fault in self.faults:
            chat = fault.chat_id is None or str(fault.chat_id) == str(parameters.get("chat_id"))
            if fault.method == method and chat:
                fault.times -= 1
                if fault.times <= 0:
                    self.faults.remove(fault)
                return fault
        return None

    async def _do(self, method: str, parameters: Json, files: dict[str, tuple[str, bytes]]) -> web.Response:
        call: Callable[[Json, dict[str, tuple[str, bytes]]], Awaitable[Any]] | None
        call = getattr(self, f"_{method}", None)
        try:
            if method in _MEDIA:
                result = await self._send_media(method, parameters, files)
            elif call is None:
                raise Refused(404, "Not Found")
            else:
                result = await call(parameters, files)
        except Refused as refused:
            return _answer(refused)
        return web.json_response({"ok": True, "result": result})

    async def _on_download(self, request: web.Request) -> web.Response:
        content = self._files.get(request.match_info["path"].rpartition("/")[2])
        if request.match_info["token"] != self.token or content is None:
            return _answer(Refused(404, "Not Found"))
        return web.Response(body=content)

    # --- methods: receiving -----------------------------------------------------------------------------------------

    async def _getMe(self, _: Json, __: Any) -> Json:
        me = {"id": int(self.token.partition(":")[0]), "is_bot": True, "first_name": "Bình Yên"}
        abilities = ("can_join_groups", "can_read_all_group_messages", "supports_inline_queries")
        return {**me, "username": "binhyen_test_bot", **dict.fromkeys(abilities, False)}

    async def _getUpdates(self, parameters: Json, _: Any) -> list[Json]:
        self.polls += 1
        if self.webhook["url"]:
            raise Refused(
                409,
                "Conflict: can't use getUpdates method while webhook is active; use deleteWebhook to delete the "
                "webhook first",
            )
        if self._poll is not None and not self._poll.done():
            self._poll.set_result(None)
        mine = self._poll = asyncio.get_running_loop().create_future()
        self._confirm(int(parameters.get("offset") or 0))
        self._allow(parameters)
        limit = min(100, int(parameters.get("limit") or 100))
        ends_at = time.monotonic() + float(parameters.get("timeout") or 0)
        while not self._updates and time.monotonic() < ends_at:
            self._news.clear()
            change = asyncio.ensure_future(self._news.wait())
            await asyncio.wait({change, mine}, timeout=ends_at - time.monotonic(), return_when=asyncio.FIRST_COMPLETED)
            change.cancel()
            if mine.done():
                raise Refused(
                    409,
                    "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running",
                )
        mine.cancel()
        return list(self._updates)[:limit]

    def _confirm(self, offset: int) -> None:
        if offset < 0:
            self._updates = deque(list(self._updates)[offset:])
        elif offset:
            self._updates = deque(update for update in self._updates if update["update_id"] >= offset)

    def _allow(self, parameters: Json) -> None:
        if "allowed_updates" in parameters:
            self.webhook["allowed_updates"] = parameters["allowed_updates"]

    async def _setWebhook(self, parameters: Json, _: Any) -> bool:
        secret = parameters.get("secret_token", "")
        if secret and not re.fullmatch(r"[A-Za-z0-9_-]{1,256}", secret):
            raise bad("secret token contains unallowed characters")
        self._allow(parameters)
        self.webhook |= {"url": parameters.get("url", ""), "secret": secret}
        if parameters.get("drop_pending_updates"):
            self._updates.clear()
        self._start_delivering()
        return True

    async def _deleteWebhook(self, parameters: Json, _: Any) -> bool:
        self.webhook |= {"url": "", "secret": ""}
        if parameters.get("drop_pending_updates"):
            self._updates.clear()
        return True

    async def _getWebhookInfo(self, _: Json, __: Any) -> Json:
        return {
            "url": self.webhook["url"],
            "has_custom_certificate": False,
            "pending_update_count": len(self._updates),
        }

    def _start_delivering(self) -> None:
        if self.webhook["url"] and self._updates and not self._background:
            task = asyncio.get_running_loop().create_task(self._deliver())
            self._background.add(task)
            task.add_done_callback(self._delivered)

    def _delivered(self, task: asyncio.Task[None]) -> None:
        self._background.discard(task)
        if not task.cancelled():
            self._start_delivering()  # one may have come while the connection was being closed

    async def _deliver(self) -> None:
        async with aiohttp.ClientSession() as session:
            while self._updates and self.webhook["url"]:
                update = self._updates[0]
                headers = {"X-Telegram-Bot-Api-Secret-Token": self.webhook["secret"]} if self.webhook["secret"] else {}
                try:
                    async with session.post(self.webhook["url"], json=update, headers=headers) as response:
                        taken = 200 <= response.status < 300
                except aiohttp.ClientError:
                    taken = False
                if not taken:
                    self.webhook_failures += 1
                    await asyncio.sleep(0.1)
                elif self._updates and self._updates[0] is update:
                    self._updates.popleft()

    def push(self, kind: str, content: Json) -> Json:
        """A new update, as if it had happened; returned with its id."""
        update = {"update_id": self._next_update, kind: content}
        self._next_update += 1
        allowed = self.webhook.get("allowed_updates")
        if not allowed or kind in allowed:
            self.push_raw(update)
        return update

    def push_raw(self, update: Json) -> None:
        """Any JSON as an update, sound or not; also one that was there before."""
        self._updates.append(update)
        self._news.set()
        self._start_delivering()

    # --- methods: sending -------------------------------------------------------------------------------------------

    async def _sendMessage(self, parameters: Json, _: Any) -> Json:
        return self._accept("sendMessage", parameters, _text_of(parameters, "text", 4096)).api

    async def _sendLocation(self, parameters: Json, _: Any) -> Json:
        place = {name: float(parameters[name]) for name in ("latitude", "longitude")}
        return self._accept("sendLocation", parameters, {"location": place}).api

    async def _send_media(self, method: str, parameters: Json, files: dict[str, tuple[str, bytes]]) -> Json:
        kind = _MEDIA[method]
        media, content = self._media(kind, str(parameters.get(kind, f"attach://{kind}")), files)
        shown = {kind: media, **_text_of(parameters, "caption", 1024)}
        message = self._accept(method, parameters, shown)
        message.files = [content]
        return message.api

    async def _sendMediaGroup(self, parameters: Json, files: dict[str, tuple[str, bytes]]) -> list[Json]:
        items = parameters.get("media") or []
        if not 2 <= len(items) <= 10:
            raise bad("wrong number of media in an album")
        if len({"document" if item["type"] == "document" else "visual" for item in items}) > 1:
            raise bad("documents can't be mixed with other media types")
        if "reply_markup" in parameters:
            raise bad("an album has no reply markup")
        stored = [self._media(item["type"], item["media"], files) for item in items]
        self._admit(parameters, len(items))
        answers = []
        for item, (media, content) in zip(items, stored, strict=True):
            shown = {item["type"]: media, "media_group_id": "1", **_text_of(item, "caption", 1024)}
            message = self._record("sendMediaGroup", parameters, shown)
            message.files = [content]
            answers.append(message.api)
        return answers

    def _media(self, kind: str, reference: str, files: dict[str, tuple[str, bytes]]) -> tuple[Any, bytes]:
        name, content = "", b""
        if reference.startswith("attach://"):
            part = reference.removeprefix("attach://")
            if part not in files:
                raise bad(f"there is no {kind} in the request")
            name, content = files[part]
            if not content:
                raise bad("file must be non-empty")
            reference = self._keep(content, kind)
        elif reference not in self._files or not reference.startswith(kind):
            raise bad("wrong file identifier/HTTP URL specified")
        else:
            content = self._files[reference]
        return _media_object(kind, reference, name, len(content)), content

    def _keep(self, content: bytes, kind: str) -> str:
        file_id = f"{kind}-{secrets.token_urlsafe(12)}"
        self._files[file_id] = content
        return file_id

    def _accept(self, method: str, parameters: Json, shown: Json) -> Message:
        markup = _markup_of(parameters)
        self._admit(parameters, 1)
        if markup and "inline_keyboard" in markup:
            shown = {**shown, "reply_markup": markup}
        elif markup and "keyboard" in markup:
            self.keyboards[int(parameters["chat_id"])] = markup["keyboard"]
        elif markup:
            self.keyboards.pop(int(parameters["chat_id"]), None)
        return self._record(method, parameters, shown)

    def _admit(self, parameters: Json, count: int) -> None:
        """Refuse what Telegram would refuse, then count it."""
        chat_id = _chat_id(parameters)
        if chat_id in self.migrated:
            self._refuse(
                Refused(
                    400,
                    "Bad Request: group chat was upgraded to a supergroup chat",
                    migrate_to_chat_id=self.migrated[chat_id],
                )
            )
        if chat_id in self.blocked:
            self._refuse(Refused(403, "Forbidden: bot was blocked by the user"))
        if self.known_only and chat_id not in self.chats and chat_id not in self._people:
            self._refuse(bad("chat not found"))
        now = time.monotonic()
        windows = [(self._all, self.rate, 1.0)]
        if self.chat_rate or self.group_rate:
            own = self._of_chat.setdefault(chat_id, deque())
            is_group = chat_id < 0 and self.group_rate
            windows.append((own, self.group_rate, 60.0) if is_group else (own, self.chat_rate, 1.0))
        for times, most, window in windows:
            while times and now - times[0] >= window:
                times.popleft()
            if most and len(times) + count > most:
                wait = max(1, round(window - (now - times[0]))) if times else 1
                self._refuse(
                    Refused(429, f"Too Many Requests: retry after {wait}", retry_after=wait),
                )
        for times, _, _ in windows:
            times.extend([now] * count)

    def _refuse(self, refused: Refused) -> None:
        self.refused += 1
        raise refused

    def _record(self, method: str, parameters: Json, shown: Json) -> Message:
        chat_id = int(parameters["chat_id"])
        sender = {"id": int(self.token.partition(":")[0]), "is_bot": True, "first_name": "Bình Yên"}
        message = self._message(chat_id, sender, shown, is_from_bot=True)
        self.accepted += 1
        if self.remember:
            self.sent.append(Sending(time.monotonic(), method, chat_id, message))
        return message

    def _message(self, chat_id: int, sender: Json, shown: Json, *, is_from_bot: bool) -> Message:
        api = {
            "message_id": self._next_message,
            "date": int(time.time()),
            "chat": _chat(chat_id),
            "from": sender,
            **shown,
        }
        self._next_message += 1
        self._changes += 1
        message = Message(api, is_from_bot, self._changes)
        if self.remember:
            self.chats.setdefault(chat_id, []).append(message)
            self._changed.set()
        return message

    # --- methods: changing ------------------------------------------------------------------------------------------

    def _find(self, parameters: Json, verb: str) -> Message:
        chat_id, message_id = _chat_id(parameters), int(parameters.get("message_id", 0))
        for message in self.chats.get(chat_id, []):
            if message.id == message_id and not message.is_deleted:
                if not message.is_from_bot and verb == "edit":
                    raise bad("message can't be edited")
                return message
        raise bad(f"message to {verb} not found")

    async def _editMessageText(self, parameters: Json, _: Any) -> Json:
        message = self._find(parameters, "edit")
        if "text" not in message.api:
            raise bad("there is no text in the message to edit")
        return self._edit(message, parameters, _text_of(parameters, "text", 4096), ("text", "entities"))

    async def _editMessageCaption(self, parameters: Json, _: Any) -> Json:
        message = self._find(parameters, "edit")
        shown = _text_of(parameters, "caption", 1024)
        return self._edit(message, parameters, shown, ("caption", "caption_entities"))

    async def _editMessageReplyMarkup(self, parameters: Json, _: Any) -> Json:
        return self._edit(self._find(parameters, "edit"), parameters, {}, ())

    def _edit(self, message: Message, parameters: Json, shown: Json, members: tuple[str, ...]) -> Json:
        markup = _markup_of(parameters)
        if markup:
            shown["reply_markup"] = markup
        replaced = {name: value for name, value in message.api.items() if name not in (*members, "reply_markup")}
        after = {**replaced, **shown}
        if after == message.api:
            raise bad(_NOT_MODIFIED)
        message.api = {**after, "edit_date": int(time.time())}
        message.edits += 1
        self._changes += 1
        message.changed = self._changes
        self._changed.set()
        return message.api

    async def _deleteMessage(self, parameters: Json, _: Any) -> bool:
        self._find(parameters, "delete").is_deleted = True
        self._changed.set()
        return True

    async def _answerCallbackQuery(self, parameters: Json, _: Any) -> bool:
        query = str(parameters.get("callback_query_id"))
        if query not in self._queries:
            raise bad("query is too old and response timeout expired or query ID is invalid")
        self._queries.remove(query)
        self.answers[query] = parameters
        self._changed.set()
        return True

    async def _setMyCommands(self, parameters: Json, _: Any) -> bool:
        for command in parameters["commands"]:
            if not re.fullmatch(r"[a-z0-9_]{1,32}", command["command"]) or not 1 <= len(command["description"]) <= 256:
                raise bad("BOT_COMMAND_INVALID")
        scope = json.dumps(parameters.get("scope") or {"type": "default"}, sort_keys=True)
        self.commands[f"{scope} {parameters.get('language_code', '')}".strip()] = parameters["commands"]
        return True

    async def _deleteMyCommands(self, _: Json, __: Any) -> bool:
        return True

    async def _sendChatAction(self, _: Json, __: Any) -> bool:
        return True

    async def _setMyDescription(self, _: Json, __: Any) -> bool:
        return True

    async def _setMyShortDescription(self, _: Json, __: Any) -> bool:
        return True

    async def _setChatMenuButton(self, _: Json, __: Any) -> bool:
        return True

    async def _leaveChat(self, _: Json, __: Any) -> bool:
        return True

    async def _getFile(self, parameters: Json, _: Any) -> Json:
        file_id = parameters.get("file_id", "")
        if file_id not in self._files:
            raise bad("invalid file_id")
        size = len(self._files[file_id])
        if size > 20 * 1024 * 1024:
            raise bad("file is too big")
        return {
            "file_id": file_id,
            "file_unique_id": file_id[-12:],
            "file_size": size,
            "file_path": f"files/{file_id}",
        }

    # --- people -----------------------------------------------------------------------------------------------------

    def person(self, chat_id: int, name: str = "Lan", language: str = "vi") -> Person:
        """The person of a private chat; the same one for the same id."""
        if chat_id not in self._people:
            self._people[chat_id] = Person(self, chat_id, name, language)
        return self._people[chat_id]

    async def changed(self, within: float) -> None:
        """Wait until a message was sent, edited or deleted, or `within` seconds are over."""
        self._changed.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), within)

    async def _on_sends(self, request: web.Request) -> web.Response:
        self.person(int(request.match_info["chat"])).sends((await request.json())["text"])
        return web.json_response({"ok": True})

    async def _on_presses(self, request: web.Request) -> web.Response:
        try:
            self.person(int(request.match_info["chat"])).presses((await request.json())["label"])
        except AssertionError as error:
            return web.json_response({"ok": False, "description": str(error)}, status=404)
        return web.json_response({"ok": True})

    async def _on_messages(self, request: web.Request) -> web.Response:
        messages = self.chats.get(int(request.match_info["chat"]), [])
        return web.json_response([{**message.api, "from_bot": message.is_from_bot} for message in messages])


class Person:
    """Somebody with a phone."""

    def __init__(self, api: FakeBotApi, chat_id: int, name: str, language: str) -> None:
        self.api = api
        self.chat_id = chat_id
        self.user = {"id": chat_id, "is_bot": False, "first_name": name, "language_code": language}
        self._acted = 0

    @property
    def messages(self) -> list[Message]:
        """What the chat shows, own messages too."""
        return [message for message in self.api.chats.get(self.chat_id, []) if not message.is_deleted]

    @property
    def inbox(self) -> list[Message]:
        """What the bot has written here."""
        return [message for message in self.messages if message.is_from_bot]

    def _writes(self, shown: Json, to: int | None = None) -> Message:
        message = self.api._message(to or self.chat_id, self.user, shown, is_from_bot=False)
        self._acted = message.changed
        self.api.push("message", message.api)
        return message

    def sends(self, text: str, *, to: int | None = None, entities: list[Json] | None = None) -> Message:
        """Type and send; `to` is a group's id."""
        shown: Json = {"text": text}
        if command := _COMMAND.match(text):
            shown["entities"] = [{"type": "bot_command", "offset": 0, "length": command.end()}]
        if entities:
            shown["entities"] = entities
        return self._writes(shown, to)

    def sends_photo(self, content: bytes, caption: str = "") -> Message:
        """Send a picture."""
        return self._sends_file("photo", content, caption)

    def sends_document(self, content: bytes, caption: str = "", name: str = "file.pdf") -> Message:
        """Send a file."""
        return self._sends_file("document", content, caption, name)

    def sends_video(self, content: bytes, caption: str = "") -> Message:
        """Send a film."""
        return self._sends_file("video", content, caption)

    def sends_voice(self, content: bytes) -> Message:
        """Send a voice message."""
        return self._sends_file("voice", content, "")

    def _sends_file(self, kind: str, content: bytes, caption: str, name: str = "") -> Message:
        media = _media_object(kind, self.api._keep(content, kind), name, len(content))
        return self._writes({kind: media, **({"caption": caption} if caption else {})})

    def sends_location(self, latitude: float, longitude: float) -> Message:
        """Send a position."""
        return self._writes({"location": {"latitude": latitude, "longitude": longitude}})

    def shares_contact(self, phone: str, *, of: int | None = None) -> Message:
        """Send a phone number: one's own, unless `of` says whose."""
        return self._writes({"contact": {"phone_number": phone, "first_name": "x", "user_id": of or self.chat_id}})

    def presses(self, label: str, *, message: Message | None = None, phone: str = "+84912345678") -> str:
        """Press the newest button called `label`; on a keyboard that is the same as typing it.

        Returns: The query's id ("" for a keyboard).
        """
        for shown in [message] if message else reversed(self.inbox):
            for button in (button for row in shown.buttons for button in row):
                if button["text"] == label and "callback_data" in button:
                    return self.presses_data(button["callback_data"], message=shown)
        for button in (button for row in self.api.keyboards.get(self.chat_id, []) for button in row):
            if button["text"] == label:
                if button.get("request_contact"):
                    self.shares_contact(phone)
                elif button.get("request_location"):
                    self.sends_location(16.0544, 108.2022)
                else:
                    self.sends(label)
                return ""
        raise AssertionError(f"no button {label!r} for {self.chat_id}; there is: {self._labels()}")

    def presses_data(self, data: str, *, message: Message) -> str:
        """Press with any data, as a forged client could."""
        query_id = str(secrets.randbits(60))
        self.api._queries.add(query_id)
        self._acted = self.api._changes
        query = {"id": query_id, "from": self.user, "message": message.api, "chat_instance": "1", "data": data}
        self.api.push("callback_query", query)
        return query_id

    def blocks(self) -> None:
        """Block the bot."""
        self.api.blocked.add(self.chat_id)
        self._membership("member", "kicked")

    def unblocks(self) -> None:
        """Let the bot write again."""
        self.api.blocked.discard(self.chat_id)
        self._membership("kicked", "member")

    def _membership(self, before: str, after: str) -> None:
        bot = {"id": int(self.api.token.partition(":")[0]), "is_bot": True, "first_name": "Bình Yên"}
        states = [{"user": bot, "status": s, **({"until_date": 0} if s == "kicked" else {})} for s in (before, after)]
        change = {"chat": _chat(self.chat_id), "from": self.user, "date": int(time.time())}
        self.api.push("my_chat_member", {**change, "old_chat_member": states[0], "new_chat_member": states[1]})

    async def sees(self, text: str, within: float = 10.0) -> Message:
        """The newest message of the bot's that holds `text`, new or edited since this person last did something.

        Raises:
            AssertionError: There was none in time; says what there was.
        """
        ends_at = time.monotonic() + within
        while True:
            for message in reversed(self.inbox):
                if message.changed > self._acted and text in message.text:
                    return message
            left = ends_at - time.monotonic()
            if left <= 0:
                shown = [message.text for message in self.inbox[-5:]]
                raise AssertionError(f"{self.chat_id} does not see {text!r} within {within} s, but {shown}")
            await self.api.changed(min(left, 0.25))

    def _labels(self) -> list[str]:
        inline = [button["text"] for message in self.inbox for row in message.buttons for button in row]
        typed = [button["text"] for row in self.api.keyboards.get(self.chat_id, []) for button in row]
        return inline + typed


# --- reading a call -------------------------------------------------------------------------------------------------


async def _parameters(request: web.Request) -> tuple[Json, dict[str, tuple[str, bytes]]]:
    parameters: Json = dict(request.query)
    files: dict[str, tuple[str, bytes]] = {}
    if request.content_type == "application/json":
        parameters |= await request.json() if request.can_read_body else {}
    elif request.content_type == "multipart/form-data":
        async for part in await request.multipart():
            if not isinstance(part, aiohttp.BodyPartReader) or part.name is None:
                continue
            if part.filename is not None:
                files[part.name] = (part.filename, bytes(await part.read()))
            else:
                parameters[part.name] = await part.text()
    elif request.can_read_body:
        parameters |= dict(await request.post())
    return {name: _unquoted(name, value) for name, value in parameters.items()}, files


def _unquoted(name: str, value: Any) -> Any:
    """Form fields carry JSON as text."""
    if isinstance(value, str) and name not in ("text", "caption") and value[:1] in ("[", "{"):
        with contextlib.suppress(ValueError):
            return json.loads(value)
    return {"true": True, "false": False}.get(value, value) if isinstance(value, str) else value


def _chat_id(parameters: Json) -> int:
    try:
        return int(parameters["chat_id"])
    except (KeyError, TypeError, ValueError):
        raise bad("chat_id is empty") from None


def _chat(chat_id: int) -> Json:
    if chat_id < 0:
        kind = "supergroup" if str(chat_id).startswith("-100") else "group"
        return {"id": chat_id, "type": kind, "title": "Nhóm"}
    return {"id": chat_id, "type": "private", "first_name": "Khách"}


def _utf16(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _text_of(parameters: Json, name: str, limit: int) -> Json:
    member = "entities" if name == "text" else "caption_entities"
    text, entities = str(parameters.get(name) or ""), list(parameters.get(member) or [])
    if parameters.get("parse_mode") == "HTML":
        text, entities = _parse_html(text)
    if name == "text" and not text.strip():
        raise bad("message text is empty")
    if _utf16(text) > limit:
        raise bad("message is too long" if name == "text" else "message caption is too long")
    for entity in entities:
        if entity["offset"] < 0 or entity["length"] <= 0 or entity["offset"] + entity["length"] > _utf16(text):
            raise bad("can't parse entities: entity is out of the text")
    shown: Json = {name: text} if text else {}
    return {**shown, member: entities} if entities else shown


def _parse_html(text: str) -> tuple[str, list[Json]]:
    parser = _Html()
    parser.feed(text)
    parser.close()
    if parser.open:
        raise bad("can't parse entities: Can't find end tag")
    return parser.text, parser.entities


class _Html(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.text = ""
        self.entities: list[Json] = []
        self.open: list[Json] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _TAGS:
            raise bad(f'can\'t parse entities: Unsupported start tag "{tag}"')
        link = {"url": dict(attrs).get("href")} if tag == "a" else {}
        entity = {"type": _TAGS[tag], "offset": _utf16(self.text), "length": 0, **link}
        self.open.append(entity)
        self.entities.append(entity)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open[-1]["type"] != _TAGS.get(tag):
            raise bad("can't parse entities: Unmatched end tag")
        entity = self.open.pop()
        entity["length"] = _utf16(self.text) - entity["offset"]
        if not entity["length"]:
            self.entities.remove(entity)

    def handle_data(self, data: str) -> None:
        self.text += data


def _markup_of(parameters: Json) -> Json | None:
    markup = parameters.get("reply_markup")
    if not markup:
        return None
    if not isinstance(markup, dict):
        raise bad("object expected as reply markup")
    for button in (button for row in markup.get("inline_keyboard", []) for button in row):
        if not str(button.get("text", "")).strip():
            raise bad("text buttons are unallowed in the inline keyboard")
        data, url = button.get("callback_data"), button.get("url")
        if data is not None and not 1 <= len(str(data).encode()) <= 64:
            raise bad("BUTTON_DATA_INVALID")
        if data is None and not re.match(r"https?://|tg://", str(url)):
            raise bad("BUTTON_URL_INVALID" if url else "BUTTON_TYPE_INVALID")
    return dict(markup) if markup.get("inline_keyboard") or "inline_keyboard" not in markup else None


def _media_object(kind: str, file_id: str, name: str, size: int) -> Any:
    file = {"file_id": file_id, "file_unique_id": file_id[-12:], "file_size": size}
    match kind:
        case "photo":
            return [{**file, "file_id": f"{file_id}", "width": 90, "height": 60}]
        case "video":
            return {**file, "width": 90, "height": 60, "duration": 1}
        case "voice":
            return {**file, "duration": 1, "mime_type": "audio/ogg"}
        case _:
            return {**file, "file_name": name, "mime_type": "application/octet-stream"}


def _answer(refused: Refused) -> web.Response:
    return web.json_response(refused.body, status=refused.code)


def _cut(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def _serve(port: int, token: str, rate: int) -> None:
    async with FakeBotApi(token, rate=rate or None) as api:
        if port:
            await api.stop()
            await api.start(port)
        print(f"TELEGRAM_API_URL={api.url} BOT_TOKEN={api.token}", flush=True)  # noqa: T201
        await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--token", default=TOKEN)
    parser.add_argument("--rate", type=int, default=30, help="messages a second, 0: no limit")
    arguments = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(arguments.port, arguments.token, arguments.rate))
