"""The web chat: what the bot sends is on the page, what the visitor does is stored for the bot."""

from __future__ import annotations

import asyncio
import io
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from PIL import Image
from sqlalchemy import func, select, text
from sqlalchemy.exc import OperationalError
from telegram import (
    BotCommand,
    BotCommandScopeAllPrivateChats,
    BotCommandScopeChat,
    InlineKeyboardButton,
    InlineKeyboardMarkup,
    InputMediaDocument,
    InputMediaPhoto,
    KeyboardButton,
    ReplyKeyboardMarkup,
    ReplyKeyboardRemove,
    Update,
)
from telegram.error import BadRequest

from channels.api import Unreachable, fetch_file
from channels.port import Attachment, Button, Media, Outgoing, Recipient, RecipientGone, Rejected
from channels.sender import Sender
from channels.shapes import Upload
from channels.web import store as web_store
from channels.web.files import MAX_FILE
from channels.web.gateway import WebGateway
from channels.web.store import chat_count, erase_messages, find_chat, purge
from conversations.inbound import waiting_updates
from db.base import Base
from db.engine import Sessions
from db.sealing import KeyRing
from db.tables.web import WebFile, WebMessage
from web import visitor
from web.visitor import WebChat, WebRefusal, address_of

NOW = datetime(2026, 11, 23, 1, 0, tzinfo=UTC)
LAN, MINH = address_of("a" * 43), address_of("b" * 43)


@pytest.fixture
def gateway(sessions):
    return WebGateway(sessions, clock=lambda: NOW)


@pytest.fixture
async def bot(gateway):
    async with gateway.bot() as ready:
        yield ready


@pytest.fixture
def woken():
    return []


@pytest.fixture
async def chat(gateway, woken):
    chat = WebChat(gateway, wake=lambda: woken.append(True))
    await chat.open(LAN)
    await chat.open(MINH, "en")
    return chat


@pytest.fixture
def updates(sessions, bot):
    async def read() -> list[Any]:
        async with sessions.reading() as session:
            stored = await waiting_updates(session, {"web": ""}, chats=100, each=100)
        return [Update.de_json(dict(waiting.raw or {}), bot) for waiting in stored]

    return read


def buttons(*labels: str) -> InlineKeyboardMarkup:
    return InlineKeyboardMarkup([[InlineKeyboardButton(label, callback_data=f"data-{label}")] for label in labels])


def picture(kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (40, 30), "red").save(out, kind)
    return out.getvalue()


async def shown(chat: WebChat, address: str = LAN, after: int = 0) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = (await chat.messages_after(address, after))["messages"]
    return messages


# --- the bot's side ---


async def test_a_message_reaches_only_its_chat(chat, bot):
    sent = await bot.send_message(LAN, "<b>Đã</b> nhận", parse_mode="HTML", reply_markup=buttons("Gửi"))

    assert (sent.message_id, sent.chat.id, sent.text) == (1, LAN, "Đã nhận")
    (message,) = await shown(chat)
    assert message == {
        "id": 1,
        "seq": 1,
        "from": "bot",
        "at": "2026-11-23T01:00:00+00:00",
        "text": "Đã nhận",
        "entities": [{"type": "bold", "offset": 0, "length": 2}],
        "buttons": [[{"label": "Gửi", "data": "data-Gửi"}]],
        "keyboard": None,
        "files": [],
        "location": None,
        "edited": False,
        "deleted": False,
        "silent": False,
    }
    assert await shown(chat, MINH) == []


async def test_a_chat_nobody_opened_is_not_found(chat, bot):
    stranger = address_of("c" * 43)
    for call in (
        bot.send_message(stranger, "x"),
        bot.send_photo(stranger, picture()),
        bot.edit_message_text("x", stranger, 1),
        bot.delete_message(stranger, 1),
        bot.get_chat(stranger),
    ):
        with pytest.raises(BadRequest, match=r"(?i)chat not found"):
            await call
    assert (await bot.get_chat(LAN)).id == LAN


