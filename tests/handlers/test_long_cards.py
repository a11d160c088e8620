"""What an officer was shown of a report stays, however long it is and whatever becomes of the report."""

from __future__ import annotations

import pytest

from conversations.languages import choose_language
from officers.permissions import Role
from tests.worlds import Person, World, phrase

#: Told apart wherever they are cut.
LONG = " ".join(f"từ{number:04}" for number in range(480))


@pytest.fixture(params=["telegram", "web"])
def on(request) -> str:
    """Channels that can rewrite a message."""
    return request.param


async def officers(world: World, on: str) -> tuple[Person, Person]:
    duty = await world.officer("dung", Role.DUTY, on=on, on_duty=True)
    return duty, await world.officer("hai", Role.COMMANDER, on=on)


async def reports(world: World, on: str, *texts: str) -> Person:
    khach = await world.person("khach", on=on)
    await khach.sends("/baotin")
    for text in texts:
        await khach.sends(text)
    await khach.presses("Gửi")
    return khach


def shown_once(officer: Person, words: str) -> None:
    """Every one of the words stands in the chat, and none of them twice."""
    said = " ".join(shown.text for shown in officer.shown if not shown.is_own)
    assert [word for word in words.split() if said.count(word) != 1] == []


@pytest.mark.parametrize("more", [550, 620, 650, 680, 720, 3350])
async def test_a_card_of_several_messages_is_neither_doubled_nor_shortened_when_it_is_taken(mixed_world, on, more):
    dung, hai = await officers(mixed_world, on)
    tail = LONG.replace("từ", "chữ")[:more].rpartition(" ")[0]
    await reports(mixed_world, on, LONG, tail)
    await mixed_world.tick(minutes=6)
    await dung.presses("Nhận xử lý")
    for officer in (dung, hai):
        shown_once(officer, LONG)
        shown_once(officer, tail)
        officer.sees("Đồng chí Dung nhận xử lý")
        assert not any("Nhận xử lý" in shown.labels for shown in officer.shown)
    dung.offers("Kết thúc")


async def test_a_card_that_has_grown_keeps_its_text_when_the_report_is_closed(mixed_world, on):
    dung, hai = await officers(mixed_world, on)
    khach = await reports(mixed_world, on, LONG[:3400])
    await mixed_world.tick(minutes=6)
    await dung.presses("Nhận xử lý")
    await dung.presses("Hỏi thêm")
    await dung.presses(phrase("ask.where"))
    await khach.presses("Trả lời")
    await khach.sends("Ở chợ, " * 430)
    await dung.presses("Kết thúc")
    await dung.presses(phrase("outcome.resolved"))
    for officer in (dung, hai):
        shown_once(officer, LONG[:3400])
        officer.sees("Đồng chí Dung kết thúc")


async def test_of_several_cards_in_a_chat_that_cannot_rewrite_one_says_what_has_become_of_the_report(mixed_world):
    dung, hai = await officers(mixed_world, "mail")
    await reports(mixed_world, "mail", "Có người phá khoá xe")
    await mixed_world.tick(minutes=6)
    await mixed_world.tick(minutes=16)
    await dung.presses("Nhận xử lý")
    for officer in (dung, hai):
        assert sum("Đồng chí Dung nhận xử lý" in shown.text for shown in officer.shown) == 1


async def test_a_reporter_is_answered_in_the_language_they_have_chosen_since(telegram_world):
    dung, _ = await officers(telegram_world, "telegram")
    khach = await reports(telegram_world, "telegram", "Someone is fighting")
    async with telegram_world.sessions.begin() as session:
        await choose_language(session, khach.chat, "en")
    await dung.presses("Nhận xử lý")
    khach.offers(phrase("button.stop", "en"))
    assert "Dừng liên lạc" not in khach.last.labels


async def test_another_language_in_the_middle_puts_the_open_question_again(world):
    khach = await world.person("khach")
    await khach.sends("/baotin")
    await khach.sends("Có người đánh nhau")
    await khach.sends("/ngonngu")
    await khach.presses("English")
    khach.sees(phrase("language.noted", "en"))
    khach.offers(phrase("button.send", "en"))
    assert phrase("button.report", "en") not in khach.last.labels
    await khach.presses(phrase("button.send", "en"))
    khach.sees("Your code: ")
