"""Whoever writes faster than one is answered loses nothing: it becomes one report, and that is said once."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import select

from channels.port import Recipient
from db.tables.officers import Role
from db.tables.reports import Report
from handlers.bursts import AT_ONCE, EVERY, PROMPT, URGENT, Bursts
from reports.forwarding import read_report
from reports.intake import MAX_PARTS, MAX_TEXT, count_parts, in_parts
from tests.conftest import NOW
from tests.reports.test_digest import hand_in, reports
from tests.worlds import World, phrase

LAN, MINH = Recipient("telegram", "1"), Recipient("telegram", "2")


def test_a_bucket_fills_again_and_is_one_persons():
    bursts = Bursts()
    assert [bursts.is_hurried(LAN, now=NOW) for _ in range(AT_ONCE + 2)] == [False] * AT_ONCE + [True] * 2
    assert not bursts.is_hurried(MINH, now=NOW)
    assert bursts.is_hurried(LAN, now=NOW + EVERY / 2)
    assert not bursts.is_hurried(LAN, now=NOW + EVERY)
    assert bursts.is_hurried(LAN, now=NOW + EVERY)
    assert bursts.is_hurried(LAN, now=NOW - timedelta(days=1)), "a clock set back fills nothing"
    assert not bursts.is_hurried(LAN, now=NOW - timedelta(days=1) + EVERY), "nor does it empty it for a day"


def test_no_more_chats_are_remembered_than_there_is_room_for(monkeypatch):
    monkeypatch.setattr("handlers.bursts._REMEMBERED", 3)
    bursts = Bursts()
    for number in range(100):
        bursts.is_hurried(Recipient("web", str(number)), now=NOW)
    assert len(bursts._buckets) == 3


def test_kept_words_come_apart_at_lines_and_none_is_lost():
    lines = [f"dòng {number} " + "x" * 300 for number in range(50)] + ["y" * (MAX_TEXT * 2 + 7), "", "z"]
    pieces = in_parts("\n".join(lines))
    assert all(len(piece) <= MAX_TEXT for piece in pieces)
    assert "".join("".join(pieces).split("\n")) == "".join(lines)
    assert len(pieces) < 12
    assert in_parts("") == [""]


async def test_a_burst_in_a_report_becomes_one_report_with_every_word(world: World):
    officer = await world.officer("binh", Role.DUTY, on_duty=True)
    lan = await world.person("lan")
    await lan.sends("/baotin")
    words = [f"câu {number}" for number in range(100)]
    answers = 0
    for text in words:
        await lan.sends(text)
        answers += len(lan.news)

    said = [shown for shown in lan.shown if phrase("report.hurried") in shown.text]
    assert len(said) == 1 and answers <= AT_ONCE + 3

    await lan.presses(phrase("button.send"))
    lan.sees("Đã nhận")
    (report,) = await reports(world)
    async with world.sessions.reading() as session:
        body = await read_report(session, await session.merge(report))
    assert "\n".join(body.texts).split("\n") == words
    assert "câu 0" in officer.shown[0].text


async def test_more_words_than_a_report_has_parts_find_room(telegram_world: World):
    world = telegram_world
    await world.officer("binh", Role.DUTY, on_duty=True)
    lan = await world.person("lan")
    await lan.sends("/baotin")
    for number in range(MAX_PARTS * 2):
        await lan.sends(f"{number} " + "x" * 100)

    lan.sees_not(phrase("report.full"))
    (report,) = await drafts(world)
    async with world.sessions.reading() as session:
        assert await count_parts(session, report.id) < AT_ONCE + 8
        body = await read_report(session, await session.merge(report))
    assert [line.split()[0] for line in "\n".join(body.texts).split("\n")] == [str(n) for n in range(MAX_PARTS * 2)]


async def test_files_in_a_burst_keep_their_place_among_the_words(telegram_world: World):
    world = telegram_world
    lan = await world.person("lan")
    await lan.sends("/baotin")
    for number in range(AT_ONCE):
        await lan.sends(f"câu {number}")
    await lan.sends("trước ảnh")
    await lan.sends_photo(caption="ảnh")
    await lan.sends("sau ảnh")
    await lan.sends("sau nữa")

    (report,) = await drafts(world)
    async with world.sessions.reading() as session:
        body = await read_report(session, await session.merge(report))
    assert body.texts[-3:] == ("trước ảnh", "ảnh", "sau ảnh\nsau nữa")
    assert len(body.attachments) == 1


async def test_who_slows_down_is_answered_again(telegram_world: World):
    world = telegram_world
    lan = await world.person("lan")
    await lan.sends("/baotin")
    for number in range(AT_ONCE + 5):
        await lan.sends(f"câu {number}")
    lan.sees_nothing()

    world.clock.advance(minutes=1)
    await lan.sends("còn nữa")

    lan.offers(phrase("button.send"))


async def test_a_burst_outside_a_conversation_is_kept_and_becomes_one_report(world: World):
    await world.officer("binh", Role.DUTY, on_duty=True)
    lan = await world.person("lan")
    words = [f"chuyện {number}" for number in range(40)]
    for text in words:
        await lan.sends(text)

    said = [shown for shown in lan.shown if phrase("offer.hurried") in shown.text]
    assert len(said) == 1
    await lan.presses(phrase("button.report"))
    await lan.presses(phrase("button.send"))
    (report,) = await reports(world)
    async with world.sessions.reading() as session:
        body = await read_report(session, await session.merge(report))
    assert "\n".join(body.texts).split("\n") == words


async def test_what_was_written_before_a_report_is_all_in_it(world: World):
    await world.officer("binh", Role.DUTY, on_duty=True)
    lan = await world.person("lan")
    words = ["Cứu với, có người bị đánh", "ở 12 Lê Lợi", "nhanh lên"]
    for text in words:
        await lan.sends(text)
        world.clock.advance(minutes=20)
        lan.offers(phrase("button.report"))

    await lan.presses(phrase("button.report"))
    await lan.presses(phrase("button.send"))

    (report,) = await reports(world)
    async with world.sessions.reading() as session:
        body = await read_report(session, await session.merge(report))
    assert "\n".join(body.texts).split("\n") == words


def test_answers_to_whoever_asks_for_many_let_others_go_first():
    bursts = Bursts()
    assert [bursts.is_prompt(LAN, now=NOW) for _ in range(PROMPT + 1)] == [True] * PROMPT + [False]
    assert bursts.is_prompt(MINH, now=NOW)
    assert bursts.is_prompt(LAN, now=NOW + EVERY)
    assert not bursts.is_prompt(LAN, now=NOW + EVERY)


async def test_commands_and_presses_are_answered_in_a_burst_too(telegram_world: World):
    world = telegram_world
    lan = await world.person("lan")
    for number in range(AT_ONCE + 5):
        await lan.sends(f"chuyện {number}")

    await lan.sends("/khancap")
    lan.sees("113")
    await lan.presses(phrase("button.report"))
    lan.offers(phrase("button.send"))


async def test_one_person_cannot_put_many_reports_before_everybody_elses(telegram_world: World):
    world = telegram_world
    officer = await world.officer("binh", Role.DUTY, on_duty=True)
    lan = await world.person("lan")
    for number in range(URGENT + 1):
        await lan.sends("/baotin")
        await lan.sends(f"gấp {number}")
        await lan.presses(phrase("button.right_now"))
        await lan.presses(phrase("button.send"))
        lan.sees("Đã nhận")

    lan.sees(phrase("report.not_ahead"))
    assert [report.urgent for report in await reports(world)].count(True) == URGENT
    assert f"gấp {URGENT}" in officer.last.text
    await hand_in(world, "minh", "gấp thật", urgent=True)
    assert [report.urgent for report in await reports(world)].count(True) == URGENT + 1


async def drafts(world: World) -> list[Report]:
    """Every report, also those being written."""
    async with world.sessions.reading() as session:
        return list(await session.scalars(select(Report)))
