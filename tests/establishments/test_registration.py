"""Establishments at the use cases: applying, deciding, joining by link, leaving, finding, groups; on both databases."""

from __future__ import annotations

import asyncio
import re

import pytest
from sqlalchemy import select

from channels.port import Recipient
from db.tables.deliveries import Delivery
from db.tables.establishments import Contact, ContactRole, Establishment, EstablishmentState, Kind, StateChange
from establishments.facts import Application
from establishments.groups import add_member, group_choices, group_name, make_group, members, rename_group
from establishments.messages import group_named
from establishments.registration import (
    add_contact,
    apply_for,
    decide,
    find_places,
    invite_place,
    join_by_link,
    leave,
    place_for,
    places_of,
    set_blocked,
    short_text,
)
from officers.permissions import Role
from texts.refusal import Refusal
from unit.areas import add_area, area_name, present_areas

LAN, MINH, BINH, CHI = (Recipient("memory", name) for name in ("lan", "minh", "binh", "chi"))
HOA_SEN = Application(Kind.GUESTHOUSE, "Nhà nghỉ Hoa Sen", "12 Phan Đình Phùng", "+84912345678", None)


@pytest.fixture
def apply(sessions, now):
    async def apply(application: Application = HOA_SEN, by: Recipient = LAN) -> int:
        async with sessions.begin() as session:
            return (await apply_for(session, application, by=by, language="vi", now=now)).id

    return apply


@pytest.fixture
def all_of(sessions):
    async def all_of(table) -> list:
        async with sessions.reading() as session:
            return list(await session.scalars(select(table)))

    return all_of


async def refusal(sessions, step) -> str:
    with pytest.raises(Refusal) as told:
        async with sessions.begin() as session:
            await step(session)
    return told.value.key


async def test_an_application_waits_with_its_consent_and_history(apply, all_of, make, now):
    await make.officer(BINH)
    await apply()
    (place,) = await all_of(Establishment)
    assert (place.state, place.code, place.consented_at) == (EstablishmentState.PENDING, "CS-0001", now)
    assert [change.state for change in await all_of(StateChange)] == [EstablishmentState.PENDING]
    assert [(one.address, one.role) for one in await all_of(Contact)] == [("lan", ContactRole.OWNER)]
    assert [row.address for row in await all_of(Delivery)] == ["binh"]


async def test_the_same_application_from_one_chat_is_refused_and_from_another_is_not(apply, sessions, now):
    await apply()
    again = Application(Kind.HOTEL, "NHÀ NGHỈ  HOA SEN", "12 phan dinh phung", None, None)
    assert await refusal(sessions, lambda s: apply_for(s, again, by=LAN, language="vi", now=now)) == "enrol.already"
    await apply(by=MINH)


@pytest.mark.parametrize("approve", [True, False])
async def test_two_officers_deciding_at_once_and_one_of_them_decides(apply, sessions, make, now, all_of, approve):
    officers = [await make.officer(chat) for chat in (BINH, CHI)]
    which = await apply()

    async def decides(actor):
        async with sessions.begin() as session:
            await decide(session, actor, which, approve=approve, reason="vì thế", now=now)

    results = await asyncio.gather(*(decides(actor) for actor in officers), return_exceptions=True)
    (refused,) = [result for result in results if isinstance(result, Refusal)]
    assert refused.key == "place.decided"
    (place,) = await all_of(Establishment)
    assert place.state is (EstablishmentState.ACTIVE if approve else EstablishmentState.REJECTED)
    assert len([row for row in await all_of(Delivery) if row.address == "lan"]) == 1


@pytest.mark.parametrize("role", [Role.DUTY, Role.FRONT])
async def test_who_may_not_decide_is_refused(apply, sessions, make, now, role):
    actor = await make.officer(BINH, role)
    which = await apply()
    assert await refusal(sessions, lambda s: decide(s, actor, which, approve=True, now=now)) == "refused.role"
    assert await refusal(sessions, lambda s: invite_place(s, actor, which)) == "refused.role"


# --- links ---


async def invited(sessions, make) -> tuple[int, str]:
    officer = await make.officer(BINH)
    which = await make.place("Sông Xanh", state=EstablishmentState.INVITED)
    async with sessions.begin() as session:
        return which, await invite_place(session, officer, which)


