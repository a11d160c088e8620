"""What a broadcast says: stored once for each language its readers speak, however many they are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, FromClause, case, literal, select
from sqlalchemy.ext.asyncio import AsyncSession

from broadcasts.messages import notice_shown
from broadcasts.notices import facts_of
from channels.port import Recipient
from conversations.languages import languages_of
from db.tables.broadcasts import Broadcast, BroadcastContent, Notice
from deliveries.ledger import open_content
from texts.catalogue import DEFAULT_LANGUAGE
from unit.policy import Policy


async def say_in(
    session: AsyncSession, language: str, broadcast: Broadcast, notice: Notice, *, now: datetime, policy: Policy
) -> str:
    """Store what a broadcast says in a language; returns the content's id."""
    said = notice_shown(facts_of(notice).text, language, unit=policy.unit_name, broadcast_id=broadcast.id)
    content_id = await open_content(session, said, origin=f"notice:{notice.id}", now=now)
    session.add(BroadcastContent(broadcast_id=broadcast.id, language=language, content_id=content_id))
    await session.flush()
    return content_id


async def content_for(
    session: AsyncSession, broadcast: Broadcast, notice: Notice, chats: FromClause, *, now: datetime, policy: Policy
) -> ColumnElement[str]:
    """Which content each of the `chats` (columns `channel`, `address`) gets, as an expression over them.

    Languages are filed under keyed hashes, so they are looked up here and not joined: in one query for all.
    """
    speaking = await _speaking(session, chats)
    stored = await _stored(session, broadcast)
    for language in {DEFAULT_LANGUAGE, *speaking} - stored.keys():
        stored[language] = await say_in(session, language, broadcast, notice, now=now, policy=policy)
    content = literal(stored[DEFAULT_LANGUAGE])
    if not speaking:
        return content
    chat = chats.c.channel + literal(":") + chats.c.address
    return case(*((chat.in_(named), literal(stored[language])) for language, named in speaking.items()), else_=content)


async def _speaking(session: AsyncSession, chats: FromClause) -> Mapping[str, list[str]]:
    """The chats that have chosen another language than the default, by language."""
    found = await session.execute(select(chats.c.channel, chats.c.address).distinct())
    speaking: dict[str, list[str]] = defaultdict(list)
    for chat, language in (await languages_of(session, [Recipient(*row) for row in found])).items():
        if language != DEFAULT_LANGUAGE:
            speaking[language].append(str(chat))
    return speaking


async def _stored(session: AsyncSession, broadcast: Broadcast) -> dict[str, Any]:
    rows = await session.execute(
        select(BroadcastContent.language, BroadcastContent.content_id).where(
            BroadcastContent.broadcast_id == broadcast.id
        )
    )
    return {row.language: row.content_id for row in rows}
