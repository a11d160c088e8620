"""The platform's own keyboard, which shares a phone number: it is taken away again, and its words are understood."""

from __future__ import annotations

import pytest

from tests.worlds import Person, World, phrase

TO_THE_PHONE = ("/dangky", "Nhà nghỉ", "Hoa Sen", "12 Phan Đình Phùng")


async def is_asked_for_the_phone(world: World) -> Person:
    lan = await world.person("lan")
    for text in TO_THE_PHONE:
        await lan.sends(text)
    lan.sees(phrase("enrol.ask_phone"))
    return lan


def keyboard(world: World, lan: Person) -> tuple[object, ...]:
    """What stands below the chat now: a message without a word about it leaves it."""
    said = [message.content.keyboard for message in world.port.gateway.chats[lan.chat.address]]
    return next((rows for rows in reversed(said) if rows is not None), ())


async def test_the_question_puts_it_up(telegram_world):
    lan = await is_asked_for_the_phone(telegram_world)
    assert keyboard(telegram_world, lan)


@pytest.mark.parametrize(
    "goes_on",
    [
        lambda lan: lan.sends("0912 345 678"),
        lambda lan: lan.shares_contact("84912345678"),
        lambda lan: lan.sends("Quay lại"),
        lambda lan: lan.sends("Huỷ"),
        lambda lan: lan.sends("/huy"),
        lambda lan: lan.sends("/baotin"),
        lambda lan: lan.sends("/start"),
        lambda lan: lan.world.tick(hours=24, minutes=1),
    ],
    ids=["typed", "shared", "back", "cancelled", "command", "else", "start", "expired"],
)
async def test_whatever_comes_next_takes_it_away(telegram_world, goes_on):
    lan = await is_asked_for_the_phone(telegram_world)
    await goes_on(lan)
    assert keyboard(telegram_world, lan) == ()


async def test_deleting_ones_data_takes_it_away(telegram_world):
    lan = await is_asked_for_the_phone(telegram_world)
    await lan.sends("/riengtu")
    await lan.presses("Xoá dữ liệu")
    await lan.presses("Xoá")
    assert keyboard(telegram_world, lan) == ()


async def test_a_number_nobody_has_leaves_it(telegram_world):
    lan = await is_asked_for_the_phone(telegram_world)
    await lan.sends("113")
    lan.sees(phrase("phone.not_understood"))
    assert keyboard(telegram_world, lan)


@pytest.mark.parametrize("typed", ["Gửi số điện thoại", "gui so dien thoai", "Share my number"])
async def test_its_words_typed_are_no_answer_but_ask_for_the_number(world, typed):
    lan = await is_asked_for_the_phone(world)
    await lan.sends(typed)
    lan.sees(phrase("talk.type_contact"), phrase("enrol.ask_phone"))
    await lan.sends("0912 345 678")
    lan.sees("0912 345 678", phrase("enrol.consent"))


@pytest.mark.parametrize("steps", [2, 3])
async def test_its_words_are_no_name_and_no_address(world, steps):
    lan = await world.person("lan")
    for text in TO_THE_PHONE[:steps]:
        await lan.sends(text)
    asked = lan.last.text.split("\n")[0]
    await lan.sends("Gửi số điện thoại")
    lan.sees(phrase("talk.not_asked_to_share"), asked)


async def test_its_words_outside_a_conversation_are_no_report(world):
    lan = await world.person("lan")
    await lan.sends("Gửi số điện thoại")
    lan.sees(phrase("talk.nothing_to_share"))
    lan.offers("Đăng ký cơ sở")


async def test_in_a_report_every_word_is_content(world):
    lan = await world.person("lan")
    await lan.sends("/baotin")
    await lan.sends("Gửi số điện thoại")
    lan.sees(phrase("report.ready", n=1))
