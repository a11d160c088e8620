"""A message in a chat, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from bench.botapi.markup import buttons_in
from bench.botapi.refusals import Json


@dataclass
class Message:
    """A message as it stands. `history` is what it has said, at first and after each change of its words."""

    api: Json
    is_from_bot: bool
    changed: int
    edits: int = 0
    is_deleted: bool = False
    files: list[bytes] = field(default_factory=list)
    history: list[str] = field(init=False)

    def __post_init__(self) -> None:
        self.history = [self.text]

    @property
    def id(self) -> int:
        """Its number."""
        return int(self.api["message_id"])

    @property
    def chat_id(self) -> int:
        """Where it is."""
        return int(self.api["chat"]["id"])

    @property
    def text(self) -> str:
        """The text or the caption it shows now."""
        return str(self.api.get("text") or self.api.get("caption") or "")

    @property
    def buttons(self) -> list[list[Json]]:
        """The rows of its inline keyboard."""
        markup = self.api.get("reply_markup") or {}
        return markup.get("inline_keyboard") or []

    def data(self, label: str) -> str | None:
        """What a press on the button called `label` sends; None when there is none."""
        pressable = (button for button in buttons_in(self.buttons) if "callback_data" in button)
        return next((button["callback_data"] for button in pressable if button["text"] == label), None)


@dataclass(frozen=True)
class Sending:
    """One accepted message of the bot's."""

    at: float
    method: str
    chat_id: int
    message: Message

    @property
    def text(self) -> str:
        """What it says now."""
        return self.message.text


def chat_of(chat_id: int) -> Json:
    """The Chat object: a person, or a group where the id is negative."""
    if chat_id < 0:
        kind = "supergroup" if str(chat_id).startswith("-100") else "group"
        return {"id": chat_id, "type": kind, "title": "Nhóm"}
    return {"id": chat_id, "type": "private", "first_name": "Khách"}
