"""A channel that keeps its messages with us: the Bot API over chats of our own."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from channels.envelope import MEDIA_CALLS, Gateway, Params, bad_request, buttons_of, checked, no_file, shown_by, text_of
from channels.port import MediaKind
from channels.shapes import FileRef, Json, Shown, Upload


class MessageGateway(Gateway):
    """The Bot API for a place of our own, with buttons, edits, deletes and files.

    Subclasses keep the messages; the rules Telegram has for them are here.
    """

    async def answer(self, method: str, params: Params, files: Mapping[str, Upload]) -> Any:
        if method in MEDIA_CALLS:
            return await self._send_file(MEDIA_CALLS[method], params, files)
        return await super().answer(method, params, files)

    @abstractmethod
    async def append(self, address: str, contents: Sequence[Shown]) -> list[Json]:
        """Write new messages, all or none; their Message objects. Raises ApiRefusal for an unknown chat."""

    @abstractmethod
    async def change(self, address: str, message_id: str, change: Callable[[Shown], Shown]) -> Json:
        """Put `change(content)` in a message's place; its Message object.

        Raises:
            ApiRefusal: There is no such message of ours, or `change` refuses.
        """

    @abstractmethod
    async def remove(self, address: str, message_id: str) -> None:
        """Delete a message; raises ApiRefusal."""

    @abstractmethod
    async def keep_file(self, kind: MediaKind, upload: Upload) -> FileRef:
        """Store a file the bot sends."""

    @abstractmethod
    async def find_file(self, file_id: str) -> FileRef | None:
        """A file stored before."""

    async def call_send_message(self, params: Params, files: Mapping[str, Upload]) -> Json:
        """Send text."""
        return (await self.append(str(params["chat_id"]), [checked(shown_by(params))]))[0]

    async def call_send_location(self, params: Params, files: Mapping[str, Upload]) -> Json:
        """Send a point on the map."""
        place = {"latitude": float(params["latitude"]), "longitude": float(params["longitude"])}
        return (await self.append(str(params["chat_id"]), [replace(shown_by(params), location=place)]))[0]

    async def _send_file(self, kind: MediaKind, params: Params, files: Mapping[str, Upload]) -> Json:
        shown = checked(replace(shown_by(params, "caption"), files=(_ANY_FILE,)))
        await self.chat_of(str(params["chat_id"]))
        file = await self._file(kind, params.get(kind), files.get(kind), files)
        return (await self.append(str(params["chat_id"]), [replace(shown, files=(file,))]))[0]

    async def call_send_media_group(self, params: Params, files: Mapping[str, Upload]) -> list[Json]:
        """Send an album: 2 to 10 files as messages of their own, all or none."""
        if not 2 <= len(params["media"]) <= 10:
            raise bad_request("there must be 2 to 10 media in an album")
        await self.chat_of(str(params["chat_id"]))
        contents = []
        for item in params["media"]:
            shown = checked(replace(shown_by({**item, **_about(params)}, "caption"), files=(_ANY_FILE,)))
            file = await self._file(item["type"], item.get("media"), None, files)
            contents.append(replace(shown, files=(file,)))
        return await self.append(str(params["chat_id"]), contents)

    async def _file(
        self, kind: MediaKind, named: str | None, upload: Upload | None, files: Mapping[str, Upload]
    ) -> FileRef:
        if named and named.startswith("attach://"):
            upload = files.get(named.removeprefix("attach://"))
        if upload is not None:
            if not upload.content:
                raise bad_request("file must be non-empty")
            return await self.keep_file(kind, upload)
        found = await self.find_file(named) if named else None
        if found is None:
            raise no_file()
        return replace(found, kind=kind)

    async def call_edit_message_text(self, params: Params, files: Mapping[str, Upload]) -> Json:
        """Replace a message's text and buttons."""
        text, entities = text_of(params)

        def change(content: Shown) -> Shown:
            if content.files or content.location:
                raise bad_request("there is no text in the message to edit")
            return checked(replace(content, text=text, entities=entities, buttons=buttons_of(params)))

        return await self._edit(params, change)

    async def call_edit_message_caption(self, params: Params, files: Mapping[str, Upload]) -> Json:
        """Replace a file's caption and buttons."""
        text, entities = text_of(params, "caption")

        def change(content: Shown) -> Shown:
            if not content.files:
                raise bad_request("there is no caption in the message to edit")
            return checked(replace(content, text=text, entities=entities, buttons=buttons_of(params)))

        return await self._edit(params, change)

    async def call_edit_message_reply_markup(self, params: Params, files: Mapping[str, Upload]) -> Json:
        """Replace a message's buttons."""
        return await self._edit(params, lambda content: replace(content, buttons=buttons_of(params)))

    async def _edit(self, params: Params, change: Callable[[Shown], Shown]) -> Json:
        def changed(content: Shown) -> Shown:
            new = change(content)
            if new == content:
                raise bad_request("message is not modified")
            return new

        return await self.change(str(params["chat_id"]), str(params["message_id"]), changed)

    async def call_delete_message(self, params: Params, files: Mapping[str, Upload]) -> bool:
        """Take a message back."""
        await self.remove(str(params["chat_id"]), str(params["message_id"]))
        return True

    async def call_get_file(self, params: Params, files: Mapping[str, Upload]) -> Json:
        """Where a file can be downloaded."""
        found = await self.find_file(str(params["file_id"]))
        if found is None:
            raise bad_request("invalid file_id")
        path = f"files/{found.id}"
        return {"file_id": found.id, "file_unique_id": found.id[:16], "file_size": found.size, "file_path": path}


_ANY_FILE = FileRef("", "document", "", "", 0)


def _about(params: Params) -> Json:
    return {name: params[name] for name in ("disable_notification",) if name in params}
