"""What the unit has settled for itself; read from the settings once, handed to use cases as a value."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import time, timedelta
from zoneinfo import ZoneInfo

_ZONE = ZoneInfo("Asia/Ho_Chi_Minh")


@dataclass(frozen=True, slots=True)
class Policy:
    """The unit's name, clock and deadlines."""

    unit_name: str = "Công an phường"
    zone: ZoneInfo = _ZONE
    quiet_hours: tuple[time, time] = (time(21), time(7))
    #: A report nobody takes goes on after these: to the next officer, to the commander, to all.
    escalation: tuple[timedelta, ...] = (timedelta(minutes=5), timedelta(minutes=15), timedelta(minutes=60))
    escalation_urgent: tuple[timedelta, ...] = (timedelta(minutes=1), timedelta(minutes=3), timedelta(minutes=10))
    duty_phone: str = ""

    def escalation_for(self, urgent: bool) -> tuple[timedelta, ...]:
        """The deadlines that apply to a report, counted from its receipt."""
        return self.escalation_urgent if urgent else self.escalation
