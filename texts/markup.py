"""Marked-up text: from our HTML subset to plain text with entities, in parts, and cleaned.

Entities are Bot API MessageEntity objects; their offsets and lengths count UTF-16 code units.
Source: core.telegram.org/bots/api#formatting-options and #messageentity (Bot API 10.0, read 2026-11).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any

Entity = dict[str, Any]
Marked = tuple[str, tuple[Entity, ...]]

_TYPES = {
    "b": "bold",
    "i": "italic",
    "u": "underline",
    "s": "strikethrough",
    "code": "code",
    "pre": "pre",
    "a": "text_link",
    "blockquote": "blockquote",
    "tg-spoiler": "spoiler",
}
_CHARACTERS = {"lt": "<", "gt": ">", "amp": "&", "quot": '"'}
_TOKEN = re.compile(
    r"""<(?P<opened>[a-z-]+)(?:\ href="(?P<href>[^"<>]*)")?>
      | </(?P<closed>[a-z-]+)>
      | &(?P<character>lt|gt|amp|quot);
      | (?P<plain>[^<&]+)""",
    re.VERBOSE,
)
_SEPARATORS = ("\n\n", "\n", " ")
_BIDI = frozenset(map(chr, [*range(0x202A, 0x202F), *range(0x2066, 0x206A)]))
_LINE_ENDS = re.compile("\r\n|[\r\x85\u2028\u2029]")
# Letters and symbols that are drawn as nothing: Hangul fillers, the blank braille cell, variation selectors.
_DRAWN_AS_NOTHING = frozenset("\u115f\u1160\u3164\uffa0\u2800\u034f\ufe0e\ufe0f")


def utf16_len(text: str) -> int:
    """How long the Bot API takes `text` to be."""
    # Encoding is done in C; a surrogate that stands alone counts as the one unit it is.
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def parse(html: str) -> Marked:
    """Plain text and its entities, the outer before the inner.

    The tags are b, i, u, s, code, pre, a (with href), blockquote and tg-spoiler; the characters &lt; &gt; &amp;
    and &quot;. Entities over nothing are left out.

    Raises:
        ValueError: anything else, tags that do not match, or tags inside code or pre.
    """
    return _Parser().parse(html)


class _Parser:
    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._length = 0
        self._open: list[tuple[str, Entity]] = []
        self._entities: list[Entity] = []

    def parse(self, html: str) -> Marked:
        for token in _tokens(html):
            if token["opened"]:
                self._start(token["opened"], token["href"])
            elif token["closed"]:
                self._end(token["closed"])
            else:
                self._add(_CHARACTERS[token["character"]] if token["character"] else token["plain"])
        if self._open:
            raise ValueError(f"<{self._open[-1][0]}> is not closed")
        return "".join(self._pieces), tuple(entity for entity in self._entities if entity["length"])

    def _start(self, tag: str, href: str | None) -> None:
        if tag not in _TYPES or (tag == "a") != bool(href):
            raise ValueError(f"not in our markup: <{tag}>")
        if any(outer in ("code", "pre") for outer, _ in self._open):
            raise ValueError(f"<{tag}> inside code or pre")
        entity: Entity = {"type": _TYPES[tag], "offset": self._length, "length": 0}
        if href:
            entity["url"] = _unescaped(href)
        self._open.append((tag, entity))
        self._entities.append(entity)

    def _end(self, tag: str) -> None:
        if not self._open or self._open[-1][0] != tag:
            raise ValueError(f"</{tag}> closes nothing")
        _, entity = self._open.pop()
        entity["length"] = self._length - entity["offset"]

    def _add(self, plain: str) -> None:
        self._pieces.append(plain)
        self._length += utf16_len(plain)


def _tokens(html: str) -> Iterator[re.Match[str]]:
    position = 0
    while position < len(html):
        token = _TOKEN.match(html, position)
        if token is None:
            raise ValueError(f"malformed markup at {position}: {html[position : position + 20]!r}")
        yield token
        position = token.end()


def _unescaped(href: str) -> str:
    return re.sub("&(lt|gt|amp|quot);", lambda match: _CHARACTERS[match[1]], href)


def split(text: str, entities: Sequence[Entity], limit: int) -> list[Marked]:
    """The text in parts of at most `limit` UTF-16 units, cut between paragraphs, else lines, else words, else anywhere.

    What is cut at is left out, as are blank parts; an entity over a cut goes on in the next part.
    """
    if limit < 2:
        raise ValueError("a part must hold at least one character")
    if utf16_len(text) <= limit:
        return [(text, tuple(entities))]
    parts = [_part(text, entities, start, end) for start, end in _spans(text, limit)]
    return [part for part in parts if part[0]]


def _spans(text: str, limit: int) -> Iterator[tuple[int, int]]:
    """Where the parts are, as indices into `text`."""
    start = 0
    while start < len(text):
        end = _cut(text, start, _fitting(text, start, limit))
        yield start, start + len(text[start:end].rstrip())
        start = len(text) - len(text[end:].lstrip())


def _fitting(text: str, start: int, limit: int) -> int:
    """The end of the longest piece from `start` that fits into `limit`."""
    end = min(start + limit, len(text))
    excess = utf16_len(text[start:end]) - limit
    while excess > 0:
        end -= 1
        excess -= utf16_len(text[end])
    return end


def _cut(text: str, start: int, end: int) -> int:
    """The best place to cut at or before `end`: first in the second half, so that parts do not get tiny."""
    if end == len(text):
        return end
    for earliest in (start + (end - start) // 2, start + 1):
        for separator in _SEPARATORS:
            found = text.rfind(separator, earliest, end + len(separator))
            if found > start:
                return found
    return end


def _part(text: str, entities: Sequence[Entity], start: int, end: int) -> Marked:
    first = utf16_len(text[:start])
    last = first + utf16_len(text[start:end])
    cut = []
    for entity in entities:
        begins = max(entity["offset"], first)
        ends = min(entity["offset"] + entity["length"], last)
        if begins < ends:
            cut.append({**entity, "offset": begins - first, "length": ends - begins})
    return text[start:end], tuple(cut)


def clean(text: str) -> str:
    """What may be stored and shown: NFC, lines ended by \\n, without control characters but \\n and \\t.

    Characters that turn the direction of writing go too, and lone surrogates, which no database takes.
    Emoji keep their joiners.
    """
    kept = (letter for letter in _LINE_ENDS.sub("\n", text) if _may_stay(letter))
    return unicodedata.normalize("NFC", "".join(kept))


def _may_stay(letter: str) -> bool:
    return letter in "\n\t" or (unicodedata.category(letter) not in ("Cc", "Cs") and letter not in _BIDI)


def is_blank(text: str) -> bool:
    """Whether there is nothing to see: only spaces, zero-width and control characters."""
    return all(
        letter.isspace() or letter in _DRAWN_AS_NOTHING or unicodedata.category(letter) in ("Cc", "Cf", "Cs")
        for letter in text
    )
