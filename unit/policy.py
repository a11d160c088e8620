"""What the unit has settled for itself; read from the settings once, handed to use cases as a value."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import time, timedelta
from zoneinfo import ZoneInfo

_ZONE = ZoneInfo("Asia/Ho_Chi_Minh")


@dataclass(frozen=True, slots=True)
class Emergency:
    """Whom to call in danger. Source: the national numbers as of November 2026; that others are being tried is why they
    are settings (EMERGENCY_…)."""

    police: str = "113"
    fire: str = "114"
    medical: str = "115"
    children: str = "111"

    @property
    def places(self) -> dict[str, str]:
        """What texts that name them are filled with."""
        return {"police": self.police, "fire": self.fire, "medical": self.medical, "children": self.children}


@dataclass(frozen=True, slots=True)
class Policy:
    """The unit's name, clock and deadlines, and whom to call in danger."""

    unit_name: str = "Công an phường"
    zone: ZoneInfo = _ZONE
    quiet_hours: tuple[time, time] = (time(21), time(7))
    #: A report nobody takes goes on after these: to the next officer, to the commander, to all.
    escalation: tuple[timedelta, ...] = (timedelta(minutes=5), timedelta(minutes=15), timedelta(minutes=60))
    escalation_urgent: tuple[timedelta, ...] = (timedelta(minutes=1), timedelta(minutes=3), timedelta(minutes=10))
    duty_phone: str = ""
    emergency: Emergency = Emergency()

    def escalation_for(self, urgent: bool) -> tuple[timedelta, ...]:
        """The deadlines that apply to a report, counted from its receipt."""
        return self.escalation_urgent if urgent else self.escalation
