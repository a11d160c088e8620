"""The routes of the chat page; the HTTP side of `web.visitor.WebChat`."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any, cast, get_args
from urllib.parse import quote

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.templating import Jinja2Templates

from channels.bodies import TooLarge
from channels.port import MediaKind
from db.outage import is_outage
from texts.catalogue import LANGUAGES
from web.asked import degrees, form, integer, json_of, nonce_of, number, string
from web.floods import Floods
from web.limits import Full
from web.pages import ChatPage, WebSettings
from web.pieces import Pieces, ranged, sse
from web.security import Cookies, is_same_origin
from web.sentences import Refused, preferred_language, sentence
from web.visitor import WebChat, WebRefusal, address_of

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
_MAX_PAGE = 200
#: When to come again where there was no room, seconds.
_FULL_SECONDS = 10.0
_START = re.compile(r"[A-Za-z0-9_-]{1,64}")
_FILE_ID = re.compile(r"[A-Za-z0-9_-]{1,40}")
_INLINE = {"image/jpeg", "image/png", "image/webp"}
_PLAYED = ("audio/", "video/")


_Handler = Callable[[Request, str], Awaitable[Response]]


class ChatRoutes:
    """The routes under one base path."""

    def __init__(
        self,
        base: str,
        page: ChatPage,
        chat: WebChat,
        *,
        settings: WebSettings,
        templates: Jinja2Templates,
        floods: Floods,
        cookies: Cookies,
    ) -> None:
        self._base = base
        self._page = page
        self._chat = chat
        self._settings = settings
        self._templates = templates
        self._floods = floods
        self._cookies = cookies

    def routes(self) -> list[BaseRoute]:
        """All of them."""
        base, get, post = self._base, ["GET"], ["POST"]
        found: list[BaseRoute] = [
            Route(f"{base}/", self._show_page, methods=get),
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
            raise Refused("no_chat")
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
                    raise Refused("cross_site")
                address = self._address(request)
                self._floods.may_write(request, address)
                return await handler(request, address)

            return await self._answered(request, act)

        return endpoint

    async def _answered(self, request: Request, act: Callable[[], Awaitable[Response]]) -> Response:
        """What `act` answers, or the sentence for why not."""
        try:
            return await act()
        except (Refused, WebRefusal) as refusal:
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

    async def _show_page(self, request: Request) -> Response:
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
            number(request.query_params.get("after", "0")),
            limit=max(1, min(_MAX_PAGE, number(request.query_params.get("limit", "100")))),
            before=number(request.query_params["before"]) if "before" in request.query_params else None,
        )
        return JSONResponse({"ok": True, **page, "unit": self._settings.unit_name})

    async def _events(self, request: Request, address: str) -> Response:
        if await self._chat.language_of(address) is None:
            raise Refused("no_chat")
        last = request.headers.get("last-event-id") or request.query_params.get("after", "0")
        return Pieces(
            self._stream(address, number(last)),
            media_type="text/event-stream",
            # nginx holds back what it may buffer
            headers={"Cache-Control": "no-store, no-transform", "X-Accel-Buffering": "no"},
            held=self._floods.stream(request),
        )

    async def _stream(self, address: str, after: int) -> AsyncIterator[bytes]:
        yield b"retry: 2000\n\n"
        async with aclosing(cast(Any, self._chat.subscribe(address, after))) as events:
            async for event in events:
                yield sse(event)

    async def _file(self, request: Request, address: str) -> Response:
        file_id = request.path_params["file_id"]
        if not _FILE_ID.fullmatch(file_id):
            raise Refused("not_found")
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
        return ranged(request, content, headers, held=self._floods.outgoing(request, len(content)))

    # --- writing ---

    async def _text(self, request: Request, address: str) -> Response:
        body = await json_of(request)
        return _own(await self._chat.post_text(address, string(body, "text"), nonce_of(body)))

    async def _press(self, request: Request, address: str) -> Response:
        body = await json_of(request)
        await self._chat.press(address, integer(body, "message_id"), string(body, "data"), nonce_of(body))
        return _own(None)

    async def _location(self, request: Request, address: str) -> Response:
        body = await json_of(request)
        place = degrees(body, "latitude"), degrees(body, "longitude")
        return _own(await self._chat.post_location(address, *place, nonce_of(body)))

    async def _seen(self, request: Request, address: str) -> Response:
        await self._chat.seen(address, integer(await json_of(request), "seq"))
        return JSONResponse({"ok": True})

    async def _upload(self, request: Request, address: str) -> Response:
        with self._floods.incoming(request) as held:
            fields, upload = await form(request, held)
            held.arrived()
            kind = fields.get("kind", "")
            if kind not in get_args(MediaKind):
                raise Refused("bad_request")
            # Only now: while a file is on its way it keeps no other from being stored.
            async with self._floods.at_work:
                message = await self._chat.post_file(
                    address, cast(MediaKind, kind), upload, nonce_of(fields), caption=fields.get("caption", "")
                )
        return _own(message)


def _own(message: Mapping[str, Any] | None) -> Response:
    return JSONResponse({"ok": True, "message": message})
