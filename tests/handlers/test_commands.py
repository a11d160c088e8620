"""What everybody meets first: /start, help, languages, commands and their aliases, groups, words out of the blue."""

from __future__ import annotations

import pytest

from handlers.routes import COMMANDS
from officers.permissions import TABLE, Role
from tests.worlds import DOOR, World, phrase

OFFICERS_COMMANDS = [command for command in COMMANDS if command.permission is not None]
EVERYONES_COMMANDS = [command for command in COMMANDS if command.permission is None]

MENUS = {
    Role.ADMIN: ["Soạn thông báo", "Thông báo", "Tin báo", "Ca trực", "Danh bạ", "Nhóm", "Cán bộ"],
    Role.COMMANDER: ["Soạn thông báo", "Thông báo", "Tin báo", "Ca trực", "Danh bạ", "Nhóm", "Cán bộ"],
    Role.DUTY: ["Thông báo", "Tin báo", "Ca trực", "Danh bạ"],
    Role.AREA: ["Soạn thông báo", "Thông báo", "Danh bạ", "Nhóm"],
    Role.FRONT: ["Soạn thông báo", "Thông báo"],
}


async def test_start_says_who_we_are_113_first_and_what_one_can_do(world):
    lan = await world.person("lan")
    await lan.sends("/start")
    lan.sees("Công an Phường 2", "113")
    assert list(lan.last.labels) == ["Báo tin", "Đăng ký cơ sở", "Kiểm tra thông báo", "Trợ giúp", "English"]


@pytest.mark.parametrize("role", list(Role))
async def test_an_officers_menu_goes_as_far_as_the_role(telegram_world, role):
    officer = await telegram_world.officer("binh", role)
    await officer.sends("/start")
    officer.sees("Binh")
    assert list(officer.last.labels) == MENUS[role]


@pytest.mark.parametrize("role", list(Role))
async def test_every_button_of_an_officers_menu_does_something(telegram_world, role):
    officer = await telegram_world.officer("binh", role)
    await officer.sends("/start")
    menu = officer.last
    for label in menu.labels:
        await officer.presses_on(menu, label)
        assert officer.news, label
        officer.sees_not(phrase("refused.role"), phrase("refused.officers"), phrase("button.unknown"))


async def test_everyones_commands_answer_by_both_names(world):
    lan = await world.person("lan")
    for command in EVERYONES_COMMANDS:
        for name in {command.name, command.alias}:
            await lan.sends(f"/{name}")
            assert lan.news, name
            lan.sees_not(phrase("talk.unknown_command"), phrase("refused.officers"))


async def test_officers_commands_answer_by_both_names(world):
    admin = await world.officer("binh", Role.ADMIN)
    for command in OFFICERS_COMMANDS:
        for name in {command.name, command.alias}:
            await admin.sends(f"/{name}")
            assert admin.news, name
            admin.sees_not(phrase("talk.unknown_command"), phrase("refused.role"))


async def test_officers_commands_are_refused_to_others_with_one_polite_sentence(world):
    lan = await world.person("lan")
    for command in OFFICERS_COMMANDS:
        for name in {command.name, command.alias}:
            await lan.sends(f"/{name}")
            assert [shown.text for shown in lan.news] == [phrase("refused.officers", "vi", unit="")]


@pytest.mark.parametrize("command", OFFICERS_COMMANDS, ids=lambda command: command.name)
@pytest.mark.parametrize("role", list(Role))
async def test_a_command_answers_exactly_the_roles_of_the_table(telegram_world, role, command):
    officer = await telegram_world.officer("binh", role)
    await officer.sends(f"/{command.name}")
    assert len(officer.news) == 1
    if role in TABLE[command.permission]:
        officer.sees_not(phrase("refused.role"))
    else:
        officer.sees(phrase("refused.role"))


async def test_a_command_nobody_knows_gets_a_hint(world):
    lan = await world.person("lan")
    await lan.sends("/khongco")
    lan.sees(phrase("talk.unknown_command"))


async def test_help_names_the_commands(world):
    lan = await world.person("lan")
    officer = await world.officer("binh", Role.COMMANDER)
    await lan.sends("/trogiup")
    lan.sees("/baotin", "/dangky", "/tracuu", "113")
    lan.sees_not("/soan")
    await officer.sends("/trogiup")
    officer.sees("/soan", "/tin", "/truc")


