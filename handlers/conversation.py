"""Conversations: each step asks a question and takes an answer, by button or by typing, until the flow is done.

The state is a row (see deliveries.conversations): it survives a restart and ends after a day with a word.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from channels.port import Asks, Button, Media, Outgoing, Place
from deliveries.conversations import Talk as Talk
from deliveries.conversations import end_talk, keep_talk, present_talk
from deliveries.wording import from_html
from handlers.context import Turn
from officers.permissions import Permission
from reports.codes import Tried
from texts.folding import fold
from texts.refusal import Refusal

VERB = "talk.answer"
_COUNT = re.compile(r" \([\d.,]+\)$")
BACK = "<back"
CANCEL = "<cancel"


@dataclass(frozen=True, slots=True)
class Choice:
    """One of the answers a question offers."""

    value: str
    label: str


@dataclass(frozen=True, slots=True)
class Question:
    """What a step asks. `markup` is ready; `columns` is how many choices stand in a row; `before` is shown first."""

    markup: str
    choices: tuple[Choice, ...] = ()
    columns: int = 1
    asks: Asks | None = None
    before: Outgoing | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What a person answered: the value of a choice, or what they wrote or sent. `tried` is what came of it when what
    they wrote is a receipt code."""

    choice: str | None = None
    text: str = ""
    html: str = ""
    phone: str | None = None
    place: Place | None = None
    media: Media | None = None
    media_original: Media | None = None
    is_same_album: bool = False
    tried: Tried | None = None


Ask = Callable[[Turn, Talk], Awaitable[Question]]
#: Takes an answer and names the next step; None means that the flow has ended, "" that it stays where it is.
Take = Callable[[Turn, Talk, Answer], Awaitable[str | None]]


@dataclass(frozen=True, slots=True)
class Step:
    """One question of a flow."""

    ask: Ask
    take: Take


@dataclass(frozen=True, slots=True)
class Flow:
    """A conversation. `on_cancel` is called when the person calls it off, `on_leave` when they begin something else;
    `permission` is asked for at every step, for it may be taken away in between."""

    name: str
    first: str
    steps: dict[str, Step]
    wants_media: bool = False
    on_cancel: Callable[[Turn, Talk], Awaitable[None]] | None = None
    on_leave: Callable[[Turn, Talk], Awaitable[None]] | None = None
    cancelled_key: str = "talk.cancelled"
    permission: Permission | None = None


_FLOWS: dict[str, Flow] = {}


def add_flow(flow: Flow) -> Flow:
    """Make a flow known by its name."""
    _FLOWS[flow.name] = flow
    return flow


def flow_named(name: str) -> Flow | None:
    """The flow of that name; None when a newer version no longer has it."""
    return _FLOWS.get(name)


async def begin(turn: Turn, flow: Flow, answers: dict[str, Any] | None = None, *, step: str | None = None) -> None:
    """Start a flow; what the chat was in the middle of before ends."""
    await end_present(turn)
    talk = Talk(turn.chat, flow.name, step or flow.first, answers or {})
    await _ask(turn, talk)


async def finish(turn: Turn) -> None:
    """The flow has done what it was for."""
    await end_talk(turn.session, turn.chat)


async def end_present(turn: Turn) -> None:
    """Leave whatever conversation the chat is in because something else begins."""
    talk = await present_talk(turn.session, turn.chat, now=turn.now)
    if talk is not None:
        flow = _FLOWS.get(talk.flow)
        await end_talk(turn.session, turn.chat)
        if flow is not None and flow.on_leave is not None:
            await flow.on_leave(turn, talk)


async def press(turn: Turn, serial: str, step: str, value: str) -> None:
    """A choice of a question was pressed; raises Refusal (`talk.stale`) when the conversation has gone on."""
    talk = await present_talk(turn.session, turn.chat, now=turn.now)
    if talk is None or talk.serial != serial:
        raise Refusal("talk.stale")
    if value != CANCEL and talk.step != step:
        raise Refusal("talk.stale_step")
    if not await _may_go_on(turn, talk) or await _take(turn, talk, Answer(choice=value)):
        await turn.close_question()


async def receive(turn: Turn, talk: Talk, answer: Answer) -> None:
    """Something was written or sent in the middle of a conversation."""
    if not await _may_go_on(turn, talk):
        return
    if answer.text and answer.media is None:
        answer = await _as_choice(turn, _FLOWS[talk.flow], talk, answer)
    await _take(turn, talk, answer)


