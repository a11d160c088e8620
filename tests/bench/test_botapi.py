"""The fake Bot API refuses what Telegram refuses, breaks as networks break, and has people who see what is shown."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest

from bench.botapi.faults import Fault
from bench.botapi.files import Uploads
from bench.botapi.refusals import NOT_MODIFIED, Refused, bad, too_many
from bench.botapi.server import FakeBotApi
from bench.botapi.telegram import Telegram

LAN, NOBODY, GROUP = 11, 12, -100200


@pytest.fixture
def telegram() -> Telegram:
    """Telegram, and one person who has written."""
    telegram = Telegram(rate=None, known_only=True)
    telegram.arrives(LAN, {"id": LAN}, {"text": "/start"})
    return telegram


async def refusal(telegram: Telegram, method: str, uploads: Uploads | None = None, **more: Any):
    """What a call is refused with."""
    with pytest.raises(Refused) as refused:
        await telegram.call(method, {"chat_id": LAN, **more}, uploads or {})
    return refused.value.code, refused.value.body["description"].removeprefix("Bad Request: ")


def keyboard(*buttons: dict[str, Any]) -> dict[str, Any]:
    return {"inline_keyboard": [[button] for button in buttons]}


def button(**more: Any) -> dict[str, Any]:
    return {"text": "Đã nhận", **more}


# --- texts and entities ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["x" * 4096, "😀" * 2048, f"<b>{'x' * 4000}</b>{'&amp;' * 96}"])
async def test_a_text_is_as_long_as_it_is_shown(telegram, text):
    sent = await telegram.call("sendMessage", {"chat_id": LAN, "text": text, "parse_mode": "HTML"}, {})

    assert len(sent["text"].encode("utf-16-le")) == 2 * 4096


@pytest.mark.parametrize("text", ["x" * 4097, "😀" * 2048 + "x", f"<b>{'x' * 4000}</b>{'&amp;' * 97}"])
async def test_a_text_that_is_shown_longer_is_refused(telegram, text):
    assert await refusal(telegram, "sendMessage", text=text, parse_mode="HTML") == (400, "message is too long")


@pytest.mark.parametrize("text", [None, "", " \n "])
async def test_a_text_with_nothing_in_it_is_refused(telegram, text):
    assert await refusal(telegram, "sendMessage", text=text) == (400, "message text is empty")


async def test_a_caption_is_shorter_than_a_text(telegram):
    photo = {"photo": ("a.jpg", b"photo")}

    await telegram.call("sendPhoto", {"chat_id": LAN, "caption": "x" * 1024}, photo)

    refused = await refusal(telegram, "sendPhoto", photo, caption="x" * 1025)
    assert refused == (400, "message caption is too long")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("<b>đậm", "Can't find end tag"),
        ("<b><i>x</b></i>", "Unmatched end tag"),
        ("đậm</b>", "Unmatched end tag"),
        ("<h1>x</h1>", 'Unsupported start tag "h1"'),
    ],
)
async def test_broken_markup_is_refused(telegram, text, why):
    refused = await refusal(telegram, "sendMessage", text=text, parse_mode="HTML")
    assert refused == (400, f"can't parse entities: {why}")


@pytest.mark.parametrize(("offset", "length"), [(-1, 2), (0, 0), (0, 4), (3, 1), (2, 2)])
async def test_an_entity_beyond_the_text_is_refused(telegram, offset, length):
    entity = {"type": "bold", "offset": offset, "length": length}

    refused = await refusal(telegram, "sendMessage", text="abc", entities=[entity])

    assert refused == (400, "can't parse entities: entity is out of the text")


async def test_entities_are_counted_as_telegram_counts_them(telegram):
    sent = await telegram.call("sendMessage", {"chat_id": LAN, "text": "😀<b>a</b>", "parse_mode": "HTML"}, {})

    assert sent["entities"] == [{"type": "bold", "offset": 2, "length": 1}]


# --- buttons --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("markup", "why"),
    [
        (keyboard(*[button(callback_data="x")] * 101), "reply markup is too long"),
        (keyboard(button(callback_data="x" * 65)), "BUTTON_DATA_INVALID"),
        (keyboard(button(callback_data="đ" * 33)), "BUTTON_DATA_INVALID"),
        (keyboard(button(callback_data="")), "BUTTON_DATA_INVALID"),
        (keyboard(button(url="javascript:alert(1)")), "BUTTON_URL_INVALID"),
        (keyboard(button()), "BUTTON_TYPE_INVALID"),
        (keyboard({"text": " ", "callback_data": "x"}), "text buttons are unallowed in the inline keyboard"),
        ("no object", "object expected as reply markup"),
    ],
)
async def test_buttons_that_cannot_be_are_refused(telegram, markup, why):
    assert await refusal(telegram, "sendMessage", text="x", reply_markup=markup) == (400, why)


async def test_a_hundred_buttons_with_sixty_four_bytes_each_are_taken(telegram):
    markup = keyboard(*[button(callback_data="đ" * 32)] * 100)

    sent = await telegram.call("sendMessage", {"chat_id": LAN, "text": "x", "reply_markup": markup}, {})

    assert len(sent["reply_markup"]["inline_keyboard"]) == 100


async def test_a_press_is_answered_once_and_shortly(telegram):
    telegram.asks({"id": "7"})

    assert (await refusal(telegram, "answerCallbackQuery", callback_query_id="7", text="x" * 201))[0] == 400
    await telegram.call("answerCallbackQuery", {"callback_query_id": "7"}, {})

    assert "query is too old" in (await refusal(telegram, "answerCallbackQuery", callback_query_id="7"))[1]


# --- chats ----------------------------------------------------------------------------------------------------------


async def test_nobody_is_written_to_who_never_wrote(telegram):
    assert await refusal(telegram, "sendMessage", chat_id=NOBODY, text="x") == (400, "chat not found")
    assert await refusal(telegram, "sendMessage", chat_id="", text="x") == (400, "chat_id is empty")


async def test_who_blocked_the_bot_is_not_written_to_until_they_let_it():
    api = FakeBotApi()
    lan = api.person(LAN)

    lan.blocks()
    assert await refusal(api, "sendMessage", text="x") == (403, "Forbidden: bot was blocked by the user")
    lan.unblocks()
    await api.call("sendMessage", {"chat_id": LAN, "text": "x"}, {})

    assert [update["my_chat_member"]["new_chat_member"]["status"] for update in api.updates.waiting] == [
        "kicked",
        "member",
    ]


async def test_a_group_that_moved_says_where_to(telegram):
    telegram.gate.migrated[LAN] = GROUP

    with pytest.raises(Refused) as refused:
        await telegram.call("sendMessage", {"chat_id": LAN, "text": "x"}, {})

    assert refused.value.body["parameters"] == {"migrate_to_chat_id": GROUP}


@pytest.mark.parametrize("limits", [{"rate": 2}, {"rate": None, "chat_rate": 2}])
async def test_what_comes_too_fast_is_told_when_to_come_back(limits):
    telegram = Telegram(**limits)
    for _ in range(2):
        await telegram.call("sendMessage", {"chat_id": LAN, "text": "x"}, {})

    assert await refusal(telegram, "sendMessage", text="x") == (429, "Too Many Requests: retry after 1")
    assert telegram.gate.refused == 1


async def test_a_group_has_its_minute_and_an_album_counts_each_file():
    telegram = Telegram(rate=None, group_rate=3)
    files = {"a": ("a.jpg", b"a"), "b": ("b.jpg", b"b")}
    album = {"chat_id": GROUP, "media": [{"type": "photo", "media": f"attach://{name}"} for name in files]}

    await telegram.call("sendMediaGroup", album, files)
    with pytest.raises(Refused) as refused:
        await telegram.call("sendMediaGroup", album, files)

    assert refused.value.body["parameters"] == {"retry_after": 60}


# --- edits ----------------------------------------------------------------------------------------------------------


async def test_an_edit_that_changes_nothing_is_refused_as_not_modified(telegram):
    shown: dict[str, Any] = {"text": "x", "reply_markup": keyboard(button(callback_data="a"))}
    sent = await telegram.call("sendMessage", {"chat_id": LAN, **shown}, {})
    message_id = sent["message_id"]

    refused = await refusal(telegram, "editMessageText", message_id=message_id, **shown)
    assert refused == (400, NOT_MODIFIED)
    await telegram.call("editMessageText", {"chat_id": LAN, "message_id": message_id, "text": "x"}, {})

    assert telegram.sent[0].message.history == ["x", "x"] and not telegram.sent[0].message.buttons


@pytest.mark.parametrize(
    ("message_id", "method", "why"),
    [
        (1, "editMessageText", "message can't be edited"),
        (99, "editMessageText", "message to edit not found"),
        (99, "deleteMessage", "message to delete not found"),
    ],
)
async def test_only_messages_of_the_bots_own_that_are_there_change(telegram, message_id, method, why):
    assert await refusal(telegram, method, message_id=message_id, text="x") == (400, why)


# --- files ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reference", "why"),
    [
        ("attach://other", "there is no photo in the request"),
        ("attach://empty", "file must be non-empty"),
        ("photo-nobody-has", "wrong file identifier/HTTP URL specified"),
    ],
)
async def test_a_file_that_is_not_there_is_refused(telegram, reference, why):
    assert await refusal(telegram, "sendPhoto", {"empty": ("a", b"")}, photo=reference) == (400, why)


async def test_a_kept_file_is_sent_again_as_what_it_is(telegram):
    file_id = telegram.files.keep("photo", b"photo")

    await telegram.call("sendPhoto", {"chat_id": LAN, "photo": file_id}, {})

    assert telegram.sent[0].message.files == [b"photo"]
    assert (await refusal(telegram, "sendDocument", document=file_id))[1].startswith("wrong file identifier")


@pytest.mark.parametrize(
    ("kinds", "why"),
    [
        (["photo"], "wrong number of media in an album"),
        (["photo"] * 11, "wrong number of media in an album"),
        (["photo", "document"], "documents can't be mixed with other media types"),
    ],
)
async def test_an_album_has_two_to_ten_of_a_kind(telegram, kinds, why):
    media = [{"type": kind, "media": "attach://a"} for kind in kinds]

    assert await refusal(telegram, "sendMediaGroup", {"a": ("a", b"a")}, media=media) == (400, why)


# --- commands and methods -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("commands", "why"),
    [
        ([("Start", "x")], "BOT_COMMAND_INVALID"),
        ([("start", "")], "BOT_COMMAND_INVALID"),
        ([("start", "x")] * 101, "BOT_COMMANDS_TOO_MUCH"),
    ],
)
async def test_menus_that_cannot_be_are_refused(telegram, commands, why):
    menu = [{"command": name, "description": description} for name, description in commands]

    assert await refusal(telegram, "setMyCommands", commands=menu) == (400, why)


async def test_a_method_nobody_knows_is_not_found(telegram):
    assert await refusal(telegram, "sendGreetings") == (404, "Not Found")


# --- updates --------------------------------------------------------------------------------------------------------


async def test_updates_come_again_until_they_are_confirmed(telegram):
    (first,) = await telegram.call("getUpdates", {}, {})

    assert await telegram.call("getUpdates", {}, {}) == [first]
    assert await telegram.call("getUpdates", {"offset": first["update_id"] + 1}, {}) == []


async def test_of_two_who_poll_the_later_one_is_answered():
    telegram = Telegram()
    earlier = asyncio.create_task(telegram.call("getUpdates", {"timeout": 9}, {}))
    await telegram.until(lambda: telegram.updates.polls)

    later = asyncio.create_task(telegram.call("getUpdates", {"timeout": 9}, {}))
    with pytest.raises(Refused, match="terminated by other getUpdates request"):
        await earlier
    telegram.updates.push("message", {"text": "x"})

    assert len(await later) == 1


async def test_nobody_polls_while_there_is_a_webhook(telegram):
    await telegram.call("setWebhook", {"url": "http://127.0.0.1:9/"}, {})

    assert (await refusal(telegram, "getUpdates"))[0] == 409
    telegram.updates.stop()


# --- over the wire --------------------------------------------------------------------------------------------------


async def post(api: FakeBotApi, method: str, *, token: str | None = None, **parameters: Any) -> tuple[int, str]:
    """Call it as a bot does; status and body."""
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{api.url}/bot{token or api.token}/{method}", json=parameters) as answer,
    ):
        return answer.status, await answer.text()


@pytest.mark.parametrize(("token", "status"), [("1:other", 401), ("nonsense", 404)])
async def test_another_token_is_refused(api, token, status):
    assert (await post(api, "getMe", token=token))[0] == status


@pytest.mark.parametrize(
    ("kind", "is_done"), [("refuse", False), ("cut_before", False), ("cut", True), ("garbage", True)]
)
async def test_a_fault_meets_as_many_calls_as_it_says_and_only_those_it_means(api, kind, is_done):
    api.faults.append(Fault("sendMessage", kind, chat_id=LAN))

    await post(api, "sendMessage", chat_id=NOBODY, text="x")
    try:
        status, body = await post(api, "sendMessage", chat_id=LAN, text="x")
    except aiohttp.ClientError:
        assert kind in ("cut", "cut_before")
    else:
        assert (status, "JSON" in body) == ((200, True) if kind == "garbage" else (502, False))

    assert [sending.chat_id for sending in api.sent] == [NOBODY, LAN][: 1 + is_done]
    assert not api.faults
    assert (await post(api, "sendMessage", chat_id=LAN, text="x"))[0] == 200


async def test_an_answer_that_hangs_is_about_something_that_was_done(api):
    api.faults.append(Fault("sendMessage", "hang"))

    calling = asyncio.create_task(post(api, "sendMessage", chat_id=LAN, text="x"))
    await api.until(lambda: api.sent)

    assert not calling.done()
    calling.cancel()


async def test_a_fault_may_be_a_refusal_in_telegrams_own_words(api):
    api.faults.append(Fault.refusing("sendMessage", too_many(2.5)))

    status, body = await post(api, "sendMessage", chat_id=LAN, text="x")

    assert status == 429 and '"retry_after": 3' in body
    assert bad("x").body["error_code"] == 400


async def test_what_has_left_is_carried_out_when_whoever_sent_it_is_gone():
    async with FakeBotApi(travels=lambda method: 0.05) as api:
        calling = asyncio.create_task(post(api, "sendMessage", chat_id=LAN, text="x"))
        await api.until(lambda: api.calls)
        calling.cancel()

        await api.until(lambda: api.sent, within=5)


async def test_people_see_what_is_new_since_they_did_something(api):
    lan = api.person(LAN)
    await post(api, "sendMessage", chat_id=LAN, text="trước")
    lan.sends("/trogiup")
    await post(api, "sendMessage", chat_id=LAN, text="sau", reply_markup=keyboard(button(callback_data="a")))

    assert (await lan.sees("sau")).data("Đã nhận") == "a"
    with pytest.raises(AssertionError, match="does not see 'trước'"):
        await lan.sees("trước", within=0)
    lan.presses("Đã nhận")

    assert api.updates.waiting[-1]["callback_query"]["data"] == "a"
    with pytest.raises(AssertionError, match="there is: \\['Đã nhận'\\]"):
        lan.presses("Huỷ")
