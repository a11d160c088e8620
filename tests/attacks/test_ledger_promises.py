"""What the ledger promises while uploads crawl, processes die, chats refuse and broadcasts run. A test a promise."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, text, update

from bench.botapi.faults import Fault
from bench.botapi.server import FakeBotApi
from channels.envelope import ApiRefusal
from channels.port import Attachment, Button, Limits, Media, Outgoing, Recipient
from channels.sender import Sender
from channels.shapes import Json
from channels.telegram.channel import TelegramChannel
from channels.wording import plain
from db.engine import Sessions, is_sqlite
from db.marks import day_of
from db.tables.broadcasts import Broadcast, Notice, NoticeState, Response
from db.tables.deliveries import ButtonRow, Content, Delivery, DeliveryState, Lane, MediaHandle, Purpose
from db.tables.officers import Role
from deliveries import calling_off, claims, ledger, outcomes
from deliveries.claims import LEASE, Claimed, PutBack
from deliveries.departures import Departures, Leaves
from deliveries.dispatch import Dispatcher
from deliveries.outcomes import Outcome
from deliveries.pace import Pace
from media.files import keep_media, load_media
from tests.conftest import KEYS
from tests.deliveries.conftest import Post, WatchedGateway
from tests.factories import Factory
from tests.handlers.test_notices import composes
from tests.worlds import Clock, World

UPLOAD = timedelta(seconds=150)
TELEGRAM = Limits(per_second=30, per_chat_second=1, per_group_minute=20)
Deliver = Callable[[], Awaitable[list[Json]]]


@asynccontextmanager
async def _post(sessions: Sessions, clock: Clock, limits: Limits, *, slots: int = 64) -> AsyncIterator[Post]:
    gateway, instant = WatchedGateway(clock=clock), [1000.0]

    async def load(media_id: int) -> Media:
        async with sessions.reading() as session:
            return await load_media(session, media_id)

    async with gateway.bot() as bot:
        sender = Sender(bot, gateway.capabilities, load, plain)
        pace = Pace(limits)
        dispatcher = Dispatcher(sessions, "memory", sender, pace, clock, slots=slots, monotonic=lambda: instant[0])
        gateway.calls.clear()
        yield Post(sessions, clock, gateway, dispatcher, instant)


@pytest.fixture
async def post(sessions: Sessions, clock: Clock) -> AsyncIterator[Post]:
    """A ledger with a channel without limits."""
    async with _post(sessions, clock, Limits()) as opened:
        yield opened


@pytest.fixture
async def paced(sessions: Sessions, clock: Clock) -> AsyncIterator[Post]:
    """A ledger with a channel as narrow as Telegram."""
    async with _post(sessions, clock, TELEGRAM) as opened:
        yield opened


async def _recover(post: Post, sessions: Sessions | None = None) -> int:
    async with (sessions or post.sessions).begin() as session:
        return await outcomes.recover(session, now=post.clock())


async def _claim(sessions: Sessions, clock: Clock, **more: Any) -> list[claims.Claimed]:
    async with sessions.begin() as session:
        return await claims.claim(session, "memory", limit=50, now=clock(), **more)


async def _settle(sessions: Sessions, clock: Clock, *what: Outcome) -> None:
    async with sessions.begin() as session:
        await outcomes.settle(session, what, now=clock())


@asynccontextmanager
async def _under_way(post: Post) -> AsyncIterator[asyncio.Event]:
    """The dispatcher at work while every send hangs until the event is set."""
    began, go_on = asyncio.Event(), asyncio.Event()

    async def hangs(deliver: Deliver) -> list[Json]:
        began.set()
        await go_on.wait()
        return await deliver()

    post.gateway.around = hangs
    running = asyncio.create_task(post.dispatcher.run())
    await began.wait()
    try:
        yield go_on
    finally:
        go_on.set()
        post.dispatcher.stop()
        await running
        post.gateway.around = None


# --- leases -----------------------------------------------------------------------------------------------------------


async def test_an_upload_longer_than_a_lease_is_not_taken_for_lost(post: Post):
    await post.queue("lan", "tệp lớn", lane=Lane.REPORT)
    async with _under_way(post) as go_on:
        post.clock.advance(seconds=UPLOAD.total_seconds())
        assert await _recover(post) == 0
        go_on.set()
    assert await post.states() == [DeliveryState.SENT]
    assert post.said("lan") == ["tệp lớn"]


async def test_a_lease_is_renewed_while_its_send_is_alive_so_that_no_other_process_takes_it(post: Post):
    other = Sessions(post.sessions.engine, KEYS)
    await post.queue("lan", "tệp lớn", lane=Lane.REPORT)
    async with _under_way(post):
        for _ in range(6):
            post.clock.advance(seconds=LEASE.total_seconds() / 2)
            post.instant[0] += LEASE.total_seconds() / 2
            post.dispatcher.wake()
            await _renewed(post)
            assert await _recover(post, other) == 0
    assert await post.states() == [DeliveryState.SENT]


async def _renewed(post: Post) -> None:
    while True:
        (row,) = await post.rows()
        if row.leased_until == post.clock() + LEASE:
            return
        await asyncio.sleep(0)


async def test_the_lease_of_a_process_that_died_lapses(post: Post):
    dead = Sessions(post.sessions.engine, KEYS)
    await post.queue("lan", lane=Lane.REPORT)
    await _claim(dead, post.clock)
    post.clock.advance(seconds=LEASE.total_seconds())
    assert await _recover(post) == 0
    post.clock.advance(seconds=1)
    assert await _recover(post) == 1


async def test_what_another_process_holds_is_not_settled_by_the_one_that_lost_it(post: Post):
    other = Sessions(post.sessions.engine, KEYS)
    await post.queue("lan", "mới", edits="7")
    (mine,) = await _claim(post.sessions, post.clock)
    post.clock.advance(minutes=5)
    await _recover(post, other)
    await _claim(other, post.clock)
    await _settle(post.sessions, post.clock, Outcome(mine, DeliveryState.FAILED, reason="late"))
    assert await post.states() == [DeliveryState.SENDING]


# --- SENT beats UNKNOWN -----------------------------------------------------------------------------------------------


async def _lost(post: Post, **how: Any) -> claims.Claimed:
    """A send whose process was taken for dead, so that a marked copy of it waits."""
    await post.queue("lan", "gấp", **{"lane": Lane.REPORT, **how})
    (claimed,) = await _claim(post.sessions, post.clock)
    post.clock.advance(minutes=5)
    assert await _recover(post) == 1
    return claimed


async def test_a_late_sent_is_kept_and_calls_the_marked_copy_off(post: Post):
    claimed = await _lost(post)
    await _settle(post.sessions, post.clock, Outcome(claimed, DeliveryState.SENT, message_id="9"))
    await post.wait(3600)
    (row,) = await post.rows()
    assert (row.state, row.reason, await post.message_id(row)) == (DeliveryState.SENT, "late", "9")
    assert post.said("lan") == []


async def test_a_late_sent_to_a_reporter_leaves_nothing_behind(post: Post):
    claimed = await _lost(post, lane=Lane.REPLY, passing=True, hide_address=True)
    await _settle(post.sessions, post.clock, Outcome(claimed, DeliveryState.SENT, message_id="9"))
    await post.wait(3600)
    assert (await post.rows(), post.said("lan")) == ([], [])
    async with post.sessions.reading() as session:
        assert not list(await session.scalars(select(Content)))


async def test_a_late_sent_whose_copy_is_under_way_calls_it_off_if_it_comes_back(post: Post):
    claimed = await _lost(post)
    (copy,) = await _claim(post.sessions, post.clock)
    assert copy.resent
    await _settle(post.sessions, post.clock, Outcome(claimed, DeliveryState.SENT, message_id="9"))
    throttled = Outcome(copy, DeliveryState.PENDING, reason="throttled", counts=False)
    await _settle(post.sessions, post.clock, throttled)
    await post.wait(3600)
    assert (await post.states(), post.said("lan")) == ([DeliveryState.SENT], [])


async def test_a_late_sent_whose_copy_has_left_says_so(post: Post):
    claimed = await _lost(post)
    await post.send()
    await _settle(post.sessions, post.clock, Outcome(claimed, DeliveryState.SENT, message_id="9"))
    first, copy = await post.rows()
    assert (first.state, first.reason, copy.state, copy.resend_of) == (
        DeliveryState.SENT,
        "late",
        DeliveryState.SENT,
        first.id,
    )
    assert post.said("lan") == ["(gửi lại)\ngấp"]


async def test_no_other_late_outcome_changes_what_is_listed_as_unknown(post: Post):
    claimed = await _lost(post, lane=Lane.REPORT)
    for state in (DeliveryState.FAILED, DeliveryState.PENDING, DeliveryState.UNDELIVERABLE):
        await _settle(post.sessions, post.clock, Outcome(claimed, state, reason="late"))
    assert await post.states() == [DeliveryState.UNKNOWN, DeliveryState.PENDING]


# --- parts ------------------------------------------------------------------------------------------------------------


def _long(parts: int) -> str:
    return "\n\n".join(f"phần {number} " + "x" * 4000 for number in range(parts))


async def _over(post: Post, seconds: float) -> list[tuple[float, int]]:
    """Let time pass in steps: at which instant how many messages had left."""
    seen = []
    ends = post.instant[0] + seconds
    while post.instant[0] < ends:
        await post.wait(0.25)
        seen.append((post.instant[0], len(post.order)))
    return seen


async def test_sixty_parts_leave_one_a_second_and_others_between_them(paced: Post):
    await paced.queue("lan", _long(60))
    await paced.queue("minh", "chào")
    seen = await _over(paced, 30)

    assert paced.said("minh") == ["chào"]
    assert 24 <= len(paced.said("lan")) <= 31
    for at, count in seen:
        assert count - next(before for since, before in seen if since > at - 1) <= 2, "two in one second"
    await _over(paced, 48)
    assert [words.partition(" x")[0] for words in paced.said("lan")] == [f"phần {number}" for number in range(60)]
    assert await paced.states() == [DeliveryState.SENT] * 2


async def test_a_list_of_720_names_is_paced_like_sixteen_messages(paced: Post):
    await paced.queue("lan", _long(16), lane=Lane.REPLY)
    await paced.send()
    assert len(paced.order) <= 3, "an answer may leave three at once"
    await _over(paced, 20)
    assert len(paced.order) == 16


async def test_told_to_stop_between_two_parts_nothing_is_lost_and_nothing_said_twice(sessions: Sessions, clock: Clock):
    async with _post(sessions, clock, TELEGRAM) as before:
        await before.queue("lan", _long(5), lane=Lane.REPORT)
        await _over(before, 1.5)
        said = before.said("lan")
        before.dispatcher.stop()
        await before.dispatcher.run()
        assert 0 < len(said) < 5
    async with _post(sessions, clock, TELEGRAM) as after:
        async with sessions.begin() as session:
            assert await outcomes.recover(session, now=clock(), all_in_flight=True) == 0
        await _over(after, 8)
        assert [words[:6] for words in said + after.said("lan")] == [f"phần {number}" for number in range(5)]
        assert await after.states() == [DeliveryState.SENT]


async def test_a_part_that_is_told_to_wait_goes_on_exactly_then_and_where_it_was(post: Post):
    async def refuses(deliver: Deliver) -> list[Json]:
        if len(post.order) == 2:
            post.gateway.around = None
            raise ApiRefusal(429, "Too Many Requests: retry after 300", retry_after=300)
        return await deliver()

    post.gateway.around = refuses
    await post.queue("lan", _long(3))
    await post.send()
    await post.wait(299)
    assert len(post.said("lan")) == 1
    await post.wait(1)
    assert [words[:6] for words in post.said("lan")] == ["phần 0", "phần 1", "phần 2"]


# --- files ------------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def _telegram(sessions: Sessions, clock: Clock, api: FakeBotApi) -> AsyncIterator[Dispatcher]:
    channel = TelegramChannel(api.token, api_url=api.url)
    await channel.bot.initialize()

    async def load(media_id: int) -> Media:
        async with sessions.reading() as session:
            return await load_media(session, media_id)

    try:
        sender = Sender(channel.bot, channel.capabilities, load, plain)
        yield Dispatcher(sessions, "telegram", sender, Pace(Limits()), clock)
    finally:
        await channel.close()


async def _queue_file(sessions: Sessions, clock: Clock, chats: range) -> int:
    async with sessions.begin() as session:
        photo = Media("photo", "a.jpg", "image/jpeg", b"photo" * 100)
        media_id = (await keep_media(session, photo, origin="test")).id
        for chat in chats:
            await _queue_one(session, chat, Outgoing("ảnh", attachments=(Attachment("photo", media_id),)), clock)
    return int(media_id)


async def _queue_one(session: Any, chat: int, outgoing: Outgoing, clock: Clock) -> None:
    await ledger.open_delivery(
        session,
        outgoing,
        to=Recipient("telegram", str(chat)),
        key=f"{chat}/{outgoing.text}",
        origin="test",
        lane=Lane.ROUTINE,
        now=clock(),
    )


def _uploads(api: FakeBotApi) -> int:
    return sum(method == "sendPhoto" and "photo" not in parameters for method, parameters in api.calls)


async def test_a_hundred_and_fifty_recipients_of_a_new_file_make_one_upload(sessions: Sessions, clock: Clock):
    async with FakeBotApi(rate=None, latency=0.02) as api, _telegram(sessions, clock, api) as dispatcher:
        await _queue_file(sessions, clock, range(1, 151))
        await dispatcher.drain()
        assert (_uploads(api), len(api.sent)) == (1, 150)


async def test_whoever_waits_for_an_upload_holds_nobody_else_up(post: Post):
    all_said, go_on = asyncio.Event(), asyncio.Event()

    async def hangs_with_files(deliver: Deliver) -> list[Json]:
        said = await deliver()
        if "photo" in said[0]:
            await go_on.wait()
        if len([words for words in post.order if words == "chữ"]) == 80:
            all_said.set()
        return said

    post.gateway.around = hangs_with_files
    async with post.sessions.begin() as session:
        photo = Media("photo", "a.jpg", "image/jpeg", b"photo")
        media_id = (await keep_media(session, photo, origin="test")).id
    for number in range(150):
        await post.queue(f"{number}", outgoing=Outgoing("ảnh", attachments=(Attachment("photo", media_id),)))
    for number in range(200, 280):
        await post.queue(f"{number}", "chữ")
    running = asyncio.create_task(post.dispatcher.run())
    try:
        async with asyncio.timeout(20):
            await all_said.wait()
        assert sum(method == "sendPhoto" for method, _ in post.gateway.calls) == 1
    finally:
        go_on.set()
        post.dispatcher.stop()
        await running
    async with _post(post.sessions, post.clock, Limits()) as after:
        async with post.sessions.begin() as session:
            await outcomes.recover(session, now=post.clock(), all_in_flight=True)
        await after.send()
    assert set(await post.states()) == {DeliveryState.SENT}


@asynccontextmanager
async def _uploading(post: Post) -> AsyncIterator[int]:
    """The dispatcher at work while the first file that is sent, which it is given, hangs on its way up; it is through
    when the block ends, and then all that waits has two seconds to leave."""
    began, go_on = asyncio.Event(), asyncio.Event()

    async def hangs_with_the_first_file(deliver: Deliver) -> list[Json]:
        if not began.is_set() and post.gateway.calls[-1][0] == "sendPhoto":
            began.set()
            await go_on.wait()
        return await deliver()

    async with post.sessions.begin() as session:
        photo = Media("photo", "a.jpg", "image/jpeg", b"photo")
        media_id = (await keep_media(session, photo, origin="test")).id
    await post.queue("anh", outgoing=_picture(media_id))
    post.gateway.around = hangs_with_the_first_file
    running = asyncio.create_task(post.dispatcher.run())
    try:
        await began.wait()
        yield media_id
        go_on.set()
        async with asyncio.timeout(2):
            while await _left(post, DeliveryState.PENDING, DeliveryState.SENDING):  # noqa: ASYNC110 (nothing says so)
                await asyncio.sleep(0.01)
    finally:
        go_on.set()
        post.dispatcher.stop()
        await running


def _picture(media_id: int) -> Outgoing:
    return Outgoing("ảnh", attachments=(Attachment("photo", media_id),))


async def _left(post: Post, *states: DeliveryState) -> bool:
    return not set(states).isdisjoint(await post.states())


async def _is_untouched(post: Post, number: int) -> bool:
    row = (await post.rows())[number]
    return row.state is DeliveryState.PENDING and row.reason is None


async def _looked_at(post: Post, number: int) -> None:
    """Wait until the dispatcher has decided what becomes of the row with that number."""
    post.dispatcher.wake()
    async with asyncio.timeout(2):
        while await _is_untouched(post, number):  # noqa: ASYNC110 (nothing says so)
            await asyncio.sleep(0.01)


async def test_what_was_written_after_a_file_does_not_overtake_it_while_it_waits_for_anothers_upload(post: Post):
    async with _uploading(post) as media_id:
        await post.queue("binh", outgoing=_picture(media_id))
        await post.queue("binh", "sau")
        await _looked_at(post, 2)
        await post.queue("binh", "sau nữa")
        await _looked_at(post, 3)
        await post.queue("chi", "chữ")
        await post.queue("binh", "trả lời", lane=Lane.REPLY)
        await _looked_at(post, 4)
        await _looked_at(post, 5)
        assert sorted(post.order) == ["chữ", "trả lời"], "others, and what goes first anyway, wait for no upload"

    assert post.said("binh") == ["trả lời", "ảnh", "sau", "sau nữa"]


async def test_what_waits_behind_a_file_that_is_called_off_leaves_when_the_upload_has_ended(post: Post):
    async with _uploading(post) as media_id:
        await post.queue("binh", outgoing=_picture(media_id), origin="file")
        await post.queue("binh", "sau")
        await _looked_at(post, 2)
        async with post.sessions.begin() as session:
            await calling_off.call_off_origin(session, "file", now=post.clock())

    assert post.said("binh") == ["sau"]


async def test_the_order_of_a_chat_holds_however_many_steps_release_what_waited_for_an_upload(post: Post, monkeypatch):
    monkeypatch.setattr(claims, "_RELEASED", 2)
    async with _uploading(post) as media_id:
        for number in range(6):
            await post.queue(f"chat{number % 2}", outgoing=_picture(media_id))
            await post.queue(f"chat{number % 2}", f"sau {number}")
        await _looked_at(post, 12)

    for chat in (0, 1):
        assert post.said(f"chat{chat}") == [said for n in range(chat, 6, 2) for said in ("ảnh", f"sau {n}")]


def test_what_was_left_out_of_a_claim_goes_before_what_was_claimed_when_its_chat_is_free():
    departures, now = Departures(Pace(Limits()), 0.05), datetime(2026, 11, 23, tzinfo=UTC)
    first, second, third = (_claimed(number) for number in (1, 2, 3))

    def decide(delivery: Claimed) -> Any:
        return departures.decide(delivery, (), now=now, instant=1000.0)

    assert isinstance(decide(first), Leaves)
    assert decide(second) == PutBack(2, "chat_busy")
    assert departures.aside() == {2}
    departures.ended(first)  # while the database looks for what else may leave, and finds the third
    assert decide(third) == PutBack(3, "chat_busy")
    assert departures.aside() == set()
    assert isinstance(decide(second), Leaves)


def _claimed(number: int) -> Claimed:
    to = Recipient("memory", "lan")
    return Claimed(number, to, Lane.ROUTINE, Outgoing("x"), "x", 1, None, False, False, {}, {})


async def test_when_an_upload_fails_the_next_one_tries(sessions: Sessions, clock: Clock):
    async with FakeBotApi(rate=None) as api, _telegram(sessions, clock, api) as dispatcher:
        await _queue_file(sessions, clock, range(1, 21))
        body = json.dumps({"ok": False, "error_code": 403, "description": "Forbidden: bot was blocked by the user"})
        api.faults.append(Fault("sendPhoto", "refuse", times=3, code=403, body=body))
        await dispatcher.drain()
        assert (_uploads(api), len(api.sent)) == (4, 17)


async def test_a_file_the_platform_has_forgotten_is_uploaded_again_once(sessions: Sessions, clock: Clock):
    async with FakeBotApi(rate=None, latency=0.02) as api, _telegram(sessions, clock, api) as dispatcher:
        media_id = await _queue_file(sessions, clock, range(1, 51))
        async with sessions.begin() as session:
            session.add(MediaHandle(media_id=media_id, channel="telegram", handle="photo-long-gone"))
        await dispatcher.drain()
        assert (_uploads(api), len(api.sent)) == (1, 50)
        async with sessions.reading() as session:
            assert await session.scalar(select(Delivery.id).where(Delivery.state != DeliveryState.SENT)) is None


async def test_a_file_erased_while_it_is_sent_stops_nothing(post: Post):
    await post.queue("lan")
    (claimed,) = await _claim(post.sessions, post.clock)
    sent = Outcome(claimed, DeliveryState.SENT, message_id="1", handles=((4711, "photo-1"),))
    await _settle(post.sessions, post.clock, sent)
    assert await post.states() == [DeliveryState.SENT]


# --- edits and the live message ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("hide", [False, True])
async def test_edits_of_one_message_are_one_row_and_the_newest_wins(post: Post, hide: bool):
    await post.queue("lan", "0")
    await post.send()
    for number in range(1, 6):
        await post.queue("lan", f"{number}", edits="1", hide_address=hide)
    assert await post.states() == [DeliveryState.SENT, DeliveryState.PENDING]
    await post.send()
    (message,) = post.gateway.chats["lan"]
    assert (message.text, message.edits) == ("5", 1)
    async with post.sessions.reading() as session:
        assert len(list(await session.scalars(select(Content)))) == 1


async def test_edits_of_different_messages_and_chats_stay_apart(post: Post):
    for chat in ("lan", "minh"):
        for _ in range(2):
            await post.queue(chat, "0")
    await post.send()
    for chat in ("lan", "minh"):
        for message in ("1", "2"):
            await post.queue(chat, f"{chat}{message}", edits=message)
    await post.send()
    assert post.said("lan") + post.said("minh") == ["lan1", "lan2", "minh1", "minh2"]


async def test_an_edit_under_way_is_followed_by_the_newest(post: Post):
    await post.queue("lan", "0")
    await post.send()
    await post.queue("lan", "cũ", edits="1")
    (under_way,) = await _claim(post.sessions, post.clock)
    for newer in ("mới", "mới nhất"):
        await post.queue("lan", newer, edits="1")
    await _settle(post.sessions, post.clock, Outcome(under_way, DeliveryState.SENT, message_id="1"))
    await post.send()
    assert post.said("lan") == ["mới nhất"]
    assert await post.states() == [DeliveryState.SENT]


@pytest.mark.parametrize("how", ["throttled", "lost"])
async def test_an_edit_that_comes_back_does_not_overwrite_a_newer_one(post: Post, how: str):
    await post.queue("lan", "0")
    await post.send()
    await post.queue("lan", "cũ", edits="1")
    (old,) = await _claim(post.sessions, post.clock)
    await post.queue("lan", "mới", edits="1")
    if how == "lost":
        post.clock.advance(minutes=5)
        await _recover(post)
    else:
        await _settle(post.sessions, post.clock, Outcome(old, DeliveryState.PENDING, reason="throttled", counts=False))
    await post.wait(60)
    (message,) = post.gateway.chats["lan"]
    assert (message.text, message.edits) == ("mới", 1)


@pytest.mark.parametrize("slots", [1, 7, 64])
async def test_the_live_message_moves_during_a_broadcast(sessions: Sessions, clock: Clock, slots: int):
    async with _post(sessions, clock, Limits(), slots=slots) as post:
        await post.queue("officer", "0", lane=Lane.REPLY)
        await post.send()
        for number in range(100):
            await post.queue(f"chat-{number}", "thông báo")
        await post.queue("officer", "đã gửi 0", lane=Lane.REMINDER, edits="1", purpose=Purpose.LIVE)
        await post.send()
        methods = [method for method, _ in post.gateway.calls]
        assert methods.index("editMessageText") <= 16 + max(slots, 16)


@pytest.mark.parametrize("flood", list(Lane))
async def test_no_flood_in_one_lane_starves_another(post: Post, flood: Lane):
    for number in range(64):
        await post.queue(f"flood-{number}", lane=flood)
    for lane in Lane:
        await post.queue(f"one-{lane}", lane=lane)
    post.dispatcher._slots = 1
    await post.send()
    chats = [str(parameters["chat_id"]) for method, parameters in post.gateway.calls if method == "sendMessage"]
    assert all(chats.index(f"one-{lane}") <= 20 for lane in Lane if lane is not flood)


class Followed:
    """An officer who follows a broadcast to two places, and the messages that count along."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def begin(self) -> Followed:
        self._owners = [
            await self._world.owner(name, f"Nhà nghỉ {name}", address=f"{name} Lê Lợi") for name in ("lan", "minh")
        ]
        officer = await self._world.officer("binh")
        self.chat = officer.chat.address
        await composes(officer, group="Tất cả cơ sở (2)")
        await officer.presses("Gửi")
        await self._world.tick(seconds=6)
        return self

    async def confirms(self, number: int) -> None:
        await self._owners[number].presses("Đã nhận")

    @property
    def live(self) -> list[Any]:
        """The messages that count along, those deleted left out."""
        shown = self._world.port.gateway.chats[self.chat]
        return [message for message in shown if "đã gửi tới" in message.text and not message.deleted]


