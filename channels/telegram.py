"""Telegram: the Bot API over aiohttp, by long polling or webhook."""

from __future__ import annotations

import asyncio
import hmac
import json
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Any, Final, Literal, cast
from urllib.parse import urlsplit

import aiohttp
import structlog
from telegram import Update, User
from telegram.error import BadRequest, Conflict, InvalidToken, RetryAfter, TelegramError
from telegram.ext import ExtBot
from telegram.request import BaseRequest, RequestData

from channels.api import ApiParameters, NoAnswer, Unreachable, call
from channels.port import Capabilities, Limits
from db.outage import is_outage

log = structlog.get_logger(__name__)

Json = dict[str, Any]
Store = Callable[[list[Json]], Awaitable[None]]
State = Literal["starting", "up", "down"]

#: How long Telegram may hold a poll open when there is no news, seconds.
POLL_SECONDS = 50
#: Telegram gives out files up to 20 MB (core.telegram.org/bots/api#getfile, read 2026-11).
DOWNLOAD_LIMIT = 20 * 1024 * 1024
WEBHOOK_PATH = "/telegram/webhook"
_CONNECT_SECONDS = 10.0
_UPLOAD_SECONDS = 120.0
_BACK_OFF: Final = (1.0, 60.0)
#: A server that says "no news" faster than this does not hold polls open; we wait for it.
_HASTY_SECONDS = 0.3
_WATCH_SECONDS = 60.0
_MENU_RETRY_SECONDS = 600.0
#: The codes BaseRequest gives a meaning of their own; the other refusals are bad requests to it and us.
_KNOWN_REFUSALS = (400, 401, 403, 404, 409, 429)
_ADVICE = {
    "token_refused": "BOT_TOKEN is not accepted: check it with @BotFather, then restart",
    "conflict": "another process polls with this token, or a webhook was set for it: only one may receive",
    "unreachable": "no answer from TELEGRAM_API_URL: check the network; it is tried again by itself",
    "not_stored": "updates could not be stored; Telegram keeps them and they are fetched again",
    "broke": "a fault while receiving, logged above; it is tried again by itself",
    "bad_updates": "the server at TELEGRAM_API_URL answers with something that is not updates",
}


class TelegramRequest(BaseRequest):
    """Bot API calls over one aiohttp session, with JSON bodies (multipart where there are files).

    Raises on top of BaseRequest's errors: Unreachable when a call certainly did not arrive, NoAnswer when it may
    have. A refusal counts only when it is the Bot API's own: a proxy's or a blocking page's 403 is Unreachable.
    """

    def __init__(self, *, connections: int = 100, read_timeout: float = 20.0, trust_env: bool = True) -> None:
        self._connections = connections
        self._read_timeout = read_timeout
        self._trust_env = trust_env
        self._session: aiohttp.ClientSession | None = None

    @property
    def read_timeout(self) -> float | None:
        """Seconds without a byte before an answer is given up."""
        return self._read_timeout

    async def initialize(self) -> None:
        """Open the session; again is harmless."""
        if self._session is None or self._session.closed:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._connections, ttl_dns_cache=300),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=self._trust_env,
                # Never compressed: what a small answer swells to must not be somebody else's to choose.
                auto_decompress=False,
                headers={"User-Agent": "binhyen", "Accept-Encoding": "identity"},
            )

    async def shutdown(self) -> None:
        """Close the session and its connections."""
        if self._session is not None:
            await self._session.close()

    @staticmethod
    def parse_json_payload(payload: bytes) -> Json:
        """The JSON object of an answer; unlike the parent's, a bad one is not logged.

        Raises:
            NoAnswer: It is not one.
        """
        try:
            answer = json.loads(payload)
        except ValueError as error:
            raise NoAnswer("not JSON") from error
        if not isinstance(answer, dict):
            raise NoAnswer("not an object")
        return answer

    async def do_request(
        self,
        url: str,
        method: str,
        request_data: RequestData | None = None,
        read_timeout: Any = BaseRequest.DEFAULT_NONE,
        write_timeout: Any = BaseRequest.DEFAULT_NONE,
        connect_timeout: Any = BaseRequest.DEFAULT_NONE,
        pool_timeout: Any = BaseRequest.DEFAULT_NONE,
    ) -> tuple[int, bytes]:
        """One exchange; the answer's code and body."""
        if self._session is None:
            raise Unreachable("not initialized")
        seconds = self._read_timeout if read_timeout is BaseRequest.DEFAULT_NONE else read_timeout
        try:
            async with self._session.request(
                method, url, timeout=_timeout(seconds, request_data), allow_redirects=False, **_body(request_data)
            ) as response:
                code, payload = response.status, await _read(response)
        except (
            aiohttp.ClientConnectorError,
            aiohttp.ConnectionTimeoutError,
            aiohttp.ClientHttpProxyError,
            aiohttp.InvalidURL,
        ) as error:
            raise Unreachable("no connection") from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise NoAnswer("connection lost") from error
        _check(code, payload)
        return code, payload


