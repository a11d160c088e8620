"""Ten thousand people write: nothing in memory grows with them, and nobody's id stays there."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

from telegram import Update
from telegram.ext import TypeHandler

from tests.worlds import World

PEOPLE = 10_000
FIRST = 7_300_000_000


async def _looks_at_data(update: Update, context: Any) -> None:
    """What some library code does on our behalf: asking is enough to make python-telegram-bot keep an entry."""
    assert context.user_data == {} and context.chat_data == {}


async def test_ten_thousand_writers_leave_no_id_in_the_application(telegram_world: World):
    application = telegram_world.house.applications["telegram"]
    application.add_handler(TypeHandler(Update, _looks_at_data), group=1)

    for number in range(PEOPLE):
        person = {"id": FIRST + number, "is_bot": False, "first_name": "Lan"}
        chat = {"id": FIRST + number, "type": "private"}
        # An edited message: no handler of ours wants it, so all that is left of it is what the library keeps.
        edited = {"message_id": 1, "date": 1, "edit_date": 2, "chat": chat, "from": person, "text": "x"}
        await application.process_update(Update.de_json({"update_id": number, "edited_message": edited}, None))
    application.mark_data_for_update_persistence(chat_ids=[FIRST], user_ids=FIRST)

    gc.collect()
    kept = {number for number in _numbers(application) if FIRST <= number < FIRST + PEOPLE}
    assert not kept, f"{len(kept)} of {PEOPLE} ids are still in memory"


def _numbers(application: Any) -> Iterator[int]:
    """Every whole number in the containers an application holds, at any depth."""
    seen: set[int] = set()
    todo: list[Any] = [
        value
        for name in dir(type(application))
        if name.startswith(("_", "chat", "user", "bot_data"))
        for value in [getattr(application, name, None)]
        if not callable(value)
    ]
    while todo:
        value: Any = todo.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, int):
            yield value
        elif isinstance(value, dict) or type(value).__name__ == "mappingproxy":
            todo += [*value.keys(), *value.values()]
        elif isinstance(value, set | frozenset | list | tuple):
            todo += value
