"""The second front, for measuring: it takes messages under the same strict limit and does as little else as it can.

`python -m bench.botapi.fast [--rate 30] [--latency 0.05]` prints its port on loopback and serves until it is ended.
`GET /stats` says what it has received since `GET /reset`.

Why a second one: a call costs `bench.botapi.server` about 0.3 ms of CPU and this one 0.035 (November 2026, side by
side). At 1,000 messages a second on two cores the strict one would be a good part of what is measured. It looks at no
parameter; what a call may hold is for the strict one to say. Refusals and the rate are the same code in both.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sys
import time
from typing import Any

from bench.botapi.meter import Arrivals
from bench.botapi.refusals import too_many

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_HEAD_END = b"\r\n\r\n"
_ME = {"id": 1, "is_bot": True, "first_name": "Bench", "username": "bench_bot"}
_DOCUMENT = b'"document":{"file_id":"bench-file","file_unique_id":"bench","file_name":"a.pdf"}}}'
_MESSAGE = (
    b'{"ok":true,"result":{"message_id":%d,"from":{"id":1,"is_bot":true,"first_name":"Bench","username":"bench_bot"},'
    b'"chat":{"id":1,"first_name":"Lan","type":"private"},"date":1790000000,"text":"Thong bao"}}'
)
_TEXT = b'"text":"Thong bao"}}'


class Server:
    """Answers Bot API calls; every answer leaves `latency` seconds after its request came."""

    def __init__(self, rate: int | None, latency: float) -> None:
        self.latency = latency
        self._rate = rate
        self._arrivals = Arrivals(rate)

    def answer(self, path: bytes, *, uploads: bool = False) -> bytes:
        """The whole HTTP response to a request for `path`; `uploads` says that a file came with it."""
        method = path.rpartition(b"/")[2]
        if method in (b"sendMessage", b"sendDocument"):
            self._arrivals.uploads += uploads
            missing = self._arrivals.take(time.monotonic())
            if missing:
                return _refusal(missing)
            message = _MESSAGE % self._arrivals.accepted
            if method == b"sendDocument":
                message = message.removesuffix(_TEXT) + _DOCUMENT
            return _response(b"200 OK", message)
        return _response(b"200 OK", json.dumps(self._other(method.decode())).encode())

    def _other(self, method: str) -> Any:
        if method == "stats":
            return self._arrivals.stats()
        if method == "reset":
            self._arrivals = Arrivals(self._rate)
        known = {"getMe": _ME, "getUpdates": [], "getWebhookInfo": {"url": ""}}
        return {"ok": True, "result": known.get(method, True)}


class _Connection(asyncio.Protocol):
    """HTTP/1.1 with a Content-Length and kept alive: all that Bot API clients send."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - a TCP server makes no other
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := self._received.find(_HEAD_END)) >= 0:
            length = _LENGTH.search(self._received, 0, end)
            stop = end + len(_HEAD_END) + (int(length[1]) if length else 0)
            if len(self._received) < stop:
                return
            path = self._received.split(b" ", 2)[1]
            uploads = b"multipart/form-data" in self._received[:end]
            self._received = self._received[stop:]
            self._reply(self._server.answer(path, uploads=uploads))

    def _reply(self, response: bytes) -> None:
        if self._transport is None:
            return
        if self._server.latency:
            asyncio.get_running_loop().call_later(self._server.latency, self._transport.write, response)
        else:
            self._transport.write(response)


def _response(status: bytes, body: bytes) -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)


def _refusal(missing: float) -> bytes:
    return _response(b"429 Too Many Requests", json.dumps(too_many(missing).body).encode())


async def _serve(rate: int | None, latency: float) -> None:
    service = Server(rate, latency)
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(service), "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


def main() -> None:
    """Serve until ended."""
    parser = argparse.ArgumentParser(prog="python -m bench.botapi.fast")
    parser.add_argument("--rate", type=int, help="messages in any sliding second (without: no limit)")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds from request to answer")
    options = parser.parse_args()
    asyncio.run(_serve(options.rate, options.latency))


if __name__ == "__main__":
    main()
