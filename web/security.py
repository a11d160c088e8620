"""What keeps strangers' pages, floods and oversized bodies out."""

from __future__ import annotations

import hmac
import ipaddress
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from db.sealing import KeyRing
from web.limits import Full, Limits, Seats

_COOKIE = re.compile(r"([A-Za-z0-9_-]{32})\.([0-9a-f]{32})")
_COOKIE_BYTES = 24
_COOKIE_SECONDS = 365 * 24 * 3600
#: How long a browser asks for us over HTTPS only, seconds: half a year, renewed with every answer.
_HTTPS_SECONDS = 182 * 24 * 3600
#: What a proxy adds to a request. Not all of them do, and whoever calls directly may write them as well.
_FORWARDED = ("x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "forwarded", "via")
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
    """Puts the protective headers on every answer; what a route sets itself stays.

    Args:
        is_https: Whether the world reaches us over HTTPS; its browsers then come no other way.
    """

    def __init__(self, app: ASGIApp, *, is_https: bool) -> None:
        self._app = app
        https = {"Strict-Transport-Security": f"max-age={_HTTPS_SECONDS}"} if is_https else {}
        self._headers = {**_HEADERS, **https}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
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


class Cookies:
    """The visitors' cookies. Only what this house has issued is one: a value that somebody made up, to share a chat
    with whoever can be brought to use it, is none.

    Over HTTPS the name carries `__Host-`, so that no other host, a sister of ours included, can plant one that was
    issued either. Plain HTTP, on this machine alone, does not know that prefix.

    Source: draft-ietf-httpbis-rfc6265bis, sections 4.1.3 and 5.7 (read 2026-11).
    """

    def __init__(self, keys: KeyRing, *, is_https: bool) -> None:
        self._keys = keys
        self._is_https = is_https

    def read(self, request: Request, name: str) -> str | None:
        """The visitor's cookie, if we issued it. With several nobody knows which is the visitor's: then none."""
        found = {value for value in _cookies(request, self._name(name)) if self._is_ours(name, value)}
        return found.pop() if len(found) == 1 else None

    def new(self, name: str) -> str:
        """A fresh cookie: 24 random bytes, and our mark on them."""
        value = secrets.token_urlsafe(_COOKIE_BYTES)
        return f"{value}.{self._mark(name, value)}"

    def give(self, response: Response, name: str, value: str, *, path: str) -> None:
        """Give the visitor the cookie for a year; no script can read it."""
        response.set_cookie(
            self._name(name),
            value,
            max_age=_COOKIE_SECONDS,
            path="/" if self._is_https else path,
            secure=self._is_https,
            httponly=True,
            samesite="lax",
        )

    def _name(self, name: str) -> str:
        return f"__Host-{name}" if self._is_https else name

    def _is_ours(self, name: str, value: str) -> bool:
        parts = _COOKIE.fullmatch(value)
        return parts is not None and hmac.compare_digest(parts[2], self._mark(name, parts[1]))

    def _mark(self, name: str, value: str) -> str:
        return self._keys.fingerprint("web-cookie", name, value)


def _cookies(request: Request, name: str) -> Iterator[str]:
    """The values under exactly this name: what is taken off it decides whether another host could have set it."""
    for header in request.headers.getlist("cookie"):
        for pair in header.split(";"):
            found, _, value = pair.strip(" \t").partition("=")
            if found == name:
                yield value


def client_of(request: Request) -> str:
    """Who calls, for counting."""
    return counted_as(request.client.host if request.client else "")


def counted_as(host: str) -> str:
    """What a caller is counted under: the address, or the /64 network of an IPv6 address; "" for what is none."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return ""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is None:
            return str(ipaddress.ip_network((int(address), 64), strict=False))
        address = address.ipv4_mapped
    return str(address)


class Callers:
    """Tells the application who calls: behind a proxy that is trusted, whom that one names; else whoever it is.

    Each proxy writes who called it to the right, so the right-most address that is none of ours is the visitor's.
    """

    def __init__(self, app: ASGIApp, trusted: str) -> None:
        self._app: Any = ProxyHeadersMiddleware(cast(Any, app), trusted)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        client = scope.get("client")
        if client:
            # A socket for both families names IPv4 addresses in the manner of IPv6.
            scope["client"] = (unmapped(client[0]), client[1])
        await self._app(scope, receive, send)


def unmapped(host: str) -> str:
    """An IPv4 address as such, also where it is written as an IPv6 one."""
    return host.removeprefix("::ffff:") if host.startswith("::ffff:") and "." in host else host


def among(networks: str) -> Callable[[str], bool]:
    """Whether an address is one of these, addresses and networks separated by commas."""
    known = [ipaddress.ip_network(part.strip()) for part in networks.split(",")]

    def is_known(host: str) -> bool:
        try:
            address = ipaddress.ip_address(unmapped(host))
        except ValueError:
            return False
        return any(address in network for network in known)

    return is_known


def is_this_machine(request: Request) -> bool:
    """Whether the caller is on this machine and speaks for itself, as far as can be told: the connection comes from
    here, and no header says that somebody is behind it."""
    if any(name in request.headers for name in _FORWARDED):
        return False
    return among("127.0.0.0/8,::1")(request.client.host if request.client else "")


class AtOnce:
    """Refuses a client that has too many requests under way: behind a proxy each of them is one of our connections."""

    def __init__(self, app: ASGIApp, *, limits: Limits) -> None:
        self._app = app
        self._seats = Seats(limits.connections, limits.requests_per_client)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] == "/healthz":
            await self._app(scope, receive, send)
            return
        try:
            with self._seats.one(client_of(Request(scope))):
                await self._app(scope, receive, send)
        except Full:
            await _TOO_MANY(scope, receive, send)


_TOO_MANY = PlainTextResponse("too many requests at once", 429, {"Retry-After": "5"})


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
