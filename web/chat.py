"""The routes of the chat page; the HTTP side of `web.visitor.WebChat`."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, aclosing, contextmanager
from dataclasses import dataclass
from typing import Any, cast, get_args
from urllib.parse import quote

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route
from starlette.templating import Jinja2Templates
from starlette.types import Receive, Scope, Send

from channels.envelope import Upload
from channels.port import MediaKind
from channels.web.files import MAX_FILE
from db.outage import is_outage
from web.limits import Full, Held, Limits, Room, Seats
from web.security import Cookies, Limiter, Rate, TooLarge, client_of, is_same_origin, limited, read_body
from web.sentences import LANGUAGES, preferred_language, sentence
from web.visitor import PageEvent, WebChat, WebRefusal, address_of

_log = logging.getLogger(__name__)

_STATUS = {
    "no_chat": 401,
    "cross_site": 403,
    "not_found": 404,
    "old_button": 409,
    "too_large": 413,
    "not_json": 415,
    "too_fast": 429,
    "outage": 500,
}
_MAX_JSON = 64 * 1024
#: Around the file: boundaries, the caption and the other fields.
_MAX_FORM = MAX_FILE + 64 * 1024
_MAX_NUMBER = 2**31 - 1
_MAX_PAGE = 200
_PIECE = 64 * 1024
#: When to come again where there was no room, seconds.
_FULL_SECONDS = 10.0
_NONCE = re.compile(r"[A-Za-z0-9-]{8,64}")
_START = re.compile(r"[A-Za-z0-9_-]{1,64}")
_FILE_ID = re.compile(r"[A-Za-z0-9_-]{1,40}")
_RANGE = re.compile(r"bytes=(\d{0,15})-(\d{0,15})")
_INLINE = {"image/jpeg", "image/png", "image/webp"}
_PLAYED = ("audio/", "video/")


class _Refused(Exception):
    """The request is answered with this code's sentence; `wait` is for "too_fast", seconds."""

    def __init__(self, code: str, *, wait: float = 0.0) -> None:
        super().__init__(code)
        self.code = code
        self.wait = wait


@dataclass(frozen=True, slots=True)
class WebSettings:
    """What the pages need to know of the unit."""

    unit_name: str
    public_url: str | None = None
    timezone: str = "Asia/Ho_Chi_Minh"
    police: str = "113"

    @property
    def is_https(self) -> bool:
        """Whether the world sees us over TLS."""
        return (self.public_url or "").startswith("https://")


@dataclass(frozen=True, slots=True)
class ChatPage:
    """A chat page at one base path.

    `address` binds the page to one chat whoever opens it (the demo's persons); else the visitor's cookie decides.
    """

    chat: WebChat
    address: str | None = None
    title: str | None = None
    cookie: str = "by_chat"


class Floods:
    """How fast visitors may do what, and how much at once. Generous: a frightened person types fast, and a whole
    hotel has one address."""

    def __init__(self, limits: Limits) -> None:
        self._of_chat = Limiter(Rate(burst=20, per_second=1))
        self._of_client = Limiter(Rate(burst=200, per_second=10))
        self._opened = Limiter(Rate(burst=60, per_second=0.2))
        self._read = Limiter(Rate(burst=600, per_second=60))
        self._streams = Seats(limits.streams, limits.streams_per_client)
        room = limits.buffered, limits.buffered_per_client, limits.window_seconds
        self._incoming, self._outgoing = Room(*room), Room(*room)
        self.at_work = asyncio.Semaphore(limits.files_at_once)

    def may_write(self, request: Request, address: str) -> None:
        """Count an act of a visitor; raises _Refused."""
        _wait(self._of_client.wait(client_of(request)))
        _wait(self._of_chat.wait(address))

    def may_open(self, request: Request) -> None:
        """Count a new chat; raises _Refused."""
        _wait(self._opened.wait(client_of(request)))

    def may_read(self, request: Request) -> None:
        """Count a read; raises _Refused."""
        _wait(self._read.wait(client_of(request)))

    def stream(self, request: Request) -> AbstractContextManager[None]:
        """Hold one of the places for pages that are told of news; raises Full."""
        return self._streams.one(client_of(request))

    def incoming(self, request: Request) -> AbstractContextManager[Held]:
        """Count the bytes of a file on its way in."""
        return self._incoming.body(client_of(request), _cut(request))

    @contextmanager
    def outgoing(self, request: Request, size: int) -> Iterator[None]:
        """Hold `size` bytes of a file on its way out; raises Full."""
        with self._outgoing.body(client_of(request), _cut(request)) as held:
            held.take(size)
            yield


