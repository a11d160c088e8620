"""The web chat's conversations and files, and the numbered menus of channels without buttons.

None of these tables says whose a row is, or which rows are one chat's: a row is found by the keyed hash of what it is
of, all else is sealed, and `day` is a keyed mark. Nothing here equals anything in another table, and no row has a place
that tells when it came: its place is its key. `channels.web.store` writes and reads them.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from db.base import Base, BigId

#: Small rows lie in the order of their keys; SQLite would number them in the order of their coming.
_BY_KEY = {"sqlite_with_rowid": False}


class WebChat(Base):
    """One visitor's conversation: its language and counters, sealed for "web-chat", bound to `id`, all of one length.

    `day` marks the day it was opened for as long as nobody has written in it, and is random from then on.
    """

    __tablename__ = "web_chats"
    __table_args__ = _BY_KEY

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    sealed: Mapped[bytes] = mapped_column(LargeBinary)
    day: Mapped[str] = mapped_column(String(32), index=True)


class WebMessage(Base):
    """One message of a web chat, in its latest state, sealed for "web-message", bound to `id`.

    `id` comes of its chat and number, `change` of its chat and the latest of its changes. One that was deleted is
    sealed like any other.
    """

    __tablename__ = "web_messages"

    # An INTEGER key is SQLite's own row number: it suits long rows, and being keyed it tells no order.
    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=False)
    change: Mapped[int] = mapped_column(BigInteger, unique=True)
    day: Mapped[str] = mapped_column(String(32), index=True)
    sealed: Mapped[bytes] = mapped_column(LargeBinary)


class WebPost(Base):
    """What a visitor's page has posted under a nonce, so that posting it again changes nothing.

    `sealed` is the number of the message it made, for "web-post", bound to `id`.
    """

    __tablename__ = "web_posts"
    __table_args__ = _BY_KEY

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    sealed: Mapped[bytes] = mapped_column(LargeBinary)
    day: Mapped[str] = mapped_column(String(32), index=True)


class WebFile(Base):
    """A file of the web chats, sealed for "web-file", bound to `id`: its bytes, and what it is.

    `id` comes of the name messages know it by. `day` is the last on which a new message showed it.
    """

    __tablename__ = "web_files"

    id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=False)
    day: Mapped[str] = mapped_column(String(32), index=True)
    about: Mapped[bytes] = mapped_column(LargeBinary)
    content: Mapped[bytes] = mapped_column(LargeBinary, deferred=True)


class WebCommands(Base):
    """The command menu for one scope and language, as `setMyCommands` left it; sealed for "web-commands"."""

    __tablename__ = "web_commands"
    __table_args__ = _BY_KEY

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    sealed: Mapped[bytes] = mapped_column(LargeBinary)


class TextMenu(Base):
    """The open numbered menu of a chat on a channel without buttons, sealed for "text-menu", bound to `id`.

    `id` is a keyed hash of channel and address, `day` the mark of the day it ends.
    """

    __tablename__ = "text_menus"
    __table_args__ = _BY_KEY

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    sealed: Mapped[bytes] = mapped_column(LargeBinary)
    day: Mapped[str] = mapped_column(String(32), index=True)
