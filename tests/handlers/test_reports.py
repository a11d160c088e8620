"""A report: written, handed in, forwarded without its reporter, taken in time or passed on, followed by code."""

from __future__ import annotations

import io
import re

import pytest
from PIL import Image
from sqlalchemy import select, text

from db.tables.deliveries import MediaContent
from db.tables.reports import Report, ReportState
from officers.permissions import Role
from tests.worlds import Person, World, phrase, picture

WORDS = "Nhóm lạ phá khoá xe ở hẻm 5 đường Nguyễn Trãi"


async def reports(lan: Person, *words: str, urgent: bool = False) -> str:
    """Hand a report in; the receipt code."""
    await lan.sends("/baotin")
    for one in words or (WORDS,):
        await lan.sends(one)
    if urgent:
        await lan.presses("Đang xảy ra")
    await lan.presses("Gửi")
    return code_of(lan)


def code_of(lan: Person) -> str:
    found = re.findall(r"\d{4} \d{4} \d{4} \d{4}", "\n".join(shown.text for shown in lan.shown))
    return str(found[-1])


@pytest.fixture
async def duty(world: World) -> Person:
    return await world.officer("dung", Role.DUTY, on_duty=True)


@pytest.fixture
async def lan(world: World) -> Person:
    return await world.person("lan")


# --- writing ---


async def test_113_comes_first_then_just_write(lan):
    await lan.sends("/baotin")
    assert "113" in lan.last.text.splitlines()[0]
    lan.sees("Cứ nhắn", "không thấy tên và tài khoản của bạn")


async def test_several_messages_make_one_report(lan, duty):
    await reports(lan, "Một", "Hai", "Ba")
    duty.sees("Một Hai Ba")
    assert len(duty.news) == 1


async def test_words_out_of_the_blue_become_the_first_words(lan, duty):
    await lan.sends(WORDS)
    duty.sees_nothing()
    await lan.presses("Báo tin")
    lan.sees(phrase("report.ready", n=1))
    await lan.presses("Gửi")
    duty.sees(WORDS)


async def test_nothing_is_handed_in_with_nothing_in_it(lan, duty):
    await lan.sends("/baotin")
    await lan.sends("Gửi")
    duty.sees_nothing()


async def test_a_cancelled_report_is_forgotten(world, lan, duty):
    await lan.sends("/baotin")
    await lan.sends(WORDS)
    await lan.presses("Huỷ")
    lan.sees(phrase("report.cancelled"))
    duty.sees_nothing()
    async with world.sessions.reading() as session:
        (report,) = await session.scalars(select(Report))
    assert (report.state, report.data_key) == (ReportState.WITHDRAWN, None)


async def test_the_receipt_says_when_and_gives_a_code_of_sixteen_digits(lan, duty):
    await reports(lan)
    lan.sees("Đã nhận lúc 08:00", phrase("report.officer_told"))
    assert re.search(r"\d{4} \d{4} \d{4} \d{4}", lan.last.text)


async def test_the_code_is_stored_as_a_hash_only(world, lan, duty):
    code = (await reports(lan)).replace(" ", "")
    async with world.sessions.reading() as session:
        (report,) = await session.scalars(select(Report))
    assert report.code_hash.startswith("$argon2id$")
    assert code not in f"{report.code_hash}{report.code_prefix}"


async def test_an_urgent_report_says_so(lan, duty):
    await reports(lan, urgent=True)
    duty.sees("Tin gấp", "đang xảy ra")


@pytest.mark.parametrize("channel", ["telegram", "web"])
async def test_photo_voice_document_and_place_reach_the_officer(mixed_world, channel):
    lan = await mixed_world.person("lan", on=channel)
    duty = await mixed_world.officer("dung", Role.DUTY, on=channel, on_duty=True)
    await lan.sends("/baotin")
    await lan.sends_photo(caption="ảnh chụp lúc 22 giờ")
    await lan.sends_voice()
    await lan.sends_document()
    await lan.sends_location(10.5, 106.25)
    await lan.presses("Gửi")
    duty.sees("ảnh chụp lúc 22 giờ", phrase("forward.files", n=3))
    kinds = sorted(kind for shown in duty.shown for kind, _, _ in shown.files)
    assert kinds == ["document", "photo", "voice"]
    assert (10.5, 106.25) in [shown.place for shown in duty.shown]
    await duty.presses("Nhận xử lý")
    lan.sees(phrase("report.taken"))