async def test_edits_and_deletes_raise_the_seq_and_keep_the_id(chat, bot):
    await bot.send_message(LAN, "a", reply_markup=buttons("x"))
    await bot.send_message(LAN, "b")
    await bot.edit_message_text("c", LAN, 1)
    await bot.delete_message(LAN, 2)

    edited, deleted = await shown(chat, after=2)
    assert (edited["id"], edited["seq"], edited["text"], edited["buttons"], edited["edited"]) == (1, 3, "c", [], True)
    assert (deleted["id"], deleted["seq"], deleted["text"], deleted["deleted"]) == (2, 4, "", True)
    assert [message["id"] for message in await shown(chat)] == [1]


async def test_an_edit_that_changes_nothing_is_refused(chat, bot):
    await bot.send_message(LAN, "a", reply_markup=buttons("x"))
    with pytest.raises(BadRequest, match=r"(?i)message is not modified"):
        await bot.edit_message_text("a", LAN, 1, reply_markup=buttons("x"))
    assert (await chat.messages_after(LAN))["last_seq"] == 1


async def test_the_bot_cannot_edit_what_the_visitor_wrote(chat, bot):
    await chat.post_text(LAN, "Của tôi", "nonce-01")
    for call in (bot.edit_message_text("x", LAN, 1), bot.delete_message(LAN, 1), bot.edit_message_text("x", LAN, 99)):
        with pytest.raises(BadRequest, match="not found"):
            await call


async def test_keyboards_come_and_go(chat, bot):
    keyboard = ReplyKeyboardMarkup([[KeyboardButton("Gửi vị trí", request_location=True)], ["Bỏ qua"]])
    await bot.send_message(LAN, "Ở đâu?", reply_markup=keyboard)
    await bot.send_message(LAN, "Cảm ơn.", reply_markup=ReplyKeyboardRemove(), disable_notification=True)
    first, second = await shown(chat)
    assert first["keyboard"] == [[{"label": "Gửi vị trí", "asks": "location"}], ["Bỏ qua"]]
    assert second["keyboard"] == [] and second["silent"]


async def test_files_albums_and_places_are_shown(chat, bot):
    photo = await bot.send_photo(LAN, picture(), caption="Ảnh", filename="a.png")
    again = await bot.send_photo(MINH, photo.photo[-1].file_id)
    await bot.send_document(LAN, b"%PDF-1.4", filename="../../etc/lich.pdf")
    album = await bot.send_media_group(LAN, [InputMediaPhoto(picture("JPEG")), InputMediaDocument(b"x")])
    await bot.send_location(LAN, 10.5, 106.5)

    assert (photo.photo[-1].width, photo.photo[-1].height) == (40, 30)
    assert again.photo[-1].file_id == photo.photo[-1].file_id
    assert [message.message_id for message in album] == [3, 4]
    files = [message["files"][0] for message in await shown(chat) if message["files"]]
    assert [(file["kind"], file["mime"]) for file in files] == [
        ("photo", "image/png"),
        ("document", "application/pdf"),
        ("photo", "image/jpeg"),
        ("document", "application/octet-stream"),
    ]
    assert files[1]["name"] == "lich.pdf"
    assert (await shown(chat))[-1]["location"] == {"latitude": 10.5, "longitude": 106.5}
    (again,) = (await shown(chat, MINH))[0]["files"]
    assert (await chat.file(MINH, again["id"]))[1] == (await chat.file(LAN, files[0]["id"]))[1] == picture()


async def test_the_bot_downloads_what_a_visitor_sent(chat, bot, updates):
    await chat.post_file(LAN, "photo", Upload("hiện trường.png", "image/png", picture()), "nonce-01", caption="Ở đây")
    (update,) = await updates()
    content = await fetch_file(bot, update.message.photo[-1].file_id, limit=10**6)
    assert content == picture()
    assert update.message.caption == "Ở đây"


async def test_the_narrowest_menu_of_commands_counts(chat, bot):
    await bot.set_my_commands([BotCommand("start", "Bắt đầu")])
    await bot.set_my_commands([BotCommand("start", "Begin")], language_code="en")
    assert (await chat.messages_after(LAN))["commands"] == [{"command": "start", "description": "Bắt đầu"}]
    assert (await chat.messages_after(MINH))["commands"] == [{"command": "start", "description": "Begin"}]

    await bot.set_my_commands([BotCommand("all", "Tất cả")], scope=BotCommandScopeAllPrivateChats())
    await bot.set_my_commands([BotCommand("tin", "Tin")], scope=BotCommandScopeChat(f"@{LAN}"))
    await bot.set_my_commands([BotCommand("tin", "Tin báo")], scope=BotCommandScopeChat(f"@{LAN}"))
    assert [item["description"] for item in (await chat.messages_after(LAN))["commands"]] == ["Tin báo"]
    assert [item["command"] for item in (await chat.messages_after(MINH))["commands"]] == ["all"]
    assert (await bot.get_my_commands(scope=BotCommandScopeChat(f"@{LAN}")))[0].command == "tin"

    await bot.delete_my_commands(scope=BotCommandScopeChat(f"@{LAN}"))
    assert [item["command"] for item in (await chat.messages_after(LAN))["commands"]] == ["all"]


