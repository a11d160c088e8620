"""The made-up ward of the demo. Nobody here exists: neither people nor places nor telephone numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from broadcasts.facts import Draft, Response
from broadcasts.notices import schedule_notice
from broadcasts.opening import open_whole
from channels.port import Recipient
from channels.web.store import Chat, chat_row
from db.base import Base
from db.engine import keys_of
from db.tables.broadcasts import Broadcast, BroadcastPlace, Notice, NoticeState
from db.tables.deliveries import Delivery, DeliveryState
from db.tables.establishments import (
    Area,
    Contact,
    ContactRole,
    Establishment,
    EstablishmentState,
    Group,
    GroupMember,
    Kind,
    StateChange,
)
from db.tables.inbound import SeenUpdate
from db.tables.officers import Officer, OfficerChat, Role, Shift
from db.tables.reports import ReportState
from db.tables.web import WebChat, WebCommands
from establishments.registration import CONSENT_VERSION
from officers.permissions import Actor
from reports.intake import add_text, open_report
from texts.folding import fold
from unit.policy import Policy

UNIT = "Công an phường Sông Trăng"
CHANNEL = "web"


@dataclass(frozen=True, slots=True)
class Persona:
    """Somebody the visitor plays."""

    role: str
    title: str

    @property
    def base(self) -> str:
        """The base path of this person's chat page."""
        return f"/demo/{self.role}"

    @property
    def address(self) -> str:
        """The web chat this person has."""
        return f"demo-{self.role}"


PERSONAS = (
    Persona("owner", "Chị Lan"),
    Persona("citizen", "Anh Nam"),
    Persona("duty", "Đại uý Trần Hải"),
    Persona("commander", "Trung tá Lê Minh An"),
)
#: Whose phones have been in use before the visitor comes.
AT_WORK = ("duty", "commander")

AREAS = 9
_OFFICERS = (
    ("Trung tá Lê Minh An", Role.ADMIN, "demo-commander"),
    ("Đại uý Trần Hải", Role.DUTY, "demo-duty"),
    ("Thượng uý Võ Thu Mai", Role.AREA, "demo-silent-area"),
    ("Bà Phan Thị Cúc (Mặt trận)", Role.FRONT, "demo-silent-front"),
)
_COMMANDER, _DUTY, _AREA_OFFICER = 1, 2, 3

#: The 62 businesses with conditions, and the 200 rented rooms.
_KINDS = {
    Kind.HOTEL: ("Khách sạn", 9),
    Kind.GUESTHOUSE: ("Nhà nghỉ", 16),
    Kind.HOMESTAY: ("Homestay", 9),
    Kind.APARTMENT: ("Căn hộ", 3),
    Kind.RESORT: ("Khu nghỉ", 1),
    Kind.KARAOKE: ("Karaoke", 8),
    Kind.MASSAGE: ("Xoa bóp", 6),
    Kind.PAWNSHOP: ("Cầm đồ", 7),
    Kind.OTHER: ("Hiệu in", 3),
    Kind.ROOMS: ("Nhà trọ", 200),
}
BUSINESSES = sum(number for kind, (_, number) in _KINDS.items() if kind is not Kind.ROOMS)
ROOMS = _KINDS[Kind.ROOMS][1]
# Together they make names that nobody gives a house.
_WHO = (
    *("Sen", "Cau", "Tre", "Mây", "Trăng", "Đò", "Lúa", "Khế", "Hạc", "Sao"),
    *("Nắng", "Gió", "Thuyền", "Bưởi", "Sim", "Trúc", "Cá Rô", "Sóng", "Mưa", "Dế"),
)
_DOES = (
    *("Ngủ Quên", "Đếm Sao", "Chờ Đò", "Hát Ru", "Kể Chuyện", "Qua Cầu", "Tập Bơi"),
    *("Đi Vắng", "Về Muộn", "Nhớ Nhà", "Thổi Sáo", "Gánh Nước", "Đuổi Bướm", "Ngắm Mưa"),
)
_STREETS = (
    *("Bến Trăng", "Đò Chiều", "Cầu Mây", "Lúa Muộn", "Gió Nồm", "Hàng Sim"),
    *("Thuyền Giấy", "Cau Trắng", "Nắng Xiên", "Giếng Làng", "Chim Sâu", "Đồng Vọng"),
)
#: On the ward's list but never connected, and connected but blocked since; places counted from 1, 139 and 140 one chat.
_NOT_CONNECTED = frozenset({17, 29, 44, 58, 90, 121, 163, 207, 233, 251})
_BLOCKED = frozenset({22, 51, 139, 140})
#: Two rented houses have one landlord, with one chat.
_HOUSES_A_LANDLORD = 2

