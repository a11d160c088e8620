"""What comes in is stored before anything is done with it, and acts once.

Two tables: what waits, sealed, and what was seen. The transaction in which an update acts deletes what waited, so
that nothing stands beside what came of it; that it was seen stays for days, as a keyed hash, because platforms bring
an update again when they did not hear that we have it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

import structlog
from sqlalchemy import Row, Table, TextClause, bindparam, delete, func, insert, select, text, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from db.engine import Sessions, is_sqlite, keys_of
from db.marks import day_mark, days_until
from db.sealing import CannotUnseal, KeyRing, padded, unpadded
from db.statements import erase_rows
from db.tables.inbound import PARKED as PARKED
from db.tables.inbound import InboundUpdate, SeenUpdate

log = structlog.get_logger(__name__)

#: How often an update may fail before it is parked: it acts no more, and is kept sealed until it is forgotten.
ATTEMPTS = PARKED - 1
_PURPOSE, _SEEN_PURPOSE = "inbound", "inbound-seen"

_WAITING: Table = InboundUpdate.__table__  # type: ignore[assignment]
_SEEN: Table = SeenUpdate.__table__  # type: ignore[assignment]
_KEEP = insert(_WAITING).values({name: bindparam(name) for name in ("mark", "channel", "chat", "day", "payload")})
_NEW = {
    True: sqlite.insert(_SEEN).on_conflict_do_nothing().returning(_SEEN.c.mark),
    False: postgresql.insert(_SEEN).on_conflict_do_nothing().returning(_SEEN.c.mark),
}
_ACTS = delete(_WAITING).where(_WAITING.c.mark == bindparam("which"))
_COUNT = update(_WAITING).where(_WAITING.c.mark == bindparam("which")).values(attempts=bindparam("failed"))


class AlreadyHandled(Exception):
    """This update has been acted upon before; whatever was about to happen must not happen again."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """An update that waits to act. `raw` is None when it cannot be opened: its key is gone, or it was damaged."""

    channel: str
    mark: str
    chat: str
    attempts: int
    left_over: bool
    raw: Mapping[str, Any] | None


def mark_of(keys: KeyRing, channel: str, update_id: int) -> str:
    """What an update is filed under."""
    return keys.fingerprint("inbound-update", channel, str(update_id))


# --- storing --------------------------------------------------------------------------------------------------------


async def store_updates(
    session: AsyncSession, channel: str, updates: Sequence[Mapping[str, Any]], *, now: datetime
) -> int:
    """Store raw updates of one channel, sealed; those already known are left alone.

    Returns:
        How many were new.
    """
    return await _keep(session, _sealed(keys_of(session), channel, updates, now=now))


class InboundStore:
    """Stores what several bring at once in one transaction: each returns when its own is committed."""

    def __init__(self, sessions: Sessions, clock: Callable[[], datetime]) -> None:
        self._sessions = sessions
        self._clock = clock
        self._brought: list[tuple[list[dict[str, Any]], asyncio.Future[None]]] = []
        self._storing: asyncio.Task[None] | None = None

    async def store(self, channel: str, updates: Sequence[Mapping[str, Any]]) -> None:
        """Store raw updates of one channel; raises what kept them from being stored, to each who waited for it."""
        rows = _sealed(self._sessions.keys, channel, updates, now=self._clock())
        stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._brought.append((rows, stored))
        if self._storing is None:
            self._storing = asyncio.create_task(self._store())
        await stored

    async def _store(self) -> None:
        try:
            while self._brought:
                brought, self._brought = self._brought, []
                await self._commit([row for rows, _ in brought for row in rows], [stored for _, stored in brought])
        finally:
            self._storing = None

    async def _commit(self, rows: list[dict[str, Any]], waiting: list[asyncio.Future[None]]) -> None:
        failure: BaseException | None = None
        try:
            async with self._sessions.begin() as session:
                await _keep(session, rows)
        except BaseException as error:  # whoever waits must hear of it, also that the process ends
            failure = error
        for stored in waiting:
            if not stored.done():
                stored.set_exception(failure) if failure is not None else stored.set_result(None)
        if failure is not None and not isinstance(failure, Exception):
            raise failure


def _sealed(
    keys: KeyRing, channel: str, updates: Sequence[Mapping[str, Any]], *, now: datetime
) -> list[dict[str, Any]]:
    """Rows for updates. One that cannot be written down is left out, for it would keep the others away as well."""
    day, seen_on = day_mark(keys, _PURPOSE, now), day_mark(keys, _SEEN_PURPOSE, now)
    rows = []
    for raw in updates:
        mark = mark_of(keys, channel, raw["update_id"])
        try:
            # Half a surrogate pair, which JSON can carry and UTF-8 cannot, becomes a question mark.
            body = json.dumps(raw, ensure_ascii=False).encode(errors="replace")
            chat = keys.fingerprint("inbound-chat", channel, str(_chat_in(raw)))
        except (ValueError, TypeError, RecursionError) as error:
            log.error("update_not_writable", channel=channel, error=type(error).__name__)
            continue
        payload = keys.seal(_PURPOSE, padded(body), bound_to=mark)
        row = {"mark": mark, "channel": channel, "chat": chat, "day": day, "payload": payload}
        rows.append(row | {"seen_on": seen_on})
    return rows


async def _keep(session: AsyncSession, rows: Sequence[dict[str, Any]]) -> int:
    if not rows:
        return 0
    connection = await session.connection()
    brought = {row["mark"]: row for row in rows}
    marks = [{"mark": row["mark"], "day": row["seen_on"]} for row in brought.values()]
    new = set(await connection.scalars(_NEW[is_sqlite(session)], marks))
    if new:
        await connection.execute(_KEEP, [row for mark, row in brought.items() if mark in new])
    return len(new)


def _chat_in(raw: Mapping[str, Any]) -> object:
    """Which chat an update belongs to, as far as one can tell before it is parsed."""
    for value in raw.values():
        if isinstance(value, dict):
            inner = value.get("message") if "data" in value else value
            chat = inner.get("chat") if isinstance(inner, dict) else None
            if isinstance(chat, dict):
                return chat.get("id")
            sender = value.get("from")
            if isinstance(sender, dict):
                return sender.get("id")
    return None


# --- acting ---------------------------------------------------------------------------------------------------------


async def waiting_updates(
    session: AsyncSession,
    channels: Mapping[str, str],
    *,
    besides: Collection[str] = (),
    chats: int,
    each: int,
) -> list[Waiting]:
    """The next updates of chats that have some waiting, in the order of the chats' keys; in a chat, in order.

    Args:
        channels: Those whose updates are wanted, each with the key of the chat after which to begin: whoever comes
            back with the last one he was given goes round all chats, and a chat with ten thousand waiting has its
            turn like one with a single one.
        besides: Keys of chats to leave out.
        chats: How many chats of a channel at most.
        each: How many updates of a chat at most.
    """
    if not channels:
        return []
    values: dict[str, Any] = {"chats": chats + len(besides), "each": each, "parked": PARKED}
    for number, (channel, after) in enumerate(channels.items()):
        values |= {f"channel_{number}": channel, f"after_{number}": after}
    statement = _heads(is_sqlite(session), len(channels), bool(besides))
    if besides:
        values["besides"] = list(besides)
    rows = await (await session.connection()).execute(statement, values)
    keys = keys_of(session)
    return [
        Waiting(channel, mark, chat, attempts, bool(left_over), _opened(keys, mark, payload))
        for channel, mark, chat, attempts, left_over, payload in rows
    ]


@lru_cache
def _heads(sqlite: bool, channels: int, skips: bool) -> TextClause:
    """A walk over the index from chat to chat, not over everything that waits."""
    walks = ", ".join(  # numbers are filled in, and no words from outside
        f"walk_{n}(chat, steps) AS ("  # noqa: S608
        f" SELECT (SELECT min(chat) FROM inbound_updates WHERE channel = :channel_{n} AND chat > :after_{n}), 1"
        f" UNION ALL SELECT (SELECT min(u.chat) FROM inbound_updates AS u WHERE u.channel = :channel_{n}"
        f" AND u.chat > walk_{n}.chat), steps + 1 FROM walk_{n} WHERE walk_{n}.chat IS NOT NULL AND steps < :chats)"
        for n in range(channels)
    )
    found = " UNION ALL ".join(f"SELECT :channel_{n} AS channel, chat FROM walk_{n}" for n in range(channels))  # noqa: S608
    head = (
        "SELECT {what} FROM inbound_updates AS one WHERE one.channel = chats.channel AND one.chat = chats.chat"
        " AND one.attempts < :parked ORDER BY one.place LIMIT :each"
    )
    joined = (
        f"JOIN inbound_updates AS u ON u.place IN ({head.format(what='one.place')})"
        if sqlite
        else f"CROSS JOIN LATERAL ({head.format(what='*')}) AS u"
    )
    skipped = " AND chats.chat NOT IN :besides" if skips else ""
    statement = text(
        f"WITH RECURSIVE {walks}, chats AS ({found})"  # noqa: S608
        " SELECT u.channel, u.mark, u.chat, u.attempts, u.left_over, u.payload"
        f" FROM chats {joined} WHERE chats.chat IS NOT NULL{skipped} ORDER BY u.chat, u.place"
    )
    return statement.bindparams(bindparam("besides", expanding=True)) if skips else statement


def _opened(keys: KeyRing, mark: str, payload: bytes) -> Mapping[str, Any] | None:
    try:
        raw = json.loads(unpadded(keys.unseal(_PURPOSE, payload, bound_to=mark)))
    except (CannotUnseal, ValueError, RecursionError):
        return None
    return raw if isinstance(raw, dict) else None


async def mark_handled(
    session: AsyncSession,
    channel: str,
    update_id: int,
    asking: tuple[str, ...] = (),
    values: Mapping[str, Any] | None = None,
) -> Row[Any]:
    """Say in this transaction that the update acts now, and drop it.

    Args:
        asking: What else is to be found out at the beginning of a turn, with the same statement: queries of one value
            each. `values` are their parameters.

    Returns:
        The answers, in that order.

    Raises:
        AlreadyHandled: it has acted before, or was never stored; the transaction must be rolled back.
    """
    mark = mark_of(keys_of(session), channel, update_id)
    found = await session.run_sync(_acts_now, mark, asking, values or {})
    if found is None:
        raise AlreadyHandled(mark)
    return found


def _acts_now(session: Session, mark: str, asking: tuple[str, ...], values: Mapping[str, Any]) -> Row[Any] | None:
    return session.connection().execute(_acting(asking), {"which": mark, **values}).first()


@lru_cache
def _acting(asking: tuple[str, ...]) -> TextClause:
    found = ", ".join([*(f"({question})" for question in asking), "place"])
    return text(f"DELETE FROM inbound_updates WHERE mark = :which RETURNING {found}")  # noqa: S608 (our own words)


async def drop_updates(session: AsyncSession, marks: Collection[str]) -> None:
    """Drop updates that nobody wants to act upon."""
    await (await session.connection()).execute(_ACTS, [{"which": mark} for mark in marks])


async def count_attempts(session: AsyncSession, mark: str, attempts: int) -> None:
    """Keep how often an update was tried; beyond ATTEMPTS it waits no more, and is parked."""
    await (await session.connection()).execute(_COUNT, {"which": mark, "failed": attempts})


async def find_left_over(session: AsyncSession) -> None:
    """Note at the start what an earlier process left: one of them may have ended it."""
    await session.execute(update(_WAITING).values(left_over=True))


async def count_waiting(session: AsyncSession) -> int:
    """How many updates wait to act; parked ones do not."""
    return await session.scalar(select(func.count()).where(_WAITING.c.attempts < PARKED)) or 0


async def forget_updates(session: AsyncSession, *, before: datetime) -> None:
    """Forget which updates were seen on days that ended before then, and drop what was parked on them; platforms
    repeat an update for a day at most."""
    keys = keys_of(session)
    seen, waiting = (days_until(keys, purpose, before) for purpose in (_SEEN_PURPOSE, _PURPOSE))
    await session.execute(delete(_SEEN).where(_SEEN.c.day.in_(seen)))
    # In the words of the index of what is parked.
    parked = delete(_WAITING).where(text(f"attempts >= {PARKED}"), _WAITING.c.day.in_(waiting))
    await erase_rows(session, parked)
