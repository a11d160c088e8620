"""An establishment joins: by six messages, by one tap; the officer's yes or no; /coso, /danhba, /riengtu."""

from __future__ import annotations

import re

import pytest

from establishments.facts import EstablishmentState
from officers.permissions import Role
from tests.worlds import phrase

STEPS = [
    ("presses", "Nhà nghỉ"),
    ("sends", "Nhà nghỉ Hoa Sen"),
    ("sends", "12 Phan Đình Phùng"),
    ("sends", "0912 345 678"),
    ("presses", "Khu phố 1"),
    ("presses", "Đồng ý"),
]


async def enrols(lan, steps=STEPS):
    await lan.sends("/dangky")
    for act, what in steps:
        await getattr(lan, act)(what)


@pytest.fixture
async def world_with_area(world):
    await world.make.area("Khu phố 1")
    await world.make.area("Khu phố 2")
    return world


async def test_enrolment_takes_six_messages_by_buttons(world_with_area):
    lan = await world_with_area.person("lan")
    assert len(STEPS) <= 6
    await enrols(lan)
    lan.sees(phrase("enrol.sent"), "Nhà nghỉ Hoa Sen", "CS-0001")


async def test_enrolment_takes_six_messages_by_typing_alone(world_with_area):
    lan = await world_with_area.person("lan")
    officer = await world_with_area.officer("binh")
    await enrols(lan, [("sends", what) for _, what in STEPS])
    lan.sees(phrase("enrol.sent"))
    officer.sees("Nhà nghỉ Hoa Sen", "Loại: Nhà nghỉ", "12 Phan Đình Phùng", "Khu phố 1")


async def test_typed_answers_need_neither_capitals_nor_marks(world_with_area):
    lan = await world_with_area.person("lan")
    await enrols(
        lan,
        [
            ("sends", "nha nghi"),
            ("sends", "Hoa Sen"),
            ("sends", "12 Phan Đình Phùng"),
            ("sends", "+84 912 345 678"),
            ("sends", "khu pho 2"),
            ("sends", "dong y"),
        ],
    )
    lan.sees(phrase("enrol.sent"))


async def test_a_shared_contact_is_the_phone(telegram_world):
    lan = await telegram_world.person("lan")
    await enrols(lan, STEPS[:3])
    await lan.shares_contact("84912345678")
    lan.sees("0912 345 678", phrase("button.agree"))


async def test_somebody_elses_contact_is_not_taken(telegram_world):
    lan = await telegram_world.person("lan")
    await enrols(lan, STEPS[:3])
    await lan.shares_contact("84912345678", of="12345")
    lan.sees(phrase("phone.not_understood"))


async def test_a_wrong_phone_is_asked_again(world_with_area):
    lan = await world_with_area.person("lan")
    await enrols(lan, STEPS[:3])
    await lan.sends("113")
    lan.sees(phrase("phone.not_understood"), phrase("enrol.ask_phone"))
    await lan.sends("0912 345 678")
    lan.sees(phrase("enrol.ask_area"))


async def test_without_consent_nothing_is_kept(world_with_area):
    lan = await world_with_area.person("lan")
    officer = await world_with_area.officer("binh")
    await enrols(lan, [*STEPS[:5], ("presses", "Không đồng ý")])
    lan.sees(phrase("enrol.no_consent"))
    officer.sees_nothing()
    await lan.sends("/coso")
    lan.sees(phrase("place.none"))


async def test_the_same_place_is_not_enrolled_twice_from_one_chat(world_with_area):
    lan = await world_with_area.person("lan")
    officer = await world_with_area.officer("binh")
    await enrols(lan)
    await officer.looks()
    await enrols(lan)
    lan.sees("CS-0001", phrase("enrol.already"))
    officer.sees_nothing()


async def test_the_officers_who_may_decide_are_asked_and_no_others(world_with_area):
    officers = {role: await world_with_area.officer(role, role) for role in Role}
    lan = await world_with_area.person("lan")
    await enrols(lan)
    for role, officer in officers.items():
        if role in (Role.ADMIN, Role.COMMANDER, Role.AREA):
            officer.offers("Duyệt", "Từ chối")
        else:
            officer.sees_nothing()


