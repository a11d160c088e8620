"""What the database knows of itself: which one it is, how far it got, and the newest instant it has seen."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, String
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base, BigId


class Standing(Base):
    """The only row.

    `identity` is made once and goes along with every copy. `number` grows at every start and end, and while messages
    leave; the same number stands in a file outside, so that a copy that is behind is known.
    `seen_at` is the newest minute any process has seen.
    """

    __tablename__ = "standing"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    identity: Mapped[str] = mapped_column(String(32))
    number: Mapped[int] = mapped_column(BigInteger)
    seen_at: Mapped[datetime | None]
