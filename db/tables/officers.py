"""Officers, their chats and roles, invitations, and shifts."""

from __future__ import annotations

import enum
from datetime import datetime

from sqlalchemy import ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base, BigId, choice


class Role(enum.StrEnum):
    """What an officer may do; the table of permissions says which is which."""

    ADMIN = "admin"  # installs, invites, sees the system
    COMMANDER = "commander"  # chỉ huy
    DUTY = "duty"  # trực ban
    AREA = "area"  # cảnh sát khu vực
    FRONT = "front"  # cán bộ Mặt trận: writes notices, sees totals, never a report


class Officer(Base):
    """Somebody who works for the unit. Revoked officers keep their row, for the record."""

    __tablename__ = "officers"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    name: Mapped[str] = mapped_column(String(120))
    role: Mapped[Role] = mapped_column(choice(Role))
    from_settings: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]


class OfficerChat(Base):
    """A chat an officer is known by. One chat belongs to one officer."""

    __tablename__ = "officer_chats"
    __table_args__ = (UniqueConstraint("channel", "address"),)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    officer_id: Mapped[int] = mapped_column(ForeignKey("officers.id"), index=True)
    channel: Mapped[str] = mapped_column(String(16))
    address: Mapped[str] = mapped_column(String(64))


class InvitationState(enum.StrEnum):
    """Where an officer's invitation stands."""

    OPEN = "open"  # the link waits to be opened
    CLAIMED = "claimed"  # somebody opened it; an officer must say it is the right person
    ACCEPTED = "accepted"  # confirmed; the officer exists
    REFUSED = "refused"  # not the right person


class Invitation(Base):
    """A one-use link that makes the named person an officer. Only a hash of its token is kept."""

    __tablename__ = "invitations"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    name: Mapped[str] = mapped_column(String(120))
    role: Mapped[Role] = mapped_column(choice(Role))
    state: Mapped[InvitationState] = mapped_column(choice(InvitationState), default=InvitationState.OPEN)
    invited_by: Mapped[int | None] = mapped_column(ForeignKey("officers.id"))
    channel: Mapped[str | None] = mapped_column(String(16))
    address: Mapped[str | None] = mapped_column(String(64))
    expires_at: Mapped[datetime]
    created_at: Mapped[datetime]


class Shift(Base):
    """A time an officer is on duty, from `starts_at` up to, not including, `ends_at`."""

    __tablename__ = "shifts"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    officer_id: Mapped[int] = mapped_column(ForeignKey("officers.id"), index=True)
    starts_at: Mapped[datetime]
    ends_at: Mapped[datetime] = mapped_column(index=True)
