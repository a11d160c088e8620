"""What ends by time, nobody having gone on with it: each with the word that belongs to it."""

from __future__ import annotations

from dataclasses import replace

from channels.port import Recipient
from channels.wording import message
from conversations.expectations import Expectation
from conversations.languages import language_of
from conversations.talks import Talk
from deliveries.ledger import Lane, open_delivery
from handlers.conversation import standing_in
from handlers.expecting import fate_of
from handlers.flows import Ending, flow_named


async def end_talk_by_time(ending: Ending, talk: Talk) -> None:
    """A conversation that was taken out has come to its end: its flow does what is to be done, and says the word."""
    flow = flow_named(talk.flow)
    standing = standing_in(flow, talk) if flow is not None else None
    key = "talk.expired"
    if standing is not None and standing.flow.on_expire is not None:
        key = await standing.flow.on_expire(ending, standing.answers)
    await _say(ending, talk.chat, talk.serial, key, drops_keyboard=talk.has_keyboard)


async def end_expectation_by_time(ending: Ending, expected: Expectation) -> None:
    """What was kept for a chat is kept no longer; mostly without a word, for nothing was begun."""
    fate = fate_of(expected)
    if fate.drop is not None:
        await fate.drop(ending.session, expected)
    if fate.expired_key:
        await _say(ending, expected.chat, expected.serial, fate.expired_key)


async def _say(ending: Ending, chat: Recipient, serial: str, key: str, *, drops_keyboard: bool = False) -> None:
    said = message(await language_of(ending.session, chat), key)
    await open_delivery(
        ending.session,
        replace(said, drops_keyboard=drops_keyboard),
        to=chat,
        key=f"talk:{serial}/expired/{ending.now.isoformat()}",
        origin="talk",
        lane=Lane.REMINDER,
        passing=True,
        hide_address=True,
        now=ending.now,
    )
