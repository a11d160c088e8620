"""Conversations: each step asks a question and takes an answer, by button or by typing, until the flow is done.

The state is a row (see conversations.talks): it survives a restart and ends after a day with a word.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

from channels.port import Asks, Button, Media, Outgoing, Point
from channels.wording import from_html, plain
from conversations.talks import Talk as Talk
from conversations.talks import end_talk, keep_talk, present_talk
from handlers import paging
from handlers.context import Turn
from officers.permissions import Permission
from reports.codes import Tried
from texts.catalogue import LANGUAGES
from texts.folding import fold
from texts.refusal import Refusal

VERB = "talk.answer"
_COUNT = re.compile(r" \([\d.,]+\)$")
BACK = "<back"
CANCEL = "<cancel"
_BEFORE = "<before"
_AFTER = "<after"
#: In a conversation's answers: the page of the choices that is shown; that a keyboard of the platform's is.
_PAGE = "<page"
_KEYBOARD = "<keyboard"


@dataclass(frozen=True, slots=True)
class Choice:
    """One of the answers a question offers."""

    value: str
    label: str


@dataclass(frozen=True, slots=True)
class Question:
    """What a step asks. `markup` is ready; `columns` is how many choices stand in a row; `before` is shown first.

    Many `choices` are shown a page at a time, and `always` on every page.
    """

    markup: str
    choices: tuple[Choice, ...] = ()
    always: tuple[Choice, ...] = ()
    columns: int = 1
    asks: Asks | None = None
    before: Outgoing | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What a person answered: the value of a choice, or what they wrote or sent. `tried` is what came of it when what
    they wrote is a receipt code; `is_hurried`: it is one of so many that they are not answered one by one."""

    choice: str | None = None
    text: str = ""
    html: str = ""
    phone: str | None = None
    point: Point | None = None
    media: Media | None = None
    media_original: Media | None = None
    is_same_album: bool = False
    tried: Tried | None = None
    is_hurried: bool = False


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
    `permission` is asked for at every step, for it may be taken away in between.

    A hold (`is_hold`) is no conversation: something is kept for the chat until the person says more, and whatever they
    write is understood as ever. Without a `cancelled_key` there is nothing in it to call off.
    """

    name: str
    first: str
    steps: dict[str, Step]
    wants_media: bool = False
    on_cancel: Callable[[Turn, Talk], Awaitable[None]] | None = None
    on_leave: Callable[[Turn, Talk], Awaitable[None]] | None = None
    cancelled_key: str = "talk.cancelled"
    permission: Permission | None = None
    is_hold: bool = False


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
    """Leave whatever conversation the chat is in because something else begins; an open question stays open until
    something else is asked."""
    talk = await present_talk(turn.session, turn.chat, now=turn.now)
    flow = _FLOWS.get(talk.flow) if talk is not None else None
    if flow is not None and flow.is_hold and not flow.cancelled_key:
        return
    if talk is not None:
        await end_talk(turn.session, turn.chat)
        if has_keyboard(talk):
            await turn.send(_without_keyboard(turn, "talk.left"))
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
        if asked_to_share(answer.text) and await _refuse_label(turn, talk):
            return
        answer = await _as_choice(turn, _FLOWS[talk.flow], talk, answer)
    await _take(turn, talk, answer)


def asked_to_share(text: str) -> Asks | None:
    """What the words on a button of the platform's keyboard ask for. Some apps send them in place of what they
    stand for."""
    typed = fold(text)
    for asks in _SHARING:
        if typed in {fold(plain(language, f"button.share_{asks}")) for language in LANGUAGES}:
            return asks
    return None


_SHARING: tuple[Asks, ...] = ("contact", "location")


async def _refuse_label(turn: Turn, talk: Talk) -> bool:
    """Ask for what the label of a keyboard's button stands for; returns whether that was it. Where every word may be
    content, it is."""
    flow = _FLOWS[talk.flow]
    if flow.wants_media:
        return False
    question = await flow.steps[talk.step].ask(turn, talk)
    note = f"talk.type_{question.asks}" if question.asks else "talk.not_asked_to_share"
    await _ask(turn, talk, turn.html(note))
    return True


async def cancel(turn: Turn) -> bool:
    """Leave the present conversation with a word; returns whether there was one."""
    talk = await present_talk(turn.session, turn.chat, now=turn.now)
    flow = _FLOWS.get(talk.flow) if talk is not None else None
    if talk is None or (flow is not None and not flow.cancelled_key):
        return False
    await call_off(turn)
    said = from_html(turn.html(flow.cancelled_key if flow else "talk.cancelled"), turn.language)
    await turn.send(replace(said, drops_keyboard=has_keyboard(talk)))
    return True


def has_keyboard(talk: Talk) -> bool:
    """Whether a question of the conversation put up a keyboard of the platform's, which must be taken away again."""
    return bool(talk.answers.get(_KEYBOARD))


