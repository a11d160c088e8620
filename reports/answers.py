"""What a reporter says after an officer's question: what their next words may be about, for how long, and what of it
waits until they say that it is for the officer."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from channels.port import Point
from conversations.expectations import Expectation, keep_expectation, kind, present_expectation
from conversations.talks import present_talk
from db.tables.reports import Report, ReportState
from reports.forwarding import reporters_chat
from reports.intake import KeptFile
from texts.refusal import Refusal

#: Words this soon after the button are its answer; later ones are asked about first.
SOON = timedelta(minutes=10)
_OPEN = (ReportState.RECEIVED, ReportState.TAKEN, ReportState.VERIFYING)


@kind("offered")
@dataclass(frozen=True, slots=True)
class Offered:
    """Words out of the blue, kept until the person says whether to report them. `is_hurried`: they came too fast to be
    answered one by one, which was said."""

    words: str
    is_hurried: bool = False


@kind("asked")
@dataclass(frozen=True, slots=True)
class Asked:
    """An open question: the next words of the chat may answer it. `words` were offered to be reported before, and stay
    offered."""

    report_id: int
    number: str
    asked_at: datetime
    words: str = ""


@kind("album")
@dataclass(frozen=True, slots=True)
class RestOfAlbum:
    """The first picture of an album went to the officer: those after it go the same way."""

    report_id: int
    number: str
    album: str


@dataclass(frozen=True, slots=True)
class Piece:
    """One message on its way to an officer, as far as it has come: a file of it is stored."""

    text: str = ""
    file: KeptFile | None = None
    point: Point | None = None
    is_more_of_album: bool = False


@kind("unsent")
@dataclass(frozen=True, slots=True)
class Unsent:
    """What was written while a question was open: it waits for its writer's yes. `album` is the one that its last
    picture was of."""

    report_id: int
    number: str
    asked_at: datetime
    pieces: tuple[Piece, ...]
    album: str | None = None


async def expect_answer(session: AsyncSession, report: Report, *, now: datetime) -> None:
    """Take what the reporter writes next for what may be the answer, and ask them; unless they are in the middle of
    something else. Words that were offered to be reported stay offered."""
    chat = await reporters_chat(session, report, now=now)
    if chat is None or await present_talk(session, chat, now=now) is not None:
        return
    kept = await present_expectation(session, chat, now=now)
    if kept is not None and isinstance(kept.what, Unsent):
        return
    words = kept.what.words if kept is not None and isinstance(kept.what, Offered | Asked) else ""
    asked = Asked(report.id, report.number, now, words)
    await keep_expectation(session, Expectation(chat, asked), now=now)


async def report_to_answer(session: AsyncSession, report_id: int) -> Report:
    """A report its writer may add to; raises Refusal (`report.gone`)."""
    report = await session.get(Report, report_id)
    if report is None or report.data_key is None or report.state is ReportState.DRAFT:
        raise Refusal("report.gone")
    return report


async def is_open(session: AsyncSession, report_id: int) -> bool:
    """Whether a report is still being worked on, so that words may be meant for it."""
    report = await session.get(Report, report_id)
    return report is not None and report.data_key is not None and report.state in _OPEN
