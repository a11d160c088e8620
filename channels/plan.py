"""What calls a message is made of, in which order, before anything is sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from channels.port import Attachment, Capabilities, Outgoing, within_limit
from texts.markup import split, utf16_len

Entities = tuple[dict[str, Any], ...]
CallbackData = Mapping[tuple[int, int], str]

ALBUM_LIMIT = 10
NO_PREVIEW = {"is_disabled": True}
_SHARE_KEYS = {"contact": "button.share_contact", "location": "button.share_location"}


@dataclass(frozen=True, slots=True)
class Step:
    """One Bot API call; the main one's message is the one that carries the buttons."""

    method: str
    parameters: dict[str, Any]
    attachments: tuple[Attachment, ...] = ()
    is_main: bool = False


@dataclass(frozen=True, slots=True)
class Planner:
    """Plans for one channel.

    Attributes:
        translate: The plain text of a key in a language, for the platform's own buttons.
    """

    capabilities: Capabilities
    translate: Callable[[str, str], str]

    def calls(self, outgoing: Outgoing, markup: dict[str, Any] | None) -> Iterator[Step]:
        """The calls, in order: point, text, files. The buttons are on the text wherever there is one."""
        runs = list(_runs(outgoing.attachments, albums=bool(outgoing.text) or not markup))
        has_text = bool(outgoing.text)
        captioned = has_text and self._fits_caption(outgoing, runs, markup)
        if point := outgoing.point:
            alone = not has_text and not runs
            where = {"latitude": point.latitude, "longitude": point.longitude}
            yield Step("sendLocation", add(where, reply_markup=markup if alone else None), is_main=alone)
        if has_text and not captioned:
            yield from self._text_steps(outgoing, markup)
        for number, run in enumerate(runs, start=1):
            is_main = captioned or (not has_text and number == len(runs))
            caption = (outgoing.text, outgoing.entities) if captioned else ("", ())
            yield _file_step(run, caption, markup if is_main else None, is_main=is_main)

    def _fits_caption(
        self, outgoing: Outgoing, runs: Sequence[tuple[Attachment, ...]], markup: dict[str, Any] | None
    ) -> bool:
        """Whether all is one message: one file, or one album without buttons, which albums cannot carry."""
        if len(runs) != 1 or (markup and len(runs[0]) > 1):
            return False
        return utf16_len(outgoing.text) <= self.capabilities.caption_limit

    def _text_steps(self, outgoing: Outgoing, markup: dict[str, Any] | None) -> Iterator[Step]:
        parts = split(outgoing.text, outgoing.entities, self.capabilities.text_limit)
        for number, (text, entities) in enumerate(parts, start=1):
            is_last = number == len(parts)
            parameters = {"text": text, "link_preview_options": NO_PREVIEW}
            add(parameters, entities=list(entities), reply_markup=markup if is_last else None)
            yield Step("sendMessage", parameters, is_main=is_last)

    def markup(self, outgoing: Outgoing, callback_data: CallbackData) -> dict[str, Any] | None:
        """What stands under the message: its buttons, or the keyboard that asks for something, or that it goes."""
        if outgoing.asks is None:
            removed = {"remove_keyboard": True} if outgoing.drops_keyboard else None
            return inline(outgoing, callback_data) or removed
        label = self.translate(outgoing.language, _SHARE_KEYS[outgoing.asks])
        rows = [[{"text": label, f"request_{outgoing.asks}": True}]]
        rows += [[{"text": button.label} for button in row] for row in within_limit(outgoing.buttons)]
        return {"keyboard": rows, "resize_keyboard": True, "one_time_keyboard": True}


def marked(outgoing: Outgoing, mark: str) -> Outgoing:
    """A message with a mark on a line before it: its first attempt may have arrived."""
    if not outgoing.text:
        return replace(outgoing, text=mark)
    moved = tuple({**entity, "offset": entity["offset"] + utf16_len(mark) + 1} for entity in outgoing.entities)
    return replace(outgoing, text=f"{mark}\n{outgoing.text}", entities=moved)


def add(parameters: dict[str, Any], **more: Any) -> dict[str, Any]:
    """`parameters` with those of `more` that say something."""
    parameters.update({name: value for name, value in more.items() if value})
    return parameters


def places_of(outgoing: Outgoing) -> Iterator[tuple[int, int]]:
    """Row and column of every button."""
    for y, row in enumerate(outgoing.buttons):
        yield from ((y, x) for x in range(len(row)))


def inline(outgoing: Outgoing, callback_data: CallbackData) -> dict[str, Any] | None:
    """The buttons under a message; None where there are none."""
    rows = [
        [
            {"text": button.label, **({"url": button.url} if button.url else {"callback_data": callback_data[y, x]})}
            for x, button in enumerate(row)
        ]
        for y, row in enumerate(within_limit(outgoing.buttons))
    ]
    return {"inline_keyboard": rows} if rows else None


def _runs(attachments: Sequence[Attachment], *, albums: bool) -> Iterator[tuple[Attachment, ...]]:
    """Neighbours that may share an album: pictures with videos, documents with documents, voices alone."""
    for kind, group in groupby(attachments, lambda file: "visual" if file.kind in ("photo", "video") else file.kind):
        files = tuple(group)
        size = ALBUM_LIMIT if albums and kind != "voice" else 1
        yield from (files[start : start + size] for start in range(0, len(files), size))


def _file_step(
    run: tuple[Attachment, ...], caption: tuple[str, Entities], markup: dict[str, Any] | None, *, is_main: bool
) -> Step:
    text, entities = caption
    described = add({}, caption=text, caption_entities=list(entities))
    if len(run) == 1:
        method = f"send{run[0].kind.capitalize()}"
        return Step(method, add(described, reply_markup=markup), run, is_main=is_main)
    media: list[dict[str, Any]] = [{"type": file.kind} for file in run]
    media[0].update(described)
    return Step("sendMediaGroup", {"media": media}, run, is_main=is_main)
