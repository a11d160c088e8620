"""Where a chat is in a conversation: one sealed row, so that a restart or another process goes on from there."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from channels.port import Recipient
from db.engine import keys_of, owe_erasure
from db.sealing import CannotOpen, KeyRing, padded, unpadded
from db.statements import changed, insert_ignoring
from db.tables.conversations import Conversation
from db.troubles import may_be_tried

#: A conversation nobody goes on with ends after this long, with a word.
LIFETIME = timedelta(hours=24)
#: In how many of the hours after this one a conversation may end.
_HOURS = LIFETIME // timedelta(hours=1)
#: What an expired conversation is called where one cannot be ended.
EXPIRED = "talk"
_PURPOSE = "conversation"
#: Text in a conversation's answers that nobody wrote: of which report, since when, under which key, in which album.
_OURS = frozenset({"number", "asked_at", "key", "album"})
log = structlog.get_logger(__name__)


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


def talk_key(keys: KeyRing, chat: Recipient) -> str:
    """What a chat's conversation is filed under: another hash than in any other table."""
    return keys.fingerprint("chat-talk", str(chat))


async def present_talk(session: AsyncSession, chat: Recipient, *, now: datetime) -> Talk | None:
    """The conversation a chat is in, if it has not expired."""
    row = await session.get(Conversation, talk_key(keys_of(session), chat))
    found = _open(session, row.chat, row.sealed) if row is not None else None
    return found[0] if found is not None and now < found[1] else None


async def keep_talk(session: AsyncSession, talk: Talk, *, now: datetime) -> None:
    """Store a conversation's present state; it lives LIFETIME from now."""
    keys = keys_of(session)
    key, ends_at = talk_key(keys, talk.chat), now + LIFETIME
    before = await session.scalar(select(Conversation.sealed).where(Conversation.chat == key))
    if before is not None:
        _owe(session, key, before, instead=talk)
    body = {
        "chat": str(talk.chat),
        "flow": talk.flow,
        "step": talk.step,
        "answers": talk.answers,
        "back": talk.back,
        "serial": talk.serial,
        "ends_at": ends_at.isoformat(),
    }
    plain = padded(json.dumps(body, ensure_ascii=False).encode())
    values = {"sealed": keys.seal(_PURPOSE, plain, bound_to=key), "hour": _hour_mark(keys, ends_at)}
    is_new = before is None and await changed(
        session, insert_ignoring(session, Conversation).values(chat=key, **values)
    )
    if not is_new:
        await session.execute(update(Conversation).where(Conversation.chat == key).values(**values))


async def end_talk(session: AsyncSession, chat: Recipient) -> None:
    """Forget the conversation a chat is in."""
    await _take_out(session, talk_key(keys_of(session), chat))


async def expired_chats(session: AsyncSession, *, now: datetime, limit: int = 50) -> list[str]:
    """The keys of the conversations whose time has passed.

    What lives on ends in one of the hours to come, and those have known marks: all else has expired, however long
    ago, but for this hour's, which are opened.
    """
    keys = keys_of(session)
    to_come = [_hour_mark(keys, now + timedelta(hours=hours)) for hours in range(1, _HOURS + 1)]
    rows = await session.execute(
        select(Conversation.chat, Conversation.sealed).where(
            Conversation.hour.not_in(to_come), may_be_tried(EXPIRED, Conversation.chat, now=now)
        )
    )
    over: list[str] = []
    for chat, sealed in rows:
        found = _open(session, chat, sealed)
        if found is None or found[1] <= now:
            over.append(chat)
        if len(over) >= limit:
            break
    return over


async def take_expired(session: AsyncSession, chat: str) -> Talk | None:
    """Take out the conversation under a key; None when nothing in it can be read any more."""
    sealed = await _take_out(session, chat)
    found = _open(session, chat, sealed) if sealed is not None else None
    if sealed is not None and found is None:
        log.warning("conversation_unreadable")
    return found[0] if found is not None else None


async def _take_out(session: AsyncSession, key: str) -> bytes | None:
    sealed: bytes | None = await session.scalar(
        delete(Conversation).where(Conversation.chat == key).returning(Conversation.sealed)
    )
    if sealed is not None:
        _owe(session, key, sealed)
    return sealed


def _owe(session: AsyncSession, key: str, sealed: bytes, *, instead: Talk | None = None) -> None:
    """See to it that what somebody wrote in a conversation is wiped from the disk when it is forgotten. One that held
    no words, as that of a report that was handed in, costs nothing.

    Args:
        instead: What it becomes; words that it goes on holding are not forgotten.
    """
    found = _open(session, key, sealed)
    kept = "\n".join(_words(instead.answers)) if instead is not None else ""
    if found is None or any(word not in kept for word in _words(found[0].answers)):
        owe_erasure(session)


def _words(value: Any) -> Iterator[str]:
    """All text in a conversation's answers, but what we keep there ourselves."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, inside in value.items():
            if name not in _OURS:
                yield from _words(inside)
    elif isinstance(value, list | tuple):
        for inside in value:
            yield from _words(inside)


def _hour_mark(keys: KeyRing, at: datetime) -> str:
    return keys.fingerprint("hour", _PURPOSE, at.astimezone(UTC).strftime("%Y-%m-%dT%H"))


def _open(session: AsyncSession, chat: str, sealed: bytes) -> tuple[Talk, datetime] | None:
    """A conversation and when it ends; None for one that is damaged or whose key was taken off the ring."""
    try:
        body = json.loads(unpadded(keys_of(session).open(_PURPOSE, sealed, bound_to=chat)))
        ends_at = datetime.fromisoformat(body.pop("ends_at"))
        return Talk(Recipient.parse(body.pop("chat")), **body), ends_at
    except (CannotOpen, ValueError, LookupError, TypeError, AttributeError):
        return None
