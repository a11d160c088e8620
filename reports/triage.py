"""What officers do with a report: take it, ask, close it; and what happens when nobody does."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from channels.port import Attachment, Recipient
from db.engine import keys_of
from db.sealing import CannotOpen, KeyRing
from db.tables.deliveries import Lane
from db.tables.officers import Officer
from db.tables.reports import Report, ReportLink
from db.tables.reports import ReportState as ReportState
from deliveries.conversations import Talk, keep_talk, present_talk
from deliveries.ledger import open_delivery
from deliveries.wording import Rows, button, html, message
from officers import roster
from officers.accounts import chats_of
from officers.permissions import Actor, Permission, require
from officers.policy import Policy
from reports import forwarding
from reports.intake import File, add_file, add_text
from reports.sealing import code_fits, code_lookup, open_link, same_chat
from texts.catalogue import Html
from texts.markup import clean, is_blank
from texts.refusal import Refusal
from texts.times import say_time

_OPEN = (ReportState.TAKEN, ReportState.VERIFYING)
OUTCOMES = (ReportState.RESOLVED, ReportState.HANDED_OVER, ReportState.UNFOUNDED)
QUESTION_LIMIT = 1000
#: The conversation in which a reporter answers; its one step is "text".
ANSWER_FLOW = "answer"


def officer_buttons(report_id: int) -> Rows:
    """What the officer who took a report may do next."""
    return (
        (
            button("vi", "button.ask", "report.ask", report_id, once=False),
            button("vi", "button.close", "report.close", report_id, once=False),
        ),
    )


async def take_report(
    session: AsyncSession, actor: Actor, report_id: int, *, now: datetime, policy: Policy
) -> tuple[Report, bool]:
    """Take a report: escalation stops, every officer who saw it is told, and the reporter hears.

    Returns:
        The report, and whether a message in the actor's own chat was rewritten to say so.

    Raises:
        Refusal: may not; `report.taken_by` when a colleague was faster.
    """
    officer_id = require(actor, Permission.HANDLE_REPORTS)
    won = await session.execute(
        update(Report)
        .where(Report.id == report_id, Report.state == ReportState.RECEIVED)
        .values(state=ReportState.TAKEN, taken_by=officer_id, taken_at=now, escalates_at=None)
    )
    report = await session.get(Report, report_id, populate_existing=True)
    if report is None:
        raise Refusal("report.unknown")
    if won.rowcount != 1:  # type: ignore[attr-defined]
        raise await _taken_already(session, report, policy)
    line = html("vi", "forward.taken", name=actor.name, time=say_time(now, policy.zone))
    rewritten = await forwarding.rewrite_forwards(
        session, report, line, mine=actor.chat, buttons=officer_buttons(report.id), now=now, policy=policy
    )
    await forwarding.tell_reporter(
        session,
        report,
        "report.taken",
        what="taken",
        buttons=((button(report.language, "button.stop", "report.stop", report.id),),),
        now=now,
        number=report.number,
        time=say_time(now, policy.zone),
    )
    return report, actor.chat in rewritten


async def ask_reporter(session: AsyncSession, actor: Actor, report_id: int, question: str, *, now: datetime) -> Report:
    """Send a question to the reporter, who answers with a button or by code.

    Raises:
        Refusal: may not; not open; the reporter ended contact (`report.no_contact`); nothing or too much is asked.
    """
    report = await report_to_close(session, actor, report_id)
    question = clean(question).strip()
    if is_blank(question):
        raise Refusal("text.empty")
    if len(question) > QUESTION_LIMIT:
        raise Refusal("text.too_long", limit=QUESTION_LIMIT, length=len(question))
    told = await forwarding.tell_reporter(
        session,
        report,
        "report.question",
        what=f"question/{now.isoformat()}",
        buttons=(
            (
                button(report.language, "button.answer", "report.answer", report.id, once=False),
                button(report.language, "button.stop", "report.stop", report.id),
            ),
        ),
        now=now,
        number=report.number,
        question=question,
    )
    if not told:
        raise Refusal("report.no_contact", number=report.number)
    await _let_them_type(session, report, now=now)
    return report


async def _let_them_type(session: AsyncSession, report: Report, *, now: datetime) -> None:
    """Take the reporter's next words for the answer, unless they are in the middle of something else."""
    link = await session.get(ReportLink, report.id)
    if link is None:
        return
    chat = open_link(keys_of(session), report.number, link.sealed)
    if await present_talk(session, chat, now=now) is None:
        await keep_talk(session, Talk(chat, ANSWER_FLOW, "text", {"report": report.id}), now=now)


async def add_answer(
    session: AsyncSession, report_id: int, text: str, *, file: File | None = None, now: datetime
) -> Report:
    """Add what the reporter says later, and pass it on to the officer who answers for the report; to those on duty
    when nobody does (not taken yet, or the officer's access was revoked).

    Raises:
        Refusal: `report.gone`, or as `add_text` does.
    """
    report = await session.get(Report, report_id)
    if report is None or report.data_key is None or report.state is ReportState.DRAFT:
        raise Refusal("report.gone")
    attachments: tuple[Attachment, ...] = ()
    if file is None:
        await add_text(session, report, text, now=now, kind="more")
    else:
        view_id = await add_file(session, report, file, caption=text, now=now)
        attachments = (Attachment(file.view.kind, view_id),)
    chats = await chats_of(session, report.taken_by) if report.taken_by else []
    if not chats:
        chats = [officer.chat for officer in await roster.on_duty(session, at=now) or await roster.fallback(session)]
    take: Rows = ((button("vi", "button.take", "report.take", report.id),),)
    buttons = take if report.state is ReportState.RECEIVED else officer_buttons(report.id)
    said = message("vi", "forward.more", buttons=buttons, number=report.number, text=clean(text).strip())
    for chat in chats:
        await open_delivery(
            session,
            replace(said, attachments=attachments),
            to=chat,
            key=f"report:{report.id}/more/{now.isoformat()}/{chat}",
            origin=f"report:{report.id}",
            lane=Lane.REPORT,
            now=now,
        )
    return report