_FINISHED = (
    "<b>Nhắc khoá cửa, khoá xe dịp cuối tuần</b>\n"
    "Tuần qua có hai vụ mất xe máy ở bãi gửi không người trông tại Khu phố 3.\n"
    "<b>Việc cần làm:</b> khoá cổ xe, kiểm tra camera bãi gửi, nhắc khách giữ vé."
)
_PLANNED = (
    "<b>Họp các cơ sở kinh doanh có điều kiện</b>\n"
    "15:00 ngày mai tại nhà văn hoá Khu phố 2, khoảng một giờ.\n"
    "<b>Việc cần làm:</b> mỗi cơ sở cử một người dự; bấm Đã nhận để phường chuẩn bị chỗ ngồi."
)
_REPORTS = (
    ("Đèn đường hẻm 14 Đò Chiều tắt ba đêm nay, chỗ đó tối và vắng.", ReportState.HANDED_OVER, timedelta(days=6)),
    ("Có hai người lạ đi thử khoá xe trong bãi gửi sau chợ.", ReportState.RESOLVED, timedelta(days=2)),
)

#: Rows that outlive a rebuilding: the menus, and what marks an update as acted upon.
_KEPT = frozenset({WebCommands.__tablename__, SeenUpdate.__tablename__})


async def build_ward(session: AsyncSession, *, now: datetime, policy: Policy) -> None:
    """Empty the database and fill it with the ward as it is at `now`; all in the caller's transaction."""
    await _empty(session, now=now)
    joined_at = now - timedelta(days=40)
    await session.execute(insert(Area), list(_areas()))
    places = list(_places(joined_at))
    await session.execute(insert(Establishment), places)
    await session.execute(insert(StateChange), list(_state_changes(places, joined_at)))
    contacts = list(_contacts(places, joined_at))
    await session.execute(insert(Contact), contacts)
    await _add_officers(session, now=now)
    await _add_group(session, places, joined_at)
    chats = {contact["address"] for contact in contacts} | {"demo-silent-area", "demo-silent-front"}
    # They have written, long ago: chats that never were written in are forgotten.
    rows = [chat_row(keys_of(session), Chat(Recipient(CHANNEL, one), "vi", 1, 1, 1), opened_at=None) for one in chats]
    await session.execute(insert(WebChat), rows)
    await _add_finished_notice(session, at=now - timedelta(days=9), policy=policy)
    await _add_planned_notice(session, now=now, policy=policy)
    for text, outcome, ago in _REPORTS:
        await _add_closed_report(session, text, outcome, at=now - ago)


async def _empty(session: AsyncSession, *, now: datetime) -> None:
    for table in reversed(Base.metadata.sorted_tables):
        if table.name not in _KEPT:
            await session.execute(delete(table))


def _areas() -> Iterator[dict[str, Any]]:
    for number in range(1, AREAS + 1):
        yield {"id": number, "name": f"Khu phố {number}", "folded": fold(f"Khu phố {number}")}


