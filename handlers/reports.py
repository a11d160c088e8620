"""The reporter's side: "cứ nhắn", one word to hand it in, a code to follow it; answers, and an end to contact."""

from __future__ import annotations

from telegram import Update

from channels.wording import Rows, button, rows
from handlers import conversation
from handlers.answers import ANSWER, EXPECT, MAY_SEND, spare_code
from handlers.buttons import on
from handlers.context import Context, Turn
from handlers.conversation import Answer, Choice, Flow, Question, Step, Talk
from officers import roster
from reports.answers import EXPECT_FLOW, OFFER_FLOW
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


@on("report.start")
async def start_report(turn: Turn) -> None:
    """113 first, then: just write."""
    await conversation.begin(turn, REPORT)


@on("report.keep_words")
async def start_with_words(turn: Turn) -> None:
    """What was written outside a conversation becomes the first words of a report."""
    talk = await conversation.present(turn)
    is_kept = talk is not None and talk.flow in (OFFER_FLOW, EXPECT_FLOW)
    words = str(talk.answers.get("text", "")) if talk is not None and is_kept else ""
    await conversation.begin(turn, REPORT)
    begun = await conversation.present(turn)
    if words and begun is not None:
        *before, last = in_parts(words)
        for part in before:
            await _put(turn, begun, Answer(text=part))
        await conversation.receive(turn, begun, Answer(text=last))


async def offer_report(turn: Turn, answer: Answer) -> None:
    """Words outside a conversation: offer to report them, and keep them (sealed) until the person says."""
    if not answer.text:
        await turn.say("offer.nothing", buttons=_offered(turn))
        return
    talk = await conversation.present(turn)
    kept = talk.answers if talk is not None and talk.flow == OFFER.name else {}
    words = _together(str(kept.get("text", "")), answer.text)
    await conversation.hold(turn, OFFER, {"text": words, "hurried": answer.is_hurried})
    if not answer.is_hurried:
        await turn.say("offer.report", buttons=_offered(turn))
    elif not kept.get("hurried"):
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


async def _ask_content(turn: Turn, talk: Talk) -> Question:
    report_id = talk.answers.get("report")
    if report_id is None:
        return Question(turn.html("report.first"))
    number = await count_parts(turn.session, report_id)
    urgent = bool(talk.answers.get("urgent"))
    toggle = Choice(_CALM, turn.plain("button.not_now")) if urgent else Choice(_URGENT, turn.plain("button.right_now"))
    markup = turn.html("report.ready_urgent" if urgent else "report.ready", n=number)
    if talk.answers.get("telling_file"):
        markup += "\n\n" + turn.html("report.telling_file")
    return Question(
        markup,
        (Choice(_SEND, turn.plain("button.send")), toggle),
    )


async def _take_content(turn: Turn, talk: Talk, answer: Answer) -> str | None:
    match answer.choice:
        case "send":
            await _hand_in(turn, talk)
            return None
        case "urgent" | "calm":
            talk.answers["urgent"] = answer.choice == _URGENT
            return "content"
    spare_code(answer)
    await _put(turn, talk, answer)
    if answer.is_hurried:
        await _say_hurried(turn, talk)
        return ""
    talk.answers.pop("hurried", None)
    # Of an album only the first picture is answered.
    return "" if answer.is_same_album else "content"


async def _say_hurried(turn: Turn, talk: Talk) -> None:
    """Messages come too fast to be answered one by one: that is said once, and all of them are in the report."""
    if not talk.answers.get("hurried"):
        talk.answers["hurried"] = True
        await conversation.ask_again(turn, talk, turn.html("report.hurried"))


async def _put(turn: Turn, talk: Talk, answer: Answer) -> None:
    """Put what was said into the report, which begins with it."""
    if talk.answers.get("report") is None:
        report = await open_report(turn.session, chat=turn.chat, language=turn.language, now=turn.now)
        talk.answers["report"] = report.id
    report = await report_for_writer(turn.session, talk.answers["report"])
    is_words = answer.media is None and answer.point is None
    if is_words and answer.is_hurried:
        talk.answers["part"] = await fold_text(
            turn.session, report, talk.answers.get("part"), answer.text, now=turn.now
        )
        return
    talk.answers.pop("part", None)
    await _add(turn, report, answer)
    # Pictures are drawn anew; what other files say about who made them, and where, we cannot take out.
    if answer.media is not None and answer.media.kind in ("document", "video"):
        talk.answers["telling_file"] = True


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


async def _hand_in(turn: Turn, talk: Talk) -> None:
    report_id = talk.answers.get("report")
    if report_id is None:
        raise Refusal("report.empty")
    receipt = turn.services.receipts.take()
    urgent = bool(talk.answers.get("urgent"))
    goes_ahead = urgent and turn.services.bursts.may_go_ahead(turn.chat, now=turn.now)
    await hand_in(
        turn.session,
        report_id,
        receipt=receipt,
        urgent=goes_ahead,
        now=turn.now,
        policy=turn.policy,
    )
    await conversation.finish(turn)
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
    if urgent and not goes_ahead:
        await turn.say("report.not_ahead")


async def _cancelled(turn: Turn, talk: Talk) -> None:
    if talk.answers.get("report") is not None:
        await withdraw_draft(turn.session, talk.answers["report"])


async def _left(turn: Turn, talk: Talk) -> None:
    if talk.answers.get("report") is not None:
        await keep_unfinished(turn.session, talk.answers["report"], now=turn.now, policy=turn.policy)
        await turn.say("report.kept_unfinished")


REPORT = conversation.add_flow(
    Flow(
        "report",
        "content",
        {"content": Step(_ask_content, _take_content)},
        wants_media=True,
        on_cancel=_cancelled,
        on_leave=_left,
        cancelled_key="report.cancelled",
    )
)


#: Not a conversation of its own: it only keeps what was written until the person says what it was for.
OFFER = conversation.add_flow(Flow(OFFER_FLOW, "", {}, is_hold=True))


async def on_track(update: Update, context: Context) -> None:
    """`/tracuu`, with or without the code."""
    typed = " ".join(context.args or [])
    tried = await try_code(context, update, typed)
    async with context.begin(update) as turn:
        if typed:
            await _show_status(turn, tried)
        else:
            await conversation.begin(turn, TRACK)


async def _ask_code(turn: Turn, talk: Talk) -> Question:
    return Question(turn.html("track.ask"))


async def _take_code(turn: Turn, talk: Talk, answer: Answer) -> None:
    await _show_status(turn, answer.tried)
    await conversation.finish(turn)


TRACK = conversation.add_flow(Flow("track", "code", {"code": Step(_ask_code, _take_code)}))


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
    talk = await conversation.present(turn)
    about = talk is not None and talk.flow in (ANSWER.name, EXPECT.name, MAY_SEND.name)
    if talk is not None and about and report_id in (None, talk.answers.get("report")):
        await conversation.call_off(turn)
    return await stop_contact(turn.session, turn.chat, report_id=report_id)
