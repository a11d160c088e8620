"""The counts an officer sees, and the one message that shows them while a broadcast runs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, Function, case, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from broadcasts.facts import NoticeFacts, NoticeState, Progress, Standing
from broadcasts.messages import progress_shown
from broadcasts.notices import facts_of
from broadcasts.shifting import leaves_at
from conversations.languages import language_of
from db.tables.broadcasts import Broadcast, BroadcastPlace, BroadcastReach, Notice, NoticePlace
from db.tables.deliveries import Delivery, DeliveryState, Lane, Purpose
from db.troubles import each, may_be_tried
from deliveries.copies import message_id_of
from deliveries.ledger import open_delivery
from unit.policy import Policy

#: The live message is not edited more often than this.
EVERY = timedelta(seconds=5)
#: How long after its opening a broadcast's message keeps following confirmations.
FOLLOWED = timedelta(days=7)
_MARGIN = timedelta(seconds=30)
#: As many establishments are counted where writers wait; more only in sessions that read.
COUNTED_AT_ONCE = 2000


async def count_progress(session: AsyncSession, broadcast_id: int) -> Progress:
    """Count establishments, not messages: one chat that got it is enough.

    It walks the whole audience: a large one is counted in a session that reads, where no writer waits for it.
    """

    again = aliased(Delivery)

    def any_in(*states: DeliveryState) -> Function[Any]:
        return func.max(case((Delivery.state.in_(states) | again.state.in_(states), 1), else_=0))

    each = (
        select(
            BroadcastPlace.establishment_id.label("place"),
            func.max(case((BroadcastPlace.acknowledged_at.is_not(None), 1), else_=0)).label("confirmed"),
            any_in(DeliveryState.SENT).label("sent"),
            any_in(DeliveryState.PENDING, DeliveryState.SENDING).label("waiting"),
            any_in(DeliveryState.UNKNOWN).label("unknown"),
            func.count(Delivery.id).label("deliveries"),
        )
        .outerjoin(
            BroadcastReach,
            (BroadcastReach.broadcast_id == BroadcastPlace.broadcast_id)
            & (BroadcastReach.establishment_id == BroadcastPlace.establishment_id),
        )
        .outerjoin(Delivery, Delivery.id == BroadcastReach.delivery_id)
        .outerjoin(again, (again.resend_of == Delivery.id) & again.resend_of.is_not(None))
        .where(BroadcastPlace.broadcast_id == broadcast_id)
        .group_by(BroadcastPlace.establishment_id)
        .subquery()
    )
    # A confirmation proves receipt, whatever the ledger saw.
    where = case(
        ((each.c.sent == 1) | (each.c.confirmed == 1), "sent"),
        (each.c.waiting == 1, "waiting"),
        (each.c.unknown == 1, "unknown"),
        (each.c.deliveries == 0, "not_connected"),
        else_="unreachable",
    )
    counted = {
        row[0]: (row[1], row[2])
        for row in await session.execute(
            select(where, func.count(), func.sum(each.c.confirmed)).select_from(each).group_by(where)
        )
    }
    size = {name: counts[0] for name, counts in counted.items()}
    still = (
        select(func.count())
        .select_from(NoticePlace)
        .join(Broadcast, Broadcast.notice_id == NoticePlace.notice_id)
        .where(Broadcast.id == broadcast_id, NoticePlace.establishment_id > Broadcast.opens_after)
    )
    opening = await session.scalar(still) or 0
    return Progress(
        total=sum(size.values()) + opening,
        sent=size.get("sent", 0),
        confirmed=int(sum(counts[1] or 0 for counts in counted.values())),
        waiting=size.get("waiting", 0),
        unreachable=size.get("unreachable", 0),
        unknown=size.get("unknown", 0),
        not_connected=size.get("not_connected", 0),
        opening=opening,
    )


async def count_news(session: AsyncSession, *, now: datetime) -> dict[int, Progress]:
    """The counts of all broadcasts whose live message may have to change, by id, for `follow`; read without holding
    up any writer."""
    found = await session.scalars(select(Broadcast.id).where(*_to_follow(now)))
    return {broadcast_id: await count_progress(session, broadcast_id) for broadcast_id in found.all()}


async def newest_broadcast(session: AsyncSession, notice_id: int) -> int | None:
    """The id of the latest sending of a notice."""
    found: int | None = await session.scalar(
        select(Broadcast.id).where(Broadcast.notice_id == notice_id).order_by(Broadcast.id.desc()).limit(1)
    )
    return found


def standing_of(
    notice: NoticeFacts, progress: Progress, *, now: datetime, rate: float | None, policy: Policy
) -> Standing:
    """Where a notice stands with these counts.

    Args:
        rate: How many messages leave in a second; None: nobody can tell when it ends.
    """
    is_sending = notice.state is NoticeState.RUNNING and leaves_at(notice, now=now, policy=policy) == now
    if not (progress.left and is_sending and rate):
        return Standing(notice, progress)
    return Standing(notice, progress, now + timedelta(seconds=progress.left / rate + 1))


async def follow(
    session: AsyncSession,
    *,
    now: datetime,
    rate: float | None,
    policy: Policy,
    counted: Mapping[int, Progress] | None = None,
) -> None:
    """Say or rewrite the live message of every broadcast whose counts have changed, at most every EVERY.

    Where messages cannot be edited, only the first and the final one are said.

    Args:
        counted: What `count_news` counted a moment ago; what is not in it is counted here if it is small.
    """
    rows = await session.execute(
        select(Broadcast, Notice)
        .join(Notice, Notice.id == Broadcast.notice_id)
        .where(*_to_follow(now), may_be_tried("progress", Broadcast.id, now=now))
    )
    await each(
        session,
        "progress",
        [(row[0], row[1]) for row in rows],
        lambda pair: _follow(session, *pair, now=now, rate=rate, policy=policy, counted=counted or {}),
        now=now,
        name=lambda pair: pair[0].id,
    )


async def _follow(
    session: AsyncSession,
    broadcast: Broadcast,
    notice: Notice,
    *,
    now: datetime,
    rate: float | None,
    policy: Policy,
    counted: Mapping[int, Progress],
) -> None:
    progress = await _count_here(session, broadcast, notice, counted)
    if progress is None:
        return
    # What is still expected to end at a certain minute changes by itself; that alone is no news.
    news = hashlib.sha256(repr((notice.state, progress)).encode()).digest()
    if news == broadcast.progress_said:
        broadcast.progress_at = now  # counted; not again before EVERY has passed
        return
    standing = standing_of(facts_of(notice), progress, now=now, rate=rate, policy=policy)
    if await _say(session, broadcast, standing, zone=policy.zone, now=now):
        broadcast.progress_said = news
        broadcast.progress_at = now
        broadcast.confirmed_until = now - _MARGIN


def _to_follow(now: datetime) -> tuple[ColumnElement[bool], ...]:
    """Which broadcasts are followed, and were not counted within EVERY."""
    is_due = or_(Broadcast.progress_at.is_(None), Broadcast.progress_at <= now - EVERY)
    return Broadcast.opened_at > now - FOLLOWED, is_due, _may_have_news()


async def _count_here(
    session: AsyncSession, broadcast: Broadcast, notice: Notice, counted: Mapping[int, Progress]
) -> Progress | None:
    """A broadcast's counts; None where they take too long for a session that writes."""
    if broadcast.id in counted:
        return counted[broadcast.id]
    if notice.places <= COUNTED_AT_ONCE:
        return await count_progress(session, broadcast.id)
    if broadcast.progress_at is None:  # just begun
        return Progress(notice.places, 0, 0, 0, 0, 0, 0, opening=notice.places)
    return None