def _without_keyboard(turn: Turn, key: str) -> Outgoing:
    """A word that takes the keyboard away: a message with buttons of its own cannot."""
    return replace(from_html(turn.html(key), turn.language), drops_keyboard=True)


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
    if answer.choice in (_BEFORE, _AFTER):
        talk.answers[_PAGE] = talk.answers.get(_PAGE, 0) + (1 if answer.choice == _AFTER else -1)
        await _ask(turn, talk, in_place=True)
        return False
    flow = _FLOWS[talk.flow]
    if answer.choice == BACK:
        if talk.back:
            _go_to(talk, talk.back.pop())
        await _ask(turn, talk, word="talk.went_back")
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
        _go_to(talk, next_step)
    await _ask(turn, talk)
    return True


def _go_to(talk: Talk, step: str) -> None:
    talk.step = step
    talk.answers.pop(_PAGE, None)


async def _ask(turn: Turn, talk: Talk, note: str = "", *, word: str = "talk.noted", in_place: bool = False) -> None:
    """Put the present question. `word` takes a keyboard away that the one before put up; `in_place` rewrites the
    question that shows another page."""
    question = await _FLOWS[talk.flow].steps[talk.step].ask(turn, talk)
    page = paging.page_at(talk.answers.get(_PAGE, 0), len(question.choices))
    talk.answers.pop(_PAGE, None)
    if page.number:
        talk.answers[_PAGE] = page.number
    had_keyboard = talk.answers.pop(_KEYBOARD, False)
    if question.asks is not None:
        talk.answers[_KEYBOARD] = True
    elif had_keyboard:
        await turn.send(_without_keyboard(turn, word))
    await keep_talk(turn.session, talk, now=turn.now)
    if question.before is not None and not in_place:
        await turn.send(question.before)
    markup = (f"{note}\n\n{question.markup}" if note else question.markup) + _where(turn, page)
    outgoing = from_html(markup, turn.language, buttons=_buttons(turn, talk, question, page), asks=question.asks)
    await (turn.rewrite(outgoing) if in_place else turn.send(outgoing))


def _where(turn: Turn, page: paging.Page) -> str:
    said = paging.foot(turn, page)
    return f"{said} {turn.html('page.type_it')}" if said else ""


def _buttons(turn: Turn, talk: Talk, question: Question, page: paging.Page) -> tuple[tuple[Button, ...], ...]:
    """The choices of a page, those that are always there, the pages beside it, the ways out."""
    shown = [button_for(talk, one.value, one.label) for one in question.choices[page.start : page.stop]]
    rows = [tuple(shown[i : i + question.columns]) for i in range(0, len(shown), question.columns)]
    rows += [(button_for(talk, one.value, one.label),) for one in question.always]
    pages = [button_for(talk, value, turn.plain(key)) for value, key in _pages(page)]
    exits = [button_for(talk, BACK, turn.plain("button.back"))] if talk.back else []
    exits.append(button_for(talk, CANCEL, turn.plain("button.cancel")))
    return (*rows, *([tuple(pages)] if pages else []), tuple(exits))


def _pages(page: paging.Page) -> list[tuple[str, str]]:
    """The ways to the pages beside one: the value of each and the key of its label."""
    before = [(_BEFORE, "button.page_before")] if page.number else []
    return before + ([(_AFTER, "button.page_after")] if page.left else [])


def button_for(talk: Talk, value: str, label: str) -> Button:
    """A button that answers the present question of a conversation."""
    return Button(label, VERB, (talk.serial, talk.step, value))


async def _as_choice(turn: Turn, flow: Flow, talk: Talk, answer: Answer) -> Answer:
    """What was typed, as the choice it names, if it names one: its label, on whatever page, or its number on this."""
    typed = fold(answer.text).rstrip(".")
    question = await flow.steps[talk.step].ask(turn, talk)
    page = paging.page_at(talk.answers.get(_PAGE, 0), len(question.choices))
    exits = [*_pages(page), (CANCEL, "button.cancel"), *([(BACK, "button.back")] if talk.back else [])]
    for value, key in exits:
        if typed == fold(turn.plain(key)):
            return Answer(choice=value)
    shown = (*question.choices[page.start : page.stop], *question.always)
    if typed.isascii() and typed.isdigit() and len(shown) > 1 and 0 < int(typed) <= len(shown):
        return Answer(choice=shown[int(typed) - 1].value)
    # "Nhà nghỉ" is enough for "Nhà nghỉ (17)"; two of the same name must be pressed.
    named = {
        choice.value
        for choice in (*question.choices, *question.always)
        if typed in {fold(choice.label), _COUNT.sub("", fold(choice.label))}
    }
    return Answer(choice=named.pop()) if len(named) == 1 else answer


async def present(turn: Turn) -> Talk | None:
    """The conversation the chat is in."""
    return await present_talk(turn.session, turn.chat, now=turn.now)


async def hold(turn: Turn, flow: Flow, answers: dict[str, Any]) -> None:
    """Keep something for the chat without asking a question."""
    await keep(turn, Talk(turn.chat, flow.name, flow.first, answers))


async def keep(turn: Turn, talk: Talk) -> None:
    """Keep where a conversation stands."""
    await keep_talk(turn.session, talk, now=turn.now)


def is_hold(talk: Talk | None) -> bool:
    """Whether a chat is in no conversation, though something may be kept for it."""
    if talk is None:
        return True
    flow = _FLOWS.get(talk.flow)
    return flow is not None and flow.is_hold
