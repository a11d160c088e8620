"""The web chat's tables: all of it sealed, and found again only by who holds the key ring.

A row's key is the keyed hash of what it is of: of a chat, of a chat and a number in it, of a file's name. So a page is
read by computing the keys of the numbers it wants, and nothing in the tables leads from one row of a chat to another.
All functions run in the caller's transaction; those that change a chat take it as `find_chat` locked it.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from channels.port import Recipient
from channels.shapes import FileRef, Shown
from channels.web.file_store import drop_files, drop_old_files
from db.engine import keys_of
from db.marks import day_mark, day_of, days_until, keyed_id
from db.sealing import KeyRing, padded, unpadded
from db.statements import erase_rows, insert_ignoring
from db.tables import web as rows

_CHAT, _MESSAGE, _CHANGE, _POST = "web-chat", "web-message", "web-change", "web-post"
#: What is filled with spaces up to these lengths before it is sealed, bytes: all chats look alike, and a deleted
#: message like a short one.
_CHAT_BYTES, _MESSAGE_BYTES = 96, 500
#: How many rows one statement asks for at least and at most, and how many changes one page looks through.
_FEW, _MANY, _CHANGES_PER_PAGE = 64, 500, 2000

_chats: Any = rows.WebChat.__table__
_messages: Any = rows.WebMessage.__table__
_posts: Any = rows.WebPost.__table__


@dataclass(frozen=True, slots=True)
class Chat:
    """A visitor's conversation: its counters, and up to which message all has been erased."""

    who: Recipient
    language: str
    last_message_id: int = 0
    last_seq: int = 0
    seen_seq: int = 0
    erased_to: int = 0


@dataclass(frozen=True, slots=True)
class Message:
    """A message in its latest state; `seq` grows with every change of the chat. A deleted one has no content."""

    message_id: int
    seq: int
    from_bot: bool
    at: datetime
    content: Shown | None
    edited: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """Some messages in order, whether there are more, and the change up to which the reader then knows everything."""

    messages: list[Message]
    more: bool
    last_seq: int


# --- chats --------------------------------------------------------------------------------------------------------

_FIND_CHAT = select(_chats.c.sealed).where(_chats.c.id == bindparam("key"))
_LOCK_CHAT = _FIND_CHAT.with_for_update()
_KEEP_CHAT = update(_chats).where(_chats.c.id == bindparam("key")).values(sealed=bindparam("state"))
_KEEP_DAY = update(_chats).where(_chats.c.id == bindparam("key")).values(day=bindparam("mark"))


def _chat_key(keys: KeyRing, who: Recipient) -> str:
    return keys.fingerprint(_CHAT, who.channel, who.address)


def _sealed_chat(keys: KeyRing, key: str, chat: Chat) -> bytes:
    state = [chat.language, chat.last_message_id, chat.last_seq, chat.seen_seq, chat.erased_to]
    return keys.seal(_CHAT, json.dumps(state).encode().ljust(_CHAT_BYTES), bound_to=key)


async def find_chat(session: AsyncSession, who: Recipient, *, to_change: bool = False) -> Chat | None:
    """The chat of an address, if it was ever opened; `to_change` keeps others from changing it meanwhile."""
    keys = keys_of(session)
    key = _chat_key(keys, who)
    sealed = await session.scalar(_LOCK_CHAT if to_change else _FIND_CHAT, {"key": key})
    return None if sealed is None else Chat(who, *json.loads(keys.unseal(_CHAT, sealed, bound_to=key)))


def chat_row(keys: KeyRing, chat: Chat, *, opened_at: datetime | None) -> dict[str, Any]:
    """The row of a chat; `opened_at` is None for one that somebody has written in."""
    key = _chat_key(keys, chat.who)
    day = secrets.token_hex(16) if opened_at is None else day_mark(keys, _CHAT, opened_at)
    return {"id": key, "sealed": _sealed_chat(keys, key, chat), "day": day}


async def add_chat(session: AsyncSession, chat: Chat, *, now: datetime) -> None:
    """Keep a chat that was just opened; one that is there already stays as it is."""
    await session.execute(
        insert_ignoring(session, rows.WebChat).values(chat_row(keys_of(session), chat, opened_at=now))
    )


async def keep_chat(session: AsyncSession, chat: Chat) -> None:
    """Put a chat's new state in place of the old."""
    keys = keys_of(session)
    key = _chat_key(keys, chat.who)
    await session.execute(_KEEP_CHAT, {"key": key, "state": _sealed_chat(keys, key, chat)})


async def chat_count(session: AsyncSession) -> int:
    """How many chats there are."""
    return await session.scalar(select(func.count()).select_from(_chats)) or 0


# --- messages -----------------------------------------------------------------------------------------------------

