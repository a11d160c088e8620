"""How a question is shown, and what typed words mean beside it. Pure: the same question, as buttons and as words."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from channels.port import Button
from channels.wording import Rows
from conversations.talks import Talk
from handlers import paging
from handlers.flows import Answer, Choice, Edit, Question
from handlers.words import Words
from texts.folding import fold

_COUNT = re.compile(r" \([\d.,]+\)$")


class Way(enum.Enum):
    """A way that leads out of a question without answering it."""

    BACK = enum.auto()
    CANCEL = enum.auto()
    #: The whole list again, after it was shortened by typing.
    WHOLE = enum.auto()


@dataclass(frozen=True, slots=True)
class ToPage:
    """Another page of the choices."""

    number: int


@dataclass(frozen=True, slots=True)
class Tick:
    """Tick a choice, or take the tick away."""

    value: str


#: What a button of a question does: it answers, or it is a word to the engine. Neither can be mistaken for the other.
Move = Answer | Way | ToPage | Tick | Edit


@dataclass(frozen=True)
class Posed:
    """A question as it is put now: with those choices that are left of a shortened list (`found`), a page of them."""

    talk: Talk
    question: Question
    found: tuple[Choice, ...] | None = None

    @property
    def choices(self) -> tuple[Choice, ...]:
        """The choices on all pages."""
        return self.question.choices if self.found is None else self.found

    @cached_property
    def page(self) -> paging.Page:
        """The page that is shown."""
        return paging.page_at(self.talk.page, len(self.choices))

    @property
    def shown(self) -> tuple[Choice, ...]:
        """The choices on that page."""
        return self.choices[self.page.start : self.page.stop]

    @property
    def ticked(self) -> tuple[str, ...] | None:
        """What is ticked, in the order it is offered; None for a question with one answer."""
        before = self.question.ticks
        ticks = before if self.talk.ticked is None or before is None else self.talk.ticked
        return None if ticks is None else tuple(one.value for one in self.question.choices if one.value in ticks)


@dataclass(frozen=True, slots=True)
class _Key:
    """A button of a question, before it is one."""

    label: str
    move: Move


def buttons(words: Words, posed: Posed) -> Rows:
    """The choices of a page, those that are always there, what can be mended, the pages beside it, the ways out."""
    shown = [_key(words, posed, choice) for choice in posed.shown]
    columns = posed.question.columns
    rows: list[Sequence[_Key]] = [shown[i : i + columns] for i in range(0, len(shown), columns)]
    rows += [(key,) for key in _below(words, posed)]
    rows += [ways for ways in ([*_list_ways(words, posed)], [*_exits(words, posed)]) if ways]
    return tuple(tuple(_button(posed.talk, key) for key in row) for row in rows)


def markup(words: Words, posed: Posed, note: str = "") -> str:
    """What stands above the buttons: a note, the question, and where one is in a long list."""
    foot = paging.foot(words, posed.page)
    asked = posed.question.markup + (f"{foot} {words.html('page.type_it')}" if foot else "")
    return f"{note}\n\n{asked}" if note else asked


def move_of(words: Words, posed: Posed, text: str) -> Move | None:
    """What was typed, as the button it names: by its label, a choice also on whatever page, or by its number on this
    one. None when it names none, or two of the same name, which must be pressed."""
    typed = fold(text).rstrip(".")
    for key in (*_list_ways(words, posed), *_exits(words, posed)):
        if typed == fold(key.label):
            return key.move
    below = _below(words, posed)
    numbered = [*(_key(words, posed, choice) for choice in posed.shown), *below]
    if typed.isascii() and typed.isdigit() and len(numbered) > 1 and 0 < int(typed) <= len(numbered):
        return numbered[int(typed) - 1].move
    # "Nhà nghỉ" is enough for "Nhà nghỉ (17)".
    named = {
        move: None
        for label, move in (
            *((one.label, _chosen(posed, one)) for one in posed.choices),
            *((k.label, k.move) for k in below),
        )
        if typed in {fold(label), _COUNT.sub("", fold(label))}
    }
    return next(iter(named)) if len(named) == 1 else None


def _below(words: Words, posed: Posed) -> list[_Key]:
    """What stands under the choices on every page, each in a row of its own."""
    keys = [_Key(choice.label, Answer(choice=choice.value)) for choice in posed.question.always]
    if posed.ticked is not None:
        keys.append(_Key(words.plain("button.done"), Answer(choices=posed.ticked)))
    return keys + [_Key(words.plain("button.edit", what=edit.label), edit) for edit in posed.question.edits]


def _list_ways(words: Words, posed: Posed) -> Iterator[_Key]:
    """The ways to the pages beside one, and back to the whole list."""
    if posed.page.number:
        yield _Key(words.plain("button.page_before"), ToPage(posed.page.number - 1))
    if posed.page.left:
        yield _Key(words.plain("button.page_after"), ToPage(posed.page.number + 1))
    if posed.found is not None and posed.question.choices:
        yield _Key(words.plain("button.show_all"), Way.WHOLE)


def _exits(words: Words, posed: Posed) -> Iterator[_Key]:
    if posed.talk.back:
        yield _Key(words.plain("button.back"), Way.BACK)
    yield _Key(words.plain("button.cancel"), Way.CANCEL)


def _key(words: Words, posed: Posed, choice: Choice) -> _Key:
    if posed.ticked is None:
        return _Key(choice.label, _chosen(posed, choice))
    mark = "button.ticked" if choice.value in posed.ticked else "button.not_ticked"
    return _Key(words.plain(mark, what=choice.label), _chosen(posed, choice))


def _chosen(posed: Posed, choice: Choice) -> Move:
    return Answer(choice=choice.value) if posed.ticked is None else Tick(choice.value)


def _button(talk: Talk, key: _Key) -> Button:
    """A button that does something about the present question of a conversation, and of no other."""
    match key.move:
        case Way.CANCEL:
            return Button(key.label, "talk.cancel", (talk.serial,))
        case Way.BACK:
            return Button(key.label, "talk.back", (talk.serial, talk.step))
        case Way.WHOLE:
            return Button(key.label, "talk.whole", (talk.serial, talk.step))
        case ToPage(number):
            return Button(key.label, "talk.page", (talk.serial, talk.step, str(number)))
        case Tick(value):
            return Button(key.label, "talk.tick", (talk.serial, talk.step, value))
        case Edit(step):
            return Button(key.label, "talk.edit", (talk.serial, talk.step, step))
        case Answer(choice=None):
            return Button(key.label, "talk.ticked", (talk.serial, talk.step))
        case Answer(choice=value):
            return Button(key.label, "talk.answer", (talk.serial, talk.step, str(value)))
