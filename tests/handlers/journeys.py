"""Every conversation there is, as a person walks through it; so that one test can walk through them all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from officers.permissions import Role
from tests.worlds import Person, World, phrase

#: Stands for the number of the only report there is.
NUMBER = "T-…"


@dataclass(frozen=True, slots=True)
class Stop:
    """One question of a flow: the key of what it asks, how it is answered, and whether it takes any words."""

    asks: str
    act: str
    answer: str
    takes_words: bool = False

    async def go_on(self, person: Person) -> None:
        """Answer as usual."""
        await getattr(person, self.act)(self.answer)


@dataclass(frozen=True, slots=True)
class Journey:
    """A flow from its beginning to its end.

    `ends` is the key of what its traveller is told last; `stays`: and is then asked again.

    `renew` makes it possible to begin once more, where the end closes that door.
    """

    flow: str
    arrive: Callable[[World], Awaitable[Person]]
    begin: tuple[tuple[str, str], ...]
    stops: tuple[Stop, ...]
    ends: str
    cancelled: str = "talk.cancelled"
    stays: bool = False
    renew: Callable[[World], Awaitable[None]] | None = None

    async def start(self, person: Person) -> None:
        """Get to the first question."""
        for act, what in self.begin:
            if what == NUMBER:
                what = next(label for label in person.last.labels if label.startswith("T-"))
            await getattr(person, act)(what)

    async def go_to(self, person: Person, stop: int) -> None:
        """Get to a certain question."""
        await self.start(person)
        for passed in self.stops[:stop]:
            await passed.go_on(person)


def _asks(key: str, answer: str, *, words: bool = False) -> Stop:
    return Stop(key, "sends" if words else "presses", answer, words)


async def _citizen(world: World) -> Person:
    await world.make.area("Khu phố 1")
    return await world.person("lan")


async def _officer(world: World) -> Person:
    await world.owner("lan")
    return await world.officer("binh", Role.ADMIN)


async def _witness(world: World) -> Person:
    await world.officer("binh", Role.DUTY, on_duty=True)
    return await world.person("lan")


async def _decider(world: World) -> Person:
    officer = await world.officer("binh")
    await _applies(world)
    return officer


async def _applies(world: World) -> None:
    lan = await world.person("lan")
    for text in ("/dangky", "Nhà nghỉ", "Hoa Sen", "12 Phan Đình Phùng", "0912345678", "Đồng ý"):
        await lan.sends(text)
    lan.sees("CS-")


async def _reported(world: World) -> tuple[Person, Person]:
    officer = await world.officer("binh", Role.DUTY, on_duty=True)
    lan = await world.person("lan")
    await lan.sends("/baotin")
    await lan.sends("Có người phá khoá xe")
    await lan.presses("Gửi")
    await officer.presses("Nhận xử lý")
    return officer, lan


async def _taker(world: World) -> Person:
    return (await _reported(world))[0]


async def _reporter(world: World) -> Person:
    officer, lan = await _reported(world)
    await officer.presses("Hỏi thêm")
    await officer.presses(phrase("ask.where"))
    return lan


async def _asks_again(world: World) -> None:
    officer = world.people[0]
    await officer.sends("/tin")
    await officer.presses(next(label for label in officer.last.labels if label.startswith("T-")))
    await officer.presses("Hỏi thêm")
    await officer.presses(phrase("ask.where"))


async def _on_duty(world: World) -> Person:
    await world.officer("chi", Role.DUTY)
    return await world.officer("binh", Role.DUTY, on_duty=True)


async def _one_of_two(world: World) -> Person:
    await world.officer("chi", Role.DUTY)
    return await world.officer("binh", Role.ADMIN)


JOURNEYS = (
    Journey(
        "enrol",
        _citizen,
        (("sends", "/dangky"),),
        (
            _asks("enrol.ask_kind", "Nhà nghỉ"),
            _asks("enrol.ask_name", "Nhà nghỉ Hoa Sen", words=True),
            _asks("enrol.ask_address", "12 Phan Đình Phùng", words=True),
            _asks("enrol.ask_phone", "0912 345 678", words=True),
            _asks("enrol.ask_area", "Khu phố 1"),
            _asks("enrol.consent", "Đồng ý"),
        ),
        "enrol.sent",
        "enrol.cancelled",
    ),
    Journey(
        "reject",
        _decider,
        (("presses", "Từ chối"),),
        (Stop("approval.ask_reason", "presses", phrase("reject.not_here"), takes_words=True),),
        "approval.rejected",
        "approval.still_open",
        renew=_applies,
    ),
    Journey(
        "compose",
        _officer,
        (("sends", "/soan"),),
        (
            _asks("compose.ask_text", "Cảnh giác lừa đảo", words=True),
            _asks("compose.ask_file", "Bỏ qua"),
            _asks("compose.ask_audience", "Tất cả cơ sở (1)"),
            _asks("compose.ask_response", "Cần bấm “Đã nhận”"),
            Stop("compose.ask_when", "presses", "Gửi ngay", takes_words=True),
            _asks("compose.preview", "Gửi"),
        ),
        "progress.running",
        "compose.cancelled",
    ),
    Journey(
        "verify", _citizen, (("sends", "/kiemtra"),), (_asks("verify.ask", "TB-7K3F", words=True),), "verify.unknown"
    ),
    Journey(
        "group",
        _officer,
        (("sends", "/nhom"), ("presses", "Tạo nhóm")),
        (
            _asks("group.ask_name", "Gần bến xe", words=True),
            Stop("group.ask_members", "presses", "Xong", takes_words=True),
        ),
        "group.made",
        "group.left",
    ),
    Journey(
        "ask",
        _taker,
        (("sends", "/tin"), ("presses", NUMBER), ("presses", "Hỏi thêm")),
        (Stop("triage.ask_question", "presses", phrase("ask.where"), takes_words=True),),
        "triage.asked",
    ),
    Journey(
        "close",
        _taker,
        (("sends", "/tin"), ("presses", NUMBER), ("presses", "Kết thúc")),
        (_asks("triage.ask_outcome", phrase("outcome.resolved")),),
        "triage.closed",
    ),
    Journey(
        "report",
        _witness,
        (("sends", "/baotin"),),
        (
            _asks("report.first", "Có người phá khoá xe", words=True),
            Stop("report.ready", "presses", "Gửi", takes_words=True),
        ),
        "report.receipt",
        "report.cancelled",
    ),
    Journey(
        "track",
        _citizen,
        (("sends", "/tracuu"),),
        (_asks("track.ask", "0000 0000 0000 0000", words=True),),
        "track.unknown",
        stays=True,
    ),
    Journey(
        "answer",
        _reporter,
        (("presses", "Trả lời"),),
        (_asks("report.ask_answer", "Ở hẻm 5", words=True),),
        "report.answered",
        renew=_asks_again,
    ),
    Journey(
        "hand_over",
        _on_duty,
        (("sends", "/truc"), ("presses", "Chuyển ca")),
        (_asks("duty.ask_to_whom", "Chi"),),
        "duty.handed_over",
    ),
    Journey(
        "invite",
        _officer,
        (("sends", "/canbo"), ("presses", "Mời cán bộ")),
        (_asks("officers.ask_name", "Nguyễn Văn An", words=True), _asks("officers.ask_role", phrase("role.duty"))),
        "officers.link",
    ),
    Journey(
        "revoke",
        _one_of_two,
        (("sends", "/canbo"), ("presses", "Thu hồi quyền")),
        (_asks("officers.ask_whom", "Chi"), _asks("officers.revoke_sure", "Thu hồi")),
        "officers.revoked",
    ),
)
