"""What is under way when it is called off or held does not leave afterwards; what cannot be read stops nothing."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select, update

from channels.envelope import ApiRefusal
from channels.port import Recipient
from db.marks import day_of
from db.tables.broadcasts import Broadcast, Notice, NoticeState, Response
from db.tables.deliveries import Content, Delivery, DeliveryState, Lane
from db.tables.officers import Role
from deliveries import calling_off, outcomes
from tests.deliveries.conftest import Post
from tests.factories import Factory


async def _broadcast(post: Post, make: Factory, lane: Lane = Lane.ROUTINE) -> int:
    author = await make.officer(Recipient("memory", "author"), Role.COMMANDER)
    async with post.sessions.begin() as session:
        notice = Notice(
            number="TB-1",
            state=NoticeState.RUNNING,
            title="x",
            html="x",
            audience="all",
            response=Response.NONE,
            author_id=author.officer_id,
            author_channel="memory",
            author_address="author",
            created_at=post.clock(),
        )
        session.add(notice)
        await session.flush()
        broadcast = Broadcast(notice_id=notice.id, planned_at=post.clock(), opened_at=post.clock())
        session.add(broadcast)
        await session.flush()
        broadcast_id = broadcast.id
    await post.queue("hoa", lane=lane)
    async with post.sessions.begin() as session:
        await session.execute(update(Delivery).values(broadcast_id=broadcast_id))
    return broadcast_id


def _throttled_while(post: Post, act: object) -> None:
    async def around(deliver: object) -> list[dict[str, object]]:
        post.gateway.around = None
        await act()  # type: ignore[operator]
        raise ApiRefusal(429, "Too Many Requests: retry after 5", retry_after=5)

    post.gateway.around = around  # type: ignore[assignment]


async def _states(post: Post) -> list[DeliveryState]:
    async with post.sessions.reading() as session:
        return list(await session.scalars(select(Delivery.state).order_by(Delivery.id)))


async def test_a_send_put_back_after_its_notice_was_called_off_never_leaves(post: Post, make: Factory):
    broadcast_id = await _broadcast(post, make)

    async def call_off() -> None:
        async with post.sessions.begin() as session:
            await calling_off.cancel(session, broadcast_id, now=post.clock())

    _throttled_while(post, call_off)
    await post.send()
    await post.wait(10)

    assert post.said("hoa") == []
    assert await _states(post) == [DeliveryState.CANCELLED]


async def test_a_send_put_back_while_its_notice_is_held_waits_for_it(post: Post, make: Factory):
    broadcast_id = await _broadcast(post, make)

    async def pause() -> None:
        async with post.sessions.begin() as session:
            await calling_off.hold(session, broadcast_id, until=post.clock() + timedelta(days=3650))

    _throttled_while(post, pause)
    await post.send()
    await post.wait(10)
    assert post.said("hoa") == []

    async with post.sessions.begin() as session:
        await calling_off.hold(session, broadcast_id, until=post.clock())
    await post.wait(1)
    assert post.said("hoa") == ["Xin chào"]


async def test_an_urgent_send_lost_after_it_was_called_off_is_not_sent_again(post: Post, make: Factory):
    broadcast_id = await _broadcast(post, make, Lane.URGENT)
    async with post.sessions.begin() as session:
        await session.execute(update(Delivery).values(state=DeliveryState.SENDING))
        await calling_off.cancel(session, broadcast_id, now=post.clock())
        await outcomes.recover(session, now=post.clock(), all_in_flight=True)

    await post.send()

    assert post.said("hoa") == []
    assert await _states(post) == [DeliveryState.UNKNOWN]


async def test_an_answer_to_a_group_that_moved_follows_it_with_its_address_sealed(post: Post):
    await post.queue("-100", hide_address=True)
    await post.queue("lan")
    post.gateway.fail_next("-100", ApiRefusal(400, "group chat was upgraded", migrate_to_chat_id=-200))

    await post.send()

    assert (post.said("-200"), post.said("lan")) == (["Xin chào"], ["Xin chào"])
    async with post.sessions.reading() as session:
        assert "-200" not in list(await session.scalars(select(Delivery.address)))


@pytest.mark.parametrize("column", ["content", "address"])
async def test_what_cannot_be_opened_fails_alone(post: Post, column: str):
    await post.queue("nam", hide_address=True)
    async with post.sessions.begin() as session:
        if column == "content":
            await session.execute(update(Content).values(sealed=b"sealed with a key long gone"))
        else:
            await session.execute(update(Delivery).values(address="not sealed"))
    await post.queue("lan")

    await post.send()

    assert post.said("lan") == ["Xin chào"]
    assert set(await _states(post)) == {DeliveryState.FAILED, DeliveryState.SENT}


async def test_answers_nobody_got_are_forgotten_and_notices_are_not(post: Post):
    await post.queue("nam", passing=True, hide_address=True)
    await post.queue("hoa")
    for address in ("nam", "hoa"):
        post.gateway.fail_next(address, ApiRefusal(403, "Forbidden: bot was blocked by the user"))
    await post.send()
    for before in (day_of(post.clock()), day_of(post.clock()) + timedelta(seconds=1)):
        assert await _states(post) == [DeliveryState.UNDELIVERABLE] * 2
        async with post.sessions.begin() as session:
            await calling_off.forget_left_over(session, before=before)

    assert [row.address for row in await post.rows()] == ["hoa"]
    async with post.sessions.reading() as session:
        assert len(list(await session.scalars(select(Content.id)))) == 1
