"""The pace against a strict reading of the limits: a sliding window at the other end."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from channels.port import Limits
from db.tables.deliveries import Lane
from deliveries.pace import SLACK, Pace, Shares

TELEGRAM = Limits(per_second=30, per_chat_second=1, per_group_minute=20)


def most_in_a_window(instants: list[float], window: float) -> int:
    """The largest number of instants that any window, its end excluded, can hold."""
    most, first = 0, 0
    for last, instant in enumerate(instants):
        while instant - instants[first] >= window:
            first += 1
        most = max(most, last - first + 1)
    return most


@given(
    rate=st.sampled_from([1, 5, 20, 30, 100, 300, 400, 1000]),
    delays=st.lists(st.floats(0, 0.05), min_size=1, max_size=40),
)
@settings(deadline=None)
def test_no_sliding_second_holds_more_than_the_rate(rate, delays):
    pace, now, sent = Pace(Limits(per_second=rate)), 100.0, []

    for number in range(min(3 * rate, 1500) + 5):
        now = pace.take(now + delays[number % len(delays)])
        sent.append(now)

    assert most_in_a_window(sent, 1.0) <= rate


@pytest.mark.parametrize(("rate", "lateness"), [(30, 0.0029), (1000, 0.008)])
def test_a_loop_that_is_a_little_late_keeps_its_share(rate, lateness):
    pace, now, count = Pace(Limits(per_second=rate)), 100.0, 20 * rate

    for number in range(count):
        now = pace.take(now)
        now = pace.next_slot(now) + (lateness if number % 20 == 0 else 0)

    assert (count - 1) / (now - 100.0) >= 0.985 * rate


def test_messages_are_evenly_spaced_without_a_first_burst():
    pace = Pace(TELEGRAM)

    slots = [pace.take(100.0) for _ in range(4)]

    # The first gap is shorter by what a turn may be late.
    assert slots == pytest.approx([100.0, 100.0 + 0.0307, 100.0 + 0.0643, 100.0 + 0.0980], abs=0.0002)


def test_looking_at_the_next_slot_takes_nothing():
    pace = Pace(TELEGRAM)

    assert pace.next_slot(5.0) == pace.next_slot(5.0) == pace.take(5.0) == 5.0


@given(rate=st.sampled_from([1, 30, 1000]), ahead=st.floats(0, 2), late=st.floats(0, 1))
def test_as_many_messages_have_room_as_then_leave_in_time(rate, ahead, late):
    pace = Pace(Limits(per_second=rate))
    now = pace.take(10.0) + late

    room = pace.room(now, now + ahead)

    slots = [pace.take(now) for _ in range(room + 1)]
    assert all(slot <= now + ahead + 1e-6 for slot in slots[:room])
    assert slots[room] > now + ahead - 1e-6


def test_a_held_channel_has_no_room():
    pace = Pace(TELEGRAM)
    pace.hold_all(15.0)

    assert pace.room(10.0, 14.0) == 0
    assert pace.room(10.0, 15.01) == 1
    assert Pace(Limits()).room(10.0, 10.0) > 1000


def test_a_channel_without_limits_is_never_waited_for():
    pace = Pace(Limits())

    assert [pace.take(7.0) for _ in range(100)] == [7.0] * 100
    pace.note("1", 7.0)
    assert pace.chat_ready_at("1", 7.0) == 7.0


def test_a_chat_gets_one_message_a_second():
    pace = Pace(TELEGRAM)
    pace.note("42", 10.0)

    assert 11.0 < pace.chat_ready_at("42", 10.0) < 11.02
    assert pace.chat_ready_at("43", 10.0) == 10.0


def test_answers_may_come_three_at_once_and_then_wait():
    pace = Pace(TELEGRAM)

    for _ in range(3):
        assert pace.chat_ready_at("42", 10.0, reply=True) == 10.0
        pace.note("42", 10.0)

    assert 11.0 < pace.chat_ready_at("42", 10.0, reply=True) < 11.02
    assert pace.chat_ready_at("42", 10.0) > 13.0


@given(waits=st.lists(st.floats(0, 4), min_size=30, max_size=120), reply=st.booleans())
@settings(deadline=None)
def test_a_group_never_gets_more_than_twenty_in_a_minute(waits, reply):
    pace, now, sent = Pace(TELEGRAM), 0.0, []

    for wait in waits:
        now = pace.chat_ready_at("-100123", now + wait, reply=reply)
        pace.note("-100123", now)
        sent.append(now)

    assert most_in_a_window(sent, 60.0) <= 20


def test_a_person_may_get_more_than_twenty_in_a_minute():
    pace, now = Pace(TELEGRAM), 0.0

    for _ in range(30):
        now = pace.chat_ready_at("123", now)
        pace.note("123", now)

    assert now < 30


def test_a_held_chat_waits_and_the_others_do_not():
    pace = Pace(TELEGRAM)
    pace.hold_chat("42", 40.0, now=10.0)

    assert pace.chat_ready_at("42", 10.0, reply=True) == 40.0
    assert pace.chat_ready_at("43", 10.0) == 10.0
    assert pace.next_slot(10.0) == 10.0


def test_a_held_channel_sends_nothing_before_the_end_and_no_burst_after_it():
    pace = Pace(TELEGRAM)
    pace.take(10.0)
    pace.hold_all(15.0)
    pace.hold_all(12.0)

    sent = [pace.take(10.0) for _ in range(35)]

    assert sent[0] == 15.0
    assert most_in_a_window(sent, 1.0) <= 30


def test_chats_that_are_ready_again_are_forgotten():
    pace = Pace(TELEGRAM)

    for number in range(20_000):
        pace.note(str(number), number / 30)

    assert len(pace._chats) <= 600


def test_a_slot_long_past_is_lost_at_a_slow_rate_only():
    slow, fast = Pace(Limits(per_second=30)), Pace(Limits(per_second=1000))

    assert slow.is_past(10.0, 10.0 + 2 * SLACK)
    assert not slow.is_past(10.0, 10.0 + SLACK / 2)
    assert not fast.is_past(10.0, 10.0 + 2 * SLACK)
    assert not Pace(Limits()).is_past(10.0, 11.0)


@given(
    sizes=st.lists(st.integers(1, 10), min_size=1, max_size=25),
    delays=st.lists(st.floats(0, 0.3), min_size=1, max_size=9),
)
@settings(deadline=None)
def test_albums_count_as_so_many_messages_whichever_way_a_second_lies(sizes, delays):
    pace, now, sent = Pace(Limits(per_second=30)), 100.0, []

    for number, size in enumerate(sizes):
        now = pace.take_together(now + delays[number % len(delays)], size)
        sent += [now] * size

    assert most_in_a_window(sent, 1.0) <= 30


def test_an_album_waits_until_its_group_has_room_for_all_of_it():
    pace = Pace(TELEGRAM)
    pace.note("-100", 10.0, count=15)

    assert pace.chat_ready_at("-100", 30.0, count=5) == 30.0
    assert pace.chat_ready_at("-100", 30.0, count=6) > 70.0


def test_an_album_keeps_its_chat_for_as_many_seconds():
    pace = Pace(TELEGRAM)
    pace.note("42", 10.0, count=10)

    assert 20.0 < pace.chat_ready_at("42", 10.0) < 20.2


@given(claims=st.lists(st.integers(1, 40), min_size=1, max_size=40))
def test_every_lane_has_its_share_of_what_is_claimed_however_much_at_once(claims):
    shares, reserved = Shares(), dict.fromkeys(Lane, 0)

    for rows in claims:
        ahead = shares.of_next(rows)
        assert sum(ahead) <= rows
        for lane in Lane:
            reserved[lane] += ahead[lane]
        shares.took(rows)

    cycles = sum(claims) // 16
    assert reserved[Lane.REPORT] >= 4 * cycles and reserved[Lane.URGENT] >= 2 * cycles
    assert reserved[Lane.ROUTINE] >= cycles and reserved[Lane.REMINDER] >= cycles
