"""What a Sender makes of an Outgoing, and of every way a platform can fail."""

from __future__ import annotations

import json
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from telegram.error import (
    BadRequest,
    ChatMigrated,
    Conflict,
    Forbidden,
    InvalidToken,
    NetworkError,
    RetryAfter,
    TimedOut,
)

from bench.botapi.faults import Fault
from bench.botapi.server import FakeBotApi
from channels.api import NoAnswer, Unreachable, api_id
from channels.port import (
    Attachment,
    Button,
    Capabilities,
    ChannelDown,
    Media,
    Moved,
    Outgoing,
    Point,
    RecipientGone,
    Rejected,
    StaleHandle,
    TryLater,
    Uncertain,
)
from channels.sender import Sender
from channels.telegram.channel import TelegramChannel
from channels.wording import plain

CALLBACKS = {(0, 0): "cb-a", (0, 1): "cb-b", (1, 0): "cb-c"}
BUTTONS = ((Button("Đã nhận", "ack"), Button("Mở", url="https://x.vn")), (Button("Huỷ", "cancel"),))
LABELS = {"button.share_contact": "Gửi số điện thoại", "button.share_location": "Gửi vị trí"}
PHOTO, DOCUMENT, VIDEO, VOICE = (
    Media("photo", "a.jpg", "image/jpeg", b"photo"),
    Media("document", "b.pdf", "application/pdf", b"document"),
    Media("video", "c.mp4", "video/mp4", b"video"),
    Media("voice", "d.ogg", "audio/ogg", b"voice"),
)
STORE = {1: PHOTO, 2: PHOTO, 3: DOCUMENT, 4: VIDEO, 5: VOICE}


def translate(language: str, key: str) -> str:
    return LABELS.get(key) or plain(language, key)


async def load_media(media_id: int) -> Media:
    return STORE[media_id]


def attached(*ids: int) -> tuple[Attachment, ...]:
    return tuple(Attachment(STORE[media_id].kind, media_id) for media_id in ids)


@pytest.fixture
async def sender(api):
    channel = TelegramChannel(api.token, api_url=api.url)
    await channel.bot.initialize()
    yield Sender(channel.bot, channel.capabilities, load_media, translate)
    await channel.close()


def methods(api: FakeBotApi) -> list[str]:
    return [sending.method for sending in api.sent]


# --- what goes out ---------------------------------------------------------------------------------------------


async def test_text_goes_with_its_entities_and_buttons(api, sender):
    entities = ({"type": "bold", "offset": 0, "length": 4},)

    sent = await sender.send("11", Outgoing("chào anh", entities, BUTTONS, silent=True), callback_data=CALLBACKS)

    (method, parameters) = api.calls[-1]
    assert method == "sendMessage" and parameters["chat_id"] == 11 and parameters["disable_notification"] is True
    message = api.sent[0].message
    assert str(message.id) == sent.message_id
    assert message.api["entities"] == list(entities)
    assert message.buttons == [
        [{"text": "Đã nhận", "callback_data": "cb-a"}, {"text": "Mở", "url": "https://x.vn"}],
        [{"text": "Huỷ", "callback_data": "cb-c"}],
    ]


async def test_long_text_is_split_and_the_last_part_has_the_buttons(api, sender):
    text = "\n\n".join("đoạn " + "x" * 1000 for _ in range(9))

    sent = await sender.send("11", Outgoing(text, buttons=BUTTONS), callback_data=CALLBACKS)

    assert len(api.sent) == 3
    assert [bool(sending.message.buttons) for sending in api.sent] == [False, False, True]
    assert sent.message_id == str(api.sent[-1].message.id)


async def test_a_second_attempt_says_so_in_the_language_and_moves_the_entities(api, sender):
    entities = ({"type": "bold", "offset": 0, "length": 4},)

    await sender.send("11", Outgoing("chào", entities), callback_data={}, resent=True)
    await sender.send("11", Outgoing("hello", language="en"), callback_data={}, resent=True)

    assert [sending.text for sending in api.sent] == ["(gửi lại)\nchào", "(sent again)\nhello"]
    assert api.sent[0].message.api["entities"][0]["offset"] == len("(gửi lại)\n")


