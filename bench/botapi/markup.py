"""Texts, entities and buttons of a call, checked as strictly as Telegram checks them.

Source: core.telegram.org/bots/api (sendMessage, formatting options, InlineKeyboardButton; read 2026-11); the 100
buttons of an inline keyboard are what operators report.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser

from bench.botapi.refusals import Json, bad

TEXT_LIMIT, CAPTION_LIMIT = 4096, 1024
_BUTTONS, _DATA_BYTES = 100, 64
_TAGS = {"b": "bold", "strong": "bold", "i": "italic", "em": "italic", "u": "underline", "s": "strikethrough"}
_TAGS |= {"code": "code", "pre": "pre", "blockquote": "blockquote", "tg-spoiler": "spoiler", "a": "text_link"}


def text_of(parameters: Json) -> Json:
    """The members of a message that show the text of a call; raises Refused."""
    shown = _worded(parameters, "text", "entities")
    if not str(shown.get("text", "")).strip():
        raise bad("message text is empty")
    if _utf16(shown["text"]) > TEXT_LIMIT:
        raise bad("message is too long")
    return shown


def caption_of(parameters: Json) -> Json:
    """The members of a message that show the caption of a call, if it has one; raises Refused."""
    shown = _worded(parameters, "caption", "caption_entities")
    if _utf16(shown.get("caption", "")) > CAPTION_LIMIT:
        raise bad("message caption is too long")
    return shown


def _worded(parameters: Json, name: str, member: str) -> Json:
    text, entities = str(parameters.get(name) or ""), list(parameters.get(member) or [])
    if parameters.get("parse_mode") == "HTML":
        text, entities = _parse_html(text)
    for entity in entities:
        if entity["offset"] < 0 or entity["length"] <= 0 or entity["offset"] + entity["length"] > _utf16(text):
            raise bad("can't parse entities: entity is out of the text")
    shown: Json = {name: text} if text else {}
    return {**shown, member: entities} if entities else shown


def _utf16(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _parse_html(text: str) -> tuple[str, list[Json]]:
    parser = _Html()
    parser.feed(text)
    parser.close()
    if parser.open:
        raise bad("can't parse entities: Can't find end tag")
    return parser.text, parser.entities


class _Html(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.text = ""
        self.entities: list[Json] = []
        self.open: list[Json] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _TAGS:
            raise bad(f'can\'t parse entities: Unsupported start tag "{tag}"')
        link = {"url": dict(attrs).get("href")} if tag == "a" else {}
        entity = {"type": _TAGS[tag], "offset": _utf16(self.text), "length": 0, **link}
        self.open.append(entity)
        self.entities.append(entity)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open[-1]["type"] != _TAGS.get(tag):
            raise bad("can't parse entities: Unmatched end tag")
        entity = self.open.pop()
        entity["length"] = _utf16(self.text) - entity["offset"]
        if not entity["length"]:
            self.entities.remove(entity)

    def handle_data(self, data: str) -> None:
        self.text += data


def markup_of(parameters: Json) -> Json | None:
    """The reply markup of a call, None where it has none or an empty one; raises Refused."""
    markup = parameters.get("reply_markup")
    if not markup:
        return None
    if not isinstance(markup, dict):
        raise bad("object expected as reply markup")
    if "inline_keyboard" not in markup:
        return dict(markup)
    buttons = list(buttons_in(markup["inline_keyboard"]))
    if len(buttons) > _BUTTONS:
        raise bad("reply markup is too long")
    for button in buttons:
        _check(button)
    return dict(markup) if markup["inline_keyboard"] else None


def buttons_in(rows: list[list[Json]]) -> Iterator[Json]:
    """The buttons of a keyboard, row after row."""
    return (button for row in rows for button in row)


def _check(button: Json) -> None:
    if not str(button.get("text", "")).strip():
        raise bad("text buttons are unallowed in the inline keyboard")
    data, url = button.get("callback_data"), button.get("url")
    if data is not None and not 1 <= len(str(data).encode()) <= _DATA_BYTES:
        raise bad("BUTTON_DATA_INVALID")
    if data is None and not re.match(r"https?://|tg://", str(url)):
        raise bad("BUTTON_URL_INVALID" if url else "BUTTON_TYPE_INVALID")
