"""Buttons are server rows: once, for whom they were shown, until their time has passed."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from channels.envelope import ApiRefusal
from channels.port import Button, Outgoing, Recipient
from db.marks import day_of
from db.tables.deliveries import ButtonRow, Delivery, DeliveryState, Lane
from deliveries.buttons import LIFETIME, forget_buttons, press
from deliveries.calling_off import call_off_for
from texts.refusal import Refusal

LAN = Recipient("memory", "lan")


def asking(*, once: bool = True) -> Outgoing:
    return Outgoing("Đồng ý?", buttons=((Button("Có", "yes", ("7",), once),),))


async def shown(post, **how) -> str:
    await post.queue("lan", outgoing=asking(**how))
    await post.send()
    return post.gateway.chats["lan"][-1].data("Có")


async def presses(post, data, by=LAN, now=None):
    async with post.sessions.begin() as session:
        return await press(session, data, by=by, now=now or post.clock())


async def refused(post, data, **more) -> str:
    with pytest.raises(Refusal) as told:
        await presses(post, data, **more)
    return told.value.key


async def test_a_press_says_what_is_to_happen(post):
    pressed = await presses(post, await shown(post))
    assert (pressed.verb, pressed.args) == ("yes", ("7",))


async def test_a_press_counts_once(post):
    data = await shown(post)
    await presses(post, data)
    assert await refused(post, data) == "button.used"


async def test_two_presses_at_the_same_time_count_once(post):
    data = await shown(post)
    results = await asyncio.gather(presses(post, data), presses(post, data), return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["Press", "Refusal"]


async def test_a_button_that_only_looks_may_be_pressed_again(post):
    data = await shown(post, once=False)
    await presses(post, data)
    assert (await presses(post, data)).verb == "yes"


async def test_a_press_whose_transaction_fails_did_not_happen(post):
    data = await shown(post)
    with pytest.raises(LookupError):
        async with post.sessions.begin() as session:
            await press(session, data, by=LAN, now=post.clock())
            raise LookupError
    assert (await presses(post, data)).verb == "yes"


async def test_somebody_elses_button_does_nothing(post):
    data = await shown(post)
    assert await refused(post, data, by=Recipient("memory", "minh")) == "button.unknown"
    assert await refused(post, data, by=Recipient("telegram", "lan")) == "button.unknown"
    assert (await presses(post, data)).verb == "yes"


@pytest.mark.parametrize("forged", ["", "x", "x" * 64, "' OR 1=1 --", "yes", "\x00", "🙂" * 16])
async def test_a_forged_button_does_nothing(post, forged):
    await shown(post)
    assert await refused(post, forged) == "button.unknown"


def last_day(post):
    """When the day ends on which a button's time has passed."""
    return day_of(post.clock()) + LIFETIME + timedelta(days=1)


async def test_a_button_answers_until_the_end_of_its_last_day(post):
    data = await shown(post)
    assert await refused(post, data, now=last_day(post)) == "button.unknown"
    assert (await presses(post, data, now=last_day(post) - timedelta(seconds=1))).verb == "yes"


async def test_a_button_tells_the_day_and_not_the_hour(post):
    await presses(post, await shown(post))
    async with post.sessions.reading() as session:
        row = (await session.scalars(select(ButtonRow))).one()
    assert (day_of(row.expires_at), day_of(row.used_at)) == (row.expires_at, row.used_at)


async def test_a_second_attempt_shows_the_same_buttons(post):
    await post.queue("lan", outgoing=asking())
    post.gateway.fail_next("lan", ApiRefusal(429, "Too Many Requests: retry after 5", retry_after=5))
    await post.send()
    async with post.sessions.reading() as session:
        made = list(await session.scalars(select(ButtonRow.id)))
    await post.wait(5)
    async with post.sessions.reading() as session:
        assert list(await session.scalars(select(ButtonRow.id))) == made
    assert made == [post.gateway.chats["lan"][-1].data("Có")]


async def test_what_waits_for_its_turn_has_no_buttons_yet(post):
    async def looks(deliver):
        async with post.sessions.reading() as session:
            seen.append(len(list(await session.scalars(select(ButtonRow)))))
        return await deliver()

    seen: list[int] = []
    post.gateway.around = looks
    for _ in range(3):
        await post.queue("lan", outgoing=asking())
    await post.send()
    assert seen == [1, 2, 3]


@pytest.mark.parametrize("end", ["refused", "called off", "replaced"])
async def test_the_buttons_of_a_message_that_never_left_are_dropped(post, end):
    how = {"edits": "7"} if end == "replaced" else {}
    await post.queue("lan", outgoing=asking(), **how)
    refusal = ApiRefusal(400, "Bad Request: message text is strange")
    post.gateway.fail_next("lan", refusal if end == "refused" else ApiRefusal(429, "Too Many", retry_after=9))
    await post.send()
    if end == "called off":
        async with post.sessions.begin() as session:
            await call_off_for(session, [LAN], now=post.clock())
    if end == "replaced":
        await post.queue("lan", "Xong", edits="7")
    async with post.sessions.reading() as session:
        assert not list(await session.scalars(select(ButtonRow)))


async def test_what_a_button_does_and_for_whom_cannot_be_read(post):
    await shown(post)
    async with post.sessions.reading() as session:
        row = (await session.scalars(select(ButtonRow))).one()
    assert b"yes" not in row.sealed
    assert "lan" not in row.addressee


async def test_old_buttons_are_forgotten_and_young_ones_kept(post):
    await shown(post)
    async with post.sessions.begin() as session:
        await forget_buttons(session, now=last_day(post) - timedelta(seconds=1))
        assert len(list(await session.scalars(select(ButtonRow)))) == 1
        await forget_buttons(session, now=last_day(post))
        assert not list(await session.scalars(select(ButtonRow)))


async def test_a_press_proves_the_receipt_of_an_unknown_delivery(post):
    await post.queue("lan", outgoing=asking(), lane=Lane.ROUTINE)
    post.gateway.fail_next("lan", OSError("cut"))
    await post.send()
    lost = (await post.rows())[0]
    assert lost.state is DeliveryState.UNKNOWN
    async with post.sessions.reading() as session:
        data = (await session.scalars(select(ButtonRow.id).where(ButtonRow.delivery_id == lost.id))).one()
    await presses(post, data)
    row = (await post.rows())[0]
    assert (row.state, row.reason) == (DeliveryState.SENT, "proved_by_button")


async def test_a_press_does_not_touch_a_delivery_that_was_refused(post):
    await post.queue("lan", outgoing=asking())
    await post.send()
    data = post.gateway.chats["lan"][-1].data("Có")
    async with post.sessions.begin() as session:
        await session.execute(update(Delivery).values(state=DeliveryState.UNDELIVERABLE))
    await presses(post, data)
    assert await post.states() == [DeliveryState.UNDELIVERABLE]


async def test_an_old_button_proves_nothing_of_a_later_message(post):
    await post.queue("lan", outgoing=asking(), passing=True)
    await post.send()
    data = post.gateway.chats["lan"][-1].data("Có")
    await post.queue("lan", "mai", lane=Lane.ROUTINE)
    async with post.sessions.begin() as session:
        await session.execute(update(Delivery).values(state=DeliveryState.UNKNOWN))
    await presses(post, data)
    assert await post.states() == [DeliveryState.UNKNOWN]