async def test_a_sender_works_through_the_gateway(chat, bot, gateway):
    async def load(media_id: int) -> Media:
        return Media("photo", "a.png", "image/png", picture())

    sender = Sender(bot, gateway.capabilities, load, lambda language, key: key)
    files = (Attachment("photo", 1), Attachment("photo", 2))
    rich = Outgoing("Thông báo " * 500, buttons=((Button("Đã nhận", verb="ack"),),), attachments=files)
    sent = await sender.send(LAN, rich, callback_data={(0, 0): "abc"})
    again = await sender.send(MINH, rich, callback_data={(0, 0): "def"}, handles=dict(sent.handles))
    await sender.send(LAN, Outgoing("Ở đâu?", asks="location"), callback_data={})
    await sender.edit(LAN, sent.message_id, Outgoing("Xong"), callback_data={})
    await sender.edit(LAN, sent.message_id, Outgoing("Xong"), callback_data={})
    await sender.delete(LAN, sent.message_id)

    assert (len(sent.handles), again.handles) == (2, ())
    messages = await shown(chat)
    assert sum(len(message["files"]) for message in messages) == 2
    assert messages[-1]["keyboard"]
    buttons = [button for message in await shown(chat, MINH) for row in message["buttons"] for button in row]
    assert buttons == [{"label": "Đã nhận", "data": "def"}]
    with pytest.raises(RecipientGone):
        await sender.send(address_of("c" * 43), Outgoing("x"), callback_data={})
    with pytest.raises(Rejected, match="message_gone"):
        await sender.delete(LAN, sent.message_id)


async def test_a_busy_database_means_not_sent(sqlite_engine, monkeypatch):
    def busy() -> Any:
        raise OperationalError("INSERT", {}, Exception("database is locked"))

    sessions = Sessions(sqlite_engine, KeyRing([b"k" * 32]))
    await WebChat(WebGateway(sessions, clock=lambda: NOW), wake=lambda: None).open(LAN)
    monkeypatch.setattr(sessions, "begin", busy)
    async with WebGateway(sessions, clock=lambda: NOW).bot() as bot:
        with pytest.raises(Unreachable):
            await bot.send_message(LAN, "x")


# --- the visitor's side ---


@pytest.mark.parametrize(
    "text, kept",
    [
        ('<b>&amp; "x"</b>', '<b>&amp; "x"</b>'),
        ("  hai  dòng\r\nhai ", "hai  dòng\nhai"),
        ("a\x00b\u202ec\u2066d", "abcd"),
        ("👮‍♀️ cháy!", "👮‍♀️ cháy!"),
        ("\ud800x", "x"),
        ("/start abc", "/start abc"),
        ("x" * 4000, "x" * 4000),
    ],
)
async def test_what_the_visitor_writes_arrives_clean(chat, updates, woken, text, kept):
    message = await chat.post_text(LAN, text, "nonce-01")
    (update,) = await updates()

    assert message["text"] == update.message.text == kept
    assert message["from"] == "me"
    assert update.effective_user.id == update.effective_chat.id == LAN
    assert update.message.message_id == message["id"]
    assert list(update.message.parse_entities().values()) == (["/start"] if kept.startswith("/") else [])
    assert woken == [True]


@pytest.mark.parametrize(
    "text, code",
    [("", "empty"), (" \n\t ", "empty"), ("\u200b\x00", "empty"), ("x" * 5000, "too_long"), ("😀" * 2001, "too_long")],
)
async def test_what_cannot_be_a_message_leaves_no_trace(chat, updates, woken, text, code):
    with pytest.raises(WebRefusal) as refused:
        await chat.post_text(LAN, text, "nonce-01")
    assert refused.value.code == code
    assert (await updates(), await shown(chat), woken) == ([], [], [])


