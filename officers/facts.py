"""What others may know of officers and invitations: frozen, and without a word in any language."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from channels.port import Recipient
from db.tables.officers import Role as Role


@dataclass(frozen=True, slots=True)
class OfficerAt:
    """An officer, one chat that reaches them, and the language it speaks."""

    officer_id: int
    name: str
    role: Role
    chat: Recipient
    language: str


@dataclass(frozen=True, slots=True)
class OfficerFacts:
    """Somebody who works for the unit; `from_settings` says that the settings name them an administrator."""

    id: int
    name: str
    role: Role
    from_settings: bool


@dataclass(frozen=True, slots=True)
class InvitationFacts:
    """An invitation, and the chat that has opened its link. Nobody needs to confirm one made on the machine itself."""

    id: int
    name: str
    role: Role
    chat: Recipient | None
    is_from_the_machine: bool


@dataclass(frozen=True, slots=True)
class OnShift:
    """A shift that covers an instant."""

    officer_id: int
    name: str
    starts_at: datetime
    ends_at: datetime
