"""Officers' notices from the first word to the last confirmation."""

from __future__ import annotations

import asyncio
import re
from datetime import timedelta

import pytest
from sqlalchemy import event, func, select

from channels.envelope import ApiRefusal
from db.tables.broadcasts import BroadcastPlace
from db.tables.deliveries import Delivery, DeliveryState
from db.tables.establishments import EstablishmentState, Kind
from officers.permissions import Role
from tests.worlds import Person, World, phrase, picture

TEXT = "Cảnh giác lừa đảo\nKhoá cửa sau 22 giờ."


async def composes(
    officer: Person,
    text: str = TEXT,
    *,
    group: str = "Tất cả cơ sở (1)",
    response: str = "Cần bấm “Đã nhận”",
    when: str = "Gửi ngay",
) -> None:
    """Up to the preview."""
    await officer.sends("/soan")
    await officer.sends(text)
    await officer.presses("Bỏ qua")
    await officer.presses(group)
    await officer.presses(response)
    await (officer.presses(when) if when == "Gửi ngay" else officer.sends(when))


async def sends_notice(officer: Person, *receivers: Person, **how: str) -> str:
    """A notice sent at once; its number."""
    await composes(officer, **how)
    for one in receivers:
        await one.looks()
    await officer.presses("Gửi")
    return number_in(officer)


def number_in(person: Person) -> str:
    numbers = re.findall(r"TB-\w+", "\n".join(shown.text for shown in person.shown))
    return str(numbers[-1])


async def progress(officer: Person, number: str) -> None:
    await officer.sends("/thongbao")
    await officer.presses(number)


# --- what recipients see ---


async def test_recipients_see_exactly_the_preview(world):
    lan = await world.owner("lan")
    officer = await world.officer("binh")
    await composes(officer)
    preview = next(shown for shown in officer.news if "TB-" in shown.text)
    await lan.looks()
    await officer.presses("Gửi")
    (notice,) = lan.news
    assert (notice.text, notice.entities, notice.labels) == (preview.text, preview.entities, preview.labels)
    lan.sees("Công an Phường 2", number_in(officer), TEXT)


async def test_bold_and_links_are_kept(telegram_world):
    lan = await telegram_world.owner("lan")
    officer = await telegram_world.officer("binh")
    await officer.sends("/soan")
    raw = await telegram_world.port.gateway.says(officer.chat.address, "🔴 Khoá cửa & xem trang này")
    raw["message"]["entities"] = [
        {"type": "bold", "offset": 3, "length": 8},
        {"type": "text_link", "offset": 18, "length": 9, "url": "https://example.vn/?a=1&b=2"},
    ]
    await officer.acts(lambda: telegram_world.port.arrives(telegram_world.house, raw))
    for label in ("Bỏ qua", "Tất cả cơ sở (1)", "Không cần phản hồi", "Gửi ngay", "Gửi"):
        await officer.presses(label)
    (notice,) = lan.shown
    at = {entity["type"]: entity for entity in notice.entities if entity["offset"] > 20}
    text = notice.text.encode("utf-16-le")

    def said(entity):
        return text[2 * entity["offset"] : 2 * (entity["offset"] + entity["length"])].decode("utf-16-le")

    assert said(at["bold"]) == "Khoá cửa"
    assert said(at["text_link"]) == "trang này"
    assert at["text_link"]["url"] == "https://example.vn/?a=1&b=2"


@pytest.mark.parametrize("world_name", ["telegram", "web"])
async def test_a_photo_goes_with_the_notice(mixed_world, world_name):
    lan = await mixed_world.owner("lan", on=world_name)
    officer = await mixed_world.officer("binh", on=world_name)
    await officer.sends("/soan")
    await officer.sends(TEXT)
    await officer.sends_photo(picture(exif={0x010F: "Máy ảnh của Bình"}))
    for label in ("Tất cả cơ sở (1)", "Cần bấm “Đã nhận”", "Gửi ngay", "Gửi"):
        await officer.presses(label)
    photos = [file for shown in lan.shown for file in shown.files]
    assert [kind for kind, _, _ in photos] == ["photo"]
    assert "Máy ảnh".encode() not in photos[0][2]
    lan.sees(TEXT)
    await lan.presses("Đã nhận")
    lan.sees("đã nhận lúc 08:00")


