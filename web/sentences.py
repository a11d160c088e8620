"""What the web answers when it cannot do what was asked, in the visitor's language."""

from __future__ import annotations

from channels.wording import plain
from texts.catalogue import LANGUAGES

#: Every code of the HTTP contract; `problem.…` in the catalogues says each.
CODES = (
    *("empty", "too_long", "too_large", "bad_request", "not_json", "old_button", "not_found"),
    *("no_chat", "cross_site", "too_fast", "outage"),
)


class Refused(Exception):
    """The request is answered with this code's sentence; `wait` is for "too_fast", seconds."""

    def __init__(self, code: str, *, wait: float = 0.0) -> None:
        super().__init__(code)
        self.code = code
        self.wait = wait


def sentence(language: str, code: str, *, police: str) -> str:
    """The sentence for a code of the HTTP contract. `police`: whom to call."""
    return plain(language, f"problem.{code}", police=police)


def preferred_language(accept: str) -> str:
    """The one of our languages an Accept-Language header likes best; Vietnamese when it names none."""
    wishes = []
    for wish in accept.split(","):
        tag, _, weight = wish.strip().partition(";q=")
        wishes.append((-_weight(weight), tag[:2].lower()))
    liked = [tag for _, tag in sorted(wishes, key=lambda wish: wish[0]) if tag in LANGUAGES]
    return liked[0] if liked else "vi"


def _weight(text: str) -> float:
    try:
        return float(text or 1)
    except ValueError:
        return 0.0
