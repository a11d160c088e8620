"""The language a chat has chosen, found by a keyed hash of its address."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncSession

from channels.port import Recipient
from db.engine import keys_of
from db.sealing import KeyRing
from db.tables.conversations import ChatLanguage

LANGUAGES = ("vi", "en")


def language_key(keys: KeyRing, chat: Recipient) -> str:
    """What a chat's language is filed under: another hash than in any other table, so that no two rows can be told to
    be of the same chat."""
    return keys.fingerprint("chat-language", str(chat))


async def language_of(session: AsyncSession, chat: Recipient, *, otherwise: str = "vi") -> str:
    """The language a chat has chosen."""
    return await chosen_language(session, chat) or otherwise


async def chosen_language(session: AsyncSession, chat: Recipient) -> str | None:
    """The language a chat has chosen; None for one that has not."""
    row = await session.get(ChatLanguage, language_key(keys_of(session), chat))
    return row.language if row else None


async def choose_language(session: AsyncSession, chat: Recipient, language: str) -> None:
    """Remember a chat's language."""
    await session.merge(ChatLanguage(chat=language_key(keys_of(session), chat), language=language))