async def test_a_live_message_its_reader_deleted_is_posted_again_and_goes_on(telegram_world: World):
    world = telegram_world
    followed = await Followed(world).begin()
    followed.live[0].deleted = True
    await followed.confirms(0)
    await world.tick(seconds=6)
    await world.tick(seconds=6)
    (again,) = followed.live
    assert "đã xác nhận 1" in again.text
    await followed.confirms(1)
    await world.tick(seconds=6)
    assert followed.live == [again]
    assert ("đã xác nhận 2" in again.text, again.edits) == (True, 1)


@pytest.mark.parametrize("how", [OSError("cut"), ApiRefusal(429, "Too Many Requests", retry_after=30)])
async def test_the_final_state_arrives_however_often_its_edit_fails(post: Post, how: Exception):
    await post.queue("officer", "đang gửi", lane=Lane.REPLY, purpose=Purpose.LIVE, subject_id=1)
    await post.send()
    for _ in range(12):
        post.gateway.fail_next("officer", how)
    await post.queue("officer", "xong", lane=Lane.REMINDER, edits="1", purpose=Purpose.LIVE, subject_id=1)
    for _ in range(16):
        await post.wait(15 * 60)
    assert post.said("officer") == ["xong"]


async def test_a_live_message_that_cannot_be_edited_is_said_anew(telegram_world: World):
    world = telegram_world
    followed = await Followed(world).begin()
    world.port.gateway.fail_next(followed.chat, ApiRefusal(400, "Bad Request: message can't be edited"))
    await followed.confirms(0)
    await world.tick(seconds=6)
    assert "đã xác nhận 1" in followed.live[-1].text


