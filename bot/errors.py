"""The one place an exception becomes an answer, or a logged incident with a reference."""

from __future__ import annotations

import secrets

import structlog
from telegram import Update

from channels.inbound import AlreadyHandled
from handlers.context import Context
from texts.refusal import Refusal

log = structlog.get_logger(__name__)


async def on_error(update: object, context: Context) -> None:
    """Answer for an update that failed. Its own transaction was rolled back; this one marks it as handled.

    A Refusal is said; an update that had acted before is left alone; everything else is logged once with a
    reference, which the person gets with an apology.
    """
    error = context.error
    if isinstance(error, AlreadyHandled) or not isinstance(update, Update):
        return
    if isinstance(error, Refusal):
        async with context.begin(update) as turn:
            await turn.refuse(error)
        return
    reference = secrets.token_hex(2).upper()
    log.error("update_failed", reference=reference, channel=context.channel, exc_info=error)
    async with context.begin(update) as turn:
        await turn.say("error.ours", reference=reference)
