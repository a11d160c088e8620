"""An expected "no" that carries the text to show."""

from __future__ import annotations


class Refusal(Exception):
    """What was asked cannot be done, for a reason the person is told: the text under `key`, filled with `params`.

    Not an incident: nothing is logged. `str()` gives the key alone, never what the person wrote.
    """

    def __init__(self, key: str, /, **params: str | int) -> None:
        super().__init__(key)
        self.key = key
        self.params = params
