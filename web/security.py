"""What keeps strangers' pages, floods and oversized bodies out."""

from __future__ import annotations

import ipaddress
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_COOKIE = re.compile(r"[A-Za-z0-9_-]{43}")
_COOKIE_SECONDS = 365 * 24 * 3600
_HEADERS = {
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self' blob: data:",
            "media-src 'self' blob:",
            "font-src 'self'",
            "connect-src 'self'",
            "manifest-src 'self'",
            "worker-src 'self'",
            "frame-src 'self'",
            "form-action 'self'",
            "base-uri 'none'",
            "frame-ancestors 'self'",
        )
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "geolocation=(self), microphone=(self), camera=(self)",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class SecurityHeaders:
    """Puts the protective headers on every answer; what a route sets itself stays."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, sending if scope["type"] == "http" else send)


def is_same_origin(request: Request, public_url: str | None) -> bool:
    """Whether a post comes from our own page, as the browser says.

    Source: Fetch Metadata and the Origin header (developer.mozilla.org, read 2026-11). A caller that says neither is
    no browser and is refused.
    """
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is not None and site != "same-origin":
        return False
    if origin is None:
        return site is not None
    parts = urlsplit(origin)
    if parts.scheme not in ("http", "https"):
        return False
    ours = {request.headers.get("host", "").lower()}
    if public_url:
        ours.add(urlsplit(public_url).netloc.lower())
    return parts.netloc.lower() in ours - {""}


def cookie_of(request: Request, name: str) -> str | None:
    """The visitor's cookie, if it is one of ours."""
    value = request.cookies.get(name, "")
    return value if _COOKIE.fullmatch(value) else None


def new_cookie() -> str:
    """A fresh random cookie: 32 bytes."""
    return secrets.token_urlsafe(32)


def set_cookie(response: Response, name: str, value: str, *, path: str, secure: bool) -> None:
    """Give the visitor the cookie for a year; no script can read it."""
    response.set_cookie(name, value, max_age=_COOKIE_SECONDS, path=path, secure=secure, httponly=True, samesite="lax")


def client_of(request: Request) -> str:
    """Who calls, for counting: the address, or the /64 network of an IPv6 address."""
    host = request.client.host if request.client else ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if address.version == 6:
        return str(ipaddress.ip_network((address, 64), strict=False))
    return host


def is_direct(request: Request) -> bool:
    """Whether the caller speaks to us without a proxy in between: our own monitoring, not the world."""
    return "x-forwarded-for" not in request.headers and "forwarded" not in request.headers


@dataclass(frozen=True, slots=True)
class Rate:
    """`burst` at once, then `per_second`."""

    burst: int
    per_second: float


class Limiter:
    """Token buckets by key. Only the keys seen last are kept, so that a flood of keys costs no memory."""

    def __init__(self, rate: Rate, *, keys: int = 20_000, now: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._keys = keys
        self._now = now
        #: Key → when its bucket will be full again.
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def wait(self, key: str) -> float:
        """Take one token: 0 when there was one, else the seconds until there is (and none is taken)."""
        now, step = self._now(), 1 / self._rate.per_second
        full_at = max(self._full_at.get(key, now), now) + step
        excess = full_at - now - self._rate.burst * step
        if excess > 1e-9:
            return excess
        self._full_at[key] = full_at
        self._full_at.move_to_end(key)
        while len(self._full_at) > self._keys:
            self._full_at.popitem(last=False)
        return 0.0


class TooLarge(Exception):
    """The body is longer than it may be."""


async def limited(request: Request, limit: int) -> AsyncGenerator[bytes, None]:
    """The body in pieces; raises TooLarge as soon as it exceeds `limit` bytes, before reading where it says so."""
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limit:
        raise TooLarge
    taken = 0
    async for piece in request.stream():
        taken += len(piece)
        if taken > limit:
            raise TooLarge
        yield piece


async def read_body(request: Request, limit: int) -> bytes:
    """The whole body; raises TooLarge."""
    return b"".join([piece async for piece in limited(request, limit)])
