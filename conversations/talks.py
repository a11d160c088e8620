"""Where a chat is in a conversation: one sealed row, so that a restart or another process goes on from there."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from channels.port import Recipient
from conversations.shapes import read_known, written
from conversations.shelf import LIFETIME as LIFETIME
from conversations.shelf import Lying, Shelf
from db.tables.conversations import Conversation

#: What an expired conversation is called where one cannot be ended.
EXPIRED = "talk"


@dataclass(frozen=True, slots=True)
class Talk:
    """A conversation under way.

    Attributes:
        answers: What was answered so far, as its flow writes it down (see conversations.shapes).
        back: The steps to go back to, the last one first to be gone back to.
        serial: Tells this conversation from an earlier one of the same kind, so that its old buttons do nothing.
        page: Which page of the choices is shown.
        narrowed: What was typed to shorten the list of choices.
        ticked: Which of several choices are ticked; None until one was.
        returns_to: The step to come back to once the present one, whose answer is being mended, is answered.
        has_keyboard: Whether a keyboard of the platform's is up, which must be taken away again.
        album: The platform's name of the album that the last picture was of.
    """

    chat: Recipient
    flow: str
    step: str = ""
    answers: Mapping[str, Any] = field(default_factory=dict)
    back: tuple[str, ...] = ()
    serial: str = field(default_factory=lambda: secrets.token_hex(4))
    page: int = 0
    narrowed: str = ""
    ticked: tuple[str, ...] | None = None
    returns_to: str | None = None
    has_keyboard: bool = False
    album: str | None = None


def _said(body: Mapping[str, Any]) -> object:
    return body.get("answers"), body.get("narrowed"), body.get("ticked")


_SHELF = Shelf(Conversation, "conversation", "chat-talk", _said)


async def present_talk(session: AsyncSession, chat: Recipient, *, now: datetime) -> Talk | None:
    """The conversation a chat is in, if it has not expired."""
    found = await _SHELF.find(session, chat, now=now)
    return _read(found) if found is not None else None


async def keep_talk(session: AsyncSession, talk: Talk, *, now: datetime) -> None:
    """Store a conversation's present state; it lives LIFETIME from now."""
    body = written(talk)
    del body["chat"]
    await _SHELF.keep(session, talk.chat, body, now=now)


async def end_talk(session: AsyncSession, chat: Recipient) -> None:
    """Forget the conversation a chat is in."""
    await _SHELF.forget(session, chat)


async def expired_chats(session: AsyncSession, *, now: datetime, limit: int = 50) -> list[str]:
    """The keys of the conversations whose time has passed."""
    return await _SHELF.expired(session, now=now, trouble=EXPIRED, limit=limit)


async def take_expired(session: AsyncSession, key: str) -> Talk | None:
    """Take out the conversation under a key; None when nothing in it can be read any more."""
    found = await _SHELF.take_expired(session, key)
    talk = _read(found) if found is not None else None
    if found is not None and talk is None:
        _SHELF.say_unreadable()
    return talk


def _read(found: Lying) -> Talk | None:
    return read_known(Talk, {**found.body, "chat": asdict(found.chat)})
