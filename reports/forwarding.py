"""What officers are shown of a report, and whom it goes to. Always our own rendering, never the reporter's message."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, cast, get_args

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from channels.port import Attachment, MediaKind, Outgoing, Point, Recipient
from channels.wording import Rows, button, from_html, html, plain
from db.engine import keys_of
from db.sealing import CannotOpen
from db.statements import erase_rows
from db.tables.deliveries import Delivery, DeliveryState, Lane, MediaRow, Purpose
from db.tables.officers import Role
from db.tables.reports import Report, ReportLink, ReportPart, ReportState
from deliveries.copies import message_id_of
from deliveries.ledger import call_off, erase_origin, forget_hidden, open_delivery
from officers import roster
from officers.accounts import OfficerAt, officers_who_may, officers_with
from officers.permissions import Permission
from reports.digest import shown_one_by_one
from reports.sealing import ReportBox, open_link
from texts.catalogue import Html
from texts.times import say_time
from unit.policy import Policy

#: Who is asked when nobody takes a report: the other duty officers, the commanders, everybody.
LAST_STEP = 3


@dataclass(frozen=True, slots=True)
class ReportBody:
    """A report as officers may see it; `unreadable` parts were damaged, or their key is off the ring."""

    texts: tuple[str, ...]
    attachments: tuple[Attachment, ...]
    point: Point | None
    unreadable: int = 0


async def read_report(session: AsyncSession, report: Report) -> ReportBody:
    """Open a report's parts, in the order they came; what cannot be opened is counted: it must stop neither the rest
    of the report, nor the tick, nor whoever takes it."""
    parts = await session.scalars(select(ReportPart).where(ReportPart.report_id == report.id).order_by(ReportPart.id))
    try:
        box = ReportBox(keys_of(session), report.number, report.data_key or b"")
    except (CannotOpen, ValueError):
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
        value = box.open(part.sealed, part_id=part.id)
    except (CannotOpen, ValueError):
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
    note = ""
    if not officers:
        officers = await roster.fallback(session)
        note = html("vi", "forward.no_one_on_duty")
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


def _waited(report: Report, now: datetime) -> str:
    came_at = report.hidden.came_at(now)
    if came_at is None:
        return html("vi", "forward.nobody_took_unknown")
    return html("vi", "forward.nobody_took", minutes=max(0, int((now - came_at).total_seconds() // 60)))


async def ask_about(session: AsyncSession, report: Report, *, now: datetime, policy: Policy) -> None:
    """Show a report of a restored copy to whoever is on duty, marked as such: it may have been dealt with since."""
    officers = await roster.on_duty(session, at=now) or await roster.fallback(session)
    deadlines = policy.escalation_for(report.urgent)
    # A step further than anything the copy has shown or the lost time may have.
    report.escalation_step += 1
    report.escalates_at = now + deadlines[0]
    await _forward(session, report, officers, note=html("vi", "restored.report"), now=now, policy=policy)


async def rewrite_forwards(
    session: AsyncSession,
    report: Report,
    line: str,
    *,
    mine: Recipient | None,
    buttons: Rows,
    now: datetime,
    policy: Policy,
) -> set[Recipient]:
    """Write what happened into every message that showed the report, and take its buttons away; those that wait
    are not shown any more.

    The text is written anew with it, so chats of officers who may not read reports any more are left as they are.

    Args:
        line: Markup of what happened; also what channels without edits say instead.
        mine: The chat whose copy gets `buttons`: that of the officer who took it.

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
    readers = {officer.chat for officer in await officers_who_may(session, Permission.HANDLE_REPORTS)}
    done: set[tuple[str, str, str]] = set()
    for delivery in shown:
        chat = Recipient(delivery.channel, delivery.address)
        message_id = message_id_of(session, delivery)
        place = (chat.channel, chat.address, message_id or "")
        if not message_id or place in done or chat not in readers:
            continue
        done.add(place)
        outgoing = await render(session, report, note=line, now=now, policy=policy)
        outgoing = replace(
            outgoing,
            buttons=buttons if chat == mine else (),
            brief=from_html(html("vi", "forward.brief", number=report.number, line=Html(line)), "vi").text,
            attachments=(),
            point=None,
        )
        await open_delivery(
            session,
            outgoing,
            to=chat,
            key=f"report:{report.id}/shown:{delivery.id}/edit:{now.isoformat()}",
            origin=f"report:{report.id}",
            lane=Lane.REPORT,
            edits=message_id,
            purpose=Purpose.FORWARD,
            subject_id=report.id,
            now=now,
        )
    return {Recipient(channel, address) for channel, address, _ in done}


async def render(session: AsyncSession, report: Report, *, note: str, now: datetime, policy: Policy) -> Outgoing:
    """The message that shows a report to an officer. Nothing in it tells who sent it."""
    body = await read_report(session, report)
    words = "\n\n".join(body.texts)
    heading = "forward.heading_urgent" if report.urgent else "forward.heading"
    came_at = report.hidden.came_at(now)
    time = say_time(came_at, policy.zone) if came_at is not None else plain("vi", "forward.time_unknown")
    markup = html("vi", heading, number=report.number, time=time)
    if report.incomplete:
        markup += "\n" + html("vi", "forward.incomplete")
    markup += "\n\n" + (html("vi", "forward.body", text=words) if words else html("vi", "forward.no_words"))
    if body.unreadable:
        markup += "\n" + html("vi", "forward.unreadable", n=body.unreadable)
    if body.attachments:
        markup += "\n" + html("vi", "forward.files", n=len(body.attachments))
    if body.point is not None:
        markup += "\n" + html("vi", "forward.point")
    if note:
        markup += "\n\n" + note
    return from_html(markup, "vi", attachments=body.attachments, point=body.point)


async def tell_reporter(
    session: AsyncSession,
    report: Report,
    key: str,
    *,
    what: str,
    now: datetime,
    buttons: Rows = (),
    **params: str | int,
) -> bool:
    """Queue a word to whoever sent the report, while the link to them lives; their address stays sealed.

    Returns:
        Whether there was anybody to tell.
    """
    chat = await reporters_chat(session, report, now=now)
    if chat is None:
        return False
    await open_delivery(
        session,
        from_html(html(report.language, key, **params), report.language, buttons=buttons),
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
        link = open_link(keys_of(session), report.number, row.sealed)
    except CannotOpen:
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
    note: str,
    now: datetime,
    policy: Policy,
) -> None:
    if report.state is not ReportState.RECEIVED:
        return
    lines = [note] if note else []
    if report.escalates_at is not None:
        minutes = max(1, round((report.escalates_at - now).total_seconds() / 60))
        lines.append(html("vi", "forward.deadline", minutes=minutes))
    outgoing = await render(session, report, note="\n".join(lines), now=now, policy=policy)
    outgoing = replace(outgoing, buttons=((button("vi", "button.take", "report.take", report.id),),))
    for officer in await shown_one_by_one(session, report, officers, now=now, policy=policy):
        await open_delivery(
            session,
            outgoing,
            to=officer.chat,
            key=f"report:{report.id}/forward:{report.escalation_step}/{officer.chat}",
            origin=f"report:{report.id}",
            lane=Lane.REPORT,
            urgent=report.urgent,
            purpose=Purpose.FORWARD,
            subject_id=report.id,
            now=now,
        )
