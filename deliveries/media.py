"""Files we keep, sealed, to send them on."""

from __future__ import annotations

import secrets
from datetime import datetime
from typing import cast

from sqlalchemy.ext.asyncio import AsyncSession

from channels.port import Media, MediaKind
from db.engine import keys_of
from db.sealing import padded, unpadded
from db.tables.deliveries import MediaRow

_PURPOSE = "media"


async def keep_media(session: AsyncSession, media: Media, *, origin: str, now: datetime) -> MediaRow:
    """Store a file, sealed. What it hashes to is not kept beside it: that would tell which known file it is."""
    token = secrets.token_hex(16)
    row = MediaRow(
        origin=origin,
        token=token,
        kind=media.kind,
        name=media.name,
        mime=media.mime,
        sealed=keys_of(session).seal(_PURPOSE, padded(media.content), bound_to=token),
        created_at=now,
    )
    session.add(row)
    await session.flush()
    return row


async def load_media(session: AsyncSession, media_id: int) -> Media:
    """A stored file; raises LookupError when it is gone."""
    row = await session.get(MediaRow, media_id)
    if row is None:
        raise LookupError(media_id)
    content = unpadded(keys_of(session).open(_PURPOSE, row.sealed, bound_to=row.token))
    return Media(cast(MediaKind, row.kind), row.name, row.mime, content)