async def test_posting_twice_under_one_nonce_does_it_once(chat, updates, bot):
    first = await chat.post_text(LAN, "Có cháy", "nonce-01")
    assert await chat.post_text(LAN, "Có cháy", "nonce-01") == first
    await chat.post_text(LAN, "Có cháy", "nonce-02")
    await chat.post_text(MINH, "Có cháy", "nonce-01")
    file = await chat.post_file(LAN, "document", Upload("a", "", b"x"), "nonce-03")
    assert await chat.post_file(LAN, "document", Upload("a", "", b"x"), "nonce-03") == file

    assert [message["id"] for message in await shown(chat)] == [1, 2, 3]
    assert len(await updates()) == 4


async def test_posts_at_the_same_time_under_one_nonce_do_it_once(chat, updates):
    answers = await asyncio.gather(*(chat.post_text(LAN, "Có cháy", "nonce-01") for _ in range(8)))
    assert all(answer == answers[0] for answer in answers)
    assert len(await updates()) == 1


async def test_messages_of_both_sides_are_numbered_without_gaps_under_haste(chat, bot):
    await asyncio.gather(
        *(chat.post_text(LAN, f"tin {n}", f"nonce-{n:03}") for n in range(10)),
        *(bot.send_message(LAN, f"trả lời {n}") for n in range(10)),
    )
    messages = await shown(chat)
    assert [message["id"] for message in messages] == list(range(1, 21))
    assert sorted(message["seq"] for message in messages) == list(range(1, 21))


async def test_a_press_is_an_update_for_the_button(chat, bot, updates):
    await bot.send_message(LAN, "Chọn", reply_markup=buttons("Gửi"))
    await chat.press(LAN, 1, "data-Gửi", "nonce-01")
    await chat.press(LAN, 1, "data-Gửi", "nonce-01")
    (update,) = await updates()
    assert update.callback_query.data == "data-Gửi"
    assert update.callback_query.message.message_id == 1
    assert update.callback_query.message.reply_markup.inline_keyboard[0][0].text == "Gửi"
    assert update.callback_query.from_user.language_code == "vi"


async def test_a_button_that_is_not_there_now_cannot_be_pressed(chat, bot, updates):
    await bot.send_message(LAN, "Chọn", reply_markup=buttons("Gửi"))
    await bot.send_message(MINH, "Chọn", reply_markup=buttons("Khác"))
    await bot.edit_message_text("Xong", LAN, 1)
    await chat.post_text(LAN, "x", "nonce-00")
    for message_id, data in ((1, "data-Gửi"), (1, "data-Khác"), (2, "data-Gửi"), (99, "x")):
        with pytest.raises(WebRefusal, match="old_button"):
            await chat.press(LAN, message_id, data, f"nonce-{message_id}-{len(data)}")
    assert len(await updates()) == 1


async def test_the_answer_to_a_repeated_press_stays_when_the_button_has_gone(chat, bot, updates):
    await bot.send_message(LAN, "Chọn", reply_markup=buttons("Gửi"))
    await chat.press(LAN, 1, "data-Gửi", "nonce-01")
    await bot.edit_message_text("Xong", LAN, 1)
    await chat.press(LAN, 1, "data-Gửi", "nonce-01")
    assert len(await updates()) == 1


async def test_places_and_files_are_updates(chat, updates):
    await chat.post_location(LAN, 10.5, 106.5, "nonce-01")
    webm = b"\x1a\x45\xdf\xa3" + b"\x00" * 20 + b"webm" + b"\x00" * 300
    await chat.post_file(LAN, "voice", Upload("ghi.webm", "", b"OggS" + b"\x00" * 100), "nonce-02")
    await chat.post_file(LAN, "video", Upload("phim.webm", "", webm), "nonce-03")
    await chat.post_file(LAN, "document", Upload("a.txt", "text/html", b"<script>"), "nonce-04")
    place, voice, video, document = (update.message for update in await updates())
    assert place.location.latitude == 10.5
    assert voice.voice.mime_type == "audio/ogg"
    assert (video.video or video.document) is not None
    assert (document.document.file_name, document.document.mime_type) == ("a.txt", "application/octet-stream")
    with pytest.raises(WebRefusal, match="bad_request"):
        await chat.post_location(LAN, 91, 0, "nonce-05")


