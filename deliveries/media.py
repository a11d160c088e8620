"""Files we keep, sealed, to send them on."""

from __future__ import annotations

import json
import secrets
from base64 import b64decode, b64encode
from typing import cast

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy.ext.asyncio import AsyncSession

from channels.port import Media, MediaKind
from db.engine import keys_of
from db.marks import random_id
from db.sealing import CannotOpen, padded, unpadded
from db.tables.deliveries import MediaContent, MediaRow

_PURPOSE = "media"
_NONCE_BYTES = 12
_UNKNOWN_TYPE = "application/octet-stream"
#: The media types that are kept. A sender's app may write anything there, its owner's name as well.
_TYPES = frozenset(
    {
        "image/jpeg",
        "image/png",
        "image/webp",
        "image/gif",
        "image/heic",
        "video/mp4",
        "video/webm",
        "video/quicktime",
        "video/3gpp",
        "audio/ogg",
        "audio/mpeg",
        "audio/mp4",
        "audio/aac",
        "audio/wav",
        "audio/webm",
        "application/pdf",
        "application/zip",
        "text/plain",
        "application/msword",
        "application/vnd.ms-excel",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    }
)


def known_type(said: str) -> str:
    """The media type a file is kept and sent under: the one it was said to have, if that is a known one."""
    return said if said in _TYPES else _UNKNOWN_TYPE


async def keep_media(session: AsyncSession, media: Media, *, origin: str) -> MediaRow:
    """Store a file, sealed under a key of its own. What it hashes to is not kept beside it: that would tell which
    known file it is."""
    media_id, key = random_id(), AESGCM.generate_key(bit_length=256)
    about = json.dumps([media.kind, media.name, known_type(media.mime), b64encode(key).decode()]).encode()
    row = MediaRow(
        id=media_id, origin=origin, about=keys_of(session).seal(_PURPOSE, padded(about), bound_to=str(media_id))
    )
    session.add(row)
    await session.flush()
    nonce = secrets.token_bytes(_NONCE_BYTES)
    sealed = nonce + AESGCM(key).encrypt(nonce, padded(media.content), str(media_id).encode())
    session.add(MediaContent(media_id=media_id, sealed=sealed))
    await session.flush()
    return row


async def load_media(session: AsyncSession, media_id: int) -> Media:
    """A stored file; raises LookupError when it is gone, CannotOpen when it cannot be read."""
    row, content = await session.get(MediaRow, media_id), await session.get(MediaContent, media_id)
    if row is None or content is None:
        raise LookupError(media_id)
    about = json.loads(unpadded(keys_of(session).open(_PURPOSE, row.about, bound_to=str(media_id))))
    kind, name, mime, key = about
    nonce, body = content.sealed[:_NONCE_BYTES], content.sealed[_NONCE_BYTES:]
    try:
        plain = AESGCM(b64decode(key)).decrypt(nonce, body, str(media_id).encode())
    except (InvalidTag, ValueError) as error:
        raise CannotOpen(_PURPOSE) from error
    return Media(cast(MediaKind, kind), name, mime, unpadded(plain))
