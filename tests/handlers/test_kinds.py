"""Updates of every kind a platform may send: each ends quietly, with an answer where one is due."""

from __future__ import annotations

from typing import Any

import pytest

from officers.permissions import Role
from tests.worlds import Person, World, phrase

GROUP = -1001234567890
USER = {"id": 810_000_001, "is_bot": False, "first_name": "Lan"}
CHAT = {"id": 810_000_001, "type": "private", "first_name": "Lan"}
STICKER = {
    "file_id": "s",
    "file_unique_id": "s",
    "type": "regular",
    "width": 1,
    "height": 1,
    "is_animated": False,
    "is_video": False,
}
POLL = {
    "id": "1",
    "question": "?",
    "options": [{"persistent_id": "1", "text": "a", "voter_count": 0}],
    "total_voter_count": 0,
    "is_closed": False,
    "is_anonymous": True,
    "type": "regular",
    "allows_multiple_answers": False,
    "allows_revoting": False,
    "members_only": False,
}
#: Messages that say nothing we can keep.
UNREADABLE: dict[str, dict[str, Any]] = {
    "sticker": {"sticker": STICKER},
    "dice": {"dice": {"emoji": "🎲", "value": 3}},
    "poll": {"poll": POLL},
    "card": {"contact": {"phone_number": "84912345678", "first_name": "Minh"}},
    "story": {"story": {"id": 1, "chat": CHAT}},
    "game": {"game": {"title": "x", "description": "x", "photo": []}},
    "that breaks": {"poll": {"id": "1", "question": "?"}},
    "of next year": {"hologram": {"depth": 3}},
    "nothing": {},
}
#: What platforms say by themselves.
SERVICE: dict[str, dict[str, Any]] = {
    "pinned": {"pinned_message": {"message_id": 1, "date": 0, "chat": CHAT}},
    "timer": {"message_auto_delete_timer_changed": {"message_auto_delete_time": 60}},
    "allowed": {"write_access_allowed": {}},
}
QUERY = {"id": "q", "from": USER, "chat_instance": "1"}
OTHERS: dict[str, dict[str, Any]] = {
    "inline query": {"inline_query": {"id": "1", "from": USER, "query": "x", "offset": ""}},
    "chosen result": {"chosen_inline_result": {"result_id": "1", "from": USER, "query": "x"}},
    "poll": {"poll": POLL},
    "poll answer": {"poll_answer": {"poll_id": "1", "user": USER, "option_ids": [0], "option_persistent_ids": ["1"]}},
    "checkout": {
        "pre_checkout_query": {
            "id": "1",
            "from": USER,
            "currency": "VND",
            "total_amount": 1,
            "invoice_payload": "x",
        }
    },
    "reaction": {
        "message_reaction": {
            "chat": CHAT,
            "message_id": 1,
            "user": USER,
            "date": 0,
            "old_reaction": [],
            "new_reaction": [],
        }
    },
    "edited": {"edited_message": {"message_id": 1, "date": 0, "edit_date": 1, "chat": CHAT, "from": USER, "text": "x"}},
    "channel post": {
        "channel_post": {
            "message_id": 1,
            "date": 0,
            "chat": {"id": -1001, "type": "channel", "title": "x"},
            "text": "x",
        }
    },
    "not known yet": {"hologram_query": {"id": "1", "from": USER}},
}
PRESSES: dict[str, dict[str, Any]] = {
    "inline": {**QUERY, "inline_message_id": "im", "data": "x" * 22},
    "inline game": {**QUERY, "inline_message_id": "im", "game_short_name": "x"},
    "of nothing": QUERY,
    "that breaks": {**QUERY, "message": {"message_id": "x"}, "data": "x"},
}


async def arrives(world: World, lan: Person, update: dict[str, Any]) -> None:
    raw = await world.port.gateway.says(lan.chat.address, "x")
    await lan.acts(lambda: world.house.store("telegram", [{"update_id": raw["update_id"], **update}]))


async def sends(world: World, lan: Person, what: dict[str, Any], *, chat: dict[str, Any] = CHAT) -> None:
    raw = await world.port.gateway.says(lan.chat.address, "x")
    message = {name: raw["message"][name] for name in ("message_id", "date", "from")}
    update = {**raw, "message": {**message, "chat": chat, **what}}
    await lan.acts(lambda: world.port.arrives(world.house, update))


@pytest.fixture
async def lan(telegram_world: World) -> Person:
    person = await telegram_world.person("lan")
    assert person.chat.address == str(CHAT["id"])
    return person


