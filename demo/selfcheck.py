"""Walks the demo's five steps over HTTP, as its pages would: `run.py demo --selfcheck`."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import aiohttp

#: How long an answer may take, seconds.
_PATIENCE = 20.0
_PAUSE = 0.05
_CODE = re.compile(r"\d{4} \d{4} \d{4} \d{4}")
_PLACE = "Nhà nghỉ Kiểm Tra"
_NOTICE = "Thông báo kiểm tra\nBấm Đã nhận khi đọc được."
_REPORT = "Tin kiểm tra: đèn đường ở bến đò không sáng."

Message = dict[str, Any]


class Failed(Exception):
    """A step did not come out as promised; the message says which and how."""


class Phone:
    """One person's chat page, without the browser."""

    def __init__(self, session: aiohttp.ClientSession, address: str, base: str) -> None:
        self._session = session
        self._origin = address.rstrip("/")
        self._root = self._origin + base
        self._base = base
        self._messages: dict[int, Message] = {}
        self._seq = 0
        #: What came before this message id belongs to an earlier step.
        self._read_up_to = 0

    async def open(self) -> None:
        """Load the page, and what the chat has said so far."""
        await self._checked("GET", "/?lang=vi")
        await self._read()

    async def write(self, text: str) -> None:
        """Type something and send it; only what comes after it counts as an answer."""
        await self._read()
        self._read_up_to = max(self._messages, default=0)
        await self._post("text", {"text": text, "nonce": str(uuid4())})

    async def press(self, label: str) -> None:
        """Press the newest button whose label begins so, as soon as there is one."""
        message, button = await self._until(lambda: self._button(label), f"a button “{label}”")
        await self._post("press", {"message_id": message["id"], "data": button["data"], "nonce": str(uuid4())})

    async def hears(self, *words: str) -> str:
        """The text of the newest message from the bot that has all these words, as soon as there is one."""
        message = await self._until(lambda: self._said(words), f"“{' … '.join(words)}”")
        return str(message["text"])

    def _said(self, words: tuple[str, ...]) -> Message | None:
        fitting = (message for message in self._newest() if all(word in message["text"] for word in words))
        return next(fitting, None)

    def _button(self, label: str) -> tuple[Message, dict[str, str]] | None:
        for message in self._newest():
            for row in message["buttons"]:
                for button in row:
                    if "data" in button and button["label"].startswith(label):
                        return message, button
        return None

    def _newest(self) -> list[Message]:
        """The bot's messages since the visitor last wrote, newest first."""
        fresh = [message for number, message in self._messages.items() if number > self._read_up_to]
        return sorted((m for m in fresh if m["from"] == "bot" and not m["deleted"]), key=lambda m: -m["id"])

    async def _until(self, look: Callable[[], Any], what: str) -> Any:
        ends = time.monotonic() + _PATIENCE
        while (found := look()) is None:
            if time.monotonic() > ends:
                last = next(iter(self._newest()), {"text": "nothing"})
                raise Failed(f"{self._base} waited {_PATIENCE:.0f} s for {what}; it got: {last['text']!r}")
            await asyncio.sleep(_PAUSE)
            await self._read()
        return found

    async def _read(self) -> None:
        answer = await self._checked("GET", f"/api/messages?after={self._seq}&limit=200")
        self._messages |= {message["id"]: message for message in answer["messages"]}
        self._seq = answer["last_seq"]

    async def _post(self, what: str, body: dict[str, Any]) -> None:
        await self._checked("POST", f"/api/{what}", body)

    async def _checked(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        headers = {"Origin": self._origin, "Sec-Fetch-Site": "same-origin"}
        while True:
            async with self._session.request(method, self._root + path, json=body, headers=headers) as response:
                if response.status == 429:
                    await asyncio.sleep(float(response.headers.get("Retry-After", "1")))
                    continue
                if response.status != 200:
                    raise Failed(f"{method} {self._base}{path} answered {response.status}")
                return await response.json() if response.content_type == "application/json" else None


@asynccontextmanager
async def _phones(address: str) -> AsyncIterator[tuple[Phone, Phone, Phone, Phone]]:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        owner, citizen, duty, commander = (
            Phone(session, address, f"/demo/{role}") for role in ("owner", "citizen", "duty", "commander")
        )
        for phone in (owner, citizen, duty, commander):
            await phone.open()
        yield owner, citizen, duty, commander


async def walk(address: str, *, say: Callable[[str], object]) -> None:
    """Walk the five steps on the demo at `address`, one line said for each.

    Raises:
        Failed: at the first step that does not come out.
    """
    async with _phones(address) as (owner, citizen, duty, commander):
        steps: tuple[tuple[str, Callable[[], Awaitable[None]]], ...] = (
            ("the owner enrols", lambda: _enrol(owner)),
            ("the commander approves", lambda: _approve(commander, owner)),
            ("the commander sends a notice", lambda: _notify(commander, owner)),
            ("the owner confirms, the count follows", lambda: _confirm(owner, commander)),
            ("a citizen reports, the duty officer takes it", lambda: _report(citizen, duty)),
        )
        for number, (what, step) in enumerate(steps, start=1):
            began = time.monotonic()
            try:
                await step()
            except (aiohttp.ClientError, TimeoutError) as error:
                raise Failed(f"step {number}, {what}: {type(error).__name__}") from error
            except Failed as error:
                raise Failed(f"step {number}, {what}: {error}") from None
            say(f"{number}. {what}: ok ({time.monotonic() - began:.1f} s)")


async def _enrol(owner: Phone) -> None:
    await owner.write("/start")
    await owner.hears("113")
    await owner.write("/dangky")
    await owner.press("Nhà nghỉ")
    await owner.hears("Tên cơ sở")
    await owner.write(_PLACE)
    await owner.hears("địa chỉ")
    await owner.write("5 đường Bến Trăng")
    await owner.hears("điện thoại")
    await owner.write("0912 345 678")
    await owner.press("Khu phố 3")
    await owner.press("Đồng ý")
    await owner.hears("Đã gửi đăng ký", _PLACE)


async def _approve(commander: Phone, owner: Phone) -> None:
    await commander.hears(_PLACE)
    await commander.press("Duyệt")
    await owner.hears(_PLACE, "đã được duyệt")


async def _notify(commander: Phone, owner: Phone) -> None:
    await commander.write("/soan")
    await commander.hears("Soạn thông báo")
    await commander.write(_NOTICE)
    await commander.press("Bỏ qua")
    await commander.press("Nhà nghỉ")
    await commander.press("Cần bấm")
    await commander.press("Gửi ngay")
    await commander.hears("đúng như cơ sở sẽ thấy", _PLACE[:8])
    await commander.press("Gửi")
    await owner.hears("Thông báo kiểm tra")


async def _confirm(owner: Phone, commander: Phone) -> None:
    await owner.press("Đã nhận")
    await owner.hears("Thông báo kiểm tra", "✅", _PLACE)
    await commander.hears("đã gửi tới", "đã xác nhận 1")


async def _report(citizen: Phone, duty: Phone) -> None:
    await citizen.write("/baotin")
    await citizen.hears("113")
    await citizen.write(_REPORT)
    await citizen.press("Gửi")
    code = _CODE.search(await citizen.hears("Đã nhận lúc", "Mã tin"))
    if code is None:
        raise Failed("there is no code in the receipt")
    await duty.hears(_REPORT)
    await duty.press("Nhận xử lý")
    await citizen.hears("đã tiếp nhận tin")
    await citizen.write(f"/tracuu {code[0]}")
    await citizen.hears("đã tiếp nhận")
