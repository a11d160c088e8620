"""Updates that Telegram brings: stored first, answered then."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from conversations.inbound import InboundStore
from db.engine import Sessions
from db.outage import is_outage
from web.security import TooLarge, read_body

_log = logging.getLogger(__name__)
#: More than any update; photos and files come as ids.
MAX_BODY = 1024 * 1024
_SECRET_HEADER = "X-Telegram-Bot-Api-Secret-Token"  # noqa: S105 (the header's name)


class WebhookChannel(Protocol):
    """A channel whose updates come by webhook; `check_secret` compares in constant time."""

    @property
    def name(self) -> str: ...

    def check_secret(self, given: str | None, /) -> bool: ...


def webhook_route(
    channel: WebhookChannel, *, sessions: Sessions, clock: Callable[[], datetime], wake: Callable[[], object]
) -> Route:
    """`POST /telegram/webhook`. Anything but 2xx makes Telegram bring the update again.

    Source: core.telegram.org/bots/api#setwebhook (Bot API 10.0, read 2026-11).
    """

    incoming = InboundStore(sessions, clock)

    async def receive(request: Request) -> Response:
        if not channel.check_secret(request.headers.get(_SECRET_HEADER)):
            return PlainTextResponse("forbidden", 403)
        try:
            update = _update(await read_body(request, MAX_BODY))
        except TooLarge:
            return PlainTextResponse("too large", 413)
        except (ValueError, RecursionError):
            return PlainTextResponse("not an update", 400)
        try:
            await incoming.store(channel.name, [update])
        except Exception as error:
            if is_outage(error):
                sessions.outages.say("webhook_not_stored", error)
            else:
                _log.exception("webhook.not_stored")
            return PlainTextResponse("not stored", 500)
        wake()
        return PlainTextResponse("ok")

    return Route("/telegram/webhook", receive, methods=["POST"])


def _update(body: bytes) -> dict[str, object]:
    update = json.loads(body)
    if not isinstance(update, dict) or type(update.get("update_id")) is not int or abs(update["update_id"]) >= 2**63:
        raise ValueError("not an update")
    return update