async def test_a_photo_out_of_the_blue_begins_a_report(mixed_world):
    lan = await mixed_world.person("lan", on="telegram")
    await lan.sends_photo()
    lan.sees(phrase("report.ready", n=1))


async def test_an_officer_on_plain_text_hears_of_the_files_by_name(mixed_world):
    lan = await mixed_world.person("lan", on="telegram")
    duty = await mixed_world.officer("dung", Role.DUTY, on="mail", on_duty=True)
    await lan.sends("/baotin")
    await lan.sends_photo(caption=WORDS)
    await lan.sends_location(10.5, 106.25)
    await lan.presses("Gửi")
    duty.sees(WORDS, "anh.jpg", "10.500000,106.250000")


async def test_a_broken_picture_is_refused_with_a_sentence(mixed_world):
    lan = await mixed_world.person("lan", on="telegram")
    await lan.sends("/baotin")
    await lan.sends_photo(b"\xff\xd8 not a picture")
    lan.sees(phrase("media.unreadable"))


# --- what the officer must not learn ---


async def test_nothing_an_officer_gets_tells_who_the_reporter_is(mixed_world):
    """Whatever is sent to officers, by whatever call, holds no name, address, id or file name of the reporter."""
    world = mixed_world
    lan = await world.person("lan", on="telegram")
    duty = await world.officer("dung", Role.DUTY, on="telegram", on_duty=True)
    await lan.sends("/start")
    await lan.sends("/baotin")
    await lan.sends_photo(picture(exif={0x010F: "LanPhone", 0x8298: "Lan Thi Tuyet"}), caption=WORDS)
    await lan.sends_document(name="don-cua-Lan-Tuyet.pdf")
    await lan.presses("Gửi")
    await duty.presses("Nhận xử lý")
    await duty.presses("Hỏi thêm")
    await duty.presses(phrase("ask.where"))
    await lan.presses("Trả lời")
    await lan.sends("Ở chợ")
    duty.sees("Ở chợ")
    gateway = world.ports["telegram"].gateway
    to_officers = [repr((method, params)) for method, params in gateway.calls if duty.chat.address in repr(params)]
    to_officers += [repr(shown) for shown in duty.shown]
    everything = "\n".join(to_officers)
    assert WORDS in everything
    for secret in (lan.chat.address, "lan_tuyet", "Lan Thị Tuyết", "Lan Thi Tuyet", "LanPhone", "don-cua", "IMG_2026"):
        assert secret not in everything, secret
    for _, _, content in [file for shown in duty.shown for file in shown.files]:
        assert b"Lan" not in content


async def test_the_forwarded_photo_carries_nothing_but_pixels(mixed_world):
    lan = await mixed_world.person("lan", on="web")
    duty = await mixed_world.officer("dung", Role.DUTY, on="web", on_duty=True)
    original = picture(exif={0x010F: "LanPhone", 0x0110: "X1", 0x9003: "2026:11:22 22:00:00"})
    assert b"LanPhone" in original
    await lan.sends("/baotin")
    await lan.sends_photo(original)
    await lan.presses("Gửi")
    ((_, name, content),) = [file for shown in duty.shown for file in shown.files]
    assert not Image.open(io.BytesIO(content)).getexif()
    assert b"LanPhone" not in content and b"Exif" not in content
    assert "IMG" not in name


async def test_the_original_is_kept_sealed_beside_the_view_copy(mixed_world):
    lan = await mixed_world.person("lan", on="telegram")
    await lan.sends("/baotin")
    await lan.sends_photo(picture(exif={0x010F: "LanPhone"}))
    async with mixed_world.sessions.reading() as session:
        media = list(await session.scalars(select(MediaContent)))
    assert len(media) == 2
    assert not any(b"LanPhone" in row.sealed for row in media)


