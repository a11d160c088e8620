"""The reporter's answers: after the button under a question, or after a yes; and what is shown of them.

What is written freely while a question is open never goes to an officer by itself: it waits, sealed, until its writer
says so. After the button the next words go at once, but for what may tell who wrote it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from channels.wording import Rows, button, from_html
from conversations.expectations import Expectation
from conversations.talks import LIFETIME
from deliveries.calling_off import forget_hidden
from deliveries.ledger import Lane, open_delivery
from handlers import conversation, expecting, understanding
from handlers.buttons import on
from handlers.context import Turn
from handlers.expecting import Fate
from handlers.flows import Answer, Done, Flow, Question, Step, add_flow
from handlers.words import Words
from reports.answers import SOON, Asked, Piece, RestOfAlbum, Unsent, is_open, report_to_answer
from reports.intake import MAX_PARTS, MAX_TEXT, File, drop_file, keep_file
from reports.triage import add_answer
from texts.markup import is_blank
from texts.refusal import Refusal

#: How much of a long text is shown again.
_SHOWN = 500
#: How long words wait for a yes before their writer is asked once more.
REMINDED_AFTER = timedelta(minutes=5)
#: Files that may say who made them or where, which we cannot take out.
_TELLING = ("document", "video")
#: What may be expected of a chat that is about a report of its own.
ABOUT_REPORT = Asked | RestOfAlbum | Unsent


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits for a yes, by the serial that its buttons know."""

    serial: str
    unsent: Unsent


def waiting_in(expected: Expectation | None) -> Waiting | None:
    """What waits for a yes, if anything does."""
    unsent = expected.what if expected is not None else None
    return Waiting(expected.serial, unsent) if expected is not None and isinstance(unsent, Unsent) else None


async def take_expected(turn: Turn, expected: Expectation, answer: Answer) -> bool:
    """Something was written while a question is open, or right after it was answered.

    Returns:
        Whether it may be about the question; if not, it is like any other word out of the blue.
    """
    match expected.what:
        case Asked() as asked:
            return await _take_for_answer(turn, asked, answer)
        case RestOfAlbum() as rest:
            return await _take_rest_of_album(turn, rest, _known_album(rest, answer))
    return False


async def _take_for_answer(turn: Turn, asked: Asked, answer: Answer) -> bool:
    is_late = turn.now - asked.asked_at > LIFETIME
    if is_late or not await is_open(turn.session, asked.report_id):
        await expecting.forget(turn)
        return False
    spare_code(answer)
    piece = await _piece(turn, asked.report_id, answer)
    await _ask_first(turn, Unsent(asked.report_id, asked.number, asked.asked_at, (piece,), answer.album))
    return True


async def take_more(turn: Turn, waiting: Waiting, answer: Answer) -> None:
    """Something more was written while what came before waits for a yes: it waits with it."""
    spare_code(answer)
    unsent = waiting.unsent
    if len(unsent.pieces) >= MAX_PARTS:
        raise Refusal("answer.full", limit=MAX_PARTS)
    answer = _known_album(unsent, answer)
    piece = await _piece(turn, unsent.report_id, answer)
    more = replace(unsent, pieces=(*unsent.pieces, piece), album=answer.album or unsent.album)
    await expecting.keep(turn, more, serial=waiting.serial)
    if not answer.is_same_album:
        await _ask_about(turn, Waiting(waiting.serial, more))


def _known_album(what: RestOfAlbum | Unsent, answer: Answer) -> Answer:
    """An answer that knows whether it is one more picture of the album that the one before it was of."""
    return replace(answer, is_same_album=answer.album is not None and answer.album == what.album)


def _needs_yes(answer: Answer) -> bool:
    """Whether even an answer is asked about first: it may tell who gave it, or says nothing."""
    if understanding.tells_who(answer.text):
        return True
    if answer.media is not None:
        return answer.media.kind in _TELLING
    return answer.point is None and understanding.is_small_talk(answer.text)


async def _take_rest_of_album(turn: Turn, rest: RestOfAlbum, answer: Answer) -> bool:
    """The first picture of an album was sent on: those after it go the same way, without a word for each; but for one
    that may tell who sent it."""
    if not answer.is_same_album:
        await expecting.forget(turn)
        return False
    piece = await _piece(turn, rest.report_id, answer)
    if _needs_yes(answer):
        await _ask_first(turn, Unsent(rest.report_id, rest.number, turn.now, (piece,), rest.album))
    else:
        await add_answer(turn.session, rest.report_id, piece.text, file=piece.file, point=piece.point, now=turn.now)
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


async def _ask_first(turn: Turn, unsent: Unsent) -> None:
    expected = await expecting.keep(turn, unsent)
    await _ask_about(turn, Waiting(expected.serial, unsent))


async def _ask_about(turn: Turn, waiting: Waiting) -> None:
    """Whether to send what waits: the safe answer first."""
    pieces = waiting.unsent.pieces
    markup = turn.html("answer.may_send", number=waiting.unsent.number, words=_shown(turn, pieces))
    if any(understanding.tells_who(piece.text) for piece in pieces):
        markup += "\n\n" + turn.html("answer.tells_who")
    if any(piece.file is not None and piece.file.kind in _TELLING for piece in pieces):
        markup += "\n\n" + turn.html("answer.telling_file")
    await turn.send(from_html(markup, turn.language, buttons=_no_or_yes(turn, waiting)))
    await _remind_later(turn, waiting)


