"""How much may be held: what the numbers allow, and who gives way to whom."""

from __future__ import annotations

import pytest

from web.limits import Full, Limits, Room, Seats, connections_allowed


@pytest.mark.parametrize(
    ("wished", "open_files", "allowed"),
    [(400, None, 400), (400, 1024, 400), (400, 256, 128), (5000, 8192, 4096), (400, 1_000_000, 400), (400, 10, 8)],
)
def test_connections_leave_half_the_descriptors_to_the_rest_of_the_house(wished, open_files, allowed):
    assert connections_allowed(wished, open_files) == allowed


@pytest.mark.parametrize("connections", [8, 20, 400, 10_000])
def test_streams_leave_connections_to_those_who_ask(connections):
    limits = Limits(connections=connections)
    assert limits.streams_per_client <= limits.streams < connections
    assert limits.requests_per_client <= connections


def test_a_seat_is_free_again_when_it_is_left():
    seats = Seats(total=3, per_client=2)
    with seats.one("lan"), seats.one("lan"):
        with pytest.raises(Full), seats.one("lan"):
            pass
        with seats.one("hoa"), pytest.raises(Full), seats.one("minh"):
            pass
    with seats.one("lan"), seats.one("lan"), seats.one("hoa"):
        pass


def test_the_slowest_gives_way_and_whoever_has_arrived_does_not():
    now = 0.0
    room = Room(total=100, per_client=60, grace=10, now=lambda: now)
    cut = []
    with (
        room.body("a", lambda: cut.append("a")) as arrived,
        room.body("b", lambda: cut.append("b")) as slow,
        room.body("c", lambda: cut.append("c")) as fast,
    ):
        arrived.take(10)
        arrived.arrived()
        slow.take(20)
        fast.take(60)
        with room.body("d", lambda: cut.append("d")) as late:
            with pytest.raises(Full):  # nobody is slow yet
                late.take(30)
            now = 11.0
            late.take(30)
            assert cut == ["b"]
            with pytest.raises(Full):
                fast.take(1)  # its client has its share
            late.take(30)
            assert cut == ["b", "c"]
            with pytest.raises(Full):
                late.take(1)
    with room.body("e", lambda: None) as after:
        after.take(60)


def test_one_client_has_its_share_however_many_bodies_it_is_in():
    room = Room(total=100, per_client=60, grace=10, now=lambda: 0.0)
    with room.body("a", lambda: None) as one, room.body("a", lambda: None) as other:
        one.take(40)
        with pytest.raises(Full):
            other.take(30)
        other.take(20)