def _cut(request: Request) -> Callable[[], object]:
    """What ends the connection of a request; nothing where a server does not say how."""
    return getattr(request.state, "cut", lambda: None)


def _wait(seconds: float) -> None:
    if seconds > 0:
        raise _Refused("too_fast", wait=seconds)


class _InMemory(MultiPartParser):
    """Never spools to a file: what citizens send touches the disk sealed, or not at all."""

    spool_max_size = _MAX_FORM + 1


_Handler = Callable[[Request, str], Awaitable[Response]]


class ChatRoutes:
    """The routes under one base path."""

    def __init__(
        self,
        base: str,
        page: ChatPage,
        *,
        settings: WebSettings,
        templates: Jinja2Templates,
        floods: Floods,
        cookies: Cookies,
    ) -> None:
        self._base = base
        self._page = page
        self._chat = page.chat
        self._settings = settings
        self._templates = templates
        self._floods = floods
        self._cookies = cookies

    def routes(self) -> list[BaseRoute]:
        """All of them."""
        base, get, post = self._base, ["GET"], ["POST"]
        found: list[BaseRoute] = [
            Route(f"{base}/", self._open_page, methods=get),
            Route(f"{base}/api/messages", self._reading(self._messages), methods=get),
            Route(f"{base}/api/events", self._reading(self._events), methods=get),
            Route(f"{base}/api/files/{{file_id}}", self._reading(self._file), methods=get),
            Route(f"{base}/api/text", self._writing(self._text), methods=post),
            Route(f"{base}/api/press", self._writing(self._press), methods=post),
            Route(f"{base}/api/location", self._writing(self._location), methods=post),
            Route(f"{base}/api/file", self._writing(self._upload), methods=post),
            Route(f"{base}/api/seen", self._writing(self._seen), methods=post),
        ]
        if base:
            found.append(Route(base, self._to_slash, methods=get))
        return found

    # --- around every route ---

    def _address(self, request: Request) -> str:
        if self._page.address is not None:
            return self._page.address
        cookie = self._cookies.read(request, self._page.cookie)
        if cookie is None:
            raise _Refused("no_chat")
        return address_of(cookie)

    def _reading(self, handler: _Handler) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            async def act() -> Response:
                self._floods.may_read(request)
                return await handler(request, self._address(request))

            return await self._answered(request, act)

        return endpoint

    def _writing(self, handler: _Handler) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            async def act() -> Response:
                if not is_same_origin(request, self._settings.public_url):
                    raise _Refused("cross_site")
                address = self._address(request)
                self._floods.may_write(request, address)
                return await handler(request, address)

            return await self._answered(request, act)

        return endpoint

    async def _answered(self, request: Request, act: Callable[[], Awaitable[Response]]) -> Response:
        """What `act` answers, or the sentence for why not."""
        try:
            return await act()
        except (_Refused, WebRefusal) as refusal:
            return await self._refusal(request, refusal.code, getattr(refusal, "wait", 0.0))
        except Full:
            return await self._refusal(request, "too_fast", _FULL_SECONDS)
        except TooLarge:
            return await self._refusal(request, "too_large")
        except ClientDisconnect:
            return Response(status_code=400)
        except Exception as error:
            if is_outage(error):
                self._chat.outages.say("web_storage_failed", error)
            else:
                route = request.scope.get("route")
                _log.exception("web.failed", extra={"route": route and route.path})
            return await self._refusal(request, "outage")

    async def _refusal(self, request: Request, code: str, wait: float = 0.0) -> Response:
        # Not "Connection: close": who still sends would then find the line dead, and never read why.
        headers = {"Retry-After": str(math.ceil(wait))} if wait else {}
        return JSONResponse(
            {
                "ok": False,
                "error": sentence(await self._language(request), code, police=self._settings.police),
                "code": code,
            },
            _STATUS.get(code, 400),
            headers=headers,
        )

    async def _language(self, request: Request) -> str:
        """The chat's language, else what the browser asks for."""
        try:
            known = await self._chat.language_of(self._address(request))
        except Exception:  # no chat, or no database: there must be a sentence all the same
            known = None
        return known or preferred_language(request.headers.get("accept-language", ""))

    # --- the page ---

    async def _to_slash(self, request: Request) -> Response:
        query = f"?{request.url.query}" if request.url.query else ""
        return RedirectResponse(f"{self._base}/{query}", 308)

    async def _open_page(self, request: Request) -> Response:
        return await self._answered(request, lambda: self._page_for(request))

    async def _page_for(self, request: Request) -> Response:
        if request.method == "HEAD":
            return Response(media_type="text/html")
        self._floods.may_read(request)
        cookie = self._cookies.read(request, self._page.cookie) or self._cookies.new(self._page.cookie)
        address = self._page.address or address_of(cookie)
        wished = request.query_params.get("lang", "")
        known = await self._chat.language_of(address)
        if known is None:
            self._floods.may_open(request)
        language = wished if wished in LANGUAGES else known
        language = language or preferred_language(request.headers.get("accept-language", ""))
        await self._chat.open(address, language, rename=wished in LANGUAGES)
        start = request.query_params.get("start", "")
        response = self._templates.TemplateResponse(
            request,
            "chat.html",
            {
                "base": self._base,
                "language": language,
                "unit_name": self._settings.unit_name,
                "title": self._page.title,
                "start": start if _START.fullmatch(start) else "",
                "csp_nonce": "",
                "timezone": self._settings.timezone,
            },
        )
        if self._page.address is None:
            self._cookies.give(response, self._page.cookie, cookie, path=self._base or "/")
        return response

    # --- reading ---

    async def _messages(self, request: Request, address: str) -> Response:
        page = await self._chat.messages_after(
            address,
            _number(request.query_params.get("after", "0")),
            limit=max(1, min(_MAX_PAGE, _number(request.query_params.get("limit", "100")))),
            before=_number(request.query_params["before"]) if "before" in request.query_params else None,
        )
        return JSONResponse({"ok": True, **page, "unit": self._settings.unit_name})

    async def _events(self, request: Request, address: str) -> Response:
        if await self._chat.language_of(address) is None:
            raise _Refused("no_chat")
        last = request.headers.get("last-event-id") or request.query_params.get("after", "0")
        return _Pieces(
            self._stream(address, _number(last)),
            media_type="text/event-stream",
            # nginx holds back what it may buffer
            headers={"Cache-Control": "no-store, no-transform", "X-Accel-Buffering": "no"},
            held=self._floods.stream(request),
        )

    async def _stream(self, address: str, after: int) -> AsyncIterator[bytes]:
        yield b"retry: 2000\n\n"
        async with aclosing(cast(Any, self._chat.subscribe(address, after))) as events:
            async for event in events:
                yield _sse(event)

    async def _file(self, request: Request, address: str) -> Response:
        file_id = request.path_params["file_id"]
        if not _FILE_ID.fullmatch(file_id):
            raise _Refused("not_found")
        async with self._floods.at_work:
            file, content = await self._chat.file(address, file_id)
        inline = file.kind == "photo" and file.mime in _INLINE
        mime = file.mime if inline or file.mime.startswith(_PLAYED) else "application/octet-stream"
        headers = {
            "Content-Disposition": f"{'inline' if inline else 'attachment'}; filename*=UTF-8''{quote(file.name)}",
            "Content-Type": mime,
            "Content-Security-Policy": "sandbox; default-src 'none'; frame-ancestors 'self'",
            "Cache-Control": "private, no-store",
            "Accept-Ranges": "bytes",
        }
        return _ranged(request, content, headers, held=self._floods.outgoing(request, len(content)))

    # --- writing ---

    async def _text(self, request: Request, address: str) -> Response:
        body = await _json(request)
        return _own(await self._chat.post_text(address, _string(body, "text"), _nonce(body)))

    async def _press(self, request: Request, address: str) -> Response:
        body = await _json(request)
        await self._chat.press(address, _integer(body, "message_id"), _string(body, "data"), _nonce(body))
        return _own(None)

    async def _location(self, request: Request, address: str) -> Response:
        body = await _json(request)
        place = _degrees(body, "latitude"), _degrees(body, "longitude")
        return _own(await self._chat.post_location(address, *place, _nonce(body)))

    async def _seen(self, request: Request, address: str) -> Response:
        await self._chat.seen(address, _integer(await _json(request), "seq"))
        return JSONResponse({"ok": True})

    async def _upload(self, request: Request, address: str) -> Response:
        with self._floods.incoming(request) as held:
            fields, upload = await _form(request, held)
            held.arrived()
            kind = fields.get("kind", "")
            if kind not in get_args(MediaKind):
                raise _Refused("bad_request")
            # Only now: while a file is on its way it keeps no other from being stored.
            async with self._floods.at_work:
                message = await self._chat.post_file(
                    address, cast(MediaKind, kind), upload, _nonce(fields), caption=fields.get("caption", "")
                )
        return _own(message)


