"""Marks: a day that only the key ring can read, and ids without order."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from db.marks import day_mark, day_of, days_until, keyed_id, random_id
from db.sealing import KeyRing

KEYS = KeyRing([b"k" * 32])
NOON = datetime(2026, 11, 23, 12, 34, 56, 789, tzinfo=UTC)


def test_all_of_a_day_has_one_mark_and_the_next_day_another():
    assert day_mark(KEYS, "chat", NOON) == day_mark(KEYS, "chat", day_of(NOON))
    assert day_mark(KEYS, "chat", NOON) != day_mark(KEYS, "chat", NOON + timedelta(days=1))


def test_two_tables_mark_one_day_differently():
    assert day_mark(KEYS, "chat", NOON) != day_mark(KEYS, "report", NOON)


def test_another_key_ring_marks_it_differently():
    assert day_mark(KEYS, "chat", NOON) != day_mark(KeyRing([b"o" * 32]), "chat", NOON)


def test_a_new_first_key_finds_what_was_marked_before():
    assert day_mark(KeyRing([b"n" * 32, b"k" * 32]), "chat", NOON) == day_mark(KEYS, "chat", NOON)


def test_days_until_are_those_that_are_over():
    found = days_until(KEYS, "chat", NOON)
    assert found[0] == day_mark(KEYS, "chat", NOON - timedelta(days=1))
    assert day_mark(KEYS, "chat", NOON - timedelta(days=365)) in found
    assert day_mark(KEYS, "chat", NOON) not in found


def test_ids_do_not_count_up():
    ids = [random_id() for _ in range(200)]
    assert len(set(ids)) == 200
    assert ids != sorted(ids)
    assert all(0 < one < 2**62 for one in ids)


def test_keyed_ids_are_the_same_for_the_same_parts_and_in_no_order():
    ids = [keyed_id(KEYS, "message", "lan", str(number)) for number in range(200)]
    assert ids == [keyed_id(KEYS, "message", "lan", str(number)) for number in range(200)]
    assert len(set(ids)) == 200 and ids != sorted(ids)
    assert all(0 <= one < 2**62 for one in ids) and max(ids) > 2**60
    others = (
        keyed_id(KEYS, "change", "lan", "0"),
        keyed_id(KEYS, "message", "minh", "0"),
        keyed_id(KeyRing([b"o" * 32]), "message", "lan", "0"),
    )
    assert ids[0] not in others