async def test_one_file_carries_a_short_text_and_the_buttons(api, sender):
    outgoing = Outgoing("xem ảnh", buttons=BUTTONS, attachments=attached(1))

    sent = await sender.send("11", outgoing, callback_data=CALLBACKS)

    assert methods(api) == ["sendPhoto"]
    assert api.sent[0].text == "xem ảnh" and api.sent[0].message.buttons
    assert api.sent[0].message.files == [b"photo"]
    assert sent.handles == ((1, api.sent[0].message.api["photo"][-1]["file_id"]),)


async def test_a_file_the_platform_knows_is_not_uploaded_again(api, sender):
    first = await sender.send("11", Outgoing("", attachments=attached(3)), callback_data={})

    second = await sender.send(
        "12", Outgoing("", attachments=attached(3)), callback_data={}, handles=dict(first.handles)
    )

    assert api.sent[1].message.files == [b"document"]
    assert api.calls[-1][1]["document"] == first.handles[0][1]
    assert second.handles == ()


async def test_a_handle_the_platform_forgot_is_replaced(api, sender):
    sent = await sender.send("11", Outgoing("", attachments=attached(1)), callback_data={}, handles={1: "photo-gone"})

    assert api.sent[0].message.files == [b"photo"]
    assert sent.handles[0][0] == 1


@pytest.mark.parametrize(
    "words",
    [
        "Bad Request: wrong file identifier/HTTP URL specified",
        "Bad Request: wrong remote file identifier specified: wrong padding in the string",
        "Bad Request: wrong remote file id specified: Wrong string length",
        "Bad Request: FILE_REFERENCE_EXPIRED",
        "Bad Request: FILE_REFERENCE_0_EXPIRED",
        "Bad Request: FILE_REFERENCE_EMPTY",
        "Bad Request: FILEREF_UPGRADE_NEEDED",
        "Bad Request: FILE_ID_INVALID",
        "Bad Request: invalid file_id",
        "Bad Request: MEDIA_EMPTY",
    ],
)
async def test_a_handle_that_has_expired_is_uploaded_again_whatever_the_platform_calls_that(api, sender, words):
    first = await sender.send("11", Outgoing("", attachments=attached(1)), callback_data={})
    refusal = Fault(
        "sendPhoto", "refuse", code=400, body=json.dumps({"ok": False, "error_code": 400, "description": words})
    )
    api.faults.append(refusal)

    sent = await sender.send("12", Outgoing("", attachments=attached(1)), callback_data={}, handles=dict(first.handles))
    api.faults.append(Fault(refusal.method, "refuse", code=400, body=refusal.body))
    with pytest.raises(StaleHandle) as told:
        await sender.send("12", Outgoing("", attachments=attached(1)), callback_data={}, handles={1: "x"}, part=0)

    assert api.sent[-1].message.files == [b"photo"] and sent.handles
    assert told.value.media_ids == (1,)


async def test_an_upload_that_is_refused_is_not_tried_again(api, sender):
    body = json.dumps({"ok": False, "error_code": 400, "description": "Bad Request: FILE_REFERENCE_EXPIRED"})
    api.faults.append(Fault("sendPhoto", "refuse", code=400, body=body))

    with pytest.raises(Rejected, match="bad_handle") as told:
        await sender.send("11", Outgoing("", attachments=attached(1)), callback_data={}, part=0)

    assert not isinstance(told.value, StaleHandle)


async def test_more_than_a_hundred_buttons_never_leave(api, sender):
    rows = tuple(tuple(Button(f"{y}-{x}", "v") for x in range(7)) for y in range(30))
    data = {(y, x): f"cb{y}-{x}" for y in range(30) for x in range(7)}

    await sender.send("11", Outgoing("dài", buttons=rows), callback_data=data)

    shown = api.sent[0].message.buttons
    assert [len(row) for row in shown] == [7] * 14 + [2]
    assert shown[-1][-1]["callback_data"] == "cb14-1"


async def test_text_too_long_for_a_caption_goes_first_with_the_buttons(api, sender):
    outgoing = Outgoing("x" * 1025, buttons=BUTTONS, attachments=attached(1))

    sent = await sender.send("11", outgoing, callback_data=CALLBACKS)

    assert methods(api) == ["sendMessage", "sendPhoto"]
    assert sent.message_id == str(api.sent[0].message.id)
    assert not api.sent[1].text and not api.sent[1].message.buttons


