"""The dispatcher: what each answer of a channel means for the ledger, in what order things leave, and how it rests."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from channels.envelope import ApiRefusal
from channels.port import Button, Outgoing, Recipient
from db.tables.deliveries import DeliveryState, Lane
from deliveries.buttons import press
from deliveries.retry import MAX_ATTEMPTS, channel_delay, next_delay
from tests.deliveries.conftest import Post

BLOCKED = ApiRefusal(403, "Forbidden: bot was blocked by the user")
NO_CHAT = ApiRefusal(400, "Bad Request: chat not found")
BAD = ApiRefusal(400, "Bad Request: message text is strange")
BAD_TOKEN = ApiRefusal(401, "Unauthorized")


def throttled(seconds: int) -> ApiRefusal:
    return ApiRefusal(429, f"Too Many Requests: retry after {seconds}", retry_after=seconds)


async def only(post: Post):
    (row,) = await post.rows()
    return row


async def test_a_message_is_sent_and_keeps_the_platforms_id(post):
    await post.queue("lan", "Xin chào")
    await post.send()
    row = await only(post)
    assert post.said("lan") == ["Xin chào"]
    assert (row.state, await post.message_id(row), row.attempts) == (DeliveryState.SENT, "1", 1)


@pytest.mark.parametrize("refusal", [BLOCKED, NO_CHAT], ids=["blocked", "no chat"])
async def test_a_recipient_who_is_gone_is_undeliverable_at_once(post, refusal):
    post.gateway.fail_next("lan", refusal)
    await post.queue("lan")
    await post.send()
    await post.wait(3600)
    assert (await only(post)).state is DeliveryState.UNDELIVERABLE
    assert post.said("lan") == []


async def test_a_message_the_platform_refuses_has_failed_at_once(post):
    post.gateway.fail_next("lan", BAD)
    await post.queue("lan")
    await post.send()
    await post.wait(3600)
    assert (await only(post)).state is DeliveryState.FAILED
    assert post.said("lan") == []


async def test_an_answer_that_never_comes_is_unknown(post):
    post.gateway.fail_next("lan", OSError("cut"))
    await post.queue("lan")
    await post.send()
    rows = await post.rows()
    assert (rows[0].state, rows[0].reason) == (DeliveryState.UNKNOWN, "no_answer")


async def test_an_unknown_answer_to_somebody_waiting_is_sent_again_and_marked(post):
    post.gateway.fail_next("lan", OSError("cut"))
    await post.queue("lan", "Đã nhận", lane=Lane.REPLY)
    await post.send()
    assert post.said("lan") == ["(gửi lại)\nĐã nhận"]


async def test_one_who_is_throttled_waits_exactly_as_long_as_told(post):
    await post.queue("lan", "một")
    await post.send()
    post.gateway.fail_next("lan", throttled(7))
    await post.queue("lan", "hai")
    await post.send()
    await post.wait(6.9)
    assert post.said("lan") == ["một"]
    await post.wait(0.2)
    assert post.said("lan") == ["một", "hai"]
    assert (await post.rows())[1].attempts == 1, "waiting as told costs no attempt"


async def test_a_throttled_chat_does_not_hold_up_others(post):
    await post.queue("lan", "một")
    await post.send()
    post.gateway.fail_next("lan", throttled(30))
    await post.queue("lan", "hai")
    await post.queue("minh", "ba")
    await post.send()
    assert post.said("minh") == ["ba"]


async def test_one_chat_that_is_throttled_at_its_first_message_holds_itself_alone(post):
    post.gateway.fail_next("lan", throttled(5))
    await post.queue("lan")
    await post.queue("minh")
    await post.send()
    assert (post.said("lan"), post.said("minh")) == ([], ["Xin chào"])
    await post.wait(4.9)
    assert post.said("lan") == []
    await post.wait(0.2)
    assert post.said("lan") == ["Xin chào"]


async def test_two_chats_throttled_shortly_after_each_other_hold_everybody_as_long_as_told(post):
    for name in ("lan", "minh"):
        post.gateway.fail_next(name, throttled(5))
        await post.queue(name)
    await post.send()
    await post.queue("hoa", lane=Lane.REPLY)
    await post.wait(4.9)
    assert post.said("hoa") == []
    await post.wait(0.2)
    assert post.said("lan") == post.said("minh") == post.said("hoa") == ["Xin chào"]


async def test_two_chats_throttled_long_after_each_other_hold_themselves(post):
    post.gateway.fail_next("lan", throttled(60))
    await post.queue("lan")
    await post.send()
    await post.wait(10)
    post.gateway.fail_next("minh", throttled(60))
    await post.queue("minh")
    await post.queue("hoa")
    await post.send()
    assert post.said("hoa") == ["Xin chào"]


async def test_groups_throttled_by_their_own_limits_hold_nobody_else(post):
    for group in ("-1", "-2"):
        post.gateway.fail_next(group, throttled(40))
        await post.queue(group)
    await post.queue("hoa")
    await post.send()
    assert post.said("hoa") == ["Xin chào"]


async def test_a_channel_that_is_down_rests_and_recovers_without_burning_attempts(post):
    await post.queue("lan")
    down = []
    for _ in range(12):
        post.gateway.fail_next(None, BAD_TOKEN)
        await post.wait(61)
        down.append(post.dispatcher.down)
    assert set(down) == {"token_refused"}
    calls = len(post.gateway.calls)
    assert calls <= 12, "no more than one try a rest"
    await post.wait(61)
    assert post.dispatcher.down is None
    assert post.said("lan") == ["Xin chào"]
    assert (await only(post)).attempts == 1


async def test_a_channel_that_is_down_is_not_asked_again_and_again(post):
    post.gateway.fail_next(None, BAD_TOKEN)
    await post.queue("lan")
    await post.send()
    calls = len(post.gateway.calls)
    await post.send()
    await post.send()
    assert len(post.gateway.calls) == calls


def test_a_channel_rests_longer_each_time_but_never_more_than_a_minute():
    rests = [channel_delay(failures).total_seconds() for failures in range(1, 12)]
    assert rests[:7] == [1, 2, 4, 8, 16, 32, 60]
    assert max(rests) == 60


def test_attempts_are_spaced_further_and_further_and_end():
    delays = [next_delay(attempt) for attempt in range(1, MAX_ATTEMPTS)]
    assert delays == sorted(delay for delay in delays if delay) and delays[0] == timedelta(seconds=5)
    assert next_delay(MAX_ATTEMPTS) is None


async def test_a_moved_chat_is_followed(post):
    post.gateway.fail_next("-5", ApiRefusal(400, "Bad Request: group chat was upgraded", migrate_to_chat_id=-1005))
    await post.queue("-5")
    await post.send()
    assert post.said("-1005") == ["Xin chào"]
    assert (await only(post)).address == "-1005"


# --- order ---


async def test_the_order_within_a_chat_is_kept(post):
    for number in range(12):
        await post.queue("lan", f"{number}")
    await post.send()
    assert post.said("lan") == [f"{number}" for number in range(12)]


async def test_the_order_within_a_chat_is_kept_when_the_first_must_wait(post):
    await post.queue("lan", "0")
    await post.send()
    post.gateway.fail_next("lan", throttled(3))
    for number in range(1, 6):
        await post.queue("lan", f"{number}")
    await post.send()
    await post.wait(3)
    await post.wait(3)
    assert post.said("lan") == [f"{number}" for number in range(6)]


async def test_lanes_leave_in_order_whatever_was_queued_first(post):
    for lane in reversed(Lane):
        await post.queue(f"chat-{lane}", lane.name, lane=lane)
    await post.send()
    assert post.order == [lane.name for lane in Lane]


async def most_at_once(post: Post) -> int:
    """Send everything; how many sends were under way together at most."""
    most = under_way = 0

    async def watched(deliver):
        nonlocal most, under_way
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        result = await deliver()
        under_way -= 1
        return result

    post.gateway.around = watched
    await post.send()
    return most


async def test_no_chat_has_two_messages_under_way_at_once(post):
    for number in range(5):
        await post.queue("lan", f"{number}")
    assert await most_at_once(post) == 1
    assert len(post.order) == 5


async def test_memory_does_not_grow_with_the_number_of_recipients(post):
    for number in range(150):
        await post.queue(f"chat-{number}")
    assert await most_at_once(post) <= 64
    assert len(post.order) == 150


# --- edits, files, buttons ---


async def test_an_edit_rewrites_the_message(post):
    await post.queue("lan", "một")
    await post.send()
    await post.queue("lan", "hai", edits="1")
    await post.send()
    (message,) = post.gateway.chats["lan"]
    assert (message.text, message.edits) == ("hai", 1)


async def test_an_edit_of_a_message_that_is_gone_fails_quietly(post):
    await post.queue("lan", "hai", edits="99")
    await post.send()
    assert (await only(post)).state is DeliveryState.FAILED


async def test_an_edit_whose_answer_never_came_is_simply_repeated(post):
    await post.queue("lan", "một")
    await post.send()
    post.gateway.fail_next("lan", OSError("cut"))
    await post.queue("lan", "hai", edits="1")
    await post.send()
    await post.wait(60)
    assert post.said("lan") == ["hai"]
    assert DeliveryState.UNKNOWN not in await post.states()


async def test_a_button_of_an_unknown_delivery_proves_that_it_arrived(post):
    outgoing = Outgoing("Đã nhận?", buttons=((Button("Đã nhận", "notice.received"),),))
    await post.queue("lan", outgoing=outgoing)

    async def arrives_but_the_answer_does_not(deliver):
        await deliver()
        raise OSError("cut")

    post.gateway.around = arrives_but_the_answer_does_not
    await post.send()
    assert (await post.rows())[0].state is DeliveryState.UNKNOWN
    shown = post.gateway.chats["lan"][0]
    async with post.sessions.begin() as session:
        await press(session, shown.data("Đã nhận"), by=Recipient("memory", "lan"), now=post.clock())
    assert (await post.rows())[0].state is DeliveryState.SENT


# --- stopping ---


async def test_told_to_stop_it_finishes_what_it_has_begun(post):
    began, go_on = asyncio.Event(), asyncio.Event()

    async def held(deliver):
        began.set()
        await go_on.wait()
        return await deliver()

    post.gateway.around = held
    await post.queue("lan")
    running = asyncio.create_task(post.dispatcher.run())
    await began.wait()
    post.dispatcher.stop()
    go_on.set()
    await running
    assert await post.states() == [DeliveryState.SENT]


async def test_after_stop_nothing_new_is_begun(post):
    post.dispatcher.stop()
    await post.queue("lan")
    await post.dispatcher.run()
    assert await post.states() == [DeliveryState.PENDING]
