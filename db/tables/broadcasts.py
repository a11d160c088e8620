"""Notices, their broadcasts, and who was to get and who confirmed them."""

from __future__ import annotations

import enum
from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Index, LargeBinary, SmallInteger, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base, BigId, choice

#: A table that is its primary key: each row is written once, not once more into an index.
_BY_KEY = {"sqlite_with_rowid": False}


class NoticeState(enum.StrEnum):
    """Where a notice stands."""

    DRAFT = "draft"  # being written
    SCHEDULED = "scheduled"  # waits for its time
    RUNNING = "running"  # being sent
    FINISHED = "finished"  # every delivery has an outcome
    PAUSED = "paused"  # held by an officer
    CANCELLED = "cancelled"  # called off


class Response(enum.StrEnum):
    """What recipients are asked to do."""

    NONE = "none"  # nothing
    CONFIRM = "confirm"  # press "Đã nhận"


class Notice(Base):
    """What officers write. `number` is `TB-` and four characters; the text is public by nature and not sealed.

    `audience` names the groups (see establishments.groups), `places` is how many establishments were in them when the
    officer said "Gửi"; `at_night` says that it may leave in quiet hours, because its author was asked.
    """

    __tablename__ = "notices"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    number: Mapped[str] = mapped_column(String(12), unique=True)
    state: Mapped[NoticeState] = mapped_column(choice(NoticeState), default=NoticeState.DRAFT, index=True)
    title: Mapped[str] = mapped_column(String(80))
    html: Mapped[str] = mapped_column(Text)
    attachment_kind: Mapped[str | None] = mapped_column(String(16))
    media_id: Mapped[int | None] = mapped_column(ForeignKey("media.id"))
    audience: Mapped[str] = mapped_column(String(500))
    places: Mapped[int] = mapped_column(default=0)
    response: Mapped[Response] = mapped_column(choice(Response))
    urgent: Mapped[bool] = mapped_column(default=False)
    at_night: Mapped[bool] = mapped_column(default=False)
    author_id: Mapped[int] = mapped_column(ForeignKey("officers.id"))
    author_channel: Mapped[str] = mapped_column(String(16))
    author_address: Mapped[str] = mapped_column(String(64))
    scheduled_for: Mapped[datetime | None] = mapped_column(index=True)
    created_at: Mapped[datetime]
    sent_at: Mapped[datetime | None]


class NoticePart(Base):
    """A part of a frozen audience (ids joined by commas) whose establishments are still to be written down by name."""

    __tablename__ = "notice_parts"

    notice_id: Mapped[int] = mapped_column(ForeignKey("notices.id"), primary_key=True)
    part: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    size: Mapped[int]
    ids: Mapped[str] = mapped_column(Text)


class NoticePlace(Base):
    """One establishment of a notice's audience, frozen when the officer said "Gửi"."""

    __tablename__ = "notice_places"
    __table_args__ = _BY_KEY

    notice_id: Mapped[int] = mapped_column(ForeignKey("notices.id"), primary_key=True)
    establishment_id: Mapped[int] = mapped_column(ForeignKey("establishments.id"), primary_key=True)
    name: Mapped[str] = mapped_column(String(120))
    address: Mapped[str] = mapped_column(String(200))


class Broadcast(Base):
    """One sending of a notice. `planned_at` with the notice is unique: two tickers open it once.

    What is too much for one short transaction is done in steps, and how far is written here with each of them:

    - `opens_after`: establishments with greater ids are still to be opened; None: all are;
    - `shifts_after`: waiting deliveries with greater ids still have to follow what became of the notice (held, going
      on, called off); None: all do. Until then nothing leaves the lane `halts_lane`.

    `held_until` is the end of the quiet hours its waiting deliveries were put off to.
    """

    __tablename__ = "broadcasts"
    __table_args__ = (
        UniqueConstraint("notice_id", "planned_at"),
        Index(
            "ix_broadcasts_halts_lane",
            "halts_lane",
            sqlite_where=text("halts_lane IS NOT NULL"),
            postgresql_where=text("halts_lane IS NOT NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    notice_id: Mapped[int] = mapped_column(ForeignKey("notices.id"))
    planned_at: Mapped[datetime]
    opened_at: Mapped[datetime]
    finished_at: Mapped[datetime | None] = mapped_column(index=True)
    opens_after: Mapped[int | None] = mapped_column(BigInteger)
    shifts_after: Mapped[int | None] = mapped_column(BigInteger)
    halts_lane: Mapped[int | None] = mapped_column(SmallInteger)
    held_until: Mapped[datetime | None]
    progress_said: Mapped[bytes | None] = mapped_column(LargeBinary)
    progress_at: Mapped[datetime | None]
    confirmed_until: Mapped[datetime | None]


class BroadcastContent(Base):
    """What one broadcast says in one language its readers speak. `content_id` is no foreign key, as in Delivery."""

    __tablename__ = "broadcast_contents"
    __table_args__ = _BY_KEY

    broadcast_id: Mapped[int] = mapped_column(ForeignKey("broadcasts.id"), primary_key=True)
    language: Mapped[str] = mapped_column(String(2), primary_key=True)
    content_id: Mapped[str] = mapped_column(String(32))


class BroadcastPlace(Base):
    """An establishment one broadcast is for, and whether it confirmed."""

    __tablename__ = "broadcast_places"
    __table_args__ = (
        # What waits for a chat's confirmation, the newest first.
        Index(
            "ix_broadcast_places_waiting",
            "establishment_id",
            "broadcast_id",
            sqlite_where=text("acknowledged_at IS NULL"),
            postgresql_where=text("acknowledged_at IS NULL"),
        ),
        # Whether anybody confirmed since the last count.
        Index(
            "ix_broadcast_places_confirmed",
            "broadcast_id",
            "acknowledged_at",
            sqlite_where=text("acknowledged_at IS NOT NULL"),
            postgresql_where=text("acknowledged_at IS NOT NULL"),
        ),
        _BY_KEY,
    )

    broadcast_id: Mapped[int] = mapped_column(ForeignKey("broadcasts.id"), primary_key=True)
    establishment_id: Mapped[int] = mapped_column(ForeignKey("establishments.id"), primary_key=True)
    acknowledged_at: Mapped[datetime | None]
    acknowledged_by: Mapped[int | None] = mapped_column(ForeignKey("contacts.id", ondelete="SET NULL"))


class BroadcastReach(Base):
    """Which delivery speaks to which establishment: a chat may speak for several, an establishment have several."""

    __tablename__ = "broadcast_reach"
    __table_args__ = _BY_KEY

    broadcast_id: Mapped[int] = mapped_column(ForeignKey("broadcasts.id"), primary_key=True)
    establishment_id: Mapped[int] = mapped_column(ForeignKey("establishments.id"), primary_key=True)
    delivery_id: Mapped[int] = mapped_column(
        ForeignKey("deliveries.id", ondelete="CASCADE"), primary_key=True, index=True
    )