_ADD_MESSAGES = insert(_messages)
_REWRITE = (
    update(_messages)
    .where(_messages.c.id == bindparam("key"))
    .values(change=bindparam("new_change"), sealed=bindparam("state"))
)


def _message_key(keys: KeyRing, who: Recipient, message_id: int) -> int:
    return keyed_id(keys, _MESSAGE, who.channel, who.address, str(message_id))


def _change_key(keys: KeyRing, who: Recipient, seq: int) -> int:
    return keyed_id(keys, _CHANGE, who.channel, who.address, str(seq))


def _sealed_message(keys: KeyRing, key: int, message: Message) -> bytes:
    content = None if message.content is None else message.content.to_dict()
    state = [message.message_id, message.seq, message.from_bot, message.at.isoformat(), message.edited, content]
    plain = json.dumps(state, ensure_ascii=False).encode()
    return keys.seal(_MESSAGE, padded(plain.ljust(_MESSAGE_BYTES)), bound_to=str(key))


def _opened_message(keys: KeyRing, key: int, sealed: bytes) -> Message:
    plain = unpadded(keys.unseal(_MESSAGE, sealed, bound_to=str(key)))
    message_id, seq, from_bot, at, edited, content = json.loads(plain)
    shown = None if content is None else Shown.from_dict(content)
    return Message(message_id, seq, from_bot, datetime.fromisoformat(at), shown, edited)


async def find_message(session: AsyncSession, who: Recipient, message_id: int) -> Message | None:
    """One message of a chat, also a deleted one."""
    found = await _numbered(session, who, [message_id])
    return found[0] if found else None


async def _numbered(session: AsyncSession, who: Recipient, message_ids: Iterable[int]) -> list[Message]:
    """Those of the messages that are there, newest first."""
    keys = keys_of(session)
    wanted = [_message_key(keys, who, message_id) for message_id in message_ids]
    found = await _read(session, _messages.c.id.in_(wanted))
    return sorted(found, key=lambda message: message.message_id, reverse=True)


async def _changed(session: AsyncSession, who: Recipient, seqs: Iterable[int]) -> list[Message]:
    """The messages whose latest change is one of these, in their order; of an overtaken change there is none."""
    keys = keys_of(session)
    wanted = [_change_key(keys, who, seq) for seq in seqs]
    return sorted(await _read(session, _messages.c.change.in_(wanted)), key=lambda message: message.seq)


async def _read(session: AsyncSession, condition: Any) -> list[Message]:
    keys = keys_of(session)
    found = await session.execute(select(_messages.c.id, _messages.c.sealed).where(condition))
    return [_opened_message(keys, key, sealed) for key, sealed in found]


async def add_messages(
    session: AsyncSession, chat: Chat, contents: Sequence[Shown], *, from_bot: bool, now: datetime
) -> list[Message]:
    """New messages at the end of a chat."""
    keys, who = keys_of(session), chat.who
    added = [
        Message(chat.last_message_id + number, chat.last_seq + number, from_bot, now, content)
        for number, content in enumerate(contents, start=1)
    ]
    day = day_mark(keys, _MESSAGE, now)
    written = [{**_state(keys, who, message), "day": day} for message in added]
    await session.execute(_ADD_MESSAGES, _shuffled(written))
    if not chat.last_message_id:
        await session.execute(_KEEP_DAY, {"key": _chat_key(keys, who), "mark": secrets.token_hex(16)})
    await keep_chat(session, replace(chat, last_message_id=added[-1].message_id, last_seq=added[-1].seq))
    return added


def _state(keys: KeyRing, who: Recipient, message: Message) -> dict[str, Any]:
    key = _message_key(keys, who, message.message_id)
    return {"id": key, "change": _change_key(keys, who, message.seq), "sealed": _sealed_message(keys, key, message)}


def _shuffled(written: list[dict[str, Any]]) -> list[dict[str, Any]]:
    # Where a database lays rows in the order of their coming, it shall not be the order of the messages.
    secrets.SystemRandom().shuffle(written)
    return written


async def change_message(session: AsyncSession, chat: Chat, message: Message) -> Message:
    """Put a message's new state in place of the old, as the latest change of its chat."""
    (changed,) = await _change_messages(session, chat, [message])
    return changed


async def delete_message(session: AsyncSession, chat: Chat, message: Message) -> None:
    """Leave nothing of a message but that it is gone; open pages drop it."""
    await change_message(session, chat, _without_content(message))


def _without_content(message: Message) -> Message:
    return replace(message, content=None, at=day_of(message.at))


