"""Bot API calls without the cost of building objects: the path every message we push takes."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any, Literal, cast
from urllib.parse import quote

from telegram import Bot
from telegram.error import BadRequest, Forbidden, InvalidToken, NetworkError, RetryAfter, TelegramError, TimedOut
from telegram.request import RequestData

# Durations as timedelta, which is where python-telegram-bot is going; without this, making a RetryAfter warns.
os.environ.setdefault("PTB_TIMEDELTA", "true")

#: File name, content, media type.
File = tuple[str, bytes, str]
#: What a file's path on the platform may look like: names of letters, digits and a few signs, none just a dot or two.
_FILE_PATH = re.compile(r"(?!\.{1,2}(?:/|$))[\w.~+=@,() -]+(?:/(?!\.{1,2}(?:/|$))[\w.~+=@,() -]+)*")
_LONGEST_PATH = 512
#: How long to wait before each further attempt to fetch a file that a gateway error kept from us, seconds.
_FETCH_AGAIN = (0.5, 2.0)
#: The longest a platform may tell us to wait before a file is given up, seconds: somebody waits for an answer.
_FETCH_PATIENCE = 30.0


class Unreachable(NetworkError):
    """No connection came about: the call certainly did not arrive."""


class NoAnswer(TimedOut):
    """The call may have arrived, but what became of it is not known."""


class ApiParameters:
    """The parameters and files of one call, in the shape of `telegram.request.RequestData`.

    That class wraps and encodes every value by itself; here `parameters` is the one dict the request serialises.
    """

    __slots__ = ("multipart_data", "parameters")

    def __init__(self, parameters: dict[str, Any], files: Mapping[str, File] | None = None) -> None:
        self.parameters = parameters
        self.multipart_data = dict(files or {})

    @property
    def contains_files(self) -> bool:
        """Whether there is something to upload."""
        return bool(self.multipart_data)

    @property
    def json_parameters(self) -> dict[str, str]:
        """Every value as text: what is not text already as JSON."""
        return {name: value if isinstance(value, str) else json.dumps(value) for name, value in self.parameters.items()}

    @property
    def json_payload(self) -> bytes:
        """All parameters as one JSON object."""
        return json.dumps(self.parameters).encode()


async def call(bot: Bot, method: str, parameters: dict[str, Any], files: Mapping[str, File] | None = None) -> Any:
    """The `result` of one Bot API call, as plain JSON values.

    Raises:
        NoAnswer: The answer is not one: success without a result.
        TelegramError: As the request raises it.
    """
    data = cast(RequestData, ApiParameters(parameters, files))
    try:
        return await bot.request.post(f"{bot.base_url}/{method}", data)
    except TelegramError:
        raise
    except (LookupError, TypeError) as error:
        raise NoAnswer("success without a result") from error


def api_id(text: str) -> int | str:
    """An id as Telegram spells it: a number when `text` is exactly one, else the text itself."""
    return int(text) if text.removeprefix("-").isdecimal() and str(int(text)) == text else text


class CannotFetch(Exception):
    """A file did not come: it is `too_big`, the platform does not give it out (`refused`), or did not answer
    (`unreachable`), which may be over in a while."""

    def __init__(self, reason: Literal["too_big", "refused", "unreachable"]) -> None:
        super().__init__(reason)
        self.reason = reason


async def fetch_file(
    bot: Bot, file_id: str, *, limit: int, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
) -> bytes:
    """The bytes of a file, asked of the Bot API server alone: whatever path it answers, nothing is read from this
    computer's disk and no other address is spoken to (python-telegram-bot's own download does the first).

    A gateway error is tried again twice, a 429 after exactly as long as it says; the caller sets the deadline.

    Args:
        limit: The most bytes that are taken.

    Raises:
        CannotFetch: It did not come, and why.
    """
    for pause in (*_FETCH_AGAIN, None):
        try:
            return await _fetch_once(bot, file_id, limit=limit)
        except RetryAfter as error:
            wait: float | None = max(1.0, _seconds(error.retry_after))
        except BadRequest as error:
            raise CannotFetch("too_big" if "too big" in error.message.lower() else "refused") from error
        except (Forbidden, InvalidToken) as error:
            raise CannotFetch("refused") from error
        except TelegramError:
            wait = pause
        if pause is None or wait is None or wait > _FETCH_PATIENCE:
            break
        await sleep(wait)
    raise CannotFetch("unreachable")


async def _fetch_once(bot: Bot, file_id: str, *, limit: int) -> bytes:
    described = await call(bot, "getFile", {"file_id": file_id})
    if not isinstance(described, dict):
        raise NoAnswer("getFile did not describe a file")
    size = described.get("file_size")
    if isinstance(size, int) and size > limit:
        raise CannotFetch("too_big")
    content = await bot.request.retrieve(f"{bot.base_file_url}/{quote(checked_path(described.get('file_path')))}")
    if len(content) > limit:
        raise CannotFetch("too_big")
    return content


def checked_path(path: object) -> str:
    """A file's path below the Bot API server's root, as `getFile` answered it.

    A server in local mode answers a path on its own disk, and a hostile relay whatever it would like us to read.

    Raises:
        CannotFetch: It is absolute, an address, climbs (`..`), is encoded, or is no path at all.
    """
    if not isinstance(path, str) or len(path) > _LONGEST_PATH or not _FILE_PATH.fullmatch(path):
        raise CannotFetch("refused")
    return path


def _seconds(delay: int | timedelta) -> float:
    return delay.total_seconds() if isinstance(delay, timedelta) else float(delay)
