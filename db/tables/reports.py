"""Citizens' reports, sealed."""

from __future__ import annotations

import enum
from datetime import datetime

from sqlalchemy import Boolean, ForeignKey, LargeBinary, SmallInteger, String
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base, BigId, choice


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


class Report(Base):
    """One report. `number` is its public name (`T-7K3F`), a pseudonym of its own.

    `data_key` is the report's own key, wrapped; every part is sealed under it, so erasing it erases the report.
    `code_hash` is the Argon2id hash of the reporter's code, `code_lookup` the keyed hash that finds the row.
    """

    __tablename__ = "reports"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    number: Mapped[str] = mapped_column(String(12), unique=True)
    state: Mapped[ReportState] = mapped_column(choice(ReportState), index=True)
    data_key: Mapped[bytes | None] = mapped_column(LargeBinary)
    urgent: Mapped[bool] = mapped_column(Boolean, default=False)
    incomplete: Mapped[bool] = mapped_column(Boolean, default=False)
    language: Mapped[str] = mapped_column(String(2), default="vi")
    code_hash: Mapped[str | None] = mapped_column(String(160))
    code_lookup: Mapped[str | None] = mapped_column(String(32), unique=True)
    started_at: Mapped[datetime]
    received_at: Mapped[datetime | None]
    taken_by: Mapped[int | None] = mapped_column(ForeignKey("officers.id"))
    taken_at: Mapped[datetime | None]
    closed_at: Mapped[datetime | None]
    escalation_step: Mapped[int] = mapped_column(SmallInteger, default=0)
    escalates_at: Mapped[datetime | None] = mapped_column(index=True)


class ReportPart(Base):
    """One message of a report: text, a file, or a place; or a word between officer and reporter."""

    __tablename__ = "report_parts"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    report_id: Mapped[int] = mapped_column(ForeignKey("reports.id", ondelete="CASCADE"), index=True)
    token: Mapped[str] = mapped_column(String(32), unique=True)
    kind: Mapped[str] = mapped_column(String(16))
    sealed: Mapped[bytes] = mapped_column(LargeBinary)
    media_id: Mapped[int | None] = mapped_column(ForeignKey("media.id", ondelete="SET NULL"))
    at: Mapped[datetime]


class ReportLink(Base):
    """The only way from a report back to the chat it came from: sealed under its own key, gone on a date."""

    __tablename__ = "report_links"

    report_id: Mapped[int] = mapped_column(ForeignKey("reports.id", ondelete="CASCADE"), primary_key=True)
    sealed: Mapped[bytes] = mapped_column(LargeBinary)
    dies_at: Mapped[datetime] = mapped_column(index=True)
