"""How much of a flood of reports an officer has been shown."""

from __future__ import annotations

from sqlalchemy import LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base


class Digest(Base):
    """What an officer's chat got lately (see reports.digest), sealed; filed under a keyed hash of the chat."""

    __tablename__ = "digests"
    __table_args__ = {"sqlite_with_rowid": False}  # noqa: RUF012 (SQLAlchemy reads it, nobody changes it)

    chat: Mapped[str] = mapped_column(String(32), primary_key=True)
    sealed: Mapped[bytes] = mapped_column(LargeBinary)