async def test_nothing_of_a_report_can_be_read_from_the_database_file(mixed_world, tmp_path):
    world = mixed_world
    people = [await world.person("lan", on=name) for name in world.ports]
    for number, lan in enumerate(people):
        await reports(lan, f"{WORDS} {number}")
        await lan.sends("đang viết dở câu này")
    for lan in people[:2]:
        await lan.presses("Báo tin")
        await lan.sends_photo(caption="chú thích kín")
    raw = b"".join(path.read_bytes() for path in tmp_path.glob("binhyen.db*"))
    assert len(raw) > 100_000
    addresses = [lan.chat.address for lan in people if lan.port.name != "web"]
    secrets = [WORDS, "hẻm 5", "đang viết dở", "chú thích kín", *addresses]
    for secret in secrets:
        for encoded in (secret.encode(), secret.encode("utf-16-le"), repr(secret.encode("unicode_escape")).encode()):
            assert encoded not in raw, secret


async def test_nothing_of_a_report_can_be_read_from_postgresql(postgresql_world):
    world = postgresql_world
    lan = await world.person("lan")
    await reports(lan)
    await lan.sends("đang viết dở câu này")
    async with world.sessions.engine.connect() as connection:
        tables = await connection.scalars(
            text("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'")
        )
        dump = []
        for table in tables.all():
            rows = await connection.execute(text(f'SELECT * FROM "{table}"'))  # noqa: S608 (names from the schema)
            dump += [bytes(value) if isinstance(value, bytes) else str(value).encode() for row in rows for value in row]
    raw = b"\n".join(dump)
    assert len(dump) > 50
    for secret in (WORDS, "hẻm 5", "đang viết dở", lan.chat.address):
        assert secret.encode() not in raw, secret


async def test_each_report_has_a_pseudonym_of_its_own(world, lan, duty):
    await reports(lan, "Tin một")
    await reports(lan, "Tin hai")
    numbers = {found for shown in duty.shown for found in re.findall(r"T-\w+", shown.text)[:1]}
    assert len(numbers) == 2


# --- who is told ---


async def test_an_empty_roster_goes_to_the_administrators_with_a_word(world, lan):
    admin = await world.officer("quan", Role.ADMIN)
    off_duty = await world.officer("dung", Role.DUTY)
    await reports(lan)
    admin.sees(WORDS, phrase("forward.no_one_on_duty"))
    off_duty.sees_nothing()


async def test_with_nobody_at_all_the_reporter_is_told_the_truth(lan):
    await reports(lan)
    lan.sees(phrase("report.nobody_told"), "113")
    lan.sees_not(phrase("report.officer_told"))


async def test_everybody_on_duty_gets_it_and_nobody_else(world, lan):
    on = [await world.officer(name, Role.DUTY, on_duty=True) for name in ("dung", "em")]
    off = await world.officer("chi", Role.COMMANDER)
    await reports(lan)
    for officer in on:
        officer.sees(WORDS)
    off.sees_nothing()


async def test_taking_it_tells_the_reporter_and_the_colleagues(world, lan, duty):
    other = await world.officer("em", Role.DUTY, on_duty=True)
    await reports(lan)
    await duty.presses("Nhận xử lý")
    lan.sees(phrase("report.taken"))
    duty.sees("Dung nhận xử lý")
    duty.offers("Hỏi thêm", "Kết thúc")
    other.sees("Dung nhận xử lý lúc 08:00")
    if world.has_buttons:
        assert "Nhận xử lý" not in other.last.labels


async def test_the_second_officer_comes_too_late_and_is_told_who_was_first(telegram_world):
    world = telegram_world
    lan = await world.person("lan")
    first = await world.officer("dung", Role.DUTY, on_duty=True)
    second = await world.officer("em", Role.DUTY, on_duty=True)
    await reports(lan)
    gateway = world.port.gateway
    raw = [await gateway.presses(officer.chat.address, "Nhận xử lý") for officer in (first, second)]
    await lan.looks()
    await world.house.store("telegram", raw)
    await world.settle()
    for person in (lan, first, second):
        await person.refresh()
    assert len(lan.news) == 1
    texts = ["\n".join(shown.text for shown in officer.news) for officer in (first, second)]
    assert sum("nên đồng chí không cần nhận nữa" in said for said in texts) == 1


