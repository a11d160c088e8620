"""Citizens' reports, sealed. Nothing in the open tells when one came, nor which came before another."""

from __future__ import annotations

import enum
import json
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Any, Generic, Self, TypeVar, overload

from sqlalchemy import Boolean, ForeignKey, LargeBinary, SmallInteger, String
from sqlalchemy.orm import Mapped, mapped_column, object_session

from db.base import LONG_PAST, Base, BigId, choice
from db.marks import random_id
from db.sealing import CannotUnseal, KeyRing, padded, unpadded

_T = TypeVar("_T")
_HIDDEN = "report-hidden"
#: When a report began of which that is not known, for its row was damaged or the clock was wrong: before all others, so
#: that it is seen first.
UNKNOWN_TIME = LONG_PAST
#: What a restart forgets of the clock: no report comes later than this after now.
_FORGOTTEN = timedelta(minutes=1)


class ReportState(enum.StrEnum):
    """Where a report stands."""

    DRAFT = "draft"  # being written; nobody was told yet
    RECEIVED = "received"  # handed in; nobody has taken it
    TAKEN = "taken"  # an officer answers for it
    VERIFYING = "verifying"  # being looked into
    HANDED_OVER = "handed_over"  # passed on to another body
    RESOLVED = "resolved"  # settled
    UNFOUNDED = "unfounded"  # looked into; nothing to it
    DUPLICATE = "duplicate"  # the same matter as another report
    WITHDRAWN = "withdrawn"  # taken back by the reporter


@dataclass(frozen=True, slots=True)
class Hidden:
    """What of a report's row only the key opens: exact times and a language, either of which may tell a chat.

    `escalates_at` is when a report nobody takes goes to the next in line; None once it goes no further.
    """

    started_at: datetime
    language: str = "vi"
    received_at: datetime | None = None
    taken_at: datetime | None = None
    closed_at: datetime | None = None
    escalates_at: datetime | None = None

    def seal(self, keys: KeyRing, number: str) -> bytes:
        """These values, for the row of that number."""
        plain = {name: at.isoformat() if isinstance(at, datetime) else at for name, at in asdict(self).items()}
        return keys.seal(_HIDDEN, padded(json.dumps(plain).encode()), bound_to=number)

    @classmethod
    def unseal(cls, keys: KeyRing, number: str, sealed: bytes) -> Hidden:
        """What `seal` made; of a row that is damaged, or whose key is gone, nothing is known but that it is due."""
        try:
            plain = json.loads(unpadded(keys.unseal(_HIDDEN, sealed, bound_to=number)))
            return cls(**{name: _instant(plain[name]) if name.endswith("_at") else plain[name] for name in _NAMES})
        except (CannotUnseal, ValueError, LookupError, TypeError):
            return _LOST

    @property
    def is_readable(self) -> bool:
        """Whether the row could be opened."""
        return self != _LOST

    def is_ahead(self, now: datetime) -> bool:
        """Whether it came later than now: the clock was ahead then, and has been set right."""
        return (self.received_at or self.started_at) > now + _FORGOTTEN

    def known(self, at: datetime | None, *, now: datetime) -> datetime | None:
        """One of these instants as it may be told to people; None when it cannot be right."""
        return None if at is None or at == UNKNOWN_TIME or at > now + _FORGOTTEN else at

    def came_at(self, now: datetime) -> datetime | None:
        """When it came, as it may be told to people; None when nobody knows."""
        is_known = self.started_at != UNKNOWN_TIME
        return self.known(self.received_at or self.started_at, now=now) if is_known else None


_LOST = Hidden(UNKNOWN_TIME, escalates_at=UNKNOWN_TIME)
_NAMES = tuple(field.name for field in fields(Hidden))


def _instant(text: str | None) -> Any:
    return None if text is None else datetime.fromisoformat(text)


class _Inside(Generic[_T]):
    """A value of `Report.hidden`, read and written like a column; the report must be in a session."""

    def __set_name__(self, _owner: type[Report], name: str) -> None:
        self._name = name

    @overload
    def __get__(self, report: None, owner: type[Report]) -> Self: ...
    @overload
    def __get__(self, report: Report, owner: type[Report]) -> _T: ...
    def __get__(self, report: Report | None, owner: type[Report]) -> Self | _T:
        if report is None:
            return self
        value: _T = getattr(report.hidden, self._name)
        return value

    def __set__(self, report: Report, value: _T) -> None:
        changed: dict[str, Any] = {self._name: value}
        report.hidden = replace(report.hidden, **changed)


class Report(Base):
    """One report. `number` is its public name (`T-7K3F`), a pseudonym of its own; `id` tells no order.

    `data_key` is the report's own key, wrapped; every part is sealed under it, so erasing it erases the report.
    `code_prefix` is a keyed hash so short that several reports may share it: it finds whose `code_hash` (Argon2id) is
    to be tried. `sealed` holds `hidden`, bound to the number.
    """

    __tablename__ = "reports"

    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=False, default=random_id)
    number: Mapped[str] = mapped_column(String(12), unique=True)
    state: Mapped[ReportState] = mapped_column(choice(ReportState), index=True)
    data_key: Mapped[bytes | None] = mapped_column(LargeBinary)
    urgent: Mapped[bool] = mapped_column(Boolean, default=False)
    incomplete: Mapped[bool] = mapped_column(Boolean, default=False)
    code_hash: Mapped[str | None] = mapped_column(String(160))
    code_prefix: Mapped[str | None] = mapped_column(String(8), index=True)
    taken_by: Mapped[int | None] = mapped_column(ForeignKey("officers.id"))
    escalation_step: Mapped[int] = mapped_column(SmallInteger, default=0)
    sealed: Mapped[bytes] = mapped_column(LargeBinary)

    @property
    def hidden(self) -> Hidden:
        """The sealed values; the report must be in a session, whose key ring opens them."""
        return Hidden.unseal(_keys(self), self.number, self.sealed)

    @hidden.setter
    def hidden(self, values: Hidden) -> None:
        self.sealed = values.seal(_keys(self), self.number)

    started_at = _Inside[datetime]()
    language = _Inside[str]()
    received_at = _Inside[datetime | None]()
    taken_at = _Inside[datetime | None]()
    closed_at = _Inside[datetime | None]()
    escalates_at = _Inside[datetime | None]()


def _keys(report: Report) -> KeyRing:
    session = object_session(report)
    if session is None:
        raise LookupError("a report is opened in the session it belongs to")
    keys: KeyRing = session.info["keys"]
    return keys


class ReportPart(Base):
    """One message of a report: text, a file, or a point; or a word between officer and reporter.

    What it is, and after which it came, stands inside the seal.
    """

    __tablename__ = "report_parts"

    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=False, default=random_id)
    report_id: Mapped[int] = mapped_column(ForeignKey("reports.id", ondelete="CASCADE"), index=True)
    sealed: Mapped[bytes] = mapped_column(LargeBinary)


class ReportLink(Base):
    """The only way from a report back to the chat it came from: sealed under its own key, gone on a date.

    `day` is the keyed mark of the day on which it dies; the instant is sealed with the chat.
    """

    __tablename__ = "report_links"

    report_id: Mapped[int] = mapped_column(ForeignKey("reports.id", ondelete="CASCADE"), primary_key=True)
    sealed: Mapped[bytes] = mapped_column(LargeBinary)
    day: Mapped[str] = mapped_column(String(32), index=True)