async def _change_messages(session: AsyncSession, chat: Chat, messages: Sequence[Message]) -> list[Message]:
    keys = keys_of(session)
    changed = [replace(message, seq=chat.last_seq + number) for number, message in enumerate(messages, start=1)]
    states = [_state(keys, chat.who, message) for message in changed]
    written = [{"key": row["id"], "new_change": row["change"], "state": row["sealed"]} for row in states]
    await session.execute(_REWRITE, _shuffled(written))
    await keep_chat(session, replace(chat, last_seq=changed[-1].seq))
    return changed


def _files_of(message: Message) -> tuple[FileRef, ...]:
    return message.content.files if message.content else ()


async def erase_messages(session: AsyncSession, who: Recipient) -> int:
    """Wipe what a chat's messages and the visitor's files say; open pages drop them. Returns how many."""
    chat = await find_chat(session, who, to_change=True)
    if chat is None:
        return 0
    found = await _living(session, chat, chat.last_message_id, limit=chat.last_message_id)
    if not found:
        return 0
    await drop_files(session, (file for message in found if not message.from_bot for file in _files_of(message)))
    # Said before the last change is counted, so that no reader goes through them again.
    chat = replace(chat, erased_to=chat.last_message_id)
    await _change_messages(session, chat, [_without_content(message) for message in reversed(found)])
    return len(found)


async def _living(session: AsyncSession, chat: Chat, newest: int, *, limit: int) -> list[Message]:
    """The newest messages up to number `newest` that were not deleted, newest first; `limit` or a few more."""
    found: list[Message] = []
    top, batch = newest, max(limit + 1, _FEW)
    while top > chat.erased_to and len(found) <= limit:
        bottom = max(chat.erased_to, top - min(batch, _MANY))
        there = await _numbered(session, chat.who, range(bottom + 1, top + 1))
        if not there:
            break  # what is older than a message dropped for its age was dropped as well
        found += [message for message in there if message.content is not None]
        top = bottom
    return found


async def newest_page(session: AsyncSession, chat: Chat, *, before: int | None, limit: int) -> Page:
    """The newest messages, or the newest of those before number `before`."""
    newest = chat.last_message_id if before is None else min(before - 1, chat.last_message_id)
    found = await _living(session, chat, newest, limit=limit)
    return Page(found[:limit][::-1], len(found) > limit, chat.last_seq)


async def changed_page(session: AsyncSession, chat: Chat, *, after: int, limit: int) -> Page:
    """What has changed since change `after`, oldest first.

    After a long silence there may be `more` without a message: one page looks through so many changes and no more.
    """
    found: list[Message] = []
    reached, end = after, min(chat.last_seq, after + _CHANGES_PER_PAGE)
    batch = max(limit + 1, _FEW)
    while reached < end and len(found) <= limit:
        upto = min(end, reached + batch)
        found += await _changed(session, chat.who, range(reached + 1, upto + 1))
        reached, batch = upto, _MANY
    if len(found) > limit:
        return Page(found[:limit], more=True, last_seq=found[limit - 1].seq)
    return Page(found, reached < chat.last_seq, reached)


# --- posts --------------------------------------------------------------------------------------------------------

_FIND_POST = select(_posts.c.sealed).where(_posts.c.id == bindparam("key"))
_ADD_POST = insert(_posts)


def _post_key(keys: KeyRing, who: Recipient, nonce: str) -> str:
    return keys.fingerprint(_POST, who.channel, who.address, nonce)


async def find_post(session: AsyncSession, who: Recipient, nonce: str) -> int | None:
    """The number of the message that was posted under a nonce, 0 for a press; None when nothing was."""
    keys = keys_of(session)
    key = _post_key(keys, who, nonce)
    sealed = await session.scalar(_FIND_POST, {"key": key})
    return None if sealed is None else int.from_bytes(keys.unseal(_POST, sealed, bound_to=key), "big")


async def add_post(
    session: AsyncSession, who: Recipient, nonce: str, message: Message | None, *, now: datetime
) -> None:
    """Remember what was posted under a nonce."""
    keys = keys_of(session)
    key = _post_key(keys, who, nonce)
    number = (message.message_id if message else 0).to_bytes(8, "big")
    sealed = keys.seal(_POST, number, bound_to=key)
    await session.execute(_ADD_POST, {"id": key, "sealed": sealed, "day": day_mark(keys, _POST, now)})


# --- forgetting ---------------------------------------------------------------------------------------------------


async def purge(session: AsyncSession, *, before: datetime, nonces_before: datetime) -> None:
    """Delete messages and files older than `before`, chats never written in, old nonces; whole days at a time.

    A file is as old as the newest message that showed it: the bot may send one again by its name.
    """
    keys = keys_of(session)
    await drop_old_files(session, before=before)
    for table, purpose, until in (
        (_messages, _MESSAGE, before),
        (_posts, _POST, nonces_before),
        (_chats, _CHAT, nonces_before),
    ):
        await erase_rows(session, delete(table).where(table.c.day.in_(days_until(keys, purpose, until))))