async def test_a_photo_with_words_is_text_and_picture_in_one(mixed_world):
    officer = await mixed_world.officer("binh", on="telegram")
    await mixed_world.owner("lan", on="telegram")
    await officer.sends("/soan")
    await officer.sends_photo(caption=TEXT)
    officer.sees(phrase("compose.ask_audience"))


async def test_a_voice_message_is_not_taken_as_the_file(mixed_world):
    officer = await mixed_world.officer("binh", on="telegram")
    await mixed_world.owner("lan", on="telegram")
    await officer.sends("/soan")
    await officer.sends(TEXT)
    await officer.sends_voice()
    officer.sees(phrase("compose.file_or_skip"))


async def test_a_notice_too_long_is_refused_with_the_limit(telegram_world):
    officer = await telegram_world.officer("binh")
    await officer.sends("/soan")
    await officer.sends("x" * 3501)
    officer.sees("3.501", "3.500")
    await officer.sends("x" * 3500)
    officer.sees(phrase("compose.ask_file"))


# --- audience ---


@pytest.fixture
async def ward(world: World):
    """Three places: two kinds, two areas, one of them not connected yet."""
    first, second = await world.make.area("Khu phố 1"), await world.make.area("Khu phố 2")
    lan, minh = await world.person("lan"), await world.person("minh")
    await world.make.place("Hoa Mai", lan.chat, area_id=first)
    await world.make.place("Sông Xanh", minh.chat, kind=Kind.HOTEL, address="1 Trần Phú", area_id=second)
    await world.make.place("An Bình", address="9 Lý Tự Trọng", state=EstablishmentState.INVITED, area_id=second)
    return world, await world.officer("binh"), lan, minh


@pytest.mark.parametrize(
    ("group", "names", "reached"),
    [
        ("Tất cả cơ sở (3)", ["An Bình", "Hoa Mai", "Sông Xanh"], "both"),
        ("Khách sạn (1)", ["Sông Xanh"], "minh"),
        ("Nhà nghỉ (2)", ["An Bình", "Hoa Mai"], "lan"),
        ("Khu phố 2 (2)", ["An Bình", "Sông Xanh"], "minh"),
        ("Khu phố 1 (1)", ["Hoa Mai"], "lan"),
    ],
)
async def test_the_audience_is_named_before_sending_and_reached_after(ward, group, names, reached):
    _, officer, lan, minh = ward
    await composes(officer, group=group)
    officer.sees(", ".join(names), f"Gửi tới {len(names)} cơ sở")
    await officer.presses("Gửi")
    assert bool(lan.shown) == (reached in ("lan", "both"))
    assert bool(minh.shown) == (reached in ("minh", "both"))


async def test_a_hand_made_group_is_an_audience(ward):
    _, officer, lan, minh = ward
    await officer.sends("/nhom")
    await officer.presses("Tạo nhóm")
    await officer.sends("Ven sông")
    await officer.sends("song xanh")
    await officer.presses("Sông Xanh (CS-0002)")
    await officer.presses("Xong")
    await composes(officer, group="Ven sông (1)")
    await officer.presses("Gửi")
    assert minh.shown and not lan.shown


async def test_a_chat_that_speaks_for_two_places_gets_one_message_and_confirms_for_both(world):
    lan = await world.owner("lan", "Hoa Mai")
    await world.make.place("Hoa Sen", lan.chat, address="2 Lê Lợi")
    officer = await world.officer("binh")
    number = await sends_notice(officer, lan, group="Tất cả cơ sở (2)")
    assert len(lan.news) == 1
    await lan.presses("Đã nhận")
    lan.sees("Hoa Mai, Hoa Sen đã nhận")
    await progress(officer, number)
    officer.sees("đã gửi tới 2/2 cơ sở", "đã xác nhận 2")


async def test_without_any_place_there_is_nobody_to_send_to(world):
    officer = await world.officer("binh")
    await officer.sends("/soan")
    await officer.sends(TEXT)
    await officer.presses("Bỏ qua")
    await officer.presses("Tất cả cơ sở (0)")
    officer.sees(phrase("notice.nobody"))


# --- when ---


