"""Conversations: each step asks a question and takes an answer, by button or by typing, until the flow is done.

The state is a row (see conversations.talks): it survives a restart and ends after a day with a word. What a flow is
made of stands in handlers.flows, how a question looks in handlers.questions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Generic

from channels.port import Asks, Outgoing
from channels.wording import Rows, from_html, plain
from conversations.shapes import read, written
from conversations.talks import Talk, end_talk, keep_talk, present_talk
from handlers import expecting, questions
from handlers.buttons import on
from handlers.context import Turn
from handlers.flows import A, Answer, Done, Edit, Flow, Next, Stay, flow_named
from handlers.questions import Move, Posed, Tick, ToPage, Way
from texts.catalogue import LANGUAGES
from texts.folding import fold
from texts.refusal import Refusal

_SHARING: tuple[Asks, ...] = ("contact", "location")


@dataclass(frozen=True, slots=True)
class Standing(Generic[A]):
    """Where a chat is in a conversation of a flow that is known, with answers that could be read."""

    flow: Flow[A]
    talk: Talk
    answers: A


# --- beginning and ending ---


async def begin(turn: Turn, flow: Flow[A], answers: A, *, step: str | None = None) -> Standing[A]:
    """Start a flow; what the chat was in the middle of before ends, and nothing else is expected of it any more."""
    await end_present(turn)
    await expecting.forget(turn)
    standing = Standing(flow, Talk(turn.chat, flow.name, step or flow.first), answers)
    await _put(turn, standing)
    return standing


async def end_present(turn: Turn) -> None:
    """Leave whatever conversation the chat is in because something else begins; an open question of an officer's stays
    open until something else is asked."""
    talk = await present(turn)
    if talk is None:
        await expecting.leave(turn)
        return
    await end_talk(turn.session, turn.chat)
    if talk.has_keyboard:
        await turn.send(_without_keyboard(turn, "talk.left"))
    standing = _standing(talk)
    if standing is not None and standing.flow.on_leave is not None:
        await standing.flow.on_leave(turn, standing.answers)


async def cancel(turn: Turn) -> bool:
    """Leave the present conversation, or what waits for a word, with a word; returns whether there was any."""
    talk = await call_off(turn)
    if talk is None:
        return await expecting.cancel(turn)
    flow = flow_named(talk.flow)
    said = from_html(turn.html(flow.cancelled_key if flow else "talk.cancelled"), turn.language)
    await turn.send(replace(said, drops_keyboard=talk.has_keyboard))
    return True


async def call_off(turn: Turn) -> Talk | None:
    """Leave the present conversation without a word, and throw away what it held; returns it."""
    talk = await present(turn)
    if talk is None:
        return None
    await end_talk(turn.session, turn.chat)
    standing = _standing(talk)
    if standing is not None and standing.flow.on_cancel is not None:
        await standing.flow.on_cancel(turn, standing.answers)
    return talk


# --- where a chat is ---


async def present(turn: Turn) -> Talk | None:
    """The conversation the chat is in."""
    return await present_talk(turn.session, turn.chat, now=turn.now)


async def present_in(turn: Turn, flow: Flow[A]) -> Standing[A] | None:
    """Where the chat is in a flow; None when it is in none, or in another."""
    talk = await present(turn)
    return standing_in(flow, talk) if talk is not None else None


def standing_in(flow: Flow[A], talk: Talk) -> Standing[A] | None:
    """Where a conversation stands if it is one of this flow, and goes on as this version knows it."""
    answers = read(flow.answers, talk.answers) if talk.flow == flow.name and talk.step in flow.steps else None
    return Standing(flow, talk, answers) if answers is not None else None


def _standing(talk: Talk) -> Standing[Any] | None:
    flow = flow_named(talk.flow)
    return standing_in(flow, talk) if flow is not None else None


async def _going_on(turn: Turn, talk: Talk) -> Standing[Any] | None:
    """Where a conversation stands; None for one that ends instead, with a word: its permission was taken away, or this
    version of ours does not know it any more. A report that was begun in it is handed in later (bot.jobs)."""
    standing = _standing(talk)
    if standing is None:
        await end_talk(turn.session, turn.chat)
        await turn.refuse(Refusal("talk.stale"))
        return None
    permission = standing.flow.permission
    if permission is not None and not turn.actor.may(permission):
        await call_off(turn)
        await turn.refuse(Refusal("refused.role" if turn.actor.is_officer else "refused.officers"))
        return None
    return standing


# --- answers ---


async def receive(turn: Turn, talk: Talk, answer: Answer) -> None:
    """Something was written or sent in the middle of a conversation."""
    standing = await _going_on(turn, talk)
    if standing is not None:
        await hear(turn, standing, answer)


async def hear(turn: Turn, standing: Standing[A], answer: Answer) -> None:
    """Take what was written or sent for what it is: a choice by its name, a word to shorten a list, or an answer."""
    if answer.album is not None:
        answer = replace(answer, is_same_album=standing.talk.album == answer.album)
        standing = replace(standing, talk=replace(standing.talk, album=answer.album))
    move: Move = answer
    if answer.text and answer.media is None:
        posed = await _pose(turn, standing)
        if asked_to_share(answer.text) and not standing.flow.wants_media:
            # Where every word may be content, the label of a keyboard's button is content as well.
            asks = posed.question.asks
            await _put(turn, standing, turn.html(f"talk.type_{asks}" if asks else "talk.not_asked_to_share"))
            return
        named = questions.move_of(turn.words, posed, answer.text)
        if named is None and await _narrow(turn, standing, posed, answer.text):
            return
        move = named or answer
    await _move(turn, standing, move)


async def ask_again(turn: Turn, talk: Talk, note: str = "") -> None:
    """Put the present question once more, after a note (markup)."""
    standing = _standing(talk)
    if standing is not None:
        await _put(turn, standing, note)


def asked_to_share(text: str) -> Asks | None:
    """What the words on a button of the platform's keyboard ask for. Some apps send them in place of what they
    stand for."""
    typed = fold(text)
    for asks in _SHARING:
        if typed in {fold(plain(language, f"button.share_{asks}")) for language in LANGUAGES}:
            return asks
    return None


# --- buttons ---


@on("talk.answer")
async def press(turn: Turn, serial: str, step: str, value: str) -> None:
    """A choice of a question was pressed."""
    await _press(turn, serial, step, Answer(choice=value))


@on("talk.ticked")
async def press_done(turn: Turn, serial: str, step: str) -> None:
    """All that is wanted is ticked."""
    standing = await _pressed_in(turn, serial, step)
    if standing is not None:
        posed = await _pose(turn, standing)
        await _close_after(turn, standing, Answer(choices=posed.ticked or ()))


@on("talk.tick")
async def press_tick(turn: Turn, serial: str, step: str, value: str) -> None:
    """One of several choices is wanted, or is not any more."""
    await _press(turn, serial, step, Tick(value))


@on("talk.edit")
async def press_edit(turn: Turn, serial: str, step: str, which: str) -> None:
    """One answer of a summary is to be mended."""
    await _press(turn, serial, step, Edit(which, ""))


@on("talk.page")
async def press_page(turn: Turn, serial: str, step: str, number: str) -> None:
    """Another page of the choices."""
    await _press(turn, serial, step, ToPage(int(number)))


@on("talk.whole")
async def press_whole(turn: Turn, serial: str, step: str) -> None:
    """The whole list again."""
    await _press(turn, serial, step, Way.WHOLE)


@on("talk.back")
async def press_back(turn: Turn, serial: str, step: str) -> None:
    """The question before."""
    await _press(turn, serial, step, Way.BACK)


@on("talk.cancel")
async def press_cancel(turn: Turn, serial: str) -> None:
    """Enough of it; under whichever question of the conversation."""
    await _press(turn, serial, None, Way.CANCEL)


async def _press(turn: Turn, serial: str, step: str | None, move: Move) -> None:
    standing = await _pressed_in(turn, serial, step)
    if standing is not None:
        await _close_after(turn, standing, move)


async def _pressed_in(turn: Turn, serial: str, step: str | None) -> Standing[Any] | None:
    """The conversation whose button was pressed; raises Refusal (`talk.stale`, `talk.stale_step`) when it has gone on,
    None when it ended with a word."""
    talk = await present(turn)
    if talk is None or talk.serial != serial:
        raise Refusal("talk.stale")
    if step is not None and talk.step != step:
        raise Refusal("talk.stale_step")
    standing = await _going_on(turn, talk)
    if standing is None:
        await turn.close_question()
    return standing


async def _close_after(turn: Turn, standing: Standing[Any], move: Move) -> None:
    if await _move(turn, standing, move):
        await turn.close_question()


# --- from question to question ---


async def _move(turn: Turn, standing: Standing[A], move: Move) -> bool:
    """Go where it leads; returns whether the question is done with."""
    talk = standing.talk
    match move:
        case Answer():
            return await _take(turn, standing, move)
        case Way.CANCEL:
            await cancel(turn)
            return True
        case Way.BACK:
            await _put(turn, replace(standing, talk=_gone_back(talk)), word="talk.went_back")
            return True
        case Edit(step) if step in standing.flow.steps:
            await _put(turn, replace(standing, talk=_mending(talk, step)))
            return True
        case Way.WHOLE:
            talk = replace(talk, narrowed="", page=0)
        case ToPage(number):
            talk = replace(talk, page=number)
        case Tick(value):
            # What is ticked to begin with is the question's, until somebody changes it.
            talk = _with_tick(talk, (await _pose(turn, standing)).ticked or (), value)
    await _put(turn, replace(standing, talk=talk), in_place=True)
    return False


async def _take(turn: Turn, standing: Standing[A], answer: Answer) -> bool:
    """Take an answer and go on; returns whether the question is done with."""
    step = standing.flow.steps[standing.talk.step]
    try:
        async with turn.session.begin_nested():
            outcome = await step.take(turn, standing.answers, answer)
    except Refusal as refusal:
        await _put(turn, standing, turn.html(refusal.key, **refusal.params))
        return True
    match outcome:
        case Done():
            await end_talk(turn.session, turn.chat)
            return True
        case Stay(answers):
            await _keep(turn, standing if answers is None else replace(standing, answers=answers))
            return False
        case Next(step=to, answers=answers, note=note):
            await _put(turn, Standing(standing.flow, _gone_on(standing.talk, to), answers), note)
            return True


async def _narrow(turn: Turn, standing: Standing[A], posed: Posed, typed: str) -> bool:
    """Shorten the list to what was typed; returns whether that was what the words were for."""
    find = standing.flow.steps[standing.talk.step].find
    if find is None:
        return False
    try:
        found = await find(turn, standing.answers, posed.question, typed)
    except Refusal as refusal:
        await _put(turn, standing, turn.html(refusal.key, **refusal.params))
        return True
    if found:
        await _put(turn, replace(standing, talk=replace(standing.talk, narrowed=typed, page=0)))
    return bool(found)


def _at(talk: Talk, step: str) -> Talk:
    """At another question, with nothing left of how the one before was shown."""
    return replace(talk, step=step, page=0, narrowed="", ticked=None)


def _gone_on(talk: Talk, step: str) -> Talk:
    """After an answer: at the next step, or back at the summary if this one was only mended."""
    if step == talk.step:
        return talk
    if talk.returns_to is not None:
        return replace(_at(talk, talk.returns_to), back=talk.back[:-1], returns_to=None)
    return replace(_at(talk, step), back=(*talk.back, talk.step))


def _gone_back(talk: Talk) -> Talk:
    if not talk.back:
        return talk
    return replace(_at(talk, talk.back[-1]), back=talk.back[:-1], returns_to=None)


def _mending(talk: Talk, step: str) -> Talk:
    return replace(_at(talk, step), back=(*talk.back, talk.step), returns_to=talk.step)


def _with_tick(talk: Talk, ticked: tuple[str, ...], value: str) -> Talk:
    left = tuple(one for one in ticked if one != value)
    return replace(talk, ticked=left if value in ticked else (*ticked, value))


# --- asking ---


async def _pose(turn: Turn, standing: Standing[A]) -> Posed:
    """The present question, as it is to be shown."""
    flow, talk, answers = standing.flow, standing.talk, standing.answers
    step = flow.steps[talk.step]
    seen = await step.look(turn, answers) if step.look is not None else None
    question = step.ask(turn.words, answers, seen)
    if step.find is None or not talk.narrowed:
        return Posed(talk, question)
    try:
        return Posed(talk, question, await step.find(turn, answers, question, talk.narrowed))
    except Refusal:  # nothing of it is left: the list is whole again
        return Posed(replace(talk, narrowed=""), question)


async def _put(
    turn: Turn, standing: Standing[A], note: str = "", *, word: str = "talk.noted", in_place: bool = False
) -> None:
    """Put the present question. `word` takes a keyboard away that the one before put up; `in_place` rewrites the
    question that shows another page."""
    posed = await _pose(turn, standing)
    question = posed.question
    if standing.talk.has_keyboard and question.asks is None:
        await turn.send(_without_keyboard(turn, word))
    shown = replace(posed.talk, page=posed.page.number, has_keyboard=question.asks is not None)
    await _keep(turn, replace(standing, talk=shown))
    if question.before is not None and not in_place:
        await turn.send(question.before)
    markup = questions.markup(turn.words, posed, note)
    outgoing = from_html(markup, turn.language, buttons=questions.buttons(turn.words, posed), asks=question.asks)
    await (turn.rewrite(outgoing) if in_place else turn.send(outgoing))


async def _keep(turn: Turn, standing: Standing[Any]) -> None:
    await keep_talk(turn.session, replace(standing.talk, answers=written(standing.answers)), now=turn.now)


async def choices_again(turn: Turn, standing: Standing[Any], *, besides: str) -> Rows:
    """The buttons of the present question once more, but for one choice: for a message that puts them out of sight."""
    posed = await _pose(turn, standing)
    left = tuple(choice for choice in posed.question.choices if choice.value != besides)
    return questions.buttons(turn.words, replace(posed, question=replace(posed.question, choices=left)))


def _without_keyboard(turn: Turn, key: str) -> Outgoing:
    """A word that takes the keyboard away: a message with buttons of its own cannot."""
    return replace(from_html(turn.html(key), turn.language), drops_keyboard=True)
