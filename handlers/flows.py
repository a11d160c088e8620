"""What a conversation is made of: a flow has steps, a step asks a question and takes an answer.

`look` reads what the question needs, `ask` words it and reads nothing, `take` acts on the answer and says where the
conversation goes. What was answered so far is a frozen dataclass of the flow's own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from sqlalchemy.ext.asyncio import AsyncSession

from channels.port import Asks, Media, Outgoing, Point
from handlers.context import Turn
from handlers.words import Words
from officers.permissions import Permission
from reports.codes import Tried
from texts.folding import fold
from unit.policy import Policy

A = TypeVar("A")
S = TypeVar("S")


# --- asked ---


@dataclass(frozen=True, slots=True)
class Choice:
    """One of the answers a question offers. `value` is the flow's own: no word of the engine's looks like one."""

    value: str
    label: str


@dataclass(frozen=True, slots=True)
class Edit:
    """From a summary: one answer to mend, by its step, and what it is called ("tên")."""

    step: str
    label: str


@dataclass(frozen=True, slots=True)
class Question:
    """What a step asks.

    Attributes:
        markup: Ready.
        choices: Many are shown a page at a time.
        always: Choices that stand on every page.
        columns: How many choices stand in a row.
        asks: The button of the platform's that is offered.
        before: Shown first.
        ticks: Several of the choices may be ticked, these are to begin with; None for a question with one answer.
        edits: What can be mended from here, one answer at a time; after that the same question is put again.
    """

    markup: str
    choices: tuple[Choice, ...] = ()
    always: tuple[Choice, ...] = ()
    columns: int = 1
    asks: Asks | None = None
    before: Outgoing | None = None
    ticks: tuple[str, ...] | None = None
    edits: tuple[Edit, ...] = ()


# --- answered ---


@dataclass(frozen=True, slots=True)
class Answer:
    """What a person answered.

    Attributes:
        choice: The value of a choice.
        choices: The values that were ticked, in the order they were offered; None where nothing is to be ticked.
        album: The platform's name of the album that `media` is of; `is_same_album`: what came before it is too.
        tried: What came of `text` when it is a receipt code.
        is_hurried: It is one of so many that they are not answered one by one.
    """

    choice: str | None = None
    choices: tuple[str, ...] | None = None
    text: str = ""
    html: str = ""
    phone: str | None = None
    point: Point | None = None
    media: Media | None = None
    media_original: Media | None = None
    album: str | None = None
    is_same_album: bool = False
    tried: Tried | None = None
    is_hurried: bool = False


@dataclass(frozen=True, slots=True)
class NoAnswers:
    """What a flow keeps that keeps nothing between its questions."""


# --- taken ---


@dataclass(frozen=True, slots=True)
class Next(Generic[A]):
    """Go on to a step, or put the present one again; `note` (markup) stands above its question."""

    step: str
    answers: A
    note: str = ""


@dataclass(frozen=True, slots=True)
class Stay(Generic[A]):
    """Ask nothing: the question stays open as it is shown. `answers` are kept if there are new ones."""

    answers: A | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """The flow has done what it was for."""


Outcome = Next[A] | Stay[A] | Done


@dataclass(frozen=True, slots=True)
class Ending:
    """A conversation ends by time: the transaction in which it does, and when."""

    session: AsyncSession
    now: datetime
    policy: Policy


# --- flows ---

Look = Callable[[Turn, A], Awaitable[S]]
Find = Callable[[Turn, A, Question, str], Awaitable[tuple[Choice, ...]]]


@dataclass(frozen=True, slots=True)
class Step(Generic[A, S]):
    """One question of a flow.

    Attributes:
        ask: Words the question, from the answers so far and from what `look` found; it is pure.
        take: Acts on an answer; raises Refusal for one that is none, and the question is put again.
        look: Reads what the question needs; without one, `ask` is given None.
        find: Makes the choices a list with a filter: it is told what was typed (no choice by that name) and says which
            choices are left. None left: what was typed goes to `take`. It raises Refusal where that is no answer.
    """

    ask: Callable[[Words, A, S], Question]
    take: Callable[[Turn, A, Answer], Awaitable[Outcome[A]]]
    look: Look[A, S] | None = None
    find: Find[A] | None = None


@dataclass(frozen=True, slots=True)
class Flow(Generic[A]):
    """A conversation.

    Attributes:
        answers: The frozen dataclass in which answers are kept. One that another version wrote with other fields ends
            the conversation with `talk.stale`.
        wants_media: Files are answers, and every word may be content.
        on_cancel: The person calls it off.
        on_leave: They begin something else.
        on_expire: Nobody went on with it for a day; it returns the key of what is said then.
        permission: Asked for at every step, for it may be taken away in between.
    """

    name: str
    first: str
    steps: Mapping[str, Step[A, Any]]
    answers: type[A]
    wants_media: bool = False
    on_cancel: Callable[[Turn, A], Awaitable[None]] | None = None
    on_leave: Callable[[Turn, A], Awaitable[None]] | None = None
    on_expire: Callable[[Ending, A], Awaitable[str]] | None = None
    cancelled_key: str = "talk.cancelled"
    permission: Permission | None = None


_FLOWS: dict[str, Flow[Any]] = {}


def add_flow(flow: Flow[A]) -> Flow[A]:
    """Make a flow known by its name."""
    _FLOWS[flow.name] = flow
    return flow


def flow_named(name: str) -> Flow[Any] | None:
    """The flow of that name; None when a newer version no longer has it."""
    return _FLOWS.get(name)


def flow_names() -> frozenset[str]:
    """The names of all flows."""
    return frozenset(_FLOWS)


async def by_label(_turn: Turn, _answers: object, question: Question, typed: str) -> tuple[Choice, ...]:
    """A filter (see Step.find) for lists that are offered whole: the choices with these letters in their label."""
    letters = fold(typed)
    return tuple(choice for choice in question.choices if letters and letters in fold(choice.label))
