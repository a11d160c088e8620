"""Updates as they came in, kept sealed until they have acted; then only that they were seen."""

from __future__ import annotations

from sqlalchemy import Index, LargeBinary, SmallInteger, String, false, text
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base, BigId

#: What an update that waits no more, for it failed too often, has for the number of its attempts.
PARKED = 4
_IS_PARKED = text(f"attempts >= {PARKED}")


class InboundUpdate(Base):
    """One Bot API update that has not acted yet. The transaction in which it acts deletes the row.

    Nothing of it stands in clear but the channel: `payload` is sealed and padded, `mark` is a keyed hash of channel
    and number, `chat` one of the chat (found in no other table), so that chats have turns, `day` the keyed mark of
    the day it came. `place` is its place in line, which nobody can read off a row that is gone.

    `attempts` counts how often it failed, or was begun by a process that found it `left_over` by an earlier one.
    """

    __tablename__ = "inbound_updates"
    __table_args__ = (
        Index("ix_inbound_updates_turn", "channel", "chat", "place"),
        Index("ix_inbound_updates_parked", "day", sqlite_where=_IS_PARKED, postgresql_where=_IS_PARKED),
    )

    place: Mapped[int] = mapped_column(BigId, primary_key=True)
    mark: Mapped[str] = mapped_column(String(32), unique=True)
    channel: Mapped[str] = mapped_column(String(16))
    chat: Mapped[str] = mapped_column(String(32))
    day: Mapped[str] = mapped_column(String(32))
    payload: Mapped[bytes] = mapped_column(LargeBinary)
    attempts: Mapped[int] = mapped_column(SmallInteger, default=0, server_default="0")
    left_over: Mapped[bool] = mapped_column(default=False, server_default=false())


class SeenUpdate(Base):
    """That an update came, so that a repeated one is known and acts once. Rows lie in the order of their marks, which
    is none."""

    __tablename__ = "seen_updates"
    __table_args__ = {"sqlite_with_rowid": False}  # noqa: RUF012 (SQLAlchemy reads it, nobody changes it)

    mark: Mapped[str] = mapped_column(String(32), primary_key=True)
    day: Mapped[str] = mapped_column(String(32), index=True)