async def test_pictures_make_an_album_whose_first_has_the_text(api, sender):
    sent = await sender.send("11", Outgoing("hai ảnh", attachments=attached(1, 2, 4)), callback_data={})

    assert methods(api) == ["sendMediaGroup"] * 3
    assert [sending.text for sending in api.sent] == ["hai ảnh", "", ""]
    assert {media_id for media_id, _ in sent.handles} == {1, 2, 4}
    assert sent.message_id == str(api.sent[0].message.id)


async def test_an_album_cannot_carry_buttons_so_the_text_does(api, sender):
    await sender.send("11", Outgoing("ảnh", buttons=BUTTONS, attachments=attached(1, 2)), callback_data=CALLBACKS)

    assert methods(api) == ["sendMessage", "sendMediaGroup", "sendMediaGroup"]
    assert api.sent[0].message.buttons


async def test_files_of_different_kinds_go_one_after_the_other(api, sender):
    await sender.send("11", Outgoing("đủ loại", attachments=attached(1, 3, 5, 5)), callback_data={})

    assert methods(api) == ["sendMessage", "sendPhoto", "sendDocument", "sendVoice", "sendVoice"]


async def test_files_without_text_carry_the_buttons_on_the_last(api, sender):
    sent = await sender.send("11", Outgoing("", buttons=BUTTONS, attachments=attached(1, 2)), callback_data=CALLBACKS)

    assert methods(api) == ["sendPhoto", "sendPhoto"]
    assert [bool(sending.message.buttons) for sending in api.sent] == [False, True]
    assert sent.message_id == str(api.sent[1].message.id)


async def test_a_place_comes_before_its_text(api, sender):
    await sender.send("11", Outgoing("ở đây", point=Point(16.05, 108.2)), callback_data={})
    await sender.send("11", Outgoing("", buttons=BUTTONS, point=Point(16.05, 108.2)), callback_data=CALLBACKS)

    assert methods(api) == ["sendLocation", "sendMessage", "sendLocation"]
    assert api.sent[2].message.buttons


async def test_a_keyboard_is_taken_away_by_a_message_without_buttons(api, sender):
    await sender.send("11", Outgoing("số?", asks="contact"), callback_data={})
    await sender.send("11", Outgoing("câu khác", buttons=BUTTONS, drops_keyboard=True), callback_data=CALLBACKS)
    assert 11 in api.keyboards
    await sender.send("11", Outgoing("đã ghi", drops_keyboard=True), callback_data={})
    assert 11 not in api.keyboards


async def test_asking_for_a_contact_is_a_keyboard_with_the_other_labels_under_it(api, sender):
    await sender.send("11", Outgoing("số?", buttons=BUTTONS, asks="contact"), callback_data=CALLBACKS)

    assert api.keyboards[11] == [
        [{"text": "Gửi số điện thoại", "request_contact": True}],
        [{"text": "Đã nhận"}, {"text": "Mở"}],
        [{"text": "Huỷ"}],
    ]


async def test_nothing_at_all_is_refused(sender):
    with pytest.raises(Rejected, match="empty"):
        await sender.send("11", Outgoing(""), callback_data={})


async def test_a_file_that_is_gone_is_refused_before_anything_is_sent(api, sender):
    with pytest.raises(Rejected, match="no_media"):
        await sender.send("11", Outgoing("x" * 2000, attachments=(Attachment("photo", 99),)), callback_data={})

    assert api.sent == []


async def test_when_a_later_part_fails_the_whole_is_in_doubt(api, sender):
    api.faults.append(Fault("sendPhoto", "refuse", code=403, body='{"ok":false,"description":"Forbidden"}'))

    with pytest.raises(Uncertain, match="partly"):
        await sender.send("11", Outgoing("x" * 2000, attachments=attached(1)), callback_data={})


async def test_a_part_at_a_time_goes_out_in_order_and_says_how_many_are_left(api, sender):
    outgoing = Outgoing("x" * 9000, buttons=BUTTONS, attachments=attached(1))

    sent = [await sender.send("11", outgoing, callback_data=CALLBACKS, part=part) for part in range(4)]

    assert methods(api) == ["sendMessage", "sendMessage", "sendMessage", "sendPhoto"]
    assert [one.more for one in sent] == [3, 2, 1, 0]
    assert [bool(one.message_id) for one in sent] == [False, False, True, False]
    assert sent[2].message_id == str(api.sent[2].message.id) and api.sent[2].message.buttons


