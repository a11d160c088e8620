"""Answers that leave piece by piece: streams of events, and files."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, ExitStack, aclosing
from typing import Any, cast

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from web.visitor import PageEvent

_PIECE = 64 * 1024
_RANGE = re.compile(r"bytes=(\d{0,15})-(\d{0,15})")


class Pieces(StreamingResponse):
    """Leaves piece by piece, so that no more waits in memory than the other side takes; what is `held` for it is free
    when it ends. Its pieces end when the page is gone, also when that is noticed while something is being written:
    otherwise the garbage collector would have to, at a time and in a task of its own.

    Raises:
        Full: On making it, there is no room to hold.
    """

    def __init__(
        self, pieces: AsyncIterator[bytes], *args: Any, held: AbstractContextManager[None], **more: Any
    ) -> None:
        super().__init__(pieces, *args, **more)
        self._held = ExitStack()
        self._held.enter_context(held)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._held:
            async with aclosing(cast(Any, self.body_iterator)):
                await super().__call__(scope, receive, send)


def sse(event: PageEvent) -> bytes:
    name, number, about = event
    if name == "ping":
        return b": ping\n\n"
    id_line = f"id: {number}\n" if number is not None else ""
    return f"event: {name}\n{id_line}data: {json.dumps(about, ensure_ascii=False)}\n\n".encode()


def ranged(
    request: Request, content: bytes, headers: dict[str, str], *, held: AbstractContextManager[None]
) -> Response:
    """The bytes, or the part asked for: Safari plays sound and film only in parts."""
    asked = _RANGE.fullmatch(request.headers.get("range", ""))
    first, last, size = 0, len(content) - 1, len(content)
    if asked is not None and content and (asked[1] or asked[2]):
        first = int(asked[1]) if asked[1] else max(0, size - int(asked[2]))
        last = min(int(asked[2]), size - 1) if asked[1] and asked[2] else size - 1
        headers = {**headers, "Content-Range": f"bytes {first}-{last}/{size}"}
        if first > last:
            return Response(status_code=416, headers={**headers, "Content-Range": f"bytes */{size}"})
    headers = {**headers, "Content-Length": str(last + 1 - first)}
    status = 206 if "Content-Range" in headers else 200
    return Pieces(_cut_up(content, first, last + 1), status, headers, held=held)


async def _cut_up(content: bytes, start: int, end: int) -> AsyncIterator[bytes]:
    for at in range(start, end, _PIECE):
        yield content[at : min(at + _PIECE, end)]
