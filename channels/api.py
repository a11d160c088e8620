"""Bot API calls without the cost of building objects: the path every message we push takes."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, cast

from telegram import Bot
from telegram.error import NetworkError, TelegramError, TimedOut
from telegram.request import RequestData

# Durations as timedelta, which is where python-telegram-bot is going; without this, making a RetryAfter warns.
os.environ.setdefault("PTB_TIMEDELTA", "true")

#: File name, content, media type.
File = tuple[str, bytes, str]


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