async def test_a_link_is_kept_as_a_hash_and_holds_nothing(sessions, make, all_of):
    which, payload = await invited(sessions, make)
    assert re.fullmatch(r"[A-Za-z0-9_-]{16,64}", payload)
    (place,) = await all_of(Establishment)
    assert place.id == which and payload not in place.invite_hash


async def test_two_who_open_a_link_at_once_and_one_of_them_joins(sessions, make, now, all_of):
    _, payload = await invited(sessions, make)

    async def joins(chat):
        async with sessions.begin() as session:
            await join_by_link(session, payload, by=chat, now=now)

    results = await asyncio.gather(joins(LAN), joins(MINH), return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["NoneType", "Refusal"]
    assert len(await all_of(Contact)) == 1


@pytest.mark.parametrize("state", [EstablishmentState.SUSPENDED, EstablishmentState.REJECTED])
async def test_a_link_to_a_place_set_aside_is_dead(sessions, make, state):
    which, payload = await invited(sessions, make)
    async with sessions.begin() as session:
        (await session.get_one(Establishment, which)).state = state
    assert await refusal(sessions, lambda s: place_for(s, payload)) == "place.link_dead"


@pytest.mark.parametrize("payload", ["", "c", "c\x00", "cAAAAAAAAAAAAAAAAAAAAAAAA"])
async def test_a_link_nobody_made_is_dead(sessions, make, payload):
    await invited(sessions, make)
    assert await refusal(sessions, lambda s: place_for(s, payload)) == "place.link_dead"


# --- contacts ---


async def test_the_last_contact_to_leave_takes_the_place_along(sessions, make, now, all_of):
    which = await make.place("Hoa Sen", LAN, MINH)
    async with sessions.begin() as session:
        assert (await leave(session, LAN, which, now=now)).state is EstablishmentState.ACTIVE
        assert (await leave(session, MINH, which, now=now)).state is EstablishmentState.LEFT
    assert await refusal(sessions, lambda s: leave(s, LAN, which, now=now)) == "place.unknown"


async def test_a_contact_added_twice_is_one(sessions, make, now, all_of):
    which = await make.place("Hoa Sen", LAN)
    async with sessions.begin() as session:
        await add_contact(session, which, LAN, role=ContactRole.NIGHT, now=now)
        await add_contact(session, which, MINH, role=ContactRole.NIGHT, now=now)
    assert [(one.address, one.role) for one in await all_of(Contact)] == [
        ("lan", ContactRole.OWNER),
        ("minh", ContactRole.NIGHT),
    ]


async def test_a_block_is_remembered_and_lifted_for_every_place(sessions, make, now, all_of):
    await make.place("Hoa Sen", LAN)
    await make.place("Hoa Mai", LAN, address="2 Lê Lợi")
    for blocked in (True, False):
        async with sessions.begin() as session:
            await set_blocked(session, LAN, blocked=blocked, now=now)
        assert {one.blocked_at is not None for one in await all_of(Contact)} == {blocked}


async def test_one_chat_may_speak_for_several_places(sessions, make):
    await make.place("Hoa Sen", LAN)
    await make.place("Hoa Mai", LAN, address="2 Lê Lợi")
    async with sessions.reading() as session:
        assert [place.name for place in await places_of(session, LAN)] == ["Hoa Sen", "Hoa Mai"]
        assert await places_of(session, Recipient("telegram", "lan")) == []


# --- finding ---


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("hoa", ["Hoa Sen", "Hoa Mai"]),
        ("HOA SÈN", ["Hoa Sen"]),
        ("le loi", ["Hoa Sen", "Hoa Mai"]),
        ("cs-0002", ["Hoa Mai"]),
        ("%", []),
        ("_", []),
        ("a\x00b", []),
        ("' OR 1=1 --", []),
        ("cs-99999999999999999999", []),
    ],
)
async def test_places_are_found_by_what_is_typed(sessions, make, typed, found):
    officer = await make.officer(BINH)
    await make.place("Hoa Sen", address="1 Lê Lợi")
    await make.place("Hoa Mai", address="2 Lê Lợi")
    async with sessions.reading() as session:
        assert [place.name for place in await find_places(session, officer, typed)] == found


