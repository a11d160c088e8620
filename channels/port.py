"""What we send and where to, in words that no platform owns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import timedelta
from itertools import accumulate
from typing import Any, Literal, Self

#: Buttons under one message, as the strictest platform has it: what is longer is shown in pages.
#: Source: Telegram's limit as python-telegram-bot 22.8 states it, read 2026-11.
MOST_BUTTONS = 100
MediaKind = Literal["photo", "document", "video", "voice"]
Asks = Literal["contact", "location"]


@dataclass(frozen=True, slots=True)
class Recipient:
    """A place messages can go: a channel and an address on it (both text)."""

    channel: str
    address: str

    def __str__(self) -> str:
        return f"{self.channel}:{self.address}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Back from `str`. Raises ValueError."""
        channel, _, address = text.strip().partition(":")
        if not channel or not address:
            raise ValueError(f"not a chat: {text!r}")
        return cls(channel, address)


@dataclass(frozen=True, slots=True)
class Button:
    """A button under a message. `url` opens a page; otherwise `verb` with `args` happens when it is pressed.

    `once` is False for buttons that only look (a list, a page): those may be pressed again.
    """

    label: str
    verb: str = ""
    args: tuple[str, ...] = ()
    once: bool = True
    url: str | None = None


def within_limit(rows: Sequence[tuple[Button, ...]]) -> tuple[tuple[Button, ...], ...]:
    """The first MOST_BUTTONS buttons, in their rows: with one more the whole message would be refused."""
    starts = accumulate((len(row) for row in rows), initial=0)
    kept = (row[: max(0, MOST_BUTTONS - start)] for row, start in zip(rows, starts, strict=False))
    return tuple(row for row in kept if row)


@dataclass(frozen=True, slots=True)
class Attachment:
    """A stored file (`media_id` in the media table) to go with a message."""

    kind: MediaKind
    media_id: int


@dataclass(frozen=True, slots=True)
class Point:
    """A point on the map, degrees."""

    latitude: float
    longitude: float


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message to be pushed.

    `text` is plain; `entities` are Bot API MessageEntity objects over it (UTF-16 offsets). `asks` offers the
    platform's own button for sharing a phone number or a position; `drops_keyboard` takes that away again, where the
    message has no buttons of its own. `silent` means no sound.
    """

    text: str
    entities: tuple[dict[str, Any], ...] = ()
    buttons: tuple[tuple[Button, ...], ...] = ()
    attachments: tuple[Attachment, ...] = ()
    point: Point | None = None
    asks: Asks | None = None
    drops_keyboard: bool = False
    silent: bool = False
    language: str = "vi"
    #: Said in place of an edit where messages cannot be edited. None: the whole text again; empty: nothing.
    brief: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready values."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return values | {
            "buttons": [[asdict(button) for button in row] for row in self.buttons],
            "attachments": [asdict(attachment) for attachment in self.attachments],
            "point": asdict(self.point) if self.point else None,
        }

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Self:
        """Back from `to_dict`, also through JSON."""
        return cls(
            **{
                **value,
                "entities": tuple(value["entities"]),
                "buttons": tuple(
                    tuple(Button(**{**button, "args": tuple(button["args"])}) for button in row)
                    for row in value["buttons"]
                ),
                "attachments": tuple(Attachment(**attachment) for attachment in value["attachments"]),
                "point": Point(**value["point"]) if value["point"] else None,
            }
        )


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a channel can do; handlers ask this, never which channel they run on."""

    buttons: bool = True
    edits: bool = True
    deletes: bool = True
    files: bool = True
    groups: bool = False
    text_limit: int = 4096
    caption_limit: int = 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """How fast a channel may be sent to. None means without limit."""

    per_second: float | None = None
    per_chat_second: float | None = None
    per_group_minute: float | None = None


@dataclass(frozen=True, slots=True)
class Media:
    """A file's bytes with what is needed to send it."""

    kind: MediaKind
    name: str
    mime: str
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Sent:
    """The platform took the message and calls it `message_id`; `handles` are its names for files (media id → id).

    When only a part was sent, `more` parts are left, and `message_id` is empty unless that part has the buttons.
    """

    message_id: str
    handles: tuple[tuple[int, str], ...] = ()
    more: int = 0


class SendError(Exception):
    """Why a message was not (known to be) sent. `reason` is a short lower-case word, safe to log and to store."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class TryLater(SendError):
    """Certainly not sent; may work later. With `delay`, not before then."""

    def __init__(self, reason: str, *, delay: timedelta | None = None) -> None:
        super().__init__(reason)
        self.delay = delay


class RecipientGone(SendError):
    """Blocked, deleted or never there: nothing will get through to this recipient."""


class Rejected(SendError):
    """The platform refuses this message; sending it again would not help."""


class StaleHandle(Rejected):
    """The platform does not know (any more) what it once called these files; certainly not sent."""

    def __init__(self, media_ids: tuple[int, ...]) -> None:
        super().__init__("bad_handle")
        self.media_ids = media_ids


class Moved(SendError):
    """The chat has a new address; certainly not sent."""

    def __init__(self, new_address: str) -> None:
        super().__init__("moved")
        self.new_address = new_address


class Uncertain(SendError):
    """The call went out and no answer came: it may or may not have been sent."""


class ChannelDown(SendError):
    """The channel as a whole does not take messages now (bad token, outage); certainly not sent."""
