"""The one place an exception becomes an answer, or a logged incident with a reference."""

from __future__ import annotations

import secrets

import structlog
from telegram import Update

from conversations.inbound import AlreadyHandled
from db.outage import is_outage
from handlers.context import App, Context
from texts.refusal import Refusal

log = structlog.get_logger(__name__)

_FAILED = "failed"


async def on_error(update: object, context: Context) -> None:
    """Answer for an update that failed. Its own transaction was rolled back; this one marks it as handled.

    A Refusal is said; an update that had acted before is left alone; everything else is logged once with a reference,
    which the person gets with an apology. When the storage failed, or the answer did, the update stays where it is
    stored (see `failure_of`).
    """
    error = context.error
    if error is None or isinstance(error, AlreadyHandled) or not isinstance(update, Update):
        return
    try:
        if is_outage(error):
            raise error
        await _answer(update, context, error)
    except AlreadyHandled:
        return
    except Exception as failure:
        failed = failure if is_outage(failure) else error
        context.application.bot_data.setdefault(_FAILED, {})[update.update_id] = failed


def failure_of(application: App, update: Update) -> Exception | None:
    """Why neither what an update asked for nor an apology could be stored; None: it has acted. Says so once."""
    failures: dict[int, Exception] = application.bot_data.get(_FAILED, {})
    return failures.pop(update.update_id, None)


async def _answer(update: Update, context: Context, error: Exception) -> None:
    if isinstance(error, Refusal):
        async with context.begin(update) as turn:
            await turn.refuse(error)
        return
    reference = secrets.token_hex(2).upper()
    async with context.begin(update) as turn:
        await turn.say("error.ours", reference=reference)
    log.error("update_failed", reference=reference, channel=context.channel, exc_info=error)
