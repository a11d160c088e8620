"""What is left of an update that cannot be read as a whole: enough to answer whoever sent it."""

from __future__ import annotations

from typing import Any

from channels.shapes import command_entities

Json = dict[str, Any]
_CHAT = ("id", "type", "title")
_USER = ("id", "is_bot", "first_name", "language_code")


def bones(raw: Json) -> Json | None:
    """The same update with nothing in it but who wrote what where, or which press waits for an answer.

    Returns:
        None when there is nobody to answer: the update is dropped.
    """
    message, query = raw.get("message"), raw.get("callback_query")
    if isinstance(message, dict) and isinstance(message.get("chat"), dict):
        return {"update_id": raw["update_id"], "message": _message(message)}
    if isinstance(query, dict) and isinstance(query.get("from"), dict):
        asked = {"id": str(query.get("id")), "from": _picked(query["from"], _USER), "chat_instance": "0"}
        return {"update_id": raw["update_id"], "callback_query": asked}
    return None


def _message(raw: Json) -> Json:
    """Words stay: somebody may have reported something in them."""
    left = {**_picked(raw, ("message_id", "date")), "chat": _picked(raw["chat"], _CHAT)}
    if isinstance(raw.get("from"), dict):
        left["from"] = _picked(raw["from"], _USER)
    words = raw.get("text") or raw.get("caption")
    if isinstance(words, str) and words:
        left |= {"text": words, "entities": list(command_entities(words))}
    return left


def _picked(raw: Json, names: tuple[str, ...]) -> Json:
    return {name: raw[name] for name in names if name in raw}
