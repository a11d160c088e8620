"""What a reporter says after an officer's question: what is expected of their next words, and for how long."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from conversations.talks import Talk, keep_talk, present_talk
from db.tables.reports import Report, ReportState
from deliveries.ledger import is_on_its_way
from reports.forwarding import reporters_chat
from texts.refusal import Refusal

#: Words this soon after a question are taken for its answer; later ones are asked about first.
SOON = timedelta(minutes=10)
#: What a chat may be in that is no conversation: words offered to be reported, and an open question.
OFFER_FLOW = "offer"
EXPECT_FLOW = "expect"
_OPEN = (ReportState.RECEIVED, ReportState.TAKEN, ReportState.VERIFYING)


@dataclass(frozen=True, slots=True)
class Expected:
    """An open question: the report it is about, and when it was asked. `key` is that of its push in the ledger."""

    report_id: int
    number: str
    asked_at: datetime
    key: str


async def expect_answer(session: AsyncSession, report: Report, *, key: str, now: datetime) -> None:
    """Take the reporter's next words for the answer, unless they are in the middle of something else; then there is
    the button. Words that were offered to be reported stay offered."""
    chat = await reporters_chat(session, report, now=now)
    if chat is None:
        return
    talk = await present_talk(session, chat, now=now)
    if talk is not None and talk.flow not in (OFFER_FLOW, EXPECT_FLOW):
        return
    words = {"text": talk.answers["text"]} if talk is not None and "text" in talk.answers else {}
    question = {"report": report.id, "number": report.number, "asked_at": now.isoformat(), "key": key}
    await keep_talk(session, Talk(chat, EXPECT_FLOW, answers={**question, **words}), now=now)


def read_expected(talk: Talk) -> Expected | None:
    """The question a chat's conversation says is open; None where there is none."""
    answers = talk.answers
    if talk.flow != EXPECT_FLOW or "asked_at" not in answers:
        return None
    asked_at = datetime.fromisoformat(answers["asked_at"])
    return Expected(answers["report"], answers["number"], asked_at, answers["key"])


async def is_fresh(session: AsyncSession, expected: Expected, *, written_at: datetime, now: datetime) -> bool:
    """Whether words are so close to the question that they answer it: soon after it, and not before it was seen."""
    # Platforms tell time to the second.
    if now - expected.asked_at > SOON or written_at < expected.asked_at.replace(microsecond=0):
        return False
    return not await is_on_its_way(session, expected.key)


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
