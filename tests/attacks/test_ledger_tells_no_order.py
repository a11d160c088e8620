"""Numbers in the ledger do not tell who reported.

| an attacker with a disk and no key                    | learns                                         |
|-------------------------------------------------------|------------------------------------------------|
| reads which card came after which, by number          | no owner of any report, registered just before |
| counts the numbers between two cards                  | nothing: numbers of what has left are random   |
| looks for deliveries that buttons refer to            | numbers as random as those                     |
| reads the platform's ids of messages                  | none but those of broadcasts                   |

See also tests/deliveries/test_numbers.py.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from sqlalchemy import select

from db.engine import Sessions
from db.tables.deliveries import ButtonRow, Delivery, Purpose
from db.tables.establishments import Contact
from db.tables.officers import Role
from db.tables.reports import Report
from reports.forwarding import reporters_chat
from tests.attacks.thief import chance_bound
from tests.worlds import Clock, Person, World, open_world

OWNERS, STRANGERS = 8, 8


async def _registers(person: Person, number: int) -> None:
    await person.sends("/dangky")
    await person.presses("Nhà nghỉ")
    await person.sends(f"Nhà nghỉ Số {number}")
    await person.sends(f"{number} Lê Lợi")
    await person.sends(f"09123456{number:02d}")
    await person.presses("Đồng ý")


async def _live(world: World) -> None:
    """Owners register and report in the same sitting, strangers report between them."""
    chance = random.Random(5)
    await world.officer("boss", Role.ADMIN)
    await world.officer("truc", Role.DUTY, on_duty=True)
    people = [(number < OWNERS, await world.person(f"p{number}")) for number in range(OWNERS + STRANGERS)]
    chance.shuffle(people)
    for number, (is_owner, person) in enumerate(people):
        world.clock.advance(minutes=chance.randint(3, 30))
        if is_owner:
            await _registers(person, number)
        await person.sends("/baotin")
        await person.sends("Có người lạ " + "x" * chance.randint(0, 300))
        await person.presses("Gửi")


@pytest.mark.parametrize("kind", ["telegram", "web"])
async def test_what_lies_beside_a_card_does_not_name_a_reporter(sessions: Sessions, clock: Clock, kind: str) -> None:
    async with open_world(sessions, clock, [kind]) as world:
        await _live(world)
        async with world.sessions.reading() as session:
            rows = list(await session.scalars(select(Delivery).order_by(Delivery.id)))
            owners = {row.establishment_id: row.address for row in await session.scalars(select(Contact))}
            chats = {
                report.id: await reporters_chat(session, report, now=world.clock())
                for report in await session.scalars(select(Report))
            }
            buttons = list(await session.scalars(select(ButtonRow.delivery_id)))
    senders = {number: chat.address for number, chat in chats.items() if chat is not None}

    assert len(owners) == OWNERS and len(senders) == OWNERS + STRANGERS
    for order in (rows, rows[::-1], sorted(rows, key=lambda row: row.message_id or "")):
        assert _hits(order, owners, senders) < chance_bound(OWNERS, OWNERS, 6, doubt=1e-6)
    assert all(row.id < 0 for row in rows)
    assert all(number < 0 for number in buttons if number is not None)
    assert {len(row.message_id) for row in rows if row.message_id is not None} == {76}


def _hits(rows: Sequence[Delivery], owners: dict[int, str], senders: dict[int, str]) -> int:
    """How often the owner whose request came last before a report's card is its sender."""
    last, hits = None, 0
    for row in rows:
        if row.purpose is Purpose.FORWARD:
            hits += last is not None and senders.get(row.subject_id or 0) == owners.get(last)
            last = None
        elif row.origin.startswith("place-request:"):
            last = int(row.origin.partition(":")[2])
    return hits
