"""What officers and reporters are told of a report, in the language of whoever reads it. Always our own rendering,
never the reporter's message."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import assert_never
from zoneinfo import ZoneInfo

from channels.port import Outgoing
from channels.wording import Rows, button, from_html, html, message, plain
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
    Stands,
    Taken,
    Untaken,
)
from texts.catalogue import Html
from texts.times import say_time

# --- to officers ---


#: What surely fits one message (4,096 on Telegram and on our page), whatever stands over and under it by now.
_ONE_MESSAGE = 3500


def card_shown(card: Card, notes: Sequence[Note], language: str, *, zone: ZoneInfo, buttons: Rows = ()) -> Outgoing:
    """The message that shows a report to an officer, with what there is to say about it. Nothing in it tells who sent
    it."""
    said = "\n".join(note_markup(note, language, zone=zone) for note in notes)
    parts = [_heading(card.report, language, zone=zone), _body(card.body, language), said]
    markup = "\n\n".join(part for part in parts if part)
    return from_html(markup, language, buttons=buttons, attachments=card.body.attachments, point=card.body.point)


def card_rewritten(card: Card, note: Note, language: str, *, zone: ZoneInfo, buttons: Rows = ()) -> Outgoing:
    """A card that was shown before, once something happened: where messages cannot be edited, that alone is said.

    A card that may have left as several messages keeps its text, of which only the last could be rewritten, and gets
    its buttons; `card_noted` says the rest.
    """
    shown = card_shown(card, [note], language, zone=zone, buttons=buttons)
    if is_long(shown):
        return replace(shown, text="", entities=(), brief="", attachments=(), point=None)
    return replace(shown, brief=card_noted(card, note, language, zone=zone).text, attachments=(), point=None)


def card_noted(card: Card, note: Note, language: str, *, zone: ZoneInfo) -> Outgoing:
    """What happened to a report, in a line that names it."""
    line = Html(note_markup(note, language, zone=zone))
    return from_html(html(language, "forward.brief", number=card.report.number, line=line), language)


def is_long(shown: Outgoing) -> bool:
    """Whether a card may have been more than one message of any channel that edits."""
    return len(shown.text.encode("utf-16-le")) // 2 > _ONE_MESSAGE


def _heading(report: ReportFacts, language: str, *, zone: ZoneInfo) -> str:
    key = "forward.heading_urgent" if report.urgent else "forward.heading"
    time = say_time(report.came_at, zone) if report.came_at is not None else plain(language, "forward.time_unknown")
    heading = html(language, key, number=report.number, time=time)
    return f"{heading}\n{html(language, 'forward.incomplete')}" if report.incomplete else heading


def _body(body: ReportBody, language: str) -> str:
    words = "\n\n".join(body.texts)
    lines = [html(language, "forward.body", text=words) if words else html(language, "forward.no_words")]
    if body.unreadable:
        lines.append(html(language, "forward.unreadable", n=body.unreadable))
    if body.attachments:
        lines.append(html(language, "forward.files", n=len(body.attachments)))
    if body.point is not None:
        lines.append(html(language, "forward.point"))
    return "\n".join(lines)


def note_markup(note: Note, language: str, *, zone: ZoneInfo) -> str:
    """What stands under a card, as markup."""
    match note:
        case NobodyOnDuty():
            return html(language, "forward.no_one_on_duty")
        case Untaken(minutes=minutes):
            if minutes is None:
                return html(language, "forward.nobody_took_unknown")
            return html(language, "forward.nobody_took", minutes=minutes)
        case FoundInCopy():
            return html(language, "restored.report")
        case GoesOn(minutes=left):
            return html(language, "forward.deadline", minutes=left)
        case Taken(name=name, at=at):
            return html(language, "forward.taken", name=name, time=say_time(at, zone))
        case Closed(name=name, at=at, outcome=outcome):
            ended = Html(html(language, f"outcome.{outcome}"))
            return html(language, "forward.closed", name=name, time=say_time(at, zone), outcome=ended)
        case Stands(state=state):
            return html(language, "triage.state", state=state_named(state, language))
    assert_never(note)


def state_named(state: str, language: str) -> str:
    """Where a report stands, in words; a state that was damaged is said to be."""
    return plain(language, f"report_state.{state}" if isinstance(state, enum.Enum) else "state.unreadable")


def more_shown(report: ReportFacts, words: str, language: str) -> Outgoing:
    """What a reporter added later; `words` are empty when only a file or a point came."""
    key = "forward.more" if words else "forward.more_wordless"
    return message(language, key, buttons=card_buttons(report, language), number=report.number, text=words)


def card_buttons(report: ReportFacts, language: str) -> Rows:
    """What an officer may do with a report as it stands."""
    return take_button(report, language) if report.state is ReportState.RECEIVED else handling_buttons(report, language)


def take_button(report: ReportFacts, language: str) -> Rows:
    """What can be done with a report nobody has taken."""
    return ((button(language, "button.take", "report.take", report.id),),)


def handling_buttons(report: ReportFacts, language: str) -> Rows:
    """What the officer who took a report may do next."""
    return (
        (
            button(language, "button.ask", "report.ask", report.id, once=False),
            button(language, "button.close", "report.close", report.id, once=False),
        ),
    )


# --- reports by the number ---


def waiting_counted(waiting: int, language: str, *, at: datetime, zone: ZoneInfo) -> Outgoing:
    """How many reports wait, in place of a card for each; none any more."""
    key, buttons = ("digest.waiting", _inbox_button(language)) if waiting else ("digest.none", ())
    return message(language, key, buttons=buttons, n=waiting, time=say_time(at, zone))


def counted_elsewhere(language: str) -> Outgoing:
    """This digest counts no more; a newer one does."""
    return message(language, "digest.older", buttons=_inbox_button(language))


def _inbox_button(language: str) -> Rows:
    return ((button(language, "button.inbox", "report.inbox", once=False),),)


# --- to reporters ---


def taken_told(report: ReportFacts, language: str, *, at: datetime, zone: ZoneInfo) -> Outgoing:
    """An officer has taken the report; the reporter may end contact."""
    # Asks once more: it cannot be undone, and where buttons are numbers a number may be meant as an answer.
    stop = ((button(language, "button.stop", "report.stop_ask", report.id, once=False),),)
    return message(language, "report.taken", buttons=stop, number=report.number, time=say_time(at, zone))


def question_asked(report: ReportFacts, question: str, language: str) -> Outgoing:
    """An officer's question to the reporter."""
    buttons = (
        (
            button(language, "button.answer", "report.answer", report.id, once=False),
            button(language, "button.stop", "report.stop_ask", report.id, once=False),
        ),
    )
    return message(language, "report.question", buttons=buttons, number=report.number, question=question)


def closing_told(report: ReportFacts, outcome: ReportState, language: str) -> Outgoing:
    """How the report ended."""
    return message(language, f"report.closed_{outcome}", number=report.number)
