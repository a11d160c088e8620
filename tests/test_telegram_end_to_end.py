"""The real process against a strict Bot API server on loopback: the five steps, and what goes wrong on the way."""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from typing import Any

import aiohttp
import pytest

from bench.botapi.faults import Fault
from bench.botapi.people import Person
from bench.botapi.server import FakeBotApi
from channels.wording import plain
from tests.processes import BotProcess, running, settings_for, sqlite_url, url_of
from tests.worlds import phrase, picture

ADMIN = 900
SECRET_WORDS = "Có người lạ gõ cửa phòng 203 lúc nửa đêm"
PHONE = "0912 345 678"


@pytest.fixture
async def bot(api, tmp_path):
    async with running(tmp_path, settings_for(api, sqlite_url(tmp_path), admins=str(ADMIN))) as process:
        yield process


async def invites(admin: Person, officer: Person, name: str, role: str, *, confirmed_by: Person) -> None:
    """The administrator invites; the officer opens the link; somebody says that it is the right person."""
    admin.sends("/canbo")
    await admin.sees(phrase("officers.shown"))
    admin.presses(plain("vi", "button.invite"))
    await admin.sees(phrase("officers.ask_name"))
    admin.sends(name)
    await admin.sees(phrase("officers.ask_role"))
    admin.presses(plain("vi", role))
    link = re.search(r"https://t\.me/binhyen_test_bot\?start=(\S+)", (await admin.sees("https://t.me/")).text)
    assert link
    officer.sends(f"/start {link[1]}")
    await officer.sees(phrase("invitation.waits"))
    await confirmed_by.sees(phrase("invitation.confirm"))
    confirmed_by.presses(plain("vi", "button.right_person"))
    await officer.sees(phrase("invitation.accepted"))


async def enrols(owner: Person, officer: Person, name: str) -> None:
    """An owner applies; an officer approves; the owner hears of it."""
    owner.sends("/dangky")
    await owner.sees(phrase("enrol.ask_kind"))
    owner.presses(plain("vi", "kind.guesthouse"))
    await owner.sees(phrase("enrol.ask_name"))
    owner.sends(name)
    await owner.sees("địa chỉ nào")
    owner.sends("12 Phan Đình Phùng")
    await owner.sees(phrase("enrol.ask_phone"))
    owner.shares_contact("+84912345678")
    await owner.sees(phrase("enrol.consent"))
    owner.presses(plain("vi", "button.agree"))
    await owner.sees(phrase("enrol.sent"))
    request = await officer.sees(name)
    officer.presses(plain("vi", "button.approve"), message=request)
    await owner.sees(phrase("enrol.approved"))


async def notifies(officer: Person, text: str, owners: int) -> str:
    """An officer writes to everybody; returns the notice's number."""
    officer.sends("/soan")
    await officer.sees(phrase("compose.ask_text"))
    officer.sends(text)
    await officer.sees(phrase("compose.ask_file"))
    officer.presses(plain("vi", "button.skip"))
    await officer.sees(phrase("compose.ask_audience"))
    officer.presses(f"{plain('vi', 'group.all')} ({owners})")
    await officer.sees(phrase("compose.ask_response"))
    officer.presses(plain("vi", "response.confirm"))
    await officer.sees(phrase("compose.ask_when"))
    officer.presses(plain("vi", "button.send_now"))
    await officer.sees(f"{owners} cơ sở")
    officer.presses(plain("vi", "button.send"))
    shown = await officer.sees("đã gửi tới")
    found = re.search(r"TB-\w+", shown.text)
    assert found
    return found[0]


async def reports(citizen: Person, duty: Person, words: str) -> tuple[str, str]:
    """A citizen reports in words and a picture; the officer on duty takes it. Returns number and receipt code."""
    citizen.sends(words)
    await citizen.sees(phrase("offer.report"))
    citizen.presses(plain("vi", "button.report"))
    await citizen.sees(plain("vi", "report.ready", n=1))
    citizen.sends_photo(picture(exif={0x010F: "Camera of mine"}), "biển số xe")
    await citizen.sees(plain("vi", "report.ready", n=2))
    citizen.presses(plain("vi", "button.send"))
    receipt = await citizen.sees("Mã tin")
    code = re.search(r"\d{4} \d{4} \d{4} \d{4}", receipt.text)
    assert code
    shown = await duty.sees(words)
    assert "biển số xe" in shown.text
    assert [file for message in duty.inbox for file in message.files], "the picture was not forwarded"
    number = re.search(r"T-\w+", shown.text)
    assert number
    duty.presses(plain("vi", "button.take"))
    await duty.sees(phrase("forward.taken"))
    assert number[0] in (await citizen.sees(phrase("report.taken"))).text
    return number[0], code[0]


