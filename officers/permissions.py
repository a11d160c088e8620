"""Who may do what: the only place that says yes or no."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from channels.port import Recipient
from officers.facts import Role as Role
from texts.refusal import Refusal


class Permission(enum.StrEnum):
    """One thing an officer may be allowed to do."""

    DECIDE_PLACES = "decide_places"  # approve and reject establishments
    SEE_PLACES = "see_places"  # the directory, and who has not joined
    MANAGE_GROUPS = "manage_groups"  # make hand-picked groups
    WRITE_NOTICES = "write_notices"  # compose, send, pause, cancel
    SEE_PROGRESS = "see_progress"  # counts of a broadcast
    SEE_SILENT = "see_silent"  # who has not confirmed, by name
    HANDLE_REPORTS = "handle_reports"  # read and take reports
    STAND_DUTY = "stand_duty"  # start and end a shift
    MANAGE_OFFICERS = "manage_officers"  # invite and revoke


_ADMIN, _COMMANDER, _DUTY, _AREA, _FRONT = Role.ADMIN, Role.COMMANDER, Role.DUTY, Role.AREA, Role.FRONT

TABLE: dict[Permission, frozenset[Role]] = {
    Permission.DECIDE_PLACES: frozenset({_ADMIN, _COMMANDER, _AREA}),
    Permission.SEE_PLACES: frozenset({_ADMIN, _COMMANDER, _DUTY, _AREA}),
    Permission.MANAGE_GROUPS: frozenset({_ADMIN, _COMMANDER, _AREA}),
    Permission.WRITE_NOTICES: frozenset({_ADMIN, _COMMANDER, _AREA, _FRONT}),
    Permission.SEE_PROGRESS: frozenset({_ADMIN, _COMMANDER, _DUTY, _AREA, _FRONT}),
    Permission.SEE_SILENT: frozenset({_ADMIN, _COMMANDER, _AREA}),
    Permission.HANDLE_REPORTS: frozenset({_ADMIN, _COMMANDER, _DUTY}),
    Permission.STAND_DUTY: frozenset({_ADMIN, _COMMANDER, _DUTY}),
    Permission.MANAGE_OFFICERS: frozenset({_ADMIN, _COMMANDER}),
}


@dataclass(frozen=True, slots=True)
class Actor:
    """Whoever asks: a chat, and the officer behind it if there is one."""

    chat: Recipient
    officer_id: int | None = None
    name: str = ""
    role: Role | None = None

    @property
    def is_officer(self) -> bool:
        """Whether an officer who was not revoked is behind the chat."""
        return self.officer_id is not None

    def may(self, permission: Permission) -> bool:
        """Whether the table allows it; nothing is allowed that is not in it."""
        return self.role is not None and self.role in TABLE[permission]


def require(actor: Actor, permission: Permission) -> int:
    """The officer's id if the actor may; raises Refusal (`refused.officers`, `refused.role`) otherwise."""
    if actor.officer_id is None:
        raise Refusal("refused.officers")
    if not actor.may(permission):
        raise Refusal("refused.role")
    return actor.officer_id
