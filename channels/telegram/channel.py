"""The Telegram channel: its bot, and what comes in."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from ipaddress import ip_address
from typing import Any, Final, cast
from urllib.parse import urlsplit

import structlog
from starlette.routing import BaseRoute
from telegram import Update, User
from telegram.error import BadRequest, Conflict, InvalidToken, RetryAfter, TelegramError
from telegram.ext import ExtBot
from telegram.request import RequestData

from channels.api import ApiParameters, NoAnswer, call
from channels.channel import Channel, Health, Json, Line, Store, Wake
from channels.port import Capabilities, Limits
from channels.telegram.request import TelegramRequest
from channels.telegram.webhook import WEBHOOK_PATH, webhook_route
from channels.wording import plain
from db.outage import is_outage

log = structlog.get_logger(__name__)

#: How long Telegram may hold a poll open when there is no news, seconds.
POLL_SECONDS = 50
_BACK_OFF: Final = (1.0, 60.0)
#: A server that says "no news" faster than this does not hold polls open; we wait for it.
_HASTY_SECONDS = 0.3
_WATCH_SECONDS = 60.0
_MENU_RETRY_SECONDS = 600.0
_ADVICE = {
    "token_refused": "BOT_TOKEN is not accepted: check it with @BotFather, then restart",
    "conflict": "another process polls with this token, or a webhook was set for it: only one may receive",
    "unreachable": "no answer from TELEGRAM_API_URL: check the network; it is tried again by itself",
    "not_stored": "updates could not be stored; Telegram keeps them and they are fetched again",
    "broke": "a fault while receiving, logged above; it is tried again by itself",
    "bad_updates": "the server at TELEGRAM_API_URL answers with something that is not updates",
}


class TelegramBot(ExtBot[None]):
    """A Bot whose `initialize` never fails: with the network down the process starts all the same.

    Until `get_me` has answered, it knows of itself what the token says: its id.
    """

    async def initialize(self) -> None:
        """Open the sessions."""
        for request in self._request:
            await request.initialize()
        if self._bot_user is None:
            number = int(self.token.partition(":")[0])
            self._bot_user = User(number, "", is_bot=True, username="")
        self._requests_initialized = self._bot_initialized = True


class TelegramChannel(Channel):
    """Telegram: its Bot, and what comes in.

    Args:
        api_url: Root of the Bot API, without `/bot<token>`.
        public_url: Our own root as Telegram reaches it; with it and `webhook_secret`, updates come by webhook.
        menus: Parameters of one setMyCommands call each.
        numbers: What the texts that say what the bot is for name (emergency numbers); without them it does not say.
        sleep: How to wait between attempts.
    """

    name = "telegram"
    capabilities = Capabilities(groups=True)

    def __init__(
        self,
        token: str,
        *,
        api_url: str = "https://api.telegram.org",
        rate: float = 30,
        public_url: str | None = None,
        webhook_secret: str | None = None,
        menus: Sequence[Mapping[str, Any]] = (),
        numbers: Mapping[str, str] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        poll_seconds: int = POLL_SECONDS,
    ) -> None:
        trust_env = not _is_here(api_url)
        self._poll = TelegramRequest(connections=2, read_timeout=poll_seconds + 10, trust_env=trust_env)
        self.bot = TelegramBot(
            token,
            base_url=f"{api_url}/bot",
            base_file_url=f"{api_url}/file/bot",
            request=TelegramRequest(trust_env=trust_env),
            get_updates_request=self._poll,
        )
        self.limits = Limits(per_second=rate, per_chat_second=1, per_group_minute=20)
        self._health = Health()
        self._webhook_url = f"{public_url}{WEBHOOK_PATH}" if public_url and webhook_secret else None
        self._secret = webhook_secret
        self._menus = menus
        self._numbers = numbers
        self._sleep = sleep
        self._poll_seconds = poll_seconds
        self._offset: int | None = None
        self._failures = 0
        self._is_set_up = False
        self._menus_due: float | None = 0.0

    def line(self) -> Line:
        """The one bot there is."""
        return Line(self.name, self.bot, self.capabilities, self.limits)

    @property
    def health(self) -> Health:
        """Whether Telegram lets us have what people write."""
        return self._health

    @property
    def door(self) -> str | None:
        """Known when Telegram has said what the bot is called."""
        return f"https://t.me/{self.bot.username}" if self.bot.username else None

    async def start(self) -> None:
        """Open the sessions; whether anybody answers, `receive` finds out."""
        await self.bot.initialize()

    def routes(self, store: Store, wake: Wake) -> Sequence[BaseRoute]:
        """The webhook, where updates come by one."""
        return [webhook_route(self, store)] if self._webhook_url else []

    async def close(self) -> None:
        """Close the sessions."""
        await self.bot.shutdown()

    def check_secret(self, header: str | None, /) -> bool:
        """Whether a webhook call proves that it is Telegram's, in constant time."""
        if self._secret is None or header is None:
            return False
        return hmac.compare_digest(header.encode("utf-8", "replace"), self._secret.encode())

    async def receive(self, store: Store) -> None:
        """Hand over raw updates until cancelled; one that `store` did not return for is fetched again.

        With a webhook the updates come to the route; this then watches that Telegram still knows the address.
        """
        turn = self._watch if self._webhook_url else lambda: self._poll_once(store)
        while True:
            try:
                if not self._is_set_up:
                    await self._set_up()
                await turn()
            except RetryAfter as error:
                await self._sleep(max(1.0, _seconds(error.retry_after)))
            except TelegramError as error:
                await self._back_off(_reason(error))
                # A webhook somebody set makes every poll a conflict until it is taken away.
                self._is_set_up = self._is_set_up and not isinstance(error, Conflict)
            except Exception:
                # The last resort of a loop that must not end: a fault of ours, or an answer nobody foresaw.
                log.exception("telegram_receiving_broke")
                await self._back_off("broke")
            else:
                await self._set_menus()

    async def _poll_once(self, store: Store) -> None:
        began = asyncio.get_running_loop().time()
        answer = await self._get_updates()
        updates = usable(answer)
        if answer and not updates:
            raise NoAnswer("no updates in an answer")
        if not updates:
            # All before is confirmed. Ids may restart anywhere after a quiet week: an old offset would skip those.
            self._offset = None
            self._note_success()
            if asyncio.get_running_loop().time() - began < _HASTY_SECONDS:
                await self._sleep(_HASTY_SECONDS)
            return
        try:
            await store(updates)
        except Exception as error:
            if not is_outage(error):  # else `telegram_down` says it, once
                log.exception("telegram_updates_not_stored", count=len(updates))
            await self._back_off("not_stored")
            return
        self._offset = max(update["update_id"] for update in updates) + 1
        self._note_success()

    async def _get_updates(self) -> Any:
        # The first poll after trouble asks only for what is there, so that it is known at once whether we are up;
        # but whether another process polls too is known when a poll was held open undisturbed.
        is_quick = self._health.state != "up" and self._health.reason != "conflict"
        timeout = 0 if is_quick else self._poll_seconds
        parameters: Json = {"timeout": timeout, "allowed_updates": Update.ALL_TYPES}
        if self._offset is not None:
            parameters["offset"] = self._offset
        try:
            data = cast(RequestData, ApiParameters(parameters))
            return await self._poll.post(f"{self.bot.base_url}/getUpdates", data)
        except BadRequest as error:
            if error.message == "HTTP 408" or "request timeout" in error.message.lower():
                return []
            raise
        except LookupError as error:
            raise NoAnswer("success without a result") from error

    async def _watch(self) -> None:
        info = await call(self.bot, "getWebhookInfo", {})
        if not isinstance(info, dict) or info.get("url") != self._webhook_url:
            log.warning("telegram_webhook_was_changed")
            await self._set_up()
        self._note_success()
        await self._sleep(_WATCH_SECONDS)

    async def _set_up(self) -> None:
        """Learn who we are and say how we want updates. None is dropped that is waiting."""
        await self.bot.get_me()
        if self._webhook_url:
            wanted = {"url": self._webhook_url, "secret_token": self._secret, "allowed_updates": Update.ALL_TYPES}
            await call(self.bot, "setWebhook", wanted)
        else:
            await call(self.bot, "deleteWebhook", {"drop_pending_updates": False})
        self._is_set_up = True
        await self._set_menus()
        await self._introduce()

    async def _introduce(self) -> None:
        """Say on the bot's profile what it is for, once; a platform that does not take it is no obstacle."""
        numbers, self._numbers = self._numbers, None
        for language in ("vi", "en") if numbers is not None else ():
            code = {"language_code": language} if language != "vi" else {}
            description = plain(language, "bot.description", **(numbers or {}))
            short = plain(language, "bot.short", **(numbers or {}))
            with contextlib.suppress(TelegramError):
                await call(self.bot, "setMyDescription", {"description": description, **code})
                await call(self.bot, "setMyShortDescription", {"short_description": short, **code})

    async def _set_menus(self) -> None:
        """Show the commands; without them the bot still works, so a failure is only tried again later."""
        now = asyncio.get_running_loop().time()
        if self._menus_due is None or now < self._menus_due:
            return
        try:
            for menu in self._menus:
                await call(self.bot, "setMyCommands", dict(menu))
        except TelegramError as error:
            if not self._menus_due:
                log.warning("telegram_menus_not_set", error=type(error).__name__)
            self._menus_due = now + _MENU_RETRY_SECONDS
        else:
            self._menus_due = None

    async def _back_off(self, reason: str) -> None:
        self._note_failure(reason)
        least, most = _BACK_OFF
        delay = min(most, least * 2 ** min(self._failures, 10)) * random.uniform(0.75, 1.25)  # noqa: S311 (jitter)
        self._failures += 1
        await self._sleep(min(most, max(least, delay)))

    def _note_failure(self, reason: str) -> None:
        if self._health.becomes("down", reason):
            log.warning("telegram_down", reason=reason, advice=_ADVICE[reason])

    def _note_success(self) -> None:
        self._failures = 0
        was_down = self._health.state == "down"
        if self._health.becomes("up") and was_down:
            log.info("telegram_up_again")


def usable(updates: Any) -> list[Json]:
    """Those of `updates` that can be told apart; whether they make sense is found out after they are stored."""
    items = updates if isinstance(updates, list) else [updates]
    good = [item for item in items if isinstance(item, dict) and type(item.get("update_id")) is int]
    if len(good) < len(items):
        log.warning("telegram_updates_without_id", count=len(items) - len(good))
    return good


def _reason(error: TelegramError) -> str:
    match error:
        case InvalidToken():
            return "token_refused"
        case Conflict():
            return "conflict"
        case NoAnswer() if "updates" in error.message:
            return "bad_updates"
        case _:
            return "unreachable"


def _seconds(delay: int | timedelta) -> float:
    return delay.total_seconds() if isinstance(delay, timedelta) else float(delay)


def _is_here(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