# --- what waits for what ----------------------------------------------------------------------------------------------


async def test_an_edit_that_is_throttled_silences_its_chat_alone(post: Post):
    await post.queue("lan", "0")
    await post.send()
    post.gateway.fail_next("lan", ApiRefusal(429, "Too Many Requests: retry after 30", retry_after=30))
    await post.queue("lan", "1", edits="1", lane=Lane.REMINDER)
    await post.send()
    await post.queue("minh", lane=Lane.REPORT)
    await post.send()
    assert post.said("minh") == ["Xin chào"]
    await post.wait(29.9)
    assert post.said("lan") == ["0"]
    await post.wait(0.1)
    assert post.said("lan") == ["1"]


async def test_an_urgent_report_goes_ahead_of_a_thousand_ordinary_ones(paced: Post):
    for number in range(30):
        await paced.queue("truc-ban", f"{number}", lane=Lane.REPORT)
    await paced.send()
    await paced.queue("truc-ban", "GẤP", lane=Lane.REPORT, urgent=True)
    await _over(paced, 2.5)
    said = paced.said("truc-ban")
    assert "GẤP" in said[:4]
    await _over(paced, 40)
    assert [words for words in paced.said("truc-ban") if words != "GẤP"] == [f"{number}" for number in range(30)]


async def test_one_slow_chat_with_much_to_get_does_not_hold_up_the_lane(paced: Post):
    for number in range(60):
        await paced.queue("truc-ban", f"{number}", lane=Lane.REPORT)
    await paced.queue("chi-huy", "tin", lane=Lane.REPORT)
    await _over(paced, 2)
    assert paced.said("chi-huy") == ["tin"]


