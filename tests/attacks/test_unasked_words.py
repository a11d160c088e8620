"""Threat: what a reporter writes for themselves, for somebody else, or by mistake reaches an officer unasked.

Promise: only what answers a question goes to an officer by itself, and its writer is shown what went where; for
everything else they are asked first, and nothing ends contact but a word that can mean nothing else.
"""

from __future__ import annotations

import pytest
from sqlalchemy import func, select

from db.tables.deliveries import MediaRow
from officers.permissions import Role
from tests.worlds import Person, World, phrase, picture

WORDS = "Nhóm lạ phá khoá xe ở hẻm 5"
#: Each says who wrote it, or how to reach them.
TELLING = [
    "0912 345 678",
    "Xe màu đỏ, gọi 0912.345.678 nhé",
    "０９１２３４５６７８",
    "0️⃣9️⃣1️⃣2️⃣3️⃣4️⃣5️⃣6️⃣7️⃣8️⃣",
    "09\u200b12\u200b345\u200b678",
    "số của em là không chín một hai ba bốn năm",
    "Chị Lan nhà nghỉ Hoa Sen đây",
    "chi lan nha nghi hoa sen day a",
    "Tôi là Lan",
    "TOI TEN LAN",
    "mình là lễ tân ở đó",
    "Em là Lan ạ, xe màu đỏ",
    "Tên mình là Lan",
    "tìm em ở lan.tuyet@gmail.com",
    "zalo của em",
    "căn cước 079 203 004 512",
    "My name is Tom",
    "I'm the receptionist",
    "this is Lan from Hoa Sen",
]
#: Each is meant for the channel, for somebody else, or for nobody.
NO_ANSWERS = [
    "Cảm ơn anh chị nhiều ạ",
    "thanks",
    "Chào em",
    "alo",
    "cho hỏi phí bao nhiêu",
    "Bao giờ xử lý xong?",
    "How much is the fee",
    "TB-7K3F",
    "4821 0937 5526 1840",
    "🙏",
]
ANSWERS = [
    "Xe màu đỏ",
    "Đúng",
    "dung",
    "đúng rồi ạ",
    "Không đúng",
    "có",
    "Có ạ",
    "vâng",
    "Ba người",
    "2 người, đi xe 51F-123.45",
    "Anh ta đứng ở đây, gần chợ",
    "Khoảng 22h30 tối 22/11",
    "Huy",
    "Dũng",
    "Two men, red motorbike",
    "yes",
]


@pytest.fixture
async def duty(world: World) -> Person:
    return await world.officer("dung", Role.DUTY, on_duty=True)


@pytest.fixture
async def lan(world: World, duty: Person) -> Person:
    """A reporter who was just asked something."""
    return await is_asked(await world.person("lan"), duty)


async def is_asked(lan: Person, duty: Person) -> Person:
    await lan.sends("/baotin")
    await lan.sends(WORDS)
    await lan.presses("Gửi")
    await duty.presses("Nhận xử lý")
    await asks(duty)
    lan.sees("Xe thế nào?")
    return lan


async def asks(duty: Person) -> None:
    await duty.presses("Hỏi thêm")
    await duty.sends("Xe thế nào?")


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
    lan.sees(f"Gửi câu này cho cán bộ về tin {number(lan)}?", phrase("answer.may_send"))
    assert list(lan.last.labels)[:2] == ["Không gửi", "Gửi"]
    duty.sees_nothing()


# --- what answers goes, and is shown ---


@pytest.mark.parametrize("words", ANSWERS)
async def test_what_answers_goes_on_and_is_shown_with_its_report(telegram_world, words):
    duty = await telegram_world.officer("dung", Role.DUTY, on_duty=True)
    lan = await is_asked(await telegram_world.person("lan"), duty)
    await lan.sends(words)
    lan.sees(f"Đã gửi cho cán bộ về tin {number(lan)}", f"“{words}”")
    duty.sees(words)