# --- nobody takes it ---


async def test_it_goes_on_to_the_next_the_commander_and_all(world, lan, duty):
    other = await world.officer("em", Role.DUTY)
    chief = await world.officer("chi", Role.COMMANDER)
    admin = await world.officer("quan", Role.ADMIN)
    await reports(lan)
    seen = []
    for minutes in (5, 10, 45):
        for officer in (duty, other, chief, admin):
            await officer.looks()
        await world.tick(minutes=minutes)
        for officer in (duty, other, chief, admin):
            await officer.refresh()
        seen.append([officer.name for officer in (duty, other, chief, admin) if WORDS in str(officer.news)])
    assert seen[0] == ["em"]
    assert seen[1] == ["chi"]
    assert set(seen[2]) >= {"dung", "em", "chi", "quan"}


async def test_an_urgent_report_goes_on_sooner(world, lan, duty):
    other = await world.officer("em", Role.DUTY)
    await reports(lan, urgent=True)
    await world.tick(seconds=59)
    other.sees_nothing()
    await world.tick(seconds=2)
    await other.refresh()
    other.sees(WORDS, "1 phút")


async def test_it_stops_going_on_once_it_is_taken(world, lan, duty):
    other = await world.officer("em", Role.DUTY)
    await reports(lan)
    await duty.presses("Nhận xử lý")
    await world.tick(hours=2)
    await other.refresh()
    other.sees_nothing()


async def test_two_ticks_pass_it_on_once(world, lan, duty):
    other = await world.officer("em", Role.DUTY)
    await reports(lan)
    world.clock.advance(minutes=5)
    await world.house.jobs.second()
    await world.house.jobs.second()
    await world.settle()
    await other.refresh()
    assert len([shown for shown in other.shown if WORDS in shown.text]) == 1


# --- unfinished ---


async def test_a_report_left_lying_is_kept_marked_and_forwarded(world, lan, duty):
    await lan.sends("/baotin")
    await lan.sends(WORDS)
    await world.tick(hours=24, minutes=1)
    for person in (lan, duty):
        await person.refresh()
    lan.sees(phrase("report.expired"))


async def test_an_unfinished_report_reaches_whoever_is_on_duty_then(world, lan):
    await lan.sends("/baotin")
    await lan.sends(WORDS)
    world.clock.advance(hours=24, minutes=1)
    duty = await world.officer("dung", Role.DUTY, on_duty=True)
    await world.tick()
    await duty.refresh()
    duty.sees(WORDS, phrase("forward.incomplete"))


async def test_beginning_something_else_keeps_what_was_written(world, lan, duty):
    await lan.sends("/baotin")
    await lan.sends(WORDS)
    await lan.sends("/dangky")
    lan.sees(phrase("report.kept_unfinished"), phrase("enrol.ask_kind"))
    duty.sees(WORDS, phrase("forward.incomplete"))


# --- following ---


async def test_the_code_tells_the_state_from_any_account(world, lan, duty):
    code = await reports(lan)
    other = await world.person("minh")
    await other.sends(f"/tracuu {code}")
    other.sees(phrase("track.received"))
    await duty.presses("Nhận xử lý")
    await other.sends("/tracuu")
    await other.sends(code.replace(" ", ""))
    other.sees(phrase("track.taken"))
    await duty.presses("Kết thúc")
    await duty.presses(phrase("outcome.resolved"))
    lan.sees(phrase("report.closed_resolved"))
    await other.sends(f"/track {code.replace(' ', '-')}")
    other.sees(phrase("track.resolved"))


@pytest.mark.parametrize("typed", ["1234", "4821 0937 5526 184O", "mã của tôi"])
async def test_what_is_no_code_is_said_to_be_none(world, lan, typed):
    await lan.sends(f"/tracuu {typed}")
    lan.sees(phrase("track.not_a_code"))


async def test_a_code_nobody_has_is_said_to_be_unknown(lan):
    await lan.sends("/tracuu 0000 0000 0000 0000")
    lan.sees(phrase("track.unknown"))


