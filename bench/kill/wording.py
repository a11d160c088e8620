"""How people find what they were told: by the texts of the catalogue."""

from __future__ import annotations

import re
from functools import cache

from bench.botapi.messages import Message
from channels.wording import catalogue, plain
from texts.markup import parse

_MARK = plain("vi", "sending.again")
_PLACE = re.compile("\ue000(\\w+)\ue001")


@cache
def pattern(key: str, **fixed: str) -> re.Pattern[str]:
    """What finds the Vietnamese text under `key` in a message; its places are groups, `fixed` ones are given."""
    alternatives = []
    for form in catalogue().forms("vi", key):
        names = catalogue().placeholders("vi", key)
        text = parse(form.format_map({name: f"\ue000{name}\ue001" for name in names}))[0]
        pieces, groups = _PLACE.split(text), set[str]()
        built = re.escape(pieces[0])
        for name, literal in zip(pieces[1::2], pieces[2::2], strict=True):
            if name in fixed:
                built += re.escape(fixed[name])
            else:
                built += "(?s:.+?)" if name in groups else f"(?P<{name}>(?s:.+?))"
                groups.add(name)
            built += re.escape(literal)
        alternatives.append(re.compile(f"{built}$" if pieces[-1] == "" and len(pieces) > 1 else built))
    return alternatives[-1]


def label(key: str) -> str:
    """What a button says."""
    return plain("vi", key)


def is_marked(message: Message) -> bool:
    """Whether it said at first that it was sent again."""
    return message.history[0].startswith(_MARK)


def about(words: str) -> str:
    """The number of the notice, report or place a message is about."""
    found = re.search(r"\b(?:TB|T|CS)-\w+", words)
    return found[0] if found else words