def _no_or_yes(turn: Turn, waiting: Waiting) -> Rows:
    no = button(turn.language, "button.do_not_send", "answer.keep", waiting.serial)
    return ((no, button(turn.language, "button.send", "answer.send", waiting.serial)),)


async def _remind_later(turn: Turn, waiting: Waiting) -> None:
    """Queue one more word for when the question is still not answered; a later question has one of its own."""
    await _forget_reminder(turn.session, waiting.serial)
    said = turn.html("answer.still_waiting", number=waiting.unsent.number)
    await open_delivery(
        turn.session,
        from_html(said, turn.language, buttons=_no_or_yes(turn, waiting)),
        to=turn.chat,
        key=f"{_reminder(waiting.serial)}/{turn.now.isoformat()}",
        origin=_reminder(waiting.serial),
        lane=Lane.REMINDER,
        due_at=turn.now + REMINDED_AFTER,
        passing=True,
        hide_address=True,
        now=turn.now,
    )


async def _forget_reminder(session: AsyncSession, serial: str) -> None:
    await forget_hidden(session, [_reminder(serial)])


def _reminder(serial: str) -> str:
    return f"unsent:{serial}"


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


async def _waiting(turn: Turn, serial: str) -> Waiting:
    waiting = waiting_in(await expecting.present(turn))
    if waiting is None or waiting.serial != serial:
        raise Refusal("talk.stale")
    return waiting


async def send_waiting(turn: Turn, waiting: Waiting) -> None:
    """What its writer said yes to goes to the officer."""
    await _forget_reminder(turn.session, waiting.serial)
    unsent = waiting.unsent
    await expecting.forget(turn)
    try:
        async with turn.session.begin_nested():
            await _send_on(turn, unsent.report_id, unsent.pieces, album=unsent.album)
    except Refusal as refusal:  # another yes would fare no better
        await _drop_files(turn.session, unsent)
        await turn.refuse(refusal)


async def forget_waiting(turn: Turn, waiting: Waiting) -> None:
    """What waited goes to no officer: the question stays open, and the words may still be reported."""
    unsent = waiting.unsent
    await expecting.call_off(turn)
    words = "\n".join(piece.text for piece in unsent.pieces if piece.text)
    await expecting.keep(turn, Asked(unsent.report_id, unsent.number, unsent.asked_at, words))
    report = button(turn.language, "button.report", "report.keep_words", once=False)
    buttons = (*_answer_button(turn, unsent.report_id), (report,))
    await turn.say("answer.not_sent", number=unsent.number, buttons=buttons)


async def _drop_waiting(session: AsyncSession, expected: Expectation) -> None:
    """Erase the files of what waited for a yes that never came, and the reminder of it."""
    await _forget_reminder(session, expected.serial)
    await _drop_files(session, expected.what)


async def _drop_files(session: AsyncSession, unsent: Unsent) -> None:
    for piece in unsent.pieces:
        if piece.file is not None:
            await drop_file(session, piece.file)


expecting.add_fate(Fate(Asked))
expecting.add_fate(Fate(RestOfAlbum))
expecting.add_fate(
    Fate(
        Unsent,
        drop=_drop_waiting,
        cancelled_key="answer.called_off",
        left_key="answer.called_off",
        expired_key="answer.expired",
    )
)


# --- sent ---


async def _send_on(turn: Turn, report_id: int, pieces: Sequence[Piece], *, album: str | None) -> None:
    """Pass it on, and show what went where. The rest of an album may still be under way."""
    report = await report_to_answer(turn.session, report_id)
    is_told = False
    for piece in pieces:
        is_told = await add_answer(
            turn.session, report_id, piece.text, file=piece.file, point=piece.point, now=turn.now
        )
    if album is not None:
        await expecting.keep(turn, RestOfAlbum(report_id, report.number, album))
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


@dataclass(frozen=True, slots=True)
class AnswerAnswers:
    """The question that is answered, and when the button under it was pressed."""

    report_id: int
    number: str
    asked_at: datetime


@on("report.answer")
async def start_answer(turn: Turn, report_id: str) -> None:
    """The reporter answers a question, or adds something; what waits for a yes is asked about once more instead."""
    report = await report_to_answer(turn.session, int(report_id))
    waiting = waiting_in(await expecting.present(turn))
    if waiting is not None and waiting.unsent.report_id == report.id:
        await _ask_about(turn, waiting)
        return
    await conversation.begin(turn, ANSWER, AnswerAnswers(report.id, report.number, turn.now))


def _ask_answer(words: Words, asked: AnswerAnswers, _seen: None) -> Question:
    return Question(words.html("report.ask_answer", number=asked.number))


async def _take_answer(turn: Turn, asked: AnswerAnswers, answer: Answer) -> Done:
    spare_code(answer)
    piece = await _piece(turn, asked.report_id, answer)
    if turn.now - asked.asked_at > SOON or _needs_yes(answer):
        await _ask_first(turn, Unsent(asked.report_id, asked.number, asked.asked_at, (piece,), answer.album))
    else:
        await _send_on(turn, asked.report_id, [piece], album=answer.album)
    return Done()


ANSWER = add_flow(Flow("answer", "text", {"text": Step(_ask_answer, _take_answer)}, AnswerAnswers, wants_media=True))