async def test_two_claimers_on_postgresql_pass_over_each_others_rows(postgresql_engine: Any, clock: Clock):
    sessions = Sessions(postgresql_engine, KEYS)
    async with sessions.begin() as session:
        for number in range(20):
            await ledger.open_delivery(
                session,
                Outgoing("x"),
                to=Recipient("memory", f"{number}"),
                key=f"{number}",
                origin="test",
                lane=Lane.ROUTINE,
                now=clock(),
            )
    async with sessions.begin() as first, asyncio.timeout(5):
        mine = await claims.claim(first, "memory", limit=15, now=clock())
        async with sessions.begin() as second:
            theirs = await claims.claim(second, "memory", limit=15, now=clock())
    assert (len(mine), len(theirs)) == (15, 5)
    assert not {one.id for one in mine} & {one.id for one in theirs}


# --- what a stolen ledger tells ---------------------------------------------------------------------------------------


async def test_the_ledger_of_a_reporters_messages_tells_days_and_no_instants(post: Post):
    later = post.clock() + timedelta(hours=3)
    buttons = ((Button("Có", "yes"),),)
    how: dict[str, Any] = {"hide_address": True, "origin": "report:7", "lane": Lane.REPORT}
    await post.queue("lan", outgoing=Outgoing("một", buttons=buttons), **how)
    await post.queue("lan", "hai", due_at=later, **how)
    await post.queue("minh", "ba", **how)
    await post.queue("minh", "bốn", edits="4711", **how)
    post.gateway.fail_next("minh", ApiRefusal(403, "Forbidden: bot was blocked by the user"))
    await post.send()
    async with post.sessions.reading() as session:
        instants = [
            (column.key, value)
            for table in (Delivery, Content, ButtonRow)
            for row in (await session.execute(select(table.__table__))).mappings()
            for column in table.__table__.columns
            if (value := row[column]) is not None and hasattr(value, "hour")
        ]
    assert {name for name, value in instants if value != day_of(value)} == {"due_at"}
    assert [value for name, value in instants if name == "due_at"] == [later]


