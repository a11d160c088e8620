"""Gateways answer as the Bot API does, with buttons and without."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from telegram import (
    BotCommand,
    InlineKeyboardButton,
    InlineKeyboardMarkup,
    InputMediaDocument,
    InputMediaPhoto,
    KeyboardButton,
    Message,
    ReplyKeyboardMarkup,
    Update,
)
from telegram.error import BadRequest, Forbidden, InvalidToken, NetworkError, RetryAfter

from channels.api import call, fetch_file
from channels.envelope import ApiRefusal
from channels.memory import MemoryGateway, MemoryTextGateway
from channels.plain_text import forget_menus
from channels.shapes import Json, update_number
from db.sealing import KeyRing
from db.tables.web import TextMenu
from texts.markup import utf16_len

NOW = datetime(2026, 11, 23, 1, 0, tzinfo=UTC)


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def memory(clock):
    return MemoryGateway(clock=clock)


@pytest.fixture
async def bot(memory):
    async with memory.bot() as ready:
        yield ready


@pytest.fixture
def text(sessions, clock):
    return MemoryTextGateway(sessions, clock=clock)


@pytest.fixture
async def plain(text):
    async with text.bot() as ready:
        yield ready


def buttons(*labels: str) -> InlineKeyboardMarkup:
    return InlineKeyboardMarkup([[InlineKeyboardButton(label, callback_data=f"data-{label}")] for label in labels])


def parsed(raw: Json, bot: Any) -> Any:
    """The Update, as the library reads it."""
    return Update.de_json(raw, bot)


# --- the envelope ---


async def test_a_bot_learns_its_name_through_any_gateway(bot):
    assert (bot.bot.first_name, bot.username) == ("Bình Yên", "binhyen_memory_bot")


async def test_an_unknown_method_is_not_found(bot):
    with pytest.raises(InvalidToken):
        await bot.get_star_transactions()


async def test_a_refusal_becomes_the_error_its_code_stands_for(memory, bot):
    for refusal, error in (
        (ApiRefusal(403, "Forbidden: bot was blocked by the user"), Forbidden),
        (ApiRefusal(400, "Bad Request: chat not found"), BadRequest),
        (ApiRefusal(429, "Too Many Requests", retry_after=3), RetryAfter),
        (ApiRefusal(502, "Bad Gateway"), NetworkError),
        (RuntimeError("bug"), NetworkError),
    ):
        memory.fail_next("1", refusal)
        with pytest.raises(error):
            await bot.send_message(1, "x")
    assert not memory.chats["1"]
    await bot.send_message(1, "x")


async def test_a_failure_for_one_chat_leaves_the_others(memory, bot):
    memory.fail_next("1", ApiRefusal(403, "Forbidden"))
    await bot.send_message(2, "x")
    with pytest.raises(Forbidden):
        await bot.send_message(1, "x")


async def test_what_means_nothing_to_a_gateway_says_yes(plain):
    assert await plain.delete_webhook()
    assert await plain.set_my_commands([BotCommand("baotin", "Báo tin")])
    assert await plain.get_my_commands() == ()
    assert (await plain.get_chat("ab")).id == "ab"


# --- messages with buttons ---


async def test_a_message_comes_back_as_it_was_sent(memory, bot):
    sent = await bot.send_message("ab", "<b>Đã</b> nhận", parse_mode="HTML", reply_markup=buttons("Gửi"))

    assert (sent.message_id, sent.chat.id, sent.text, sent.date) == (1, "ab", "Đã nhận", NOW)
    assert sent.entities[0].type == "bold"
    assert sent.reply_markup.inline_keyboard[0][0].callback_data == "data-Gửi"
    assert memory.chats["ab"][0].buttons == [[("Gửi", "data-Gửi")]]


@pytest.mark.parametrize("empty", ["\u200b", " \n ", "\u3164"])
async def test_a_message_nobody_could_see_is_refused(bot, empty):
    with pytest.raises(BadRequest, match=r"(?i)text is empty"):
        await bot.send_message("ab", empty)


async def test_a_message_is_as_long_as_telegram_takes_it(bot):
    await bot.send_message("ab", "😀" * 2048)
    with pytest.raises(BadRequest, match="too long"):
        await bot.send_message("ab", "😀" * 2048 + "a")


@pytest.mark.parametrize("data", ["", "x" * 65, "ô" * 33])
async def test_button_data_has_one_to_64_bytes(bot, data):
    with pytest.raises(BadRequest, match=r"(?i)button_data_invalid"):
        await call(
            bot,
            "sendMessage",
            {
                "chat_id": "ab",
                "text": "x",
                "reply_markup": {"inline_keyboard": [[{"text": "a", "callback_data": data}]]},
            },
        )


async def test_a_button_opens_only_pages_and_phones(bot):
    for url in ("https://example.org", "tel:113"):
        await bot.send_message("ab", "x", reply_markup=InlineKeyboardMarkup([[InlineKeyboardButton("a", url=url)]]))
    with pytest.raises(BadRequest):
        await bot.send_message(
            "ab", "x", reply_markup=InlineKeyboardMarkup([[InlineKeyboardButton("a", url="javascript:alert(1)")]])
        )


async def test_an_edit_replaces_text_and_buttons(memory, bot):
    await bot.send_message("ab", "a", reply_markup=buttons("x"))
    await bot.edit_message_text("b", "ab", 1)
    message = memory.chats["ab"][0]
    assert (message.text, message.buttons, message.edits) == ("b", [], 1)
    with pytest.raises(BadRequest, match=r"(?i)message is not modified"):
        await bot.edit_message_text("b", "ab", 1)
    with pytest.raises(BadRequest, match=r"(?i)message to edit not found"):
        await bot.edit_message_text("b", "ab", 2)
    await bot.edit_message_reply_markup("ab", 1, reply_markup=buttons("y"))
    assert message.labels == ["y"]


async def test_a_deleted_message_cannot_be_edited_or_deleted_again(memory, bot):
    await bot.send_message("ab", "a")
    assert await bot.delete_message("ab", 1)
    for again in (bot.delete_message("ab", 1), bot.edit_message_text("b", "ab", 1)):
        with pytest.raises(BadRequest, match="not found"):
            await again


async def test_files_are_kept_sent_again_and_downloaded(memory, bot):
    sent = await bot.send_photo("ab", b"picture", caption="Ảnh", filename="a.jpg")
    file_id = sent.photo[-1].file_id
    await bot.send_document("cd", file_id)
    await bot.send_voice("ab", b"sound")
    await bot.send_video("ab", b"film")

    assert [file[:2] for message in memory.chats["ab"] for file in message.files] == [
        ("photo", "a.jpg"),
        ("voice", "application.octet-stream"),
        ("video", "application.octet-stream"),
    ]
    assert memory.chats["cd"][0].files[0][2] == b"picture"
    assert await fetch_file(bot, file_id, limit=100) == b"picture"
    with pytest.raises(BadRequest, match=r"(?i)wrong file"):
        await bot.send_photo("ab", "no-such-file")
    with pytest.raises(BadRequest, match="caption"):
        await bot.edit_message_caption("ab", 1, caption="a" * 1025)
    assert (await bot.edit_message_caption("ab", 1, caption="Khác")).caption == "Khác"


async def test_an_album_is_one_message_for_each_file(memory, bot):
    sent = await bot.send_media_group("ab", [InputMediaPhoto(b"1", caption="Một"), InputMediaDocument(b"2")])
    assert [message.message_id for message in sent] == [1, 2]
    assert [message.files[0][0] for message in memory.chats["ab"]] == ["photo", "document"]


async def test_a_place_and_a_keyboard_are_sent(memory, bot):
    await bot.send_location("ab", 10.5, 106.5)
    await bot.send_message(
        "ab",
        "Số điện thoại?",
        reply_markup=ReplyKeyboardMarkup([[KeyboardButton("Gửi số", request_contact=True), "Bỏ qua"]]),
    )
    assert memory.chats["ab"][0].content.location == {"latitude": 10.5, "longitude": 106.5}
    assert memory.chats["ab"][1].content.keyboard == (({"label": "Gửi số", "asks": "contact"}, {"label": "Bỏ qua"}),)


async def test_what_people_do_is_an_update_the_library_reads(memory, bot):
    await bot.send_message(7, "Chọn", reply_markup=buttons("Gửi"))
    said = parsed(await memory.says("7", "/start abc"), bot)
    pressed = parsed(await memory.presses("7", "Gửi"), bot)
    sent = parsed(await memory.sends_file("7", "photo", b"x", caption="Ảnh"), bot)
    there = parsed(await memory.sends_location("7", 1.0, 2.0), bot)

    assert said.effective_message.parse_entities() == {said.effective_message.entities[0]: "/start"}
    assert said.effective_chat.id == said.effective_user.id == 7
    assert pressed.callback_query.data == "data-Gửi"
    assert pressed.callback_query.message.text == "Chọn"
    assert sent.effective_message.photo and sent.effective_message.caption == "Ảnh"
    assert there.effective_message.location.longitude == 2.0
    assert len({update.update_id for update in (said, pressed, sent, there)}) == 4
    with pytest.raises(LookupError):
        await memory.presses("7", "Huỷ")


def test_update_numbers_stay_exact_in_json_everywhere():
    keys = KeyRing([b"k" * 32])
    numbers = [update_number(keys, "web", "ab", str(number)) for number in range(200)]
    assert all(0 <= number < 2**52 for number in numbers) and max(numbers) > 2**50
    assert update_number(keys, "a", "bc") != update_number(keys, "ab", "c")


def test_an_update_number_is_the_same_for_whoever_has_the_key_and_says_nothing_to_others():
    keys = KeyRing([b"k" * 32])
    assert update_number(keys, "web", "ab", "1") == update_number(keys, "web", "ab", "1")
    assert update_number(KeyRing([b"n" * 32, b"k" * 32]), "web", "ab", "1") == update_number(keys, "web", "ab", "1")
    assert update_number(KeyRing([b"o" * 32]), "web", "ab", "1") != update_number(keys, "web", "ab", "1")


# --- without buttons ---


async def test_buttons_become_numbered_lines(text, plain):
    await plain.send_message("ab", "Chọn việc cần làm:", reply_markup=buttons("Báo tin", "Trợ giúp"))
    assert text.chats["ab"] == ["Chọn việc cần làm:\n\nTrả lời bằng số:\n1. Báo tin\n2. Trợ giúp"]


async def test_menu_lines_speak_the_chats_language(text, plain):
    text.languages["ab"] = "en"
    await plain.send_message("ab", "Choose:", reply_markup=buttons("Report"))
    assert "Reply with a number:\n1. Report" in text.chats["ab"][0]


@pytest.mark.parametrize("typed", ["2", "2.", " 2 ", "2)", "Trợ giúp", "tro giup", "TRỢ GIÚP"])
async def test_number_and_label_press_the_button(text, plain, typed):
    await plain.send_message("ab", "Chọn:", reply_markup=buttons("Báo tin", "Trợ giúp"))
    update = parsed(await text.inbound("ab", typed, "m1"), plain)
    assert update.callback_query.data == "data-Trợ giúp"
    assert update.callback_query.from_user.id == "ab"
    assert update.callback_query.message.message_id == "ab-1"


@pytest.mark.parametrize("typed", ["3", "0", "22", "Trợ", "12 Phan Đình Phùng", "-1", "٢"])
async def test_other_words_are_a_message(text, plain, typed):
    await plain.send_message("ab", "Chọn:", reply_markup=buttons("Báo tin", "Trợ giúp"))
    update = await text.inbound("ab", typed, "m1")
    if typed == "٢":
        assert "callback_query" in update  # a digit is a digit in any script
    else:
        assert update["message"]["text"] == typed


async def test_a_number_without_a_menu_is_a_message(text):
    assert (await text.inbound("ab", "1", "m1"))["message"]["text"] == "1"


async def test_nobody_answers_the_menu_of_another_chat(text, plain):
    await plain.send_message("ab", "Chọn:", reply_markup=buttons("Báo tin"))
    assert "message" in await text.inbound("cd", "1", "m1")


async def test_the_newest_menu_wins(text, plain):
    await plain.send_message("ab", "Chọn:", reply_markup=buttons("Cũ"))
    await plain.send_message("ab", "Chọn:", reply_markup=buttons("Mới"))
    assert (await text.inbound("ab", "1", "m1"))["callback_query"]["data"] == "data-Mới"


async def test_a_message_without_buttons_leaves_the_menu_open(text, plain):
    await plain.send_message("ab", "Chọn:", reply_markup=buttons("Đã nhận"))
    await plain.send_message("ab", "Nhắn thêm.")
    assert "callback_query" in await text.inbound("ab", "1", "m1")


async def test_a_number_answers_the_question_that_followed_an_answered_menu(text, plain):
    await plain.send_message("ab", "Loại hình?", reply_markup=buttons("Khách sạn", "Nhà nghỉ"))
    await text.inbound("ab", "2", "m1")
    await plain.send_message("ab", "Bao nhiêu phòng?")
    assert (await text.inbound("ab", "2", "m2"))["message"]["text"] == "2"
    assert "callback_query" in await text.inbound("ab", "nhà nghỉ", "m3")


async def test_the_menu_outlives_a_restart_but_not_a_day(text, plain, sessions, clock):
    await plain.send_message("ab", "Chọn:", reply_markup=buttons("Báo tin"))
    restarted = MemoryTextGateway(sessions, clock=clock)
    assert "callback_query" in await restarted.inbound("ab", "1", "m1")
    clock.now += timedelta(hours=24)
    assert "message" in await restarted.inbound("ab", "1", "m2")


async def test_an_open_menu_cannot_be_read_from_the_table(text, plain, sessions):
    await plain.send_message("0912345678", "Bí mật", reply_markup=buttons("Kín"))
    async with sessions.reading() as session:
        row = (await session.execute(TextMenu.__table__.select())).one()
    stored = repr(tuple(row)).encode() + row.sealed
    assert b"0912345678" not in stored and "Kín".encode() not in stored


async def test_menus_that_ended_are_forgotten_and_open_ones_are_not(text, plain, sessions, clock):
    await plain.send_message("ab", "Chọn:", reply_markup=buttons("Cũ"))
    clock.now += timedelta(hours=12)
    await plain.send_message("cd", "Chọn:", reply_markup=buttons("Mới"))

    async def kept(at: datetime) -> int:
        async with sessions.begin() as session:
            await forget_menus(session, now=at)
            return len((await session.execute(TextMenu.__table__.select())).all())

    assert await kept(NOW + timedelta(hours=23)) == 2
    assert await kept(NOW + timedelta(days=1, hours=23)) == 0


async def test_menus_of_one_day_end_on_different_marks_than_others(text, plain, sessions, clock):
    await plain.send_message("ab", "Chọn:", reply_markup=buttons("a"))
    clock.now += timedelta(hours=1)
    await plain.send_message("cd", "Chọn:", reply_markup=buttons("Nút có tên dài hơn nhiều"))
    clock.now += timedelta(days=1)
    await plain.send_message("ef", "Chọn:", reply_markup=buttons("a"))
    async with sessions.reading() as session:
        rows = (await session.execute(TextMenu.__table__.select())).all()
    assert len({row.day for row in rows}) == 2 and len({row.id for row in rows}) == 3
    assert {len(row.sealed) for row in rows} == {256 + 33}


async def test_links_stand_written_out(text, plain):
    rows = [
        [InlineKeyboardButton("Xem", url="https://example.org/x")],
        [InlineKeyboardButton("Gửi", callback_data="g")],
    ]
    await plain.send_message("ab", "Đây:", reply_markup=InlineKeyboardMarkup(rows))
    assert text.chats["ab"] == ["Đây:\n\nXem: https://example.org/x\nTrả lời bằng số:\n1. Gửi"]


async def test_a_keyboards_number_says_its_label(text, plain):
    keyboard = ReplyKeyboardMarkup([[KeyboardButton("Gửi số", request_contact=True)], ["Bỏ qua"]])
    await plain.send_message("ab", "Số điện thoại?", reply_markup=keyboard)
    assert text.chats["ab"] == ["Số điện thoại?\n\nHãy gõ số điện thoại.\nTrả lời bằng số:\n1. Bỏ qua"]
    assert (await text.inbound("ab", "1", "m1"))["message"]["text"] == "Bỏ qua"


async def test_long_text_goes_in_parts_with_the_menu_last(text, plain):
    long = "\n\n".join(f"Đoạn {n} 😀 " + "chữ " * 100 for n in range(9))[:4000]
    await plain.send_message("ab", long, reply_markup=buttons("Đồng ý", "Bỏ qua"))
    parts = text.chats["ab"]
    assert len(parts) >= 2
    assert all(utf16_len(part) <= 2000 for part in parts)
    assert parts[-1].endswith("1. Đồng ý\n2. Bỏ qua")
    assert "".join(parts).replace("\n", "").replace(" ", "").startswith(long.replace("\n", "").replace(" ", "")[:3000])


async def test_a_menu_that_does_not_fit_is_a_part_of_its_own(text, plain):
    await plain.send_message("ab", "a" * 1995, reply_markup=buttons("Đồng ý"))
    assert text.chats["ab"] == ["a" * 1995, "Trả lời bằng số:\n1. Đồng ý"]


async def test_an_edit_is_a_new_message_with_its_menu(text, plain):
    await plain.send_message("ab", "Cũ", reply_markup=buttons("a"))
    edited = await plain.edit_message_text("Mới", "ab", "ab-1", reply_markup=buttons("b"))
    assert isinstance(edited, Message)
    assert text.chats["ab"][1] == "Mới\n\nTrả lời bằng số:\n1. b"
    assert (await text.inbound("ab", "1", "m1"))["callback_query"]["data"] == "data-b"


async def test_buttons_taken_from_a_message_close_its_menu(text, plain):
    await plain.send_message("ab", "Cũ", reply_markup=buttons("a"))
    await plain.edit_message_reply_markup("ab", "ab-1")
    assert "message" in await text.inbound("ab", "1", "m1")
    assert len(text.chats["ab"]) == 1


async def test_a_file_is_named_where_it_cannot_be_sent(text, plain):
    await plain.send_document("ab", b"x", filename="lich.pdf", caption="Lịch trực", reply_markup=buttons("Đã nhận"))
    assert text.chats["ab"] == ["Tệp: lich.pdf", "Lịch trực\n\nTrả lời bằng số:\n1. Đã nhận"]


async def test_the_same_message_has_the_same_update_number(text):
    first, again = await text.inbound("ab", "x", "m1"), await text.inbound("ab", "x", "m1")
    assert first["update_id"] == again["update_id"] != (await text.inbound("ab", "x", "m2"))["update_id"]


@pytest.mark.parametrize(
    "typed, command", [("/start abc", "/start"), ("/baotin", "/baotin"), ("//x", None), ("/", None), ("a /start", None)]
)
async def test_a_command_has_its_entity(text, plain, typed, command):
    update = parsed(await text.inbound("ab", typed, "m1"), plain)
    assert list(update.effective_message.parse_entities().values()) == ([command] if command else [])


def test_a_refusal_keeps_its_parameters():
    envelope = ApiRefusal(429, "Too Many Requests", retry_after=3).envelope()
    assert json.loads(json.dumps(envelope))["parameters"] == {"retry_after": 3}
