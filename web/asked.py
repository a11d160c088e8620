"""What a request of the page says, checked: nothing of it is believed."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from channels.bodies import TooLarge, limited, read_body
from channels.shapes import Upload
from channels.web.files import MAX_FILE
from web.limits import Held
from web.sentences import Refused

_MAX_JSON = 64 * 1024
#: Around the file: boundaries, the caption and the other fields.
_MAX_FORM = MAX_FILE + 64 * 1024
_MAX_NUMBER = 2**31 - 1
_NONCE = re.compile(r"[A-Za-z0-9-]{8,64}")


class _InMemory(MultiPartParser):
    """Never spools to a file: what citizens send touches the disk sealed, or not at all."""

    spool_max_size = _MAX_FORM + 1


def number(text: str) -> int:
    """A counter from a query or header; anything else is zero."""
    return min(int(text), _MAX_NUMBER) if text.isascii() and text.isdecimal() and len(text) < 20 else 0


async def json_of(request: Request) -> dict[str, Any]:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Refused("not_json")
    try:
        body = json.loads(await read_body(request, _MAX_JSON))
    except (ValueError, RecursionError):
        raise Refused("bad_request") from None
    if not isinstance(body, dict):
        raise Refused("bad_request")
    return body


def string(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str):
        raise Refused("bad_request")
    return value


def nonce_of(body: Mapping[str, Any]) -> str:
    nonce = string(body, "nonce")
    if not _NONCE.fullmatch(nonce):
        raise Refused("bad_request")
    return nonce


def integer(body: Mapping[str, Any], name: str) -> int:
    value = body.get(name)
    if type(value) is not int or not 0 <= value <= _MAX_NUMBER:
        raise Refused("bad_request")
    return value


def degrees(body: Mapping[str, Any], name: str) -> float:
    value = body.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= 180:
        raise Refused("bad_request")
    return float(value)


async def form(request: Request, held: Held) -> tuple[dict[str, str], Upload]:
    """The fields and the one file of a multipart post; all in memory."""
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise Refused("bad_request")
    parser = _InMemory(request.headers, _counted(request, held), max_files=1, max_fields=8)
    try:
        form = await parser.parse()
    except (MultiPartException, ValueError):
        raise Refused("bad_request") from None
    try:
        file = form.get("file")
        if not isinstance(file, UploadFile):
            raise Refused("bad_request")
        if (file.size or 0) > MAX_FILE:
            raise TooLarge
        upload = Upload(file.filename or "tep", file.content_type or "", await file.read())
        return {name: value for name, value in form.items() if isinstance(value, str)}, upload
    finally:
        await form.close()


async def _counted(request: Request, held: Held) -> AsyncGenerator[bytes, None]:
    async for piece in limited(request, _MAX_FORM):
        held.take(len(piece))
        yield piece