async def test_an_answer_goes_on_in_every_channel(lan, duty):
    await lan.sends("Xe màu đỏ")
    lan.sees(f"Đã gửi cho cán bộ về tin {number(lan)}", "“Xe màu đỏ”")
    duty.sees("Xe màu đỏ")


async def test_one_answer_to_a_question_then_words_are_as_ever(lan, duty):
    await lan.sends("Xe màu đỏ")
    await duty.looks()
    await lan.sends("Quán bên cạnh lại mở nhạc")
    lan.sees(phrase("offer.report"))
    duty.sees_nothing()


async def test_another_question_takes_another_answer(lan, duty):
    await lan.sends("Xe màu đỏ")
    await asks(duty)
    await lan.sends("Biển số 51F")
    duty.sees("Biển số 51F")


async def test_the_button_takes_the_next_words_whatever_they_are(lan, duty):
    await lan.presses("Trả lời")
    await lan.sends("Tôi là Lan, 0912 345 678")
    duty.sees("Tôi là Lan, 0912 345 678")
    lan.sees("“Tôi là Lan, 0912 345 678”")
    await duty.looks()
    await lan.sends("và còn nữa")
    duty.sees_nothing()


# --- what tells who wrote it waits for a yes ---


@pytest.mark.parametrize("words", TELLING)
async def test_what_tells_who_wrote_it_is_asked_about_first(telegram_world, words):
    duty = await telegram_world.officer("dung", Role.DUTY, on_duty=True)
    lan = await is_asked(await telegram_world.person("lan"), duty)
    await is_asked_first(lan, duty, words)
    lan.sees(phrase("answer.tells_who"))


@pytest.mark.parametrize("words", NO_ANSWERS)
async def test_what_is_no_answer_is_asked_about_first(telegram_world, words):
    duty = await telegram_world.officer("dung", Role.DUTY, on_duty=True)
    lan = await is_asked(await telegram_world.person("lan"), duty)
    await is_asked_first(lan, duty, words)


async def test_kept_words_go_after_a_yes(lan, duty):
    await is_asked_first(lan, duty, "Chị Lan đây, 0912 345 678")
    await lan.presses("Gửi")
    duty.sees("Chị Lan đây, 0912 345 678")
    lan.sees("Đã gửi cho cán bộ", "“Chị Lan đây, 0912 345 678”")


async def test_kept_words_go_nowhere_after_a_no_and_the_question_stays(lan, duty):
    await is_asked_first(lan, duty, "Chị Lan đây, 0912 345 678")
    await lan.presses("Không gửi")
    lan.sees(phrase("answer.not_sent"))
    duty.sees_nothing()
    await lan.sends("Xe màu đỏ")
    duty.sees("Xe màu đỏ")
    duty.sees_not("0912")


@pytest.mark.parametrize(("typed", "goes"), [("gửi", True), ("Không gửi", False), ("KHONG GUI", False)])
async def test_the_yes_and_the_no_may_be_typed(lan, duty, typed, goes):
    await is_asked_first(lan, duty, "Chị Lan đây")
    await lan.sends(typed)
    assert bool([shown for shown in duty.news if "Chị Lan đây" in shown.text]) is goes


async def test_what_is_written_while_asked_waits_with_it(lan, duty):
    await is_asked_first(lan, duty, "Chị Lan đây")
    await lan.sends("xe màu đỏ")
    lan.sees("“Chị Lan đây”", "“xe màu đỏ”")
    duty.sees_nothing()
    await lan.presses("Gửi")
    duty.sees("Chị Lan đây", "xe màu đỏ")


async def test_yes_without_marks_is_more_words_also_while_asked(lan, duty):
    await is_asked_first(lan, duty, "Chị Lan đây")
    await lan.sends("dung")
    lan.sees("“dung”", phrase("answer.may_send"))
    lan.sees_not(phrase("report.stop_sure"))


@pytest.mark.parametrize("caption", ["Báo tin", "dừng", "Gửi", "trợ giúp"])
async def test_no_word_under_a_photo_loses_the_photo(telegram_world, caption):
    lan = await telegram_world.person("lan")
    await lan.sends_photo(caption=caption)
    lan.sees(phrase("report.ready", n=1))