async def five_steps(api: FakeBotApi) -> None:
    """Enrol, notify, confirm, follow, report and take."""
    admin, commander, duty = api.person(ADMIN), api.person(901, "Bình"), api.person(902, "Dũng")
    lan, hoa, citizen = api.person(911, "Lan"), api.person(912, "Hoa"), api.person(921, "Khách")
    await invites(admin, commander, "Đặng Văn Bình", "role.commander", confirmed_by=admin)
    await invites(admin, duty, "Trần Dũng", "role.duty", confirmed_by=commander)
    await asyncio.gather(enrols(lan, commander, "Nhà nghỉ Hoa Sen"), enrols(hoa, admin, "Khách sạn Bình Minh"))
    await asyncio.gather(_notify(commander, lan, hoa), _report(duty, citizen, api.person(931)))
    assert not any(SECRET_WORDS in message.text for message in commander.inbox + admin.inbox)


async def _notify(commander: Person, lan: Person, hoa: Person) -> None:
    number = await notifies(commander, "Cảnh giác lừa đảo\nKhoá cửa sau 22 giờ.", owners=2)
    for owner in (lan, hoa):
        assert number in (await owner.sees("Khoá cửa sau 22 giờ.")).text
    lan.presses(plain("vi", "button.received"))
    assert "Nhà nghỉ Hoa Sen" in (await lan.sees(phrase("notice.confirmed"))).text
    await commander.sees("đã xác nhận 1", within=15)
    commander.presses(plain("vi", "button.silent"))
    silent = await commander.sees("Khách sạn Bình Minh")
    assert "Nhà nghỉ Hoa Sen" not in silent.text


async def _report(duty: Person, citizen: Person, stranger: Person) -> None:
    duty.sends("/truc")
    await duty.sees(phrase("duty.empty"))
    duty.presses(plain("vi", "button.shift_start"))
    await duty.sees(phrase("duty.started"))
    report, code = await reports(citizen, duty, SECRET_WORDS)
    stranger.sends(f"/tracuu {code}")
    assert report in (await stranger.sees(phrase("track.taken"))).text


def assert_nothing_private(bot: BotProcess, api: FakeBotApi) -> None:
    """Neither token nor secret, nothing anybody wrote and no phone number is in the output."""
    output = bot.output
    for private in (api.token, api.token.partition(":")[2], "s3cret_-", SECRET_WORDS, "phòng 203", "biển số xe"):
        assert private not in output
    digits = re.sub(r"[ .()-]", "", output)
    assert "912345678" not in digits


# --- the five steps -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("webhook", [False, True], ids=["polling", "webhook"])
async def test_the_five_steps(api, tmp_path, webhook):
    settings = settings_for(api, sqlite_url(tmp_path), admins=str(ADMIN), webhook=webhook)

    async with running(tmp_path, settings) as bot:
        await five_steps(api)
        await bot.becomes(ready=True)
        assert await bot.terminates() == 0

    assert bool(api.updates.polls) is not webhook
    assert_nothing_private(bot, api)


async def test_the_five_steps_on_postgresql(api, tmp_path, postgresql_engine):
    async with running(tmp_path, settings_for(api, url_of(postgresql_engine), admins=str(ADMIN))) as bot:
        await five_steps(api)
        assert await bot.terminates() == 0

    assert_nothing_private(bot, api)


# --- strange updates ------------------------------------------------------------------------------------------------


async def test_a_malformed_update_neither_stops_nor_leaks(api, bot):
    lan = api.person(911)
    lan.sends("/trogiup")
    await lan.sees("/baotin")
    broken: list[dict[str, Any]] = [
        {"message": {"text": f"{SECRET_WORDS} {PHONE}", "chat": "nobody", "date": "yesterday"}},
        {
            "message": {
                "message_id": {},
                "chat": {"id": 911},
                "text": [SECRET_WORDS],
                "contact": {"phone_number": PHONE},
            }
        },
        {"callback_query": {"id": None, "from": 7, "data": {"x": SECRET_WORDS}}},
        {"message": None, SECRET_WORDS: PHONE},
        {"something_new": {"text": SECRET_WORDS}},
        {"edited_message": 5},
        {},
    ]

    for number, update in enumerate(broken):
        api.updates.push_raw({"update_id": 800_000_000 + number, **update})
    lan.sends("/khancap")

    await lan.sees("113")
    await bot.becomes(ready=True)
    assert await bot.terminates() == 0
    assert_nothing_private(bot, api)


async def test_the_same_update_acts_once_however_often_it_comes(api, bot):
    lan = api.person(911)
    lan.sends("/khancap")
    await lan.sees("113")

    first = api.updates.push("message", {**api.chats[911][0].api})
    for _ in range(3):
        api.updates.push_raw(first)
    lan.sends("/trogiup")

    await lan.sees("/baotin")
    assert _count("114", lan) == 2


