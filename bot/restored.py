"""An older copy of the database was put back: what it has waiting may have been sent and done since, so nothing of it
happens in silence."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from broadcasts.opening import is_half_open, open_whole
from channels.wording import message
from db.statements import changed
from db.tables.broadcasts import Broadcast, Notice, NoticeState
from db.tables.deliveries import Delivery, DeliveryState
from db.tables.reports import Report, ReportState
from db.troubles import each, park
from deliveries.copies import settled_on
from deliveries.ledger import Lane, open_delivery
from officers.accounts import officers_with
from officers.permissions import Role
from reports.forwarding import ask_about
from unit.policy import Policy

_REASON = "restored"
#: Nothing waits so long for its next attempt, but what a paused broadcast holds.
_LONGEST_WAIT = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Found:
    """What an older copy had waiting."""

    unknown: int
    reports: int


async def take_stock(session: AsyncSession, *, now: datetime, policy: Policy) -> Found:
    """List what waited to be sent as unknown, ask about the reports nobody had taken, and tell the administrators.

    Notices that were due are opened, and those that were half open to their end, so that the silent can be called by
    name, but nothing of them is sent.
    """
    is_due = (Notice.state == NoticeState.SCHEDULED) & (Notice.scheduled_for <= now)
    begun = await session.scalars(select(Notice).where(is_due | is_half_open()).order_by(Notice.id))
    await each(session, "notice", begun, lambda notice: open_whole(session, notice, now=now, policy=policy), now=now)
    await _keep_from_leaving(session, is_due | is_half_open(), now=now)
    waited = await changed(
        session,
        update(Delivery)
        .where(Delivery.state.in_([DeliveryState.PENDING, DeliveryState.SENDING]))
        .values(
            state=DeliveryState.UNKNOWN,
            reason=_REASON,
            settled_at=settled_on(now),
            due_at=None,
            leased_until=None,
            leased_by=None,
        )
        .execution_options(synchronize_session=False),
    )
    found = Found(waited, await _ask_about_reports(session, now=now, policy=policy))
    await _tell(session, found, now=now)
    return found


async def _keep_from_leaving(session: AsyncSession, which: ColumnElement[bool], *, now: datetime) -> None:
    """Call off the notices that could not be opened for the record, with a word: left as they are they might be sent
    later, as if for the first time."""
    for notice_id in (await session.scalars(select(Notice.id).where(which))).all():
        await session.execute(
            update(Notice)
            .where(Notice.id == notice_id)
            .values(state=NoticeState.CANCELLED)
            .execution_options(synchronize_session=False)
        )
        await session.execute(
            update(Broadcast)
            .where(Broadcast.notice_id == notice_id, Broadcast.finished_at.is_(None))
            .values(opens_after=None, shifts_after=None, halts_lane=None)
            .execution_options(synchronize_session=False)
        )
        await park(session, "notice", str(notice_id), now=now)


async def _ask_about_reports(session: AsyncSession, *, now: datetime, policy: Policy) -> int:
    reports = await session.scalars(
        select(Report).where(Report.state == ReportState.RECEIVED).order_by(Report.urgent.desc(), Report.id)
    )
    return await each(
        session, "report", reports, lambda report: ask_about(session, report, now=now, policy=policy), now=now
    )


async def _tell(session: AsyncSession, found: Found, *, now: datetime) -> None:
    for officer in await officers_with(session, {Role.ADMIN}):
        await open_delivery(
            session,
            message(officer.language, "restored.told", unknown=found.unknown, reports=found.reports),
            to=officer.chat,
            key=f"restored:{now.isoformat()}/{officer.chat}",
            origin="restored",
            lane=Lane.REPORT,
            now=now,
        )


async def pull_back(session: AsyncSession, *, now: datetime) -> None:
    """After the clock was ahead and was set right: what was set due while it was ahead is due now, not in a year.
    Reports see to that themselves (reports.triage)."""
    paused = (
        select(Broadcast.id)
        .join(Notice, Notice.id == Broadcast.notice_id)
        .where(Broadcast.id == Delivery.broadcast_id, Notice.state == NoticeState.PAUSED)
        .exists()
    )
    await session.execute(
        update(Delivery)
        .where(Delivery.state == DeliveryState.PENDING, Delivery.due_at > now + _LONGEST_WAIT, ~paused)
        .values(due_at=now)
        .execution_options(synchronize_session=False),
    )
    await session.execute(
        update(Delivery)
        .where(Delivery.state == DeliveryState.SENDING, Delivery.leased_until > now + _LONGEST_WAIT)
        .values(leased_until=now + _LONGEST_WAIT)
        .execution_options(synchronize_session=False),
    )
