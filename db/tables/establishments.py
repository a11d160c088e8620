"""Lodging establishments, their contacts, areas, and broadcast groups."""

from __future__ import annotations

import enum
from datetime import datetime

from sqlalchemy import ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base, BigId, choice


class Kind(enum.StrEnum):
    """What sort of business it is."""

    HOTEL = "hotel"
    GUESTHOUSE = "guesthouse"
    HOMESTAY = "homestay"
    ROOMS = "rooms"
    APARTMENT = "apartment"
    RESORT = "resort"
    KARAOKE = "karaoke"
    MASSAGE = "massage"
    PAWNSHOP = "pawnshop"
    OTHER = "other"


class EstablishmentState(enum.StrEnum):
    """Where an establishment stands with the unit."""

    INVITED = "invited"  # on the ward's list, not yet connected
    PENDING = "pending"  # asked to join; an officer must approve
    ACTIVE = "active"  # approved
    SUSPENDED = "suspended"  # set aside by an officer
    LEFT = "left"  # left of its own will
    REJECTED = "rejected"  # an officer said no


class ContactRole(enum.StrEnum):
    """Who somebody is to an establishment."""

    OWNER = "owner"  # chủ
    MANAGER = "manager"  # quản lý
    NIGHT = "night"  # ca đêm


class Area(Base):
    """A part of the ward, in a tree of any depth; a merged area names its successor."""

    __tablename__ = "areas"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    name: Mapped[str] = mapped_column(String(120))
    folded: Mapped[str] = mapped_column(String(120), index=True)
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("areas.id"))
    successor_id: Mapped[int | None] = mapped_column(ForeignKey("areas.id"))


class Establishment(Base):
    """One business. `code` is `CS-` and the id, at least four digits; `folded` is for searching."""

    __tablename__ = "establishments"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    kind: Mapped[Kind] = mapped_column(choice(Kind))
    name: Mapped[str] = mapped_column(String(120))
    address: Mapped[str] = mapped_column(String(200))
    folded: Mapped[str] = mapped_column(String(340), index=True)
    phone: Mapped[str | None] = mapped_column(String(20), index=True)
    area_id: Mapped[int | None] = mapped_column(ForeignKey("areas.id"), index=True)
    state: Mapped[EstablishmentState] = mapped_column(choice(EstablishmentState), index=True)
    state_reason: Mapped[str | None] = mapped_column(String(500))
    consent_version: Mapped[str | None] = mapped_column(String(16))
    consented_at: Mapped[datetime | None]
    invite_hash: Mapped[str | None] = mapped_column(String(64), unique=True)
    created_at: Mapped[datetime]
    decided_by: Mapped[int | None] = mapped_column(ForeignKey("officers.id"))

    @property
    def code(self) -> str:
        """What people call it: `CS-0042`."""
        return f"CS-{self.id:04d}"


class Contact(Base):
    """A chat that speaks for an establishment. One chat may speak for several.

    `language` is what the chat has chosen (see conversations.languages), kept here as well: broadcasts are opened for
    many at once, and elsewhere languages are filed under keyed hashes, which no statement can make.
    """

    __tablename__ = "contacts"
    __table_args__ = (
        UniqueConstraint("establishment_id", "channel", "address"),
        Index("ix_contacts_chat", "channel", "address"),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    establishment_id: Mapped[int] = mapped_column(ForeignKey("establishments.id"))
    channel: Mapped[str] = mapped_column(String(16))
    address: Mapped[str] = mapped_column(String(64))
    role: Mapped[ContactRole] = mapped_column(choice(ContactRole), default=ContactRole.OWNER)
    language: Mapped[str | None] = mapped_column(String(2))
    created_at: Mapped[datetime]
    blocked_at: Mapped[datetime | None]


class StateChange(Base):
    """The history of an establishment's states."""

    __tablename__ = "state_changes"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    establishment_id: Mapped[int] = mapped_column(ForeignKey("establishments.id"), index=True)
    state: Mapped[EstablishmentState] = mapped_column(choice(EstablishmentState))
    officer_id: Mapped[int | None] = mapped_column(ForeignKey("officers.id"))
    reason: Mapped[str | None] = mapped_column(String(500))
    at: Mapped[datetime]


class Group(Base):
    """A broadcast group picked by hand. Groups by kind and area need no row: they exist by themselves."""

    __tablename__ = "groups"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    name: Mapped[str] = mapped_column(String(120))
    folded: Mapped[str] = mapped_column(String(120), unique=True)
    created_by: Mapped[int | None] = mapped_column(ForeignKey("officers.id"))
    created_at: Mapped[datetime]


class GroupMember(Base):
    """An establishment in a hand-picked group."""

    __tablename__ = "group_members"

    group_id: Mapped[int] = mapped_column(ForeignKey("groups.id"), primary_key=True)
    establishment_id: Mapped[int] = mapped_column(ForeignKey("establishments.id"), primary_key=True)
