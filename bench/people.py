"""A town for measuring: a small Bot API server with people in it who enrol, write notices, report, take reports.

Its answers take a while, so that at any instant some of our calls are under way; a call that has left our process is
carried out even when the process is gone by then. What it accepted stays known, to be compared with the ledger.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from random import Random
from typing import Any

from aiohttp import web

from channels.wording import catalogue, plain
from texts.markup import parse

Json = dict[str, Any]
TOKEN = "123456789:bench-token-of-nobody"  # noqa: S105 - nobody's
MARK = plain("vi", "sending.again")
_PLACE = re.compile("\ue000(\\w+)\ue001")
#: What kills are to meet under way, and how long that takes at most, seconds.
_SLOW, _MAX_LATENCY = ("sendMessage", "editMessageText", "answerCallbackQuery"), 0.12


@cache
def pattern(key: str, **fixed: str) -> re.Pattern[str]:
    """What finds the Vietnamese text under `key` in a message; its places are groups, `fixed` ones are given."""
    alternatives = []
    for form in catalogue().forms("vi", key):
        names = catalogue().placeholders("vi", key)
        text = parse(form.format_map({name: f"\ue000{name}\ue001" for name in names}))[0]
        pieces, groups = _PLACE.split(text), set[str]()
        built = re.escape(pieces[0])
        for name, literal in zip(pieces[1::2], pieces[2::2], strict=True):
            if name in fixed:
                built += re.escape(fixed[name])
            else:
                built += "(?s:.+?)" if name in groups else f"(?P<{name}>(?s:.+?))"
                groups.add(name)
            built += re.escape(literal)
        alternatives.append(re.compile(f"{built}$" if pieces[-1] == "" and len(pieces) > 1 else built))
    return alternatives[-1]


@dataclass(slots=True)
class Shown:
    """A message of the bot's, with everything it has said since: `versions[0]` is what was sent, the rest edits."""

    id: int
    chat: int
    versions: list[str]
    buttons: list[Json]
    changed: int

    @property
    def text(self) -> str:
        """What it says now."""
        return self.versions[-1]

    @property
    def is_marked(self) -> bool:
        """Whether it said that it was sent again."""
        return self.versions[0].startswith(MARK)

    def button(self, label: str) -> str | None:
        """What a press on `label` sends."""
        return next((b["callback_data"] for b in self.buttons if b["text"] == label and "callback_data" in b), None)


@dataclass
class Town:
    """The server: `async with Town(Random(1)) as town:`; `town.url` is TELEGRAM_API_URL."""

    chance: Random
    url: str = ""
    chats: dict[int, list[Shown]] = field(default_factory=dict)
    given: set[int] = field(default_factory=set)
    polls: int = 0
    _waiting: deque[Json] = field(default_factory=deque)
    _serial: int = 0
    _change: asyncio.Condition = field(default_factory=asyncio.Condition)
    _runner: web.AppRunner | None = None

    async def __aenter__(self) -> Town:
        app = web.Application()
        app.router.add_post("/bot{token}/{method}", self._on_call)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_error: object) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def polled(self, after: int) -> None:
        """Return when the bot asked for updates more than `after` times."""
        async with self._change:
            await self._change.wait_for(lambda: self.polls > after)

    async def until(self, holds: Callable[[], Any], within: float | None = None) -> Any:
        """Wait until something that happens here makes `holds` true; raises TimeoutError."""
        async with asyncio.timeout(within), self._change:
            return await self._change.wait_for(holds)

    async def give(self, kind: str, content: Json) -> None:
        """Something happened: an update for the bot."""
        self._serial += 1
        update_id = 500_000_000 + self._serial
        self.given.add(update_id)
        self._waiting.append({"update_id": update_id, kind: content})
        await self._tell()

    def next_serial(self) -> int:
        """Numbers messages and changes, in order."""
        self._serial += 1
        return self._serial

    async def _tell(self) -> None:
        async with self._change:
            self._change.notify_all()

    async def _on_call(self, request: web.Request) -> web.Response:
        parameters = await request.json() if request.can_read_body else {}
        method = request.match_info["method"]
        if method == "getUpdates":
            return _ok(await self._updates(parameters))
        latency = _MAX_LATENCY if method in _SLOW else 0.0
        await asyncio.sleep(self.chance.uniform(0, latency / 2))
        result = await self._carry_out(method, parameters)
        await asyncio.sleep(self.chance.uniform(0, latency / 2))
        return result

    async def _updates(self, parameters: Json) -> list[Json]:
        self.polls += 1
        mine = self.polls
        offset = parameters.get("offset", 0)
        while self._waiting and self._waiting[0]["update_id"] < offset:
            self._waiting.popleft()
        await self._tell()
        ends_at = time.monotonic() + float(parameters.get("timeout", 0))
        while not self._waiting and mine == self.polls and (left := ends_at - time.monotonic()) > 0:
            async with self._change:
                try:
                    await asyncio.wait_for(self._change.wait(), left)
                except TimeoutError:
                    break
        return list(self._waiting)[: parameters.get("limit", 100)] if mine == self.polls else []

    async def _carry_out(self, method: str, parameters: Json) -> web.Response:
        match method:
            case "getMe":
                return _ok({"id": 123456789, "is_bot": True, "first_name": "Bench", "username": "bench_bot"})
            case "sendMessage":
                shown = self._accept(parameters)
                await self._tell()
                return _ok(_message(shown))
            case "editMessageText":
                return await self._edit(parameters)
            case "getWebhookInfo":
                return _ok({"url": ""})
            case _:
                return _ok(True)

    def _accept(self, parameters: Json) -> Shown:
        serial = self.next_serial()
        shown = Shown(serial, int(parameters["chat_id"]), [parameters["text"]], _buttons(parameters), serial)
        self.chats.setdefault(shown.chat, []).append(shown)
        return shown

    async def _edit(self, parameters: Json) -> web.Response:
        chat, message_id = int(parameters["chat_id"]), int(parameters["message_id"])
        shown = next((one for one in self.chats.get(chat, []) if one.id == message_id), None)
        if shown is None:
            return _refused("Bad Request: message to edit not found")
        buttons = _buttons(parameters)
        if (shown.text, shown.buttons) == (parameters["text"], buttons):
            return _refused("Bad Request: message is not modified")
        shown.versions.append(parameters["text"])
        shown.buttons = buttons
        shown.changed = self.next_serial()
        await self._tell()
        return _ok(_message(shown))


