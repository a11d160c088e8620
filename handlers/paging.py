"""Long lists, a page at a time: nobody reads a wall, and no platform takes more than a hundred buttons."""

from __future__ import annotations

from dataclasses import dataclass

from channels.wording import Rows, button
from handlers.context import Turn
from handlers.words import Speaks

#: How many stand on a page; two more are not worth a second one.
SIZE = 10
_SPARE = 2
#: Names and addresses in a list are cut here, so that a page is one message; their own card shows all.
_LONGEST = 60


@dataclass(frozen=True, slots=True)
class Page:
    """Which of `total` items are shown: those from `start` up to, not including, `stop`. `number` counts from 0."""

    number: int
    pages: int
    start: int
    stop: int
    total: int

    @property
    def left(self) -> int:
        """How many come after this page."""
        return self.total - self.stop


def page_at(number: int, total: int, *, size: int = SIZE) -> Page:
    """The page of that number; the nearest there is when the list has become shorter."""
    if total <= size + _SPARE:
        return Page(0, 1, 0, total, total)
    pages = -(-total // size)
    number = min(max(number, 0), pages - 1)
    return Page(number, pages, number * size, min(total, (number + 1) * size), total)


def foot(words: Speaks, page: Page) -> str:
    """Where one is in a list and how many are left (markup), after a blank line; empty for a short list."""
    if page.pages == 1:
        return ""
    key = "page.where" if page.left else "page.last"
    return "\n\n" + words.html(key, page=page.number + 1, pages=page.pages, left=page.left)


def turners(turn: Turn, page: Page, verb: str, *args: str | int) -> Rows:
    """The row that leads to the page before and after: `verb` with `args` and the number of that page."""
    row = []
    if page.number > 0:
        row.append(button(turn.language, "button.page_before", verb, *args, page.number - 1, once=False))
    if page.left:
        row.append(button(turn.language, "button.page_after", verb, *args, page.number + 1, once=False))
    return (tuple(row),) if row else ()


def clipped(text: str) -> str:
    """A name or an address as a list shows it."""
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1].rstrip() + "…"


def several(words: Speaks, names: list[str] | tuple[str, ...], *, most: int = 5) -> str:
    """Names in a sentence: the first few, and how many more there are."""
    shown = ", ".join(names[:most])
    more = len(names) - most
    return shown if more <= 0 else f"{shown} {words.plain('compose.and_more', n=more)}"
