"""A permission is asked for at every step: revoked in the middle of a conversation, an officer is shown no more."""

from __future__ import annotations

import pytest
from sqlalchemy import update

from db.tables.officers import Officer, Role
from handlers.flows import flow_named, flow_names
from officers.permissions import Permission
from tests.worlds import Person, World, phrase

#: Conversations of citizens and owners.
_FOR_EVERYBODY = {"report", "track", "answer", "enrol", "verify"}


async def _revoke(world: World, person: Person) -> None:
    assert person.actor is not None
    async with world.sessions.begin() as session:
        await session.execute(
            update(Officer).where(Officer.id == person.actor.officer_id).values(revoked_at=world.clock())
        )


async def test_nobody_is_named_to_an_officer_revoked_while_writing_a_notice(world: World):
    chief = await world.officer("chief", Role.COMMANDER)
    await world.owner("hoa", "Khách sạn Sao Mai")
    await chief.sends("/soan")
    await chief.sends("Cảnh giác trộm cắp.")
    await chief.presses("Bỏ qua")
    await chief.presses("Tất cả cơ sở (1)")
    await chief.presses(phrase("response.none"))
    await _revoke(world, chief)

    await chief.presses(phrase("button.send_now"))

    chief.sees_not("Sao Mai")
    chief.sees(phrase("refused.officers"))


async def test_what_a_revoked_officer_types_next_is_no_answer_any_more(world: World):
    chief = await world.officer("chief", Role.ADMIN)
    await world.officer("hai", Role.DUTY)
    await chief.sends("/canbo")
    await chief.presses(phrase("button.revoke"))
    await _revoke(world, chief)

    await chief.sends("x")
    chief.sees_not("Hai")
    chief.sees(phrase("refused.officers"))

    await chief.sends("Có người lạ.")
    chief.sees(phrase("offer.report"))


@pytest.mark.parametrize("name", sorted(flow_names()))
def test_every_conversation_of_officers_names_its_permission(name: str):
    flow = flow_named(name)
    assert flow is not None
    assert (flow.permission is None) == (name in _FOR_EVERYBODY)
    assert flow.permission is None or flow.permission in Permission
