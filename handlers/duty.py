"""`/truc`: start, hand over and end a shift; who is on duty."""

from __future__ import annotations

from telegram import Update

from channels.port import Outgoing
from channels.wording import Rows, button, from_html, rows
from conversations.languages import languages_of
from deliveries.ledger import Lane, open_delivery
from handlers import conversation, paging
from handlers.buttons import on
from handlers.context import Context, Turn
from handlers.flows import Answer, Choice, Done, Flow, NoAnswers, Question, Step, add_flow
from handlers.words import Words
from officers.accounts import chats_of, officers_who_may
from officers.messages import nobody_on_duty, shift_taken_over
from officers.permissions import Permission, require
from officers.roster import end_shift, fallback, hand_over, shifts_at, start_shift
from texts.refusal import Refusal
from texts.times import say_time, say_when

#: How many shifts stand on a page.
_LINES = 20


async def on_duty(update: Update, context: Context) -> None:
    """`/truc`."""
    async with context.begin(update) as turn:
        await show_duty(turn)


@on("duty.show")
async def show_duty(turn: Turn) -> None:
    """Who is on duty, and what the officer can do about it."""
    await turn.send(await _duty_page(turn, 0))


@on("duty.page")
async def turn_duty(turn: Turn, number: str) -> None:
    """Another page of those on duty."""
    await turn.rewrite(await _duty_page(turn, int(number)))


async def _duty_page(turn: Turn, number: int) -> Outgoing:
    officer_id = require(turn.actor, Permission.STAND_DUTY)
    shifts = await shifts_at(turn.session, at=turn.now)
    page = paging.page_at(number, len(shifts), size=_LINES)
    zone = turn.policy.zone
    lines = "\n".join(
        f"• {shift.name}: {say_time(shift.starts_at, zone)}–{say_time(shift.ends_at, zone)}"
        for shift in shifts[page.start : page.stop]
    )
    acts: Rows = ((button(turn.language, "button.shift_start", "duty.start"),),)
    if any(shift.officer_id == officer_id for shift in shifts):
        acts = (
            (button(turn.language, "button.hand_over", "duty.hand_over", once=False),),
            (button(turn.language, "button.shift_end", "duty.end", once=False),),
        )
    markup = turn.html("duty.shown" if shifts else "duty.empty", shifts=lines) + paging.foot(turn, page)
    return from_html(markup, turn.language, buttons=(*paging.turners(turn, page, "duty.page"), *acts))


@on("duty.start")
async def start(turn: Turn) -> None:
    """The officer is on duty from now on."""
    shift = await start_shift(turn.session, turn.actor, now=turn.now)
    until = say_when(shift.ends_at, turn.policy.zone, turn.language)
    await turn.add_line(
        turn.html("duty.started", name=turn.actor.name, time=say_time(turn.now, turn.policy.zone), until=until),
        buttons=(
            (
                button(turn.language, "button.hand_over", "duty.hand_over", once=False),
                button(turn.language, "button.shift_end", "duty.end", once=False),
            ),
        ),
    )


@on("duty.end")
async def ask_to_end(turn: Turn) -> None:
    """End the shift; asked once more when nobody would be on duty any more."""
    officer_id = require(turn.actor, Permission.STAND_DUTY)
    shifts = await shifts_at(turn.session, at=turn.now)
    if any(shift.officer_id != officer_id for shift in shifts) or not shifts:
        await end(turn)
        return
    await turn.say(
        "duty.end_sure",
        buttons=rows(
            button(turn.language, "button.stay_on_duty", "duty.stay"),
            button(turn.language, "button.shift_end_yes", "duty.end_yes"),
        ),
    )


@on("duty.stay")
async def stay(turn: Turn) -> None:
    """The shift goes on."""
    await turn.add_line(turn.html("duty.stays"))


@on("duty.end_yes")
async def end(turn: Turn) -> None:
    """The officer's shift is over; an empty roster is said to the administrators."""
    is_covered = await end_shift(turn.session, turn.actor, now=turn.now)
    key = "duty.ended" if is_covered else "duty.ended_nobody"
    await turn.add_line(turn.html(key, name=turn.actor.name, time=say_time(turn.now, turn.policy.zone)))
    if is_covered:
        return
    for officer in await fallback(turn.session):
        if officer.chat != turn.chat:
            await open_delivery(
                turn.session,
                nobody_on_duty(turn.actor.name, officer.language),
                to=officer.chat,
                key=f"roster:{turn.now.isoformat()}/{officer.chat}",
                origin="roster",
                lane=Lane.REPORT,
                now=turn.now,
            )


@on("duty.hand_over")
async def start_hand_over(turn: Turn) -> None:
    """Choose who takes over."""
    require(turn.actor, Permission.STAND_DUTY)
    await conversation.begin(turn, HAND_OVER, NoAnswers())


async def _look_at_others(turn: Turn, _answers: NoAnswers) -> list[Choice]:
    others = {
        officer.officer_id: officer.name
        for officer in await officers_who_may(turn.session, Permission.STAND_DUTY)
        if officer.officer_id != turn.actor.officer_id
    }
    return [Choice(str(which), name) for which, name in others.items()]


def _ask_to_whom(words: Words, _answers: NoAnswers, others: list[Choice]) -> Question:
    return Question(words.html("duty.ask_to_whom" if others else "duty.nobody_else"), tuple(others))


async def _take_to_whom(turn: Turn, _answers: NoAnswers, answer: Answer) -> Done:
    if answer.choice is None:
        raise Refusal("talk.choose_one")
    other = await hand_over(turn.session, turn.actor, int(answer.choice), now=turn.now)
    await turn.say("duty.handed_over", name=other, time=say_time(turn.now, turn.policy.zone))
    chats = await chats_of(turn.session, int(answer.choice))
    for chat, language in (await languages_of(turn.session, chats)).items():
        await open_delivery(
            turn.session,
            shift_taken_over(turn.actor.name, language),
            to=chat,
            key=f"roster:{turn.now.isoformat()}/{chat}",
            origin="roster",
            lane=Lane.REPORT,
            now=turn.now,
        )
    return Done()


HAND_OVER = add_flow(
    Flow(
        "hand_over",
        "whom",
        {"whom": Step(_ask_to_whom, _take_to_whom, look=_look_at_others)},
        NoAnswers,
        permission=Permission.STAND_DUTY,
    )
)
