"""What Telegram says when it says no.

Source: descriptions as the Bot API answers them, collected from operators' reports (read 2026-11).
"""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

NOT_MODIFIED = (
    "message is not modified: specified new message content and reply markup are exactly the same as a current "
    "content and reply markup of the message"
)
_WEBHOOK_IS_SET = (
    "Conflict: can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first"
)
_OTHER_POLLS = "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running"


class Refused(Exception):
    """The server's "no": an HTTP status, and the `body` that is answered with it."""

    def __init__(self, code: int, description: str, **parameters: Any) -> None:
        super().__init__(description)
        self.code = code
        self.body: Json = {"ok": False, "error_code": code, "description": description}
        if parameters:
            self.body["parameters"] = parameters


def bad(description: str) -> Refused:
    """A call that cannot be right."""
    return Refused(400, f"Bad Request: {description}")


def unknown() -> Refused:
    """A method, a file or a token that does not even look like one."""
    return Refused(404, "Not Found")


def unauthorized() -> Refused:
    """A token of nobody's."""
    return Refused(401, "Unauthorized")


def blocked() -> Refused:
    """The person wants to hear no more."""
    return Refused(403, "Forbidden: bot was blocked by the user")


def migrated(to: int) -> Refused:
    """The group has another id now."""
    return Refused(400, "Bad Request: group chat was upgraded to a supergroup chat", migrate_to_chat_id=to)


def too_many(missing: float) -> Refused:
    """Too fast, by `missing` seconds: whoever waits the whole seconds that are answered is not refused again."""
    seconds = int(missing) + 1
    return Refused(429, f"Too Many Requests: retry after {seconds}", retry_after=seconds)


def webhook_is_set() -> Refused:
    """Updates go to a webhook, so that nobody can poll."""
    return Refused(409, _WEBHOOK_IS_SET)


def other_polls() -> Refused:
    """Somebody else polls with the same token."""
    return Refused(409, _OTHER_POLLS)