async def test_words_that_were_not_for_the_officer_can_still_be_reported(lan, duty):
    await is_asked_first(lan, duty, "Cho hỏi, nhà bên có tiếng kêu cứu thì báo ai?")
    await lan.presses("Không gửi")
    await lan.presses("Báo tin")
    lan.sees(phrase("report.ready", n=1))


@pytest.mark.parametrize("minutes", [11, 20 * 60])
async def test_an_old_question_is_not_answered_unasked(world, lan, duty, minutes):
    await world.tick(minutes=minutes)
    await is_asked_first(lan, duty, "Nhà bên lại cãi nhau")


async def test_a_day_later_words_are_as_ever(world, lan, duty):
    await world.tick(hours=24, minutes=1)
    await duty.looks()
    await lan.sends("Nhà bên lại cãi nhau")
    lan.sees(phrase("offer.report"))
    duty.sees_nothing()


async def test_the_answer_mode_of_the_button_grows_old_too(world, lan, duty):
    await lan.presses("Trả lời")
    await world.tick(minutes=11)
    await is_asked_first(lan, duty, "Chị Lan nhà nghỉ Hoa Sen đây, cho hỏi phí")


async def test_nothing_is_sent_by_silence(world, lan, duty):
    await is_asked_first(lan, duty, "Chị Lan đây")
    await world.tick(hours=24, minutes=1)
    for person in (lan, duty):
        await person.refresh()
    lan.sees(phrase("answer.expired"))
    duty.sees_nothing()


async def test_words_written_before_the_question_was_seen_are_asked_about(telegram_world):
    """An update that waited while the question was on its way is not its answer."""
    world = telegram_world
    duty = await world.officer("dung", Role.DUTY, on_duty=True)
    lan = await is_asked(await world.person("lan"), duty)
    early = await world.port.gateway.says(lan.chat.address, "Nhà bên cạnh cãi nhau")
    world.clock.advance(seconds=5)
    await asks(duty)
    await duty.looks()
    await lan.acts(lambda: world.port.arrives(world.house, early))
    lan.sees(phrase("answer.may_send"))
    duty.sees_nothing()


async def test_a_restart_between_asking_and_yes_loses_nothing(world, lan, duty):
    await is_asked_first(lan, duty, "Chị Lan đây")
    await world.restart()
    await lan.presses("Gửi")
    duty.sees("Chị Lan đây")


async def test_an_old_yes_does_nothing(telegram_world):
    duty = await telegram_world.officer("dung", Role.DUTY, on_duty=True)
    lan = await is_asked(await telegram_world.person("lan"), duty)
    await is_asked_first(lan, duty, "Chị Lan đây")
    question = lan.last
    await lan.sends("hai câu nhé, tôi là Lan")
    await lan.presses("Không gửi")
    await duty.looks()
    await lan.presses_on(question, "Gửi")
    lan.sees(phrase("talk.stale"))
    duty.sees_nothing()


async def test_a_menu_word_is_no_answer(lan, duty):
    await duty.looks()
    await lan.sends("trợ giúp")
    lan.sees("/baotin")
    duty.sees_nothing()
    await lan.sends("Xe màu đỏ")
    duty.sees("Xe màu đỏ")


async def test_beginning_again_leaves_the_question_open(lan, duty):
    await lan.sends("/start")
    await lan.sends("Xe màu đỏ")
    duty.sees("Xe màu đỏ")


async def test_a_report_begun_takes_the_words_that_follow(lan, duty):
    await lan.sends("/baotin")
    await duty.looks()
    await lan.sends("Xe màu đỏ")
    lan.sees(phrase("report.ready", n=1))
    duty.sees_nothing()


async def test_the_words_of_the_phone_keyboard_are_no_answer(lan, duty):
    await duty.looks()
    await lan.sends("Gửi số điện thoại")
    lan.sees(phrase("talk.nothing_to_share"))
    duty.sees_nothing()


