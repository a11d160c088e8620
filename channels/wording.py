"""From a text key to a message that can be sent."""

from __future__ import annotations

from functools import cache

from channels.port import Asks, Attachment, Button, Outgoing, Point
from texts.catalogue import LANGUAGES, Catalogue
from texts.markup import parse

Rows = tuple[tuple[Button, ...], ...]


@cache
def catalogue() -> Catalogue:
    """All texts, read once."""
    return Catalogue.load()


def spoken(language: str | None) -> str:
    """A language there are texts in: this one, else Vietnamese."""
    return language if language in LANGUAGES else LANGUAGES[0]


def html(language: str, key: str, /, **params: str | int) -> str:
    """The text under `key` as markup, parameters escaped."""
    return catalogue().text(language, key, **params)


def plain(language: str, key: str, /, **params: str | int) -> str:
    """The text under `key` without its formatting."""
    return parse(html(language, key, **params))[0]


def button(language: str, key: str, verb: str, *args: str | int, once: bool = True) -> Button:
    """A button whose label is the text under `key`."""
    return Button(plain(language, key), verb, tuple(str(arg) for arg in args), once)


def rows(*buttons: Button) -> Rows:
    """One button a row: easy to hit on a small phone."""
    return tuple((button,) for button in buttons)


def from_html(
    markup: str,
    language: str,
    *,
    buttons: Rows = (),
    attachments: tuple[Attachment, ...] = (),
    point: Point | None = None,
    asks: Asks | None = None,
    brief: str | None = None,
) -> Outgoing:
    """A message from markup; raises ValueError when it is malformed."""
    text, entities = parse(markup)
    return Outgoing(
        text,
        tuple(entities),
        buttons,
        attachments,
        point=point,
        asks=asks,
        language=language,
        brief=brief,
    )


def message(
    language: str, key: str, /, *, buttons: Rows = (), asks: Asks | None = None, **params: str | int
) -> Outgoing:
    """A message with the text under `key`."""
    return from_html(html(language, key, **params), language, buttons=buttons, asks=asks)
