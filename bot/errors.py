"""The one place an exception becomes an answer, or a logged incident with a reference."""

from __future__ import annotations

import secrets

import structlog
from sqlalchemy.exc import InterfaceError, OperationalError
from telegram import Update

from channels.inbound import AlreadyHandled
from handlers.context import App, Context
from texts.refusal import Refusal

log = structlog.get_logger(__name__)

#: The database was out of reach, full or locked for too long: nothing another attempt, a little later, may not mend.
_STORAGE_FAILED = (OperationalError, InterfaceError, ConnectionError, FileNotFoundError)
_NOT_STORED = "not_stored"


async def on_error(update: object, context: Context) -> None:
    """Answer for an update that failed. Its own transaction was rolled back; this one marks it as handled.

    A Refusal is said; an update that had acted before is left alone; when the storage failed, it stays where it is
    stored (see `storage_failure`); everything else is logged once with a reference, which the person gets with an
    apology.
    """
    error = context.error
    if isinstance(error, AlreadyHandled) or not isinstance(update, Update):
        return
    try:
        if isinstance(error, _STORAGE_FAILED):
            raise error
        await _answer(update, context, error)
    except _STORAGE_FAILED as failure:
        context.application.bot_data.setdefault(_NOT_STORED, {})[update.update_id] = failure


def storage_failure(application: App, update: Update) -> Exception | None:
    """Why neither what an update asked for nor an apology could be stored just now; None: it has acted."""
    failures: dict[int, Exception] = application.bot_data.get(_NOT_STORED, {})
    return failures.pop(update.update_id, None)


async def _answer(update: Update, context: Context, error: Exception | None) -> None:
    if isinstance(error, Refusal):
        async with context.begin(update) as turn:
            await turn.refuse(error)
        return
    reference = secrets.token_hex(2).upper()
    log.error("update_failed", reference=reference, channel=context.channel, exc_info=error)
    async with context.begin(update) as turn:
        await turn.say("error.ours", reference=reference)
