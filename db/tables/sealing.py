"""One sealed word, to know a wrong key before it does harm."""

from __future__ import annotations

from sqlalchemy import LargeBinary
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base, BigId


class SealedWord(Base):
    """The only row is sealed with the key ring the database was first used with, and must open at every start."""

    __tablename__ = "sealed_words"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    sealed: Mapped[bytes] = mapped_column(LargeBinary)
