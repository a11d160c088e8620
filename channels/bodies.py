"""Reading what is posted to us, no more of it than may be."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from starlette.requests import Request


class TooLarge(Exception):
    """The body is longer than it may be."""


async def limited(request: Request, limit: int) -> AsyncGenerator[bytes, None]:
    """The body in pieces; raises TooLarge as soon as it exceeds `limit` bytes, before reading where it says so."""
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limit:
        raise TooLarge
    taken = 0
    async for piece in request.stream():
        taken += len(piece)
        if taken > limit:
            raise TooLarge
        yield piece


async def read_body(request: Request, limit: int) -> bytes:
    """The whole body; raises TooLarge."""
    return b"".join([piece async for piece in limited(request, limit)])
