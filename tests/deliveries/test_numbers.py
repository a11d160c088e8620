"""What has left takes a random number, and what refers to it follows."""

from __future__ import annotations

from sqlalchemy import select

from channels.port import Button, Outgoing
from db.tables.deliveries import ButtonRow, Delivery, DeliveryState, Lane
from deliveries.claims import claim, show_buttons
from deliveries.copies import message_id_of
from deliveries.outcomes import Outcome, forget_order, settle
from tests.deliveries.conftest import Post


async def test_buttons_follow_a_row_to_its_new_number(post: Post):
    said = Outgoing("Xin chào", buttons=((Button("Nhận", "report.take", ("1",)),),))
    await post.queue("lan", outgoing=said, lane=Lane.REPORT)
    async with post.sessions.begin() as session:
        (claimed,) = await claim(session, "memory", limit=1, now=post.clock())
        await show_buttons(session, [claimed], now=post.clock())
    async with post.sessions.begin() as session:
        await settle(session, [Outcome(claimed, DeliveryState.SENT, message_id="7")], now=post.clock())

    async with post.sessions.reading() as session:
        row = (await session.scalars(select(Delivery))).one()
        button = (await session.scalars(select(ButtonRow))).one()
        assert message_id_of(session, row) == "7"
    assert row.id < 0 and button.delivery_id == row.id and row.message_id != "7"


async def test_a_row_that_waits_again_keeps_its_place(post: Post):
    await post.queue("lan")
    async with post.sessions.begin() as session:
        (claimed,) = await claim(session, "memory", limit=1, now=post.clock())
        await settle(session, [Outcome(claimed, DeliveryState.PENDING)], now=post.clock())

    async with post.sessions.reading() as session:
        assert (await session.scalars(select(Delivery.id))).one() == claimed.id


async def test_what_ended_otherwise_gets_its_new_number_at_night(post: Post):
    for address in ("lan", "hoa"):
        await post.queue(address, lane=Lane.REPORT)
    async with post.sessions.begin() as session:
        claimed = await claim(session, "memory", limit=2, now=post.clock())
        failed = [Outcome(one, DeliveryState.FAILED, reason="refused") for one in claimed]
        await settle(session, failed, now=post.clock())

    async with post.sessions.begin() as session:
        assert [await forget_order(session, limit=limit) for limit in (1, 5, 5)] == [1, 1, 0]

    async with post.sessions.reading() as session:
        assert all(number < 0 for number in await session.scalars(select(Delivery.id)))