async def test_more_can_be_added_from_another_account_by_code(world, lan, duty):
    code = await reports(lan)
    await duty.presses("Nhận xử lý")
    other = await world.person("minh")
    await other.sends(f"/tracuu {code}")
    await other.presses("Bổ sung")
    await other.sends("Chúng vừa quay lại")
    other.sees(phrase("report.answered"))
    duty.sees("Chúng vừa quay lại")


async def test_a_question_and_its_answer_go_through_the_bot(world, lan, duty):
    await reports(lan)
    await duty.presses("Nhận xử lý")
    await duty.presses("Hỏi thêm")
    await duty.sends("Xe màu gì? <đỏ> & xanh")
    lan.sees("Xe màu gì? <đỏ> & xanh")
    lan.sees_not("Dung")
    await lan.presses("Trả lời")
    await lan.sends("Xe đỏ")
    duty.sees("Xe đỏ")


async def test_who_ended_contact_is_not_asked_for_a_question(world, lan, duty):
    await reports(lan)
    await duty.presses("Nhận xử lý")
    await lan.sends("DỪNG")
    await duty.presses("Hỏi thêm")
    duty.sees(phrase("report.no_contact"))
    duty.sees_not(phrase("triage.ask_question"))


async def test_a_code_written_as_an_answer_does_not_go_to_an_officer(world, lan, duty):
    code = await reports(lan)
    await duty.presses("Nhận xử lý")
    await duty.presses("Hỏi thêm")
    await duty.presses(phrase("ask.where"))
    await lan.presses("Trả lời")
    await duty.looks()
    await lan.sends(code)
    lan.sees(phrase("report.own_code"))
    duty.sees_nothing()
    await lan.sends("1234 5678 9012 3456")
    lan.sees(phrase("answer.may_send"))
    await lan.presses("Gửi")
    duty.sees("1234 5678 9012 3456")


@pytest.mark.parametrize("typed", ["DỪNG", "dừng.", "stop", "Dung"])
async def test_stop_ends_contact_for_good(world, lan, duty, typed):
    code = await reports(lan)
    await duty.presses("Nhận xử lý")
    await duty.presses("Hỏi thêm")
    await lan.sends(typed)
    if typed in ("stop", "Dung"):
        lan.sees(phrase("report.stop_sure"))
        await lan.presses("Dừng liên lạc")
    lan.sees(phrase("report.stopped"))
    await lan.looks()
    await duty.presses(phrase("ask.where"))
    duty.sees(phrase("report.no_contact"))
    lan.sees_nothing()
    await lan.sends(f"/tracuu {code}")
    lan.sees(phrase("track.taken"))


async def test_the_button_ends_contact_too_when_it_is_pressed_again_where_it_asks(lan, duty):
    await reports(lan)
    await duty.presses("Nhận xử lý")
    await lan.presses("Dừng liên lạc")
    lan.sees(phrase("report.stop_sure"))
    lan.sees_not(phrase("report.stopped"))
    await lan.presses("Dừng liên lạc")
    lan.sees(phrase("report.stopped"))


async def test_an_outcome_is_told_once_and_closes_the_report(world, lan, duty):
    await reports(lan)
    await duty.presses("Nhận xử lý")
    await duty.presses("Kết thúc")
    await duty.presses(phrase("outcome.unfounded"))
    lan.sees(phrase("report.closed_unfounded"))
    await duty.sends("/tin")
    duty.sees(phrase("inbox.empty"))


async def test_the_inbox_opens_a_report_again(world, lan, duty):
    await reports(lan)
    await duty.sends("/tin")
    number = next(label for label in duty.last.labels if label.startswith("T-"))
    await duty.presses(number)
    duty.sees(WORDS, phrase("report_state.received"))
    await duty.presses("Nhận xử lý")
    lan.sees(phrase("report.taken"))


