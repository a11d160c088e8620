"""Updates that Telegram brings: stored first, answered then."""

from __future__ import annotations

import json
import logging
from typing import Protocol

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from channels.bodies import TooLarge, read_body
from channels.channel import Json, Store
from db.outage import Outages, is_outage

_log = logging.getLogger(__name__)
WEBHOOK_PATH = "/telegram/webhook"
#: More than any update; photos and files come as ids.
MAX_BODY = 1024 * 1024
_SECRET_HEADER = "X-Telegram-Bot-Api-Secret-Token"  # noqa: S105 (the header's name)


class Guard(Protocol):
    """Knows whether a call is Telegram's; `check_secret` compares in constant time."""

    def check_secret(self, header: str | None, /) -> bool: ...


def webhook_route(guard: Guard, store: Store) -> Route:
    """`POST /telegram/webhook`. Anything but 2xx makes Telegram bring the update again.

    Source: core.telegram.org/bots/api#setwebhook (Bot API 10.0, read 2026-11).
    """

    outages = Outages()

    async def receive(request: Request) -> Response:
        if not guard.check_secret(request.headers.get(_SECRET_HEADER)):
            return PlainTextResponse("forbidden", 403)
        try:
            update = _update(await read_body(request, MAX_BODY))
        except TooLarge:
            return PlainTextResponse("too large", 413)
        except (ValueError, RecursionError):
            return PlainTextResponse("not an update", 400)
        try:
            await store([update])
        except Exception as error:
            if is_outage(error):
                outages.say("webhook_not_stored", error)
            else:
                _log.exception("webhook.not_stored")
            return PlainTextResponse("not stored", 500)
        return PlainTextResponse("ok")

    return Route(WEBHOOK_PATH, receive, methods=["POST"])


def _update(body: bytes) -> Json:
    update = json.loads(body)
    if not isinstance(update, dict) or type(update.get("update_id")) is not int or abs(update["update_id"]) >= 2**63:
        raise ValueError("not an update")
    return update