async def test_emergency_names_the_four_numbers(world):
    lan = await world.person("lan")
    await lan.sends("/khancap")
    lan.sees("113", "114", "115", "111")


async def test_a_language_once_chosen_is_spoken_from_then_on(world):
    lan = await world.person("lan")
    await lan.sends("/ngonngu")
    await lan.presses("English")
    lan.sees(phrase("language.chosen", "en"))
    await lan.sends("/start")
    lan.sees(phrase("start.welcome", "en"))
    lan.offers("Report", "Tiếng Việt")
    await world.restart()
    await lan.presses("Tiếng Việt")
    lan.sees(phrase("language.chosen"))
    lan.offers("Báo tin")


async def test_words_out_of_the_blue_are_offered_to_be_reported(world):
    lan = await world.person("lan")
    await lan.sends("nhà bên cạnh có người lạ")
    lan.sees(phrase("offer.report"), "113")
    lan.offers("Báo tin")


@pytest.mark.parametrize(
    ("typed", "key"),
    [
        ("báo tin", "report.first"),
        ("BAO TIN", "report.first"),
        ("Đăng ký cơ sở", "enrol.ask_kind"),
        ("trợ giúp", "help.everyone"),
        ("kiểm tra thông báo", "verify.ask"),
    ],
)
async def test_a_buttons_words_may_be_typed(world, typed, key):
    lan = await world.person("lan")
    await lan.sends(typed)
    lan.sees(phrase(key))


async def test_cancel_without_a_conversation_is_answered(world):
    lan = await world.person("lan")
    await lan.sends("/huy")
    lan.sees(phrase("talk.nothing_to_cancel"))


async def test_a_deep_link_nobody_knows_is_answered(world):
    lan = await world.person("lan")
    await lan.sends("/start khongbiet")
    lan.sees(phrase("start.bad_link"))
    lan.offers("Báo tin")


async def test_a_poster_opens_a_report(world):
    lan = await world.person("lan")
    await lan.sends("/start baotin")
    lan.sees(phrase("report.first"))


async def test_one_house_serves_several_channels(mixed_world):
    people = [await mixed_world.person("lan", on=name) for name in mixed_world.ports]
    for person in people:
        await person.sends("/start")
    for person in people:
        person.sees("113")
        assert len(person.shown) == 1


# --- groups ---


GROUP = "-1001234567890"


async def says_in_group(world: World, text: str) -> list[str]:
    before = len(world.port.gateway.chats[GROUP])
    raw = await world.port.gateway.says(GROUP, text)
    raw["message"]["from"] = {"id": 810_000_777, "is_bot": False, "first_name": "Lan"}
    await world.house.store("telegram", [raw])
    await world.settle()
    return [message.text for message in world.port.gateway.chats[GROUP][before + 1 :]]


@pytest.mark.parametrize("text", ["/baotin", "/soan", "/tracuu 4821 0937 5526 1840", "/lienket", "/start"])
async def test_a_command_in_a_group_gets_one_neutral_line(telegram_world, text):
    (line,) = await says_in_group(telegram_world, text)
    assert f"{DOOR}?start=baotin" in line
    assert "4821" not in line
    assert telegram_world.port.gateway.chats.keys() == {GROUP}


async def test_a_code_in_a_group_gets_the_neutral_line_and_is_not_repeated(telegram_world):
    (line,) = await says_in_group(telegram_world, "mã của tôi 4821 0937 5526 1840")
    assert "4821" not in line


async def test_a_photo_in_a_group_gets_the_neutral_line(telegram_world):
    raw = await telegram_world.port.gateway.sends_file(GROUP, "photo", b"x", caption="bắt được trộm")
    await telegram_world.house.store("telegram", [raw])
    await telegram_world.settle()
    (line,) = [message.text for message in telegram_world.port.gateway.chats[GROUP][1:]]
    assert "trộm" not in line


async def test_talk_in_a_group_is_left_alone(telegram_world):
    assert await says_in_group(telegram_world, "tối nay ăn gì") == []
