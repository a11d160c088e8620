"""People with a phone: they write, press and read."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Iterator

from bench.botapi.files import media_object
from bench.botapi.markup import buttons_in
from bench.botapi.messages import Message, chat_of
from bench.botapi.refusals import Json
from bench.botapi.telegram import Telegram

_COMMAND = re.compile(r"/[A-Za-z0-9_]{1,32}(?:@\w+)?(?=\s|$)")
#: Where somebody is who shares where they are.
_HERE = (16.0544, 108.2022)


class Person:
    """Somebody with a phone."""

    def __init__(self, api: Telegram, chat_id: int, name: str = "Lan", language: str = "vi") -> None:
        self.api = api
        self.chat_id = chat_id
        self.user: Json = {"id": chat_id, "is_bot": False, "first_name": name, "language_code": language}
        self.acted = 0
        api.known.add(chat_id)

    @property
    def messages(self) -> list[Message]:
        """What the chat shows, own messages too."""
        return [message for message in self.api.chats.get(self.chat_id, []) if not message.is_deleted]

    @property
    def inbox(self) -> list[Message]:
        """What the bot has written here."""
        return [message for message in self.messages if message.is_from_bot]

    @property
    def news(self) -> Iterator[Message]:
        """What the bot has written or changed since this person last did something, the newest first."""
        for message in reversed(self.api.chats.get(self.chat_id, [])):
            if message.is_from_bot and message.changed > self.acted and not message.is_deleted:
                yield message

    # --- writing ----------------------------------------------------------------------------------------------------

    def _writes(self, shown: Json, to: int | None = None) -> Message:
        message = self.api.arrives(to or self.chat_id, self.user, shown)
        self.acted = message.changed
        return message

    def sends(self, text: str, *, to: int | None = None, entities: list[Json] | None = None) -> Message:
        """Type and send; `to` is a group's id."""
        shown: Json = {"text": text}
        if command := _COMMAND.match(text):
            shown["entities"] = [{"type": "bot_command", "offset": 0, "length": command.end()}]
        if entities:
            shown["entities"] = entities
        return self._writes(shown, to)

    def sends_photo(self, content: bytes, caption: str = "") -> Message:
        """Send a picture."""
        return self._sends_file("photo", content, caption)

    def sends_document(self, content: bytes, caption: str = "", name: str = "file.pdf") -> Message:
        """Send a file."""
        return self._sends_file("document", content, caption, name)

    def sends_video(self, content: bytes, caption: str = "") -> Message:
        """Send a film."""
        return self._sends_file("video", content, caption)

    def sends_voice(self, content: bytes) -> Message:
        """Send a voice message."""
        return self._sends_file("voice", content, "")

    def _sends_file(self, kind: str, content: bytes, caption: str, name: str = "") -> Message:
        media = media_object(kind, self.api.files.keep(kind, content), name, len(content))
        return self._writes({kind: media, **({"caption": caption} if caption else {})})

    def sends_location(self, latitude: float, longitude: float) -> Message:
        """Send a position."""
        return self._writes({"location": {"latitude": latitude, "longitude": longitude}})

    def shares_contact(self, phone: str, *, of: int | None = None) -> Message:
        """Send a phone number: one's own, unless `of` says whose."""
        return self._writes({"contact": {"phone_number": phone, "first_name": "x", "user_id": of or self.chat_id}})

    # --- pressing ---------------------------------------------------------------------------------------------------

    def presses(self, label: str, *, message: Message | None = None, phone: str = "+84912345678") -> str:
        """Press the newest button called `label`; on a keyboard that is the same as typing it.

        Returns: The query's id ("" for a keyboard).

        Raises:
            AssertionError: There is no such button; says what there is.
        """
        for shown in [message] if message else reversed(self.inbox):
            if (data := shown.data(label)) is not None:
                return self.presses_data(data, message=shown)
        for button in buttons_in(self.api.keyboards.get(self.chat_id, [])):
            if button["text"] == label:
                self._presses_key(button, phone)
                return ""
        raise AssertionError(f"no button {label!r} for {self.chat_id}; there is: {self._labels()}")

    def _presses_key(self, button: Json, phone: str) -> None:
        if button.get("request_contact"):
            self.shares_contact(phone)
        elif button.get("request_location"):
            self.sends_location(*_HERE)
        else:
            self.sends(button["text"])

    def presses_data(self, data: str, *, message: Message) -> str:
        """Press with any data, as a forged client could; returns the query's id."""
        query_id = str(secrets.randbits(60))
        self.acted = self.api.changes
        query = {"id": query_id, "from": self.user, "message": message.api, "chat_instance": "1", "data": data}
        self.api.asks(query)
        return query_id

    def blocks(self) -> None:
        """Block the bot."""
        self.api.gate.blocked.add(self.chat_id)
        self._membership("member", "kicked")

    def unblocks(self) -> None:
        """Let the bot write again."""
        self.api.gate.blocked.discard(self.chat_id)
        self._membership("kicked", "member")

    def _membership(self, before: str, after: str) -> None:
        me = self.api.me
        states = [{"user": me, "status": s, **({"until_date": 0} if s == "kicked" else {})} for s in (before, after)]
        change = {"chat": chat_of(self.chat_id), "from": self.user, "date": int(time.time())}
        self.api.updates.push("my_chat_member", {**change, "old_chat_member": states[0], "new_chat_member": states[1]})

    # --- reading ----------------------------------------------------------------------------------------------------

    async def sees(self, text: str, within: float = 10.0) -> Message:
        """The newest message of the bot's that holds `text`, new or edited since this person last did something.

        Raises:
            AssertionError: There was none in time; says what there was.
        """
        try:
            found = await self.api.until(lambda: next((one for one in self.news if text in one.text), None), within)
        except TimeoutError:
            shown = [message.text for message in self.inbox[-5:]]
            raise AssertionError(f"{self.chat_id} does not see {text!r} within {within} s, but {shown}") from None
        return found

    def _labels(self) -> list[str]:
        inline = [button["text"] for message in self.inbox for button in buttons_in(message.buttons)]
        typed = [button["text"] for button in buttons_in(self.api.keyboards.get(self.chat_id, []))]
        return inline + typed