async def test_when_a_later_part_must_wait_it_is_known_for_how_long_and_nothing_is_said_twice(api, sender):
    outgoing = Outgoing("x" * 2000, attachments=attached(1))
    body = {"ok": False, "error_code": 429, "description": "Too Many Requests", "parameters": {"retry_after": 3000}}
    api.faults.append(Fault("sendPhoto", "refuse", code=429, body=json.dumps(body)))

    await sender.send("11", outgoing, callback_data={}, part=0)
    with pytest.raises(TryLater) as told:
        await sender.send("11", outgoing, callback_data={}, part=1)
    await sender.send("11", outgoing, callback_data={}, part=1)

    assert told.value.delay == timedelta(seconds=3000)
    assert methods(api) == ["sendMessage", "sendPhoto"]


async def test_a_file_that_is_gone_is_refused_before_its_first_part(api, sender):
    outgoing = Outgoing("x" * 2000, attachments=(Attachment("photo", 99),))

    with pytest.raises(Rejected, match="no_media"):
        await sender.send("11", outgoing, callback_data={}, part=0)

    assert api.sent == []


async def test_a_part_says_which_files_it_carries(sender):
    album = Outgoing("x" * 2000, attachments=(*attached(1, 2), *attached(3)))

    albums = sender_with(None)
    assert [albums.files_in(album, part=part, resent=False) for part in range(4)] == [(), (1, 2), (3,), ()]
    assert albums.files_in(Outgoing("x"), part=0, resent=True) == ()


async def test_what_makes_no_message_is_refused_alone(api, sender):
    broken = Outgoing("x", entities=({"type": "bold"},))

    with pytest.raises(Rejected, match="unrenderable"):
        await sender.send("11", broken, callback_data={}, resent=True, part=0)

    assert api.sent == []


async def test_the_mark_of_what_is_sent_again_comes_before_its_place(api, sender):
    await sender.send("11", Outgoing("ở đây", point=Point(16.05, 108.2)), callback_data={}, resent=True)

    assert methods(api) == ["sendMessage", "sendLocation"]
    assert api.sent[0].text == "(gửi lại)\nở đây"


# --- changing what went out ------------------------------------------------------------------------------------


async def test_an_edit_replaces_text_and_buttons_and_may_be_repeated(api, sender):
    sent = await sender.send("11", Outgoing("trước", buttons=BUTTONS), callback_data=CALLBACKS)

    for _ in range(2):
        edited = await sender.edit("11", sent.message_id, Outgoing("sau"), callback_data={})

    assert edited.message_id == sent.message_id
    assert api.sent[0].text == "sau" and not api.sent[0].message.buttons and api.sent[0].message.edits == 1


async def test_an_edit_of_a_file_changes_its_caption(api, sender):
    sent = await sender.send("11", Outgoing("trước", attachments=attached(1)), callback_data={})

    await sender.edit("11", sent.message_id, Outgoing("sau"), callback_data={})

    assert api.sent[0].text == "sau"


async def test_an_edit_without_text_changes_the_buttons_only(api, sender):
    sent = await sender.send("11", Outgoing("còn", buttons=BUTTONS), callback_data=CALLBACKS)

    await sender.edit("11", sent.message_id, Outgoing(""), callback_data={})

    assert api.sent[0].text == "còn" and not api.sent[0].message.buttons


async def test_a_message_that_is_gone_cannot_be_edited_or_deleted(api, sender):
    sent = await sender.send("11", Outgoing("x"), callback_data={})
    await sender.delete("11", sent.message_id)

    with pytest.raises(Rejected, match="message_gone"):
        await sender.edit("11", sent.message_id, Outgoing("y"), callback_data={})
    with pytest.raises(Rejected, match="message_gone"):
        await sender.delete("11", sent.message_id)


