"""Is this notice genuine? Anybody may ask by its number."""

from __future__ import annotations

from telegram import Update

from broadcasts.notices import find_notice
from channels.wording import Rows, button, from_html, rows
from handlers import conversation
from handlers.buttons import on
from handlers.context import Context, Turn
from handlers.flows import Answer, Done, Flow, NoAnswers, Question, Step, add_flow
from handlers.words import Words
from texts.times import say_when


async def on_verify(update: Update, context: Context) -> None:
    """`/kiemtra`, with or without the number."""
    typed = " ".join(context.args or [])
    async with context.begin(update) as turn:
        if typed:
            await _show_genuine(turn, typed)
        else:
            await conversation.begin(turn, VERIFY, NoAnswers())


@on("verify.start")
async def start_verify(turn: Turn) -> None:
    """Is this notice genuine?"""
    await conversation.begin(turn, VERIFY, NoAnswers())


def _ask_number(words: Words, _answers: NoAnswers, _seen: None) -> Question:
    return Question(words.html("verify.ask"))


async def _take_number(turn: Turn, _answers: NoAnswers, answer: Answer) -> Done:
    await _show_genuine(turn, answer.text)
    return Done()


async def _show_genuine(turn: Turn, typed: str) -> None:
    notice = await find_notice(turn.session, typed)
    if notice is None or notice.sent_at is None:
        await turn.say("verify.unknown", unit=turn.policy.unit_name)
        return
    markup = turn.html(
        "verify.genuine",
        number=notice.number,
        unit=turn.policy.unit_name,
        at=say_when(notice.sent_at, turn.policy.zone, turn.language),
    )
    buttons: Rows = rows(button(turn.language, "button.report", "report.start", once=False))
    await turn.send(from_html(f"{markup}\n\n{notice.html}", turn.language, buttons=buttons))


VERIFY = add_flow(Flow("verify", "number", {"number": Step(_ask_number, _take_number)}, NoAnswers))