async def test_a_photo_that_is_none_is_kept_as_a_document(chat, updates):
    for number, fake in enumerate((b"<svg onload=alert(1)>", b"\x89PNG\r\n\x1a\n broken", b"GIF89a" + b"\x00" * 20)):
        message = await chat.post_file(LAN, "photo", Upload("a.jpg", "image/jpeg", fake), f"nonce-0{number}")
        assert message["files"][0]["kind"] == "document"
    assert all(update.message.document for update in await updates())


@pytest.mark.parametrize("content, code", [(b"", "empty"), (b"x" * (MAX_FILE + 1), "too_large")])
async def test_a_file_has_one_byte_to_20_mebibytes(chat, content, code):
    with pytest.raises(WebRefusal, match=code):
        await chat.post_file(LAN, "document", Upload("a", "", content), "nonce-01")


async def test_a_file_is_for_its_own_chat(chat, bot):
    message = await chat.post_file(LAN, "document", Upload("a", "", b"kin"), "nonce-01")
    file_id = message["files"][0]["id"]
    assert (await chat.file(LAN, file_id))[1] == b"kin"
    with pytest.raises(WebRefusal, match="not_found"):
        await chat.file(MINH, file_id)
    await bot.send_document(MINH, b"x")
    (sent,) = (await shown(chat, MINH))[0]["files"]
    assert (await chat.file(MINH, sent["id"]))[1] == b"x"
    await bot.delete_message(MINH, 1)
    with pytest.raises(WebRefusal, match="not_found"):
        await chat.file(MINH, sent["id"])


async def test_a_file_is_not_read_by_the_name_of_another_message(chat, bot):
    message = await chat.post_file(LAN, "document", Upload("a", "", b"kin"), "nonce-01")
    name = message["files"][0]["id"].partition("-")[2]
    await bot.send_message(MINH, "x")
    await chat.post_text(LAN, "x", "nonce-02")
    for wrong in (name, f"2-{name}", f"1-{name}x", f"-{name}", f"99-{name}", "1-", "1"):
        with pytest.raises(WebRefusal, match="not_found"):
            await chat.file(LAN, wrong)
    with pytest.raises(WebRefusal, match="not_found"):
        await chat.file(MINH, f"1-{name}")


async def test_the_database_holds_neither_words_nor_names_nor_cookie(chat, bot, sessions):
    cookie = "c" * 43
    await chat.open(address_of(cookie))
    await chat.post_text(address_of(cookie), "Phòng mười hai", "nonce-01")
    await chat.post_file(address_of(cookie), "document", Upload("bimat.txt", "", b"noidungtep"), "nonce-02")
    await bot.send_message(address_of(cookie), "Cảm ơn")
    async with sessions.reading() as session:
        found = [
            value if isinstance(value, bytes) else str(value).encode()
            for table in Base.metadata.tables
            for row in await session.execute(text(f"SELECT * FROM {table}"))  # noqa: S608 (our own names)
            for value in row
        ]
    stored = b"\n".join(found)
    assert len(stored) > 2000
    for secret in ("Phòng mười hai", "bimat", "noidungtep", "Cảm ơn", "nonce-01", cookie, address_of(cookie)):
        assert secret.encode() not in stored


async def test_history_is_read_in_pages_both_ways(chat, bot):
    for number in range(1, 8):
        await bot.send_message(LAN, str(number))
    newest = await chat.messages_after(LAN, limit=3)
    older = await chat.messages_after(LAN, limit=3, before=5)
    missed = await chat.messages_after(LAN, 2, limit=3)
    rest = await chat.messages_after(LAN, missed["last_seq"], limit=3)
    assert ([m["id"] for m in newest["messages"]], newest["more"], newest["last_seq"]) == ([5, 6, 7], True, 7)
    assert ([m["id"] for m in older["messages"]], older["more"]) == ([2, 3, 4], True)
    assert ([m["id"] for m in missed["messages"]], missed["more"], missed["last_seq"]) == ([3, 4, 5], True, 5)
    assert ([m["id"] for m in rest["messages"]], rest["more"], rest["last_seq"]) == ([6, 7], False, 7)


