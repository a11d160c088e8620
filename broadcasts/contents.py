"""What a broadcast says: stored once in each language, however many read it."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ColumnElement, ScalarSelect, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from broadcasts.messages import notice_shown
from broadcasts.notices import facts_of
from db.tables.broadcasts import Broadcast, BroadcastContent, Notice
from deliveries.ledger import open_content
from texts.catalogue import DEFAULT_LANGUAGE, LANGUAGES
from unit.policy import Policy


async def say(session: AsyncSession, broadcast: Broadcast, notice: Notice, *, now: datetime, policy: Policy) -> None:
    """Store what a broadcast says, in every language there is."""
    text = facts_of(notice).text
    for language in LANGUAGES:
        said = notice_shown(text, language, unit=policy.unit_name, broadcast_id=broadcast.id)
        content_id = await open_content(session, said, origin=f"notice:{notice.id}", now=now)
        session.add(BroadcastContent(broadcast_id=broadcast.id, language=language, content_id=content_id))
    await session.flush()


def content_in(language: ColumnElement[str | None], broadcast: Broadcast) -> ScalarSelect[str]:
    """Which content of a broadcast is read by whoever has chosen `language`: none, or one there was no content for,
    is DEFAULT_LANGUAGE. A part of the statement that opens deliveries, so that languages cost it nothing."""
    wanted = func.coalesce(language, DEFAULT_LANGUAGE)
    return (
        select(BroadcastContent.content_id)
        .where(
            BroadcastContent.broadcast_id == broadcast.id,
            BroadcastContent.language.in_([wanted, DEFAULT_LANGUAGE]),
        )
        .order_by(BroadcastContent.language == DEFAULT_LANGUAGE)
        .limit(1)
        .scalar_subquery()
    )
