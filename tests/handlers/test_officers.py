"""Officers: administrators from the settings, invitations, revocation; and buttons that are not for you."""

from __future__ import annotations

import re

import pytest

from channels.port import Recipient
from officers.accounts import first_invitation, sync_administrators
from officers.permissions import Role
from tests.worlds import Person, World, phrase


async def invites(chief: Person, name: str = "Nguyễn Văn An", role: str = "role.duty") -> str:
    """An invitation's payload, as the officer gets it."""
    await chief.sends("/canbo")
    await chief.presses("Mời cán bộ")
    await chief.sends(name)
    await chief.presses(phrase(role))
    link = re.search(r"\?start=(\S+)", chief.last.text)
    assert link, chief.transcript()
    return link[1]


async def test_an_invitation_is_confirmed_by_a_second_officer(world):
    chief, second = await world.officer("binh"), await world.officer("chi")
    payload = await invites(chief)
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", payload)
    an = await world.person("an")
    await an.sends(f"/start {payload}")
    an.sees(phrase("invitation.waits"), "Nguyễn Văn An")
    second.sees("Nguyễn Văn An")
    chief.sees_not("Đúng người")
    await an.sends("/truc")
    an.sees(phrase("refused.officers"))
    await second.presses("Đúng người")
    an.sees("Chào đồng chí Nguyễn Văn An")
    await an.sends("/truc")
    an.sees(phrase("duty.empty"))


async def test_the_inviter_confirms_where_there_is_nobody_else(world):
    chief = await world.officer("binh")
    payload = await invites(chief)
    an = await world.person("an")
    await an.sends(f"/start {payload}")
    await chief.presses("Đúng người")
    an.sees("Chào đồng chí Nguyễn Văn An")


async def test_the_wrong_person_gets_nothing(world):
    chief = await world.officer("binh")
    payload = await invites(chief)
    stranger = await world.person("la")
    await stranger.sends(f"/start {payload}")
    await chief.presses("Không phải")
    stranger.sees(phrase("invitation.refused"))
    await stranger.sends("/truc")
    stranger.sees(phrase("refused.officers"))


async def test_an_invitation_works_once(world):
    chief = await world.officer("binh")
    payload = await invites(chief)
    an, late = await world.person("an"), await world.person("muon")
    await an.sends(f"/start {payload}")
    await late.sends(f"/start {payload}")
    late.sees(phrase("invitation.dead"))


async def test_an_invitation_is_answered_once(telegram_world):
    first, second, third = [await telegram_world.officer(name) for name in ("binh", "chi", "dao")]
    payload = await invites(first)
    an = await telegram_world.person("an")
    await an.sends(f"/start {payload}")
    late = await telegram_world.port.gateway.presses(third.chat.address, "Đúng người")
    await second.presses("Không phải")
    await third.acts(lambda: telegram_world.port.arrives(telegram_world.house, late))
    third.sees(phrase("invitation.answered"))
    await an.sends("/truc")
    an.sees(phrase("refused.officers"))


async def test_an_invitation_lives_a_day(world):
    chief = await world.officer("binh")
    payload = await invites(chief)
    an = await world.person("an")
    await world.tick(hours=24)
    await an.sends(f"/start {payload}")
    an.sees(phrase("invitation.dead"))


async def test_an_officer_needs_no_second_invitation(world):
    chief, other = await world.officer("binh"), await world.officer("chi")
    payload = await invites(chief)
    await other.sends(f"/start {payload}")
    other.sees(phrase("invitation.already"))


async def test_a_commander_does_not_make_administrators(world):
    chief = await world.officer("binh", Role.COMMANDER)
    await chief.sends("/canbo")
    await chief.presses("Mời cán bộ")
    await chief.sends("Nguyễn Văn An")
    assert phrase("role.admin") not in chief.last.labels
    await chief.sends(phrase("role.admin"))
    chief.sees_not("?start=")


async def test_the_first_administrator_needs_no_confirmation(world):
    async with world.sessions.begin() as session:
        payload = await first_invitation(session, name="Lê Thị Hoa", now=world.clock())
    hoa = await world.person("hoa")
    await hoa.sends(f"/start {payload}")
    hoa.sees("Chào đồng chí Lê Thị Hoa")
    await hoa.sends("/canbo")
    hoa.sees(phrase("role.admin"))


async def test_revoking_works_with_the_very_next_message(world):
    admin = await world.officer("quan", Role.ADMIN)
    duty = await world.officer("dung", Role.DUTY, on_duty=True)
    lan = await world.person("lan")
    await lan.sends("/baotin")
    await lan.sends("Có trộm")
    await lan.presses("Gửi")
    report = duty.last
    await admin.sends("/canbo")
    await admin.presses("Thu hồi quyền")
    await admin.presses("Dung")
    await admin.presses("Thu hồi")
    admin.sees(phrase("officers.revoked"))
    await duty.sends("/tin")
    duty.sees(phrase("refused.officers"))
    if world.has_buttons:
        await duty.presses_on(report, "Nhận xử lý")
        duty.sees(phrase("refused.officers"))
    await lan.looks()
    await lan.sends("/baotin")
    await lan.sends("Còn nữa")
    await duty.looks()
    await lan.presses("Gửi")
    duty.sees_nothing()
    admin.sees("Còn nữa")