async def test_approval_reaches_the_owner_and_names_the_officer(world_with_area):
    lan = await world_with_area.person("lan")
    officer = await world_with_area.officer("binh")
    await enrols(lan)
    await officer.presses("Duyệt")
    officer.sees("Binh", "CS-0001")
    assert "Duyệt" not in officer.last.labels
    lan.sees(phrase("enrol.approved"), "Nhà nghỉ Hoa Sen")
    await lan.sends("/coso")
    lan.sees(phrase("place_state.active"))


async def test_the_second_officer_comes_too_late(telegram_world):
    world = telegram_world
    lan = await world.person("lan")
    first, second = await world.officer("binh"), await world.officer("chi", Role.AREA)
    await enrols(lan, [*STEPS[:4], STEPS[5]])
    late = await world.port.gateway.presses(second.chat.address, "Duyệt")
    await first.presses("Duyệt")
    await lan.looks()
    await second.acts(lambda: world.port.arrives(world.house, late))
    second.sees(phrase("place.decided"))
    lan.sees_nothing()


async def test_a_rejection_needs_a_reason_and_the_owner_reads_it(world_with_area):
    lan = await world_with_area.person("lan")
    officer = await world_with_area.officer("binh")
    await enrols(lan)
    await officer.presses("Từ chối")
    officer.sees(phrase("approval.ask_reason"))
    lan.sees_not(phrase("enrol.rejected"))
    await officer.sends("Địa chỉ <không> có thật & sai phường")
    officer.sees(phrase("approval.rejected"))
    lan.sees("Địa chỉ <không> có thật & sai phường")
    await lan.sends("/coso")
    lan.sees(phrase("place_state.rejected"))


async def test_a_rejection_by_a_ready_reason(world_with_area):
    lan = await world_with_area.person("lan")
    officer = await world_with_area.officer("binh")
    await enrols(lan)
    await officer.presses("Từ chối")
    await officer.presses(phrase("reject.not_here"))
    lan.sees(phrase("reject.not_here"))


async def test_a_cancelled_rejection_leaves_the_application_open(world_with_area):
    lan = await world_with_area.person("lan")
    officer, other = await world_with_area.officer("binh"), await world_with_area.officer("chi")
    await enrols(lan)
    await officer.presses("Từ chối")
    await officer.presses("Huỷ")
    officer.sees(phrase("approval.still_open"))
    await other.presses("Duyệt")
    lan.sees(phrase("enrol.approved"))


# --- by link ---


async def invited(world) -> str:
    """The payload an officer gets for a place on the ward's list."""
    officer = await world.officer("binh")
    await world.make.place("Khách sạn Sông Xanh", address="1 Trần Phú", state=EstablishmentState.INVITED)
    await officer.sends("/danhba")
    officer.sees("Khách sạn Sông Xanh", phrase("place_state.invited"))
    await officer.presses(next(label for label in officer.last.labels if label.startswith("Mời")))
    link = re.search(r"\?start=(\S+)", officer.last.text)
    assert link
    return link[1]


async def test_a_places_own_link_is_one_tap(world):
    payload = await invited(world)
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", payload)
    lan = await world.person("lan")
    await lan.sends(f"/start {payload}")
    lan.sees("Khách sạn Sông Xanh", "1 Trần Phú")
    await lan.presses("Đồng ý")
    lan.sees(phrase("enrol.joined"))
    await lan.sends("/coso")
    lan.sees(phrase("place_state.active"))


async def test_a_places_link_works_once(world):
    payload = await invited(world)
    lan, minh = await world.person("lan"), await world.person("minh")
    await lan.sends(f"/start {payload}")
    await minh.sends(f"/start {payload}")
    await lan.presses("Đồng ý")
    await minh.presses("Đồng ý")
    minh.sees(phrase("place.link_dead"))
    await minh.sends(f"/start {payload}")
    minh.sees(phrase("place.link_dead"))
    await minh.sends("/coso")
    minh.sees(phrase("place.none"))


