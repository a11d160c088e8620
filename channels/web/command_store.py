"""The web chat's menus of commands, sealed. All functions run in the caller's transaction."""

from __future__ import annotations

import json
from collections.abc import Sequence

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from channels.shapes import Json
from db.engine import keys_of
from db.sealing import KeyRing, padded, unpadded
from db.tables import web as rows

_COMMANDS = "web-commands"


def _commands_key(keys: KeyRing, channel: str, scope: str, language: str) -> str:
    return keys.fingerprint(_COMMANDS, channel, scope, language)


async def keep_commands(
    session: AsyncSession, channel: str, scope: str, language: str, commands: Sequence[Json]
) -> None:
    """Keep a menu of commands in place of the one before."""
    keys = keys_of(session)
    key = _commands_key(keys, channel, scope, language)
    plain = json.dumps(list(commands), ensure_ascii=False).encode()
    await session.merge(rows.WebCommands(id=key, sealed=keys.seal(_COMMANDS, padded(plain), bound_to=key)))


async def drop_commands(session: AsyncSession, channel: str, scope: str, language: str) -> None:
    """Forget a menu of commands."""
    key = _commands_key(keys_of(session), channel, scope, language)
    await session.execute(delete(rows.WebCommands).where(rows.WebCommands.id == key))


async def first_commands(session: AsyncSession, channel: str, wanted: Sequence[tuple[str, str]]) -> list[Json]:
    """The menu of the first scope and language that has one."""
    keys = keys_of(session)
    by_key = [_commands_key(keys, channel, scope, language) for scope, language in wanted]
    found = await session.execute(
        select(rows.WebCommands.id, rows.WebCommands.sealed).where(rows.WebCommands.id.in_(by_key))
    )
    kept = {row.id: row.sealed for row in found}
    for key in by_key:
        if key in kept:
            commands: list[Json] = json.loads(unpadded(keys.unseal(_COMMANDS, kept[key], bound_to=key)))
            return commands
    return []
