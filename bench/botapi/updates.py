"""What happened to the bot, waiting to be fetched by a poll or brought to its webhook."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections import deque
from contextlib import suppress

import aiohttp

from bench.botapi.files import Uploads
from bench.botapi.news import News
from bench.botapi.refusals import Json, bad, other_polls, webhook_is_set

_AT_ONCE = 100
#: Telegram waits longer and longer; here nobody has that long.
_BEFORE_AGAIN = 0.1


class Updates:
    """They come in order, each until it is confirmed. `given` are the ids of all that ever came."""

    def __init__(self, news: News) -> None:
        self.webhook: Json = {"url": ""}
        self.webhook_failures = 0
        self.polls = 0
        self.given: list[int] = []
        self.waiting: deque[Json] = deque()
        self.next_id = 700_000_000 + secrets.randbelow(10_000_000)
        self._news = news
        self._bringing: asyncio.Task[None] | None = None

    def push(self, kind: str, content: Json) -> Json:
        """A new update, as if it had happened; returned with its id."""
        update: Json = {"update_id": self.next_id, kind: content}
        self.next_id += 1
        allowed = self.webhook.get("allowed_updates")
        if not allowed or kind in allowed:
            self.given.append(update["update_id"])
            self.push_raw(update)
        return update

    def push_raw(self, update: Json) -> None:
        """Any JSON as an update, sound or not; also one that was there before."""
        self.waiting.append(update)
        self._news.happened()
        self._bring()

    def stop(self) -> None:
        """Bring nothing to anybody."""
        if self._bringing is not None:
            self._bringing.cancel()

    # --- methods ----------------------------------------------------------------------------------------------------

    async def get_updates(self, parameters: Json, _: Uploads) -> list[Json]:
        """`getUpdates`: of two who poll, the later one is answered."""
        if self.webhook["url"]:
            raise webhook_is_set()
        self.polls += 1
        mine = self.polls
        self._news.happened()
        self._confirm(int(parameters.get("offset") or 0))
        self._allow(parameters)
        with suppress(TimeoutError):
            seconds = float(parameters.get("timeout") or 0)
            await self._news.until(lambda: self.waiting or self.polls != mine, seconds)
        if self.polls != mine:
            raise other_polls()
        return list(self.waiting)[: min(_AT_ONCE, int(parameters.get("limit") or _AT_ONCE))]

    def _confirm(self, offset: int) -> None:
        if offset < 0:
            self.waiting = deque(list(self.waiting)[offset:])
        elif offset:
            self.waiting = deque(update for update in self.waiting if update.get("update_id", 0) >= offset)

    def _allow(self, parameters: Json) -> None:
        if "allowed_updates" in parameters:
            self.webhook["allowed_updates"] = parameters["allowed_updates"]

    async def set_webhook(self, parameters: Json, _: Uploads) -> bool:
        """`setWebhook`."""
        secret = parameters.get("secret_token", "")
        if secret and not re.fullmatch(r"[A-Za-z0-9_-]{1,256}", secret):
            raise bad("secret token contains unallowed characters")
        self._allow(parameters)
        self._direct(parameters, parameters.get("url", ""), secret)
        self._bring()
        return True

    async def delete_webhook(self, parameters: Json, _: Uploads) -> bool:
        """`deleteWebhook`."""
        self._direct(parameters, "", "")
        return True

    def _direct(self, parameters: Json, url: str, secret: str) -> None:
        self.webhook |= {"url": url, "secret": secret}
        if parameters.get("drop_pending_updates"):
            self.waiting.clear()

    async def get_webhook_info(self, _: Json, __: Uploads) -> Json:
        """`getWebhookInfo`."""
        waiting = len(self.waiting)
        return {"url": self.webhook["url"], "has_custom_certificate": False, "pending_update_count": waiting}

    # --- the webhook ------------------------------------------------------------------------------------------------

    def _bring(self) -> None:
        if self.webhook["url"] and self.waiting and self._bringing is None:
            self._bringing = asyncio.get_running_loop().create_task(self._bring_all())
            self._bringing.add_done_callback(self._brought)

    def _brought(self, task: asyncio.Task[None]) -> None:
        self._bringing = None
        if not task.cancelled():
            self._bring()  # one may have come while the connection was being closed

    async def _bring_all(self) -> None:
        async with aiohttp.ClientSession() as session:
            while self.waiting and self.webhook["url"]:
                update = self.waiting[0]
                if not await self._takes(session, update):
                    self.webhook_failures += 1
                    self._news.happened()
                    await asyncio.sleep(_BEFORE_AGAIN)
                elif self.waiting and self.waiting[0] is update:
                    self.waiting.popleft()

    async def _takes(self, session: aiohttp.ClientSession, update: Json) -> bool:
        secret = self.webhook["secret"]
        headers = {"X-Telegram-Bot-Api-Secret-Token": secret} if secret else {}
        try:
            async with session.post(self.webhook["url"], json=update, headers=headers) as response:
                return 200 <= response.status < 300
        except aiohttp.ClientError:
            return False