async def test_an_edit_whose_answer_is_lost_may_be_repeated(api, sender):
    sent = await sender.send("11", Outgoing("trước"), callback_data={})
    api.faults.append(Fault("editMessageText", "cut"))

    with pytest.raises(TryLater):
        await sender.edit("11", sent.message_id, Outgoing("sau"), callback_data={})
    await sender.edit("11", sent.message_id, Outgoing("sau"), callback_data={})

    assert api.sent[0].text == "sau"


# --- what errors mean ------------------------------------------------------------------------------------------


class Failing:
    """A Bot whose every call ends the same way."""

    base_url = "http://x/bot1:a"

    def __init__(self, ending: Exception | Any) -> None:
        self.request = SimpleNamespace(post=self._post)
        self._ending = ending
        self.data: Any = None

    async def _post(self, _url: str, data: Any) -> Any:
        self.data = data
        if isinstance(self._ending, Exception):
            raise self._ending
        return self._ending


def sender_with(bot: Any, **capabilities: Any) -> Sender:
    return Sender(bot, Capabilities(**capabilities), load_media, lambda _, key: key)


@pytest.mark.parametrize(
    ("error", "meaning", "reason"),
    [
        (RetryAfter(timedelta(seconds=7)), TryLater, "throttled"),
        (NetworkError("Too Many Requests (429)"), TryLater, "throttled"),
        (Forbidden("bot was blocked by the user"), RecipientGone, "forbidden"),
        (BadRequest("Chat not found"), RecipientGone, "chat_gone"),
        (BadRequest("PEER_ID_INVALID"), RecipientGone, "chat_gone"),
        (BadRequest("Input_user_deactivated"), RecipientGone, "chat_gone"),
        (BadRequest("Message text is empty"), Rejected, "bad_request"),
        (ChatMigrated(-1005), Moved, "moved"),
        (InvalidToken("Unauthorized"), ChannelDown, "token_refused"),
        (InvalidToken("Not Found"), ChannelDown, "token_refused"),
        (InvalidToken("Not Found: method not found"), Rejected, "no_such_method"),
        (Conflict("terminated"), ChannelDown, "conflict"),
        (Unreachable("x"), TryLater, "unreachable"),
        (NoAnswer("x"), Uncertain, "no_answer"),
        (TimedOut(), Uncertain, "no_answer"),
        (NetworkError("Bad Gateway (502)"), Uncertain, "no_answer"),
        (KeyError("result"), Uncertain, "no_answer"),
    ],
)
async def test_every_error_has_one_meaning(error, meaning, reason):
    with pytest.raises(meaning) as caught:
        await sender_with(Failing(error)).send("11", Outgoing("x"), callback_data={})

    assert type(caught.value) is meaning and caught.value.reason == reason


async def test_the_wait_and_the_new_address_are_handed_on():
    with pytest.raises(TryLater) as throttled:
        await sender_with(Failing(RetryAfter(timedelta(seconds=7)))).send("11", Outgoing("x"), callback_data={})
    with pytest.raises(Moved) as moved:
        await sender_with(Failing(ChatMigrated(-1005))).send("-5", Outgoing("x"), callback_data={})

    assert throttled.value.delay == timedelta(seconds=7)
    assert moved.value.new_address == "-1005"


async def test_where_nothing_can_be_edited_the_brief_words_are_said():
    bot = Failing({"message_id": 2})

    await sender_with(bot, edits=False).edit("11", "1", Outgoing("cả bài", brief="ngắn"), callback_data={})

    assert bot.data.parameters["text"] == "ngắn"


async def test_gateways_get_parameters_in_every_shape_they_may_ask_for():
    bot = Failing({"message_id": "m1"})

    sent = await sender_with(bot).send("web-1", Outgoing("x", buttons=BUTTONS), callback_data=CALLBACKS)

    assert sent.message_id == "m1"
    assert bot.data.parameters["chat_id"] == "web-1"
    assert json.loads(bot.data.json_payload) == bot.data.parameters
    assert json.loads(bot.data.json_parameters["reply_markup"]) == bot.data.parameters["reply_markup"]
    assert not bot.data.contains_files and bot.data.multipart_data == {}


@pytest.mark.parametrize(
    ("text", "spelt"), [("11", 11), ("-100", -100), ("011", "011"), ("a1", "a1"), ("", ""), ("-", "-"), ("²", "²")]
)
def test_an_id_is_a_number_only_when_nothing_is_lost(text, spelt):
    assert api_id(text) == spelt