def _places(joined_at: datetime) -> Iterator[dict[str, Any]]:
    kinds = [(kind, called) for kind, (called, number) in _KINDS.items() for _ in range(number)]
    for number, (kind, called) in enumerate(kinds, start=1):
        spread = number * 37  # without a common factor with the 280 names: each is given once
        who, does = _WHO[spread % 280 // len(_DOES)], _DOES[spread % len(_DOES)]
        area = (number * 5 + number // AREAS) % AREAS + 1
        name = f"{called} {who} {does}"
        street = _STREETS[(area + number // AREAS) % len(_STREETS)]
        address = f"{number * 7 % 180 + 1} đường {street}, Khu phố {area}"
        is_connected = number not in _NOT_CONNECTED
        yield {
            "id": number,
            "kind": kind,
            "name": name,
            "address": address,
            "folded": fold(f"{name} · {address}"),
            "phone": f"+84100000{number:03d}",  # 0100 is given to nobody
            "area_id": area,
            "state": EstablishmentState.ACTIVE if is_connected else EstablishmentState.INVITED,
            "consent_version": CONSENT_VERSION if is_connected else None,
            "consented_at": joined_at if is_connected else None,
            "created_at": joined_at,
            "decided_by": None,
        }


def _state_changes(places: list[dict[str, Any]], at: datetime) -> Iterator[dict[str, Any]]:
    for place in places:
        yield {"establishment_id": place["id"], "state": place["state"], "at": at}


def _contacts(places: list[dict[str, Any]], joined_at: datetime) -> Iterator[dict[str, Any]]:
    for place in places:
        number = place["id"]
        if number in _NOT_CONNECTED:
            continue
        speaker = number if number <= BUSINESSES else BUSINESSES + (number - BUSINESSES - 1) // _HOUSES_A_LANDLORD + 1
        yield {
            "id": number,
            "establishment_id": number,
            "channel": CHANNEL,
            "address": f"demo-silent-{speaker}",
            "role": ContactRole.OWNER,
            "created_at": joined_at,
            "blocked_at": joined_at + timedelta(days=11) if number in _BLOCKED else None,
        }


async def _add_officers(session: AsyncSession, *, now: datetime) -> None:
    since = now - timedelta(days=60)
    officers = [
        {"id": number, "name": name, "role": role, "created_at": since}
        for number, (name, role, _) in enumerate(_OFFICERS, start=1)
    ]
    chats = [
        {"officer_id": number, "channel": CHANNEL, "address": address}
        for number, (_, _, address) in enumerate(_OFFICERS, start=1)
    ]
    await session.execute(insert(Officer), officers)
    await session.execute(insert(OfficerChat), chats)
    shift = {"officer_id": _DUTY, "starts_at": now - timedelta(hours=1), "ends_at": now + timedelta(hours=11)}
    await session.execute(insert(Shift), [shift])


async def _add_group(session: AsyncSession, places: list[dict[str, Any]], at: datetime) -> None:
    by_the_river = [place["id"] for place in places[:BUSINESSES] if place["area_id"] == 1]
    name = "Tổ tự quản bến sông"
    await session.execute(
        insert(Group),
        [{"id": 1, "name": name, "folded": fold(name), "created_by": _AREA_OFFICER, "created_at": at}],
    )
    await session.execute(insert(GroupMember), [{"group_id": 1, "establishment_id": place} for place in by_the_river])


def _officer(number: int) -> Actor:
    name, role, address = _OFFICERS[number - 1]
    return Actor(Recipient(CHANNEL, address), number, name, role)


async def _add_finished_notice(session: AsyncSession, *, at: datetime, policy: Policy) -> None:
    """A notice that went out and was confirmed by most."""
    draft = Draft(html=_FINISHED, audience="all", response=Response.CONFIRM)
    notice = await schedule_notice(session, _officer(_COMMANDER), draft, now=at)
    broadcast_id = await open_whole(session, await session.get_one(Notice, notice.id), now=at, policy=policy)
    settled_at = at + timedelta(minutes=1)
    await session.execute(
        update(Delivery)
        .where(Delivery.broadcast_id == broadcast_id, Delivery.state == DeliveryState.PENDING)
        .values(state=DeliveryState.SENT, attempts=1, settled_at=settled_at, message_id="1")
    )
    await session.execute(update(Broadcast).where(Broadcast.id == broadcast_id).values(finished_at=settled_at))
    await session.execute(update(Notice).where(Notice.id == notice.id).values(state=NoticeState.FINISHED))
    speakers = await session.execute(
        select(Contact.id, Contact.establishment_id).where(Contact.blocked_at.is_(None)).order_by(Contact.id)
    )
    for contact_id, establishment_id in speakers:
        if establishment_id % 13 == 5:
            continue  # nobody is perfect
        await session.execute(
            update(BroadcastPlace)
            .where(BroadcastPlace.broadcast_id == broadcast_id, BroadcastPlace.establishment_id == establishment_id)
            .values(acknowledged_at=at + timedelta(minutes=contact_id * 3 % 600 + 2), acknowledged_by=contact_id)
        )


async def _add_planned_notice(session: AsyncSession, *, now: datetime, policy: Policy) -> None:
    """A notice that goes out by itself tomorrow at eight."""
    tomorrow = now.astimezone(policy.zone) + timedelta(days=1)
    draft = Draft(
        html=_PLANNED,
        audience=",".join(f"kind:{kind}" for kind in _KINDS if kind is not Kind.ROOMS),
        response=Response.CONFIRM,
        scheduled_for=tomorrow.replace(hour=8, minute=0, second=0, microsecond=0),
    )
    await schedule_notice(session, _officer(_COMMANDER), draft, now=now)


async def _add_closed_report(session: AsyncSession, text: str, outcome: ReportState, *, at: datetime) -> None:
    report = await open_report(session, chat=Recipient(CHANNEL, "demo-silent-citizen"), language="vi", now=at)
    await add_text(session, report, text, now=at)
    report.state = outcome
    report.received_at = at + timedelta(minutes=2)
    report.taken_by = _DUTY
    report.taken_at = at + timedelta(minutes=5)
    report.closed_at = at + timedelta(hours=3)
    await session.flush()
