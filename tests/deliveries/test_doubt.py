"""When an answer never comes: what is listed, what is repeated, and what is not put at risk."""

from __future__ import annotations

from sqlalchemy import select

from channels.port import Limits, Outgoing, Recipient, Sent, TryLater, Uncertain
from channels.sender import Sender
from db.tables.deliveries import Delivery, DeliveryState
from deliveries import claims, ledger, outcomes
from deliveries.copies import COPIES
from deliveries.dispatch import Dispatcher
from deliveries.ledger import Lane
from deliveries.outcomes import Outcome
from deliveries.pace import Pace

LAN = Recipient("telegram", "911")


async def queue(session, key, now, **more) -> None:
    await ledger.open_delivery(
        session, Outgoing(key), to=LAN, key=key, origin="test", now=now, **{"lane": Lane.REPLY, **more}
    )


async def test_a_copy_that_is_lost_too_is_sent_again_later_and_each_stays_listed(sessions, now):
    async with sessions.begin() as session:
        await queue(session, "answer", now, hide_address=True, passing=True)
    waits = []

    for _ in range(COPIES + 1):
        async with sessions.begin() as session:
            due = await claims.next_due_at(session, "telegram")
            waits.append(max(0.0, (due - now).total_seconds()))
            now = max(now, due)
            [claimed] = await claims.claim(session, "telegram", limit=5, now=now)
            assert (claimed.to, claimed.resent) == (LAN, len(waits) > 1)
            await outcomes.settle(session, [Outcome(claimed, DeliveryState.UNKNOWN, reason="no_answer")], now=now)

    async with sessions.reading() as session:
        states = list(await session.scalars(select(Delivery.state).order_by(Delivery.id)))
    assert states == [DeliveryState.UNKNOWN] * (COPIES + 1)
    assert waits == [0, 0, 5, 10, 20, 40]


async def test_after_a_restart_edits_wait_again_and_messages_are_repeated(sessions, make, now):
    async with sessions.begin() as session:
        await queue(session, "result", now, lane=Lane.ROUTINE)
        await queue(session, "edit", now, edits="7")
        assert len(await claims.claim(session, "telegram", limit=5, now=now)) == 2

    async with sessions.begin() as session:
        lost = await outcomes.recover(session, now=now, all_in_flight=True)

    async with sessions.reading() as session:
        rows = list(await session.scalars(select(Delivery).order_by(Delivery.id)))
    assert lost == 1
    assert [(row.edits, row.state, row.resend_of, row.copies) for row in rows] == [
        (None, DeliveryState.UNKNOWN, None, 0),
        ("7", DeliveryState.PENDING, None, 0),
        (None, DeliveryState.PENDING, rows[0].id, 1),
    ]


class Wavering(Sender):
    """Loses answers to messages while `lost`, and is out of reach altogether while `away`."""

    def __init__(self) -> None:
        self.lost = self.away = False
        self.sends = self.questions = 0

    async def send(self, address, outgoing, **_):
        self.sends += 1
        if self.lost:
            raise Uncertain("no_answer")
        return Sent("1")

    async def probe(self) -> None:
        self.questions += 1
        if self.away:
            raise TryLater("unreachable")


class Seconds:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


async def wavering(sessions, clock, chats: int) -> tuple[Wavering, Dispatcher, Seconds]:
    sender, seconds = Wavering(), Seconds()
    async with sessions.begin() as session:
        for number in range(chats):
            await ledger.open_delivery(
                session,
                Outgoing("x"),
                to=Recipient("telegram", str(number + 1)),
                key=str(number),
                origin="test",
                lane=Lane.ROUTINE,
                now=clock(),
            )
    pace = Pace(Limits())
    return sender, Dispatcher(sessions, "telegram", sender, pace, clock, slots=1, monotonic=seconds), seconds


async def test_nothing_more_is_risked_before_the_platform_answers(sessions, clock):
    sender, dispatcher, seconds = await wavering(sessions, clock, chats=5)
    sender.lost = sender.away = True

    await dispatcher.drain()

    assert (sender.sends, sender.questions) == (1, 1)
    assert dispatcher.down == "unreachable"
    sender.lost = sender.away = False
    seconds.now += 1
    clock.advance(seconds=1)
    await dispatcher.drain()
    assert sender.sends == 1 + 5  # the one in doubt was repeated
    assert dispatcher.down is None


async def test_when_only_sends_get_lost_fewer_and_fewer_are_risked(sessions, clock):
    sender, dispatcher, seconds = await wavering(sessions, clock, chats=50)
    sender.lost = True

    for _ in range(60):
        await dispatcher.drain()
        seconds.now += 1
        clock.advance(seconds=1)

    assert sender.sends < 12
