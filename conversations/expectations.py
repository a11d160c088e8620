"""What is kept for a chat between conversations: of what its next words may be the answer, and what waits for a word.

One sealed row a chat, of a table of its own, as careful as a conversation's: nothing in the open says which chat, which
report, or since when. While a chat is in a conversation nothing is expected of it besides.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy.ext.asyncio import AsyncSession

from channels.port import Recipient
from conversations.shapes import read, written
from conversations.shelf import Lying, Shelf
from db.tables.conversations import Expectation as Row

#: What an expired expectation is called where one cannot be ended.
EXPIRED = "expectation"
_C = TypeVar("_C", bound=type[Any])
_KINDS: dict[str, type[Any]] = {}
_NAMES: dict[type[Any], str] = {}


@dataclass(frozen=True, slots=True)
class Expectation:
    """Something kept for a chat. `what` is of one of the kinds (see `kind`); `serial` tells it from an earlier one, so
    that old buttons do nothing."""

    chat: Recipient
    what: Any
    serial: str = field(default_factory=lambda: secrets.token_hex(4))


def kind(name: str) -> Callable[[_C], _C]:
    """Let a frozen dataclass be kept under a name, which never changes and is never given again."""

    def register(shape: _C) -> _C:
        _KINDS[name], _NAMES[shape] = shape, name
        return shape

    return register


def kinds() -> Mapping[str, type[Any]]:
    """All that can be kept, by name."""
    return dict(_KINDS)


def _said(body: Mapping[str, Any]) -> object:
    return body.get("what")


_SHELF = Shelf(Row, "expectation", "chat-expectation", _said)


async def present_expectation(session: AsyncSession, chat: Recipient, *, now: datetime) -> Expectation | None:
    """What is kept for a chat, if it has not expired."""
    found = await _SHELF.find(session, chat, now=now)
    return _read(found) if found is not None else None


async def keep_expectation(session: AsyncSession, expected: Expectation, *, now: datetime) -> None:
    """Keep something for a chat, in place of what was kept before, for `shelf.LIFETIME` from now."""
    body = {"kind": _NAMES[type(expected.what)], "what": written(expected.what), "serial": expected.serial}
    await _SHELF.keep(session, expected.chat, body, now=now)


async def forget_expectation(session: AsyncSession, chat: Recipient) -> None:
    """Expect nothing of a chat any more."""
    await _SHELF.forget(session, chat)


async def expired_expectations(session: AsyncSession, *, now: datetime, limit: int = 50) -> list[str]:
    """The keys of what was kept and whose time has passed."""
    return await _SHELF.expired(session, now=now, trouble=EXPIRED, limit=limit)


async def take_expired_expectation(session: AsyncSession, key: str) -> Expectation | None:
    """Take out what is kept under a key; None when nothing in it can be read any more."""
    found = await _SHELF.take_expired(session, key)
    expected = _read(found) if found is not None else None
    if found is not None and expected is None:
        _SHELF.say_unreadable()
    return expected


def _read(found: Lying) -> Expectation | None:
    """None also for what another version of ours kept, in a shape that is not known any more or not yet."""
    shape = _KINDS.get(str(found.body.get("kind")))
    what = read(shape, found.body.get("what")) if shape is not None else None
    serial = found.body.get("serial")
    return Expectation(found.chat, what, serial) if what is not None and isinstance(serial, str) else None
