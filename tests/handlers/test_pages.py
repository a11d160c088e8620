"""With hundreds of everything no list is a wall: each is parted into pages, and everything on it can be reached."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from broadcasts.facts import Draft, Response
from broadcasts.notices import schedule_notice
from channels.port import Recipient
from db.engine import Sessions
from db.tables.establishments import Area, Contact, ContactRole, Establishment, EstablishmentState, Group, Kind
from db.tables.officers import Officer, OfficerChat, Shift
from establishments.groups import add_member, make_group
from handlers.paging import SIZE, page_at
from officers.permissions import Role
from reports.intake import add_text, keep_unfinished, open_report
from tests.conftest import KEYS
from tests.worlds import KINDS, Clock, Person, Shown, World, open_world, phrase
from texts.folding import fold

#: More than any platform takes buttons; where one channel is as good as another, and where each is walked.
MANY, SOME = 120, 25
MOST_BUTTONS = SIZE + 6


@dataclass
class Ward:
    """A world with `size` of everything, its administrator, and an owner who speaks for every establishment."""

    world: World
    size: int
    admin: Person
    owner: Person


@pytest.fixture(params=[(MANY, "telegram"), *[(SOME, kind) for kind in KINDS]], ids=lambda pair: f"{pair[1]}-{pair[0]}")
async def ward(request: pytest.FixtureRequest, sqlite_engine: AsyncEngine, clock: Clock) -> AsyncIterator[Ward]:
    size, kind = request.param
    async with open_world(Sessions(sqlite_engine, KEYS), clock, [kind]) as world:
        await has_reports(world, size)
        admin = await world.officer("quan", Role.ADMIN)
        owner = await world.person("lan")
        await has_places(world, size, owner.chat)
        await has_officers(world, size)
        await has_groups_and_notices(world, size, admin)
        yield Ward(world, size, admin, owner)


@pytest.fixture
async def telegram_ward(sqlite_engine: AsyncEngine, clock: Clock) -> AsyncIterator[Ward]:
    async with open_world(Sessions(sqlite_engine, KEYS), clock, ["telegram"]) as world:
        admin = await world.officer("quan", Role.ADMIN)
        owner = await world.person("lan")
        await has_places(world, SOME, owner.chat)
        await has_officers(world, SOME)
        yield Ward(world, SOME, admin, owner)


async def has_reports(world: World, size: int) -> None:
    """Nobody is there yet who would be sent them."""
    now = world.clock()
    async with world.sessions.begin() as session:
        for which in range(size):
            report = await open_report(
                session, chat=Recipient("mail", f"u-{which}@ward.example"), language="vi", now=now
            )
            await add_text(session, report, f"Tin {which}", now=now)
            await keep_unfinished(session, report.id, now=now, policy=world.policy)


async def has_places(world: World, size: int, owner: Recipient) -> None:
    """In each area one that waits for a yes, one not connected, and one that is."""
    now = world.clock()
    async with world.sessions.begin() as session:
        areas = [Area(name=f"Tổ {which:03d}", folded=f"to {which:03d}") for which in range(size)]
        session.add_all(areas)
        await session.flush()
        states = (EstablishmentState.PENDING, EstablishmentState.INVITED, EstablishmentState.ACTIVE)
        places = [
            Establishment(
                kind=Kind.GUESTHOUSE,
                name=f"Nhà nghỉ {state} {which:03d}",
                address=f"{which} Lê Lợi",
                folded=fold(f"nha nghi {state} {which:03d} · {which} le loi"),
                phone="+84912345678",
                area_id=area.id,
                state=state,
                created_at=now,
            )
            for state in states
            for which, area in enumerate(areas)
        ]
        session.add_all(places)
        await session.flush()
        session.add_all(
            Contact(
                establishment_id=place.id,
                channel=owner.channel,
                address=owner.address,
                role=ContactRole.OWNER,
                created_at=now,
            )
            for place in places
            if place.state is EstablishmentState.ACTIVE
        )


async def has_officers(world: World, size: int) -> None:
    """All of them on duty, none with a chat that is there."""
    now = world.clock()
    async with world.sessions.begin() as session:
        officers = [Officer(name=f"Cán bộ {which:03d}", role=Role.DUTY, created_at=now) for which in range(size)]
        session.add_all(officers)
        await session.flush()
        for officer in officers:
            session.add(OfficerChat(officer_id=officer.id, channel="none", address=str(officer.id)))
            session.add(Shift(officer_id=officer.id, starts_at=now, ends_at=now + timedelta(hours=8)))


async def has_groups_and_notices(world: World, size: int, admin: Person) -> None:
    now = world.clock()
    assert admin.actor is not None
    async with world.sessions.begin() as session:
        first = await make_group(session, admin.actor, name="Chọn tay", now=now)
        session.add_all(
            Group(name=f"Nhóm {which:03d}", folded=f"nhom {which:03d}", created_at=now) for which in range(size)
        )
        await add_member(session, admin.actor, first.id, size * 2 + 1)
        for which in range(size):
            draft = Draft(f"Thông báo {which}", f"group:{first.id}", Response.CONFIRM, now + timedelta(days=1))
            await schedule_notice(session, admin.actor, draft, now=now)


async def pages(person: Person) -> list[Shown]:
    """Every page of the list just shown, in order; no page has more buttons than a page has."""
    seen = [person.last]
    while "Sau" in seen[-1].labels:
        await person.presses_on(seen[-1], "Sau")
        assert seen[-1].text != person.last.text
        seen.append(person.last)
    for shown in person.shown:
        assert len(shown.labels) <= MOST_BUTTONS, (len(shown.labels), shown.text[:80])
    return seen


def found(shown: list[Shown], pattern: str) -> set[str]:
    return {match for one in shown for match in re.findall(pattern, one.text)}


def offered(shown: list[Shown], pattern: str) -> set[str]:
    return {label for one in shown for label in one.labels if re.fullmatch(pattern, label)}


async def test_every_list_of_an_administrator_shows_everything_page_by_page(ward):
    admin, size = ward.admin, ward.size
    for command, pattern, count in (
        ("/danhba", r"CS-\d+", size),
        ("/danhba nhà nghỉ", r"CS-\d+", 3 * size),
        ("/canbo", r"Cán bộ \d+", size),
        ("/nhom", r"Nhóm \d+", size),
        ("/nhom", r"Tổ \d+", size),
        ("/tin", r"T-\w+", size),
        ("/thongbao", r"TB-\w+", size),
        ("/truc", r"Cán bộ \d+", size),
    ):
        await admin.sends(command)
        assert len(admin.news) == 1, command
        assert len(found(await pages(admin), pattern)) == count, command


async def test_every_item_of_a_list_can_be_opened(ward):
    admin, size = ward.admin, ward.size
    for command, pattern in (("/danhba", r"Mời CS-\d+"), ("/tin", r"T-\w+"), ("/thongbao", r"TB-\w+")):
        await admin.sends(command)
        assert len(offered(await pages(admin), pattern)) == size, command


async def test_a_page_says_where_it_is_and_how_many_are_left(telegram_ward):
    ward = telegram_ward
    await ward.admin.sends("/danhba")
    ward.admin.sees(f"Trang 1/{-(-ward.size // SIZE)}, còn {ward.size - SIZE} mục nữa")
    last = (await pages(ward.admin))[-1]
    assert "hết danh sách" in last.text
    assert "Sau" not in last.labels


async def test_one_may_go_back(telegram_ward):
    ward = telegram_ward
    await ward.admin.sends("/danhba")
    first = ward.admin.last.text
    await ward.admin.presses("Sau")
    await ward.admin.presses("Trước")
    assert ward.admin.last.text == first
    assert "Trước" not in ward.admin.last.labels


async def test_pages_are_turned_in_place_where_messages_can_change(ward):
    await ward.admin.sends("/danhba")
    before = len(ward.admin.shown)
    await ward.admin.presses("Sau")
    assert len(ward.admin.shown) == before + (0 if ward.world.has_buttons else 1)


async def test_an_owner_of_many_sees_them_all(ward):
    lan = ward.owner
    await lan.sends("/coso")
    shown = await pages(lan)
    assert len(offered(shown, r"Mở CS-\d+")) == ward.size
    await lan.presses_on(shown[-1], shown[-1].labels[0])
    lan.sees(phrase("place_state.active"))
    lan.offers("Ngừng kết nối")
    await lan.sends("/riengtu")
    assert len(found(await pages(lan), r"CS-\d+")) == ward.size
    lan.offer("Xoá dữ liệu")


async def test_all_that_wait_for_a_yes_are_shown_a_few_at_a_time(ward):
    admin = ward.admin
    await admin.sends("/duyet")
    while "Sau" in admin.last.labels:
        admin.sees(phrase("approvals.more"))
        await admin.presses("Sau")
    assert len(found(admin.shown, r"pending (\d+)")) == ward.size


CHOICES = {
    "area": (
        lambda ward: says(ward.owner, "/dangky", "Nhà nghỉ", "Hoa Sen", "12 Phan Đình Phùng", "0912345678"),
        r"Tổ \d+",
        "Tổ {:03d}",
        "enrol.consent",
    ),
    "whom to revoke": (
        lambda ward: says(ward.admin, "/canbo", "Thu hồi quyền"),
        r"Cán bộ \d+",
        "Cán bộ {:03d}",
        "officers.revoke_sure",
    ),
    "who takes over": (
        lambda ward: hands_over(ward),
        r"Cán bộ \d+",
        "Cán bộ {:03d}",
        "duty.handed_over",
    ),
    "audience": (
        lambda ward: says(ward.admin, "/soan", "Cảnh giác lừa đảo", "Bỏ qua"),
        r"Tổ \d+ \(2\)",
        "Tổ {:03d}",
        "compose.ask_response",
    ),
    "members": (
        lambda ward: says(ward.admin, "/nhom", "Tạo nhóm", f"Gần {uuid4()}", "nhà nghỉ invited"),
        r"Nhà nghỉ invited \d+ \(CS-\d+\)",
        "Nhà nghỉ invited {:03d} (CS-{code:04d})",
        "group.ask_members",
    ),
}


async def says(person: Person, *texts: str) -> Person:
    """Say one thing after the other; what is a button is pressed."""
    for text in texts:
        is_button = bool(person.shown) and text in person.last.labels
        await (person.presses(text) if is_button else person.sends(text))
    return person


async def hands_over(ward: Ward) -> Person:
    await ward.admin.sends("/truc")
    if "Nhận ca" in ward.admin.last.labels:
        await says(ward.admin, "Nhận ca", "/truc")
    await ward.admin.presses("Chuyển ca")
    return ward.admin


async def test_every_choice_can_be_pressed_on_its_page_or_typed_on_another(ward):
    for question, (arrive, pattern, label, next_key) in CHOICES.items():
        person = await arrive(ward)
        shown = await pages(person)
        assert len(offered(shown, pattern)) == ward.size, question
        await person.presses_on(shown[-1], [one for one in shown[-1].labels if re.fullmatch(pattern, one)][-1])
        person.sees(phrase(next_key))
        await arrive(ward)
        which = ward.size - 2
        await person.sends(label.format(which, code=ward.size + which + 1))
        person.sees(phrase(next_key))


@pytest.mark.parametrize("question", ["area", "whom to revoke"])
async def test_a_number_typed_is_one_of_this_page(telegram_ward, question):
    arrive, pattern, _, next_key = CHOICES[question]
    person = await arrive(telegram_ward)
    await person.presses("Sau")
    second = [label for label in person.last.labels if re.fullmatch(pattern, label)][1]
    await person.sends("2.")
    person.sees(phrase(next_key), second)


async def test_what_is_always_offered_is_on_every_page(telegram_ward):
    person = await CHOICES["area"][0](telegram_ward)
    for shown in await pages(person):
        assert {"Không rõ", "Quay lại", "Huỷ"} <= set(shown.labels)


async def test_two_of_one_name_are_not_told_apart_by_typing(telegram_ward):
    ward = telegram_ward
    await ward.world.make.officer(Recipient("none", "x"), name="Cán bộ 003")
    await says(ward.admin, "/canbo", "Thu hồi quyền")
    await ward.admin.sends("Cán bộ 003")
    ward.admin.sees(phrase("talk.choose_one"))
    ward.admin.sees_not(phrase("officers.revoke_sure"))


async def test_the_names_before_sending_and_the_silent_after_it(ward):
    admin, size = ward.admin, ward.size
    await says(admin, "/soan", "Cảnh giác lừa đảo", "Bỏ qua", f"Tất cả cơ sở ({2 * size})")
    await says(admin, "Cần bấm “Đã nhận”", "Gửi ngay", "Xem danh sách")
    assert len(found(await pages(admin), r"(?:invited|active) \d+")) == 2 * size
    await admin.presses("Gửi")
    for _ in range(6):  # a large audience is opened in steps
        await ward.world.house.jobs.second()
    await ward.world.settle()
    await admin.sends("/thongbao")
    await admin.presses(next(label for label in admin.last.labels if label.startswith("TB-")))
    await admin.presses("Ai chưa nhận")
    admin.sees(f"{2 * size} cơ sở")
    assert len(found(await pages(admin), r"(?:invited|active) \d+")) == 2 * size
    await ward.owner.sends("đã nhận")
    ward.owner.sees("và", "cơ sở khác đã nhận")
    assert len(ward.owner.last.text) < 600


@pytest.mark.parametrize(
    ("number", "total", "seen"),
    [
        (0, 0, (0, 0)),
        (0, 12, (0, 12)),
        (0, 13, (0, 10)),
        (1, 13, (10, 13)),
        (9, 13, (10, 13)),
        (-1, 13, (0, 10)),
        (24, 250, (240, 250)),
    ],
)
def test_a_page_of_a_list_that_became_shorter_is_the_nearest(number, total, seen):
    page = page_at(number, total)
    assert (page.start, page.stop) == seen
    assert page.left == total - seen[1]