async def test_words_for_a_closed_report_are_as_ever(lan, duty):
    await opens(duty)
    await duty.presses("Kết thúc")
    await duty.presses(phrase("outcome.resolved"))
    await duty.looks()
    await lan.sends("Xe màu đỏ")
    lan.sees(phrase("offer.report"))
    duty.sees_nothing()


async def test_somebody_in_the_middle_of_something_else_goes_on_with_it(world, duty):
    lan = await world.person("lan")
    await lan.sends("/baotin")
    await lan.sends(WORDS)
    await lan.presses("Gửi")
    await duty.presses("Nhận xử lý")
    await lan.sends("/dangky")
    await lan.sends("Nhà nghỉ")
    await asks(duty)
    await duty.looks()
    await lan.sends("Nhà nghỉ Hoa Sen")
    lan.sees(phrase("enrol.ask_address"))
    duty.sees_nothing()


# --- files and places ---


@pytest.mark.parametrize("channel", ["telegram", "web"])
async def test_a_photo_or_a_place_right_after_a_question_is_an_answer(mixed_world, channel):
    duty = await mixed_world.officer("dung", Role.DUTY, on=channel, on_duty=True)
    lan = await is_asked(await mixed_world.person("lan", on=channel), duty)
    await lan.sends_photo(caption="biển số đây, chụp lúc nãy")
    lan.sees("Đã gửi cho cán bộ", "Ảnh", "“biển số đây, chụp lúc nãy”")
    duty.sees("biển số đây, chụp lúc nãy")
    assert [kind for shown in duty.news for kind, _, _ in shown.files] == ["photo"]
    await asks(duty)
    await lan.sends_location(10.5, 106.25)
    lan.sees("Đã gửi cho cán bộ", "Vị trí")
    assert (10.5, 106.25) in [shown.place for shown in duty.news]


@pytest.mark.parametrize("channel", ["telegram", "web"])
async def test_a_late_photo_waits_for_a_yes_and_is_erased_after_a_no(mixed_world, channel):
    duty = await mixed_world.officer("dung", Role.DUTY, on=channel, on_duty=True)
    lan = await is_asked(await mixed_world.person("lan", on=channel), duty)
    await mixed_world.tick(minutes=11)
    await duty.looks()
    await lan.sends_photo()
    lan.sees(phrase("answer.may_send"), "Ảnh")
    duty.sees_nothing()
    assert await files_kept(mixed_world) == 2
    await lan.presses("Không gửi")
    assert await files_kept(mixed_world) == 0
    await lan.sends_photo()
    await lan.presses("Gửi")
    assert [kind for shown in duty.news for kind, _, _ in shown.files] == ["photo"]


async def test_a_photo_left_waiting_is_erased_with_the_day(telegram_world):
    duty = await telegram_world.officer("dung", Role.DUTY, on_duty=True)
    lan = await is_asked(await telegram_world.person("lan"), duty)
    await lan.sends_photo(caption="Tôi là Lan")
    assert await files_kept(telegram_world) == 2
    await telegram_world.tick(hours=24, minutes=1)
    assert await files_kept(telegram_world) == 0


async def test_a_document_may_tell_who_made_it_and_is_asked_about(telegram_world):
    duty = await telegram_world.officer("dung", Role.DUTY, on_duty=True)
    lan = await is_asked(await telegram_world.person("lan"), duty)
    await duty.looks()
    await lan.sends_document()
    lan.sees(phrase("answer.may_send"), phrase("answer.telling_file"))
    duty.sees_nothing()


@pytest.mark.parametrize("late", [False, True])
async def test_a_whole_album_goes_or_waits_together(telegram_world, late):
    world = telegram_world
    duty = await world.officer("dung", Role.DUTY, on_duty=True)
    lan = await is_asked(await world.person("lan"), duty)
    if late:
        await world.tick(minutes=11)
    await duty.looks()
    await sends_album(world, lan, 3)
    if late:
        duty.sees_nothing()
        await lan.presses("Gửi")
    assert [kind for shown in duty.news for kind, _, _ in shown.files] == ["photo"] * 3
    lan.sees("Đã gửi cho cán bộ")
    await lan.sends("Quán bên cạnh lại mở nhạc")
    lan.sees(phrase("offer.report"))


