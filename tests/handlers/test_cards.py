"""A card that asks several officers closes for all of them once one has decided."""

from __future__ import annotations

import pytest

from officers.permissions import Role
from tests.handlers.test_officers import invites
from tests.worlds import Person, World, phrase

APPLICATION = ("/dangky", "Nhà nghỉ", "Hoa Sen", "12 Phan Đình Phùng", "0912345678", "Đồng ý")


async def applies(world: World) -> Person:
    lan = await world.person("lan")
    for text in APPLICATION:
        await lan.sends(text)
    lan.sees("CS-0001")
    return lan


async def three(world: World) -> list[Person]:
    return [
        await world.officer(name, role)
        for name, role in (("binh", Role.COMMANDER), ("chi", Role.AREA), ("dao", Role.ADMIN))
    ]


def is_closed(officer: Person, *labels: str) -> bool:
    """Whether no card can be pressed any more; where nothing can be taken away, the last word is enough."""
    if not officer.port.has_buttons:
        return True
    return not any(label in shown.labels for shown in officer.shown for label in labels)


async def test_an_approval_closes_the_cards_of_all_others(world):
    binh, chi, dao = await three(world)
    await applies(world)
    for officer in (binh, dao):
        await officer.looks()
    await chi.presses("Duyệt")
    for officer in (binh, dao):
        officer.sees("Chi đã duyệt CS-0001")
        assert len(officer.news) == 1
    for officer in (binh, chi, dao):
        assert is_closed(officer, "Duyệt", "Từ chối")


async def test_the_card_keeps_what_it_was_about(telegram_world):
    binh, chi, _ = await three(telegram_world)
    await applies(telegram_world)
    await chi.presses("Duyệt")
    binh.sees("Hoa Sen", "12 Phan Đình Phùng", "0912 345 678")
    assert len(binh.shown) == 1


async def test_a_rejection_closes_every_card_with_its_reason(world):
    binh, chi, dao = await three(world)
    await applies(world)
    await chi.presses("Từ chối")
    binh.sees_not("từ chối CS-0001")
    await chi.presses(phrase("reject.not_here"))
    for officer in (binh, dao):
        officer.sees("Chi đã từ chối CS-0001", phrase("reject.not_here"))
    for officer in (binh, chi, dao):
        assert is_closed(officer, "Duyệt", "Từ chối")


async def test_cards_shown_again_by_command_close_too(telegram_world):
    binh, chi, _ = await three(telegram_world)
    await applies(telegram_world)
    for _ in range(2):
        await binh.sends("/duyet")
        binh.offers("Duyệt")
    await chi.presses("Duyệt")
    assert is_closed(binh, "Duyệt", "Từ chối")
    await chi.sends("/duyet")
    chi.sees(phrase("approvals.none"))


async def test_the_deciders_other_cards_close_without_another_word(world):
    binh, _, _ = await three(world)
    await applies(world)
    await binh.sends("/duyet")
    await binh.presses("Duyệt")
    said = [shown for shown in binh.news if "đã duyệt" in shown.text]
    assert len(said) == (2 if world.has_buttons else 1)
    assert is_closed(binh, "Duyệt", "Từ chối")


async def test_an_application_taken_back_closes_the_cards(world):
    binh, _, _ = await three(world)
    lan = await applies(world)
    await lan.sends("/coso")
    await lan.presses("Ngừng kết nối")
    await lan.presses("Đồng ý ngừng")
    binh.sees("đã rút đăng ký CS-0001")
    assert is_closed(binh, "Duyệt", "Từ chối")


async def test_other_applications_stay_open(telegram_world):
    binh, chi, _ = await three(telegram_world)
    await applies(telegram_world)
    await chi.presses("Duyệt")
    minh = await telegram_world.person("minh")
    for text in ("/dangky", "Nhà nghỉ", "Hoa Mai", "14 Lê Lợi", "0912345679", "Đồng ý"):
        await minh.sends(text)
    binh.offers("Duyệt")
    await binh.looks()
    await chi.presses("Duyệt")
    binh.sees("CS-0002")
    binh.sees_not("CS-0001")


async def test_who_may_not_decide_any_more_is_told_nothing(telegram_world):
    binh, chi, dao = await three(telegram_world)
    await applies(telegram_world)
    await dao.sends("/canbo")
    await dao.presses("Thu hồi quyền")
    await dao.presses("Binh")
    await dao.presses("Thu hồi")
    await binh.looks()
    await chi.presses("Duyệt")
    binh.sees_nothing()


@pytest.mark.parametrize("answer", ["Đúng người", "Không phải"])
async def test_an_answered_invitation_closes_for_all(world, answer):
    binh, chi, dao = await three(world)
    em = await world.officer("em", Role.COMMANDER)
    payload = await invites(binh)
    an = await world.person("an")
    await an.sends(f"/start {payload}")
    for officer in (dao, em):
        officer.sees("Nguyễn Văn An")
    await em.presses(answer)
    dao.sees("Đồng chí Em xác nhận", "Nguyễn Văn An")
    for officer in (dao, em):
        assert is_closed(officer, "Đúng người", "Không phải")
    chi.sees_nothing()
