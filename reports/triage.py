"""What officers do with a report: take it, ask, close it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from sqlalchemy import Select, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from channels.port import Attachment, Point, Recipient
from conversations.languages import languages_of
from db.engine import keys_of
from db.marks import day_mark, days_until
from db.sealing import CannotUnseal, KeyRing
from db.statements import changed
from db.tables.deliveries import Lane
from db.tables.officers import Officer
from db.tables.reports import Hidden, Report, ReportLink
from deliveries.ledger import open_delivery
from officers import roster
from officers.accounts import chats_of
from officers.permissions import Actor, Permission, require
from reports import forwarding
from reports.answers import expect_answer, report_to_answer
from reports.codes import Tried
from reports.facts import OUTCOMES, Card, Closed, ReportFacts, ReportState, Taken
from reports.forwarding import facts_of
from reports.intake import LINK_DAY, File, KeptFile, add_kept, add_point, add_text, keep_file
from reports.messages import closing_told, more_shown, question_asked, taken_told
from reports.sealing import Link, same_chat, unseal_link
from texts.markup import clean, is_blank
from texts.refusal import Refusal
from texts.times import say_time
from unit.policy import Policy

_OPEN = (ReportState.TAKEN, ReportState.VERIFYING)
QUESTION_LIMIT = 1000


async def take_report(
    session: AsyncSession, actor: Actor, report_id: int, *, now: datetime, policy: Policy
) -> tuple[ReportFacts, bool]:
    """Take a report: escalation stops, every officer who saw it is told, and the reporter hears.

    Returns:
        The report, and whether a message in the actor's own chat was rewritten to say so.

    Raises:
        Refusal: may not; `report.taken_by` when a colleague was faster.
    """
    officer_id = require(actor, Permission.HANDLE_REPORTS)
    won = await changed(
        session,
        update(Report)
        .where(Report.id == report_id, Report.state == ReportState.RECEIVED)
        .values(state=ReportState.TAKEN, taken_by=officer_id),
    )
    report = await session.get(Report, report_id, populate_existing=True)
    if report is None:
        raise Refusal("report.unknown")
    if won != 1:
        raise await _taken_already(session, report, policy)
    report.hidden = replace(report.hidden, taken_at=now, escalates_at=None)
    taken = facts_of(report, now=now)
    rewritten = await forwarding.rewrite_forwards(
        session, report, Taken(actor.name, now), mine=actor.chat, now=now, policy=policy
    )
    await forwarding.tell_reporter(
        session, report, lambda language: taken_told(taken, language, at=now, zone=policy.zone), what="taken", now=now
    )
    return taken, actor.chat in rewritten


async def ask_reporter(
    session: AsyncSession, actor: Actor, report_id: int, question: str, *, now: datetime
) -> ReportFacts:
    """Send a question to the reporter, who answers with a button or by code.

    Raises:
        Refusal: may not; not open; the reporter ended contact (`report.no_contact`); nothing or too much is asked.
    """
    report = await _open_report(session, actor, report_id)
    question = clean(question).strip()
    if is_blank(question):
        raise Refusal("text.empty")
    if len(question) > QUESTION_LIMIT:
        raise Refusal("text.too_long", limit=QUESTION_LIMIT, length=len(question))
    asked = facts_of(report, now=now)
    told = await forwarding.tell_reporter(
        session,
        report,
        lambda language: question_asked(asked, question, language),
        what=f"question/{uuid4().hex}",
        now=now,
    )
    if not told:
        raise Refusal("report.no_contact", number=report.number)
    await expect_answer(session, report, now=now)
    return asked


async def add_answer(
    session: AsyncSession,
    report_id: int,
    text: str,
    *,
    file: File | KeptFile | None = None,
    point: Point | None = None,
    now: datetime,
) -> bool:
    """Add what the reporter says later, and pass it on to the officer who answers for the report; to those on duty
    when nobody does (not taken yet, or the officer's access was revoked).

    Returns:
        Whether there was an officer to pass it on to; it is kept in any case.

    Raises:
        Refusal: `report.gone`, or as `add_text` does.
    """
    report = await report_to_answer(session, report_id)
    attachments: tuple[Attachment, ...] = ()
    if file is not None:
        kept = file if isinstance(file, KeptFile) else await keep_file(session, report_id, file)
        await add_kept(session, report, kept, caption=text, now=now)
        attachments = (Attachment(kept.kind, kept.view_id),)
    elif point is not None:
        await add_point(session, report, point, now=now)
    else:
        await add_text(session, report, text, now=now, kind="more")
    readers = await languages_of(session, await chats_of(session, report.taken_by)) if report.taken_by else {}
    if not readers:
        others = await roster.on_duty(session, at=now) or await roster.fallback(session)
        readers = {officer.chat: officer.language for officer in others}
    facts, which = facts_of(report, now=now), uuid4().hex
    for chat, language in readers.items():
        said = more_shown(facts, clean(text).strip(), language)
        await open_delivery(
            session,
            replace(said, attachments=attachments, point=point),
            to=chat,
            key=f"report:{report.id}/more/{which}/{chat}",
            origin=f"report:{report.id}",
            lane=Lane.REPORT,
            now=now,
        )
    return bool(readers)


async def close_report(
    session: AsyncSession, actor: Actor, report_id: int, outcome: ReportState, *, now: datetime, policy: Policy
) -> ReportFacts:
    """Close a report with an outcome and tell the reporter.

    Raises:
        Refusal: may not, or it is not open.
    """
    if outcome not in OUTCOMES:
        raise Refusal("button.unknown")
    report = await _open_report(session, actor, report_id)
    won = await changed(
        session, update(Report).where(Report.id == report_id, Report.state.in_(_OPEN)).values(state=outcome)
    )
    if won != 1:
        raise Refusal("report.not_open", number=report.number)
    await session.refresh(report)
    report.closed_at = now
    closed = facts_of(report, now=now)
    await forwarding.rewrite_forwards(session, report, Closed(actor.name, now, outcome), now=now, policy=policy)
    await forwarding.tell_reporter(
        session, report, lambda language: closing_told(closed, outcome, language), what="closed", now=now
    )
    return closed


async def tried_report(session: AsyncSession, tried: Tried, *, policy: Policy) -> Report:
    """The report that a code which was tried opens; raises Refusal (`track.unknown`, `track.wait`)."""
    if tried.again_at is not None:
        # Told in minutes: from the next full one on it is true.
        raise Refusal("track.wait", time=say_time(tried.again_at + timedelta(minutes=1), policy.zone))
    report = await session.get(Report, tried.report_id) if tried.report_id is not None else None
    if report is None or report.code_hash is None:
        raise Refusal("track.unknown")
    return report


async def stop_contact(session: AsyncSession, chat: Recipient, *, report_id: int | None = None) -> int:
    """End contact for good: forget which chat a report came from. Without an id, every report of that chat.

    Returns:
        How many links were cut.
    """
    mine = await _linked_to(session, chat, report_id=report_id)
    if mine:
        await forwarding.cut_links(session, mine)
    return len(mine)


async def is_in_contact(session: AsyncSession, chat: Recipient, *, report_id: int | None = None) -> bool:
    """Whether there is contact to end: with the writer of that report, or of any."""
    return bool(await _linked_to(session, chat, report_id=report_id))


async def _linked_to(session: AsyncSession, chat: Recipient, *, report_id: int | None) -> list[int]:
    query = select(ReportLink, Report.number).join(Report, Report.id == ReportLink.report_id)
    if report_id is not None:
        query = query.where(ReportLink.report_id == report_id)
    keys = keys_of(session)
    return [
        link.report_id for link, number in await session.execute(query) if _leads_to(keys, number, link.sealed, chat)
    ]


async def forget_links(session: AsyncSession, *, now: datetime, limit: int = 500) -> None:
    """Cut the links whose date has come: those of days gone by, and of today those whose hour has passed."""
    keys = keys_of(session)
    dead: list[int] = list(await session.scalars(_links_of(days_until(keys, LINK_DAY, now)).limit(limit)))
    today = await session.execute(
        select(ReportLink.report_id, ReportLink.sealed, Report.number)
        .join(Report, Report.id == ReportLink.report_id)
        .where(ReportLink.day == day_mark(keys, LINK_DAY, now))
    )
    for report_id, sealed, number in today:
        link = _opened(keys, number, sealed)
        if link is not None and link.dies_at <= now:
            dead.append(report_id)
    if dead:
        await forwarding.cut_links(session, dead)


def _links_of(days: list[str]) -> Select[Any]:
    return select(ReportLink.report_id).where(ReportLink.day.in_(days))


async def inbox(
    session: AsyncSession, actor: Actor, *, now: datetime, limit: int = 10, offset: int = 0
) -> list[ReportFacts]:
    """Reports that wait for somebody or are open, urgent and oldest first."""
    require(actor, Permission.HANDLE_REPORTS)
    keys = keys_of(session)
    rows = await session.execute(
        select(Report.id, Report.taken_by, Report.urgent, Report.number, Report.sealed).where(
            Report.state.in_([ReportState.RECEIVED, *_OPEN])
        )
    )
    order: dict[int, tuple[bool, bool, datetime]] = {}
    for row in rows:
        hidden = Hidden.unseal(keys, row.number, row.sealed)
        order[row.id] = (row.taken_by is not None, not row.urgent, hidden.received_at or hidden.started_at)
    first = sorted(order, key=lambda which: order[which])[offset : offset + limit]
    found = await session.scalars(select(Report).where(Report.id.in_(first)))
    return [facts_of(report, now=now) for report in sorted(found, key=lambda report: first.index(report.id))]


async def count_inbox(session: AsyncSession, actor: Actor) -> int:
    """How many reports wait for somebody or are open."""
    require(actor, Permission.HANDLE_REPORTS)
    waiting = Report.state.in_([ReportState.RECEIVED, *_OPEN])
    return await session.scalar(select(func.count()).select_from(Report).where(waiting)) or 0


async def card_for_officer(session: AsyncSession, actor: Actor, report_id: int, *, now: datetime) -> Card:
    """All of a report, for an officer who may read it; raises Refusal."""
    return await forwarding.read_card(session, await _report_for(session, actor, report_id), now=now)


async def _report_for(session: AsyncSession, actor: Actor, report_id: int) -> Report:
    require(actor, Permission.HANDLE_REPORTS)
    report = await session.get(Report, report_id)
    if report is None or report.state is ReportState.DRAFT:
        raise Refusal("report.unknown")
    return report


def _leads_to(keys: KeyRing, number: str, sealed: bytes, chat: Recipient) -> bool:
    link = _opened(keys, number, sealed)
    return link is not None and same_chat(link.chat, chat)


def _opened(keys: KeyRing, number: str, sealed: bytes) -> Link | None:
    try:
        return unseal_link(keys, number, sealed)
    except CannotUnseal:
        return None


async def report_to_close(session: AsyncSession, actor: Actor, report_id: int, *, now: datetime) -> ReportFacts:
    """A report an officer has taken and not yet closed; raises Refusal (`report.not_open`)."""
    return facts_of(await _open_report(session, actor, report_id), now=now)


async def _open_report(session: AsyncSession, actor: Actor, report_id: int) -> Report:
    report = await _report_for(session, actor, report_id)
    if report.state not in _OPEN:
        raise Refusal("report.not_open", number=report.number)
    return report


async def report_to_ask(session: AsyncSession, actor: Actor, report_id: int, *, now: datetime) -> ReportFacts:
    """An open report whose reporter can still be asked; raises Refusal (`report.not_open`, `report.no_contact`)."""
    report = await _open_report(session, actor, report_id)
    if await forwarding.reporters_chat(session, report, now=now) is None:
        raise Refusal("report.no_contact", number=report.number)
    return facts_of(report, now=now)


async def _taken_already(session: AsyncSession, report: Report, policy: Policy) -> Refusal:
    officer = await session.get(Officer, report.taken_by) if report.taken_by else None
    if officer is None or report.taken_at is None:
        return Refusal("report.gone")
    return Refusal(
        "report.taken_by", number=report.number, name=officer.name, time=say_time(report.taken_at, policy.zone)
    )
