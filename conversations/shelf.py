"""One sealed row for each chat, for a day: what conversations and expectations lie in.

The row is filed under a keyed hash of the chat, and bound to it; when it ends stands inside, and outside only the
keyed mark of the hour. Two shelves have nothing in common by which a chat could be known on both.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from channels.port import Recipient
from db.engine import keys_of, owe_erasure
from db.sealing import CannotUnseal, KeyRing, padded, unpadded
from db.statements import changed, insert_ignoring
from db.tables.conversations import Conversation, Expectation
from db.troubles import may_be_tried

#: What nobody goes on with ends after this long.
LIFETIME = timedelta(hours=24)
#: In how many of the hours after this one it may end.
_HOURS = LIFETIME // timedelta(hours=1)
#: Text that nobody wrote: of which report, since when, in which album.
_OURS = frozenset({"number", "asked_at", "album"})
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Lying:
    """What lies on a shelf for a chat."""

    chat: Recipient
    body: Mapping[str, Any]
    ends_at: datetime


@dataclass(frozen=True, slots=True)
class Shelf:
    """One table of such rows.

    Attributes:
        purpose: Under which bodies are sealed and hours marked.
        filed_as: What the keyed hash of a chat is made with: another one in each table.
        said: What in a body people may have written.
    """

    table: type[Conversation] | type[Expectation]
    purpose: str
    filed_as: str
    said: Callable[[Mapping[str, Any]], object]

    def key_of(self, keys: KeyRing, chat: Recipient) -> str:
        """What a chat is filed under."""
        return keys.fingerprint(self.filed_as, str(chat))

    async def find(self, session: AsyncSession, chat: Recipient, *, now: datetime) -> Lying | None:
        """What lies here for a chat, if its time has not passed."""
        row: Any = await session.get(self.table, self.key_of(keys_of(session), chat))
        found = self._open(session, row.chat, row.sealed) if row is not None else None
        return found if found is not None and now < found.ends_at else None

    async def keep(self, session: AsyncSession, chat: Recipient, body: Mapping[str, Any], *, now: datetime) -> None:
        """Lay something down for a chat, in place of what lay there; it stays for LIFETIME from now."""
        keys = keys_of(session)
        key, ends_at = self.key_of(keys, chat), now + LIFETIME
        before = await session.scalar(select(self.table.sealed).where(self.table.chat == key))
        if before is not None:
            self._owe(session, key, before, instead=body)
        whole = {**body, "chat": str(chat), "ends_at": ends_at.isoformat()}
        plain = padded(json.dumps(whole, ensure_ascii=False).encode())
        values = {"sealed": keys.seal(self.purpose, plain, bound_to=key), "hour": self._hour(keys, ends_at)}
        is_new = before is None and await changed(
            session, insert_ignoring(session, self.table).values(chat=key, **values)
        )
        if not is_new:
            await session.execute(update(self.table).where(self.table.chat == key).values(**values))

    async def forget(self, session: AsyncSession, chat: Recipient) -> None:
        """Take away what lies here for a chat."""
        await self._take_out(session, self.key_of(keys_of(session), chat))

    async def expired(self, session: AsyncSession, *, now: datetime, trouble: str, limit: int = 50) -> list[str]:
        """The keys under which something lies whose time has passed, but for those in trouble.

        What lives on ends in one of the hours to come, and those have known marks: all else has expired, however long
        ago, but for this hour's, which are opened.
        """
        keys = keys_of(session)
        to_come = [self._hour(keys, now + timedelta(hours=hours)) for hours in range(1, _HOURS + 1)]
        rows = await session.execute(
            select(self.table.chat, self.table.sealed).where(
                self.table.hour.not_in(to_come), may_be_tried(trouble, self.table.chat, now=now)
            )
        )
        over: list[str] = []
        for key, sealed in rows:
            found = self._open(session, key, sealed)
            if found is None or found.ends_at <= now:
                over.append(key)
            if len(over) >= limit:
                break
        return over

    async def take_expired(self, session: AsyncSession, key: str) -> Lying | None:
        """Take out what lies under a key; None when there is nothing, or nothing that can be read any more."""
        sealed = await self._take_out(session, key)
        found = self._open(session, key, sealed) if sealed is not None else None
        if sealed is not None and found is None:
            self.say_unreadable()
        return found

    def say_unreadable(self) -> None:
        """Log that something was thrown away unread."""
        log.warning("conversation_unreadable" if self.table is Conversation else "expectation_unreadable")

    async def _take_out(self, session: AsyncSession, key: str) -> bytes | None:
        sealed: bytes | None = await session.scalar(
            delete(self.table).where(self.table.chat == key).returning(self.table.sealed)
        )
        if sealed is not None:
            self._owe(session, key, sealed)
        return sealed

    def _owe(self, session: AsyncSession, key: str, sealed: bytes, *, instead: Mapping[str, Any] | None = None) -> None:
        """See to it that what somebody wrote is wiped from the disk when it is forgotten. What held no words, as the
        conversation of a report that was handed in, costs nothing.

        Args:
            instead: What takes its place; words that it goes on holding are not forgotten.
        """
        found = self._open(session, key, sealed)
        kept = "\n".join(_words(self.said(instead))) if instead is not None else ""
        if found is None or any(word not in kept for word in _words(self.said(found.body))):
            owe_erasure(session)

    def _hour(self, keys: KeyRing, at: datetime) -> str:
        return keys.fingerprint("hour", self.purpose, at.astimezone(UTC).strftime("%Y-%m-%dT%H"))

    def _open(self, session: AsyncSession, key: str, sealed: bytes) -> Lying | None:
        """None for what is damaged, or whose key was taken off the ring."""
        try:
            body = json.loads(unpadded(keys_of(session).unseal(self.purpose, sealed, bound_to=key)))
            ends_at = datetime.fromisoformat(body.pop("ends_at"))
            return Lying(Recipient.parse(body.pop("chat")), body, ends_at)
        except (CannotUnseal, ValueError, LookupError, TypeError, AttributeError):
            return None


def _words(value: object) -> Iterator[str]:
    """All text in it, but what we put there ourselves."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, inside in value.items():
            if name not in _OURS:
                yield from _words(inside)
    elif isinstance(value, list | tuple):
        for inside in value:
            yield from _words(inside)
