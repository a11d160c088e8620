"""The main job from end to end: enrol, notify, acknowledge, report, forward."""

from __future__ import annotations

import re

from officers.permissions import Role
from tests.worlds import World, phrase


async def walk(world: World) -> None:
    """The five steps, each seen by everybody it concerns."""
    commander = await world.officer("binh", Role.COMMANDER)
    duty = await world.officer("dung", Role.DUTY)
    lan = await world.person("lan")
    citizen = await world.person("khach")
    await world.make.area("Khu phố 1")

    await lan.sends("/start")
    lan.sees("Công an Phường 2", "113")
    lan.offers("Báo tin", "Đăng ký cơ sở")

    await enrols(lan)
    commander.sees("Nhà nghỉ Hoa Sen", "12 Phan Đình Phùng", "Khu phố 1")
    duty.sees_nothing()
    await commander.presses("Duyệt")
    lan.sees(phrase("enrol.approved"))

    await commander.sends("/soan")
    await commander.sends("Cảnh giác lừa đảo\nKhoá cửa sau 22 giờ.")
    await commander.presses("Bỏ qua")
    await commander.presses("Tất cả cơ sở (1)")
    await commander.presses("Cần bấm “Đã nhận”")
    await commander.presses("Gửi ngay")
    commander.sees("Cảnh giác lừa đảo Khoá cửa sau 22 giờ.", "Gửi tới 1 cơ sở", "Nhà nghỉ Hoa Sen")
    await lan.looks()
    await commander.presses("Gửi")
    lan.sees("Công an Phường 2", "Cảnh giác lừa đảo Khoá cửa sau 22 giờ.")
    commander.sees("đang gửi")
    await lan.presses("Đã nhận")
    lan.sees("Nhà nghỉ Hoa Sen đã nhận lúc 08:00")
    await commander.looks()
    await world.tick(seconds=10)
    await commander.sends("/thongbao")
    number = re.search(r"TB-\w+", commander.last.text)
    assert number
    await commander.presses(number[0])
    commander.sees("đã gửi tới 1/1 cơ sở", "đã xác nhận 1")

    await duty.sends("/truc")
    await duty.presses("Nhận ca")
    await citizen.sends("Có người phá khoá xe ở hẻm 5")
    await citizen.presses("Báo tin")
    citizen.sees("Đã ghi 1 tin")
    await duty.looks()
    await citizen.presses("Gửi")
    citizen.sees("Đã nhận lúc 08:00", "Cán bộ trực đã được báo")
    duty.sees("Tin mới", "Có người phá khoá xe ở hẻm 5")
    await duty.presses("Nhận xử lý")
    citizen.sees(phrase("report.taken"))


async def enrols(lan) -> None:
    """Six messages after the command."""
    await lan.sends("/dangky")
    await lan.presses("Nhà nghỉ")
    await lan.sends("Nhà nghỉ Hoa Sen")
    await lan.sends("12 Phan Đình Phùng")
    await lan.sends("0912 345 678")
    await lan.presses("Khu phố 1")
    lan.sees("Nhà nghỉ Hoa Sen", "12 Phan Đình Phùng", "Khu phố 1")
    await lan.presses("Đồng ý")
    lan.sees(phrase("enrol.sent"))


async def test_the_five_steps(world):
    await walk(world)


async def test_the_five_steps_on_postgresql(postgresql_world):
    await walk(postgresql_world)
