"""The web application put together, and the server that runs it inside our process."""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import uvicorn
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from db.engine import Sessions
from web.door import Door
from web.edition import edition_of
from web.limits import Limits
from web.notices import notice_routes
from web.pages import HERE, WebSettings, templates_for
from web.security import AtOnce, Callers, SecurityHeaders, among, is_this_machine
from web.status import Parts, metrics_route, status_routes

#: Served from the root, because a service worker rules what lies beside and below it.
_ROOT_FILES = {"/manifest.webmanifest": "application/manifest+json", "/sw.js": "text/javascript"}
_SHUTDOWN_SECONDS = 2


def build_web(
    *,
    sessions: Sessions,
    routes: Sequence[BaseRoute],
    health: Parts,
    settings: WebSettings,
    registry: CollectorRegistry,
    limits: Limits | None = None,
    metrics_elsewhere: bool = False,
    let_go: Callable[[], object] = lambda: None,
    folder: Path = HERE,
) -> Starlette:
    """The whole HTTP face.

    Args:
        routes: What the channels want: chat pages, webhooks.
        health: Asked by `/readyz` for every part but the database.
        limits: How much it may hold at once, also where it is served.
        metrics_elsewhere: Whether the numbers have a port of their own. Without one they are told to callers on this
            machine, until the world comes in: through a proxy on this machine it may look like one of these.
        let_go: Said before the server stops: answers that would not end by themselves are to end.
        folder: Where `static` is.
    """
    limits = limits or Limits()
    edition = edition_of(folder / "static")
    found: list[BaseRoute] = [
        *status_routes(sessions=sessions, parts=health),
        edition.route(),
        Mount("/static", _Static(directory=folder / "static", check_dir=False), name="static"),
        *(_root_file(folder / "static", path, mime) for path, mime in _ROOT_FILES.items()),
        *notice_routes(sessions=sessions, settings=settings, templates=templates_for(settings)),
    ]
    if not metrics_elsewhere and not settings.is_https:
        found.append(metrics_route(registry, may_ask=is_this_machine))
    guards = [Middleware(SecurityHeaders, is_https=settings.is_https), Middleware(AtOnce, limits=limits)]
    app = Starlette(routes=[*found, *routes], middleware=guards)
    # Its redirects lead to whatever host the caller names.
    app.router.redirect_slashes = False
    app.state.let_go = let_go
    app.state.limits = limits
    return app


def build_metrics(registry: CollectorRegistry) -> Starlette:
    """`/metrics` alone, for a port that only our own monitoring reaches."""
    app = Starlette(routes=[metrics_route(registry, may_ask=lambda request: True)])
    app.router.redirect_slashes = False
    app.state.let_go = lambda: None
    app.state.limits = Limits(connections=16)
    return app


class _Static(StaticFiles):
    """Static files are asked for again each time, so that a new version is never half old; see also `Edition`."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "no-cache"
        return response


def _root_file(static: Path, path: str, mime: str) -> Route:
    async def endpoint(request: Request) -> Response:
        file = static / path.lstrip("/")
        if not file.is_file():
            return Response("not found", 404, media_type="text/plain")
        return FileResponse(file, media_type=mime, headers={"Cache-Control": "no-cache"})

    return Route(path, endpoint)


class PortTaken(Exception):
    """Nothing can listen at this host and port; the message says why in one line."""


class _Server(uvicorn.Server):
    """Leaves signals to whoever runs the process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class WebServer:
    """uvicorn inside our process: started, and stopped within three seconds also while pages hold streams open.

    Args:
        port: 0 takes any free port; `port` then says which.
        trusted_proxies: Addresses and networks whose X-Forwarded-For and -Proto are believed.
        settings: What host and port are called where they are set, for who has to set others.
    """

    def __init__(
        self,
        app: Starlette,
        host: str,
        port: int,
        *,
        trusted_proxies: str = "127.0.0.1,::1",
        settings: str = "WEB_HOST, WEB_PORT",
    ) -> None:
        self.host = host
        self.port = port
        self._settings = settings
        self._let_go: Callable[[], object] = app.state.let_go
        self._server = _Server(
            uvicorn.Config(
                Callers(app, trusted_proxies),
                http="h11",
                lifespan="off",
                access_log=False,
                log_config=None,
                server_header=False,
                ws="none",
                proxy_headers=False,
                timeout_keep_alive=math.ceil(app.state.limits.idle_seconds),
                timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
            )
        )
        self._door = Door(
            self._server.config, self._server.server_state, app.state.limits, is_proxy=among(trusted_proxies)
        )
        self._running: asyncio.Task[None] | None = None
        self._listening: socket.socket | None = None

    async def start(self) -> None:
        """Listen and serve in the background; returns when connections are taken.

        Raises:
            PortTaken: Somebody else listens there, or the host is not ours.
        """
        self._listening = listening = _listen(self.host, self.port, self._settings)
        self.port = listening.getsockname()[1]
        self._running = asyncio.create_task(self._serve(listening), name="web")
        while not self._server.started and not self._running.done():  # noqa: ASYNC110 (uvicorn has no event for it)
            await asyncio.sleep(0.01)
        if self._running.done():
            await self._running

    async def _serve(self, listening: socket.socket) -> None:
        """uvicorn without sockets of its own: the door hands it the connections."""
        with listening:
            letting_in = asyncio.create_task(self._door.run(listening), name="web door")
            try:
                await self._server.serve(sockets=[])
            finally:
                letting_in.cancel()
                await asyncio.gather(letting_in, return_exceptions=True)

    async def ended(self) -> None:
        """Return when nothing is served any more; raises what ended it."""
        if self._running is not None:
            await asyncio.shield(self._running)

    async def stop(self) -> None:
        """End the streams, answer what is being answered, close."""
        if self._running is None:
            return
        self._let_go()
        self._server.should_exit = True
        done, _ = await asyncio.wait([self._running], timeout=_SHUTDOWN_SECONDS + 0.5)
        if not done:
            self._server.force_exit = True
            self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)
        self._running = None
        if self._listening is not None:
            self._listening.close()  # a server that broke leaves it open


def _listen(host: str, port: int, settings: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(1024)
    except (OSError, OverflowError) as error:
        listening.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise PortTaken(f"cannot listen on {host}:{port} ({settings}): {reason}") from error
    listening.setblocking(False)
    return listening
