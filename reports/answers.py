"""What a reporter says after an officer's question: what their next words may be about, and for how long."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from conversations.talks import Talk, keep_talk, present_talk
from db.tables.reports import Report, ReportState
from reports.forwarding import reporters_chat
from texts.refusal import Refusal

#: Words this soon after the button are its answer; later ones are asked about first.
SOON = timedelta(minutes=10)
#: What a chat may be in that is no conversation: words offered to be reported, and an open question.
OFFER_FLOW = "offer"
EXPECT_FLOW = "expect"
_OPEN = (ReportState.RECEIVED, ReportState.TAKEN, ReportState.VERIFYING)


@dataclass(frozen=True, slots=True)
class Expected:
    """An open question: the report it is about, and when it was asked."""

    report_id: int
    number: str
    asked_at: datetime


async def expect_answer(session: AsyncSession, report: Report, *, now: datetime) -> None:
    """Take what the reporter writes next for what may be the answer, and ask them; unless they are in the middle of
    something else. Words that were offered to be reported stay offered."""
    chat = await reporters_chat(session, report, now=now)
    if chat is None:
        return
    talk = await present_talk(session, chat, now=now)
    if talk is not None and talk.flow not in (OFFER_FLOW, EXPECT_FLOW):
        return
    words = {"text": talk.answers["text"]} if talk is not None and "text" in talk.answers else {}
    question = {"report": report.id, "number": report.number, "asked_at": now.isoformat()}
    await keep_talk(session, Talk(chat, EXPECT_FLOW, answers={**question, **words}), now=now)


def read_expected(talk: Talk) -> Expected | None:
    """The question a chat's conversation says is open; None where there is none."""
    answers = talk.answers
    if talk.flow != EXPECT_FLOW or "asked_at" not in answers:
        return None
    return Expected(answers["report"], answers["number"], datetime.fromisoformat(answers["asked_at"]))


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