async def test_deleted_messages_do_not_shorten_a_page(chat, bot):
    for number in range(1, 161):
        await bot.send_message(LAN, str(number))
    for number in range(20, 150):
        await bot.delete_message(LAN, number)
    newest = await chat.messages_after(LAN, limit=20)
    assert [m["id"] for m in newest["messages"]] == [*range(11, 20), *range(150, 161)] and newest["more"]


async def test_a_page_that_missed_very_much_reads_on_without_losing_any(chat, bot, monkeypatch):
    monkeypatch.setattr(web_store, "_CHANGES_PER_PAGE", 5)
    await bot.send_message(LAN, "một")
    await bot.send_message(LAN, "hai")
    for number in range(20):
        await bot.edit_message_text(f"hai {number}", LAN, 2)

    steps, after = [], 1
    while True:
        page = await chat.messages_after(LAN, after)
        steps.append([message["text"] for message in page["messages"]])
        after = page["last_seq"]
        if not page["more"]:
            break
    assert steps == [[], [], [], [], ["hai 19"]] and after == 22
    async with aclosing(chat.subscribe(LAN, 1)) as events:
        assert await take(events, 2) == [("hello", {"last_seq": 22}), ("message", "hai 19")]


async def test_channels_of_two_names_are_two_chats(chat, bot, sessions):
    other = WebChat(WebGateway(sessions, clock=lambda: NOW, name="quay"), wake=lambda: None)
    await other.open(LAN, "en")
    await bot.send_message(LAN, "Chào")
    await bot.set_my_commands([BotCommand("start", "Bắt đầu")])
    assert [message["text"] for message in await shown(chat)] == ["Chào"]
    assert await shown(other) == []
    assert (await other.messages_after(LAN))["commands"] == []
    assert (await chat.language_of(LAN), await other.language_of(LAN)) == ("vi", "en")


async def test_a_page_from_before_the_database_was_renewed_starts_over(chat, bot):
    await bot.send_message(LAN, "a")
    assert len(await shown(chat, after=500)) == 1


# --- live ---


async def take(events: Any, count: int) -> list[tuple[str, Any]]:
    async def some() -> list[tuple[str, Any]]:
        found: list[tuple[str, Any]] = []
        while len(found) < count:
            name, _, about = await anext(events)
            found.append((name, about.get("text", about) if name in ("message", "toast") else about))
        return found

    return await asyncio.wait_for(some(), 5)


async def test_an_open_page_gets_what_it_missed_and_what_comes(chat, bot):
    await bot.send_message(LAN, "một")
    await bot.send_message(LAN, "hai")
    async with aclosing(chat.subscribe(LAN, 1)) as events:
        assert await take(events, 2) == [("hello", {"last_seq": 2}), ("message", "hai")]
        await bot.send_chat_action(LAN, "typing")
        assert await take(events, 1) == [("typing", {"typing": True})]
        assert (await chat.messages_after(LAN))["typing"]
        await bot.send_message(LAN, "ba")
        await bot.send_message(MINH, "không phải đây")
        await chat.post_text(LAN, "bốn", "nonce-01")
        assert await take(events, 2) == [("message", "ba"), ("message", "bốn")]
        assert not (await chat.messages_after(LAN))["typing"]
        await bot.delete_message(LAN, 3)
        ((_, gone),) = await take(events, 1)
        assert gone == ""
    assert chat.hub.open_streams == 0


async def test_the_answer_to_a_press_is_shown_on_the_page(chat, bot, updates):
    await bot.send_message(LAN, "Chọn", reply_markup=buttons("Gửi"))
    async with aclosing(chat.subscribe(LAN, 1)) as events:
        await take(events, 1)
        await chat.press(LAN, 1, "data-Gửi", "nonce-01")
        (update,) = await updates()
        await update.callback_query.answer("Đã gửi")
        assert await take(events, 1) == [("toast", "Đã gửi")]


async def test_a_slow_reader_loses_nothing_and_costs_no_memory(chat, bot):
    async with aclosing(chat.subscribe(LAN)) as events:
        await take(events, 1)
        for number in range(150):
            await bot.send_message(LAN, str(number))
            await bot.send_chat_action(LAN, "typing")
        received = await take(events, 150)
    assert [text for name, text in received if name == "message"] == [str(number) for number in range(150)]


