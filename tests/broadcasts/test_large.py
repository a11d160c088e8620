"""A broadcast too large for one transaction: opened, counted, held and called off in short steps, and true at each."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest
from sqlalchemy import func, insert, select, update

from broadcasts.acknowledgements import acknowledge, count_silent, silent
from broadcasts.facts import Draft
from broadcasts.notices import cancel_notice, name_more, pause_notice, resume_notice, schedule_notice
from broadcasts.opening import finish_done, go_on, open_due
from broadcasts.progress import count_news, count_progress, follow
from broadcasts.shifting import STEP
from channels.port import Recipient
from channels.wording import message
from db.engine import keys_of
from db.tables.broadcasts import (
    Broadcast,
    BroadcastPlace,
    BroadcastReach,
    Notice,
    NoticePart,
    NoticePlace,
    NoticeState,
    Response,
)
from db.tables.deliveries import Delivery, DeliveryState, Lane
from db.tables.establishments import Contact, Establishment, EstablishmentState, Kind
from deliveries.claims import claim, next_due_at
from deliveries.copies import seal_message_id
from deliveries.ledger import open_delivery
from establishments.groups import audience_parts, audience_size, members
from establishments.registration import set_blocked
from unit.policy import Policy

PLACES = 4 * STEP + 7
CHANNEL = "memory"
BINH = Recipient(CHANNEL, "binh")
POLICY = Policy()


def chat_of(number: int) -> Recipient:
    return Recipient(CHANNEL, f"c{number}")


@pytest.fixture
async def officer(make):
    return await make.officer(BINH)


@pytest.fixture
async def town(sessions, now):
    """PLACES establishments with a chat each."""
    async with sessions.begin() as session:
        await session.execute(
            insert(Establishment),
            [
                {
                    "id": number,
                    "kind": Kind.GUESTHOUSE,
                    "name": f"Nhà nghỉ {number}",
                    "address": f"{number} Lê Lợi",
                    "folded": f"nha nghi {number:05}",
                    "state": EstablishmentState.ACTIVE,
                    "created_at": now,
                }
                for number in range(1, PLACES + 1)
            ],
        )
        await session.execute(
            insert(Contact),
            [
                {
                    "establishment_id": number,
                    "channel": CHANNEL,
                    "address": chat_of(number).address,
                    "role": "owner",
                    "created_at": now,
                }
                for number in range(1, PLACES + 1)
            ],
        )


@pytest.fixture
def begin(sessions, officer, town, now):
    """Write a notice to everybody, and begin to open it; the ids of notice and broadcast."""

    async def begin(*, urgent: bool = False, response: Response = Response.CONFIRM) -> tuple[int, int]:
        async with sessions.begin() as session:
            draft = Draft("Xin chào", "all", response, urgent=urgent)
            notice = await schedule_notice(session, officer, draft, now=now)
        await named(sessions)
        async with sessions.begin() as session:
            (broadcast_id,) = await open_due(session, now=now, policy=POLICY)
        return notice.id, broadcast_id

    return begin


async def named(sessions) -> None:
    while True:
        async with sessions.begin() as session:
            if not await name_more(session):
                return


async def step(sessions, now) -> bool:
    async with sessions.begin() as session:
        return await go_on(session, now=now, policy=POLICY)


async def all_steps(sessions, now) -> int:
    taken = 0
    while await step(sessions, now):
        taken += 1
    return taken


async def count(sessions, table, *where) -> int:
    async with sessions.reading() as session:
        return await session.scalar(select(func.count()).select_from(table).where(*where))


async def counts(sessions, broadcast_id):
    async with sessions.reading() as session:
        return await count_progress(session, broadcast_id)


async def state_of(sessions, notice_id) -> NoticeState:
    async with sessions.reading() as session:
        return await session.scalar(select(Notice.state).where(Notice.id == notice_id))


async def states(sessions) -> Counter:
    async with sessions.reading() as session:
        return Counter((await session.scalars(select(Delivery.state).where(Delivery.broadcast_id.is_not(None)))).all())


async def claims(sessions, now, limit=50):
    """What could be sent now; nothing of it is taken."""
    async with sessions.begin() as session:
        found = await claim(session, CHANNEL, limit=limit, now=now)
        await session.rollback()
    return found


# --- freezing ---


async def test_an_audience_is_frozen_at_once_and_written_down_by_name_in_steps(sessions, officer, town, now):
    async with sessions.begin() as session:
        notice = await schedule_notice(session, officer, Draft("x", "all", Response.NONE), now=now)
    assert notice.places == PLACES
    written = [await count(sessions, NoticePlace)]
    while True:
        async with sessions.begin() as session:
            if not await name_more(session):
                break
        written.append(await count(sessions, NoticePlace))
    assert max(after - before for before, after in zip([0, *written], written, strict=False)) <= STEP
    assert written[-1] == PLACES and await count(sessions, NoticePart) == 0


async def test_who_becomes_active_while_names_are_written_down_is_not_added(sessions, officer, town, now):
    async with sessions.begin() as session:
        late = (Establishment.id > STEP) & (Establishment.id <= STEP + 5)
        await session.execute(update(Establishment).where(late).values(state=EstablishmentState.PENDING))
        await schedule_notice(session, officer, Draft("x", "all", Response.NONE), now=now)
        await session.execute(update(Establishment).where(late).values(state=EstablishmentState.ACTIVE))
    await named(sessions)
    assert await count(sessions, NoticePlace) == PLACES - 5


async def test_nothing_opens_before_the_whole_audience_is_written_down(sessions, officer, town, now):
    async with sessions.begin() as session:
        await schedule_notice(session, officer, Draft("x", "all", Response.NONE), now=now)
        assert await open_due(session, now=now, policy=POLICY) == []
    await named(sessions)
    async with sessions.begin() as session:
        assert len(await open_due(session, now=now, policy=POLICY)) == 1


async def test_parts_of_an_audience_are_its_members_each_once(sessions, town):
    async with sessions.reading() as session:
        parts = await audience_parts(session, "kind:guesthouse,all")
        size = await audience_size(session, "kind:guesthouse,all")
        pages = [
            [one.establishment_id for one in await members(session, "all", limit=400, offset=offset)]
            for offset in range(0, PLACES, 400)
        ]
    ids = [int(which) for part in parts for which in part.ids.split(",")]
    assert sorted(ids) == list(range(1, PLACES + 1)) == [one for page in pages for one in page]
    assert sum(part.size for part in parts) == size.places == size.connected == PLACES
    assert len(parts) < 10


# --- opening ---


async def test_each_step_opens_few_places_and_together_they_open_each_once(sessions, begin, now):
    await begin()
    opened = [await count(sessions, BroadcastPlace)]
    while await step(sessions, now):
        opened.append(await count(sessions, BroadcastPlace))
    assert max(after - before for before, after in zip([0, *opened], opened, strict=False)) <= STEP
    for table in (BroadcastPlace, BroadcastReach, Delivery):
        assert await count(sessions, table) == PLACES
    async with sessions.reading() as session:
        addresses = list(await session.scalars(select(Delivery.address)))
    assert len(set(addresses)) == PLACES


async def test_a_process_killed_in_any_step_loses_and_doubles_nothing(sessions, begin, now):
    await begin()
    while True:
        with pytest.raises(ConnectionResetError):
            async with sessions.begin() as session:  # the end of the process, before the commit
                await go_on(session, now=now, policy=POLICY)
                raise ConnectionResetError
        if not await step(sessions, now):
            break
    assert await count(sessions, Delivery) == await count(sessions, BroadcastReach) == PLACES


async def test_sends_begin_before_all_is_open(sessions, begin, now):
    await begin()
    assert len(await claims(sessions, now)) == 50
    assert await count(sessions, Delivery) < PLACES


async def test_the_counts_are_true_while_it_opens(sessions, begin, now):
    _, broadcast_id = await begin()
    while True:
        progress = await counts(sessions, broadcast_id)
        assert progress.total == PLACES == progress.waiting + progress.opening
        assert progress.waiting == await count(sessions, Delivery)
        if not await step(sessions, now):
            break
    assert progress.opening == 0


async def test_a_broadcast_that_is_still_being_opened_is_not_finished(sessions, begin, now):
    notice_id, _ = await begin()
    for _ in range(2):
        async with sessions.begin() as session:
            await session.execute(update(Delivery).values(state=DeliveryState.SENT))
            await finish_done(session, now=now)
        assert await state_of(sessions, notice_id) is NoticeState.RUNNING
        await step(sessions, now)
    await all_steps(sessions, now)
    async with sessions.begin() as session:
        await session.execute(update(Delivery).values(state=DeliveryState.SENT))
        await finish_done(session, now=now)
    assert await state_of(sessions, notice_id) is NoticeState.FINISHED


async def test_a_chat_of_two_places_in_different_steps_gets_one_message_for_both(sessions, begin, now):
    async with sessions.begin() as session:
        await session.execute(
            update(Contact).where(Contact.establishment_id == PLACES).values(address=chat_of(1).address)
        )
    _, broadcast_id = await begin()
    await all_steps(sessions, now)
    assert await count(sessions, Delivery) == PLACES - 1
    assert await count(sessions, BroadcastReach) == PLACES
    async with sessions.begin() as session:
        confirmed = await acknowledge(session, chat_of(1), broadcast_id, now=now)
    assert len(confirmed.names) == 2


@pytest.mark.parametrize("blocked", [[1], [PLACES], [1, PLACES]])
async def test_a_chat_is_tried_unless_it_is_blocked_for_all_its_places(sessions, begin, now, blocked):
    async with sessions.begin() as session:
        await session.execute(
            update(Contact).where(Contact.establishment_id == PLACES).values(address=chat_of(1).address)
        )
        await session.execute(update(Contact).where(Contact.establishment_id.in_(blocked)).values(blocked_at=now))
    await begin()
    await all_steps(sessions, now)
    async with sessions.reading() as session:
        state = await session.scalar(select(Delivery.state).where(Delivery.address == chat_of(1).address))
    assert state is (DeliveryState.UNDELIVERABLE if len(blocked) == 2 else DeliveryState.PENDING)


async def test_an_urgent_notice_is_opened_before_the_rest_of_another(sessions, begin, now):
    _, ordinary = await begin()
    _, urgent = await begin(urgent=True)
    for _ in range(4):
        await step(sessions, now)
    assert await count(sessions, BroadcastPlace, BroadcastPlace.broadcast_id == urgent) == PLACES
    assert await count(sessions, BroadcastPlace, BroadcastPlace.broadcast_id == ordinary) < PLACES


# --- pausing, going on, calling off ---


async def test_pause_acts_before_the_next_step_and_before_the_next_send(sessions, begin, officer, now):
    notice_id, _ = await begin()
    await step(sessions, now)
    before = await count(sessions, Delivery)
    async with sessions.begin() as session:
        await pause_notice(session, officer, notice_id, now=now)
    assert await claims(sessions, now) == []
    await all_steps(sessions, now)
    assert await count(sessions, Delivery) == before
    assert await claims(sessions, now) == []
    async with sessions.begin() as session:
        await resume_notice(session, officer, notice_id, now=now)
    await all_steps(sessions, now)
    assert await count(sessions, Delivery) == PLACES
    assert len(await claims(sessions, now, limit=PLACES)) == PLACES


async def test_nothing_leaves_from_the_very_moment_a_large_broadcast_is_paused(sessions, begin, officer, now):
    """More waits than one transaction may write: the lane is closed until the last row is held."""
    notice_id, _ = await begin()
    await all_steps(sessions, now)
    async with sessions.begin() as session:
        await pause_notice(session, officer, notice_id, now=now)
    due_still = await count(sessions, Delivery, Delivery.due_at <= now)
    assert due_still == PLACES - STEP
    while True:
        assert await claims(sessions, now) == []
        async with sessions.reading() as session:
            due_at = await session.scalar(select(Broadcast.halts_lane))
            next_at = await next_due_at(session, CHANNEL)
        if due_at is None:
            break
        assert next_at is None
        await step(sessions, now)
    assert next_at > now + timedelta(days=1000)


async def test_while_one_notice_is_being_held_reports_and_answers_leave(sessions, begin, officer, now):
    notice_id, _ = await begin()
    await all_steps(sessions, now)
    async with sessions.begin() as session:
        await pause_notice(session, officer, notice_id, now=now)
        for lane in (Lane.REPLY, Lane.REPORT, Lane.URGENT, Lane.REMINDER):
            await open_delivery(
                session,
                message("vi", "notices.none"),
                to=Recipient(CHANNEL, "x"),
                key=str(lane),
                origin="x",
                lane=lane,
                now=now,
            )
    assert [one.lane for one in await claims(sessions, now)] == [Lane.REPLY, Lane.REPORT, Lane.URGENT, Lane.REMINDER]


async def test_each_step_of_a_pause_writes_few_rows(sessions, begin, officer, now):
    notice_id, _ = await begin()
    await all_steps(sessions, now)
    async with sessions.begin() as session:
        await pause_notice(session, officer, notice_id, now=now)
    held = [await count(sessions, Delivery, Delivery.due_at > now)]
    while await step(sessions, now):
        held.append(await count(sessions, Delivery, Delivery.due_at > now))
    assert max(after - before for before, after in zip([0, *held], held, strict=False)) <= STEP
    assert held[-1] == PLACES


async def test_a_pause_taken_back_halfway_leaves_nothing_held(sessions, begin, officer, now):
    notice_id, _ = await begin()
    await all_steps(sessions, now)
    async with sessions.begin() as session:
        await pause_notice(session, officer, notice_id, now=now)
    await step(sessions, now)
    async with sessions.begin() as session:
        await resume_notice(session, officer, notice_id, now=now)
    assert len(await claims(sessions, now)) == 50
    await all_steps(sessions, now)
    assert len(await claims(sessions, now, limit=PLACES)) == PLACES


async def test_what_is_put_back_while_a_notice_is_being_held_waits_too(sessions, begin, officer, now):
    notice_id, _ = await begin()
    await all_steps(sessions, now)
    async with sessions.begin() as session:
        (taken,) = await claim(session, CHANNEL, limit=1, now=now)
    async with sessions.begin() as session:
        await pause_notice(session, officer, notice_id, now=now)
        await session.execute(update(Delivery).where(Delivery.id == taken.id).values(state=DeliveryState.PENDING))
    await all_steps(sessions, now)
    assert await claims(sessions, now) == []


async def test_a_notice_called_off_while_it_opens_is_written_down_to_the_last_place(sessions, begin, officer, now):
    notice_id, broadcast_id = await begin()
    async with sessions.begin() as session:
        await session.execute(update(Delivery).where(Delivery.id == 1).values(state=DeliveryState.SENT))
        await cancel_notice(session, officer, notice_id, now=now)
    assert await claims(sessions, now) == []
    await all_steps(sessions, now)
    assert await states(sessions) == {DeliveryState.SENT: 1, DeliveryState.CANCELLED: PLACES - 1}
    progress = await counts(sessions, broadcast_id)
    assert (progress.total, progress.sent, progress.waiting, progress.opening) == (PLACES, 1, 0, 0)
    async with sessions.begin() as session:
        await finish_done(session, now=now)
        assert (await session.scalars(select(Broadcast.finished_at))).one() == now
    assert await state_of(sessions, notice_id) is NoticeState.CANCELLED


async def test_nothing_leaves_from_the_very_moment_a_large_broadcast_is_called_off(sessions, begin, officer, now):
    notice_id, _ = await begin()
    await all_steps(sessions, now)
    async with sessions.begin() as session:
        await cancel_notice(session, officer, notice_id, now=now)
    assert (await states(sessions))[DeliveryState.PENDING] == PLACES - STEP
    assert await claims(sessions, now) == []
    await all_steps(sessions, now)
    assert await states(sessions) == {DeliveryState.CANCELLED: PLACES}


async def test_a_notice_paused_after_its_last_send_is_finished_when_it_goes_on(make, sessions, officer, now):
    await make.place("Hoa Mai", chat_of(1))
    async with sessions.begin() as session:
        notice = await schedule_notice(session, officer, Draft("x", "all", Response.NONE), now=now)
        await open_due(session, now=now, policy=POLICY)
        await session.execute(update(Delivery).values(state=DeliveryState.SENT))
        await pause_notice(session, officer, notice.id, now=now)
        await finish_done(session, now=now)
        assert (await resume_notice(session, officer, notice.id, now=now)).state is NoticeState.FINISHED


# --- lists and counts ---


async def test_the_silent_come_in_pages_each_once_and_their_counts_add_up(sessions, begin, officer, now):
    async with sessions.begin() as session:
        for number in range(1, 4):
            await set_blocked(session, chat_of(number), blocked=True, now=now)
        await session.execute(
            update(Establishment).where(Establishment.id == 4).values(state=EstablishmentState.INVITED)
        )
    notice_id, broadcast_id = await begin()
    await all_steps(sessions, now)
    async with sessions.begin() as session:
        await session.execute(
            update(Delivery).where(Delivery.state == DeliveryState.PENDING).values(state=DeliveryState.SENT)
        )
        await acknowledge(session, chat_of(100), broadcast_id, now=now)
    async with sessions.reading() as session:
        sizes = await count_silent(session, officer, notice_id)
        pages = [await silent(session, officer, notice_id, limit=90, offset=offset) for offset in range(0, PLACES, 90)]
    everybody = [one for page in pages for one in page]
    assert all(len(page) <= 90 for page in pages)
    assert Counter(one.why for one in everybody) == sizes
    assert sizes == {"not_pressed": PLACES - 5, "blocked": 3, "not_connected": 1}
    assert sorted(one.establishment_id for one in everybody) == [n for n in range(1, PLACES + 1) if n != 100]
    assert [one.why for one in everybody[:4]] == ["blocked", "blocked", "blocked", "not_connected"]


async def test_places_still_to_be_opened_are_listed_as_waiting(sessions, begin, officer, now):
    notice_id, _ = await begin()
    async with sessions.reading() as session:
        assert await count_silent(session, officer, notice_id) == {"waiting": PLACES}


async def test_a_large_broadcast_is_counted_by_readers_alone(sessions, begin, now, monkeypatch):
    monkeypatch.setattr("broadcasts.progress.COUNTED_AT_ONCE", STEP)
    _, broadcast_id = await begin()
    await all_steps(sessions, now)

    async def text_of(session) -> str | None:
        return await session.scalar(select(Broadcast.progress_said).where(Broadcast.id == broadcast_id))

    async with sessions.begin() as session:
        await follow(session, now=now, rate=30, policy=POLICY)
    async with sessions.reading() as session:
        counted = await count_news(session, now=now + timedelta(seconds=5))
        first = await text_of(session)
    assert first is not None and counted[broadcast_id].waiting == PLACES
    async with sessions.begin() as session:
        (live,) = await session.scalars(select(Delivery).where(Delivery.address == BINH.address))
        live.message_id, live.state = seal_message_id(keys_of(session), live.content_id, "1"), DeliveryState.SENT
        await session.flush()
        await follow(session, now=now + timedelta(seconds=5), rate=30, policy=POLICY)
        assert await text_of(session) == first, "not counted where writers wait"
        await follow(session, now=now + timedelta(seconds=5), rate=30, policy=POLICY, counted=counted)
        assert await text_of(session) != first
