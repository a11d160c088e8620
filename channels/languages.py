"""The language a chat has chosen, found by a keyed hash of its address."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncSession

from channels.port import Recipient
from db.engine import keys_of
from db.tables.conversations import ChatLanguage

LANGUAGES = ("vi", "en")


def chat_hash(session: AsyncSession, chat: Recipient) -> str:
    """What a chat is filed under where its address need not be known."""
    return keys_of(session).fingerprint("chat", str(chat))


async def language_of(session: AsyncSession, chat: Recipient, *, otherwise: str = "vi") -> str:
    """The language a chat has chosen."""
    return await chosen_language(session, chat) or otherwise


async def chosen_language(session: AsyncSession, chat: Recipient) -> str | None:
    """The language a chat has chosen; None for one that has not."""
    row = await session.get(ChatLanguage, chat_hash(session, chat))
    return row.language if row else None


async def choose_language(session: AsyncSession, chat: Recipient, language: str) -> None:
    """Remember a chat's language."""
    await session.merge(ChatLanguage(chat=chat_hash(session, chat), language=language))
