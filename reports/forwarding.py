"""What officers are shown of a report, and whom it goes to."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from datetime import datetime
from typing import Any, cast, get_args

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from channels.port import Attachment, MediaKind, Outgoing, Point, Recipient
from conversations.languages import language_of
from db.engine import keys_of
from db.sealing import CannotUnseal
from db.statements import erase_rows
from db.tables.deliveries import Delivery, DeliveryState, Lane, MediaRow, Purpose
from db.tables.officers import Role
from db.tables.reports import Report, ReportLink, ReportPart
from deliveries.calling_off import call_off, erase_origin, forget_hidden
from deliveries.copies import message_id_of
from deliveries.ledger import open_delivery
from officers import roster
from officers.accounts import officers_who_may, officers_with
from officers.facts import OfficerAt
from officers.permissions import Permission
from reports.digest import shown_one_by_one
from reports.facts import (
    Card,
    Closed,
    FoundInCopy,
    GoesOn,
    NobodyOnDuty,
    Note,
    ReportBody,
    ReportFacts,
    ReportState,
    Taken,
    Untaken,
)
from reports.messages import card_noted, card_rewritten, card_shown, handling_buttons, take_button
from reports.sealing import ReportBox, unseal_link
from unit.policy import Policy

#: Who is asked when nobody takes a report: the other duty officers, the commanders, everybody.
LAST_STEP = 3


async def read_report(session: AsyncSession, report: Report) -> ReportBody:
    """Open a report's parts, in the order they came; what cannot be opened is counted: it must stop neither the rest
    of the report, nor the tick, nor whoever takes it."""
    parts = await session.scalars(select(ReportPart).where(ReportPart.report_id == report.id).order_by(ReportPart.id))
    try:
        box = ReportBox(keys_of(session), report.number, report.data_key or b"")
    except (CannotUnseal, ValueError):
        return ReportBody((), (), None, unreadable=len(parts.all()))
    texts: list[str] = []
    attachments: list[Attachment] = []
    point = None
    parts = await session.scalars(select(ReportPart).where(ReportPart.report_id == report.id))
    found = [_value_of(box, part) for part in parts]
    values = [value for value in found if value is not None]
    for value in sorted(values, key=lambda value: value["order"]):
        if value.get("text"):
            texts.append(str(value["text"]))
        if value.get("media") is not None and value["kind"] in get_args(MediaKind):
            attachments.append(Attachment(cast(MediaKind, value["kind"]), value["media"]))
        if value["kind"] == "point":
            point = Point(value["latitude"], value["longitude"])
    return ReportBody(tuple(texts), tuple(attachments), point, len(found) - len(values))


def _value_of(box: ReportBox, part: ReportPart) -> dict[str, Any] | None:
    """What a part says; None when it was damaged."""
    value: Any
    try:
        value = box.unseal(part.sealed, part_id=part.id)
    except (CannotUnseal, ValueError):
        return None
    if not isinstance(value, dict) or not isinstance(value.get("order"), int) or "kind" not in value:
        return None
    if value["kind"] == "point" and not all(
        isinstance(value.get(side), int | float) for side in ("latitude", "longitude")
    ):
        return None
    return dict(value)


async def forward_first(session: AsyncSession, report: Report, *, now: datetime, policy: Policy) -> None:
    """Queue a new report to everybody on duty; to the administrators, with a word, when nobody is."""
    officers = await roster.on_duty(session, at=now)
    note = None
    if not officers:
        officers = await roster.fallback(session)
        note = NobodyOnDuty()
    report.escalation_step = 0
    report.escalates_at = now + policy.escalation_for(report.urgent)[0]
    await _forward(session, report, officers, note=note, now=now, policy=policy)


async def escalate(session: AsyncSession, report: Report, *, now: datetime, policy: Policy) -> None:
    """Queue a report nobody took to the next in line, and set the deadline after that."""
    report.escalation_step += 1
    officers = await _next_in_line(session, report.escalation_step, now=now)
    report.escalates_at = _next_deadline(report, now=now, policy=policy)
    await _forward(session, report, officers, note=_waited(report, now), now=now, policy=policy)


def _next_deadline(report: Report, *, now: datetime, policy: Policy) -> datetime | None:
    """When a report goes on after this step: counted from its receipt, but no later than one deadline follows another,
    for the clock may have been ahead when it came."""
    step, deadlines = report.escalation_step, policy.escalation_for(report.urgent)
    if step >= len(deadlines):
        return None
    at = (report.received_at or now) + deadlines[step]
    return min(max(at, now), now + deadlines[step] - deadlines[step - 1])


def _waited(report: Report, now: datetime) -> Untaken:
    came_at = report.hidden.came_at(now)
    return Untaken(None if came_at is None else max(0, int((now - came_at).total_seconds() // 60)))


async def ask_about(session: AsyncSession, report: Report, *, now: datetime, policy: Policy) -> None:
    """Show a report of a restored copy to whoever is on duty, marked as such: it may have been dealt with since."""
    officers = await roster.on_duty(session, at=now) or await roster.fallback(session)
    deadlines = policy.escalation_for(report.urgent)
    # A step further than anything the copy has shown or the lost time may have.
    report.escalation_step += 1
    report.escalates_at = now + deadlines[0]
    await _forward(session, report, officers, note=FoundInCopy(), now=now, policy=policy)


async def rewrite_forwards(
    session: AsyncSession,
    report: Report,
    note: Taken | Closed,
    *,
    mine: Recipient | None = None,
    now: datetime,
    policy: Policy,
) -> set[Recipient]:
    """Write what happened into every message that showed the report, and take its buttons away; those that wait
    are not shown any more.

    The text is written anew with it, each in its reader's language, so chats of officers who may not read reports any
    more are left as they are.

    Args:
        mine: The chat whose copy gets buttons to go on with: that of the officer who took it.

    Returns:
        The chats that had it.
    """
    await call_off(session, Purpose.FORWARD, report.id, now=now)
    shown = await session.scalars(
        select(Delivery).where(
            Delivery.purpose == Purpose.FORWARD,
            Delivery.subject_id == report.id,
            Delivery.state == DeliveryState.SENT,
        )
    )
    may_read = await officers_who_may(session, Permission.HANDLE_REPORTS)
    languages = {officer.chat: officer.language for officer in may_read}
    card = await read_card(session, report, now=now)
    done: set[tuple[str, str, str]] = set()
    told: set[Recipient] = set()
    for delivery in shown:
        chat = Recipient(delivery.channel, delivery.address)
        message_id = message_id_of(session, delivery)
        place = (chat.channel, chat.address, message_id or "")
        if not message_id or place in done or chat not in languages:
            continue
        done.add(place)
        language = languages[chat]
        buttons = handling_buttons(card.report, language) if chat == mine else ()
        rewritten = card_rewritten(card, note, language, zone=policy.zone, buttons=buttons)
        if chat in told:
            rewritten = replace(rewritten, brief="")  # of several cards one says it, where nothing can be rewritten
        elif not rewritten.text:
            said = card_noted(card, note, language, zone=policy.zone)
            await _queue(session, report, said, chat, key=f"noted:{chat}/{now.isoformat()}", now=now)
        told.add(chat)
        key = f"shown:{delivery.id}/edit:{now.isoformat()}"
        await _queue(session, report, rewritten, chat, key=key, edits=message_id, now=now)
    return {Recipient(channel, address) for channel, address, _ in done}


async def _queue(
    session: AsyncSession,
    report: Report,
    said: Outgoing,
    chat: Recipient,
    *,
    key: str,
    now: datetime,
    edits: str | None = None,
) -> None:
    """Queue what has become of a report for somebody who was shown it; an edit goes on being the card."""
    await open_delivery(
        session,
        said,
        to=chat,
        key=f"report:{report.id}/{key}",
        origin=f"report:{report.id}",
        lane=Lane.REPORT,
        edits=edits,
        purpose=Purpose.FORWARD if edits else None,
        subject_id=report.id if edits else None,
        now=now,
    )


async def read_card(session: AsyncSession, report: Report, *, now: datetime) -> Card:
    """All that an officer is shown of a report."""
    return Card(facts_of(report, now=now), await read_report(session, report))


def facts_of(report: Report, *, now: datetime) -> ReportFacts:
    """A report as it stands now, for others; the report must be in a session, whose key ring opens its times."""
    return ReportFacts(
        report.id, report.number, report.state, report.urgent, report.incomplete, report.hidden.came_at(now)
    )


async def tell_reporter(
    session: AsyncSession,
    report: Report,
    words: Callable[[str], Outgoing],
    *,
    what: str,
    now: datetime,
) -> bool:
    """Queue a word to whoever sent the report, while the link to them lives; their address stays sealed.

    Args:
        words: What is said, in the language its writer has chosen since, or wrote in.
        what: What it is about; it is said once.

    Returns:
        Whether there was anybody to tell.
    """
    chat = await reporters_chat(session, report, now=now)
    if chat is None:
        return False
    await open_delivery(
        session,
        words(await language_of(session, chat, otherwise=report.language)),
        to=chat,
        key=f"report:{report.id}/{what}",
        origin=f"report:{report.id}",
        lane=Lane.REPORT,
        now=now,
        passing=True,
        hide_address=True,
    )
    return True


async def reporters_chat(session: AsyncSession, report: Report, *, now: datetime) -> Recipient | None:
    """The chat a report came from, while the link to it lives."""
    row = await session.get(ReportLink, report.id)
    if row is None:
        return None
    try:
        link = unseal_link(keys_of(session), report.number, row.sealed)
    except CannotUnseal:
        return None
    return link.chat if now < link.dies_at else None


async def erase_content(session: AsyncSession, report: Report) -> None:
    """Erase everything a report said, wherever it was kept to be sent."""
    origin = f"report:{report.id}"
    await erase_rows(session, delete(ReportPart).where(ReportPart.report_id == report.id))
    await erase_rows(session, delete(MediaRow).where(MediaRow.origin == origin))
    await cut_links(session, [report.id])
    await erase_origin(session, origin)


async def cut_links(session: AsyncSession, report_ids: Collection[int]) -> None:
    """Forget which chats reports came from: the links, and what the ledger still holds for those chats."""
    await erase_rows(session, delete(ReportLink).where(ReportLink.report_id.in_(report_ids)))
    await forget_hidden(session, [f"report:{report_id}" for report_id in report_ids])


async def _next_in_line(session: AsyncSession, step: int, *, now: datetime) -> list[OfficerAt]:
    if step == 1:
        on_shift = {officer.officer_id for officer in await roster.on_duty(session, at=now)}
        others = [o for o in await officers_with(session, {Role.DUTY}) if o.officer_id not in on_shift]
        if others:
            return others
    if step <= 2:
        commanders = await officers_with(session, {Role.COMMANDER})
        if commanders:
            return commanders
    return await officers_who_may(session, Permission.HANDLE_REPORTS)


async def _forward(
    session: AsyncSession,
    report: Report,
    officers: Iterable[OfficerAt],
    *,
    note: Note | None,
    now: datetime,
    policy: Policy,
) -> None:
    if report.state is not ReportState.RECEIVED:
        return
    notes: list[Note] = [note] if note is not None else []
    if report.escalates_at is not None:
        notes.append(GoesOn(max(1, round((report.escalates_at - now).total_seconds() / 60))))
    card = await read_card(session, report, now=now)
    for officer in await shown_one_by_one(session, report, officers, now=now, policy=policy):
        buttons = take_button(card.report, officer.language)
        await open_delivery(
            session,
            card_shown(card, notes, officer.language, zone=policy.zone, buttons=buttons),
            to=officer.chat,
            key=f"report:{report.id}/forward:{report.escalation_step}/{officer.chat}",
            origin=f"report:{report.id}",
            lane=Lane.REPORT,
            urgent=report.urgent,
            purpose=Purpose.FORWARD,
            subject_id=report.id,
            now=now,
        )
