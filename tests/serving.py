"""A real web server on loopback, browsers from several addresses, and raw connections that behave badly."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx
from prometheus_client import CollectorRegistry, Counter
from starlette.applications import Starlette
from starlette.routing import BaseRoute

from channels.telegram.webhook import Guard, webhook_route
from channels.web.hub import Hub
from conversations.inbound import InboundStore
from db.engine import Sessions
from web.app import WebServer, build_web
from web.channel import PageChannel
from web.limits import Limits
from web.pages import ChatPage, WebSettings

NOW = datetime(2026, 11, 23, 1, 0, tzinfo=UTC)
#: Another one on loopback than the proxies that are trusted: a visitor as the world's are.
STRANGER = "127.0.0.2"


def application(
    sessions: Sessions,
    *,
    public_url: str | None = None,
    more_pages: Mapping[str, ChatPage] | None = None,
    more_routes: Sequence[BaseRoute] = (),
    webhook: Guard | None = None,
    wake: Callable[[], object] = lambda: None,
    health: Callable[[], Mapping[str, bool | str]] = dict,
    limits: Limits | None = None,
    hub: Hub | None = None,
    **more: Any,
) -> Starlette:
    """The whole web face with one chat page, or with others and a webhook beside it."""
    settings = WebSettings(unit_name="Công an Phường 2", public_url=public_url)
    registry = CollectorRegistry()
    Counter("binhyen_test", "x", registry=registry).inc()
    channel = PageChannel(
        sessions,
        clock=lambda: NOW,
        settings=settings,
        pages={"": ChatPage(), **(more_pages or {})},
        limits=limits,
        registry=registry,
    )
    channel.hub = hub or channel.hub
    incoming = InboundStore(sessions, lambda: NOW)

    async def store(updates: list[dict[str, Any]]) -> None:
        await incoming.store("telegram", updates)
        wake()

    hooks = [webhook_route(webhook, store)] if webhook is not None else []
    return build_web(
        sessions=sessions,
        routes=[*more_routes, *hooks, *channel.routes(store, wake)],
        health=health,
        settings=settings,
        registry=registry,
        limits=limits,
        let_go=channel.let_go,
        **more,
    )


@asynccontextmanager
async def serving(
    sessions: Sessions, *, host: str = "127.0.0.1", trusted_proxies: str = "127.0.0.1,::1", **more: Any
) -> AsyncIterator[WebServer]:
    """The same, served; `more` goes to `application`."""
    server = WebServer(application(sessions, **more), host, 0, trusted_proxies=trusted_proxies)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@asynccontextmanager
async def browser(port: int, *, of: str = "127.0.0.1", url: str = "", **more: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A browser at the address `of`, which has the page open."""
    url = url or f"http://127.0.0.1:{port}"
    async with httpx.AsyncClient(
        base_url=url,
        headers={"Origin": url, "Accept-Language": "vi"},
        transport=httpx.AsyncHTTPTransport(local_address=of, verify=False, **more),
        timeout=10,
    ) as opened:
        assert (await opened.get("/")).status_code == 200
        yield opened


async def says(visitor: httpx.AsyncClient, text: str, **more: Any) -> int:
    """Write a message; the answer's status."""
    answer = await visitor.post("/api/text", json={"text": text, "nonce": str(uuid4())}, **more)
    return answer.status_code


async def uploads(visitor: httpx.AsyncClient, content: bytes) -> int:
    """Send a file; the answer's status."""
    answer = await visitor.post(
        "/api/file", data={"kind": "document", "nonce": str(uuid4())}, files={"file": ("tệp.bin", content)}
    )
    return answer.status_code


async def until(condition: Callable[[], object], within: float = 5.0) -> None:
    """Wait for what happens in its own time; TimeoutError when it does not."""
    async with asyncio.timeout(within):
        while not condition():  # noqa: ASYNC110 (there is no event to wait for)
            await asyncio.sleep(0.02)


class Wire:
    """One raw connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def write(self, data: bytes) -> None:
        """Write some bytes; nothing happens when the other side has gone."""
        try:
            self._writer.write(data)
            await self._writer.drain()
        except ConnectionError:
            return

    async def read(self, size: int = 65536) -> bytes:
        """What has come, or b"" at the end."""
        try:
            return await self._reader.read(size)
        except ConnectionError:
            return b""

    async def is_cut(self, within: float) -> bool:
        """Whether the other side ends the connection in time; what it says before is dropped."""
        try:
            async with asyncio.timeout(within):
                while await self.read():
                    pass
        except TimeoutError:
            return False
        return True

    async def is_open(self) -> bool:
        """Whether it has neither been ended nor answered by now."""
        return not await self.is_cut(0.01)

    async def close(self) -> None:
        """Hang up."""
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except ConnectionError:
            return


@asynccontextmanager
async def wires(port: int, count: int, *, of: str = "127.0.0.1") -> AsyncIterator[list[Wire]]:
    """So many raw connections from one address, held."""
    async with AsyncExitStack() as held:
        opened = []
        for _ in range(count):
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(of, 0))
            except ConnectionError:  # shut in our face
                continue
            opened.append(Wire(reader, writer))
            held.push_async_callback(opened[-1].close)
        yield opened
