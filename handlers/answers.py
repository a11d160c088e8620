"""The reporter's answers: after the button under a question, or after a yes; and what is shown of them.

What is written freely while a question is open never goes to an officer by itself: it waits, sealed, until its writer
says so. After the button the next words go at once, but for what may tell who wrote it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from channels.port import Point
from channels.wording import Rows, button, from_html
from conversations.talks import LIFETIME
from deliveries.ledger import Lane, forget_hidden, open_delivery
from handlers import conversation, understanding
from handlers.buttons import on
from handlers.context import Turn
from handlers.conversation import Answer, Flow, Question, Step, Talk
from reports.answers import EXPECT_FLOW, SOON, Expected, is_open, read_expected, report_to_answer
from reports.intake import MAX_PARTS, MAX_TEXT, File, KeptFile, drop_file, keep_file
from reports.triage import add_answer
from texts.markup import is_blank
from texts.refusal import Refusal

#: How much of a long text is shown again.
_SHOWN = 500
#: How long words wait for a yes before their writer is asked once more.
REMINDED_AFTER = timedelta(minutes=5)
#: Files that may say who made them or where, which we cannot take out.
_TELLING = ("document", "video")


@dataclass(frozen=True, slots=True)
class Piece:
    """One message on its way to an officer, as far as it has come: a file of it is stored."""

    text: str = ""
    file: KeptFile | None = None
    point: Point | None = None
    is_more_of_album: bool = False

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Piece:
        """Back from `asdict`, also through JSON."""
        file, point = value["file"], value["point"]
        return cls(
            value["text"],
            KeptFile(**file) if file else None,
            Point(**point) if point else None,
            value["is_more_of_album"],
        )


async def take_expected(turn: Turn, talk: Talk, answer: Answer) -> bool:
    """Something was written while a question is open, or right after it was answered.

    Returns:
        Whether it may be about the question; if not, it is like any other word out of the blue.
    """
    expected = read_expected(talk)
    if expected is None:
        return await _take_rest_of_album(turn, talk, answer)
    is_late = turn.now - expected.asked_at > LIFETIME
    if is_late or not await is_open(turn.session, expected.report_id):
        await conversation.finish(turn)
        return False
    spare_code(answer)
    piece = await _piece(turn, expected.report_id, answer)
    await _ask_first(turn, expected, [piece], album=talk.answers.get("album"))
    return True


async def take_more(turn: Turn, talk: Talk, answer: Answer) -> None:
    """Something more was written while what came before waits for a yes: it waits with it."""
    spare_code(answer)
    pieces = _pieces(talk)
    if len(pieces) >= MAX_PARTS:
        raise Refusal("answer.full", limit=MAX_PARTS)
    pieces.append(await _piece(turn, talk.answers["report"], answer))
    talk.answers["pieces"] = [asdict(piece) for piece in pieces]
    await conversation.keep(turn, talk)
    if not answer.is_same_album:
        await _ask_about(turn, talk)


def _needs_yes(answer: Answer) -> bool:
    """Whether even an answer is asked about first: it may tell who gave it, or says nothing."""
    if understanding.tells_who(answer.text):
        return True
    if answer.media is not None:
        return answer.media.kind in _TELLING
    return answer.point is None and understanding.is_small_talk(answer.text)


async def _take_rest_of_album(turn: Turn, talk: Talk, answer: Answer) -> bool:
    """The first picture of an album was sent on: those after it go the same way, without a word for each; but for one
    that may tell who sent it."""
    if not answer.is_same_album:
        await conversation.finish(turn)
        return False
    answers = talk.answers
    piece = await _piece(turn, answers["report"], answer)
    if _needs_yes(answer):
        whole = Expected(answers["report"], answers["number"], turn.now)
        await _ask_first(turn, whole, [piece], album=answers["album"])
    else:
        await add_answer(turn.session, answers["report"], piece.text, file=piece.file, point=piece.point, now=turn.now)
    return True


async def _piece(turn: Turn, report_id: int, answer: Answer) -> Piece:
    file = None
    if answer.media is None and answer.point is None and is_blank(answer.text):
        raise Refusal("text.empty")
    if len(answer.text) > MAX_TEXT:
        raise Refusal("text.too_long", limit=MAX_TEXT, length=len(answer.text))
    if answer.media is not None:
        file = await keep_file(turn.session, report_id, File(answer.media, answer.media_original))
    return Piece(answer.text, file, answer.point, answer.is_same_album)


def spare_code(answer: Answer) -> None:
    """Whoever has a code can speak for the reporter: one written by mistake does not go to an officer. What is none
    (the number of a bank account perhaps), or comes when codes may not be tried for a while, is taken as it is."""
    if answer.tried is not None and answer.tried.report_id is not None:
        raise Refusal("report.own_code")


# --- asked first ---


async def _ask_first(turn: Turn, expected: Expected, pieces: Sequence[Piece], *, album: str | None) -> None:
    question = {
        "report": expected.report_id,
        "number": expected.number,
        "asked_at": expected.asked_at.isoformat(),
    }
    answers = {**question, "pieces": [asdict(piece) for piece in pieces], "album": album}
    talk = Talk(turn.chat, MAY_SEND.name, answers=answers)
    await conversation.keep(turn, talk)
    await _ask_about(turn, talk)


async def _ask_about(turn: Turn, talk: Talk) -> None:
    """Whether to send what waits: the safe answer first."""
    pieces = _pieces(talk)
    markup = turn.html("answer.may_send", number=talk.answers["number"], words=_shown(turn, pieces))
    if any(understanding.tells_who(piece.text) for piece in pieces):
        markup += "\n\n" + turn.html("answer.tells_who")
    if any(piece.file is not None and piece.file.kind in _TELLING for piece in pieces):
        markup += "\n\n" + turn.html("answer.telling_file")
    await turn.send(from_html(markup, turn.language, buttons=_no_or_yes(turn, talk)))
    await _remind_later(turn, talk)


def _no_or_yes(turn: Turn, talk: Talk) -> Rows:
    no = button(turn.language, "button.do_not_send", "answer.keep", talk.serial)
    return ((no, button(turn.language, "button.send", "answer.send", talk.serial)),)


async def _remind_later(turn: Turn, talk: Talk) -> None:
    """Queue one more word for when the question is still not answered; a later question has one of its own."""
    await _forget_reminder(turn.session, talk)
    said = turn.html("answer.still_waiting", number=talk.answers["number"])
    await open_delivery(
        turn.session,
        from_html(said, turn.language, buttons=_no_or_yes(turn, talk)),
        to=turn.chat,
        key=f"{_reminder(talk)}/{turn.now.isoformat()}",
        origin=_reminder(talk),
        lane=Lane.REMINDER,
        due_at=turn.now + REMINDED_AFTER,
        passing=True,
        hide_address=True,
        now=turn.now,
    )


async def _forget_reminder(session: AsyncSession, talk: Talk) -> None:
    await forget_hidden(session, [_reminder(talk)])


def _reminder(talk: Talk) -> str:
    return f"unsent:{talk.serial}"


@on("answer.send")
async def send(turn: Turn, serial: str) -> None:
    """What waited goes to the officer."""
    await send_waiting(turn, await _waiting(turn, serial))
    await turn.close_question()


@on("answer.keep")
async def keep_back(turn: Turn, serial: str) -> None:
    """What waited goes to nobody; the question stays open."""
    await forget_waiting(turn, await _waiting(turn, serial))
    await turn.close_question()


async def _waiting(turn: Turn, serial: str) -> Talk:
    talk = await conversation.present(turn)
    if talk is None or talk.flow != MAY_SEND.name or talk.serial != serial:
        raise Refusal("talk.stale")
    return talk


async def send_waiting(turn: Turn, talk: Talk) -> None:
    """What its writer said yes to goes to the officer."""
    await _forget_reminder(turn.session, talk)
    try:
        async with turn.session.begin_nested():
            await _send_on(turn, talk.answers["report"], _pieces(talk), album=talk.answers.get("album"))
    except Refusal as refusal:  # another yes would fare no better
        await drop_waiting(turn.session, talk)
        await conversation.finish(turn)
        await turn.refuse(refusal)


async def forget_waiting(turn: Turn, talk: Talk) -> None:
    """What waited goes to no officer: the question stays open, and the words may still be reported."""
    await drop_waiting(turn.session, talk)
    words = "\n".join(piece.text for piece in _pieces(talk) if piece.text)
    question = {name: talk.answers[name] for name in ("report", "number", "asked_at")}
    await conversation.finish(turn)
    await conversation.hold(turn, EXPECT, {**question, "text": words})
    await _say_not_sent(turn, talk)


async def _left(turn: Turn, talk: Talk) -> None:
    await drop_waiting(turn.session, talk)
    await turn.say("answer.called_off")


async def _dropped(turn: Turn, talk: Talk) -> None:
    await drop_waiting(turn.session, talk)


async def _say_not_sent(turn: Turn, talk: Talk) -> None:
    report = button(turn.language, "button.report", "report.keep_words", once=False)
    buttons = (*_answer_button(turn, talk.answers["report"]), (report,))
    await turn.say("answer.not_sent", number=talk.answers["number"], buttons=buttons)


async def drop_waiting(session: AsyncSession, talk: Talk) -> None:
    """Erase the files of what waited for a yes that never came, and the reminder of it."""
    await _forget_reminder(session, talk)
    for piece in _pieces(talk):
        if piece.file is not None:
            await drop_file(session, piece.file)


def _pieces(talk: Talk) -> list[Piece]:
    return [Piece.from_dict(value) for value in talk.answers.get("pieces", ())]


# --- sent ---


async def _send_on(turn: Turn, report_id: int, pieces: Sequence[Piece], *, album: str | None) -> None:
    """Pass it on, and show what went where. The rest of an album may still be under way."""
    report = await report_to_answer(turn.session, report_id)
    is_told = False
    for piece in pieces:
        is_told = await add_answer(
            turn.session, report_id, piece.text, file=piece.file, point=piece.point, now=turn.now
        )
    await conversation.finish(turn)
    if album is not None:
        await conversation.hold(turn, EXPECT, {"report": report_id, "number": report.number, "album": album})
    await turn.say(
        "report.answered" if is_told else "report.answer_kept",
        number=report.number,
        words=_shown(turn, pieces),
        buttons=_answer_button(turn, report_id),
    )


def _shown(turn: Turn, pieces: Sequence[Piece]) -> str:
    """What was written, quoted, and what was sent, by its kind; an album once."""
    lines = []
    for piece in pieces:
        if piece.file is not None and not piece.is_more_of_album:
            lines.append(turn.plain(f"answer_part.{piece.file.kind}"))
        if piece.point is not None:
            lines.append(turn.plain("answer_part.point"))
        if piece.text:
            lines.append(f"“{_shortened(piece.text)}”")
    return "\n".join(lines)


def _shortened(text: str) -> str:
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1].rstrip() + "…"


def _answer_button(turn: Turn, report_id: int) -> Rows:
    return ((button(turn.language, "button.answer", "report.answer", report_id, once=False),),)


# --- the button ---


@on("report.answer")
async def start_answer(turn: Turn, report_id: str) -> None:
    """The reporter answers a question, or adds something; what waits for a yes is asked about once more instead."""
    report = await report_to_answer(turn.session, int(report_id))
    talk = await conversation.present(turn)
    if talk is not None and talk.flow == MAY_SEND.name and talk.answers["report"] == report.id:
        await _ask_about(turn, talk)
        return
    question = {"report": report.id, "number": report.number, "asked_at": turn.now.isoformat()}
    await conversation.begin(turn, ANSWER, question)


async def _ask_answer(turn: Turn, talk: Talk) -> Question:
    return Question(turn.html("report.ask_answer", number=talk.answers["number"]))


async def _take_answer(turn: Turn, talk: Talk, answer: Answer) -> None:
    spare_code(answer)
    answers = talk.answers
    asked = Expected(answers["report"], answers["number"], datetime.fromisoformat(answers["asked_at"]))
    piece = await _piece(turn, asked.report_id, answer)
    if turn.now - asked.asked_at > SOON or _needs_yes(answer):
        await _ask_first(turn, asked, [piece], album=answers.get("album"))
    else:
        await _send_on(turn, asked.report_id, [piece], album=answers.get("album"))


ANSWER = conversation.add_flow(Flow("answer", "text", {"text": Step(_ask_answer, _take_answer)}, wants_media=True))
#: Not conversations: a question is open; words wait for a yes.
EXPECT = conversation.add_flow(Flow(EXPECT_FLOW, "", {}, wants_media=True, is_hold=True, cancelled_key=""))
MAY_SEND = conversation.add_flow(
    Flow(
        "may_send",
        "",
        {},
        wants_media=True,
        is_hold=True,
        on_cancel=_dropped,
        on_leave=_left,
        cancelled_key="answer.called_off",
    )
)
