"""Where a chat is in a conversation: one sealed row, so that a restart or another process goes on from there."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from channels.inbound import insert_ignoring
from channels.languages import chat_hash
from channels.port import Recipient
from db.engine import keys_of
from db.sealing import CannotOpen
from db.tables.conversations import Conversation

#: A conversation nobody goes on with ends after this long, with a word.
LIFETIME = timedelta(hours=24)
_PURPOSE = "conversation"


@dataclass(slots=True)
class Talk:
    """A conversation under way: flow, step, what was answered so far, and the steps to go back to.

    `serial` tells this conversation from an earlier one of the same kind, so that its old buttons do nothing.
    """

    chat: Recipient
    flow: str
    step: str = ""
    answers: dict[str, Any] = field(default_factory=dict)
    back: list[str] = field(default_factory=list)
    serial: str = field(default_factory=lambda: secrets.token_hex(4))


async def present_talk(session: AsyncSession, chat: Recipient, *, now: datetime) -> Talk | None:
    """The conversation a chat is in, if it has not expired."""
    row = await session.get(Conversation, chat_hash(session, chat))
    if row is None or row.expires_at <= now:
        return None
    return _open(session, row)


async def keep_talk(session: AsyncSession, talk: Talk, *, now: datetime) -> None:
    """Store a conversation's present state; it lives LIFETIME from now."""
    key = chat_hash(session, talk.chat)
    body = {
        "chat": str(talk.chat),
        "flow": talk.flow,
        "step": talk.step,
        "answers": talk.answers,
        "back": talk.back,
        "serial": talk.serial,
    }
    sealed = keys_of(session).seal(_PURPOSE, json.dumps(body, ensure_ascii=False).encode(), bound_to=key)
    values = {"sealed": sealed, "expires_at": now + LIFETIME}
    statement = insert_ignoring(session, Conversation).values(chat=key, **values)
    fresh = await session.execute(statement)
    if fresh.rowcount != 1:  # type: ignore[attr-defined]
        row = await session.get_one(Conversation, key)
        row.sealed, row.expires_at = sealed, now + LIFETIME


async def end_talk(session: AsyncSession, chat: Recipient) -> None:
    """Forget the conversation a chat is in."""
    await session.execute(delete(Conversation).where(Conversation.chat == chat_hash(session, chat)))


async def expired_talks(session: AsyncSession, *, now: datetime, limit: int = 50) -> list[Talk]:
    """Take out the conversations whose time has passed; the caller says a word about each."""
    rows = list(await session.scalars(select(Conversation).where(Conversation.expires_at <= now).limit(limit)))
    talks = []
    for row in rows:
        talk = _open(session, row)
        if talk is not None:
            talks.append(talk)
        await session.delete(row)
    return talks


def _open(session: AsyncSession, row: Conversation) -> Talk | None:
    try:
        body = json.loads(keys_of(session).open(_PURPOSE, row.sealed, bound_to=row.chat))
    except CannotOpen:
        return None  # its key was taken off the ring: nothing to go on from
    return Talk(Recipient.parse(body.pop("chat")), **body)
