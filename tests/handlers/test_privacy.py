"""/riengtu: what is deleted is gone at once."""

from __future__ import annotations

from officers.permissions import Role
from tests.worlds import Web, phrase


async def deletes(person):
    await person.sends("/riengtu")
    await person.presses("Xoá dữ liệu")
    await person.presses("Xoá")


async def test_deleting_in_the_middle_of_a_report_throws_the_draft_away(world):
    officer = await world.officer("binh", Role.DUTY)
    lan = await world.person("lan")
    await lan.sends("/baotin")
    await lan.sends("Có tiếng la ở phòng 12")

    await deletes(lan)

    lan.sees(phrase("privacy.deleted"))
    await world.tick(hours=25)
    assert not any("phòng 12" in shown.text for shown in officer.shown)


async def test_deleting_wipes_what_we_keep_of_the_conversation(world):
    lan = await world.person("lan")
    await lan.sends("Tôi là Lan ở số 5")

    await deletes(lan)

    lan.sees(phrase("privacy.deleted"))
    if isinstance(world.port, Web):
        assert not any("số 5" in shown.text for shown in lan.shown)
