"""The wire to Telegram: Bot API calls over one aiohttp session."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import aiohttp
from telegram.error import BadRequest, RetryAfter
from telegram.request import BaseRequest, RequestData

from channels.api import NoAnswer, Unreachable

Json = dict[str, Any]

#: Telegram gives out files up to 20 MB (core.telegram.org/bots/api#getfile, read 2026-11).
DOWNLOAD_LIMIT = 20 * 1024 * 1024
_CONNECT_SECONDS = 10.0
_UPLOAD_SECONDS = 120.0
#: The codes BaseRequest gives a meaning of their own; the other refusals are bad requests to it and us.
_KNOWN_REFUSALS = (400, 401, 403, 404, 409, 429)


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