async def close_report(
    session: AsyncSession, actor: Actor, report_id: int, outcome: ReportState, *, now: datetime, policy: Policy
) -> Report:
    """Close a report with an outcome and tell the reporter.

    Raises:
        Refusal: may not, or it is not open.
    """
    if outcome not in OUTCOMES:
        raise Refusal("button.unknown")
    report = await report_to_close(session, actor, report_id)
    won = await session.execute(
        update(Report)
        .where(Report.id == report_id, Report.state.in_(_OPEN))
        .values(state=outcome, closed_at=now)
        .execution_options(synchronize_session=False)
    )
    if won.rowcount != 1:  # type: ignore[attr-defined]
        raise Refusal("report.not_open", number=report.number)
    await session.refresh(report)
    line = html(
        "vi",
        "forward.closed",
        name=actor.name,
        time=say_time(now, policy.zone),
        outcome=Html(html("vi", f"outcome.{outcome}")),
    )
    await forwarding.rewrite_forwards(session, report, line, mine=None, buttons=(), now=now, policy=policy)
    await forwarding.tell_reporter(
        session, report, f"report.closed_{outcome}", what="closed", now=now, number=report.number
    )
    return report


async def escalate_due(session: AsyncSession, *, now: datetime, policy: Policy, limit: int = 50) -> int:
    """Pass on the reports nobody took in time; returns how many."""
    due = await session.scalars(
        select(Report)
        .where(Report.state == ReportState.RECEIVED, Report.escalates_at <= now)
        .order_by(Report.urgent.desc(), Report.escalates_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    count = 0
    for report in due:
        await forwarding.escalate(session, report, now=now, policy=policy)
        count += 1
    return count


async def report_by_code(session: AsyncSession, code: str) -> Report:
    """The report a receipt code belongs to; raises Refusal (`track.unknown`)."""
    report = (
        await session.execute(select(Report).where(Report.code_lookup == code_lookup(keys_of(session), code)))
    ).scalar_one_or_none()
    if report is None or not await asyncio.to_thread(code_fits, code, report.code_hash or ""):
        raise Refusal("track.unknown")
    return report


async def stop_contact(session: AsyncSession, chat: Recipient, *, report_id: int | None = None) -> int:
    """End contact for good: forget which chat a report came from. Without an id, every report of that chat.

    Returns:
        How many links were cut.
    """
    query = select(ReportLink, Report.number).join(Report, Report.id == ReportLink.report_id)
    if report_id is not None:
        query = query.where(ReportLink.report_id == report_id)
    keys = keys_of(session)
    mine = [
        link.report_id for link, number in await session.execute(query) if _leads_to(keys, number, link.sealed, chat)
    ]
    if mine:
        await forwarding.cut_links(session, mine)
    return len(mine)


async def forget_links(session: AsyncSession, *, now: datetime) -> None:
    """Cut the links whose date has come."""
    dead = list(await session.scalars(select(ReportLink.report_id).where(ReportLink.dies_at <= now).limit(500)))
    if dead:
        await forwarding.cut_links(session, dead)


async def inbox(session: AsyncSession, actor: Actor, *, limit: int = 10) -> list[Report]:
    """Reports that wait for somebody or are open, urgent and oldest first."""
    require(actor, Permission.HANDLE_REPORTS)
    return list(
        await session.scalars(
            select(Report)
            .where(Report.state.in_([ReportState.RECEIVED, *_OPEN]))
            .order_by(Report.taken_by.is_not(None), Report.urgent.desc(), Report.received_at)
            .limit(limit)
        )
    )


async def report_for_officer(session: AsyncSession, actor: Actor, report_id: int) -> Report:
    """A report an officer may read; raises Refusal."""
    require(actor, Permission.HANDLE_REPORTS)
    report = await session.get(Report, report_id)
    if report is None or report.state is ReportState.DRAFT:
        raise Refusal("report.unknown")
    return report


def _leads_to(keys: KeyRing, number: str, sealed: bytes, chat: Recipient) -> bool:
    try:
        return same_chat(open_link(keys, number, sealed), chat)
    except CannotOpen:
        return False


async def report_to_close(session: AsyncSession, actor: Actor, report_id: int) -> Report:
    """A report an officer has taken and not yet closed; raises Refusal (`report.not_open`)."""
    report = await report_for_officer(session, actor, report_id)
    if report.state not in _OPEN:
        raise Refusal("report.not_open", number=report.number)
    return report


async def report_to_ask(session: AsyncSession, actor: Actor, report_id: int, *, now: datetime) -> Report:
    """An open report whose reporter can still be asked; raises Refusal (`report.not_open`, `report.no_contact`)."""
    report = await report_to_close(session, actor, report_id)
    link = await session.get(ReportLink, report.id)
    if link is None or link.dies_at <= now:
        raise Refusal("report.no_contact", number=report.number)
    return report


async def _taken_already(session: AsyncSession, report: Report, policy: Policy) -> Refusal:
    officer = await session.get(Officer, report.taken_by) if report.taken_by else None
    if officer is None or report.taken_at is None:
        return Refusal("report.gone")
    return Refusal(
        "report.taken_by", number=report.number, name=officer.name, time=say_time(report.taken_at, policy.zone)
    )