async def test_a_new_link_replaces_the_old_one(world):
    old = await invited(world)
    officer = world.people[0]
    await officer.sends("/danhba")
    await officer.presses(next(label for label in officer.last.labels if label.startswith("Mời")))
    lan = await world.person("lan")
    await lan.sends(f"/start {old}")
    lan.sees(phrase("place.link_dead"))


async def test_a_link_declined_keeps_nothing(world):
    payload = await invited(world)
    lan = await world.person("lan")
    await lan.sends(f"/start {payload}")
    await lan.presses("Không đồng ý")
    lan.sees(phrase("enrol.no_consent"))
    await lan.sends("/coso")
    lan.sees(phrase("place.none"))


# --- afterwards ---


async def test_leaving_asks_once_more(world):
    lan = await world.owner("lan")
    await lan.sends("/coso")
    await lan.presses("Ngừng kết nối")
    await lan.presses("Giữ nguyên")
    lan.sees(phrase("place.stays"))
    await lan.sends("/coso")
    await lan.presses("Ngừng kết nối")
    await lan.presses("Đồng ý ngừng")
    lan.sees("Nhà nghỉ Hoa Mai")
    await lan.sends("/coso")
    lan.sees(phrase("place.none"))


async def test_deleting_ones_data_leaves_every_place(world):
    lan = await world.owner("lan")
    await world.make.place("Karaoke Sao", lan.chat, address="5 Hai Bà Trưng")
    await lan.sends("/riengtu")
    lan.sees("Nhà nghỉ Hoa Mai", "Karaoke Sao")
    await lan.presses("Xoá dữ liệu")
    await lan.presses("Xoá")
    lan.sees(phrase("privacy.deleted"))
    await lan.sends("/coso")
    lan.sees(phrase("place.none"))


async def test_the_directory_finds_by_part_of_name_address_or_code(world):
    officer = await world.officer("binh", Role.DUTY)
    await world.make.place("Nhà nghỉ Hoa Sen", address="12 Phan Đình Phùng")
    await world.make.place("Karaoke Sao", address="5 Hai Bà Trưng")
    for typed in ("hoa sen", "PHAN DINH PHUNG", "CS-0001"):
        await officer.sends(f"/danhba {typed}")
        officer.sees("Nhà nghỉ Hoa Sen")
        officer.sees_not("Karaoke Sao")
    await officer.sends("/danhba không có đâu")
    officer.sees(phrase("directory.nothing"))


async def test_a_duty_officer_sees_the_directory_but_cannot_invite(world):
    officer = await world.officer("binh", Role.DUTY)
    await world.make.place("Khách sạn Sông Xanh", state=EstablishmentState.INVITED)
    await officer.sends("/danhba")
    officer.sees("Khách sạn Sông Xanh")
    assert not officer.last.labels


# --- groups ---


async def test_groups_by_kind_and_area_exist_by_themselves(world):
    officer = await world.officer("binh")
    area = await world.make.area("Khu phố 1")
    await world.make.place("Nhà nghỉ Hoa Sen", area_id=area)
    await officer.sends("/nhom")
    officer.sees("Tất cả cơ sở: 1", "Nhà nghỉ: 1", "Khu phố 1: 1")


async def test_a_hand_picked_group_is_made_by_searching(world):
    officer = await world.officer("binh")
    await world.make.place("Nhà nghỉ Hoa Sen")
    await world.make.place("Nhà nghỉ Hoa Mai")
    await officer.sends("/nhom")
    await officer.presses("Tạo nhóm")
    await officer.sends("Gần bến xe")
    await officer.sends("hoa sen")
    await officer.presses("Nhà nghỉ Hoa Sen (CS-0001)")
    await officer.presses("Xong")
    officer.sees("Gần bến xe", "1 cơ sở")
    await officer.sends("/nhom")
    officer.sees("Gần bến xe: 1")


async def test_two_groups_cannot_have_one_name(world):
    officer = await world.officer("binh")
    for _ in range(2):
        await officer.sends("/nhom")
        await officer.presses("Tạo nhóm")
        await officer.sends("Gần bến xe")
    officer.sees(phrase("group.exists"))
