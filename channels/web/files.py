"""What a file really is, read from its bytes."""

from __future__ import annotations

import io
import secrets
from typing import Any

import filetype

from channels.port import MediaKind
from channels.shapes import FileRef, Upload
from channels.web import file_store
from db.sealing import KeyRing
from texts.markup import clean

#: Largest file, bytes: what Telegram lets a bot download, so that both channels promise the same.
MAX_FILE = 20 * 1024 * 1024
_NAME_LENGTH = 120
_PICTURES = {"image/jpeg": "JPEG", "image/png": "PNG", "image/webp": "WEBP"}
_VIDEOS = {"video/mp4", "video/webm", "video/quicktime", "video/x-m4v", "video/3gpp"}
#: Sound as `filetype` names it → as browsers do; containers shared with video are sound when sent as voice.
_SOUNDS = {
    "audio/ogg": "audio/ogg",
    "audio/mpeg": "audio/mpeg",
    "audio/mp4": "audio/mp4",
    "audio/aac": "audio/aac",
    "audio/x-wav": "audio/wav",
    "video/webm": "audio/webm",
    "video/mp4": "audio/mp4",
}


def inspect(kind: MediaKind, name: str, content: bytes) -> tuple[MediaKind, str, str, int, int]:
    """What a file really is: kind, clean name, media type, width, height.

    A photo that is none, a sound or film no browser plays: a document. Media types are read from the bytes, never
    believed.
    """
    guessed = filetype.guess_mime(content) or ""
    safe = clean(name).replace("/", "_").replace("\\", "_").replace("\n", " ").strip(" .") or "tep"
    safe = safe if len(safe) <= _NAME_LENGTH else safe[: _NAME_LENGTH - 8] + safe[-8:]
    width, height = _sides(guessed, content)
    match kind:
        case "photo" if width:
            return "photo", safe, guessed, width, height
        case "voice" if guessed in _SOUNDS:
            return "voice", safe, _SOUNDS[guessed], 0, 0
        case "video" if guessed in _VIDEOS:
            return "video", safe, guessed, 0, 0
    return "document", safe, guessed or "application/octet-stream", 0, 0


def _sides(mime: str, content: bytes) -> tuple[int, int]:
    """Width and height of a picture browsers show; zeros for anything else. Only the head is read."""
    if mime not in _PICTURES:
        return 0, 0
    # Imported here: pictures are rare, and the start should not pay for them.
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content), formats=[_PICTURES[mime]]) as picture:
            return picture.size
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return 0, 0


def new_file(keys: KeyRing, kind: MediaKind, upload: Upload) -> tuple[FileRef, dict[str, Any]]:
    """A file and its row, sealed. Takes a while for large ones: call it in a thread, outside any transaction."""
    really, name, mime, width, height = inspect(kind, upload.name, upload.content)
    file = FileRef(secrets.token_urlsafe(18), really, name, mime, len(upload.content), width, height)
    return file, file_store.file_row(keys, file, upload.content)