class Stuck(Exception):
    """Somebody did not get the answer they waited for."""


class Person:
    """Somebody with a phone."""

    def __init__(self, town: Town, chat: int, *, patience: Callable[[], float]) -> None:
        self.town = town
        self.chat = chat
        self._patience = patience
        self._acted = 0

    @property
    def messages(self) -> list[Shown]:
        """What the bot has written here."""
        return self.town.chats.get(self.chat, [])

    async def says(self, text: str) -> None:
        """Type and send."""
        message: Json = {**self._head(), "text": text}
        if text.startswith("/"):
            message["entities"] = [{"type": "bot_command", "offset": 0, "length": len(text.split()[0])}]
        self._acted = message["message_id"]
        await self.town.give("message", message)

    async def presses(self, shown: Shown, label: str) -> None:
        """Press the button called `label`; the first one when it is empty."""
        data = shown.button(label) if label else shown.buttons[0]["callback_data"]
        if data is None:
            raise Stuck(f"chat {self.chat}: no button {label!r} under {shown.text!r}")
        self._acted = self.town.next_serial()
        query = {"id": str(self._acted), "from": self._user(), "message": _message(shown), "chat_instance": "1"}
        await self.town.give("callback_query", {**query, "data": data})

    async def sees(self, key: str, /, **fixed: str) -> tuple[Shown, re.Match[str]]:
        """Wait for a message, new or edited since the last act, with the text under `key`; raises Stuck."""
        wanted = pattern(key, **fixed)

        def find() -> tuple[Shown, re.Match[str]] | None:
            for shown in reversed(self.messages):
                if shown.changed > self._acted and (match := wanted.search(shown.text)):
                    return shown, match
            return None

        while True:
            try:
                found: tuple[Shown, re.Match[str]] = await self.town.until(find, 5)
                return found
            except TimeoutError:
                if self._patience() <= 0:
                    last = self.messages[-1].text if self.messages else ""
                    raise Stuck(f"chat {self.chat} waits for {key} {fixed or ''}; last message: {last!r}") from None

    def _user(self) -> Json:
        return {"id": self.chat, "is_bot": False, "first_name": "Lan", "language_code": "vi"}

    def _head(self) -> Json:
        chat = {"id": self.chat, "type": "private", "first_name": "Lan"}
        return {"message_id": self.town.next_serial(), "date": int(time.time()), "chat": chat, "from": self._user()}


def label(key: str) -> str:
    """What a button says."""
    return plain("vi", key)


def _buttons(parameters: Json) -> list[Json]:
    rows = (parameters.get("reply_markup") or {}).get("inline_keyboard", [])
    return [button for row in rows for button in row]


def _message(shown: Shown) -> Json:
    keyboard = [[button] for button in shown.buttons]
    return {
        "message_id": shown.id,
        "date": int(time.time()),
        "chat": {"id": shown.chat, "type": "private", "first_name": "Lan"},
        "from": {"id": 123456789, "is_bot": True, "first_name": "Bench"},
        "text": shown.text,
        **({"reply_markup": {"inline_keyboard": keyboard}} if keyboard else {}),
    }


def _ok(result: Any) -> web.Response:
    return web.Response(text=json.dumps({"ok": True, "result": result}), content_type="application/json")


def _refused(description: str) -> web.Response:
    body = {"ok": False, "error_code": 400, "description": description}
    return web.Response(status=400, text=json.dumps(body), content_type="application/json")
