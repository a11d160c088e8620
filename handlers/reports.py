"""The reporter's side: "cứ nhắn", one word to hand it in, a code to follow it; answers, and an end to contact."""

from __future__ import annotations

from dataclasses import dataclass, replace

from telegram import Update

from channels.wording import Rows, button, rows
from conversations.talks import Talk
from handlers import conversation, expecting
from handlers.answers import ABOUT_REPORT, ANSWER, spare_code
from handlers.buttons import on
from handlers.context import Context, Turn
from handlers.expecting import Fate
from handlers.flows import Answer, Choice, Done, Ending, Flow, Next, NoAnswers, Outcome, Question, Stay, Step, add_flow
from handlers.words import Words
from officers import roster
from reports.answers import Asked, Offered
from reports.codes import Tried, candidates, whose
from reports.intake import (
    MAX_PARTS,
    MAX_TEXT,
    File,
    Report,
    add_file,
    add_point,
    add_text,
    count_parts,
    fold_text,
    hand_in,
    in_parts,
    keep_unfinished,
    open_report,
    report_for_writer,
    withdraw_draft,
)
from reports.sealing import codes_in, show_code
from reports.triage import is_in_contact, stop_contact, tried_report
from texts.catalogue import Html
from texts.refusal import Refusal
from texts.times import say_time, say_when

_SEND, _URGENT, _CALM = "send", "urgent", "calm"
#: The deep-link payload that starts a report.
PAYLOAD = "baotin"
#: How many numbers that could be codes are tried in one message.
_MOST_CODES = 3


async def on_report(update: Update, context: Context) -> None:
    """`/baotin`."""
    async with context.begin(update) as turn:
        await start_report(turn)


@dataclass(frozen=True, slots=True)
class ReportAnswers:
    """A report that is being written.

    Attributes:
        report_id: It exists from its first words on.
        telling_file: A file may say who made it, which the writer is told.
        is_hurried: Words come too fast to be answered one by one, which was said.
        part_id: The message of the report that such words are added to.
    """

    report_id: int | None = None
    urgent: bool = False
    telling_file: bool = False
    is_hurried: bool = False
    part_id: int | None = None


@on("report.start")
async def start_report(turn: Turn) -> None:
    """113 first, then: just write."""
    await conversation.begin(turn, REPORT, ReportAnswers())


@on("report.keep_words")
async def start_with_words(turn: Turn) -> None:
    """What was written outside a conversation becomes the first words of a report."""
    kept = await expecting.present(turn)
    words = kept.what.words if kept is not None and isinstance(kept.what, Offered | Asked) else ""
    begun = await conversation.begin(turn, REPORT, ReportAnswers())
    if words:
        *before, last = in_parts(words)
        for part in before:
            begun = replace(begun, answers=await _put(turn, begun.answers, Answer(text=part)))
        await conversation.hear(turn, begun, Answer(text=last))


async def start_with_file(turn: Turn, answer: Answer) -> None:
    """A file or a point out of the blue is the beginning of a report."""
    begun = await conversation.begin(turn, REPORT, ReportAnswers())
    await conversation.hear(turn, begun, answer)


async def offer_report(turn: Turn, answer: Answer) -> None:
    """Words outside a conversation: offer to report them, and keep them (sealed) until the person says."""
    if not answer.text:
        await turn.say("offer.nothing", buttons=_offered(turn))
        return
    kept = await expecting.present(turn)
    before = kept.what if kept is not None and isinstance(kept.what, Offered) else Offered("")
    await expecting.keep(turn, Offered(_together(before.words, answer.text), answer.is_hurried))
    if not answer.is_hurried:
        await turn.say("offer.report", buttons=_offered(turn))
    elif not before.is_hurried:
        # They come too fast to be answered one by one, which is said once.
        await turn.say("offer.hurried", buttons=_offered(turn))


def _offered(turn: Turn) -> Rows:
    return rows(
        button(turn.language, "button.report", "report.keep_words"),
        button(turn.language, "button.help", "help.show", once=False),
    )


def _together(before: str, text: str) -> str:
    """Everything that was written outside a conversation since something was last reported, oldest first.

    Raises:
        Refusal: `offer.full`; what was written before stays kept.
    """
    # A code on a line of its own would not be known for one any more: alone, it is.
    if not before or codes_in(text):
        return before or text
    if len(before) + len(text) > MAX_TEXT * MAX_PARTS // 2:
        raise Refusal("offer.full")
    return f"{before}\n{text}"