async def test_no_key_and_no_row_of_the_ledger_carries_an_update_a_chat_or_a_message(post: Post):
    await post.queue("lan-thi-tuyet", key="answer:telegram:700123456:1", hide_address=True, lane=Lane.REPLY)
    await post.queue("lan-thi-tuyet", key="report:7/question/2026-11-23T01:00", hide_address=True, edits="4711")
    async with post.sessions.reading() as session:
        rows = (await session.execute(select(Delivery.__table__))).all()
    told = repr(rows)
    assert not [trace for trace in ("700123456", "lan-thi-tuyet", "4711", "2026-11-23T01") if trace in told]
    claimed = await _claim(post.sessions, post.clock)
    assert {(one.to.address, one.edits) for one in claimed} == {("lan-thi-tuyet", None), ("lan-thi-tuyet", "4711")}


async def test_how_long_a_text_is_cannot_be_seen_and_rows_have_no_order(post: Post, sessions: Sessions):
    for length in (1, 40, 90):
        await post.queue("lan", "x" * length)
    async with sessions.reading() as session:
        sizes = {len(sealed) for sealed in await session.scalars(select(Content.sealed))}
        if is_sqlite(session):
            schema = (await session.execute(text("SELECT name, sql FROM sqlite_master"))).all()
            made = {str(row.name): str(row.sql) for row in schema}
            assert "WITHOUT ROWID" in made["contents"] and "WITHOUT ROWID" in made["buttons"]
            assert "AUTOINCREMENT" in made["deliveries"]
    assert len(sizes) == 1