async def sends_album(world: World, lan: Person, size: int) -> None:
    raws = [await world.port.gateway.sends_file(lan.chat.address, "photo", picture()) for _ in range(size)]
    for raw in raws:
        raw["message"]["media_group_id"] = "album-1"

    async def arrive() -> None:
        for raw in raws:
            await world.port.arrives(world.house, raw)

    await lan.acts(arrive)


async def files_kept(world: World) -> int:
    async with world.sessions.reading() as session:
        return await session.scalar(select(func.count()).select_from(MediaRow)) or 0


# --- ending contact ---


@pytest.mark.parametrize("words", ["Đúng", "đúng", "ĐÚNG", "dung", "Dung.", "đúng vậy"])
async def test_yes_without_marks_never_ends_contact(lan, duty, words):
    await lan.sends(words)
    duty.sees(words)
    lan.sees_not(phrase("report.stopped"), phrase("report.stop_sure"))
    await asks(duty)
    lan.sees("Xe thế nào?")


@pytest.mark.parametrize("words", ["dừng", "DỪNG", "Dừng!", "du\u031b\u0300ng", " dừng "])
async def test_the_word_with_its_mark_ends_contact_also_while_a_question_waits(lan, duty, words):
    await lan.sends(words)
    lan.sees(phrase("report.stopped"))
    await duty.looks()
    await lan.sends("Xe màu đỏ")
    duty.sees_nothing()
    await opens(duty)
    await duty.presses("Hỏi thêm")
    duty.sees(phrase("report.no_contact"))


@pytest.mark.parametrize("words", ["dung", "Dung", "STOP", "stop."])
async def test_a_word_that_may_mean_it_asks_once_more(world, duty, words):
    lan = await world.person("lan")
    await lan.sends("/baotin")
    await lan.sends(WORDS)
    await lan.presses("Gửi")
    await duty.presses("Nhận xử lý")
    await lan.sends(words)
    lan.sees(phrase("report.stop_sure"))
    assert list(lan.last.labels) == ["Không dừng", "Dừng liên lạc"]
    await lan.presses("Không dừng")
    lan.sees(phrase("report.goes_on"))
    await asks(duty)
    lan.sees("Xe thế nào?")


async def test_and_ends_it_after_a_yes(world, duty):
    lan = await world.person("lan")
    await lan.sends("/baotin")
    await lan.sends(WORDS)
    await lan.presses("Gửi")
    await duty.presses("Nhận xử lý")
    await lan.sends("dung")
    await lan.presses("Dừng liên lạc")
    lan.sees(phrase("report.stopped"))
    await duty.presses("Hỏi thêm")
    duty.sees(phrase("report.no_contact"))


async def test_a_number_beside_a_question_never_ends_contact(lan, duty):
    """Where buttons are numbers, "2" may be how many they were."""
    await lan.sends("2")
    lan.sees_not(phrase("report.stopped"))
    await lan.sends("2")
    await asks(duty)
    duty.sees_not(phrase("report.no_contact"))


@pytest.mark.parametrize("words", ["Dũng", "Dung", "dung", "Stop"])
async def test_a_place_may_be_called_so(world, duty, words):
    lan = await world.person("lan")
    await lan.sends("/baotin")
    await lan.sends(WORDS)
    await lan.presses("Gửi")
    await duty.presses("Nhận xử lý")
    await lan.sends("/dangky")
    await lan.sends("Nhà nghỉ")
    await lan.sends(words)
    lan.sees(words, phrase("enrol.ask_address"))
    await asks(duty)
    duty.sees_not(phrase("report.no_contact"))


async def test_deleting_ones_data_forgets_what_waits_for_a_yes(telegram_world):
    duty = await telegram_world.officer("dung", Role.DUTY, on_duty=True)
    lan = await is_asked(await telegram_world.person("lan"), duty)
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
