"""What recipients and officers are told of a notice, in the language of whoever reads it.

A notice's own text stays as its author wrote it; what stands around it follows the reader.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from zoneinfo import ZoneInfo

from broadcasts.facts import NoticeFacts, NoticeState, NoticeText, Progress, Response, Standing
from channels.port import Button, Outgoing
from channels.wording import Rows, button, from_html, html, message, rows
from texts.catalogue import Html
from texts.times import say_time, say_when


def notice_shown(
    notice: NoticeText, language: str, *, unit: str, broadcast_id: int | None = None, foot: str = ""
) -> Outgoing:
    """A notice exactly as recipients see it.

    Args:
        broadcast_id: What the button confirms; None: it is a preview, and the button says so.
        foot: Markup under it, once something is settled about it: then there is nothing left to confirm.
    """
    body = html(language, "notice.shown", unit=unit, number=notice.number, text=Html(notice.html))
    report = button(language, "button.report", "report.start", once=False)
    row: tuple[Button, ...] = (report,)
    if notice.response is Response.CONFIRM and not foot:
        row = (button(language, "button.received", "notice.received", broadcast_id or 0, once=False), report)
    markup = body + ("\n\n" + foot if foot else "")
    return from_html(markup, language, buttons=(row,), attachments=() if foot else notice.files)


def standing_markup(standing: Standing, language: str, *, zone: ZoneInfo) -> str:
    """The counts in words; only what is not zero is mentioned besides sent and confirmed."""
    notice, counts = standing.notice, standing.progress
    parts = [html(language, "progress.sent", sent=counts.sent, total=counts.total)]
    if notice.text.response is not Response.NONE:
        parts.append(html(language, "progress.confirmed", n=counts.confirmed))
    parts += [html(language, key, n=n) for key, n in _shortfalls(counts) if n]
    if standing.ends_at is not None:
        parts.append(html(language, "progress.ends", time=say_time(standing.ends_at, zone)))
    key = _HEADINGS.get(notice.state, "progress.finished")
    heading = html(language, key, number=notice.number, title=notice.title)
    return heading + "\n" + " · ".join(parts)


def _shortfalls(counts: Progress) -> tuple[tuple[str, int], ...]:
    return (
        ("progress.not_connected", counts.not_connected),
        ("progress.unreachable", counts.unreachable),
        ("progress.unknown", counts.unknown),
        ("progress.waiting", counts.waiting),
        ("progress.opening", counts.opening),
    )


_HEADINGS = {
    NoticeState.RUNNING: "progress.running",
    NoticeState.PAUSED: "progress.paused",
    NoticeState.CANCELLED: "progress.cancelled",
}


def progress_shown(standing: Standing, language: str, *, zone: ZoneInfo) -> Outgoing:
    """The message an officer follows a broadcast by."""
    markup = standing_markup(standing, language, zone=zone)
    return from_html(markup, language, buttons=notice_buttons(standing.notice, language))


def notice_buttons(notice: NoticeFacts, language: str) -> Rows:
    """What an officer can do with a notice in its present state."""
    row = []
    if notice.state in (NoticeState.RUNNING, NoticeState.SCHEDULED):
        row.append(button(language, "button.pause", "notice.pause", notice.id))
    if notice.state is NoticeState.PAUSED:
        row.append(button(language, "button.resume", "notice.resume", notice.id))
    if notice.state in (NoticeState.PAUSED, NoticeState.SCHEDULED):
        row.append(button(language, "button.call_off", "notice.cancel", notice.id))
    if notice.sent_at is not None:
        row.append(button(language, "button.silent", "notice.silent", notice.id, once=False))
    return (tuple(row),) if row else ()


#: Words to a notice's author: made of the notice, their language, and the zone of the ward.
ToAuthor = Callable[[NoticeFacts, str, ZoneInfo], Outgoing]


def put_off(until: datetime) -> ToAuthor:
    """It was due in quiet hours, which nobody was asked about: it leaves when they end."""
    return _in_the_morning("notice.put_off", until)


def rests(until: datetime) -> ToAuthor:
    """The quiet hours began while it was being sent: the rest leaves when they end."""
    return _in_the_morning("notice.rests", until)


def _in_the_morning(key: str, until: datetime) -> ToAuthor:
    def said(notice: NoticeFacts, language: str, zone: ZoneInfo) -> Outgoing:
        return message(
            language,
            key,
            number=notice.number,
            title=notice.title,
            until=say_when(until, zone, language),
            buttons=rows(button(language, "button.open", "notice.open", notice.id, once=False)),
        )

    return said


def too_late(notice: NoticeFacts, language: str, zone: ZoneInfo) -> Outgoing:
    """Its time passed too long ago while we were down: it was not sent."""
    return message(language, "notice.too_late", number=notice.number, title=notice.title)