@pytest.mark.parametrize("kind", UNREADABLE)
async def test_what_cannot_be_read_gets_one_kind_sentence(telegram_world, lan, kind):
    await sends(telegram_world, lan, UNREADABLE[kind])
    assert len(lan.news) == 1
    lan.sees(phrase("offer.nothing"))


@pytest.mark.parametrize("kind", UNREADABLE)
async def test_in_a_conversation_the_question_stays(telegram_world, lan, kind):
    await lan.sends("/dangky")
    await lan.sends("Nhà nghỉ")
    await sends(telegram_world, lan, UNREADABLE[kind])
    assert len(lan.news) == 1
    lan.sees(phrase("text.empty" if kind == "card" else "media.kind_unknown"), phrase("enrol.ask_name"))
    await lan.sends("Hoa Sen")
    lan.sees(phrase("enrol.ask_address"))


@pytest.mark.parametrize("kind", UNREADABLE)
async def test_in_a_report_it_is_not_counted(telegram_world, lan, kind):
    await lan.sends("/baotin")
    await lan.sends("Có trộm")
    await sends(telegram_world, lan, UNREADABLE[kind])
    lan.sees(phrase("report.ready", n=1))
    assert len(lan.news) == 1


@pytest.mark.parametrize("kind", UNREADABLE)
async def test_while_a_question_waits_nothing_goes_to_the_officer(telegram_world, lan, kind):
    duty = await telegram_world.officer("dung", Role.DUTY, on_duty=True)
    await lan.sends("/baotin")
    await lan.sends("Có trộm")
    await lan.presses("Gửi")
    await duty.presses("Nhận xử lý")
    await duty.presses("Hỏi thêm")
    await duty.sends("Xe thế nào?")
    await duty.looks()
    await sends(telegram_world, lan, UNREADABLE[kind])
    assert len(lan.news) == 1
    duty.sees_nothing()
    await lan.sends("Xe màu đỏ")
    await lan.presses("Gửi")
    duty.sees("Xe màu đỏ")


async def test_a_venue_is_a_point_on_the_map(telegram_world, lan):
    point = {"latitude": 10.5, "longitude": 106.25}
    venue = {"location": point, "venue": {"location": point, "title": "Chợ", "address": "1 Lê Lợi"}}
    await lan.sends("/baotin")
    await sends(telegram_world, lan, venue)
    lan.sees(phrase("report.ready", n=1))


async def test_words_survive_what_cannot_be_read_around_them(telegram_world, lan):
    """The library may know less of a message than the platform puts in it."""
    await sends(telegram_world, lan, {"text": "/baotin", "entities": [{"type": "bot_command"}]})
    lan.sees(phrase("report.first"))
    await sends(telegram_world, lan, {"text": "Có trộm", "quote": {"position": "x"}})
    lan.sees(phrase("report.ready", n=1))


@pytest.mark.parametrize("kind", SERVICE)
async def test_what_a_platform_says_by_itself_is_not_answered(telegram_world, lan, kind):
    await sends(telegram_world, lan, SERVICE[kind])
    lan.sees_nothing()


@pytest.mark.parametrize("kind", [*UNREADABLE, *SERVICE])
async def test_groups_are_left_alone(telegram_world, lan, kind):
    group = {"id": GROUP, "type": "supergroup", "title": "Nhóm"}
    await sends(telegram_world, lan, {**UNREADABLE, **SERVICE}[kind], chat=group)
    assert str(GROUP) not in telegram_world.port.gateway.chats
    lan.sees_nothing()


@pytest.mark.parametrize("kind", OTHERS)
async def test_other_updates_end_quietly(telegram_world, lan, kind):
    await arrives(telegram_world, lan, OTHERS[kind])
    lan.sees_nothing()
    await lan.sends("/trogiup")
    lan.sees("/baotin")


@pytest.mark.parametrize("kind", PRESSES)
async def test_a_press_without_its_message_is_answered_and_does_nothing(telegram_world, lan, kind):
    await arrives(telegram_world, lan, {"callback_query": PRESSES[kind]})
    lan.sees_nothing()
    assert telegram_world.port.gateway.answers == [""]


async def test_a_press_on_a_message_too_old_to_be_shown_is_answered(telegram_world, lan):
    old = {"chat": CHAT, "message_id": 7, "date": 0}
    await arrives(telegram_world, lan, {"callback_query": {**QUERY, "message": old, "data": "x" * 22}})
    lan.sees(phrase("button.unknown"))