def _timeout(seconds: float | None, data: RequestData | None) -> aiohttp.ClientTimeout:
    extra = _UPLOAD_SECONDS if data is not None and data.contains_files else _CONNECT_SECONDS
    return aiohttp.ClientTimeout(
        # Waiting for a free connection counts as connecting: nothing was sent yet.
        connect=_CONNECT_SECONDS,
        sock_read=seconds,
        total=None if seconds is None else seconds + _CONNECT_SECONDS + extra,
    )


def _body(data: RequestData | None) -> dict[str, Any]:
    if data is None:
        return {}
    if not data.contains_files:
        return {"data": json.dumps(data.parameters).encode(), "headers": {"Content-Type": "application/json"}}
    form = aiohttp.FormData(quote_fields=False)
    for name, value in data.json_parameters.items():
        form.add_field(name, value)
    for name, (filename, content, mime) in data.multipart_data.items():
        form.add_field(name, content, filename=filename.replace('"', "'"), content_type=mime)
    return {"data": form}


async def _read(response: aiohttp.ClientResponse) -> bytes:
    if (response.content_length or 0) > DOWNLOAD_LIMIT:
        raise BadRequest("file is too big")
    pieces, size = [], 0
    async for piece in response.content.iter_any():
        size += len(piece)
        if size > DOWNLOAD_LIMIT:
            raise BadRequest("file is too big")
        pieces.append(piece)
    return b"".join(pieces)


def _check(code: int, payload: bytes) -> None:
    """Raise for the answers BaseRequest would misread."""
    if 200 <= code <= 299:
        return
    if code >= 500:
        raise NoAnswer(f"HTTP {code}")
    answer = _envelope(payload)
    if answer is None:
        raise Unreachable(f"HTTP {code}, not from a Bot API server")
    if code == 429 and not (answer.get("parameters") or {}).get("retry_after"):
        raise RetryAfter(timedelta(seconds=1))
    if code not in _KNOWN_REFUSALS:
        raise BadRequest(str(answer.get("description") or f"HTTP {code}"))


def _envelope(payload: bytes) -> Json | None:
    try:
        answer = json.loads(payload)
    except ValueError:
        return None
    return answer if isinstance(answer, dict) and "ok" in answer else None


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


@dataclass(slots=True)
class Health:
    """Whether a channel receives, since when, and why not."""

    clock: Callable[[], datetime]
    state: State = "starting"
    reason: str = ""
    since: datetime = field(init=False)

    def __post_init__(self) -> None:
        self.since = self.clock()

    def becomes(self, state: State, reason: str = "") -> bool:
        """Note the state; True when that is news."""
        if (self.state, self.reason) == (state, reason):
            return False
        self.state, self.reason, self.since = state, reason, self.clock()
        return True


class TelegramChannel:
    """The Telegram channel: its Bot, and what comes in.

    Args:
        api_url: Root of the Bot API, without `/bot<token>`.
        public_url: Our own root as Telegram reaches it; with it and `webhook_secret`, updates come by webhook.
        menus: Parameters of one setMyCommands call each.
        sleep: How to wait between attempts.
    """

    name = "telegram"
    webhook_path = WEBHOOK_PATH
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
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
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
        self.health = Health(clock)
        self._webhook_url = f"{public_url}{WEBHOOK_PATH}" if public_url and webhook_secret else None
        self._secret = webhook_secret
        self._menus = menus
        self._sleep = sleep
        self._poll_seconds = poll_seconds
        self._offset: int | None = None
        self._failures = 0
        self._is_set_up = False
        self._menus_due: float | None = 0.0

    async def start(self) -> None:
        """Open the sessions and try to introduce ourselves; what fails is tried again by `receive`."""
        await self.bot.initialize()
        try:
            await self._set_up()
        except TelegramError as error:
            self._note_failure(_reason(error))

    async def close(self) -> None:
        """Close the sessions."""
        await self.bot.shutdown()

    def check_secret(self, header: str | None) -> bool:
        """Whether a webhook call proves that it is Telegram's, in constant time."""
        if self._secret is None or header is None:
            return False
        return hmac.compare_digest(header.encode("utf-8", "replace"), self._secret.encode())

    async def receive(self, store: Store) -> None:
        """Hand over raw updates until cancelled; one that `store` did not return for is fetched again.

        With a webhook the updates come to `webhook_path`; this then watches that Telegram still knows the address.
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
        is_quick = self.health.state != "up" and self.health.reason != "conflict"
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
        if self.health.becomes("down", reason):
            log.warning("telegram_down", reason=reason, advice=_ADVICE[reason])

    def _note_success(self) -> None:
        self._failures = 0
        was_down = self.health.state == "down"
        if self.health.becomes("up") and was_down:
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