async def test_a_scheduled_notice_is_read_back_in_full_and_opened_by_the_tick(world):
    lan = await world.owner("lan")
    officer = await world.officer("binh")
    await composes(officer, when="8 giờ sáng mai")
    officer.sees("Thứ Ba 24/11/2026, 08:00")
    await officer.presses("Gửi")
    officer.sees("Thứ Ba 24/11/2026, 08:00")
    await world.tick(hours=23, minutes=59)
    assert not lan.shown
    await world.restart()
    await world.tick(minutes=1)
    await lan.looks()
    lan.offer("Đã nhận")


@pytest.mark.parametrize("typed", ["hôm qua", "lúc nào cũng được", "08:00 31/02/2027"])
async def test_a_time_that_makes_no_sense_is_asked_again(world, typed):
    await world.owner("lan")
    officer = await world.officer("binh")
    await composes(officer, when=typed)
    officer.sees(phrase("compose.ask_when"))


async def test_two_ticks_open_a_notice_once(world):
    lan = await world.owner("lan")
    officer = await world.officer("binh")
    await composes(officer, when="8 giờ sáng mai")
    await officer.presses("Gửi")
    world.clock.advance(days=1)
    await asyncio.gather(world.house.jobs.second(), world.house.jobs.second())
    await world.settle()
    await lan.looks()
    assert len(lan.shown) == 1


async def test_a_notice_due_too_long_ago_is_not_sent_and_its_author_is_told(world):
    lan = await world.owner("lan")
    officer = await world.officer("binh")
    await composes(officer, when="8 giờ sáng mai")
    await officer.presses("Gửi")
    await officer.looks()
    await world.tick(days=2)
    await officer.refresh()
    officer.sees("không được gửi")
    assert not lan.shown


async def test_in_quiet_hours_the_officer_may_wait_for_the_morning(world):
    world.clock.advance(hours=14)  # 22:00
    lan = await world.owner("lan")
    officer = await world.officer("binh")
    await composes(officer)
    officer.sees(phrase("compose.quiet"))
    await officer.presses("Để đến 07:00")
    assert not lan.shown
    await world.tick(hours=9)
    await lan.looks()
    lan.offer("Đã nhận")


async def test_who_sends_in_quiet_hours_after_the_warning_sends(world):
    world.clock.advance(hours=14)  # 22:00
    lan = await world.owner("lan")
    officer = await world.officer("binh")
    await composes(officer)
    officer.sees(phrase("compose.quiet"))
    await officer.presses("Gửi")
    await world.tick(seconds=6)
    await lan.looks()
    lan.offer("Đã nhận")


async def test_a_notice_is_put_off_when_its_time_passed_and_night_has_come(world):
    lan = await world.owner("lan")
    officer = await world.officer("binh")
    await composes(officer, when="20:00 hôm nay")
    await officer.presses("Gửi")
    await officer.looks()
    await world.tick(hours=14)  # 22:00, and nothing ticked between
    await officer.refresh()
    officer.sees(phrase("notice.put_off"), "Thứ Ba 24/11/2026, 07:00")
    assert not lan.shown
    await world.tick(hours=9)
    await lan.looks()
    lan.offer("Đã nhận")


async def test_who_resumes_in_quiet_hours_is_told_when_it_goes_on(telegram_world):
    world = telegram_world
    minh = await world.owner("minh")
    officer = await world.officer("binh")
    await composes(officer)
    await minh.sends("/start")
    world.port.gateway.fail_next(minh.chat.address, ApiRefusal(429, "Too Many Requests", retry_after=30))
    await officer.presses("Gửi")
    number = number_in(officer)
    await progress(officer, number)
    await officer.presses("Tạm dừng")
    await world.tick(hours=14)
    await progress(officer, number)
    await officer.presses("Tiếp tục")
    officer.sees(phrase("notices.resumed_later"), "Thứ Ba 24/11/2026, 07:00")
    assert len(minh.shown) == 1
    assert await due_in(world) > timedelta(hours=8)


