"""A button is a server row: who may press it, what it does, until when. Here its verb finds its handler."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable

from telegram import Update
from telegram.error import TelegramError

from deliveries.buttons import press
from handlers.context import Context
from texts.refusal import Refusal

Act = Callable[..., Awaitable[None]]
_VERBS: dict[str, Act] = {}


def on(verb: str) -> Callable[[Act], Act]:
    """Let a function answer a verb: it is called with the turn and the button's arguments (text)."""

    def register(act: Act) -> Act:
        _VERBS[verb] = act
        return act

    return register


def verbs() -> frozenset[str]:
    """Every verb somebody answers."""
    return frozenset(_VERBS)


async def on_button(update: Update, context: Context) -> None:
    """Do what the pressed button says, once. A press that comes without its message (an inline one, of a message that
    is not ours) does nothing; the person's app is told, and stops waiting."""
    query = update.callback_query
    if query is not None and query.message is None:
        with contextlib.suppress(TelegramError):
            await query.answer()
    elif query is not None:
        await context.with_receipt(lambda: _act(update, context))


async def _act(update: Update, context: Context) -> None:
    query = update.callback_query
    if query is None:
        return
    async with context.begin(update) as turn:
        shown = str(query.message.message_id) if query.message is not None else None
        pressed = await press(turn.session, query.data or "", by=turn.chat, message_id=shown, now=turn.now)
        act = _VERBS.get(pressed.verb)
        if act is None:
            raise Refusal("button.unknown")
        turn.delivery_id = pressed.delivery_id
        await act(turn, *pressed.args)
