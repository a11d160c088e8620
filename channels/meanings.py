"""What the errors of the Bot API mean to us: the only place that knows a server's wordings."""

from __future__ import annotations

from datetime import timedelta

from telegram.error import (
    BadRequest,
    ChatMigrated,
    Conflict,
    Forbidden,
    InvalidToken,
    RetryAfter,
    TelegramError,
)

from channels.api import Unreachable
from channels.port import ChannelDown, Moved, RecipientGone, Rejected, SendError, TryLater, Uncertain

#: How long to wait when a platform says "too many" and not until when.
_UNTOLD = timedelta(seconds=5)
# Wordings as the Bot API server answers them, lower case; read in python-telegram-bot 22.8's tests and tdlib, 2026-11.
_LOST_CHAT = (
    "chat not found",
    "user not found",
    "user is deactivated",
    "user_deactivated",
    "peer_id_invalid",
    "input_user_deactivated",
    "chat_id is empty",
    "group chat was deactivated",
    "bot was kicked",
    "bot was blocked",
    "chat_write_forbidden",
    "have no rights to send a message",
    "not enough rights to send",
)
#: What a file id was answered with that had been good: tdlib's words ("wrong file identifier/HTTP URL specified",
#: "wrong remote file identifier specified: …", "wrong remote file id specified: …", "invalid file id") and the codes
#: of Telegram's own servers behind it (FILE_REFERENCE_EXPIRED, _EMPTY, _INVALID and _0_EXPIRED in an album,
#: FILEREF_UPGRADE_NEEDED, FILE_ID_INVALID, MEDIA_EMPTY); read in issues of tdlib and of bots' libraries, 2026-11.
_BAD_HANDLE = (
    "wrong file identifier",
    "wrong file_id",
    "wrong remote file",
    "invalid file id",
    "invalid file_id",
    "file reference",
    "file_reference",
    "fileref_",
    "file_id_invalid",
    "media_empty",
)


def meaning_of(error: TelegramError) -> SendError:
    """What an error of the Bot API means to whoever wanted to send."""
    match error:
        case RetryAfter():
            return TryLater("throttled", delay=_delay_of(error))
        case ChatMigrated():
            return Moved(str(error.new_chat_id))
        case Forbidden():
            return RecipientGone("forbidden")
        # BadRequest derives from NetworkError, so it must be asked about first.
        case BadRequest():
            return _meaning_of_refusal(error)
        case InvalidToken() if "method" in error.message.lower():
            return Rejected("no_such_method")
        case InvalidToken():
            return ChannelDown("token_refused")
        case Conflict():
            return ChannelDown("conflict")
        case Unreachable():
            return TryLater("unreachable")
        case _ if "too many requests" in error.message.lower():
            return TryLater("throttled", delay=_UNTOLD)
        case _:
            return Uncertain("no_answer")


def names_bad_handle(error: BadRequest) -> bool:
    """Whether a refusal is about a file id that had been good."""
    return any(words in error.message.lower() for words in _BAD_HANDLE)


def _delay_of(error: RetryAfter) -> timedelta:
    delay = error.retry_after
    return delay if isinstance(delay, timedelta) else timedelta(seconds=delay)


def _meaning_of_refusal(error: BadRequest) -> SendError:
    said = error.message.lower()
    if any(words in said for words in _LOST_CHAT):
        return RecipientGone("chat_gone")
    if "message to" in said and "not found" in said:
        return Rejected("message_gone")
    if "no text in the message" in said:
        return Rejected("no_text")
    if any(words in said for words in _BAD_HANDLE):
        return Rejected("bad_handle")
    return Rejected("bad_request")
