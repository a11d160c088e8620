"""What becomes of a report nobody takes in time: it goes to the next in line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import structlog
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from db.engine import keys_of
from db.tables.reports import UNKNOWN_TIME, Hidden, Report
from db.troubles import each, may_be_tried
from reports import forwarding
from reports.facts import ReportState
from unit.policy import Policy

log = structlog.get_logger(__name__)


async def escalate_due(session: AsyncSession, *, now: datetime, policy: Policy, limit: int = 50) -> int:
    """Pass on the reports nobody took in time; returns how many."""
    due = await session.scalars(
        select(Report)
        .where(
            Report.id.in_(await _overdue(session, now=now, policy=policy, limit=limit)),
            Report.state == ReportState.RECEIVED,
        )
        .with_for_update(skip_locked=True)
    )

    async def escalate_one(report: Report) -> None:
        _mend(report, now)
        await forwarding.escalate(session, report, now=now, policy=policy)

    overdue = [r for r in sorted(due, key=_urgency) if _is_overdue(r.hidden, policy.escalation_for(r.urgent), now)]
    return await each(session, "report", overdue, escalate_one, now=now)


async def _overdue(session: AsyncSession, *, now: datetime, policy: Policy, limit: int) -> list[int]:
    """The reports that go on now. When is sealed: those that wait and have not gone to everybody are opened."""
    keys = keys_of(session)
    waiting = await session.execute(
        select(Report.id, Report.urgent, Report.number, Report.sealed).where(
            Report.state == ReportState.RECEIVED,
            Report.escalation_step < forwarding.LAST_STEP,
            may_be_tried("report", Report.id, now=now),
        )
    )
    opened = [(row.id, row.urgent, Hidden.unseal(keys, row.number, row.sealed)) for row in waiting]
    due = [
        (not urgent, _deadline(hidden), which)
        for which, urgent, hidden in opened
        if _is_overdue(hidden, policy.escalation_for(urgent), now)
    ]
    return [which for *_, which in sorted(due)[:limit]]


def _is_overdue(hidden: Hidden, deadlines: Sequence[timedelta], now: datetime) -> bool:
    """Whether a report goes on now; one whose times cannot be read or cannot be right does, for nobody knows how long
    it has waited."""
    if hidden.escalates_at is None:
        return False
    is_wrong = hidden.is_ahead(now) or hidden.escalates_at > now + max(deadlines)
    return is_wrong or hidden.escalates_at <= now


def _deadline(hidden: Hidden) -> datetime:
    return hidden.escalates_at or hidden.started_at


def _urgency(report: Report) -> tuple[bool, datetime]:
    return not report.urgent, _deadline(report.hidden)


def _mend(report: Report, now: datetime) -> None:
    """Let a report whose times cannot be read, or that came while the clock was ahead, count from now: it goes on like
    any other; people are told that nobody knows when it came. What was damaged is logged once."""
    hidden = report.hidden
    if not hidden.is_readable:
        log.error("report_times_unreadable", report=report.number)
    if not hidden.is_readable or hidden.is_ahead(now):
        report.hidden = replace(hidden, started_at=UNKNOWN_TIME, received_at=now, escalates_at=now)
