"""Files that Telegram keeps, and hands out again by their id."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from bench.botapi.refusals import Json, bad, unknown

#: What a call brought along, by the name of its part: file name and bytes.
Uploads = Mapping[str, tuple[str, bytes]]
_DOWNLOAD_LIMIT = 20 * 1024 * 1024


class Files:
    """All of them."""

    def __init__(self) -> None:
        self._contents: dict[str, bytes] = {}

    def keep(self, kind: str, content: bytes) -> str:
        """Keep a file; returns its id."""
        file_id = f"{kind}-{secrets.token_urlsafe(12)}"
        self._contents[file_id] = content
        return file_id

    def take(self, kind: str, reference: str, uploads: Uploads) -> tuple[Any, bytes]:
        """The media object and the bytes of what a call refers to: a file it brought, or one that is kept."""
        name = ""
        if reference.startswith("attach://"):
            name, content = _brought(kind, reference.removeprefix("attach://"), uploads)
            reference = self.keep(kind, content)
        elif reference not in self._contents or not reference.startswith(kind):
            raise bad("wrong file identifier/HTTP URL specified")
        content = self._contents[reference]
        return media_object(kind, reference, name, len(content)), content

    def describe(self, file_id: str) -> Json:
        """What `getFile` answers."""
        if file_id not in self._contents:
            raise bad("invalid file_id")
        size = len(self._contents[file_id])
        if size > _DOWNLOAD_LIMIT:
            raise bad("file is too big")
        ids = {"file_id": file_id, "file_unique_id": file_id[-12:]}
        return {**ids, "file_size": size, "file_path": f"files/{file_id}"}

    def at(self, path: str) -> bytes:
        """The file that is downloaded from `path`."""
        content = self._contents.get(path.rpartition("/")[2])
        if content is None:
            raise unknown()
        return content


def _brought(kind: str, part: str, uploads: Uploads) -> tuple[str, bytes]:
    if part not in uploads:
        raise bad(f"there is no {kind} in the request")
    name, content = uploads[part]
    if not content:
        raise bad("file must be non-empty")
    return name, content


def media_object(kind: str, file_id: str, name: str, size: int) -> Any:
    """The member of a message that shows a file."""
    file = {"file_id": file_id, "file_unique_id": file_id[-12:], "file_size": size}
    match kind:
        case "photo":
            return [{**file, "width": 90, "height": 60}]
        case "video":
            return {**file, "width": 90, "height": 60, "duration": 1}
        case "voice":
            return {**file, "duration": 1, "mime_type": "audio/ogg"}
        case _:
            return {**file, "file_name": name, "mime_type": "application/octet-stream"}


def check_album(items: Sequence[Json]) -> None:
    """Two to ten files, documents apart from what is looked at; raises Refused."""
    if not 2 <= len(items) <= 10:
        raise bad("wrong number of media in an album")
    if len({"document" if item["type"] == "document" else "visual" for item in items}) > 1:
        raise bad("documents can't be mixed with other media types")
