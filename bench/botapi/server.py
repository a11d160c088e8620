"""A Bot API server on loopback, as strict as Telegram, with people in it to write and press, and with faults."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import Callable
from typing import Any

import aiohttp
from aiohttp import web

from bench.botapi.faults import Fault, next_fault
from bench.botapi.files import Uploads
from bench.botapi.people import Person
from bench.botapi.refusals import Json, Refused, unauthorized, unknown
from bench.botapi.telegram import TOKEN, Telegram

#: A day and more: whoever waits for an answer gives up first.
_FOR_EVER = 100_000.0


class FakeBotApi(Telegram):
    """The server. `async with FakeBotApi() as api:` starts it on a free port; `api.url` is TELEGRAM_API_URL.

    Args:
        latency: Seconds every answer takes.
        travels: Seconds a call of a method is on its way, there and back again. What has left is carried out, also
            when whoever sent it is gone by then.
        options: See Telegram.
    """

    def __init__(
        self,
        token: str = TOKEN,
        *,
        latency: float = 0.0,
        travels: Callable[[str], float] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(token, **options)
        self.latency = latency
        self.travels = travels
        self.faults: list[Fault] = []
        self.url = ""
        self._people: dict[int, Person] = {}
        self._under_way: set[asyncio.Task[web.Response]] = set()
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> FakeBotApi:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self, port: int = 0) -> None:
        """Listen on 127.0.0.1."""
        app = web.Application(client_max_size=60 * 1024 * 1024)
        app.router.add_route("*", "/bot{token}/{method}", self._on_call)
        app.router.add_get("/file/bot{token}/{path:.+}", self.on_download)
        app.router.add_post("/people/{chat}/sends", self._on_sends)
        app.router.add_post("/people/{chat}/presses", self._on_presses)
        app.router.add_get("/people/{chat}/messages", self._on_messages)
        # Handlers must end with the client's connection: a hung one would hold up the end of a test.
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", port).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        """Drop every connection. What is known stays, and `start` with the same port goes on from there."""
        self.updates.stop()
        for task in self._under_way:
            task.cancel()
        if self._runner is not None:
            await self._runner.cleanup()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.url.rpartition(":")[2])

    def person(self, chat_id: int, name: str = "Lan", language: str = "vi") -> Person:
        """The person of a private chat; the same one for the same id."""
        if chat_id not in self._people:
            self._people[chat_id] = Person(self, chat_id, name, language)
        return self._people[chat_id]

    # --- calls ------------------------------------------------------------------------------------------------------

    async def _on_call(self, request: web.Request) -> web.StreamResponse:
        if request.match_info["token"] != self.token:
            well_formed = re.fullmatch(r"\d+:[\w-]+", request.match_info["token"])
            return _answer(unauthorized() if well_formed else unknown())
        method = request.match_info["method"]
        parameters, uploads = await _read(request)
        self.calls.append((method, parameters))
        fault = next_fault(self.faults, method, parameters)
        self.news.happened()
        if fault and fault.kind == "cut_before":
            return _cut(request)
        if fault and fault.kind == "refuse":
            return web.Response(status=fault.code, text=fault.body, content_type="text/html")
        answer = await self._carried_out(method, parameters, uploads)
        await asyncio.sleep(_FOR_EVER if fault and fault.kind == "hang" else self.latency)
        if fault and fault.kind == "cut":
            return _cut(request)
        if fault and fault.kind == "garbage":
            return web.Response(text="<!doctype html> not JSON", content_type="application/json")
        return answer

    async def _carried_out(self, method: str, parameters: Json, uploads: Uploads) -> web.Response:
        if self.travels is None:
            return await self._do(method, parameters, uploads)
        task = asyncio.create_task(self._do(method, parameters, uploads, after=self.travels(method)))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        answer = await asyncio.shield(task)
        await asyncio.sleep(self.travels(method))
        return answer

    async def _do(self, method: str, parameters: Json, uploads: Uploads, *, after: float = 0.0) -> web.Response:
        if after:
            await asyncio.sleep(after)
        try:
            return _json({"ok": True, "result": await self.call(method, parameters, uploads)})
        except Refused as refused:
            return _answer(refused)

    async def on_download(self, request: web.Request) -> web.StreamResponse:
        """Answer whoever fetches a file."""
        try:
            if request.match_info["token"] != self.token:
                raise unknown()
            return web.Response(body=self.files.at(request.match_info["path"]))
        except Refused as refused:
            return _answer(refused)

    # --- people, played over HTTP -----------------------------------------------------------------------------------

    async def _on_sends(self, request: web.Request) -> web.Response:
        self.person(int(request.match_info["chat"])).sends((await request.json())["text"])
        return _json({"ok": True})

    async def _on_presses(self, request: web.Request) -> web.Response:
        try:
            self.person(int(request.match_info["chat"])).presses((await request.json())["label"])
        except AssertionError as error:
            return _json({"ok": False, "description": str(error)}, status=404)
        return _json({"ok": True})

    async def _on_messages(self, request: web.Request) -> web.Response:
        messages = self.chats.get(int(request.match_info["chat"]), [])
        return _json([{**message.api, "from_bot": message.is_from_bot} for message in messages])


# --- reading and answering ------------------------------------------------------------------------------------------


async def _read(request: web.Request) -> tuple[Json, dict[str, tuple[str, bytes]]]:
    """The parameters of a call and the files that came with it, whichever way they were written."""
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


def _json(body: Any, status: int = 200) -> web.Response:
    return web.json_response(body, status=status)


def _answer(refused: Refused) -> web.Response:
    return _json(refused.body, refused.code)


def _cut(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()