async def test_the_hub_ends_all_streams_when_it_closes(chat):
    async with aclosing(chat.subscribe(LAN)) as events:
        await take(events, 1)
        ending = asyncio.create_task(take(events, 1))
        await asyncio.sleep(0)
        chat.hub.close()
        assert await ending == [("bye", {})]
        with pytest.raises(StopAsyncIteration):
            await anext(events)
    async with aclosing(chat.subscribe(LAN)) as late:
        assert [name for name, _ in await take(late, 2)] == ["hello", "bye"]


async def test_the_oldest_of_too_many_streams_is_closed(chat):
    streams = [chat.hub.subscribe(LAN) for _ in range(7)]
    assert [stream.closed for stream in streams] == [True] + [False] * 6


async def test_a_quiet_stream_shows_that_it_lives_and_finds_what_others_wrote(chat, bot, monkeypatch, sessions):
    monkeypatch.setattr(visitor, "PING_SECONDS", 0.05)
    elsewhere = WebGateway(sessions, clock=lambda: NOW).bot()
    async with elsewhere, aclosing(chat.subscribe(LAN)) as events:
        assert [name for name, _ in await take(events, 2)] == ["hello", "ping"]
        await elsewhere.send_message(LAN, "từ nơi khác")
        received = await take(events, 3)
        assert ("message", "từ nơi khác") in received


# --- forgetting ---


async def test_an_erased_chat_says_nothing_any_more(chat, bot, sessions):
    await chat.post_text(LAN, "Xoá tôi", "nonce-01")
    await chat.post_file(LAN, "document", Upload("a", "", b"x"), "nonce-02")
    await bot.send_message(MINH, "Ở lại")
    async with sessions.begin() as session:
        assert await erase_messages(session, Recipient("web", LAN)) == 2
    assert await shown(chat) == []
    assert [message["deleted"] for message in await shown(chat, after=2)] == [True, True]
    assert len(await shown(chat, MINH)) == 1
    async with sessions.reading() as session:
        assert await session.scalar(select(func.count()).select_from(WebFile)) == 0
    await bot.send_message(LAN, "Đã xoá.")


async def test_old_messages_are_purged_and_new_ones_stay(chat, bot, sessions):
    await bot.send_message(LAN, "x")
    async with sessions.begin() as session:
        await purge(session, before=NOW, nonces_before=NOW)
    assert len(await shown(chat)) == 1
    async with sessions.begin() as session:
        await purge(session, before=NOW + timedelta(1), nonces_before=NOW + timedelta(1))
    assert await shown(chat) == []
    assert await chat.language_of(LAN) == "vi"
    assert await chat.language_of(MINH) is None


async def test_what_is_newer_than_the_purge_is_read_as_before(sessions, clock):
    gateway = WebGateway(sessions, clock=clock)
    chat = WebChat(gateway, wake=lambda: None)
    await chat.open(LAN)
    for day in range(3):
        for number in range(80):
            await chat.post_text(LAN, f"{day}-{number}", f"nonce-{day}-{number}")
        clock.advance(days=1)
    async with sessions.begin() as session:
        await purge(session, before=NOW + timedelta(2), nonces_before=NOW + timedelta(2))
    kept = await chat.messages_after(LAN, limit=200)
    assert [message["id"] for message in kept["messages"]] == list(range(161, 241)) and not kept["more"]
    missed = await chat.messages_after(LAN, 5, limit=200)
    assert [message["seq"] for message in missed["messages"]] == list(range(161, 241))
    with pytest.raises(WebRefusal, match="old_button"):
        await chat.press(LAN, 1, "x", "nonce-9999")


async def test_posting_again_is_known_for_as_long_as_its_nonce_is_kept(chat, sessions):
    await chat.post_text(LAN, "x", "nonce-01")
    async with sessions.begin() as session:
        await purge(session, before=NOW, nonces_before=NOW)
    await chat.post_text(LAN, "x", "nonce-01")
    assert len(await shown(chat)) == 1
    async with sessions.begin() as session:
        await purge(session, before=NOW, nonces_before=NOW + timedelta(1))
    await chat.post_text(LAN, "x", "nonce-01")
    assert len(await shown(chat)) == 2


