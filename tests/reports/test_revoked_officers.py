"""A lost phone learns nothing new: officers whose access was revoked get no word of a report any more."""

from __future__ import annotations

from db.tables.officers import Role
from officers.accounts import revoke_officer
from tests.worlds import Person, World


async def _taken_by_somebody_revoked(world: World) -> tuple[Person, Person, Person]:
    chief = await world.officer("chief", Role.ADMIN)
    lost = await world.officer("lost", Role.DUTY, on_duty=True)
    hai = await world.officer("hai", Role.DUTY, on_duty=True)
    nam = await world.person("nam")
    await nam.sends("/baotin")
    await nam.sends("Có người lạ thử khoá xe.")
    await nam.presses("Gửi")
    await lost.presses("Nhận xử lý")
    assert chief.actor is not None and lost.actor is not None and lost.actor.officer_id is not None
    async with world.sessions.begin() as session:
        await revoke_officer(session, chief.actor, lost.actor.officer_id, now=world.clock())
    return lost, hai, nam


async def _seen(person: Person) -> str:
    return "\n".join(shown.text for shown in await person.port.shows(person.chat.address))


async def test_what_a_reporter_adds_goes_to_those_on_duty_and_not_to_the_revoked_officer(telegram_world: World):
    lost, hai, nam = await _taken_by_somebody_revoked(telegram_world)

    await _add(nam, "Họ vừa chạy về phía chợ.")

    assert "phía chợ" in await _seen(hai)
    assert "phía chợ" not in await _seen(lost)


async def test_closing_does_not_write_later_words_into_the_revoked_officers_copy(telegram_world: World):
    lost, hai, nam = await _taken_by_somebody_revoked(telegram_world)
    await _add(nam, "Họ vừa chạy về phía chợ.")

    await hai.presses("Kết thúc")
    await hai.presses("Đã giải quyết")

    assert "phía chợ" not in await _seen(lost)


async def _add(nam: Person, words: str) -> None:
    code = next(
        shown.text.split("Mã tin: ")[1][:19]
        for shown in await nam.port.shows(nam.chat.address)
        if "Mã tin: " in shown.text
    )
    await nam.sends(f"/tracuu {code}")
    await nam.presses("Bổ sung")
    await nam.sends(words)
