"""Notices, their broadcasts, and who was to get and who confirmed them."""

from __future__ import annotations

import enum
from datetime import datetime

from sqlalchemy import ForeignKey, LargeBinary, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base, BigId, choice


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

    `audience` names the groups (see establishments.groups.parse_audience).
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
    response: Mapped[Response] = mapped_column(choice(Response))
    urgent: Mapped[bool] = mapped_column(default=False)
    author_id: Mapped[int] = mapped_column(ForeignKey("officers.id"))
    author_channel: Mapped[str] = mapped_column(String(16))
    author_address: Mapped[str] = mapped_column(String(64))
    scheduled_for: Mapped[datetime | None] = mapped_column(index=True)
    created_at: Mapped[datetime]
    sent_at: Mapped[datetime | None]


class NoticePlace(Base):
    """One establishment of a notice's audience, frozen by name when the officer said "Gửi"."""

    __tablename__ = "notice_places"

    notice_id: Mapped[int] = mapped_column(ForeignKey("notices.id"), primary_key=True)
    establishment_id: Mapped[int] = mapped_column(ForeignKey("establishments.id"), primary_key=True)
    name: Mapped[str] = mapped_column(String(120))
    address: Mapped[str] = mapped_column(String(200))


class Broadcast(Base):
    """One sending of a notice. `planned_at` with the notice is unique: two tickers open it once."""

    __tablename__ = "broadcasts"
    __table_args__ = (UniqueConstraint("notice_id", "planned_at"),)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    notice_id: Mapped[int] = mapped_column(ForeignKey("notices.id"))
    planned_at: Mapped[datetime]
    opened_at: Mapped[datetime]
    finished_at: Mapped[datetime | None] = mapped_column(index=True)
    progress_said: Mapped[bytes | None] = mapped_column(LargeBinary)
    progress_at: Mapped[datetime | None]
    confirmed_until: Mapped[datetime | None]


class BroadcastPlace(Base):
    """An establishment one broadcast is for, and whether it confirmed."""

    __tablename__ = "broadcast_places"

    broadcast_id: Mapped[int] = mapped_column(ForeignKey("broadcasts.id"), primary_key=True)
    establishment_id: Mapped[int] = mapped_column(ForeignKey("establishments.id"), primary_key=True)
    acknowledged_at: Mapped[datetime | None]
    acknowledged_by: Mapped[int | None] = mapped_column(ForeignKey("contacts.id", ondelete="SET NULL"))


class BroadcastReach(Base):
    """Which delivery speaks to which establishment: a chat may speak for several, an establishment have several."""

    __tablename__ = "broadcast_reach"

    broadcast_id: Mapped[int] = mapped_column(ForeignKey("broadcasts.id"), primary_key=True)
    establishment_id: Mapped[int] = mapped_column(ForeignKey("establishments.id"), primary_key=True)
    delivery_id: Mapped[int] = mapped_column(
        ForeignKey("deliveries.id", ondelete="CASCADE"), primary_key=True, index=True
    )
