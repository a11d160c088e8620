"""What others may know of reports: frozen, and without a word in any language. Nothing here tells who sent one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from channels.port import Attachment, Point
from db.tables.reports import ReportState as ReportState

#: How a report may be closed.
OUTCOMES = (ReportState.RESOLVED, ReportState.HANDED_OVER, ReportState.UNFOUNDED)


@dataclass(frozen=True, slots=True)
class ReportFacts:
    """A report as it stood when it was read; `came_at` is None when nobody knows when it came."""

    id: int
    number: str
    state: ReportState
    urgent: bool
    incomplete: bool
    came_at: datetime | None


@dataclass(frozen=True, slots=True)
class ReportBody:
    """What a report says, as officers may see it; `unreadable` parts were damaged, or their key is off the ring."""

    texts: tuple[str, ...]
    attachments: tuple[Attachment, ...]
    point: Point | None
    unreadable: int = 0


@dataclass(frozen=True, slots=True)
class Card:
    """All that an officer is shown of a report."""

    report: ReportFacts
    body: ReportBody


# What may stand under a card.


@dataclass(frozen=True, slots=True)
class NobodyOnDuty:
    """No shift covered the report, so it went to the administrators."""


@dataclass(frozen=True, slots=True)
class Untaken:
    """Nobody took it in so many minutes; None: nobody knows in how many."""

    minutes: int | None


@dataclass(frozen=True, slots=True)
class FoundInCopy:
    """It was in a copy of the database that was put back, and may have been dealt with."""


@dataclass(frozen=True, slots=True)
class GoesOn:
    """In so many minutes it goes to the next in line."""

    minutes: int


@dataclass(frozen=True, slots=True)
class Taken:
    """An officer answers for it."""

    name: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Closed:
    """An officer closed it."""

    name: str
    at: datetime
    outcome: ReportState


@dataclass(frozen=True, slots=True)
class Stands:
    """Where it stands now."""

    state: ReportState


Note = NobodyOnDuty | Untaken | FoundInCopy | GoesOn | Taken | Closed | Stands