async def test_what_grows_with_the_ward_is_read_where_no_writer_waits(telegram_world, monkeypatch):
    """Counts and lists of a whole audience are looked up in sessions that read."""
    world = telegram_world
    monkeypatch.setattr("broadcasts.progress.COUNTED_AT_ONCE", 0)
    lan = await world.owner("lan")
    officer = await world.officer("binh")
    heavy = ("count(", "group_concat", "order by establishments.folded")
    found: list[tuple[str, bool]] = []

    def note(connection, _cursor, statement, _parameters, _context, _many):
        if statement.startswith("SELECT") and any(word in statement.lower() for word in heavy):
            found.append((statement, bool(connection.get_execution_options().get("binhyen_reads"))))

    event.listen(world.sessions.engine.sync_engine, "before_cursor_execute", note)
    number = await sends_notice(officer, lan)
    await progress(officer, number)
    await officer.presses("Ai chưa nhận")
    officer.sees("Nhà nghỉ Hoa Mai")
    assert len(found) >= 5
    # How many notices there are grows with the years, not with the ward.
    assert [statement for statement, reads in found if not reads and not statement.endswith("FROM notices")] == []


# --- confirming ---


async def test_a_confirmation_from_any_contact_counts_once_for_the_place(world):
    lan, night = await world.person("lan"), await world.person("dem")
    await world.make.place("Hoa Mai", lan.chat, night.chat)
    officer = await world.officer("binh")
    number = await sends_notice(officer, lan, night)
    await night.presses("Đã nhận")
    night.sees("Hoa Mai đã nhận lúc 08:00")
    world.clock.advance(minutes=5)
    await lan.presses("Đã nhận")
    lan.sees("Hoa Mai đã nhận lúc 08:00")
    await progress(officer, number)
    officer.sees("đã gửi tới 1/1 cơ sở", "đã xác nhận 1")
    async with world.sessions.reading() as session:
        assert await session.scalar(select(func.count()).select_from(BroadcastPlace)) == 1


async def test_confirming_twice_is_confirming_once(telegram_world):
    lan = await telegram_world.owner("lan")
    officer = await telegram_world.officer("binh")
    await sends_notice(officer, lan)
    notice = lan.last
    raw = [await telegram_world.port.gateway.presses(lan.chat.address, "Đã nhận") for _ in range(3)]
    await telegram_world.house.store("telegram", raw)
    await telegram_world.settle()
    await lan.refresh()
    lan.sees("Nhà nghỉ Hoa Mai đã nhận lúc 08:00")
    assert [shown.id for shown in lan.shown] == [notice.id]
    assert not telegram_world.incidents


async def test_the_previews_own_button_counts_for_nobody(telegram_world):
    await telegram_world.owner("lan")
    officer = await telegram_world.officer("binh")
    await composes(officer)
    await officer.presses("Đã nhận")
    officer.sees(phrase("notice.preview_only"))


async def test_who_has_left_confirms_for_nobody(world):
    lan = await world.owner("lan")
    officer = await world.officer("binh")
    await sends_notice(officer, lan)
    notice = lan.last
    await lan.sends("/coso")
    await lan.presses("Ngừng kết nối")
    await lan.presses("Đồng ý ngừng")
    if world.has_buttons:
        await lan.presses_on(notice, "Đã nhận")
        lan.sees(phrase("notice.not_yours"))


# --- following ---


async def test_one_live_message_is_edited_at_most_every_five_seconds(telegram_world):
    people = [await telegram_world.person(f"chu{number}") for number in range(3)]
    for number, person in enumerate(people):
        await telegram_world.make.place(f"Hoa {number}", person.chat, address=f"{number} Lê Lợi")
    officer = await telegram_world.officer("binh")
    await sends_notice(officer, group="Tất cả cơ sở (3)")
    live = officer.last
    assert "đang gửi" in live.text

    def version() -> int:
        return next(shown.version for shown in officer.shown if shown.id == live.id)

    async def second() -> None:
        await telegram_world.tick(seconds=1)
        await officer.refresh()

    versions = []
    for person in people:
        await person.presses("Đã nhận")
        await second()
        versions.append(version())
    assert versions[-1] <= 1, "three confirmations in three seconds are at most one edit"
    for _ in range(12):
        await second()
    assert version() <= 4
    live = next(shown for shown in officer.shown if shown.id == live.id)
    assert "đã xác nhận 3" in live.text and phrase("progress.finished") in live.text
    assert len([shown for shown in officer.shown if "đã gửi tới" in shown.text]) == 1


async def test_without_edits_only_the_first_and_the_final_count_are_said(mixed_world):
    lan = await mixed_world.owner("lan", on="telegram")
    officer = await mixed_world.officer("binh", on="mail")
    await sends_notice(officer, lan)
    for _ in range(4):
        await mixed_world.tick(seconds=6)
    await lan.presses("Đã nhận")
    for _ in range(4):
        await mixed_world.tick(seconds=6)
    await officer.refresh()
    said = [shown.text for shown in officer.shown if "đã gửi tới" in shown.text]
    assert len(said) <= 2, said


