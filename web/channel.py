"""Our own page as a channel: its bot's side is the gateway's, its visitors come by the routes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, Gauge
from starlette.routing import BaseRoute

from channels.channel import Store, Wake
from channels.envelope import Clock
from channels.web.gateway import WebGateway
from db.engine import Sessions
from web.chat import ChatRoutes
from web.floods import Floods
from web.limits import Limits
from web.pages import ChatPage, WebSettings, templates_for
from web.security import Cookies
from web.visitor import WebChat


class PageChannel(WebGateway):
    """The chat page.

    Args:
        pages: Base path ("" or "/demo/lan") → the chat page there; without them there is one at the root.
        menus: Parameters of one setMyCommands call each.
        limits: How much it may hold at once.
        registry: Where it is counted how many pages are open.
    """

    def __init__(
        self,
        sessions: Sessions,
        *,
        clock: Clock,
        settings: WebSettings,
        pages: Mapping[str, ChatPage] | None = None,
        menus: Sequence[Mapping[str, Any]] = (),
        limits: Limits | None = None,
        registry: CollectorRegistry | None = None,
        name: str = "web",
    ) -> None:
        super().__init__(sessions, clock=clock, name=name, bot_name=settings.unit_name)
        self.menus = menus
        self.door = f"{settings.public_url.rstrip('/')}/" if settings.public_url else None
        self._settings = settings
        self._pages = pages or {"": ChatPage()}
        self._room = limits or Limits()
        if registry is not None:
            open_pages = Gauge("binhyen_web_open_pages", "Chat pages with an open event stream", registry=registry)
            open_pages.set_function(lambda: float(self.hub.open_streams))

    def routes(self, store: Store, wake: Wake) -> Sequence[BaseRoute]:
        """The pages. What a visitor sends is stored together with what the page shows of it; then `wake` is said."""
        chat = WebChat(self, wake=wake)
        templates, floods = templates_for(self._settings), Floods(self._room)
        cookies = Cookies(self.sessions.keys, is_https=self._settings.is_https)
        return [
            route
            for base, page in self._pages.items()
            for route in ChatRoutes(
                base, page, chat, settings=self._settings, templates=templates, floods=floods, cookies=cookies
            ).routes()
        ]
