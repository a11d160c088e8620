"""Somebody guesses receipt codes, from as many chats as it takes.

| promise | test |
|---|---|
| one chat, and all chats together, have so many tries and no more | `..._stopped...` |
| whoever has a code is told from when it can be tried, and nothing else is held up | `..._kindly...` |
| tries come back by the clock | `..._clock...` |
| a code is proved while others write | `..._slow...` |
"""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta

import pytest

from channels.port import Recipient
from db.engine import Sessions
from db.tables.officers import Role
from db.tables.standing import Standing
from reports import codes
from reports.codes import Attempts
from reports.sealing import code_fits, codes_in
from tests.conftest import KEYS, NOW
from tests.worlds import Person, World, open_world, phrase


@pytest.fixture
async def either(engine, clock):
    """The house on SQLite and on PostgreSQL."""
    async with open_world(Sessions(engine, KEYS), clock, ["telegram"]) as opened:
        yield opened


def _chat(number: int) -> Recipient:
    return Recipient("telegram", str(number))


def test_a_guesser_over_many_chats_is_stopped_as_soon_as_one_in_one_chat():
    one, many = Attempts(), Attempts()
    assert sum(one.take(_chat(1), NOW) is None for _ in range(1_000)) == one.chat_size
    assert sum(many.take(_chat(number), NOW) is None for number in range(500)) == many.total_size


def test_tries_come_back_by_the_clock_and_no_more_than_there_were():
    attempts = Attempts()
    for number in range(attempts.total_size):
        assert attempts.take(_chat(number), NOW) is None
    again_at = attempts.take(_chat(999), NOW)

    assert again_at == NOW + attempts.total_every
    assert attempts.take(_chat(999), NOW + attempts.total_every / 2) is not None
    assert attempts.take(_chat(999), NOW + attempts.total_every) is None
    later = NOW + timedelta(days=1)
    assert sum(attempts.take(_chat(number), later) is None for number in range(500)) == attempts.total_size


def test_over_five_minutes_a_guesser_has_one_try_a_second_whatever_he_does():
    attempts = Attempts()
    tried = sum(
        attempts.take(_chat(second * 5 + number), NOW + timedelta(seconds=second)) is None
        for second in range(300)
        for number in range(5)
    )
    assert tried <= attempts.total_size + 300


def test_a_clock_set_back_gives_no_tries():
    attempts = Attempts()
    for number in range(attempts.total_size):
        attempts.take(_chat(number), NOW)
    assert attempts.take(_chat(999), NOW - timedelta(days=1)) is not None


async def _handed_in(world: World) -> tuple[Person, str]:
    nam = await world.person("nam")
    await nam.sends("/baotin")
    await nam.sends("Có người lạ.")
    await nam.presses("Gửi")
    (code,) = codes_in(nam.last.text)
    return nam, code


def _guessed(world: World) -> None:
    """Somebody has used up all there is, from as many chats."""
    attempts = world.house.applications["telegram"].bot_data["services"].attempts
    for number in range(attempts.total_size + 5):
        attempts.take(_chat(5_000_000 + number), world.clock())


async def test_a_code_in_full_width_digits_is_understood_and_kept_from_officers_as_any_other(telegram_world: World):
    world = telegram_world
    duty = await world.officer("duty", Role.DUTY, on_duty=True)
    nam, code = await _handed_in(world)
    wide = code.translate({ord("0") + digit: "０１２３４５６７８９"[digit] for digit in range(10)})

    await nam.sends(f"/tracuu {wide}")
    nam.sees_not(phrase("track.unknown"), phrase("track.not_a_code"))
    await duty.presses("Nhận xử lý")
    await duty.presses("Hỏi thêm")
    await duty.sends("Có mấy người?")
    await duty.looks()
    await nam.sends(wide)

    nam.sees(phrase("report.own_code"))
    await duty.refresh()
    duty.sees_nothing()


async def test_whoever_has_a_code_is_answered_kindly_while_another_guesses_and_served_when_the_clock_has_gone_on(
    either: World,
):
    world = either
    await world.officer("duty", Role.DUTY, on_duty=True)
    nam, code = await _handed_in(world)
    _guessed(world)

    await nam.sends(f"/tracuu {code}")
    nam.sees(phrase("track.wait"))
    nam.sees_not(phrase("track.unknown"))
    # Nothing else waits for that.
    await nam.sends("/baotin")
    await nam.sends("Thêm một việc nữa.")
    await nam.presses("Gửi")
    nam.sees(phrase("report.receipt"))

    world.clock.advance(minutes=1)
    await nam.sends(f"/tracuu {code}")
    nam.sees(phrase("track.received"))


async def test_a_guesser_of_many_chats_hears_no_more_than_when_to_try_again(either: World):
    world = either
    tried = 0

    def counting(code: str, stored: str) -> bool:
        nonlocal tried
        tried += 1
        return code_fits(code, stored)

    _nam, code = await _handed_in(world)
    _guessed(world)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(codes, "code_fits", counting)
        for number in range(3):
            thief = await world.person(f"thief{number}")
            world.clock.now -= timedelta(milliseconds=20)  # so many act in one instant
            await thief.sends(f"/tracuu {code}")
            thief.sees(phrase("track.wait"))
    assert tried == 0


async def test_others_write_while_a_code_is_proved_by_a_slow_hash(either: World, monkeypatch):
    world = either
    nam, code = await _handed_in(world)
    began, go_on = threading.Event(), threading.Event()

    def crawls(typed: str, stored: str) -> bool:
        began.set()
        assert go_on.wait(20)
        return code_fits(typed, stored)

    monkeypatch.setattr(codes, "code_fits", crawls)
    asking = asyncio.create_task(nam.sends(f"/tracuu {code}"))
    try:
        assert await asyncio.to_thread(began.wait, 20)
        async with asyncio.timeout(3), world.sessions.begin() as session:
            await session.merge(Standing(id=99, identity="x", number=1))
        assert not asking.done()
    finally:
        go_on.set()
        await asking
    nam.sees(phrase("track.received"))
