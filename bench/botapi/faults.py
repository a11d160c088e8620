"""What goes wrong between a bot and Telegram."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

from bench.botapi.refusals import Json, Refused

FaultKind = Literal["hang", "cut", "cut_before", "garbage", "refuse"]


@dataclass
class Fault:
    """What happens to the next `times` calls of `method` (of `chat_id`, when given).

    hang: done, but the answer never comes; cut: done, then the connection breaks; cut_before: the connection breaks
    and nothing is done; garbage: done, and the answer is not JSON; refuse: nothing is done and `code` is answered.
    """

    method: str
    kind: FaultKind
    times: int = 1
    chat_id: int | None = None
    code: int = 502
    body: str = "<html>Bad Gateway</html>"

    @classmethod
    def refusing(cls, method: str, refused: Refused, **more: Any) -> Fault:
        """Telegram says no, in words of its own."""
        return cls(method, "refuse", code=refused.code, body=json.dumps(refused.body), **more)

    def meets(self, method: str, parameters: Json) -> bool:
        """Whether this call is meant."""
        chat = self.chat_id is None or str(self.chat_id) == str(parameters.get("chat_id"))
        return self.method == method and chat


def next_fault(faults: list[Fault], method: str, parameters: Json) -> Fault | None:
    """The first fault that meets this call, counted down; one that is used up leaves the list."""
    for fault in faults:
        if fault.meets(method, parameters):
            fault.times -= 1
            if fault.times <= 0:
                faults.remove(fault)
            return fault
    return None
