"""The ledger of everything we push, the contents it refers to, and the buttons under it."""

from __future__ import annotations

import enum
from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Index, LargeBinary, SmallInteger, String, false, text
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base, BigId, choice
from db.marks import random_id


class Lane(enum.IntEnum):
    """Who goes first; lower goes earlier."""

    REPLY = 0  # answers to whoever has just written
    REPORT = 1  # reports to duty officers
    URGENT = 2  # urgent notices
    ROUTINE = 3  # routine notices
    REMINDER = 4  # reminders, progress, digests


class DeliveryState(enum.StrEnum):
    """Where one push stands."""

    PENDING = "pending"  # to be sent, from `due_at` on
    SENDING = "sending"  # claimed; the call may be under way
    SENT = "sent"  # the platform took it
    FAILED = "failed"  # gave up: the platform refuses it, or too many attempts
    UNDELIVERABLE = "undeliverable"  # blocked, gone, never there
    CANCELLED = "cancelled"  # called off before it was sent
    EXPIRED = "expired"  # its time passed before it was sent
    UNKNOWN = "unknown"  # the call went out and the answer never came


class Purpose(enum.StrEnum):
    """What a message is for, where somebody has to find it again: with `subject_id` the messages about one thing."""

    FORWARD = "forward"  # shows a report (its id) to an officer
    LIVE = "live"  # counts along with a broadcast (its id); posted again when its reader has deleted it
    DIGEST = "digest"  # counts the reports that wait; posted again likewise


class Content(Base):
    """What a delivery says (an Outgoing), sealed and padded. Shared by all deliveries of a broadcast.

    Ids are random and the table is its key, so that neither they nor the rows' places tell an order; `created_at` is
    the day.
    """

    __tablename__ = "contents"
    __table_args__ = ({"sqlite_with_rowid": False},)

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    origin: Mapped[str] = mapped_column(String(64), index=True)
    sealed: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime]


