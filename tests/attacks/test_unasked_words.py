"""Threat: what a reporter writes for themselves, for somebody else, or by mistake reaches an officer unasked.

Promise: nothing written freely while a question is open goes to an officer before its writer has said yes; after the
button under the question the next words go at once, but for what may tell who wrote it; and nothing ends contact but a
word that can mean nothing else. What was sent is shown again.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from sqlalchemy import func, select

from db.tables.conversations import Conversation, Expectation
from db.tables.deliveries import Content, MediaRow
from db.tables.reports import ReportPart
from officers.permissions import Role
from tests.worlds import Person, World, phrase, picture

WORDS = "Nhóm lạ phá khoá xe ở hẻm 5"
#: What people write in a chat when they have just been asked something.
EVERYDAY = [
    # names, and where to find them
    "Họ và tên: Trần Thị Lan",
    "Lan đây ạ",
    "em Lan nè",
    "Trần Thị Lan, sinh 1988",
    "em ở phòng 302 nhà nghỉ Hoa Mai",
    "nhà em số 12 hẻm 5",
    "IG: lan.nguyen",
    "lan nguyen a còng gmail",
    "za lo em nhé",
    "Chị Lan nhà nghỉ Hoa Sen đây",
    "con bé bán bánh mì đầu hẻm báo đấy",
    "chồng em làm ở phường",
    "0912 345 678",
    "không chín một hai ba bốn năm",
    "số nhà em kế quán phở Hiền",
    # thanks, greetings, goodbyes
    "ok cảm ơn",
    "Cảm ơn anh chị nhiều ạ",
    "Chào em",
    "alo",
    "🙏",
    "thôi em ngủ đây",
    "bye nha",
    "hẹn gặp lại",
    "chúc ngủ ngon",
    # for somebody else
    "mẹ ơi tối nay ăn gì",
    "đón con chưa anh",
    "tối qua nhà chị Hai nhậu nhé",
    "chuyển khoản cho chị rồi đó",
    "em yêu anh",
    "mật khẩu wifi là 12345678",
    # about the talk itself
    "đừng nói là em báo nhé",
    "sợ quá, họ biết em báo thì sao",
    "cho hỏi phí bao nhiêu",
    "Bao giờ xử lý xong?",
    "TB-7K3F",
    "4821 0937 5526 1840",
    "How much is the fee",
    "I'm the receptionist",
    "ừ để coi lại",
    "để em hỏi ông xã đã",
    # and what is an answer
    "Xe màu đỏ",
    "Đúng",
    "dung",
    "có ạ",
    "vâng",
    "Ba người",
    "2 người, đi xe 51F-123.45",
    "Khoảng 22h30 tối 22/11",
    "Huy",
    "Two men, red motorbike",
]
#: Asked about even after the button: each may tell who wrote it, or says nothing.
TELLING = [
    "Tôi là Lan, 0912 345 678",
    "Họ và tên: Trần Thị Lan",
    "Lan đây ạ",
    "em Lan nè",
    "em ở phòng 302 nhà nghỉ Hoa Mai",
    "IG: lan.nguyen",
    "lan nguyen a còng gmail",
    "căn cước 079 203 004 512",
]
SMALL_TALK = ["ok cảm ơn", "chào"]


@pytest.fixture
async def duty(world: World) -> Person:
    return await world.officer("dung", Role.DUTY, on_duty=True)


@pytest.fixture
async def lan(world: World, duty: Person) -> Person:
    """A reporter who was just asked something."""
    return await is_asked(await world.person("lan"), duty)


async def reporter_and_officer(world: World, *, on: str | None = None) -> tuple[Person, Person]:
    duty = await world.officer("dung", Role.DUTY, on=on, on_duty=True)
    return await is_asked(await world.person("lan", on=on), duty), duty


async def hands_in(lan: Person, duty: Person) -> Person:
    await lan.sends("/baotin")
    await lan.sends(WORDS)
    await lan.presses("Gửi")
    await duty.presses("Nhận xử lý")
    return lan


async def is_asked(lan: Person, duty: Person) -> Person:
    await asks(duty, await hands_in(lan, duty))
    return lan


async def asks(duty: Person, lan: Person) -> None:
    await duty.presses("Hỏi thêm")
    await duty.sends("Xe thế nào?")
    lan.sees("Xe thế nào?")


async def opens(duty: Person) -> None:
    """The card once more: on plain text only the newest menu can be answered."""
    await duty.sends("/tin")
    await duty.presses(next(label for label in duty.last.labels if label.startswith("T-")))


def number(lan: Person) -> str:
    (shown,) = [shown for shown in lan.shown if "Xe thế nào?" in shown.text][-1:]
    return next(word.strip(":") for word in shown.text.split() if word.startswith("T-"))


async def is_asked_first(lan: Person, duty: Person, words: str) -> None:
    """`words` are kept back until their writer says so."""
    await duty.looks()
    await lan.sends(words)
    lan.sees(f"Gửi cho cán bộ xử lý tin {number(lan)}?", f"“{words}”", "chưa gửi cho ai")
    assert list(lan.last.labels)[:2] == ["Không gửi", "Gửi"]
    duty.sees_nothing()


async def parts_kept(world: World) -> int:
    async with world.sessions.reading() as session:
        return await session.scalar(select(func.count()).select_from(ReportPart)) or 0


async def files_kept(world: World) -> int:
    async with world.sessions.reading() as session:
        return await session.scalar(select(func.count()).select_from(MediaRow)) or 0


# --- written freely: never unasked ---


@pytest.mark.parametrize("channel", ["telegram", "web"])
async def test_no_everyday_line_goes_unasked(mixed_world, channel):
    await none_goes_unasked(mixed_world, *await reporter_and_officer(mixed_world, on=channel))


async def test_nor_does_one_on_postgresql_where_what_waits_is_sealed(postgresql_world):
    lan, duty = await reporter_and_officer(postgresql_world)
    await is_asked_first(lan, duty, "em ở phòng 302 nhà nghỉ Hoa Mai")
    async with postgresql_world.sessions.reading() as session:
        waits = list(await session.scalars(select(Expectation.sealed)))
        kept = [*await session.scalars(select(Conversation.sealed)), *await session.scalars(select(Content.sealed))]
    assert waits
    kept += waits
    assert not [sealed for sealed in kept if b"302" in sealed or b"Hoa Mai" in sealed]
    await lan.presses("Không gửi")
    await none_goes_unasked(postgresql_world, lan, duty, EVERYDAY[::5])


async def none_goes_unasked(world: World, lan: Person, duty: Person, lines: Sequence[str] = EVERYDAY) -> None:
    """Line after line waits; nothing of it reaches officer or report, whatever they press but Gửi."""
    before = await parts_kept(world)
    await duty.looks()
    for place, line in enumerate(lines, 1):
        await lan.sends(line)
        lan.sees(f"“{line}”", phrase("answer.may_send"))
        if place % 10 == 0 or place == len(lines):
            await lan.presses("Không gửi")
            lan.sees(phrase("answer.not_sent"))
    duty.sees_nothing()
    assert await parts_kept(world) == before


async def test_what_waited_goes_after_a_yes_and_after_the_button_words_go_at_once(world, lan, duty):
    await is_asked_first(lan, duty, "Lan đây ạ")
    lan.sees(phrase("answer.tells_who"))
    await lan.sends("xe màu đỏ")
    lan.sees("“Lan đây ạ”", "“xe màu đỏ”")
    duty.sees_nothing()
    await world.restart()
    await lan.presses("Gửi")
    duty.sees("Lan đây ạ", "xe màu đỏ")
    lan.sees(f"Đã gửi cho cán bộ về tin {number(lan)}", "“Lan đây ạ”")
    await lan.presses("Trả lời")
    await lan.sends("Từ 22:00 đến 23:30 ngày 22/11/2026")
    duty.sees("Từ 22:00 đến 23:30 ngày 22/11/2026")
    lan.sees(f"Đã gửi cho cán bộ về tin {number(lan)}", "“Từ 22:00 đến 23:30 ngày 22/11/2026”")
    await duty.looks()
    await lan.sends("Quán bên cạnh lại mở nhạc")
    lan.sees(phrase("offer.report"))
    duty.sees_nothing()


async def test_the_yes_and_the_no_may_be_typed_and_an_old_yes_does_nothing(telegram_world):
    lan, duty = await reporter_and_officer(telegram_world)
    await is_asked_first(lan, duty, "Nhà bên có tiếng kêu cứu")
    old = lan.last
    await lan.sends("báo ai?")
    await lan.sends("KHONG GUI")
    lan.sees(phrase("answer.not_sent"))
    await is_asked_first(lan, duty, "Xe màu đỏ")
    await lan.presses_on(old, "Gửi")
    lan.sees(phrase("talk.stale"))
    duty.sees_nothing()
    await lan.sends("gửi")
    duty.sees("Xe màu đỏ")
    duty.sees_not("kêu cứu")


async def test_nothing_is_sent_by_silence_and_after_five_minutes_one_reminder_says_so(telegram_world):
    world = telegram_world
    lan, duty = await reporter_and_officer(world)
    await duty.looks()
    await lan.sends_photo(caption="Lan đây ạ")
    assert await files_kept(world) == 2
    await lan.looks()
    await world.tick(minutes=4)
    await lan.refresh()
    lan.sees_nothing()
    await world.tick(minutes=2)
    await lan.refresh()
    lan.sees(phrase("answer.still_waiting"))
    assert list(lan.last.labels)[:2] == ["Không gửi", "Gửi"]
    await lan.looks()
    await world.tick(hours=1)
    await lan.refresh()
    lan.sees_nothing()
    await world.tick(hours=23)
    for person in (lan, duty):
        await person.refresh()
    lan.sees(phrase("answer.expired"))
    duty.sees_nothing()
    assert await files_kept(world) == 0


async def test_the_reminder_asks_the_same_and_nobody_is_reminded_of_what_is_settled(telegram_world):
    lan, duty = await reporter_and_officer(telegram_world)
    for answer in ("Không gửi", "Gửi"):
        await is_asked_first(lan, duty, "Xe màu đỏ")
        await lan.presses(answer)
        await lan.looks()
        await telegram_world.tick(minutes=6)
        await lan.refresh()
        lan.sees_nothing()
    await asks(duty, lan)
    await is_asked_first(lan, duty, "Biển số 51F")
    await telegram_world.tick(minutes=6)
    await lan.refresh()
    await lan.presses_on(lan.last, "Gửi")
    duty.sees("Biển số 51F")


async def test_an_old_question_asks_too_and_a_day_later_words_are_as_ever(telegram_world):
    lan, duty = await reporter_and_officer(telegram_world)
    await telegram_world.tick(hours=20)
    await is_asked_first(lan, duty, "Nhà bên lại cãi nhau")
    await lan.presses("Không gửi")
    await telegram_world.tick(hours=4, minutes=1)
    await duty.looks()
    await lan.sends("Nhà bên lại cãi nhau")
    lan.sees(phrase("offer.report"))
    duty.sees_nothing()


async def test_what_is_no_answer_is_understood_as_ever_while_a_question_is_open(telegram_world):
    lan, duty = await reporter_and_officer(telegram_world)
    await duty.looks()
    await lan.sends("trợ giúp")
    lan.sees("/baotin")
    await lan.sends("Gửi số điện thoại")
    lan.sees(phrase("talk.nothing_to_share"))
    await lan.sends("/start")
    await is_asked_first(lan, duty, "Nhà bên có tiếng kêu cứu")
    await lan.presses("Không gửi")
    await lan.presses("Báo tin")
    lan.sees(phrase("report.ready", n=1))
    duty.sees_nothing()
    await lan.sends("/huy")
    await opens(duty)
    await duty.presses("Kết thúc")
    await duty.presses(phrase("outcome.resolved"))
    await duty.looks()
    await lan.sends("Xe màu đỏ")
    lan.sees(phrase("offer.report"))
    duty.sees_nothing()


async def test_somebody_in_the_middle_of_something_else_goes_on_with_it(telegram_world):
    duty = await telegram_world.officer("dung", Role.DUTY, on_duty=True)
    lan = await hands_in(await telegram_world.person("lan"), duty)
    await lan.sends("/dangky")
    await lan.sends("Nhà nghỉ")
    await asks(duty, lan)
    await duty.looks()
    await lan.sends("Nhà nghỉ Hoa Sen")
    lan.sees(phrase("enrol.ask_address"))
    duty.sees_nothing()


async def test_deleting_ones_data_forgets_what_waits_for_a_yes(telegram_world):
    lan, duty = await reporter_and_officer(telegram_world)
    await lan.sends_photo(caption="Tôi là Lan")
    await lan.sends("/riengtu")
    await lan.presses("Xoá dữ liệu")
    await lan.presses("Xoá")
    lan.sees(phrase("privacy.deleted"))
    lan.sees_not(phrase("answer.not_sent"))
    assert await files_kept(telegram_world) == 0
    await duty.looks()
    await lan.sends("Xe màu đỏ")
    duty.sees_nothing()
    await telegram_world.tick(minutes=6)
    await lan.refresh()
    lan.sees_not(phrase("answer.still_waiting"))


# --- after the button ---


async def test_even_after_the_button_what_tells_who_wrote_it_or_nothing_is_asked_about(telegram_world):
    lan, duty = await reporter_and_officer(telegram_world)
    for words in (*TELLING, *SMALL_TALK):
        await lan.presses("Trả lời")
        await is_asked_first(lan, duty, words)
        assert (phrase("answer.tells_who") in lan.last.text) is (words in TELLING)
        await lan.presses("Không gửi")
        duty.sees_nothing()
    await is_asked_first(lan, duty, "xe màu đỏ")


async def test_the_button_loses_nothing_of_what_waits_and_grows_old(telegram_world):
    lan, duty = await reporter_and_officer(telegram_world)
    await is_asked_first(lan, duty, "Xe màu đỏ")
    await lan.presses("Trả lời")
    lan.sees("“Xe màu đỏ”", phrase("answer.may_send"))
    duty.sees_nothing()
    await lan.presses("Gửi")
    duty.sees("Xe màu đỏ")
    await lan.presses("Trả lời")
    await telegram_world.tick(minutes=11)
    await is_asked_first(lan, duty, "Biển số 51F")


# --- files and places ---


@pytest.mark.parametrize("channel", ["telegram", "web"])
async def test_photos_and_places_wait_too_and_after_the_button_only_files_that_tell(mixed_world, channel):
    lan, duty = await reporter_and_officer(mixed_world, on=channel)
    await duty.looks()
    await lan.sends_photo(caption="dừng")
    lan.sees(phrase("answer.may_send"), "Ảnh")
    await lan.sends_location(10.5, 106.25)
    lan.sees("Ảnh", "Vị trí")
    duty.sees_nothing()
    assert await files_kept(mixed_world) == 2
    await lan.presses("Không gửi")
    assert await files_kept(mixed_world) == 0
    await lan.presses("Trả lời")
    await lan.sends_photo(caption="biển số đây, chụp lúc nãy")
    lan.sees("Đã gửi cho cán bộ", "Ảnh", "“biển số đây, chụp lúc nãy”")
    assert [kind for shown in duty.news for kind, _, _ in shown.files] == ["photo"]
    await lan.presses("Trả lời")
    await lan.sends_location(10.5, 106.25)
    assert (10.5, 106.25) in [shown.place for shown in duty.news]
    await lan.presses("Trả lời")
    await duty.looks()
    await lan.sends_document()
    lan.sees(phrase("answer.may_send"), phrase("answer.telling_file"))
    duty.sees_nothing()


@pytest.mark.parametrize("after_the_button", [True, False])
async def test_a_whole_album_goes_or_waits_together(telegram_world, after_the_button):
    lan, duty = await reporter_and_officer(telegram_world)
    if after_the_button:
        await lan.presses("Trả lời")
    await duty.looks()
    await sends_album(telegram_world, lan, "", "", "")
    if not after_the_button:
        duty.sees_nothing()
        await lan.presses("Gửi")
    assert [kind for shown in duty.news for kind, _, _ in shown.files] == ["photo"] * 3
    lan.sees("Đã gửi cho cán bộ")
    await lan.sends("Quán bên cạnh lại mở nhạc")
    lan.sees(phrase("offer.report"))


async def test_a_later_picture_of_an_album_that_tells_waits_with_those_after_it(telegram_world):
    lan, duty = await reporter_and_officer(telegram_world)
    await lan.presses("Trả lời")
    await duty.looks()
    await sends_album(telegram_world, lan, "", "Lan đây ạ", "")
    assert [kind for shown in duty.news for kind, _, _ in shown.files] == ["photo"]
    duty.sees_not("Lan")
    lan.sees("“Lan đây ạ”", phrase("answer.may_send"))
    await duty.looks()
    await lan.presses("Gửi")
    assert [kind for shown in duty.news for kind, _, _ in shown.files] == ["photo"] * 2


async def sends_album(world: World, lan: Person, *captions: str) -> None:
    gateway = world.port.gateway
    raws = [await gateway.sends_file(lan.chat.address, "photo", picture(), caption=caption) for caption in captions]
    for raw in raws:
        raw["message"]["media_group_id"] = "album-1"

    async def arrive() -> None:
        for raw in raws:
            await world.port.arrives(world.house, raw)

    await lan.acts(arrive)


# --- ending contact ---


async def test_yes_without_marks_never_ends_contact(telegram_world):
    lan, duty = await reporter_and_officer(telegram_world)
    for words in ("Đúng", "dung", "Dung.", "đúng vậy"):
        await lan.sends(words)
        lan.sees(f"“{words}”", phrase("answer.may_send"))
        lan.sees_not(phrase("report.stopped"), phrase("report.stop_sure"))
    await lan.presses("Gửi")
    duty.sees("đúng vậy")
    await asks(duty, lan)


async def test_the_word_with_its_mark_ends_contact_also_while_words_wait(telegram_world):
    lan, duty = await reporter_and_officer(telegram_world)
    await is_asked_first(lan, duty, "Xe màu đỏ")
    await lan.sends("du\u031b\u0300ng")
    lan.sees(phrase("report.stopped"))
    await lan.sends("Xe màu đỏ")
    duty.sees_nothing()
    await opens(duty)
    await duty.presses("Hỏi thêm")
    duty.sees(phrase("report.no_contact"))


async def test_a_word_that_may_mean_it_asks_once_more_and_ends_it_after_a_yes(telegram_world):
    duty = await telegram_world.officer("dung", Role.DUTY, on_duty=True)
    lan = await hands_in(await telegram_world.person("lan"), duty)
    for words in ("dung", "STOP"):
        await lan.sends(words)
        lan.sees(phrase("report.stop_sure"))
        assert list(lan.last.labels) == ["Không dừng", "Dừng liên lạc"]
        await lan.presses("Không dừng")
        lan.sees(phrase("report.goes_on"))
    await asks(duty, lan)
    await lan.sends("stop")
    await lan.presses("Dừng liên lạc")
    lan.sees(phrase("report.stopped"))
    await opens(duty)
    await duty.presses("Hỏi thêm")
    duty.sees(phrase("report.no_contact"))


async def test_a_number_beside_a_question_asks_before_it_ends_contact(mixed_world):
    """Where buttons are numbers, "2" may be how many they were."""
    lan, duty = await reporter_and_officer(mixed_world, on="mail")
    await lan.sends("2")
    lan.sees(phrase("report.stop_sure"))
    await lan.sends("1")
    lan.sees(phrase("report.goes_on"))
    await opens(duty)
    await asks(duty, lan)


async def test_a_place_may_be_called_so(telegram_world):
    duty = await telegram_world.officer("dung", Role.DUTY, on_duty=True)
    lan = await hands_in(await telegram_world.person("lan"), duty)
    for name in ("Dung", "Stop"):
        await lan.sends("/dangky")
        await lan.sends("Nhà nghỉ")
        await lan.sends(name)
        lan.sees(name, phrase("enrol.ask_address"))
    await asks(duty, lan)