async def test_who_has_not_confirmed_is_listed_with_the_reason(telegram_world):
    world = telegram_world
    reasons = {
        "Im Lặng": "đã gửi, chưa bấm",
        "Đã Chặn": "đã chặn kênh",
        "Không Rõ": "chưa rõ có tới",
        "Chưa Nối": "chưa kết nối",
    }
    people = {}
    for place_number, name in enumerate(reasons):
        if name != "Chưa Nối":
            people[name] = await world.person(f"p{place_number}")
        chats = [people[name].chat] if name in people else []
        state = EstablishmentState.ACTIVE if chats else EstablishmentState.INVITED
        await world.make.place(name, *chats, address=f"{place_number} Lê Lợi", state=state)
    confirmed = await world.owner("ok", "Đã Xác Nhận", address="9 Lê Lợi")
    world.port.gateway.fail_next(people["Đã Chặn"].chat.address, ApiRefusal(403, "Forbidden: bot was blocked"))
    world.port.gateway.fail_next(people["Không Rõ"].chat.address, OSError("cut"))
    officer = await world.officer("binh")
    number = await sends_notice(officer, confirmed, group="Tất cả cơ sở (5)")
    await confirmed.presses("Đã nhận")
    await progress(officer, number)
    officer.sees("chưa kết nối 1", "không tới được 1", "chưa rõ có tới 1", "đã xác nhận 1")
    await officer.presses("Ai chưa nhận")
    for name, reason in reasons.items():
        line = next(line for line in officer.last.text.splitlines() if name in line)
        assert reason in line and "0912 345 678" in line
    officer.sees_not("Đã Xác Nhận")


async def test_the_front_sees_totals_but_no_names(world):
    lan = await world.owner("lan")
    front = await world.officer("mattran", Role.FRONT)
    number = await sends_notice(front, lan)
    await progress(front, number)
    front.sees("đã gửi tới 1/1 cơ sở")
    await front.presses("Ai chưa nhận")
    front.sees(phrase("refused.role"))


async def test_duty_officers_may_watch_but_neither_hold_nor_see_names(world):
    await world.owner("lan")
    officer = await world.officer("binh")
    await composes(officer, when="8 giờ sáng mai")
    await officer.presses("Gửi")
    number = number_in(officer)
    duty = await world.officer("dung", Role.DUTY)
    await progress(duty, number)
    await duty.presses("Tạm dừng")
    duty.sees(phrase("refused.role"))
    await world.tick(hours=24)
    await progress(duty, number)
    duty.sees("đã gửi tới 1/1 cơ sở")
    await duty.presses("Ai chưa nhận")
    duty.sees(phrase("refused.role"))
    duty.sees_not("Hoa Mai")


async def test_a_scheduled_notice_can_be_held_and_goes_on_later(world):
    lan = await world.owner("lan")
    officer = await world.officer("binh")
    await composes(officer, when="8 giờ sáng mai")
    await officer.presses("Gửi")
    await officer.presses("Tạm dừng")
    officer.sees(phrase("notices.paused"))
    await world.tick(days=1)
    assert not lan.shown
    await progress(officer, number_in(officer))
    await officer.presses("Tiếp tục")
    await world.tick(seconds=1)
    await lan.looks()
    lan.offer("Đã nhận")


async def test_calling_off_asks_once_more_and_then_nothing_is_sent(world):
    lan = await world.owner("lan")
    officer = await world.officer("binh")
    await composes(officer, when="8 giờ sáng mai")
    await officer.presses("Gửi")
    number = number_in(officer)
    await officer.presses("Huỷ gửi")
    officer.sees(phrase("notices.cancel_sure"))
    await officer.presses("Giữ nguyên")
    await progress(officer, number)
    await officer.presses("Huỷ gửi")
    await officer.presses("Huỷ hẳn")
    officer.sees(phrase("notices.cancelled"))
    await world.tick(days=1)
    assert not lan.shown


