"""Where a chat is in a conversation, and what language it speaks. Chats are known by a keyed hash only."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base


class Conversation(Base):
    """The one conversation a chat is in: flow, step and answers, sealed together with the chat's address."""

    __tablename__ = "conversations"

    chat: Mapped[str] = mapped_column(String(32), primary_key=True)
    sealed: Mapped[bytes] = mapped_column(LargeBinary)
    expires_at: Mapped[datetime] = mapped_column(index=True)


class ChatLanguage(Base):
    """The language a chat has chosen."""

    __tablename__ = "chat_languages"

    chat: Mapped[str] = mapped_column(String(32), primary_key=True)
    language: Mapped[str] = mapped_column(String(2))