class Delivery(Base):
    """One push to one recipient.

    - `key` is unique, so that nothing can be queued twice, and opaque: a keyed hash that nobody reads. What a row is
      for is said by `purpose` and `subject_id`, where somebody has to find it.
    - `address` is sealed when `address_sealed` (a reporter's), together with the id of the message an edit rewrites.
    - A `passing` row (an answer, an edit) leaves the ledger, and its content the store, once it is sent; hence
      `content_id` is not a foreign key.
    - `edits` is the message to be rewritten and `target` its keyed mark, by which a newer edit finds the one that
      waits.
    - `due_at` is set only while a row waits for a later time; what may leave at once has none, and within a lane
      leaves in the order of `id`, the `urgent` first. `opened_at` and `settled_at` are days, except a broadcast's.
    - `message_id` is the platform's, sealed where the row is not a broadcast's (see deliveries.copies).
    - `leased_by` is the run that claimed it; `called_off`: what is under way does not leave again when put back.
    - `parts` of a long message have left already; `copies` counts those that were made of a send in doubt
      (`resend_of`) before this one.

    Ids count upwards while a row waits, are never given out twice (buttons and late outcomes refer to rows that may be
    gone), and become random once it has left: below zero, so that they stay out of the count. Otherwise the gaps
    between rows would tell what was said to whom between two of them. A broadcast's rows keep theirs, as its live
    message does.
    """

    __tablename__ = "deliveries"
    __table_args__ = (
        Index(
            "ix_deliveries_waiting",
            "channel",
            "lane",
            "urgent",
            "due_at",
            "id",
            sqlite_where=text("state = 'pending'"),
            postgresql_where=text("state = 'pending'"),
        ),
        Index(
            "ix_deliveries_in_flight",
            "channel",
            sqlite_where=text("state = 'sending'"),
            postgresql_where=text("state = 'sending'"),
        ),
        Index("ix_deliveries_broadcast", "broadcast_id", "state", "id"),
        Index(
            "ix_deliveries_expiring",
            "expires_at",
            sqlite_where=text("state = 'pending' AND expires_at IS NOT NULL"),
            postgresql_where=text("state = 'pending' AND expires_at IS NOT NULL"),
        ),
        Index("ix_deliveries_origin", "origin"),
        Index(
            "ix_deliveries_left_over",
            "settled_at",
            sqlite_where=text("passing AND settled_at IS NOT NULL"),
            postgresql_where=text("passing AND settled_at IS NOT NULL"),
        ),
        Index(
            "ix_deliveries_unknown",
            "id",
            sqlite_where=text("state = 'unknown'"),
            postgresql_where=text("state = 'unknown'"),
        ),
        Index(
            "ix_deliveries_resend_of",
            "resend_of",
            sqlite_where=text("resend_of IS NOT NULL"),
            postgresql_where=text("resend_of IS NOT NULL"),
        ),
        Index(
            "ix_deliveries_target",
            "target",
            sqlite_where=text("target IS NOT NULL"),
            postgresql_where=text("target IS NOT NULL"),
        ),
        Index(
            "ix_deliveries_subject",
            "purpose",
            "subject_id",
            sqlite_where=text("purpose IS NOT NULL"),
            postgresql_where=text("purpose IS NOT NULL"),
        ),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    key: Mapped[str] = mapped_column(String(160), unique=True)
    origin: Mapped[str] = mapped_column(String(64))
    purpose: Mapped[Purpose | None] = mapped_column(choice(Purpose))
    subject_id: Mapped[int | None] = mapped_column(BigInteger)
    broadcast_id: Mapped[int | None] = mapped_column(ForeignKey("broadcasts.id"))
    content_id: Mapped[str] = mapped_column(String(32))
    channel: Mapped[str] = mapped_column(String(16))
    address: Mapped[str] = mapped_column(String(255))
    address_sealed: Mapped[bool] = mapped_column(default=False)
    passing: Mapped[bool] = mapped_column(default=False)
    edits: Mapped[str | None] = mapped_column(String(64))
    target: Mapped[str | None] = mapped_column(String(32))
    lane: Mapped[int] = mapped_column(SmallInteger)
    urgent: Mapped[bool] = mapped_column(default=False, server_default=false())
    state: Mapped[DeliveryState] = mapped_column(choice(DeliveryState), default=DeliveryState.PENDING)
    attempts: Mapped[int] = mapped_column(SmallInteger, default=0)
    parts: Mapped[int] = mapped_column(SmallInteger, default=0, server_default="0")
    due_at: Mapped[datetime | None]
    expires_at: Mapped[datetime | None]
    leased_until: Mapped[datetime | None]
    leased_by: Mapped[str | None] = mapped_column(String(16))
    called_off: Mapped[bool] = mapped_column(default=False, server_default=false())
    message_id: Mapped[str | None] = mapped_column(String(128))
    reason: Mapped[str | None] = mapped_column(String(40))
    opened_at: Mapped[datetime]
    settled_at: Mapped[datetime | None]
    resend_of: Mapped[int | None] = mapped_column(BigInteger)
    copies: Mapped[int] = mapped_column(SmallInteger, default=0, server_default="0")


class ButtonRow(Base):
    """A button that was shown: what it does is sealed, and whom it answers to is a keyed hash. Times are days."""

    __tablename__ = "buttons"
    __table_args__ = ({"sqlite_with_rowid": False},)

    id: Mapped[str] = mapped_column(String(24), primary_key=True)
    addressee: Mapped[str] = mapped_column(String(32))
    sealed: Mapped[bytes] = mapped_column(LargeBinary)
    once: Mapped[bool]
    delivery_id: Mapped[int | None] = mapped_column(BigInteger, index=True)
    expires_at: Mapped[datetime] = mapped_column(index=True)
    used_at: Mapped[datetime | None]


class MediaRow(Base):
    """A file; `origin` says what it belongs to (`report:7`, `notice:3`).

    `about` holds its name, kind and media type, and the key of its own that opens its content: once this row is erased
    the content cannot be read, wherever a copy of it lies.
    """

    __tablename__ = "media"

    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=False, default=random_id)
    origin: Mapped[str] = mapped_column(String(64), index=True)
    about: Mapped[bytes] = mapped_column(LargeBinary)


class MediaContent(Base):
    """The bytes of a file, sealed and padded, so that their length does not tell which chat they came from."""

    __tablename__ = "media_contents"

    media_id: Mapped[int] = mapped_column(ForeignKey("media.id", ondelete="CASCADE"), primary_key=True)
    sealed: Mapped[bytes] = mapped_column(LargeBinary)


class MediaHandle(Base):
    """What a platform calls a file it already has, so that it is uploaded once."""

    __tablename__ = "media_handles"
    __table_args__ = {"sqlite_with_rowid": False}  # noqa: RUF012 (SQLAlchemy's own form)

    media_id: Mapped[int] = mapped_column(ForeignKey("media.id", ondelete="CASCADE"), primary_key=True)
    channel: Mapped[str] = mapped_column(String(16), primary_key=True)
    handle: Mapped[str] = mapped_column(String(255))
