"""The language a chat has chosen, found by a keyed hash of its address."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from channels.port import Recipient
from db.engine import keys_of
from db.sealing import KeyRing
from db.tables.conversations import ChatLanguage
from db.tables.establishments import Contact
from texts.catalogue import DEFAULT_LANGUAGE
from texts.catalogue import LANGUAGES as LANGUAGES


def language_key(keys: KeyRing, chat: Recipient) -> str:
    """What a chat's language is filed under: another hash than in any other table, so that no two rows can be told to
    be of the same chat."""
    return keys.fingerprint("chat-language", str(chat))


async def language_of(session: AsyncSession, chat: Recipient, *, otherwise: str = DEFAULT_LANGUAGE) -> str:
    """The language a chat has chosen."""
    return await chosen_language(session, chat) or otherwise


async def languages_of(session: AsyncSession, chats: Iterable[Recipient]) -> dict[Recipient, str]:
    """The language of each of these chats, read in one query: DEFAULT_LANGUAGE for one that has not chosen."""
    keys = keys_of(session)
    filed = {chat: language_key(keys, chat) for chat in chats}
    if not filed:
        return {}
    rows = await session.execute(
        select(ChatLanguage.chat, ChatLanguage.language).where(ChatLanguage.chat.in_(set(filed.values())))
    )
    chosen = {row.chat: row.language for row in rows}
    return {chat: chosen.get(key, DEFAULT_LANGUAGE) for chat, key in filed.items()}


async def chosen_language(session: AsyncSession, chat: Recipient) -> str | None:
    """The language a chat has chosen; None for one that has not."""
    row = await session.get(ChatLanguage, language_key(keys_of(session), chat))
    return row.language if row else None


async def choose_language(session: AsyncSession, chat: Recipient, language: str) -> None:
    """Remember a chat's language, also where it speaks for an establishment."""
    await session.merge(ChatLanguage(chat=language_key(keys_of(session), chat), language=language))
    await session.execute(
        update(Contact)
        .where(Contact.channel == chat.channel, Contact.address == chat.address)
        .values(language=language)
        .execution_options(synchronize_session=False)
    )