async def test_nobody_revokes_themselves(world):
    admin = await world.officer("quan", Role.ADMIN)
    await world.officer("dung", Role.DUTY)
    await admin.sends("/canbo")
    await admin.presses("Thu hồi quyền")
    assert "Quan" not in admin.last.labels


async def test_administrators_from_the_settings_come_and_go(world):
    lan = await world.person("lan")

    async def settings(*chats: Recipient) -> None:
        async with world.sessions.begin() as session:
            await sync_administrators(session, chats, now=world.clock())

    await settings(lan.chat)
    await lan.sends("/canbo")
    lan.sees(phrase("role.admin"))
    await settings(lan.chat)
    await lan.sends("/canbo")
    assert lan.last.text.count("•") == 1
    await settings()
    await lan.sends("/canbo")
    lan.sees(phrase("refused.officers"))
    await settings(lan.chat)
    await lan.sends("/canbo")
    lan.sees(phrase("role.admin"))


# --- buttons that are not for you ---


async def forges(world: World, person: Person, data: str) -> None:
    """Press something that was never shown to this person."""
    await person.sends("/start")
    raw = await world.port.gateway.presses(person.chat.address, person.last.labels[0], message_id=int(person.last.id))
    raw["callback_query"]["data"] = data
    await person.acts(lambda: world.port.arrives(world.house, raw))


@pytest.mark.parametrize("data", ["report.take", "x" * 22, "AAAAAAAAAAAAAAAAAAAAAA", "\x00", "<b>", "🙂"])
async def test_a_forged_press_is_answered_kindly_and_changes_nothing(telegram_world, data):
    lan = await telegram_world.person("lan")
    await forges(telegram_world, lan, data)
    lan.sees(phrase("button.unknown"))


async def test_somebody_elses_button_is_answered_kindly_and_still_works_for_them(telegram_world):
    officer = await telegram_world.officer("dung", Role.DUTY, on_duty=True)
    lan, thief = await telegram_world.person("lan"), await telegram_world.person("gian")
    await lan.sends("/baotin")
    await lan.sends("Có trộm")
    await lan.presses("Gửi")
    gateway = telegram_world.port.gateway
    stolen = gateway.chats[officer.chat.address][-1].data("Nhận xử lý")
    await lan.looks()
    await forges(telegram_world, thief, stolen)
    thief.sees(phrase("button.unknown"))
    lan.sees_nothing()
    await officer.presses("Nhận xử lý")
    lan.sees(phrase("report.taken"))


async def test_the_web_refuses_a_button_that_is_not_on_the_message(mixed_world):
    lan = await mixed_world.person("lan", on="web")
    await lan.sends("/start")
    answer = await mixed_world.ports["web"].post(
        lan.chat.address, "/api/press", {"message_id": int(lan.last.id), "data": "x" * 22, "nonce": "12345678-1"}
    )
    assert (answer.status_code, answer.json()["code"]) == (409, "old_button")


async def test_a_double_press_acts_once_and_is_answered_kindly(telegram_world):
    lan = await telegram_world.person("lan")
    officer = await telegram_world.officer("dung", Role.DUTY, on_duty=True)
    await lan.sends("/baotin")
    await lan.sends("Có trộm")
    gateway = telegram_world.port.gateway
    twice = [await gateway.presses(lan.chat.address, "Gửi") for _ in range(2)]
    await lan.looks()
    await telegram_world.house.store("telegram", twice)
    await telegram_world.settle()
    for person in (lan, officer):
        await person.refresh()
    assert len([shown for shown in lan.news if "Mã tin" in shown.text]) == 1
    assert len([shown for shown in officer.shown if "Có trộm" in shown.text]) == 1
    assert not telegram_world.incidents


async def test_a_button_sixty_days_old_is_answered_kindly(telegram_world):
    lan = await telegram_world.person("lan")
    await lan.sends("/start")
    old = lan.last
    await telegram_world.tick(days=61)
    await lan.presses_on(old, "Báo tin")
    lan.sees(phrase("button.unknown"))


async def test_every_press_stops_its_spinner(telegram_world):
    lan = await telegram_world.person("lan")
    await lan.sends("/start")
    await lan.presses("Báo tin")
    await telegram_world.house.stop()
    answered = [method for method, _ in telegram_world.port.gateway.calls if method == "answerCallbackQuery"]
    assert len(answered) == 1
    await telegram_world.open()