async def test_chats_never_written_in_are_forgotten_and_no_others(chat, bot, sessions):
    await bot.send_message(LAN, "x")
    await chat.open(MINH, "vi", rename=True)
    async with sessions.begin() as session:
        await purge(session, before=NOW, nonces_before=NOW)
        assert await chat_count(session) == 2
        await purge(session, before=NOW, nonces_before=NOW + timedelta(1))
        assert await chat_count(session) == 1
    assert await chat.language_of(LAN) == "vi"


async def test_an_erased_chat_goes_on_as_a_new_one(chat, bot, sessions):
    for number in range(150):
        await chat.post_text(LAN, str(number), f"nonce-{number:03}")
    async with sessions.begin() as session:
        assert await erase_messages(session, Recipient("web", LAN)) == 150
        assert await erase_messages(session, Recipient("web", LAN)) == 0
        assert await erase_messages(session, Recipient("web", address_of("nobody"))) == 0
    await bot.send_message(LAN, "Đã xoá.")
    assert [message["id"] for message in await shown(chat)] == [151]
    assert not (await chat.messages_after(LAN, before=151))["messages"]
    gone = (await chat.messages_after(LAN, 1, limit=200))["messages"]
    assert [message["id"] for message in gone] == list(range(1, 152))
    assert [message["deleted"] for message in gone] == [True] * 150 + [False]


async def test_a_file_shown_again_is_kept_as_long_as_its_newest_message(sessions, clock):
    gateway = WebGateway(sessions, clock=clock)
    chat = WebChat(gateway, wake=lambda: None)
    await chat.open(LAN)

    async def forget(*, days: int) -> None:
        async with sessions.begin() as session:
            await purge(session, before=clock() - timedelta(days), nonces_before=clock())

    async with gateway.bot() as bot:
        sent = (await bot.send_document(LAN, b"%PDF-1.4 x")).document
        assert sent is not None
        clock.advance(days=80)
        await bot.send_document(LAN, sent.file_id)
        clock.advance(days=80)
        await forget(days=90)
        (message,) = await shown(chat)
        assert (await chat.file(LAN, message["files"][0]["id"]))[1] == b"%PDF-1.4 x"
        clock.advance(days=11)
        await forget(days=90)
        assert await shown(chat) == []
        with pytest.raises(BadRequest, match=r"(?i)wrong file identifier"):
            await bot.send_document(LAN, sent.file_id)


async def test_what_is_deleted_keeps_the_day_and_no_more(chat, bot, sessions, monkeypatch):
    await bot.send_message(LAN, "x" * 3000, reply_markup=buttons("y"))
    async with sessions.reading() as session:
        (long,) = await session.scalars(select(WebMessage.sealed))
    await bot.delete_message(LAN, 1)
    (gone,) = await shown(chat, after=1)
    assert (gone["at"], gone["text"], gone["buttons"]) == ("2026-11-23T00:00:00+00:00", "", [])
    async with sessions.reading() as session:
        (short,) = await session.scalars(select(WebMessage.sealed))
    assert len(short) < len(long)


async def test_files_of_the_bot_go_with_the_last_message_that_shows_them(chat, bot, sessions):
    await bot.send_document(LAN, b"%PDF-1.4 x", filename="a.pdf")

    async def files() -> int:
        async with sessions.begin() as session:
            return await session.scalar(select(func.count()).select_from(WebFile)) or 0

    async with sessions.begin() as session:
        await purge(session, before=NOW, nonces_before=NOW)
    assert await files() == 1
    async with sessions.begin() as session:
        await purge(session, before=NOW + timedelta(1), nonces_before=NOW + timedelta(1))
    assert await files() == 0


async def test_opening_again_keeps_the_language_unless_asked(chat):
    assert not await chat.open(LAN, "en")
    assert await chat.language_of(LAN) == "vi"
    await chat.open(LAN, "en", rename=True)
    assert await chat.language_of(LAN) == "en"


async def test_seen_only_grows_and_never_past_what_is_there(chat, bot, sessions):
    async def seen() -> int:
        async with sessions.reading() as session:
            found = await find_chat(session, Recipient("web", LAN))
            return found.seen_seq if found else -1

    await bot.send_message(LAN, "x")
    await chat.seen(LAN, 99)
    assert await seen() == 0
    await chat.seen(LAN, 1)
    await chat.seen(LAN, 0)
    assert await seen() == 1