async def _look_at_parts(turn: Turn, answers: ReportAnswers) -> int:
    return await count_parts(turn.session, answers.report_id) if answers.report_id is not None else 0


def _ask_content(words: Words, answers: ReportAnswers, parts: int) -> Question:
    if answers.report_id is None:
        return Question(words.html("report.first"))
    urgent = answers.urgent
    toggle = (
        Choice(_CALM, words.plain("button.not_now")) if urgent else Choice(_URGENT, words.plain("button.right_now"))
    )
    markup = words.html("report.ready_urgent" if urgent else "report.ready", n=parts)
    if answers.telling_file:
        markup += "\n\n" + words.html("report.telling_file")
    return Question(markup, (Choice(_SEND, words.plain("button.send")), toggle))


async def _take_content(turn: Turn, answers: ReportAnswers, answer: Answer) -> Outcome[ReportAnswers]:
    match answer.choice:
        case "send":
            await _hand_in(turn, answers)
            return Done()
        case "urgent" | "calm":
            return Next("content", replace(answers, urgent=answer.choice == _URGENT))
    spare_code(answer)
    was_hurried = answers.is_hurried
    answers = replace(await _put(turn, answers, answer), is_hurried=answer.is_hurried)
    if answer.is_hurried and not was_hurried:
        # Too fast to be answered one by one: that is said once, and all of them are in the report.
        return Next("content", answers, note=turn.html("report.hurried"))
    # Of an album only the first picture is answered.
    return Stay(answers) if answer.is_hurried or answer.is_same_album else Next("content", answers)


async def _put(turn: Turn, answers: ReportAnswers, answer: Answer) -> ReportAnswers:
    """Put what was said into the report, which begins with it."""
    if answers.report_id is None:
        opened = await open_report(turn.session, chat=turn.chat, language=turn.language, now=turn.now)
        answers = replace(answers, report_id=opened.id)
    report = await report_for_writer(turn.session, answers.report_id or 0)
    is_words = answer.media is None and answer.point is None
    if is_words and answer.is_hurried:
        part_id = await fold_text(turn.session, report, answers.part_id, answer.text, now=turn.now)
        return replace(answers, part_id=part_id)
    await _add(turn, report, answer)
    # Pictures are drawn anew; what other files say about who made them, and where, we cannot take out.
    telling = answer.media is not None and answer.media.kind in ("document", "video")
    return replace(answers, part_id=None, telling_file=answers.telling_file or telling)


async def _add(turn: Turn, report: Report, answer: Answer) -> None:
    if answer.media is not None:
        file = File(answer.media, answer.media_original)
        await add_file(turn.session, report, file, caption=answer.text, now=turn.now)
    elif answer.point is not None:
        await add_point(turn.session, report, answer.point, now=turn.now)
    else:
        await add_text(turn.session, report, answer.text, now=turn.now)


async def try_code(context: Context, update: Update, typed: str) -> Tried | None:
    """Try the receipt code in what was typed before the turn begins, for that is slow; None when there is none."""
    services = context.services
    tried: Tried | None = None
    for code in codes_in(typed)[:_MOST_CODES]:
        again_at = services.attempts.take(context.chat_of(update), services.clock())
        if again_at is not None:
            return tried or Tried(again_at=again_at)
        async with services.sessions.reading() as session:
            found = await candidates(session, code)
        tried = Tried(await whose(code, found))
        if tried.report_id is not None:
            return tried
    return tried


async def _hand_in(turn: Turn, answers: ReportAnswers) -> None:
    if answers.report_id is None:
        raise Refusal("report.empty")
    receipt = turn.services.receipts.take()
    goes_ahead = answers.urgent and turn.services.bursts.may_go_ahead(turn.chat, now=turn.now)
    await hand_in(turn.session, answers.report_id, receipt=receipt, urgent=goes_ahead, now=turn.now, policy=turn.policy)
    told = "report.nobody_told"
    if await roster.on_duty(turn.session, at=turn.now):
        told = "report.officer_told"
    elif await roster.fallback(turn.session):
        told = "report.administrator_told"
    await turn.say(
        "report.receipt",
        time=say_time(turn.now, turn.policy.zone),
        code=show_code(receipt.code),
        told=Html(turn.html(told)),
    )
    if answers.urgent and not goes_ahead:
        await turn.say("report.not_ahead")


async def _cancelled(turn: Turn, answers: ReportAnswers) -> None:
    if answers.report_id is not None:
        await withdraw_draft(turn.session, answers.report_id)


