"""What others may know of notices and broadcasts: frozen, and without a word in any language."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from channels.port import Attachment, Recipient
from db.tables.broadcasts import NoticeState as NoticeState
from db.tables.broadcasts import Response as Response


@dataclass(frozen=True, slots=True)
class Draft:
    """What an officer has put together so far; `html` is our markup, `audience` group keys joined by commas, and
    `at_night` says that the officer was told of the quiet hours and wants it sent all the same."""

    html: str
    audience: str
    response: Response
    scheduled_for: datetime | None = None
    urgent: bool = False
    at_night: bool = False
    media_id: int | None = None
    attachment_kind: str | None = None


@dataclass(frozen=True, slots=True)
class NoticeText:
    """What recipients get of a notice: its author's own words as markup, the file with it, and what they are asked."""

    number: str
    html: str
    response: Response
    media_id: int | None = None
    attachment_kind: str | None = None

    @property
    def files(self) -> tuple[Attachment, ...]:
        """The file that goes with it, if there is one."""
        if self.media_id is None or not self.attachment_kind:
            return ()
        return (Attachment(self.attachment_kind, self.media_id),)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class NoticeFacts:
    """A notice as it stood when it was read. `author` is the chat it was written in, `places` how many establishments
    it is for, `sent_at` when it first left."""

    id: int
    state: NoticeState
    title: str
    text: NoticeText
    places: int
    urgent: bool
    at_night: bool
    author: Recipient
    created_at: datetime
    scheduled_for: datetime | None
    sent_at: datetime | None

    @property
    def number(self) -> str:
        """Its public number, `TB-` and four characters."""
        return self.text.number

    @property
    def html(self) -> str:
        """Its author's words as markup."""
        return self.text.html


@dataclass(frozen=True, slots=True)
class Progress:
    """Establishments of one broadcast; `total` is the sum of all but `confirmed`, which is a part of `sent`.

    `opening` are those of a large audience whose deliveries are still to be written.
    """

    total: int
    sent: int
    confirmed: int
    waiting: int
    unreachable: int
    unknown: int
    not_connected: int
    opening: int = 0

    @property
    def left(self) -> int:
        """How many are still to be sent to."""
        return self.waiting + self.opening


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a notice that was sent stands; `ends_at` is when the last of it will have left, as far as can be told."""

    notice: NoticeFacts
    progress: Progress
    ends_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Confirmed:
    """What a confirmation settled: the notice, and the establishments it counts for."""

    notice: NoticeFacts
    names: tuple[str, ...]
    at: datetime
    is_first: bool


@dataclass(frozen=True, slots=True)
class Silent:
    """An establishment that has not confirmed. `why` is a key under `silent.`."""

    establishment_id: int
    name: str
    address: str
    phone: str | None
    why: str
