"""Where a chat is in a conversation, and what language it speaks. Chats are known by a keyed hash only, another one in
each table; on SQLite the tables have no row numbers, which would tell in what order the rows came."""

from __future__ import annotations

from sqlalchemy import LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base

_NO_ORDER = {"sqlite_with_rowid": False}


class _ForADay:
    """What is kept of a chat for a day, sealed together with the chat's address and when it ends.

    `hour` is the keyed mark of the hour in which it ends if nobody goes on with it.
    """

    chat: Mapped[str] = mapped_column(String(32), primary_key=True)
    sealed: Mapped[bytes] = mapped_column(LargeBinary)
    hour: Mapped[str] = mapped_column(String(32), index=True)


class Conversation(_ForADay, Base):
    """The one conversation a chat is in: flow, step, answers."""

    __tablename__ = "conversations"
    __table_args__ = _NO_ORDER


class Expectation(_ForADay, Base):
    """What a chat's next words may be the answer to, or what it wrote that waits for a word of its own."""

    __tablename__ = "expectations"
    __table_args__ = _NO_ORDER


class ChatLanguage(Base):
    """The language a chat has chosen."""

    __tablename__ = "chat_languages"
    __table_args__ = _NO_ORDER

    chat: Mapped[str] = mapped_column(String(32), primary_key=True)
    language: Mapped[str] = mapped_column(String(2))