async def test_pause_acts_before_the_next_send(telegram_world):
    """While a broadcast runs: what has left has left, what waits stays."""
    world = telegram_world
    lan, minh = await world.owner("lan", "Hoa Mai"), await world.owner("minh", "Hoa Sen", address="2 Lê Lợi")
    officer = await world.officer("binh")
    await composes(officer, group="Tất cả cơ sở (2)")
    await minh.sends("/start")  # so that the refusal is about this chat, not about the bot
    world.port.gateway.fail_next(minh.chat.address, ApiRefusal(429, "Too Many Requests", retry_after=30))
    await officer.presses("Gửi")
    number = number_in(officer)
    assert lan.shown and len(minh.shown) == 1
    await world.tick(seconds=6)
    await progress(officer, number)
    officer.sees("còn 1")
    await officer.presses("Tạm dừng")
    await world.tick(minutes=5)
    assert len(minh.shown) == 1
    assert await due_in(world) > timedelta(days=1000)
    await officer.presses("Tiếp tục")
    assert await due_in(world) <= timedelta(seconds=30)


async def due_in(world: World) -> timedelta:
    """How long the only waiting delivery still waits."""
    async with world.sessions.reading() as session:
        due_at = await session.scalar(select(Delivery.due_at).where(Delivery.state == DeliveryState.PENDING))
    assert due_at is not None
    return due_at - world.clock()


async def test_a_channel_not_running_now_keeps_its_share_waiting(mixed_world):
    """One recipient's channel is down: the others are reached, the notice stays open."""
    lan = await mixed_world.owner("lan", "Hoa Mai", on="web")
    await mixed_world.owner("minh", "Hoa Sen", on="telegram", address="2 Lê Lợi")
    officer = await mixed_world.officer("binh", on="web")
    mixed_world.ports["telegram"].gateway.fail_next(None, ApiRefusal(401, "Unauthorized"))
    await sends_notice(officer, lan, group="Tất cả cơ sở (2)")
    lan.sees(TEXT)
    async with mixed_world.sessions.reading() as session:
        states = list(await session.scalars(select(Delivery.state).where(Delivery.broadcast_id.is_not(None))))
    assert sorted(states) == [DeliveryState.PENDING, DeliveryState.SENT]


# --- is it genuine? ---


async def test_anybody_can_check_a_notice_by_its_number(world):
    lan = await world.owner("lan")
    officer = await world.officer("binh")
    guest = await world.person("khach")
    number = await sends_notice(officer, lan)
    for typed in (f"/kiemtra {number}", f"/kiemtra {number.lower()}", f"/kiemtra {number[3:]}"):
        await guest.sends(typed)
        guest.sees("là thông báo thật", TEXT, "Thứ Hai 23/11/2026, 08:00")
    await guest.sends("/kiemtra")
    await guest.sends("TB-0000")
    guest.sees(phrase("verify.unknown"))


async def test_what_was_never_sent_is_nobodys_business(world):
    await world.owner("lan")
    officer = await world.officer("binh")
    guest = await world.person("khach")
    await composes(officer, when="8 giờ sáng mai")
    await officer.presses("Gửi")
    await guest.sends(f"/kiemtra {number_in(officer)}")
    guest.sees(phrase("verify.unknown"))
    guest.sees_not("Khoá cửa")


async def test_a_typed_word_confirms_the_newest_notice_that_waits(world):
    lan = await world.owner("lan", "Hoa Sen")
    officer = await world.officer("binh")
    number = await sends_notice(officer, lan)
    await lan.sends("đã nhận")
    lan.sees("Hoa Sen", "đã nhận")
    await progress(officer, number)
    officer.sees("đã xác nhận 1")
    await lan.sends("Đã nhận")
    lan.sees(phrase("notice.none_waiting"))


async def test_registrations_that_wait_can_be_looked_up_again(world):
    officer = await world.officer("binh")
    lan = await world.person("lan")
    await officer.sends("/duyet")
    officer.sees(phrase("approvals.none"))
    await lan.sends("/dangky")
    for act, what in (("presses", "Nhà nghỉ"), ("sends", "Hoa Sen"), ("sends", "12 Lê Lợi"), ("sends", "0912 345 678")):
        await getattr(lan, act)(what)
    await lan.presses("Đồng ý")
    await officer.sends("/duyet")
    officer.sees("Hoa Sen")
    await officer.presses("Duyệt")
    lan.sees(phrase("enrol.approved"))
