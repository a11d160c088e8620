"""The wording of what people see in a turn: their language, and what every text of the unit's may name."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Protocol

from channels.wording import html, plain
from unit.policy import Policy


class Speaks(Protocol):
    """Whoever words texts for somebody."""

    def html(self, key: str, /, **params: str | int) -> str:
        """A text as markup."""

    def plain(self, key: str, /, **params: str | int) -> str:
        """A text without formatting."""


@dataclass(frozen=True, slots=True)
class Words:
    """Words texts in one person's language; reads nothing."""

    language: str
    policy: Policy

    def html(self, key: str, /, **params: str | int) -> str:
        """A text in the person's language, as markup; every text may name the emergency numbers."""
        return html(self.language, key, **{**self.policy.emergency.places, **params})

    def plain(self, key: str, /, **params: str | int) -> str:
        """A text in the person's language, without formatting."""
        return plain(self.language, key, **{**self.policy.emergency.places, **params})

    def state(self, kind: str, state: str) -> str:
        """Where something stands, in words; `kind` names which states. One that was damaged is said to be."""
        return self.plain(f"{kind}.{state}" if isinstance(state, enum.Enum) else "state.unreadable")
