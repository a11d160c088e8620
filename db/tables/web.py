"""The web chat's conversations and files, and the numbered menus of channels without buttons."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, LargeBinary, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base, BigId


class WebChat(Base):
    """One visitor's conversation. The address is derived from the cookie, which is never stored.

    `last_message_id` and `last_seq` are the counters of the chat: raised in the statement that uses them.
    """

    __tablename__ = "web_chats"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    address: Mapped[str] = mapped_column(String(64), unique=True)
    language: Mapped[str] = mapped_column(String(8))
    last_message_id: Mapped[int] = mapped_column(default=0)
    last_seq: Mapped[int] = mapped_column(default=0)
    seen_seq: Mapped[int] = mapped_column(default=0)
    opened_at: Mapped[datetime]


class WebMessage(Base):
    """One message of a web chat, in its latest state.

    `body` is sealed for "web-message", bound to `id`; a deleted message has none. `seq` grows with every change.
    `at` is the day: the instant is sealed with the rest, for it would tell who sent a report.
    """

    __tablename__ = "web_messages"
    __table_args__ = (
        UniqueConstraint("chat_id", "message_id"),
        Index("ix_web_messages_chat_id_seq", "chat_id", "seq"),
        Index("ix_web_messages_at", "at"),
    )

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    chat_id: Mapped[int] = mapped_column(ForeignKey("web_chats.id", ondelete="CASCADE"))
    message_id: Mapped[int]
    seq: Mapped[int]
    from_bot: Mapped[bool]
    at: Mapped[datetime]
    edited: Mapped[bool] = mapped_column(default=False)
    body: Mapped[bytes | None] = mapped_column(LargeBinary)


class WebPost(Base):
    """What a visitor's page has posted under a nonce, so that posting it again changes nothing.

    `message_id` is the visitor's message it made, or NULL for a press.
    """

    __tablename__ = "web_posts"
    __table_args__ = (Index("ix_web_posts_at", "at"),)

    chat_id: Mapped[int] = mapped_column(ForeignKey("web_chats.id", ondelete="CASCADE"), primary_key=True)
    nonce: Mapped[str] = mapped_column(String(32), primary_key=True)
    message_id: Mapped[int | None]
    at: Mapped[datetime]


class WebFile(Base):
    """A file of the web chats. Name, kind and bytes are sealed for "web-file", bound to `id`."""

    __tablename__ = "web_files"
    __table_args__ = (Index("ix_web_files_at", "at"),)

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    from_bot: Mapped[bool]
    at: Mapped[datetime]
    about: Mapped[bytes] = mapped_column(LargeBinary)
    content: Mapped[bytes] = mapped_column(LargeBinary, deferred=True)


class WebAttachment(Base):
    """A file belongs to a message; whoever may read the message may read the file."""

    __tablename__ = "web_attachments"
    __table_args__ = (Index("ix_web_attachments_file_id", "file_id"),)

    message: Mapped[str] = mapped_column(ForeignKey("web_messages.id", ondelete="CASCADE"), primary_key=True)
    file_id: Mapped[str] = mapped_column(ForeignKey("web_files.id", ondelete="CASCADE"), primary_key=True)


class WebCommands(Base):
    """The command menu for one scope and language, as `setMyCommands` left it."""

    __tablename__ = "web_commands"

    scope: Mapped[str] = mapped_column(String(96), primary_key=True)
    language: Mapped[str] = mapped_column(String(8), primary_key=True)
    commands: Mapped[list[dict[str, Any]]] = mapped_column(JSON)


class TextMenu(Base):
    """The open numbered menu of a chat on a channel without buttons.

    `id` is a keyed hash of channel and address; `body` is sealed for "text-menu", bound to `id`.
    """

    __tablename__ = "text_menus"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    body: Mapped[bytes] = mapped_column(LargeBinary)
    expires_at: Mapped[datetime] = mapped_column(index=True)
