"""The ledger: queued once, claimed once, settled once; what is in doubt stays listed."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import func, select

from channels.port import Button, Outgoing, Recipient
from db.tables.broadcasts import Broadcast, Notice, NoticeState, Response
from db.tables.deliveries import Content, Delivery, DeliveryState, Lane
from deliveries import calling_off, claims
from deliveries.claims import LEASE, claim
from deliveries.ledger import open_delivery
from deliveries.outcomes import Outcome, recover, settle

LAN = Recipient("memory", "lan")


async def claimed(post, *, limit=10, channel="memory"):
    async with post.sessions.begin() as session:
        return await claim(session, channel, limit=limit, now=post.clock())


async def settles(post, *outcomes):
    async with post.sessions.begin() as session:
        await settle(session, outcomes, now=post.clock())


async def contents(post) -> int:
    async with post.sessions.reading() as session:
        return await session.scalar(select(func.count()).select_from(Content)) or 0


async def test_a_second_push_under_one_key_is_not_queued(post):
    await post.queue("lan", key="report:1/forward")
    async with post.sessions.begin() as session:
        again = await open_delivery(
            session, Outgoing("?"), to=LAN, key="report:1/forward", origin="x", lane=Lane.ROUTINE, now=post.clock()
        )
    assert again is False
    assert len(await post.rows()) == await contents(post) == 1


async def test_what_was_rolled_back_was_never_queued(post):
    with pytest.raises(LookupError):
        async with post.sessions.begin() as session:
            await open_delivery(session, Outgoing("?"), to=LAN, key="k", origin="x", lane=Lane.REPLY, now=post.clock())
            raise LookupError
    assert await post.rows() == []


async def test_a_claimed_row_is_not_claimed_again(post):
    await post.queue("lan")
    assert len(await claimed(post)) == 1
    assert await claimed(post) == []


async def test_two_claimers_at_once_never_share_a_row(post):
    for number in range(20):
        await post.queue(f"chat-{number}")
    halves = await asyncio.gather(claimed(post, limit=15), claimed(post, limit=15))
    ids = [delivery.id for half in halves for delivery in half]
    ids += [delivery.id for delivery in await claimed(post, limit=20)]
    assert len(ids) == len(set(ids)) == 20


async def test_only_what_is_due_on_the_channel_is_claimed(post):
    await post.queue("lan", due_at=post.clock() + timedelta(seconds=1))
    assert await claimed(post) == []
    post.clock.advance(seconds=1)
    assert await claimed(post, channel="telegram") == []
    assert len(await claimed(post)) == 1


async def test_lanes_are_claimed_in_order_whatever_came_first(post):
    for lane in reversed(Lane):
        await post.queue(f"chat-{lane}", lane=lane)
    assert [delivery.lane for delivery in await claimed(post)] == list(Lane)


async def test_settling_twice_changes_nothing(post):
    await post.queue("lan")
    (delivery,) = await claimed(post)
    await settles(post, Outcome(delivery, DeliveryState.SENT, message_id="7"))
    await settles(post, Outcome(delivery, DeliveryState.FAILED, reason="late"))
    (row,) = await post.rows()
    assert (row.state, await post.message_id(row), row.reason) == (DeliveryState.SENT, "7", None)


async def test_what_was_settled_as_unknown_is_not_overwritten_by_a_late_answer(post):
    await post.queue("lan")
    (delivery,) = await claimed(post)
    async with post.sessions.begin() as session:
        await recover(session, now=post.clock(), all_in_flight=True)
    await settles(post, Outcome(delivery, DeliveryState.PENDING, reason="late"))
    assert DeliveryState.UNKNOWN in await post.states()


async def test_a_passing_row_leaves_with_its_content_once_it_is_sent(post):
    await post.queue("lan", lane=Lane.REPLY, passing=True)
    (delivery,) = await claimed(post)
    await settles(post, Outcome(delivery, DeliveryState.SENT, message_id="7"))
    assert await post.rows() == []
    assert await contents(post) == 0


async def test_a_hidden_address_cannot_be_read_in_the_ledger(post):
    await post.queue("lan-thi-tuyet", hide_address=True)
    (row,) = await post.rows()
    assert "lan-thi-tuyet" not in row.address
    (delivery,) = await claimed(post)
    assert delivery.to == Recipient("memory", "lan-thi-tuyet")


async def test_what_is_said_is_sealed(post):
    await post.queue("lan", "chuyện kín")
    async with post.sessions.reading() as session:
        sealed = await session.scalar(select(Content.sealed))
    assert "chuyện kín".encode() not in sealed


# --- after a crash ---


async def test_in_flight_sends_are_unknown_after_a_restart(post):
    await post.queue("lan")
    await post.queue("minh")
    await claimed(post)
    async with post.sessions.begin() as session:
        assert await recover(session, now=post.clock(), all_in_flight=True) == 2
    lost = [row for row in await post.rows() if row.resend_of is None]
    assert {(row.state, row.reason) for row in lost} == {(DeliveryState.UNKNOWN, "interrupted")}


async def test_a_live_lease_is_left_alone_and_a_lapsed_one_is_not(post):
    await post.queue("lan")
    await claimed(post)
    async with post.sessions.begin() as session:
        assert await recover(session, now=post.clock()) == 0
    post.clock.advance(seconds=LEASE.total_seconds() + 1)
    async with post.sessions.begin() as session:
        assert await recover(session, now=post.clock()) == 1


async def test_an_edit_in_flight_simply_waits_again(post):
    await post.queue("lan", edits="7")
    await claimed(post)
    async with post.sessions.begin() as session:
        assert await recover(session, now=post.clock(), all_in_flight=True) == 0
    assert await post.states() == [DeliveryState.PENDING]


@pytest.fixture
async def broadcast(post, make):
    officer = await make.officer(Recipient("memory", "binh"))
    async with post.sessions.begin() as session:
        notice = Notice(
            number="TB-TEST",
            state=NoticeState.RUNNING,
            title="t",
            html="t",
            audience="all",
            response=Response.NONE,
            author_id=officer.officer_id,
            author_channel="memory",
            author_address="binh",
            created_at=post.clock(),
        )
        session.add(notice)
        await session.flush()
        row = Broadcast(notice_id=notice.id, planned_at=post.clock(), opened_at=post.clock())
        session.add(row)
        await session.flush()
        return row.id


async def belongs(post, broadcast_id):
    async with post.sessions.begin() as session:
        for row in await session.scalars(select(Delivery)):
            row.broadcast_id = broadcast_id


@pytest.mark.parametrize("lane", [Lane.REPLY, Lane.REPORT, Lane.URGENT])
async def test_what_is_urgent_is_sent_again_and_marked(post, lane):
    await post.queue("lan", "Báo động", lane=lane, hide_address=True)
    await claimed(post)
    async with post.sessions.begin() as session:
        await recover(session, now=post.clock(), all_in_flight=True)
    await post.send()
    assert post.said("lan") == ["(gửi lại)\nBáo động"]
    first, second = await post.rows()
    assert (first.copies, first.state) == (0, DeliveryState.UNKNOWN)
    assert (second.resend_of, second.state) == (first.id, DeliveryState.SENT)


async def test_a_routine_notice_is_not_sent_again(post, broadcast):
    await post.queue("lan")
    await belongs(post, broadcast)
    await claimed(post)
    async with post.sessions.begin() as session:
        await recover(session, now=post.clock(), all_in_flight=True)
    await post.wait(3600)
    assert post.said("lan") == []
    assert await post.states() == [DeliveryState.UNKNOWN]


async def test_an_urgent_notice_is_sent_again_marked(post, broadcast):
    await post.queue("lan", lane=Lane.URGENT)
    await belongs(post, broadcast)
    await claimed(post)
    async with post.sessions.begin() as session:
        await recover(session, now=post.clock(), all_in_flight=True)
    await post.send()
    assert post.said("lan") == ["(gửi lại)\nXin chào"]


# --- holding, cancelling, expiring, erasing ---


async def test_a_held_broadcast_waits_and_goes_on(post, broadcast):
    await post.queue("lan")
    await belongs(post, broadcast)
    async with post.sessions.begin() as session:
        await calling_off.hold(session, broadcast, until=post.clock() + timedelta(days=1))
    await post.send()
    assert post.said("lan") == []
    async with post.sessions.begin() as session:
        await calling_off.hold(session, broadcast, until=post.clock())
    await post.send()
    assert post.said("lan") == ["Xin chào"]


async def test_a_cancelled_broadcast_is_not_sent_and_what_was_sent_stays_sent(post, broadcast):
    await post.queue("lan")
    await belongs(post, broadcast)
    await post.send()
    await post.queue("minh")
    await belongs(post, broadcast)
    async with post.sessions.begin() as session:
        await calling_off.cancel(session, broadcast, now=post.clock())
    await post.send()
    assert await post.states() == [DeliveryState.SENT, DeliveryState.CANCELLED]
    assert post.said("minh") == []


async def test_what_is_past_its_time_expires_unsent(post):
    await post.queue("lan", expires_at=post.clock() + timedelta(minutes=1), due_at=post.clock() + timedelta(minutes=2))
    post.clock.advance(minutes=3)
    async with post.sessions.begin() as session:
        await calling_off.expire(session, now=post.clock())
    await post.send()
    assert await post.states() == [DeliveryState.EXPIRED]


async def test_erased_words_are_not_sent(post):
    await post.queue("lan", origin="report:7")
    async with post.sessions.begin() as session:
        await calling_off.erase_origin(session, "report:7")
    await post.send()
    (row,) = await post.rows()
    assert (row.state, row.reason) == (DeliveryState.CANCELLED, "erased")


async def test_what_is_kept_for_a_reporters_chat_is_forgotten_with_what_it_says(post):
    for origin, hide in (("report:7", True), ("report:7", False), ("report:8", True)):
        await post.queue("lan", origin=origin, hide_address=hide)
    async with post.sessions.begin() as session:
        await calling_off.forget_hidden(session, ["report:7"])
    assert [(row.origin, row.address_sealed) for row in await post.rows()] == [("report:7", False), ("report:8", True)]
    assert await contents(post) == 2


async def test_the_next_due_time_is_known(post):
    async def next_due():
        async with post.sessions.reading() as session:
            return await claims.next_due_at(session, "memory")

    assert await next_due() is None
    await post.queue("lan", due_at=post.clock() + timedelta(hours=2), lane=Lane.REPLY)
    await post.queue("lan", due_at=post.clock() + timedelta(hours=1), lane=Lane.REMINDER)
    assert await next_due() == post.clock() + timedelta(hours=1)
    await post.queue("lan")
    assert await next_due() <= post.clock()


async def test_buttons_are_made_when_a_row_is_claimed(post):
    await post.queue("lan", outgoing=Outgoing("?", buttons=((Button("Có", "yes"), Button("Xem", url="https://x.vn")),)))
    (delivery,) = await claimed(post)
    assert list(delivery.callback_data) == [(0, 0)]
    assert len(delivery.callback_data[0, 0]) == 22