async def _left(turn: Turn, answers: ReportAnswers) -> None:
    if answers.report_id is not None:
        await keep_unfinished(turn.session, answers.report_id, now=turn.now, policy=turn.policy)
        await turn.say("report.kept_unfinished")


async def _expired(ending: Ending, answers: ReportAnswers) -> str:
    """A report begun is kept and marked incomplete."""
    if answers.report_id is None:
        return "talk.expired"
    await keep_unfinished(ending.session, answers.report_id, now=ending.now, policy=ending.policy)
    return "report.expired"


REPORT = add_flow(
    Flow(
        "report",
        "content",
        {"content": Step(_ask_content, _take_content, look=_look_at_parts)},
        ReportAnswers,
        wants_media=True,
        on_cancel=_cancelled,
        on_leave=_left,
        on_expire=_expired,
        cancelled_key="report.cancelled",
    )
)
expecting.add_fate(Fate(Offered, cancelled_key="talk.cancelled"))


def report_written_in(talk: Talk) -> int | None:
    """The report that is being written in a conversation."""
    standing = conversation.standing_in(REPORT, talk)
    return standing.answers.report_id if standing is not None else None


async def on_track(update: Update, context: Context) -> None:
    """`/tracuu`, with or without the code."""
    typed = " ".join(context.args or [])
    tried = await try_code(context, update, typed)
    async with context.begin(update) as turn:
        if typed:
            await _show_status(turn, tried)
        else:
            await conversation.begin(turn, TRACK, NoAnswers())


def _ask_code(words: Words, _answers: NoAnswers, _seen: None) -> Question:
    return Question(words.html("track.ask"))


async def _take_code(turn: Turn, _answers: NoAnswers, answer: Answer) -> Done:
    await _show_status(turn, answer.tried)
    return Done()


TRACK = add_flow(Flow("track", "code", {"code": Step(_ask_code, _take_code)}, NoAnswers))


async def _show_status(turn: Turn, tried: Tried | None) -> None:
    if tried is None:
        raise Refusal("track.not_a_code")
    report = await tried_report(turn.session, tried, policy=turn.policy)
    last = report.closed_at or report.taken_at
    at = report.hidden.known(last, now=turn.now) if last else report.hidden.came_at(turn.now)
    await turn.say(
        f"track.{report.state}",
        number=report.number,
        at=say_when(at, turn.policy.zone, turn.language) if at else turn.plain("report.time_unknown"),
        buttons=rows(button(turn.language, "button.add_more", "report.answer", report.id, once=False)),
    )


@on("report.stop")
async def stop(turn: Turn, report_id: str) -> None:
    """The reporter wants to hear no more of one report."""
    await _cut(turn, int(report_id))
    await turn.add_line(turn.html("report.stopped"))


@on("report.stop_ask")
async def ask_to_stop_one(turn: Turn, report_id: str) -> None:
    """Asked once more, where the press may have been meant as an answer."""
    await _ask_to_stop(turn, int(report_id))


@on("report.stop_all")
async def stop_all(turn: Turn) -> None:
    """ "DỪNG": the reporter wants to hear no more of anything."""
    cut = await _cut(turn, None)
    await turn.say("report.stopped" if cut else "report.nothing_to_stop")


async def ask_to_stop(turn: Turn) -> None:
    """Words that may mean the end of contact: they do not end it."""
    await _ask_to_stop(turn, None)


async def _ask_to_stop(turn: Turn, report_id: int | None) -> None:
    if not await is_in_contact(turn.session, turn.chat, report_id=report_id):
        await turn.say("report.nothing_to_stop")
        return
    stopping = ("report.stop_all",) if report_id is None else ("report.stop", report_id)
    await turn.say(
        "report.stop_sure",
        buttons=rows(
            button(turn.language, "button.do_not_stop", "report.go_on", once=False),
            button(turn.language, "button.stop", *stopping),
        ),
    )


@on("report.go_on")
async def go_on(turn: Turn) -> None:
    """Contact stays."""
    await turn.say("report.goes_on")


async def _cut(turn: Turn, report_id: int | None) -> int:
    """End contact, and whatever the chat was about to say about it."""
    standing = await conversation.present_in(turn, ANSWER)
    if standing is not None and report_id in (None, standing.answers.report_id):
        await conversation.call_off(turn)
    expected = await expecting.present(turn)
    if (
        expected is not None
        and isinstance(expected.what, ABOUT_REPORT)
        and report_id in (None, expected.what.report_id)
    ):
        await expecting.call_off(turn)
    return await stop_contact(turn.session, turn.chat, report_id=report_id)