# --- trouble with Telegram ------------------------------------------------------------------------------------------


def _count(words: str, person: Person) -> int:
    return sum(words in message.text for message in person.inbox)


async def _opens_the_page(bot: BotProcess) -> None:
    async with aiohttp.ClientSession() as session, session.get(f"{bot.url}/") as page:
        assert page.status == 200


@pytest.mark.parametrize("kind", ["refuse", "cut_before"])
async def test_telegram_may_be_down_for_a_while(api, bot, kind):
    lan = api.person(911)
    lan.sends("/trogiup")
    await lan.sees("/baotin")
    await bot.becomes(ready=True)

    outage = [Fault(method, kind, times=10**6) for method in ("getUpdates", "getMe", "sendMessage", "deleteWebhook")]
    api.faults += outage
    lan.sends("/khancap")
    api.updates.push_raw({"update_id": 1})  # wakes the poll that is being held
    checks = await bot.becomes(ready=False)
    assert checks["telegram"] != "ok"
    assert checks["database"] == "ok"
    before = len(api.calls)
    await asyncio.sleep(5)
    assert len(api.calls) - before < 20, Counter(method for method, _ in api.calls[before:])
    await _opens_the_page(bot)

    api.faults.clear()
    await lan.sees("113", within=30)
    await bot.becomes(ready=True, within=30)
    assert bot.output.count("telegram_down") == 1


async def test_nothing_is_lost_when_sends_fail_for_a_while(api, bot):
    """Received all the time, sent nothing: what is answered meanwhile arrives afterwards, marked where in doubt."""
    lan, hoa = api.person(911), api.person(912)
    lan.sends("/trogiup")
    await lan.sees("/baotin")
    api.faults += [Fault(method, "refuse", times=10**6) for method in ("sendMessage", "getMe")]

    for number in range(4):
        (lan, hoa)[number % 2].sends("/khancap")
        await asyncio.sleep(0.7)
    assert (await bot.readiness())[0] == 503
    assert sum(method == "sendMessage" for method, _ in api.calls) < 8
    api.faults.clear()

    await api.until(lambda: _count("114", lan) == _count("114", hoa) == 2)
    await bot.becomes(ready=True)


async def test_a_refused_token_is_said_and_not_asked_for_all_the_time(tmp_path, api):
    settings = settings_for(api, sqlite_url(tmp_path), admins=str(ADMIN)) | {"BOT_TOKEN": "987654321:not-this-one"}

    async with running(tmp_path, settings) as bot:
        await bot.says("token_refused")
        await asyncio.sleep(3)
        status, checks = await bot.readiness()
        await _opens_the_page(bot)
        assert await bot.terminates() == 0

    assert (status, checks["telegram"]) == (503, "token_refused")
    assert "987654321:not-this-one" not in bot.output
    assert len(bot.output.splitlines()) < 40


async def test_who_blocked_us_is_undeliverable_and_named(api, bot):
    admin, lan, hoa = api.person(ADMIN), api.person(911), api.person(912)
    await enrols(lan, admin, "Nhà nghỉ Hoa Sen")
    await enrols(hoa, admin, "Khách sạn Bình Minh")
    api.gate.blocked.add(912)

    await notifies(admin, "Cảnh giác lừa đảo", owners=2)

    await lan.sees("Cảnh giác lừa đảo")
    await admin.sees("đã gửi tới 1/2", within=15)
    admin.presses(plain("vi", "button.silent"))
    shown = await admin.sees("Khách sạn Bình Minh")
    assert phrase("silent.blocked") in shown.text


async def test_retry_after_is_obeyed_exactly(api, bot):
    lan, hoa = api.person(911), api.person(912)
    lan.sends("/trogiup")
    await lan.sees("/baotin")
    api.sent.clear()
    api.calls.clear()
    api.faults.append(
        Fault(
            "sendMessage",
            "refuse",
            chat_id=911,
            code=429,
            body='{"ok":false,"error_code":429,"description":"Too Many Requests: retry after 3",'
            '"parameters":{"retry_after":3}}',
        )
    )

    lan.sends("/khancap")
    await api.until(lambda: not api.faults)
    refused_at = time.monotonic()
    await asyncio.sleep(0.5)
    hoa.sends("/khancap")
    await lan.sees("113")
    await hoa.sees("113")

    at = {sending.chat_id: sending.at - refused_at for sending in api.sent}
    assert 3.0 <= at[911] < 4.0
    assert at[912] < 2.0, "a limit of one chat must not hold up another"
    assert sum(method == "sendMessage" and call["chat_id"] == 911 for method, call in api.calls) == 2