# --- copies, counts, buttons ------------------------------------------------------------------------------------------


async def test_a_copy_is_known_by_its_columns_and_not_by_its_key(post: Post, make: Factory):
    await _lost(post, purpose=Purpose.FORWARD, subject_id=7, urgent=True)
    first, copy = await post.rows()
    assert (copy.resend_of, copy.copies, copy.purpose, copy.subject_id, copy.urgent) == (
        first.id,
        1,
        Purpose.FORWARD,
        7,
        True,
    )
    async with post.sessions.begin() as session:
        await calling_off.call_off(session, Purpose.FORWARD, 7, now=post.clock())
    await post.wait(60)
    assert post.said("lan") == []


async def test_a_count_that_was_final_is_taken_again_when_a_lost_send_turns_out_to_have_arrived(
    post: Post, make: Factory
):
    author = await make.officer(Recipient("memory", "author"), Role.COMMANDER)
    async with post.sessions.begin() as session:
        notice = Notice(
            number="TB-1",
            state=NoticeState.FINISHED,
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
        broadcast.finished_at = post.clock()
    await post.queue("lan")
    async with post.sessions.begin() as session:
        await session.execute(update(Delivery).values(broadcast_id=broadcast.id))
    (claimed,) = await _claim(post.sessions, post.clock)
    post.clock.advance(minutes=5)
    await _recover(post)
    await _settle(post.sessions, post.clock, Outcome(claimed, DeliveryState.SENT, message_id="9"))
    async with post.sessions.reading() as session:
        assert (await session.get_one(Broadcast, broadcast.id)).finished_at is None
    (row,) = await post.rows()
    assert (row.state, row.settled_at) == (DeliveryState.SENT, post.clock())


async def test_of_more_than_a_hundred_buttons_the_first_hundred_leave(post: Post):
    rows = tuple((Button(f"{number}", "see", (f"{number}",)),) for number in range(130))
    await post.queue("lan", outgoing=Outgoing("danh sách", buttons=rows))
    await post.send()
    assert post.gateway.chats["lan"][0].labels == [f"{number}" for number in range(100)]
    async with post.sessions.reading() as session:
        assert len(list(await session.scalars(select(ButtonRow.id)))) == 100