def _own(message: Mapping[str, Any] | None) -> Response:
    return JSONResponse({"ok": True, "message": message})


class _Pieces(StreamingResponse):
    """Leaves piece by piece, so that no more waits in memory than the other side takes; what is `held` for it is free
    when it ends. Its pieces end when the page is gone, also when that is noticed while something is being written:
    otherwise the garbage collector would have to, at a time and in a task of its own.

    Raises:
        Full: On making it, there is no room to hold.
    """

    def __init__(
        self, pieces: AsyncIterator[bytes], *args: Any, held: AbstractContextManager[None], **more: Any
    ) -> None:
        super().__init__(pieces, *args, **more)
        self._held = ExitStack()
        self._held.enter_context(held)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._held:
            async with aclosing(cast(Any, self.body_iterator)):
                await super().__call__(scope, receive, send)


def _sse(event: PageEvent) -> bytes:
    name, number, about = event
    if name == "ping":
        return b": ping\n\n"
    id_line = f"id: {number}\n" if number is not None else ""
    return f"event: {name}\n{id_line}data: {json.dumps(about, ensure_ascii=False)}\n\n".encode()


def _number(text: str) -> int:
    """A counter from a query or header; anything else is zero."""
    return min(int(text), _MAX_NUMBER) if text.isascii() and text.isdecimal() and len(text) < 20 else 0


