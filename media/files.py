"""Files we keep, sealed, to send them on."""

from __future__ import annotations

import io
import json
import secrets
from base64 import b64decode, b64encode
from typing import cast

import structlog
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy.ext.asyncio import AsyncSession

from channels.port import Media, MediaKind
from channels.wording import plain
from db.engine import keys_of
from db.marks import random_id
from db.sealing import CannotUnseal, padded, unpadded
from db.tables.deliveries import MediaContent, MediaRow
from texts.catalogue import DEFAULT_LANGUAGE

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
log = structlog.get_logger(__name__)


def known_type(said: str) -> str:
    """The media type a file is kept and sent under: the one it was said to have, if that is a known one, and nothing
    that was said beside it."""
    bare = said.partition(";")[0].strip().lower()
    return bare if bare in _TYPES else _UNKNOWN_TYPE


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
    """A stored file; raises LookupError when it is gone, CannotUnseal when it cannot be read."""
    row, content = await session.get(MediaRow, media_id), await session.get(MediaContent, media_id)
    if row is None or content is None:
        raise LookupError(media_id)
    kind, name, mime, key = _about(session, row)
    nonce, body = content.sealed[:_NONCE_BYTES], content.sealed[_NONCE_BYTES:]
    try:
        plain = AESGCM(b64decode(key)).decrypt(nonce, body, str(media_id).encode())
    except (InvalidTag, ValueError) as error:
        raise CannotUnseal(_PURPOSE) from error
    return Media(cast(MediaKind, kind), name, mime, unpadded(plain))


def _about(session: AsyncSession, row: MediaRow) -> tuple[str, str, str, str]:
    """Kind, name, media type and key of a file; raises CannotUnseal."""
    kind, name, mime, key = json.loads(unpadded(keys_of(session).unseal(_PURPOSE, row.about, bound_to=str(row.id))))
    return kind, name, mime, key


async def load_or_stand_in(session: AsyncSession, media_id: int) -> Media:
    """A stored file; where it was damaged something that shows so, for what stands beside it must be sent all the same.

    Raises:
        LookupError: It is gone.
    """
    try:
        return await load_media(session, media_id)
    except (CannotUnseal, ValueError) as error:
        log.error("file_unreadable", media=media_id, error=type(error).__name__)
        return _stand_in(await _kind_of(session, media_id))


async def _kind_of(session: AsyncSession, media_id: int) -> MediaKind:
    """What a damaged file was, as far as that can still be read."""
    try:
        row = await session.get_one(MediaRow, media_id)
        return cast(MediaKind, _about(session, row)[0])
    except (CannotUnseal, ValueError):
        return "photo"


def _stand_in(kind: MediaKind) -> Media:
    if kind == "photo":
        return Media(kind, "khong-mo-duoc.jpg", "image/jpeg", _crossed_out())
    return Media(kind, "khong-mo-duoc.txt", "text/plain", plain(DEFAULT_LANGUAGE, "media.damaged").encode())


def _crossed_out() -> bytes:
    """A grey picture with a cross."""
    from PIL import Image, ImageDraw

    picture = Image.new("RGB", (320, 240), (200, 200, 200))
    draw = ImageDraw.Draw(picture)
    for ends in (((0, 0), (320, 240)), ((0, 240), (320, 0))):
        draw.line(ends, fill=(150, 0, 0), width=6)
    out = io.BytesIO()
    picture.save(out, "JPEG")
    return out.getvalue()
