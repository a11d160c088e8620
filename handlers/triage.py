"""The duty officer's side: take a report, ask, close; the inbox."""

from __future__ import annotations

from dataclasses import dataclass, replace

from telegram import Update

from channels.port import Outgoing
from channels.wording import button, from_html
from handlers import conversation, paging
from handlers.buttons import on
from handlers.context import Context, Turn
from handlers.flows import Answer, Choice, Done, Flow, Question, Step, add_flow
from handlers.words import Words
from officers.permissions import Permission
from reports.facts import OUTCOMES, ReportFacts, ReportState, Stands
from reports.messages import card_buttons, card_shown, handling_buttons
from reports.triage import (
    ask_reporter,
    card_for_officer,
    close_report,
    count_inbox,
    inbox,
    report_to_ask,
    report_to_close,
    take_report,
)
from texts.refusal import Refusal
from texts.times import say_when


@on("report.take")
async def take(turn: Turn, report_id: str) -> None:
    """The officer answers for the report. Every message that shows it says so, this one with what to do next."""
    report, is_said = await take_report(turn.session, turn.actor, int(report_id), now=turn.now, policy=turn.policy)
    if not is_said:
        await turn.say("triage.taken", number=report.number, buttons=handling_buttons(report, turn.language))


@dataclass(frozen=True, slots=True)
class AboutReport:
    """Which report it is about."""

    report_id: int
    number: str


@on("report.ask")
async def start_question(turn: Turn, report_id: str) -> None:
    """Ask the reporter something."""
    report = await report_to_ask(turn.session, turn.actor, int(report_id), now=turn.now)
    await conversation.begin(turn, ASK, AboutReport(report.id, report.number))


def _ask_question(words: Words, about: AboutReport, _seen: None) -> Question:
    ready = ("where", "still", "who", "safe")
    choices = tuple(Choice(key, words.plain(f"ask.{key}")) for key in ready)
    return Question(words.html("triage.ask_question", number=about.number), choices)


async def _take_question(turn: Turn, about: AboutReport, answer: Answer) -> Done:
    question = turn.plain(f"ask.{answer.choice}") if answer.choice else answer.text
    try:
        report = await ask_reporter(turn.session, turn.actor, about.report_id, question, now=turn.now)
    except Refusal as refusal:
        if refusal.key not in ("report.no_contact", "report.not_open"):
            raise
        await turn.refuse(refusal)
        return Done()  # another question would fare no better
    await turn.say("triage.asked", number=report.number)
    return Done()


ASK = add_flow(
    Flow(
        "ask",
        "question",
        {"question": Step(_ask_question, _take_question)},
        AboutReport,
        permission=Permission.HANDLE_REPORTS,
    )
)


@on("report.close")
async def start_closing(turn: Turn, report_id: str) -> None:
    """Say how a report ended."""
    report = await report_to_close(turn.session, turn.actor, int(report_id), now=turn.now)
    await conversation.begin(turn, CLOSE, AboutReport(report.id, report.number))


def _ask_outcome(words: Words, about: AboutReport, _seen: None) -> Question:
    choices = tuple(Choice(outcome, words.plain(f"outcome.{outcome}")) for outcome in OUTCOMES)
    return Question(words.html("triage.ask_outcome", number=about.number), choices)


async def _take_outcome(turn: Turn, about: AboutReport, answer: Answer) -> Done:
    if answer.choice not in set(OUTCOMES):
        raise Refusal("talk.choose_one")
    report = await close_report(
        turn.session, turn.actor, about.report_id, ReportState(answer.choice), now=turn.now, policy=turn.policy
    )
    await turn.say("triage.closed", number=report.number, outcome=turn.state("outcome", report.state))
    return Done()


CLOSE = add_flow(
    Flow(
        "close",
        "outcome",
        {"outcome": Step(_ask_outcome, _take_outcome)},
        AboutReport,
        permission=Permission.HANDLE_REPORTS,
    )
)


async def on_inbox(update: Update, context: Context) -> None:
    """`/tin`."""
    async with context.begin(update) as turn:
        await show_inbox(turn)


@on("report.inbox")
async def show_inbox(turn: Turn) -> None:
    """Reports that wait or are open."""
    await turn.send(await _inbox_page(turn, 0))


@on("report.inbox_page")
async def turn_inbox(turn: Turn, number: str) -> None:
    """Another page of them."""
    await turn.rewrite(await _inbox_page(turn, int(number)))


async def _inbox_page(turn: Turn, number: int) -> Outgoing:
    page = paging.page_at(number, await count_inbox(turn.session, turn.actor))
    found = await inbox(turn.session, turn.actor, now=turn.now, limit=page.stop - page.start, offset=page.start)
    if not found:
        return from_html(turn.html("inbox.empty"), turn.language)
    lines = "\n".join(
        f"• {report.number}: {turn.state('report_state', report.state)}, {_when(turn, report)}" for report in found
    )
    buttons = tuple(
        (replace(button(turn.language, "button.open", "report.open", report.id, once=False), label=report.number),)
        for report in found
    )
    markup = turn.html("inbox.shown", reports=lines) + paging.foot(turn, page)
    return from_html(markup, turn.language, buttons=(*buttons, *paging.turners(turn, page, "report.inbox_page")))


def _when(turn: Turn, report: ReportFacts) -> str:
    at = report.came_at
    return turn.plain("report.time_unknown") if at is None else say_when(at, turn.policy.zone, turn.language)


@on("report.open")
async def show_one(turn: Turn, report_id: str) -> None:
    """Read one report again."""
    card = await card_for_officer(turn.session, turn.actor, int(report_id), now=turn.now)
    buttons = card_buttons(card.report, turn.language)
    notes = [Stands(card.report.state)]
    await turn.send(card_shown(card, notes, turn.language, zone=turn.policy.zone, buttons=buttons))