async def cancel(turn: Turn) -> bool:
    """Leave the present conversation with a word; returns whether there was one."""
    talk = await call_off(turn)
    if talk is None:
        return False
    flow = _FLOWS.get(talk.flow)
    await turn.say(flow.cancelled_key if flow else "talk.cancelled")
    return True


async def call_off(turn: Turn) -> Talk | None:
    """Leave the present conversation without a word, and throw away what it held; returns it."""
    talk = await present_talk(turn.session, turn.chat, now=turn.now)
    if talk is not None:
        flow = _FLOWS.get(talk.flow)
        await end_talk(turn.session, turn.chat)
        if flow is not None and flow.on_cancel is not None:
            await flow.on_cancel(turn, talk)
    return talk


async def ask_again(turn: Turn, talk: Talk, note: str = "") -> None:
    """Put the present question once more, after a note (markup)."""
    await _ask(turn, talk, note)


async def _may_go_on(turn: Turn, talk: Talk) -> bool:
    """Whether a conversation can go on; one that a newer version does not know, or whose permission was taken away,
    ends with a word instead."""
    flow = _FLOWS.get(talk.flow)
    if flow is None or talk.step not in flow.steps:
        refusal = Refusal("talk.stale")
    elif flow.permission is not None and not turn.actor.may(flow.permission):
        refusal = Refusal("refused.role" if turn.actor.is_officer else "refused.officers")
    else:
        return True
    await call_off(turn)
    await turn.refuse(refusal)
    return False


async def _take(turn: Turn, talk: Talk, answer: Answer) -> bool:
    """Take an answer and go on; returns whether the question is done with."""
    if answer.choice == CANCEL:
        await cancel(turn)
        return True
    flow = _FLOWS[talk.flow]
    if answer.choice == BACK:
        if talk.back:
            talk.step = talk.back.pop()
        await _ask(turn, talk)
        return True
    answered = dict(talk.answers)
    try:
        async with turn.session.begin_nested():
            next_step = await flow.steps[talk.step].take(turn, talk, answer)
    except Refusal as refusal:
        talk.answers = answered
        await _ask(turn, talk, turn.html(refusal.key, **refusal.params))
        return True
    if next_step is None:
        return True
    if next_step == "":
        await keep_talk(turn.session, talk, now=turn.now)
        return False
    if next_step != talk.step:
        talk.back.append(talk.step)
    talk.step = next_step
    await _ask(turn, talk)
    return True


async def _ask(turn: Turn, talk: Talk, note: str = "") -> None:
    question = await _FLOWS[talk.flow].steps[talk.step].ask(turn, talk)
    await keep_talk(turn.session, talk, now=turn.now)
    if question.before is not None:
        await turn.send(question.before)
    markup = f"{note}\n\n{question.markup}" if note else question.markup
    buttons = [button_for(talk, choice.value, choice.label) for choice in question.choices]
    rows = [tuple(buttons[i : i + question.columns]) for i in range(0, len(buttons), question.columns)]
    exits = [button_for(talk, BACK, turn.plain("button.back"))] if talk.back else []
    exits.append(button_for(talk, CANCEL, turn.plain("button.cancel")))
    await turn.send(from_html(markup, turn.language, buttons=(*rows, tuple(exits)), asks=question.asks))


def button_for(talk: Talk, value: str, label: str) -> Button:
    """A button that answers the present question of a conversation."""
    return Button(label, VERB, (talk.serial, talk.step, value))


async def _as_choice(turn: Turn, flow: Flow, talk: Talk, answer: Answer) -> Answer:
    """What was typed, as the choice it names, if it names one: its label or its number."""
    typed = fold(answer.text).rstrip(".")
    exits = {"button.cancel": CANCEL}
    if talk.back:
        exits["button.back"] = BACK
    for key, value in exits.items():
        if typed in {fold(turn.plain(key))}:
            return Answer(choice=value)
    question = await flow.steps[talk.step].ask(turn, talk)
    for number, choice in enumerate(question.choices, start=1):
        # "Nhà nghỉ" is enough for "Nhà nghỉ (17)".
        label = fold(choice.label)
        named = {label, _COUNT.sub("", label)}
        if typed in named or (typed == str(number) and len(question.choices) > 1):
            return Answer(choice=choice.value)
    return answer


async def present(turn: Turn) -> Talk | None:
    """The conversation the chat is in."""
    return await present_talk(turn.session, turn.chat, now=turn.now)


async def hold(turn: Turn, flow: Flow, answers: dict[str, Any]) -> None:
    """Keep something for the chat without asking a question."""
    await keep_talk(turn.session, Talk(turn.chat, flow.name, flow.first, answers), now=turn.now)