async def test_without_words_those_not_yet_connected_are_found(sessions, make):
    officer = await make.officer(BINH)
    await make.place("Hoa Sen", LAN)
    await make.place("Hoa Mai", state=EstablishmentState.INVITED)
    async with sessions.reading() as session:
        assert [place.name for place in await find_places(session, officer)] == ["Hoa Mai"]


@pytest.mark.parametrize("text", ["", "  ", "\u200b\u2060", "\x00", "\u3164"])
def test_a_line_that_says_nothing_is_refused(text):
    with pytest.raises(Refusal):
        short_text(text, limit=10)


def test_a_line_is_cleaned_and_kept_to_one():
    assert short_text(" Hoa\n  Sen\t\x00 \u202e", limit=10) == "Hoa Sen"
    with pytest.raises(Refusal):
        short_text("x" * 11, limit=10)


# --- areas and groups ---


async def test_an_area_of_the_same_name_is_the_same_area(sessions):
    async with sessions.begin() as session:
        first = await add_area(session, "Khu phố 1")
        assert (await add_area(session, "KHU PHỐ  1")).id == first.id
        child = await add_area(session, "Khu phố 1", parent_id=first.id)
        assert child.id != first.id
        assert await area_name(session, first.id) == "Khu phố 1"
        assert await area_name(session, None) == ""


async def test_an_area_that_was_merged_is_not_offered(sessions):
    async with sessions.begin() as session:
        old, new = await add_area(session, "Khu phố 1"), await add_area(session, "Khu phố 2")
        old.successor_id = new.id
        await session.flush()
        assert [area.id for area in await present_areas(session)] == [new.id]


async def test_groups_that_exist_by_themselves_follow_the_list(sessions, make):
    area = await make.area("Khu phố 1")
    await make.place("Hoa Sen", LAN, area_id=area)
    await make.place("Sông Xanh", kind=Kind.HOTEL, address="2", state=EstablishmentState.INVITED)
    for number, state in enumerate((EstablishmentState.PENDING, EstablishmentState.LEFT, EstablishmentState.REJECTED)):
        await make.place(f"Không {number}", address=f"{number}x", state=state, area_id=area)
    async with sessions.reading() as session:
        sizes = {choice.key: choice.size for choice in await group_choices(session)}
        assert sizes == {"all": 2, "kind:guesthouse": 1, "kind:hotel": 1, f"area:{area}": 1}
        for key, size in sizes.items():
            assert len(await members(session, key)) == size
            assert group_named(key, await group_name(session, key), "vi")


async def test_members_of_several_groups_are_named_once_in_order(sessions, make):
    area = await make.area("Khu phố 1")
    await make.place("Hoa Sen", area_id=area)
    await make.place("An Bình", address="2")
    async with sessions.reading() as session:
        assert [member.name for member in await members(session, f"kind:guesthouse,area:{area},all")] == [
            "An Bình",
            "Hoa Sen",
        ]


async def test_a_hand_picked_group_has_a_name_of_its_own(sessions, make, now):
    officer = await make.officer(BINH)
    place = await make.place("Hoa Sen")
    async with sessions.begin() as session:
        group = await make_group(session, officer, name="Ven sông", establishment_ids=[place, place], now=now)
        other = await make_group(session, officer, name="Bến xe", now=now)
    async with sessions.begin() as session:
        assert [member.name for member in await members(session, f"group:{group.id}")] == ["Hoa Sen"]
        assert (await rename_group(session, officer, group.id, name="Ven Sông")).name == "Ven Sông"
    assert await refusal(sessions, lambda s: make_group(s, officer, name="VEN SONG", now=now)) == "group.exists"
    assert await refusal(sessions, lambda s: rename_group(s, officer, other.id, name="ven sông")) == "group.exists"
    assert await refusal(sessions, lambda s: add_member(s, officer, group.id, 999)) == "place.unknown"


async def test_who_may_not_make_groups_is_refused(sessions, make, now):
    duty = await make.officer(BINH, Role.DUTY)
    assert await refusal(sessions, lambda s: make_group(s, duty, name="x", now=now)) == "refused.role"


async def test_a_group_nobody_knows_is_a_mistake_of_ours(sessions):
    async with sessions.reading() as session:
        with pytest.raises(ValueError, match="not a group"):
            await members(session, "nonsense")