async def test_a_restart_between_any_two_steps_loses_nothing(world):
    duty = await world.officer("dung", Role.DUTY, on_duty=True)
    lan = await world.person("lan")
    for act in (
        lambda: lan.sends("/baotin"),
        lambda: lan.sends(WORDS),
        lambda: lan.presses("Gửi"),
        lambda: duty.presses("Nhận xử lý"),
        lambda: duty.presses("Hỏi thêm"),
        lambda: duty.presses(phrase("ask.where")),
        lambda: lan.presses("Trả lời"),
        lambda: lan.sends("Ở chợ"),
    ):
        await act()
        await world.restart()
    duty.sees("Ở chợ")


async def test_an_update_that_comes_twice_acts_once(telegram_world):
    world = telegram_world
    lan = await world.person("lan")
    await lan.sends("/baotin")
    raw = await world.port.gateway.says(lan.chat.address, WORDS)
    await lan.looks()
    for _ in range(3):
        await world.port.arrives(world.house, raw)
        await world.settle()
        await world.restart()
    await lan.refresh()
    assert len(lan.news) == 1
    lan.sees(phrase("report.ready", n=1))


# --- shifts ---


async def test_a_shift_is_started_shown_and_ended(world):
    duty = await world.officer("dung", Role.DUTY)
    admin = await world.officer("quan", Role.ADMIN)
    await duty.sends("/truc")
    duty.sees(phrase("duty.empty"))
    await duty.presses("Nhận ca")
    duty.sees("Dung nhận ca lúc 08:00")
    await duty.sends("/truc")
    duty.sees("Dung: 08:00–20:00")
    await duty.presses("Kết thúc ca")
    duty.sees(phrase("duty.end_sure"))
    await duty.presses("Đồng ý kết thúc")
    duty.sees("Dung kết thúc ca")
    admin.sees(phrase("duty.alarm"))


async def test_the_last_one_on_duty_may_think_again(world):
    duty = await world.officer("dung", Role.DUTY, on_duty=True)
    await duty.sends("/truc")
    await duty.presses("Kết thúc ca")
    await duty.presses("Ở lại trực")
    duty.sees(phrase("duty.stays"))
    await duty.sends("/truc")
    duty.sees("Dung: ")


async def test_a_shift_ends_at_once_while_somebody_else_is_on_duty(world):
    duty = await world.officer("dung", Role.DUTY, on_duty=True)
    await world.officer("em", Role.DUTY, on_duty=True)
    await duty.sends("/truc")
    await duty.presses("Kết thúc ca")
    duty.sees("Dung kết thúc ca")


async def test_the_answer_to_a_question_may_simply_be_typed_and_goes_after_a_yes(world, lan):
    duty = await world.officer("dung", Role.DUTY, on_duty=True)
    await lan.sends("/baotin")
    await lan.sends("Có nhóm lạ ở phòng 12.")
    await lan.presses("Gửi")
    await duty.presses("Nhận xử lý")
    await duty.presses("Hỏi thêm")
    await duty.sends("Xe màu gì?")
    await lan.looks()
    await lan.sends("Xe màu đỏ.")
    lan.sees("“Xe màu đỏ.”", phrase("answer.may_send"))
    duty.sees_not("Xe màu đỏ.")
    await lan.presses("Gửi")
    lan.sees(phrase("report.answered"))
    duty.sees("Xe màu đỏ.")


async def test_stopping_is_heard_also_when_an_answer_is_awaited(world, lan):
    duty = await world.officer("dung", Role.DUTY, on_duty=True)
    await lan.sends("/baotin")
    await lan.sends("Có nhóm lạ ở phòng 12.")
    await lan.presses("Gửi")
    await duty.presses("Nhận xử lý")
    await duty.presses("Hỏi thêm")
    await duty.sends("Xe màu gì?")
    await lan.sends("DỪNG")
    lan.sees(phrase("report.stopped"))


async def test_handing_over_leaves_no_gap(world, lan):
    duty = await world.officer("dung", Role.DUTY, on_duty=True)
    other = await world.officer("em", Role.DUTY)
    await duty.sends("/truc")
    await duty.presses("Chuyển ca")
    await duty.presses("Em")
    duty.sees("Em")
    other.sees("Dung vừa chuyển ca")
    await duty.looks()
    await reports(lan)
    other.sees(WORDS)
    duty.sees_nothing()