async def _json(request: Request) -> dict[str, Any]:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise _Refused("not_json")
    try:
        body = json.loads(await read_body(request, _MAX_JSON))
    except (ValueError, RecursionError):
        raise _Refused("bad_request") from None
    if not isinstance(body, dict):
        raise _Refused("bad_request")
    return body


def _string(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str):
        raise _Refused("bad_request")
    return value


def _nonce(body: Mapping[str, Any]) -> str:
    nonce = _string(body, "nonce")
    if not _NONCE.fullmatch(nonce):
        raise _Refused("bad_request")
    return nonce


def _integer(body: Mapping[str, Any], name: str) -> int:
    value = body.get(name)
    if type(value) is not int or not 0 <= value <= _MAX_NUMBER:
        raise _Refused("bad_request")
    return value


def _degrees(body: Mapping[str, Any], name: str) -> float:
    value = body.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= 180:
        raise _Refused("bad_request")
    return float(value)


async def _form(request: Request, held: Held) -> tuple[dict[str, str], Upload]:
    """The fields and the one file of a multipart post; all in memory."""
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise _Refused("bad_request")
    parser = _InMemory(request.headers, _counted(request, held), max_files=1, max_fields=8)
    try:
        form = await parser.parse()
    except (MultiPartException, ValueError):
        raise _Refused("bad_request") from None
    try:
        file = form.get("file")
        if not isinstance(file, UploadFile):
            raise _Refused("bad_request")
        if (file.size or 0) > MAX_FILE:
            raise TooLarge
        upload = Upload(file.filename or "tep", file.content_type or "", await file.read())
        return {name: value for name, value in form.items() if isinstance(value, str)}, upload
    finally:
        await form.close()


async def _counted(request: Request, held: Held) -> AsyncGenerator[bytes, None]:
    async for piece in limited(request, _MAX_FORM):
        held.take(len(piece))
        yield piece


def _ranged(
    request: Request, content: bytes, headers: dict[str, str], *, held: AbstractContextManager[None]
) -> Response:
    """The bytes, or the part asked for: Safari plays sound and film only in parts."""
    asked = _RANGE.fullmatch(request.headers.get("range", ""))
    first, last, size = 0, len(content) - 1, len(content)
    if asked is not None and content and (asked[1] or asked[2]):
        first = int(asked[1]) if asked[1] else max(0, size - int(asked[2]))
        last = min(int(asked[2]), size - 1) if asked[1] and asked[2] else size - 1
        headers = {**headers, "Content-Range": f"bytes {first}-{last}/{size}"}
        if first > last:
            return Response(status_code=416, headers={**headers, "Content-Range": f"bytes */{size}"})
    headers = {**headers, "Content-Length": str(last + 1 - first)}
    status = 206 if "Content-Range" in headers else 200
    return _Pieces(_cut_up(content, first, last + 1), status, headers, held=held)


async def _cut_up(content: bytes, start: int, end: int) -> AsyncIterator[bytes]:
    for at in range(start, end, _PIECE):
        yield content[at : min(at + _PIECE, end)]
