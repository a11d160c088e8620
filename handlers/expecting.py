"""What is kept for a chat between conversations (see conversations.expectations), and what becomes of it when it is
called off, when something else begins, and when its time has passed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from conversations.expectations import Expectation, forget_expectation, keep_expectation, present_expectation
from handlers.context import Turn


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of one kind of expectation.

    Attributes:
        what: The kind, by its dataclass.
        drop: Throws away what belongs to it, for whatever reason it ends.
        cancelled_key: Said when it is called off; without it there is nothing in it to call off, and it outlasts what
            begins nothing new (`/start`).
        left_key: Said when something else begins.
        expired_key: Said when its time has passed.
    """

    what: type[Any]
    drop: Callable[[AsyncSession, Expectation], Awaitable[None]] | None = None
    cancelled_key: str = ""
    left_key: str = ""
    expired_key: str = ""


_FATES: dict[type[Any], Fate] = {}


def add_fate(fate: Fate) -> Fate:
    """Make it known what becomes of a kind of expectation."""
    _FATES[fate.what] = fate
    return fate


def fate_of(expected: Expectation) -> Fate:
    """What becomes of an expectation."""
    return _FATES[type(expected.what)]


async def present(turn: Turn) -> Expectation | None:
    """What is kept for the chat."""
    return await present_expectation(turn.session, turn.chat, now=turn.now)


async def keep(turn: Turn, what: object, *, serial: str | None = None) -> Expectation:
    """Keep something for the chat, in place of what was kept before; with its `serial` it goes on under its buttons."""
    expected = Expectation(turn.chat, what) if serial is None else Expectation(turn.chat, what, serial)
    await keep_expectation(turn.session, expected, now=turn.now)
    return expected


async def forget(turn: Turn) -> None:
    """Expect nothing of the chat any more. What belongs to what was expected has gone elsewhere, or is dropped by the
    caller."""
    await forget_expectation(turn.session, turn.chat)


async def leave(turn: Turn) -> None:
    """Something else begins: what could be called off is thrown away."""
    expected = await present(turn)
    if expected is not None and fate_of(expected).cancelled_key:
        await _throw_away(turn, expected)
        if key := fate_of(expected).left_key:
            await turn.say(key)


async def cancel(turn: Turn) -> bool:
    """Call off what waits for a word, with a word; returns whether there was anything to call off."""
    expected = await present(turn)
    if expected is None or not fate_of(expected).cancelled_key:
        return False
    await _throw_away(turn, expected)
    await turn.say(fate_of(expected).cancelled_key)
    return True


async def call_off(turn: Turn) -> None:
    """Throw away, without a word, whatever is kept for the chat."""
    expected = await present(turn)
    if expected is not None:
        await _throw_away(turn, expected)


async def _throw_away(turn: Turn, expected: Expectation) -> None:
    await forget(turn)
    drop = fate_of(expected).drop
    if drop is not None:
        await drop(turn.session, expected)