def _may_have_news() -> ColumnElement[bool]:
    """Whether counting again is worth it: still open, finished since, or confirmed since (with a margin for
    confirmations that were under way while we counted)."""
    confirmed = (
        select(BroadcastPlace.establishment_id)
        .where(
            BroadcastPlace.broadcast_id == Broadcast.id,
            BroadcastPlace.acknowledged_at.is_not(None),
            BroadcastPlace.acknowledged_at >= Broadcast.confirmed_until,
        )
        .exists()
    )
    return or_(
        Broadcast.finished_at.is_(None),
        Broadcast.progress_at.is_(None),
        Broadcast.finished_at >= Broadcast.progress_at,
        confirmed,
    )


async def _say(
    session: AsyncSession, broadcast: Broadcast, standing: Standing, *, zone: ZoneInfo, now: datetime
) -> bool:
    """Queue the first live message, or an edit of it; False while the message has not arrived yet.

    An edit that still waits becomes this one, and a message its reader has deleted is said anew (Purpose.LIVE).
    """
    is_first = broadcast.progress_at is None
    shown = None if is_first else await _shown(session, broadcast.id)
    if not is_first and not shown:
        return False
    notice = standing.notice
    outgoing = progress_shown(standing, await language_of(session, notice.author), zone=zone)
    brief = outgoing.text if _is_news_everywhere(broadcast, notice) else ""
    return await open_delivery(
        session,
        replace(outgoing, silent=True) if is_first else replace(outgoing, brief=brief),
        to=notice.author,
        key=f"progress:{broadcast.id}" + ("" if is_first else f"/edit:{now.isoformat()}"),
        origin=f"notice:{notice.id}",
        lane=Lane.REPLY if is_first else Lane.REMINDER,
        edits=shown,
        purpose=Purpose.LIVE,
        subject_id=broadcast.id,
        now=now,
    )


def _is_news_everywhere(broadcast: Broadcast, notice: NoticeFacts) -> bool:
    """Whether it is said also where messages cannot be edited: once, when the broadcast has come to its end."""
    if notice.state is NoticeState.RUNNING or broadcast.finished_at is None:
        return False
    return broadcast.progress_at is None or broadcast.progress_at < broadcast.finished_at


async def _shown(session: AsyncSession, broadcast_id: int) -> str | None:
    """The live message of a broadcast as its reader has it: the newest of those that were said, once it arrived."""
    said = await session.execute(
        select(Delivery.message_id, Delivery.state, Delivery.content_id, Delivery.broadcast_id)
        .where(Delivery.purpose == Purpose.LIVE, Delivery.subject_id == broadcast_id, Delivery.edits.is_(None))
        .order_by(Delivery.id.desc())
        .limit(1)
    )
    row = said.one_or_none()
    return message_id_of(session, row) if row is not None and row.state is DeliveryState.SENT else None
