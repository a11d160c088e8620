"""What could not be done so far, item by item, so that one of them stops neither the others nor the process."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import SmallInteger, String
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base


class Trouble(Base):
    """An item that a tick, or the darkroom, did not get done: how often it was tried, and when it is tried again.

    `item` is an id, or a keyed fingerprint where it stands for something a reporter sent. `day` is the day it was last
    tried. `reference` is what the log calls it; `parked` items were said to be in trouble and are tried seldom;
    `told` when the administrators have heard.
    """

    __tablename__ = "troubles"
    __table_args__ = {"sqlite_with_rowid": False}  # noqa: RUF012 (SQLAlchemy's own form)

    kind: Mapped[str] = mapped_column(String(16), primary_key=True)
    item: Mapped[str] = mapped_column(String(64), primary_key=True)
    attempts: Mapped[int] = mapped_column(SmallInteger)
    day: Mapped[datetime]
    not_before: Mapped[datetime | None]
    reference: Mapped[str | None] = mapped_column(String(8))
    parked: Mapped[bool] = mapped_column(default=False)
    told: Mapped[bool] = mapped_column(default=False)
